"""Ablation: what is lost when heads are switched off, on their own or together.

A head's output z is replaced by zero, by its mean over a named reference set (position by position), or by that
of one sequence of the set. Measured: the answer of the clean prompts, and the loss on both copies of repeated
sequences. Both copies are always shown: "second minus first" can be improved by damaging the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from induction.base import Head, Progress, check_choice, check_seed, finished
from induction.data_gen.pairs import PromptPair, check_pairs, in_words
from induction.data_gen.pairs import pairs as make_pairs
from induction.data_gen.sequences import Batch, random_ids, repeated_batch
from induction.model.tokens import bos_id
from induction.patching.effects import changes, measure
from induction.patching.heads import NamedSet, about_sets, controls_in_words, rows_of
from induction.patching.interventions import ABLATIONS, LOSSES, METRICS, AblationKind, Loss, Metric
from induction.patching.results import HeadSets
from induction.patching.sweep import MAX_BYTES, check_component, hook_name, record, watch
from induction.patching.table import Prompt, Table

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

N_REFERENCE = 16
MEASURES: dict[str, Metric | Loss] = {**METRICS, **LOSSES}


@dataclass(frozen=True)
class Reference:
    """Sequences without any repetition, on which induction heads have nothing to do."""

    name: str
    z: list[torch.Tensor]  # per layer [sequence, pos, head, d_head]

    def values(self, kind: AblationKind, prompt: int, n_pos: int) -> list[torch.Tensor]:
        """What replaces z in a prompt of ``n_pos`` tokens, per layer ``[1, pos, head, d_head]``."""
        return [ABLATIONS[kind].values(z[:, :n_pos], prompt) for z in self.z]


def reference_set(
    model: TransformerBridge, length: int, *, n: int = N_REFERENCE, seed: int = 0, stop: int | None = None
) -> Reference:
    """``n`` sequences of ``length`` tokens: BOS where the model has one, then distinct random tokens.

    All prompts of a run share the set, so intervals over prompts are conditional on it. ``stop``: the first layer
    whose outputs are not needed.
    """
    check_seed(seed)
    check_component(model, "z")
    rng = np.random.default_rng(seed)
    pool = random_ids(model, rng, 4 * length)
    start = [] if bos_id(model) is None else [bos_id(model)]
    n_random = length - len(start)
    rows = [[*start, *rng.choice(pool, n_random, replace=n_random > len(pool)).tolist()] for _ in range(n)]
    tokens = torch.tensor(rows, device=model.cfg.device)
    layers = range(model.cfg.n_layers if stop is None else stop)
    outputs = watch(model, tokens, [hook_name("z", layer) for layer in layers], stop=stop)
    bos = "BOS and " if start else ""
    return Reference(f"{n} sequences of {bos}{n_random} distinct random tokens, seed {seed}", outputs)


def single_heads(model: TransformerBridge) -> list[NamedSet]:
    """Every head of the model as a set of its own."""
    heads = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
    return [NamedSet.of([head]) for head in heads]


def iter_ablate(
    model: TransformerBridge,
    sets: Sequence[NamedSet] | None = None,
    *,
    kind: AblationKind = "mean",
    pairs: Sequence[PromptPair] | None = None,
    n_prompts: int = 5,
    length: int | None = None,
    n_random: int = 0,
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
) -> Generator[Progress[HeadSets], None, None]:
    """Ablate each set of heads, all its heads together, and random sets of the same shape.

    Args:
        sets: default every head on its own.
        kind: a name of :data:`induction.patching.interventions.ABLATIONS`.
        pairs: whose clean prompts are answered; default ``n_prompts`` of :func:`induction.data_gen.pairs.pairs`.
        n_prompts: repeated sequences for the losses.
        length: their mean period (default as in the scan).
        n_random: control sets for each set, of other heads in the same layers.
        seed: of prompts, reference set and random sets.

    Yields:
        Progress; the last step carries the result, whose measures are those of ``METRICS`` and ``LOSSES``, effect =
        mean over prompts of ablated minus intact, with a t-interval given the reference set. Closing cancels.

    Raises:
        InputError: an unknown kind, no sets or pairs, a head outside of the model, or a count out of range.
    """
    check_choice(kind, tuple(ABLATIONS), "ablation")
    if pairs is not None:
        check_pairs(model, pairs)
    started = time.perf_counter()
    named, rows = rows_of(model, single_heads(model) if sets is None else sets, n_random, seed)
    asked = make_pairs(model, n_prompts, seed=seed) if pairs is None else list(pairs)
    batch = repeated_batch(model, n_prompts=n_prompts, length=length, seed=seed)
    longest = max(*batch.lengths, *(pair.scored + 1 for pair in asked))
    reference = reference_set(model, longest, seed=seed)
    values = partial(reference.values, kind)
    prompts = [*answers(model, asked, values), *repeats(model, batch, values)]
    table = Table(model, "z", rows, prompts, n_plain=1, n_measures=len(MEASURES), max_bytes=max_bytes)
    for label, _, _ in table.fill():
        yield Progress(table.done, table.total, label)
    found = {}
    for at, (name, measured) in enumerate(MEASURES.items()):
        on = slice(len(asked)) if name in METRICS else slice(len(asked), None)  # prompts
        edited, intact = table.edited[:, on, at], table.plain[0, on, at]
        found[name] = changes(edited, intact, len(named), n_random, measured.unit)
    result = HeadSets(
        **about_sets(model, named, found, asked, n_random, seed),
        protocol=f"answer: clean prompts of {in_words(asked)}; losses: {batch}; {controls_in_words(n_random)}",
        intervention=kind,
        component="z",
        reference=reference.name if ABLATIONS[kind].uses_reference else None,
        engine=table.engine,
        seconds=round(time.perf_counter() - started, 2),
    )
    yield Progress(table.total, table.total, "done", result)


ablate = finished(iter_ablate)


def ablate_set(model: TransformerBridge, heads: Sequence[Head], **settings: Any) -> HeadSets:
    """Ablate one set of heads together; settings as of :func:`iter_ablate`."""
    return ablate(model, [NamedSet.of(heads)], **settings)


def answers(
    model: TransformerBridge, pairs: Sequence[PromptPair], values: Callable[[int, int], list[torch.Tensor]]
) -> list[Callable[[], Prompt]]:
    """The clean prompts, measured by ``METRICS``; ``values`` of prompt and length is what replaces z."""

    def prompt(index: int, pair: PromptPair) -> Prompt:
        run = record(model, pair.clean[: pair.scored + 1])
        label, plain = f"prompt {index + 1} of {len(pairs)}", measure(run.logits[None], pair)
        return Prompt(label, run, values(index, run.n_pos), partial(measure, pair=pair), plain)

    return [partial(prompt, *item) for item in enumerate(pairs)]


def repeats(
    model: TransformerBridge, batch: Batch, values: Callable[[int, int], list[torch.Tensor]]
) -> list[Callable[[], Prompt]]:
    """The repeated sequences, measured by ``LOSSES``; ``values`` as of :func:`answers`."""

    def prompt(index: int) -> Prompt:
        run = record(model, tuple(batch.prompt(index).tolist()))
        with torch.no_grad():
            logits = model(run.tokens)
        about = {
            "tokens": run.tokens,
            "period": batch.periods[index],
            "plain": _nll(logits[0], run.tokens[0]),
        }
        of_copies = partial(_copy_losses, **about)
        plain = of_copies(logits)
        label = f"repeated sequence {index + 1} of {len(batch.lengths)}"
        replaced = values(index, run.n_pos)
        return Prompt(label, run, replaced, of_copies, plain, every_position=True, column=len(METRICS))

    return [partial(prompt, index) for index in range(len(batch.lengths))]


def _copy_losses(
    logits: torch.Tensor, tokens: torch.Tensor, period: int, plain: torch.Tensor
) -> NDArray[np.float64]:
    """Mean loss on each copy without its first token, in nats and in the order of ``LOSSES``.

    Args:
        logits: ``[row, pos, d_vocab]`` of all positions, or of those from the first on that an edit can change.
        tokens: ``[1, pos]``, two copies of ``period`` tokens after an optional BOS.
        plain: losses of the unedited run ``[pos - 1]``.

    Returns:
        ``[row, copy]``.
    """
    start = tokens.shape[1] - logits.shape[1]
    changed = torch.stack([_nll(row, tokens[0, start:]) for row in logits])  # [row, pos - 1 - start]
    nll = (
        torch.cat([plain[:start].expand(len(changed), -1), changed], 1).double().cpu().numpy()
    )  # [row, pos - 1]
    return np.stack([loss.of(nll, period) for loss in LOSSES.values()], 1)


def _nll(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits[:-1], tokens[1:], reduction="none")
