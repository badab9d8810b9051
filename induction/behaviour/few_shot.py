"""Few-shot copying of abstract patterns, with heads removed.

Lines of three words, drawn anew for each line: only the pattern comes again, no word does. One prompt of all lines
gives the accuracy after 0, 1, … examples: each line is scored where its third word is due, against the other word of
the line. The patterns are the simplest of those that Crosbie & Shutova 2024 (arXiv 2407.07011) remove heads from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from induction.base import Head, InputError, Progress, check_choice, check_heads, finished, mean_interval
from induction.behaviour.few_shot_result import PATTERNS, Curve, FewShot, Lost
from induction.data_gen.sequences import get_token_set, random_ids, token_of
from induction.model import provenance
from induction.model.tokens import check_ids, encode, with_bos
from induction.patching.ablation import reference_set
from induction.patching.interventions import ABLATIONS, AblationKind, random_sets
from induction.patching.sweep import MAX_BYTES, record
from induction.patching.table import Prompt, Row, Table

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

LINE = 4  # three words and the end of the line
DIGITS = 4


def iter_few_shot(
    model: TransformerBridge,
    heads: Sequence[Head],
    *,
    pattern: str = "aba",
    n_examples: int = 10,
    n_prompts: int = 30,
    vocab: str = "words",
    n_random: int = 10,
    kind: AblationKind = "mean",
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
) -> Generator[Progress[FewShot], None, None]:
    """Accuracy on a pattern by number of examples, with ``heads`` removed and with random sets removed.

    Args:
        pattern: a name of :data:`induction.behaviour.few_shot_result.PATTERNS`.
        n_examples: lines in front of the last one.
        vocab: token set of the words.
        n_random: control sets of other heads of the same layers.
        kind: a name of :data:`induction.patching.interventions.ABLATIONS`.

    Yields:
        Progress; the last step carries the result. Closing cancels.

    Raises:
        InputError: an unknown name, no heads, or a token set or context too small for so many lines.
    """
    check_choice(pattern, tuple(PATTERNS), "pattern")
    check_choice(kind, tuple(ABLATIONS), "ablation")
    if not heads:
        raise InputError("Name at least one head to remove.")
    if n_prompts < 2:
        raise InputError(f"Intervals need 2 prompts or more, not {n_prompts}.")
    started = time.perf_counter()
    shape = {"n_layers": model.cfg.n_layers, "n_heads": model.cfg.n_heads}
    named = check_heads(heads, **shape)
    sets = [named, *random_sets(named, n_random, seed=seed, **shape)]
    prompts = [_prompt(model, pattern, n_examples, vocab, seed + number) for number in range(n_prompts)]
    reference = reference_set(model, len(prompts[0][0]), seed=seed)
    made = [
        partial(_measured, model, *prompt, partial(reference.values, kind), number, n_prompts)
        for number, prompt in enumerate(prompts)
    ]
    rows = [Row(one) for one in sets]
    table = Table(model, "z", rows, made, n_plain=1, n_measures=n_examples + 1, max_bytes=max_bytes)
    for filled in table.fill():
        yield Progress(table.done, table.total, filled.label)
    random = table.edited[1:]  # [set, prompt, examples]
    result = FewShot(
        **provenance(model),
        pattern=pattern,
        heads=[list(head) for head in named],
        ablation=kind,
        intact=_curve(table.plain[0]),
        without=_curve(table.edited[0]),
        random_mean=_curve(random.mean(0)) if n_random else None,
        lost=_lost(*(part[..., 1:].mean(-1) for part in (table.plain[0], table.edited[0], random))),
        random=random.mean(1).round(DIGITS).tolist(),
        protocol=f"{n_prompts} prompts of {n_examples + 1} lines of 3 words, new words in every line, token set "
        f"{vocab}, seeds {seed} to {seed + n_prompts - 1}; right where the word that the pattern asks for has a higher "
        f"logit than the other word of the line; {kind} ablation, {n_random} random sets of the same layers",
        seed=seed,
        seconds=round(time.perf_counter() - started, 2),
    )
    yield Progress(table.total, table.total, "done", result)


few_shot = finished(iter_few_shot)


def _prompt(
    model: TransformerBridge, pattern: str, n_examples: int, vocab: str, seed: int
) -> tuple[list[int], NDArray[np.int64], NDArray[np.int64]]:
    """Ids, and per line the word that is right and the one that is wrong."""
    end = encode(model, "\n", bos=False)
    if len(end) != 1:
        raise InputError(
            "This model has no token of its own for the end of a line, which parts the examples."
        )
    rng, n_words = np.random.default_rng(seed), 2 * (n_examples + 1)
    pool = (
        random_ids(model, rng, at_least=n_words)
        if vocab == "random"
        else np.array([token_of(model, word) for word in get_token_set(vocab, model)])
    )
    if len(pool) < n_words:
        raise InputError(
            f"The token set '{vocab}' has {len(pool)} tokens in this model, too few for {n_examples} examples; ask "
            f"for {len(pool) // 2 - 1} at most or take the token set 'random'."
        )
    words = rng.choice(pool, n_words, replace=False).reshape(-1, 2)  # [line, word]
    right = words[:, PATTERNS[pattern].answer]
    lines = np.column_stack([words, right, np.full(len(words), end[0])])  # [line, token]
    ids = with_bos(model, lines.flatten()[: -(LINE - 2)].tolist())  # up to where the last third word is due
    check_ids(model, ids)
    return ids, right, words[:, 1 - PATTERNS[pattern].answer]


def _measured(
    model: TransformerBridge,
    ids: Sequence[int],
    right: NDArray[np.int64],
    wrong: NDArray[np.int64],
    values: Callable[[int, int], list[torch.Tensor]],
    number: int,
    n_prompts: int,
) -> Prompt:
    """One prompt, whose measures are whether each line is right."""
    run = record(model, tuple(ids))
    measure = partial(_accuracy, right=right, wrong=wrong)
    with torch.no_grad():
        plain = measure(model(run.tokens))
    label = f"prompt {number + 1} of {n_prompts}"
    return Prompt(label, run, values(number, run.n_pos), measure, plain, every_position=True)


def _accuracy(
    logits: torch.Tensor, right: NDArray[np.int64], wrong: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Of every line 1 where the right word has the higher logit, else 0: ``[row, line]`` of ``[row, pos, d_vocab]``."""
    last = logits.shape[1] - 1
    due = torch.arange(last - LINE * (len(right) - 1), last + 1, LINE, device=logits.device)  # [line]
    answer, other = (torch.as_tensor(one, device=logits.device) for one in (right, wrong))
    return (logits[:, due, answer] > logits[:, due, other]).double().cpu().numpy()


def _curve(values: NDArray[np.float64]) -> Curve:
    """Of accuracies ``[prompt, examples]``."""
    low, high = mean_interval(values)
    overall = values[:, 1:].mean(1)  # [prompt]
    ends = [round(float(end), DIGITS) for end in (overall.mean(), *mean_interval(overall))]
    parts = (values.mean(0), low.clip(0, 1), high.clip(0, 1))
    lists = [part.round(DIGITS).tolist() for part in parts]
    return Curve(
        mean=lists[0], low=lists[1], high=lists[2], overall=ends[0], overall_low=ends[1], overall_high=ends[2]
    )


def _lost(intact: NDArray[np.float64], without: NDArray[np.float64], random: NDArray[np.float64]) -> Lost:
    """Of accuracies over all lines with an example, ``[prompt]`` and ``[set, prompt]``."""
    low, high = mean_interval(intact - without)
    ends = [round(float(end), DIGITS) for end in ((intact - without).mean(), low, high)]
    return Lost(
        mean=ends[0], low=ends[1], high=ends[2], random=(intact - random).mean(1).round(DIGITS).tolist()
    )
