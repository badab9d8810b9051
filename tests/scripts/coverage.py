"""How often the 95 % intervals hold: ``python tests/scripts/coverage.py [MODEL ...]``, a few minutes; prints two
tables.

For every score: samples of 3, 5, 10 and 20 prompts, each made by ``repeated_batch`` with a seed of its own; the truth
is the mean over the prompts of all other samples; coverage is the share of intervals that hold it, mean over heads.
Beside it the head with the worst coverage, and the coverage of the intervals as two decimals show them, half a
hundredth wider on either side: many heads score hardly above 0, and what an interval misses there cannot be seen.

For the ratio of means: pairs whose gap between clean and corrupted is skewed, in numbers whose ratio is known.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[2])]

from induction.analysis import scanning as analysis
from induction.analysis.scores import SCORES
from induction.base import mean_interval, ratio_interval
from induction.model import SMOLLM2, availability, load_model

SHOWN = 0.005
SIZES = (3, 5, 10, 20)
# Samples of each size. SmolLM2 takes a second for a prompt.
SAMPLES = {3: 150, 5: 100, 10: 150, 20: 40}
SLOW_SAMPLES = {3: 8, 5: 8, 10: 30, 20: 3}
Values = dict[str, np.ndarray]  # of every score, [prompt, layer, head]


class Coverage(NamedTuple):
    """Of one score's intervals at one number of prompts; ``heads`` is ``[layer, head]``, shares of samples."""

    heads: np.ndarray
    shown: float

    @property
    def mean(self) -> float:
        return float(self.heads.mean())


def values(model, n_prompts: int, seed: int) -> Values:
    """Every score on every prompt of one scan."""
    scan = analysis.scan(model, n_prompts=n_prompts, seed=seed, scores=tuple(SCORES), loss=False)
    return {name: np.array(score.per_prompt) for name, score in scan.scores.items()}


def of_scores(model, n_samples: dict[int, int]) -> dict[int, dict[str, Coverage]]:
    """Coverage of each score's intervals, by number of prompts.

    Args:
        n_samples: how many samples of each number of prompts.
    """
    seeds = itertools.count()
    samples = {n: [values(model, n, next(seeds)) for _ in range(count)] for n, count in n_samples.items()}
    every = [sample for of_size in samples.values() for sample in of_size]
    total = {name: np.sum([sample[name].sum(0) for sample in every], axis=0) for name in SCORES}
    n_prompts = sum(n * count for n, count in n_samples.items())

    def held(sample: np.ndarray, name: str, margin: float) -> np.ndarray:  # [layer, head]
        true = (total[name] - sample.sum(0)) / (n_prompts - len(sample))
        low, high = (bound.clip(0, 1) for bound in mean_interval(sample, stratified=SCORES[name].varied))
        return (low - margin <= true) & (true <= high + margin)

    return {
        n: {
            name: Coverage(
                np.mean([held(sample[name], name, 0) for sample in of_size], axis=0),
                float(np.mean([held(sample[name], name, SHOWN) for sample in of_size])),
            )
            for name in SCORES
        }
        for n, of_size in samples.items()
    }


def of_ratios(n_pairs: int, n_samples: int = 4000, seed: int = 0) -> tuple[float, float]:
    """Coverage of Fieller's interval on skewed pairs whose true ratio is 1/2, and the share of samples without one."""
    rng = np.random.default_rng(seed)
    gap = rng.gamma(2, 1, (n_samples, n_pairs))  # of clean and corrupted: most small, some large
    recovered = gap * rng.beta(1, 1, gap.shape) + rng.normal(0, 0.2, gap.shape)
    held = []
    for numerator, denominator in zip(recovered, gap, strict=True):
        low, high = ratio_interval(numerator[:, None], denominator)
        held.append(np.nan if np.isnan(low[0]) else low[0] <= 0.5 <= high[0])
    return float(np.nanmean(held)), float(np.isnan(held).mean())


def main(names: list[str]) -> None:
    columns = [f"{n} prompts" for n in SIZES] + ["worst head at 10", "as shown at 10", "samples"]
    print(f"| model, score | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    for name in names:
        model = load_model(name)
        samples = SLOW_SAMPLES if model.cfg.n_layers > 6 else SAMPLES
        found = of_scores(model, samples)
        counts = ", ".join(f"{samples[n]} of {n}" for n in SIZES)
        for score in SCORES:
            at_ten = found[10][score]
            layer, head = np.unravel_index(at_ten.heads.argmin(), at_ten.heads.shape)
            cells = [f"{found[n][score].mean:.3f}" for n in SIZES]
            cells += [f"{layer}.{head} {at_ten.heads.min():.2f}", f"{at_ten.shown:.3f}", counts]
            print(f"| {name}, {score} | {' | '.join(cells)} |", flush=True)
    print("\n| ratio of means | coverage | no bounded interval |\n|---|---|---|")
    for n in SIZES:
        covered, undefined = of_ratios(n)
        print(f"| {n} pairs | {covered:.3f} | {undefined:.3f} |")


if __name__ == "__main__":
    here = ["mini-2l", *([SMOLLM2] if availability(SMOLLM2) == "installed" else [])]
    main(sys.argv[1:] or here)
