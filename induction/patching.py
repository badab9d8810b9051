"""Activation patching: which heads carry the answer from the context to the prediction?

Two runs differ in context and share the scored position and the answer. One activation of one run is
copied into the other, and the answer is scored again (:data:`induction.interventions.DIRECTIONS`).
:func:`patch_heads` does it for every head on its own, :func:`patch_sets` for heads together, against random
sets. Both are exact: the numbers of one hooked forward pass per patch, computed by :mod:`induction.sweep`.

Heimersheim & Nanda 2024 (arXiv 2404.15255); Zhang & Nanda 2024 (arXiv 2309.16042).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from induction.analysis import versions
from induction.data_gen import generate_repeated_sequence, get_token_set, token_of
from induction.errors import InputError
from induction.interventions import (
    COMPONENTS,
    DIRECTIONS,
    METRICS,
    Component,
    Direction,
    Head,
    PromptPair,
    check_choice,
    check_heads,
    head_name,
    random_sets,
)
from induction.model import name_of, origin
from induction.progress import Progress, finish
from induction.results.patching import Effect, Grid, HeadSet, HeadSets, Measure, Pair, Patching
from induction.statistics import bootstrap_interval
from induction.sweep import MAX_BYTES, Edit, Run, record, run_rows
from induction.tokens import encode, labels

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Positions = Literal["all", "each"]
DIGITS = 6


# Prompt pairs


def pairs(
    model: TransformerBridge,
    n: int = 10,
    *,
    form: Literal["first_a", "target"] = "first_a",
    vocab: str = "random",
    prefix_length: int = 5,
    filler_length: int = 5,
    seed: int = 0,
) -> list[PromptPair]:
    """``n`` random prompts ``[BOS] prefix A B filler A``, whose answer is B, and their corrupted twins.

    Args:
        form: ``first_a`` replaces the first A, ``target`` the first B, by a word that occurs nowhere else;
            that word is the distractor of the logit difference.
        vocab: a token set (:data:`induction.data_gen.TOKEN_SETS`).
        seed: pair i is drawn with seed + i.

    Raises:
        InputError: unknown form or token set, no pair asked for, or a set too small for the prompt.
    """
    if n < 1:
        raise InputError(f"Patching needs at least 1 prompt pair, not {n}.")
    words = get_token_set(vocab, model)
    replaced = "first A replaced" if form == "first_a" else "first B replaced"
    source = (
        f"{prefix_length} tokens, A, B, {filler_length} tokens, A; corrupted: {replaced}; "
        f"token set {vocab}, seeds {seed} to {seed + n - 1}"
    )
    found = []
    for index in range(n):
        prompt = generate_repeated_sequence(
            words, prefix_length, seed + index, filler_length=filler_length, corruption=form
        )
        clean, corrupted = prompt.ids(model), prompt.ids(model, corrupted=True)
        answer, distractor = token_of(model, prompt.answer), token_of(model, prompt.distractor)
        found.append(_labelled(model, clean, corrupted, answer, distractor, source))
    return found


def pair_from_texts(
    model: TransformerBridge,
    clean: str,
    corrupted: str,
    answer: str | None = None,
    distractor: str | None = None,
) -> PromptPair:
    """A pair from two texts, scored at their last token.

    Args:
        answer: one token; default the clean run's likeliest next token.
        distractor: one token; default the corrupted run's likeliest next token other than the answer.

    Raises:
        InputError: the texts are empty, equal, too long or of different length in tokens (the message shows both
            tokenizations), or a word is not one token.
    """
    ids = [encode(model, text) for text in (clean, corrupted)]
    for text, tokens, which in zip((clean, corrupted), ids, ("clean", "corrupted"), strict=True):
        if not text.strip():
            raise InputError(f"The {which} prompt is empty; write a text that the model shall continue.")
        if len(tokens) > model.cfg.n_ctx:
            raise InputError(
                f"The {which} prompt has {len(tokens)} tokens and the model's context is {model.cfg.n_ctx}; shorten it."
            )
    if len(ids[0]) != len(ids[1]):
        shown = [f"{len(tokens)} tokens {'|'.join(labels(model, tokens))}" for tokens in ids]
        raise InputError(
            f"The prompts need the same number of tokens; the clean one has {shown[0]}, the corrupted one {shown[1]}."
        )
    if ids[0] == ids[1]:
        raise InputError("The clean and the corrupted prompt are the same; change what is to be tested.")
    expected = token_of(model, answer) if answer else int(record(model, tuple(ids[0])).logits.argmax())
    if distractor:
        other = token_of(model, distractor)
    else:
        likeliest = record(model, tuple(ids[1])).logits.topk(2).indices.tolist()
        other = next(token for token in likeliest if token != expected)
    if expected == other:
        raise InputError("The answer and the distractor are the same token; choose two.")
    return _labelled(model, ids[0], ids[1], expected, other, "written by hand")


def _labelled(
    model: TransformerBridge,
    clean: Sequence[int],
    corrupted: Sequence[int],
    answer: int,
    distractor: int,
    source: str = "",
) -> PromptPair:
    return PromptPair(
        tuple(clean),
        tuple(corrupted),
        answer,
        distractor,
        clean_labels=tuple(labels(model, list(clean))),
        corrupted_labels=tuple(labels(model, list(corrupted))),
        answer_label=labels(model, [answer])[0],
        distractor_label=labels(model, [distractor])[0],
        source=source,
    )


def described(model: TransformerBridge, pair: PromptPair) -> Pair:
    """A pair as results store it."""
    if not pair.clean_labels:
        pair = _labelled(model, pair.clean, pair.corrupted, pair.answer, pair.distractor)
    return Pair(
        list(pair.clean_labels),
        list(pair.corrupted_labels),
        pair.answer_label,
        pair.distractor_label,
        pair.scored,
    )


# Metrics


def measure(logits: torch.Tensor, pair: PromptPair) -> NDArray[np.float64]:
    """All metrics from logits ``[row, d_vocab]``: ``[row, metric]`` in the order of ``METRICS``."""
    return metrics(logits, pair).cpu().numpy()


def metrics(logits: torch.Tensor, pair: PromptPair) -> torch.Tensor:
    """As :func:`measure`, as a tensor that gradients flow through."""
    logits = logits.double()
    answer = logits[:, pair.answer]
    log_probability = answer - logits.logsumexp(-1)
    values = {
        "logit_difference": answer - logits[:, pair.distractor],
        "probability": log_probability.exp(),
        "log_probability": log_probability,
    }
    return torch.stack([values[metric] for metric in METRICS], -1)


def defined(clean: NDArray[np.float64], corrupted: NDArray[np.float64], metric: str) -> NDArray[np.bool_]:
    """Which pairs have an effect at all: ``[pair]``, |clean - corrupted| at or above the metric's floor."""
    return np.abs(clean - corrupted) >= METRICS[metric].floor


