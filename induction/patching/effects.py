"""From logits to effects: the metrics of a prompt pair, and what an edit changes on the scale between its two runs.

The effect over several pairs is a ratio of means, ``mean(moved) / mean(clean - corrupted)`` over all of them
(:func:`moved`, :func:`ratio_of_means`), with Fieller's interval. A mean of ratios would let the pair with the smallest
gap decide, and leaving pairs out for how they came out would select on the outcome.

Definitions and floors: :data:`induction.patching.interventions.METRICS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from induction.base import Interval, mean_interval, ratio_interval
from induction.data_gen.pairs import PromptPair, labelled
from induction.patching.interventions import DIRECTIONS, METRICS, Direction, Metric, Scored
from induction.patching.results import Effect, Grid, Measure, Pair, not_better

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

DIGITS = 6


def measure(logits: torch.Tensor, pair: PromptPair) -> NDArray[np.float64]:
    """All metrics from logits ``[row, d_vocab]``: ``[row, metric]`` in the order of ``METRICS``."""
    return metrics(logits, pair).cpu().numpy()


def metrics(logits: torch.Tensor, pair: PromptPair) -> torch.Tensor:
    """As :func:`measure`, as a tensor that gradients flow through."""
    logits = logits.double()
    scored = Scored(logits[:, pair.answer], logits[:, pair.distractor], logits.logsumexp(-1))  # each [row]
    return torch.stack([metric.of(scored) for metric in METRICS.values()], -1)


def described(model: TransformerBridge, pair: PromptPair) -> Pair:
    """A pair as results store it."""
    pair = labelled(model, pair)
    return Pair(
        clean=list(pair.clean_labels),
        corrupted=list(pair.corrupted_labels),
        answer=pair.answer_label,
        distractor=pair.distractor_label,
        position=pair.scored,
    )


# Ratios of means


def moved(
    values: NDArray[np.float64],
    clean: NDArray[np.float64],
    corrupted: NDArray[np.float64],
    direction: Direction,
) -> NDArray[np.float64]:
    """How far patched values ``[pair, ...]`` moved, see :class:`induction.patching.interventions.RunOrder`.

    ``clean``, ``corrupted``: ``[pair]``.
    """
    clean, corrupted = (end.reshape(-1, *[1] * (values.ndim - 1)) for end in (clean, corrupted))
    return DIRECTIONS[direction].moved(values, clean, corrupted)


def ratio_of_means(
    change: NDArray[np.float64], gap: NDArray[np.float64], floor: float
) -> NDArray[np.float64]:
    """Effect of each cell: ``mean(change) / mean(gap)`` over the pairs, NaN where ``mean(gap)`` is below the floor.

    Args:
        change: ``[pair, ...]`` as of :func:`moved`; NaN marks what is not computed yet. A cell takes numerator and
            denominator from the same pairs, those it has a value for.
        gap: clean - corrupted, ``[pair]``.
    """
    there = ~np.isnan(change)
    count = there.sum(0)
    gaps = np.where(there, gap.reshape(-1, *[1] * (change.ndim - 1)), 0).sum(0)
    known = (count > 0) & (gaps >= floor * count)
    return np.where(known, np.where(there, change, 0).sum(0) / np.where(known, gaps, 1), np.nan)


def ratio_bounds(change: NDArray[np.float64], gap: NDArray[np.float64], floor: float) -> Interval | None:
    """Fieller's interval of :func:`ratio_of_means`, ``(low, high)`` of every cell; None with fewer than two pairs.

    NaN where the effect is undefined, and everywhere where the pairs do not tell the mean gap from 0: no bounded
    interval holds then.
    """
    if len(gap) < 2:
        return None
    undefined = np.isnan(ratio_of_means(change, gap, floor))
    low, high = ratio_interval(change, gap)
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)


# Every head on its own


def effects_of(
    plain: NDArray[np.float64], patched: NDArray[np.float64], direction: Direction, *, complete: bool
) -> dict[str, Effect]:
    """Effects of all metrics; NaN marks what is not computed yet. Intervals and values per pair come when complete.

    Args:
        plain: ``[clean or corrupted, pair, metric]``.
        patched: ``[pair, layer, head, metric]`` or ``[pair, layer, head, pos, metric]``.
    """
    effects = {}
    for at, (name, metric) in enumerate(METRICS.items()):
        begun = ~np.isnan(plain[0, :, at])
        clean, corrupted = plain[:, begun, at]
        values = patched[begun][..., at]  # [pair, layer, head, (pos)]
        change, gap = moved(values, clean, corrupted, direction), clean - corrupted
        bounds = ratio_bounds(change, gap, metric.floor) if complete else None
        low, high = (None, None) if bounds is None else map(nested, bounds)
        ends = {"clean": nested(clean), "corrupted": nested(corrupted)}
        effects[name] = Effect(
            **ends,
            patched=nested(values) if complete else None,
            mean=nested(ratio_of_means(change, gap, metric.floor)),
            low=low,
            high=high,
            floor=metric.floor,
            not_better=not_better(**ends, floor=metric.floor),
        )
    return effects


def nested(values: NDArray[np.float64], digits: int = DIGITS) -> Grid:
    """Nested lists, rounded, None for NaN."""
    rounded = np.round(values, digits).astype(object)
    rounded[np.isnan(values)] = None
    return rounded.tolist()


# Sets of heads. Rows are those of :func:`induction.patching.heads.rows_of`: first the sets, then each one's controls.


def shares(
    patched: NDArray[np.float64],
    clean: NDArray[np.float64],
    corrupted: NDArray[np.float64],
    direction: Direction,
    n_sets: int,
    n_random: int,
    metric: Metric,
) -> list[Measure]:
    """One metric of each patched set: the share of the answer that it moves, with Fieller's interval.

    Args:
        patched: ``[row, pair]``; ``clean``, ``corrupted``: ``[pair]``.
    """
    change, gap = moved(patched.T, clean, corrupted, direction), clean - corrupted  # [pair, row], [pair]
    start, end = DIRECTIONS[direction].order(clean, corrupted)
    return _measures(
        ratio_of_means(change, gap, metric.floor),
        ratio_bounds(change[:, :n_sets], gap, metric.floor),
        patched.mean(1),
        start,
        n_random,
        unit="share of the answer",
        other=round(float(end.mean()), DIGITS),
        not_better=not_better(nested(clean), nested(corrupted), metric.floor),
    )


def changes(
    edited: NDArray[np.float64], intact: NDArray[np.float64], n_sets: int, n_random: int, unit: str
) -> list[Measure]:
    """One measure of each ablated set: mean of edited minus intact, in ``unit``, with a t-interval.

    Args:
        edited: ``[row, prompt]``; ``intact``: ``[prompt]``.
    """
    change = (edited - intact).T  # [prompt, row]
    bounds = mean_interval(change[:, :n_sets]) if len(intact) > 1 else None
    return _measures(change.mean(0), bounds, edited.mean(1), intact, n_random, unit=unit)


def _measures(
    effect: NDArray[np.float64],
    bounds: Interval | None,
    edited: NDArray[np.float64],
    baseline: NDArray[np.float64],
    n_random: int,
    **same: Any,
) -> list[Measure]:
    """One :class:`Measure` per set, of means ``[row]``, bounds ``[set]`` and the plain values ``[prompt]``.

    ``same``: fields that all sets have in common.
    """
    n_sets = len(effect) // (1 + n_random)
    low, high = ([None] * n_sets,) * 2 if bounds is None else map(nested, bounds)
    found = []
    for s, (own, below, above) in enumerate(zip(nested(effect[:n_sets]), low, high, strict=True)):
        random = effect[n_sets + s * n_random : n_sets + (s + 1) * n_random]
        random = random[~np.isnan(random)]  # none where the effect is undefined
        percentile = None
        if len(random):
            smaller, ties = (random < effect[s]).mean(), (random == effect[s]).mean()
            percentile = round(100 * float(smaller + ties / 2), 2)
        found.append(
            Measure(
                baseline=round(float(baseline.mean()), DIGITS),
                edited=round(float(edited[s]), DIGITS),
                effect=own,
                low=below,
                high=above,
                random=nested(random),
                percentile=percentile,
                **same,
            )
        )
    return found
