"""Intervals hold about as often as they say; ``tests/scripts/coverage.py`` measures it at length."""

import coverage
import numpy as np
import pytest

from induction.analysis.scores import SCORES
from induction.base import ENOUGH, mean_interval


def covered(samples: np.ndarray, truth: float, **settings) -> float:
    low, high = mean_interval(samples, **settings)
    return float(np.mean((low <= truth) & (truth <= high)))


@pytest.mark.parametrize("n", coverage.SIZES)
def test_intervals_of_a_mean_hold_for_normal_and_for_skewed_values(n):
    rng = np.random.default_rng(n)
    normal, skewed = rng.normal(0.5, 0.1, (n, 20_000)), rng.exponential(0.5, (n, 20_000))
    assert covered(normal, 0.5, stratified=True) == pytest.approx(0.95, abs=0.006)  # Student's t is exact
    assert covered(normal, 0.5) == pytest.approx(0.95, abs=0.025)
    if n >= ENOUGH:
        assert covered(skewed, 0.5) == pytest.approx(0.95, abs=0.015)
        assert covered(skewed, 0.5) > covered(skewed, 0.5, stratified=True)


def test_among_many_all_intervals_hold_together():
    samples = np.random.default_rng(0).normal(0, 1, (10, 2000, 50))  # [sample, repetition, head]
    low, high = mean_interval(samples, among=50)
    assert np.mean(((low <= 0) & (high >= 0)).all(1)) == pytest.approx(0.95, abs=0.02)


def test_the_scores_of_the_bundled_model_are_covered(mini):
    """Prompts that share tokens would fail here, or intervals that are too narrow for ten of them."""
    found = coverage.of_scores(mini, {10: 40})[10]
    for name in SCORES:
        assert found[name].mean > 0.89, name
        assert found[name].mean < 0.99, name
        assert found[name].shown > 0.95, name


@pytest.mark.parametrize("n", [10, 20])
def test_the_ratio_of_skewed_pairs_is_covered(n):
    covered, undefined = coverage.of_ratios(n, n_samples=1000)
    assert 0.9 < covered < 0.98
    assert undefined < 0.05