# Every head on its own


def patch_heads(
    model: TransformerBridge,
    pairs: Sequence[PromptPair],
    *,
    direction: Direction = "denoise",
    component: Component = "z",
    positions: Positions = "all",
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
    on_progress: Callable[[Progress[Patching]], None] | None = None,
) -> Patching:
    """Patch every head on its own; see :func:`iter_patch_heads` for the arguments."""
    steps = iter_patch_heads(
        model,
        pairs,
        direction=direction,
        component=component,
        positions=positions,
        seed=seed,
        max_bytes=max_bytes,
    )
    return finish(steps, on_progress)


def iter_patch_heads(
    model: TransformerBridge,
    pairs: Sequence[PromptPair],
    *,
    direction: Direction = "denoise",
    component: Component = "z",
    positions: Positions = "all",
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
) -> Generator[Progress[Patching], None, None]:
    """Patch every head on its own, one layer of one pair per step, last layer first (the cheapest).

    Args:
        direction: a name of :data:`induction.interventions.DIRECTIONS`.
        component: a name of :data:`induction.interventions.COMPONENTS`; k and v by group where heads share them.
        positions: ``all`` copies the activation at every position at once, ``each`` at one position at a time
            (for the pattern, one query), which needs pairs of the same length.
        seed: of the bootstrap.
        max_bytes: activations that a batch of patched runs may hold; changes nothing but time.

    Yields:
        Progress, each step with the result so far: the pairs done, and of the present pair the layers done (means
        over what is there, None elsewhere). The last step's result is complete, with intervals. Closing cancels.

    Raises:
        InputError: no pairs, an unknown name, or pairs of different lengths with ``each``.
    """
    pairs = list(pairs)
    check_request(model, pairs, direction, component)
    check_choice(positions, ("all", "each"), "choice of positions")
    started = time.perf_counter()
    n_layers, n_heads = model.cfg.n_layers, columns(model, component)
    lengths = {pair.scored + 1 for pair in pairs}
    if positions == "each" and len(lengths) > 1:
        raise InputError(
            "Patching position by position needs prompt pairs of the same length; use one length."
        )
    n_positions = lengths.pop() if positions == "each" else None
    described_pairs = [described(model, pair) for pair in pairs]

    shape = (len(pairs), n_layers, n_heads, n_positions or 1, len(METRICS))
    patched = np.full(shape, np.nan)
    plain = np.full((2, len(pairs), len(METRICS)), np.nan)  # clean, corrupted
    direct = True

    def result(complete: bool) -> Patching:
        return Patching(
            model=name_of(model),
            n_layers=n_layers,
            n_heads=n_heads,
            kind="computed",
            origin=origin(model),
            protocol=_protocol(pairs, component, positions),
            method="exact",
            direction=direction,
            component=component,
            positions=positions,
            effects=effects_of(
                plain,
                patched[:, :, :, 0] if positions == "all" else patched,
                direction,
                seed if complete else None,
            ),
            unit="head" if n_heads == model.cfg.n_heads else "group",
            group_size=model.cfg.n_heads // n_heads,
            n_positions=n_positions,
            pairs=described_pairs,
            engine="direct" if direct else "hooked",
            seed=seed,
            seconds=round(time.perf_counter() - started, 2),
            versions=versions() if complete else {},
        )

    total = len(pairs) * n_layers
    for index, pair in enumerate(pairs):
        base, source = runs(model, pair, direction, component)
        direct = direct and base.direct
        both = measure(torch.stack([base.logits, source.logits]), pair)
        plain[:, index] = both if direction == "noise" else both[::-1]
        for done, layer in enumerate(reversed(range(n_layers))):
            patched[index, layer] = _patch_layer(
                model, base, source, pair, layer, n_heads, component, positions, max_bytes
            )
            step = index * n_layers + done + 1
            if step < total:
                which = f"pair {index + 1} of {len(pairs)}, layer {layer}"
                yield Progress(step, total, which, result(complete=False))
    yield Progress(total, total, "done", result(complete=True))


