"""Intervals over prompts, which must have been drawn independently of each other.

What they hold on the scores of real heads, which are skewed (most prompts near 0, a few far from it), is measured by
``tests/scripts/coverage.py``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
ENOUGH = 10  # samples from which on their skewness is corrected for
NEGLIGIBLE = 1e-6  # skewness below which there is nothing to correct
Interval = tuple[NDArray[np.float64], NDArray[np.float64]]


def mean_interval(values: NDArray[np.float64], *, among: int = 1, stratified: bool = False) -> Interval:
    """Student's t interval (95 %) of the mean over the first axis, corrected for skewness.

    Hall 1992, On the Removal of Skewness by Transformation: instead of the t statistic T a cubic in T, from which the
    skewness is gone to first order, is held between the quantiles; the cubic has one inverse.

    Args:
        values: ``[sample, ...]``, at least two samples, no NaN. With fewer than :data:`ENOUGH` the skewness is too
            uncertain to correct for: intervals would grow out of all proportion.
        stratified: the samples run evenly over a range (of lengths). Their spread then overstates the error of the
            mean, which makes up for the skewness: nothing is corrected.
        among: of how many means the one on hand was picked. More than 1 widens the interval until all of them hold
            together with 95 % (Bonferroni), so that it also holds for the largest. So far out in the tails
            no skewness is corrected either.

    Returns:
        ``(low, high)``, each ``[...]``.
    """
    n, mean, error = len(values), values.mean(0), standard_error(values)
    quantile = _quantile(n, among)
    known = n >= ENOUGH and among == 1 and not stratified
    skewness = _skewness(values) if known else np.zeros_like(error)

    def t_of(cubic: float) -> NDArray[np.float64]:
        bent = np.cbrt(1 + skewness * (cubic / np.sqrt(n) - skewness / (6 * n))) - 1
        straight = np.full_like(skewness, cubic)
        return np.divide(3 * np.sqrt(n) * bent, skewness, out=straight, where=np.abs(skewness) > NEGLIGIBLE)

    return mean - error * t_of(quantile), mean - error * t_of(-quantile)


def ratio_interval(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> Interval:
    """Fieller's interval (95 %) of a ratio of means, ``mean(numerator) / mean(denominator)``, of paired samples.

    Args:
        numerator: ``[sample, ...]``, at least two samples, no NaN.
        denominator: ``[sample]``.

    Returns:
        ``(low, high)``, each ``[...]``; NaN where the samples do not tell the denominator from 0, since no
        bounded interval holds then.
    """
    n = len(denominator)
    below = denominator.reshape(-1, *[1] * (numerator.ndim - 1))  # [sample, 1, ...]
    above_mean, below_mean = numerator.mean(0), float(denominator.mean())
    t2 = _quantile(n) ** 2 / n
    covariance = ((numerator - above_mean) * (below - below_mean)).sum(0) / (n - 1)
    # The ratios r with |mean(numerator - r * denominator)| <= t * its standard error: a r^2 - 2 b r + c <= 0.
    a = below_mean**2 - t2 * denominator.var(ddof=1)
    b = above_mean * below_mean - t2 * covariance
    c = above_mean**2 - t2 * numerator.var(0, ddof=1)
    if a <= 0:
        return np.full_like(b, np.nan), np.full_like(b, np.nan)
    root = np.sqrt(np.maximum(b**2 - a * c, 0))
    return (b - root) / a, (b + root) / a


def wilson_interval(count: int, n: int) -> tuple[float, float]:
    """Wilson's score interval (95 %) of a share, ``count`` of ``n``, which also holds near 0 and 1.

    Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference.
    """
    from scipy.special import ndtri

    z, share = float(ndtri(1 - (1 - CONFIDENCE) / 2)), count / n
    middle, width = share + z**2 / (2 * n), z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return max(0.0, float(middle - width) / scale), min(1.0, float(middle + width) / scale)


def expected_passes(values: NDArray[np.float64], chance: float, threshold: float) -> float:
    """How many of many means would reach a threshold if each stood for a true value of ``chance``.

    Args:
        values: ``[sample, ...]``; each mean keeps the spread between its own samples.
    """
    from scipy.special import stdtr

    error = standard_error(values)
    with np.errstate(divide="ignore"):
        distance = (threshold - chance) / error
    return float(stdtr(len(values) - 1, -distance).sum())


def standard_error(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the mean over the first axis."""
    return values.std(0, ddof=1) / np.sqrt(len(values))


def _skewness(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of three samples or more along the first axis, ``[...]``; 0 where they are all alike."""
    n, deviation = len(values), values.std(0, ddof=1)
    third = ((values - values.mean(0)) ** 3).sum(0) * (n / ((n - 1) * (n - 2)))
    return np.divide(third, deviation**3, out=np.zeros_like(deviation), where=deviation > 0)


def _quantile(n: int, among: int = 1) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, 1 - (1 - CONFIDENCE) / (2 * among)))
