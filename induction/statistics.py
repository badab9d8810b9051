"""Intervals over prompts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95


def bootstrap_interval(
    values: NDArray[np.float64], seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile bootstrap interval (95 %) of the mean over the first axis.

    Args:
        values: ``[sample, ...]``, at least two samples, no NaN.

    Returns:
        ``(low, high)``, each ``[...]``.
    """
    n = len(values)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, [1 / n] * n, size=RESAMPLES) / n  # [resample, sample]
    means = np.tensordot(weights, values, axes=1)  # [resample, ...]
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return low, high