def columns(model: TransformerBridge, component: Component) -> int:
    """How many heads of a layer can be patched apart: k and v are one per group of heads that share them."""
    groups = getattr(model.cfg, "n_key_value_heads", None)
    return groups if groups and component in ("k", "v") else model.cfg.n_heads


def runs(
    model: TransformerBridge, pair: PromptPair, direction: Direction, component: Component
) -> tuple[Run, Run]:
    """The run that is patched, and the run that the activation comes from."""
    stop = pair.scored + 1
    clean, corrupted = pair.clean[:stop], pair.corrupted[:stop]
    target, source = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    return record(model, target), record(model, source, component=component)


def _patch_layer(
    model: TransformerBridge,
    base: Run,
    source: Run,
    pair: PromptPair,
    layer: int,
    n_heads: int,
    component: Component,
    positions: Positions,
    max_bytes: int,
) -> NDArray[np.float64]:
    """Metrics with each head of one layer patched: ``[head, pos or 1, metric]``."""
    device = base.tokens.device
    one_head_per_row = torch.eye(n_heads, dtype=torch.bool, device=device)[:, None]  # [row, 1, head]
    first = pair.first_difference
    first = base.n_pos - 1 if first is None else first

    def patched(start: int, mask: torch.Tensor) -> NDArray[np.float64]:
        edits = {layer: Edit(component, mask, source.activations[layer])}
        rows = run_rows(model, base, edits, n_rows=n_heads, start=start, max_bytes=max_bytes)
        return np.concatenate([measure(logits, pair) for logits in rows])  # [head, metric]

    if positions == "all":
        return patched(first, one_head_per_row)[:, None]
    # Before the first difference there is nothing to copy that is not there already.
    values = np.broadcast_to(measure(base.logits[None], pair), (n_heads, base.n_pos, len(METRICS))).copy()
    for position in range(first, base.n_pos):
        here = torch.arange(base.n_pos, device=device)[None, :, None] == position  # [1, pos, 1]
        values[:, position] = patched(position, one_head_per_row & here)
    return values


