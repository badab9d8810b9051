"""From logits to effects: the metrics of a prompt pair, and what an edit changes on the scale between its two runs.

Definitions and floors: :data:`induction.interventions.METRICS`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from induction.interventions import METRICS, Direction, PromptPair
from induction.results.patching import Effect, Grid
from induction.statistics import bootstrap_interval

DIGITS = 6


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
