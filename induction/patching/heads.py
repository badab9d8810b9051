"""Activation patching: which heads carry the answer from the context to the prediction?

Two runs differ in context and share the scored position and the answer. One activation of one run is
copied into the other, and the answer is scored again (:data:`induction.patching.interventions.DIRECTIONS`).
:func:`patch_heads` does it for every head on its own, :func:`patch_sets` for heads together, against random
sets. Both are exact: the numbers of one hooked forward pass per patch, computed by :mod:`induction.patching.sweep`.

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

from induction.base import InputError, Progress, finish, versions
from induction.data_gen.pairs import check_pairs, described, in_words
from induction.model import name_of, origin
from induction.patching.effects import effects_of, measure, shares
from induction.patching.interventions import (
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
from induction.patching.results import HeadSet, HeadSets, Measure, Patching
from induction.patching.sweep import MAX_BYTES, Edit, Run, record, run_rows

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Positions = Literal["all", "each"]


# Every head on its own


def patch_heads(
    model: TransformerBridge,
    pairs: Sequence[PromptPair],
    *,
    direction: Direction = "denoise",
    component: Component = "z",
    positions: Positions = "all",
    seed: int | None = None,
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
    seed: int | None = None,
    max_bytes: int = MAX_BYTES,
) -> Generator[Progress[Patching], None, None]:
    """Patch every head on its own, one layer of one pair per step, last layer first (the cheapest).

    Args:
        direction: a name of :data:`induction.patching.interventions.DIRECTIONS`.
        component: a name of :data:`induction.patching.interventions.COMPONENTS`; k and v by group where heads share
            them.
        positions: ``all`` copies the activation at every position at once, ``each`` at one position at a time
            (for the pattern, one query), which needs pairs of the same length.
        seed: that the pairs were drawn with, if any; stored with the result.
        max_bytes: activations that a batch of patched runs may hold; changes nothing but time.

    Yields:
        Progress, each step with the result so far: the pairs done, and of the present pair the layers done (effects
        over what is there, None elsewhere). The last step's result is complete, with intervals. Closing cancels.

    Raises:
        InputError: no pairs, an unknown name, or pairs of different lengths with ``each``.
    """
    pairs = list(pairs)
    check_pairs(model, pairs)
    check_choice(direction, tuple(DIRECTIONS), "direction")
    check_choice(component, tuple(COMPONENTS), "component")
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
                complete=complete,
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
        n_random: control sets for each set (:func:`induction.patching.interventions.random_sets`).
        seed: of the random sets.

    Yields:
        Progress; the last step carries the result. Closing cancels.

    Raises:
        InputError: no pairs or sets, an unknown name, or a head outside of the model.
    """
    pairs = list(pairs)
    check_pairs(model, pairs)
    check_choice(direction, tuple(DIRECTIONS), "direction")
    check_choice(component, tuple(COMPONENTS), "component")
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
    for at, (name, metric) in enumerate(METRICS.items()):
        found = shares(values[..., at], *plain[..., at], direction, len(named), n_random, metric)
        for own, measured in zip(measures, found, strict=True):
            own[name] = measured
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