def effects_of(
    plain: NDArray[np.float64], patched: NDArray[np.float64], direction: Direction, seed: int | None
) -> dict[str, Effect]:
    """Effects of all metrics; NaN marks what is not computed yet. Without a seed the means alone, which is quick.

    Args:
        plain: ``[clean or corrupted, pair, metric]``.
        patched: ``[pair, layer, head, metric]`` or ``[pair, layer, head, pos, metric]``.
    """
    effects = {}
    for at, metric in enumerate(METRICS):
        begun = ~np.isnan(plain[0, :, at])
        clean, corrupted = plain[:, begun, at]
        values = patched[begun][..., at]  # [pair, layer, head, (pos)]
        keep = defined(clean, corrupted, metric)
        share = shares(values[keep], clean[keep], corrupted[keep], direction)
        low = high = None
        if seed is not None and len(share) > 1:
            low, high = (nested(bound) for bound in bootstrap_interval(share, seed))
        effects[metric] = Effect(
            clean=nested(clean),
            corrupted=nested(corrupted),
            patched=None if seed is None else nested(values),
            mean=nested(_mean_of_present(share)),
            low=low,
            high=high,
            floor=METRICS[metric].floor,
            undefined=int((~keep).sum()),
        )
    return effects


def shares(
    values: NDArray[np.float64],
    clean: NDArray[np.float64],
    corrupted: NDArray[np.float64],
    direction: Direction,
) -> NDArray[np.float64]:
    """Effect of patched values ``[pair, ...]``: 0 where the patch does nothing, 1 where it does everything."""
    clean, corrupted = (end.reshape(-1, *[1] * (values.ndim - 1)) for end in (clean, corrupted))
    start = corrupted if direction == "denoise" else clean
    towards = clean - corrupted if direction == "denoise" else corrupted - clean
    return (values - start) / towards


def _mean_of_present(share: NDArray[np.float64]) -> NDArray[np.float64]:
    present = ~np.isnan(share)
    count = present.sum(0)
    total = np.where(present, share, 0).sum(0)
    return np.where(count, total / np.maximum(count, 1), np.nan)


def nested(values: NDArray[np.float64]) -> Grid:
    """Nested lists, rounded, None for NaN."""
    rounded = np.round(values, DIGITS).astype(object)
    rounded[np.isnan(values)] = None
    return rounded.tolist()


def check_request(
    model: TransformerBridge, pairs: Sequence[PromptPair], direction: str, component: str
) -> None:
    """Raises InputError where there is nothing to patch, a name is unknown, or a pair does not fit the model."""
    if not pairs:
        raise InputError("Patching needs at least one prompt pair; make some with pairs(model, 10).")
    check_choice(direction, tuple(DIRECTIONS), "direction")
    check_choice(component, tuple(COMPONENTS), "component")
    for pair in pairs:
        if pair.scored >= model.cfg.n_ctx:
            raise InputError(
                f"A prompt has {pair.scored + 1} tokens up to the scored one and the model's context is "
                f"{model.cfg.n_ctx}; shorten it."
            )
        ids = (*pair.clean, *pair.corrupted, pair.answer, pair.distractor)
        if min(ids) < 0 or max(ids) >= model.cfg.d_vocab:
            raise InputError(f"Token ids run from 0 to {model.cfg.d_vocab - 1} in this model.")


def in_words(pairs: Sequence[PromptPair]) -> str:
    """How many pairs, how long up to the scored position, and how they were made."""
    lengths = [pair.scored + 1 for pair in pairs]
    span = f"{min(lengths)}" if min(lengths) == max(lengths) else f"{min(lengths)} to {max(lengths)}"
    sources = "; ".join(dict.fromkeys(pair.source for pair in pairs if pair.source))
    return f"{len(pairs)} prompt pairs of {span} tokens" + (f" ({sources})" if sources else "")


def controls_in_words(n_random: int) -> str:
    """How the random sets of :func:`rows_of` are drawn, if any."""
    return f"{n_random} random sets each of other heads in the same layers" if n_random else "no random sets"


