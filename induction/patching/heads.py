"""Activation patching: which heads carry the answer from the context to the prediction?

Two runs differ in context and share the scored position and the answer. One activation of one run is
copied into the other, and the answer is scored again (:data:`induction.patching.interventions.DIRECTIONS`).
:func:`patch_heads` does it for every head on its own, :func:`iter_patch_sets` for heads together, against random
sets. Both are exact: the numbers of one hooked forward pass per patch, computed by :mod:`induction.patching.sweep`.

Heimersheim & Nanda 2024 (arXiv 2404.15255); Zhang & Nanda 2024 (arXiv 2309.16042).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from induction.base import Head, InputError, Progress, check_choice, check_heads, finish, finished, head_name
from induction.data_gen.pairs import PromptPair, check_pairs, in_words
from induction.model import provenance
from induction.patching.effects import described, effects_of, measure, shares
from induction.patching.interventions import (
    COMPONENTS,
    DIRECTIONS,
    METRICS,
    Component,
    Direction,
    random_sets,
)
from induction.patching.results import HeadSet, HeadSets, Measure, Patching
from induction.patching.sweep import MAX_BYTES, Run, columns, record
from induction.patching.table import Prompt, Row, Table

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Positions = Literal["all", "each"]


def check_patching(
    model: TransformerBridge, pairs: Sequence[PromptPair], direction: str, component: str
) -> list[PromptPair]:
    """The pairs; raises InputError where there is none, one does not fit the model, or a name is unknown."""
    check_pairs(model, pairs)
    check_choice(direction, tuple(DIRECTIONS), "direction")
    check_choice(component, tuple(COMPONENTS), "component")
    return list(pairs)


def runs(
    model: TransformerBridge, pair: PromptPair, direction: Direction, component: Component
) -> tuple[Run, Run, NDArray[np.float64]]:
    """The run that is patched, the run that the activation comes from, and the metrics of both.

    Returns:
        the metrics as ``[clean or corrupted, metric]``.
    """
    order = DIRECTIONS[direction].order
    target, source = order(pair.clean[: pair.scored + 1], pair.corrupted[: pair.scored + 1])
    base, other = record(model, target), record(model, source, component=component)
    plain = measure(torch.stack([base.logits, other.logits]), pair)
    return base, other, np.stack(order(*plain))


def table_of(
    model: TransformerBridge,
    pairs: Sequence[PromptPair],
    rows: Sequence[Row],
    direction: Direction,
    component: Component,
    max_bytes: int,
) -> Table:
    """The metrics of every pair, with the heads of each row patched."""

    def prompt(index: int, pair: PromptPair) -> Prompt:
        base, source, plain = runs(model, pair, direction, component)
        first = pair.first_difference
        start = base.n_pos - 1 if first is None else first
        label = f"pair {index + 1} of {len(pairs)}"
        return Prompt(label, base, source.activations, partial(measure, pair=pair), plain, start)

    prompts = [partial(prompt, *item) for item in enumerate(pairs)]
    return Table(model, component, rows, prompts, n_plain=2, n_measures=len(METRICS), max_bytes=max_bytes)


# Every head on its own


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
    pairs = check_patching(model, pairs, direction, component)
    check_choice(positions, ("all", "each"), "choice of positions")
    started = time.perf_counter()
    lengths = {pair.scored + 1 for pair in pairs}
    if positions == "each" and len(lengths) > 1:
        raise InputError(
            "Patching position by position needs prompt pairs of the same length; use one length."
        )
    n_layers, n_heads = model.cfg.n_layers, columns(model, component)
    at = list(range(lengths.pop())) if positions == "each" else [None]
    heads = [(layer, head) for layer in range(n_layers) for head in range(n_heads)]
    rows = [Row((head,), position) for head in heads for position in at]
    table = table_of(model, pairs, rows, direction, component, max_bytes)
    shape = (n_layers, n_heads, *([len(at)] if positions == "each" else []), *table.edited.shape[1:])
    # A view, which fills with the table: [pair, layer, head, (pos), metric].
    patched = np.moveaxis(table.edited.reshape(shape), -2, 0)
    where = "at all positions together" if positions == "all" else "one position at a time"
    about = {
        **about_sweep(model, pairs, direction, component),
        "protocol": f"{_copied(pairs, component)} {where}",
        "method": "exact",
        "positions": positions,
        "n_positions": len(at) if positions == "each" else None,
        "seed": seed,
    }

    def result(complete: bool) -> Patching:
        effects = effects_of(table.plain, patched, direction, complete=complete)
        seconds = round(time.perf_counter() - started, 2)
        return Patching(**about, effects=effects, engine=table.engine, seconds=seconds)

    for label, layer, whole in table.fill():
        if whole:
            yield Progress(table.done, table.total, f"{label}, layer {layer}", result(complete=False))
    yield Progress(table.total, table.total, "done", result(complete=True))


patch_heads = finished(iter_patch_heads)


def about_sweep(
    model: TransformerBridge, pairs: Sequence[PromptPair], direction: Direction, component: Component
) -> dict[str, Any]:
    """Fields of :class:`Patching` that say of what it is."""
    n_heads = columns(model, component)
    return {
        **provenance(model),
        "n_heads": n_heads,
        "kind": "computed",
        "direction": direction,
        "component": component,
        "unit": "head" if n_heads == model.cfg.n_heads else "group",
        "group_size": model.cfg.n_heads // n_heads,
        "task": pairs[0].task,
        "pairs": [described(model, pair) for pair in pairs],
    }


def _copied(pairs: Sequence[PromptPair], component: Component) -> str:
    return f"{in_words(pairs)}; {COMPONENTS[component].title.lower()} copied"


# Heads together


@dataclass(frozen=True)
class NamedSet:
    """Heads to edit together, under a label."""

    label: str
    heads: tuple[Head, ...]

    @classmethod
    def of(cls, heads: Sequence[Head]) -> NamedSet:
        """Under the names of its heads."""
        return cls(", ".join(map(head_name, heads)), tuple(heads))


def patch_set(
    model: TransformerBridge, pairs: Sequence[PromptPair], heads: Sequence[Head], **settings: Any
) -> HeadSets:
    """Patch one set of heads together; settings as of :func:`iter_patch_sets`."""
    return finish(iter_patch_sets(model, pairs, [NamedSet.of(heads)], **settings))


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
    """Patch each set of heads, all its heads together, and random sets of the same shape.

    Args:
        sets: with grouped-query attention, k and v are patched for the whole group of each head named.
        n_random: control sets for each set (:func:`induction.patching.interventions.random_sets`).
        seed: of the random sets.

    Yields:
        Progress; the last step carries the result. Closing cancels.

    Raises:
        InputError: no pairs or sets, an unknown name, or a head outside of the model.
    """
    pairs = check_patching(model, pairs, direction, component)
    started = time.perf_counter()
    named, rows = rows_of(model, sets, n_random, seed)
    group = model.cfg.n_heads // columns(model, component)
    grouped = [Row(tuple((layer, head // group) for layer, head in row.heads)) for row in rows]
    table = table_of(model, pairs, grouped, direction, component, max_bytes)
    for label, _, _ in table.fill():
        yield Progress(table.done, table.total, label)
    found = {
        name: shares(table.edited[..., at], *table.plain[..., at], direction, len(named), n_random, metric)
        for at, (name, metric) in enumerate(METRICS.items())
    }
    result = HeadSets(
        **about_sets(model, named, found, pairs, n_random, seed),
        protocol=f"{_copied(pairs, component)} at all positions together; {controls_in_words(n_random)}",
        intervention=direction,
        component=component,
        engine=table.engine,
        seconds=round(time.perf_counter() - started, 2),
    )
    yield Progress(table.total, table.total, "done", result)


def rows_of(
    model: TransformerBridge, sets: Sequence[NamedSet], n_random: int, seed: int
) -> tuple[list[NamedSet], list[Row]]:
    """The checked sets, and all rows to run: first the sets, then ``n_random`` controls of each set in turn."""
    if not sets:
        raise InputError("Name at least one set of heads.")
    shape = {"n_layers": model.cfg.n_layers, "n_heads": model.cfg.n_heads}
    named = [NamedSet(item.label, check_heads(item.heads, **shape)) for item in sets]
    rows = [item.heads for item in named]
    for index, item in enumerate(named):
        rows += random_sets(item.heads, n_random, seed=seed + index, **shape)
    return named, [Row(heads) for heads in rows]


def controls_in_words(n_random: int) -> str:
    """How the random sets of :func:`rows_of` are drawn, if any."""
    return f"{n_random} random sets each of other heads in the same layers" if n_random else "no random sets"


def about_sets(
    model: TransformerBridge,
    named: Sequence[NamedSet],
    found: dict[str, list[Measure]],
    pairs: Sequence[PromptPair],
    n_random: int,
    seed: int,
) -> dict[str, Any]:
    """Fields of :class:`HeadSets` that are made alike of patched and of ablated sets.

    Args:
        found: by measure, one per set.
    """
    sets = [
        HeadSet(
            label=item.label,
            heads=[list(head) for head in item.heads],
            measures={name: measures[number] for name, measures in found.items()},
        )
        for number, item in enumerate(named)
    ]
    shown = [described(model, pair) for pair in pairs]
    made = {"n_random": n_random, "seed": seed, "task": pairs[0].task}
    return {**provenance(model), "sets": sets, "pairs": shown, **made}