def _protocol(pairs: Sequence[PromptPair], component: Component, positions: str) -> str:
    where = "at all positions together" if positions == "all" else "one position at a time"
    return f"{in_words(pairs)}; {COMPONENTS[component].title.lower()} copied {where}"


# Heads together


@dataclass(frozen=True)
class NamedSet:
    """Heads to edit together, under a label."""

    label: str
    heads: tuple[Head, ...]


def patch_set(
    model: TransformerBridge,
    pairs: Sequence[PromptPair],
    heads: Sequence[Head],
    *,
    direction: Direction = "denoise",
    component: Component = "z",
    n_random: int = 0,
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
) -> HeadSets:
    """Patch heads together; see :func:`iter_patch_sets`."""
    named = [NamedSet(", ".join(head_name(head) for head in heads), tuple(heads))]
    steps = iter_patch_sets(
        model,
        pairs,
        named,
        direction=direction,
        component=component,
        n_random=n_random,
        seed=seed,
        max_bytes=max_bytes,
    )
    return finish(steps)


def top_k_sets(ranked: Sequence[tuple[int, int, float]], k: int) -> list[NamedSet]:
    """The first 1, 2, ... k heads of a ranking (``Scan.ranked("induction")``), for a curve against random sets.

    Raises:
        InputError: ``k`` is not between 1 and the number of ranked heads.
    """
    if not 1 <= k <= len(ranked):
        raise InputError(f"The curve goes from 1 head to at most {len(ranked)}, not {k}.")
    heads = [(layer, head) for layer, head, _ in ranked]
    return [NamedSet(f"top {size}", tuple(heads[:size])) for size in range(1, k + 1)]


def iter_patch_sets(
    model: TransformerBridge,
    pairs: Sequence[PromptPair],
    sets: Sequence[NamedSet],
    *,
    direction: Direction = "denoise",
    component: Component = "z",
    n_random: int = 0,
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
) -> Generator[Progress[HeadSets], None, None]:
    """Patch each set of heads, all its heads together, and random sets of the same shape; one pair per step.

    Args:
        sets: with grouped-query attention, k and v are patched for the whole group of each head named.
        n_random: control sets for each set (:func:`induction.interventions.random_sets`).
        seed: of the random sets and of the bootstrap.

    Yields:
        Progress; the last step carries the result. Closing cancels.

    Raises:
        InputError: no pairs or sets, an unknown name, or a head outside of the model.
    """
    pairs = list(pairs)
    check_request(model, pairs, direction, component)
    started = time.perf_counter()
    named, rows = rows_of(model, sets, n_random, seed)
    values = np.empty((len(rows), len(pairs), len(METRICS)))  # [row, pair, metric]
    plain = np.empty((2, len(pairs), len(METRICS)))  # clean, corrupted
    group = model.cfg.n_heads // columns(model, component)
    grouped = [tuple((layer, head // group) for layer, head in heads) for heads in rows]
    direct = True
    for index, pair in enumerate(pairs):
        yield Progress(index, len(pairs), f"pair {index + 1} of {len(pairs)}")
        base, source = runs(model, pair, direction, component)
        direct = direct and base.direct
        both = measure(torch.stack([base.logits, source.logits]), pair)
        plain[:, index] = both if direction == "noise" else both[::-1]
        start = pair.first_difference
        start = base.n_pos - 1 if start is None else start
        for which, logits in set_rows(
            model, base, grouped, component, source.activations, start=start, max_bytes=max_bytes
        ):
            values[which, index] = measure(logits, pair)

    measures: list[dict[str, Measure]] = [{} for _ in named]
    for at, metric in enumerate(METRICS):
        clean, corrupted = plain[..., at]
        keep = defined(clean, corrupted, metric)
        base_values = corrupted if direction == "denoise" else clean
        share = shares(values[:, keep, at].T, clean[keep], corrupted[keep], direction).T  # [row, pair]
        for s, found in enumerate(summarise(share, values[..., at], base_values, len(named), n_random, seed)):
            measures[s][metric] = Measure(**found, unit="share of the answer", undefined=int((~keep).sum()))
    result = HeadSets(
        model=name_of(model),
        n_layers=model.cfg.n_layers,
        n_heads=model.cfg.n_heads,
        origin=origin(model),
        protocol=f"{_protocol(pairs, component, 'all')}; {controls_in_words(n_random)}",
        intervention=direction,
        component=component,
        sets=[
            HeadSet(item.label, [list(head) for head in item.heads], found)
            for item, found in zip(named, measures, strict=True)
        ],
        n_random=n_random,
        pairs=[described(model, pair) for pair in pairs],
        engine="direct" if direct else "hooked",
        seed=seed,
        seconds=round(time.perf_counter() - started, 2),
        versions=versions(),
    )
    yield Progress(len(pairs), len(pairs), "done", result)


def rows_of(
    model: TransformerBridge, sets: Sequence[NamedSet], n_random: int, seed: int
) -> tuple[list[NamedSet], list[tuple[Head, ...]]]:
    """The checked sets, and all rows to run: first the sets, then ``n_random`` controls of each set in turn."""
    if not sets:
        raise InputError("Name at least one set of heads.")
    shape = {"n_layers": model.cfg.n_layers, "n_heads": model.cfg.n_heads}
    named = [NamedSet(item.label, check_heads(item.heads, **shape)) for item in sets]
    rows = [item.heads for item in named]
    for index, item in enumerate(named):
        rows += random_sets(item.heads, n_random, seed=seed + index, **shape)
    return named, rows


def set_rows(
    model: TransformerBridge,
    run: Run,
    sets: Sequence[tuple[Head, ...]],
    component: Component,
    values: Sequence[torch.Tensor],
    *,
    start: int = 0,
    max_bytes: int = MAX_BYTES,
    every_position: bool = False,
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Run one row per set, its heads' activations replaced at all positions.

    Args:
        sets: heads (or groups) of each row.
        values: per layer, the replacement ``[1, pos, head, d_head]`` (pattern: ``[1, head, query, key]``).

    Yields:
        ``(indices into sets, logits [row, d_vocab])``, with ``every_position`` logits ``[row, pos, d_vocab]``.
        Sets are taken by their lowest layer, because a row costs nothing below it.
    """
    by_layer: dict[int, list[int]] = {}
    for index, heads in enumerate(sets):
        by_layer.setdefault(min(layer for layer, _ in heads), []).append(index)
    for lowest in sorted(by_layer):
        indices = by_layer[lowest]
        edits: dict[int, Edit] = {}
        for row, index in enumerate(indices):
            for layer, head in sets[index]:
                if layer not in edits:
                    n_heads = values[layer].shape[1 if component == "pattern" else 2]
                    mask = torch.zeros(len(indices), 1, n_heads, dtype=torch.bool, device=run.tokens.device)
                    edits[layer] = Edit(component, mask, values[layer])
                edits[layer].mask[row, 0, head] = True
        done = 0
        for logits in run_rows(
            model,
            run,
            edits,
            n_rows=len(indices),
            start=start,
            max_bytes=max_bytes,
            every_position=every_position,
        ):
            yield indices[done : done + len(logits)], logits
            done += len(logits)


def summarise(
    effect: NDArray[np.float64],
    edited: NDArray[np.float64],
    baseline: NDArray[np.float64],
    n_sets: int,
    n_random: int,
    seed: int,
) -> list[dict]:
    """The numbers of :class:`~induction.results.patching.Measure` for each set.

    Args:
        effect: ``[row, prompt]``, prompts without a defined effect left out; rows as of :func:`rows_of`.
        edited: ``[row, prompt]``.
        baseline: ``[prompt]``.
    """
    found = []
    known = effect.shape[1] > 0
    for s in range(n_sets):
        own = effect[s]
        controls = effect[n_sets + s * n_random : n_sets + (s + 1) * n_random]
        low, high = bootstrap_interval(own, seed) if len(own) > 1 else (None, None)
        random = controls.mean(1) if known else np.empty(0)
        percentile = None
        if len(random):
            below, ties = (random < own.mean()).mean(), (random == own.mean()).mean()
            percentile = round(100 * float(below + ties / 2), 2)
        found.append(
            {
                "baseline": round(float(baseline.mean()), DIGITS),
                "edited": round(float(edited[s].mean()), DIGITS),
                "effect": round(float(own.mean()), DIGITS) if known else None,
                "low": None if low is None else round(float(low), DIGITS),
                "high": None if high is None else round(float(high), DIGITS),
                "random": np.round(random, DIGITS).tolist(),
                "percentile": percentile,
            }
        )
    return found
