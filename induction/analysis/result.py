"""What was measured of the heads and the losses of a model, and a scan of all of them. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Any, ClassVar, Literal

from induction.analysis import reading
from induction.analysis.scores import SCORES
from induction.base import Grid, InputError, Number, Part, Result, check_shape

DIGITS = 5
BAR_WIDTH = 24  # of a score of 1 in the terminal


class HeadScores(Part):
    """One score of every head.

    ``mean`` is ``[layer][head]``; ``low`` and ``high`` bound the 95 % interval over
    prompts (:func:`induction.base.mean_interval`, within what a score can be); ``per_prompt`` is
    ``[prompt][layer][head]``. Published results may have ``std`` over runs instead.

    What a score is read against, all on the same prompts, None where the source
    gives too little to compute it:

    - ``chance``: what a head scores that looks everywhere evenly.
    - ``ceiling``: the most that any head can score; 1 on two copies, less on a text
      with more.
    - ``reach``: ``[layer]``, the same for the heads of one layer. Less than the
      ceiling where every head of the layer gives exactly 0 to cells of the score, as
      behind a sliding window.
    - ``mimics``: what a head would score that does something else: another score
      perfectly (by its name), or always looking one distance back whatever the
      tokens (``"49 back"``, the best such distance). Absent: 0.
    """

    mean: Grid
    protocol: str
    low: Grid | None = None
    high: Grid | None = None
    std: Grid | None = None
    per_prompt: list[Grid] | None = None
    chance: Number | None = None
    ceiling: Number | None = None
    reach: list[Number] | None = None
    mimics: dict[str, Number] | None = None
    n_runs: int | None = None
    source: str | None = None

    @property
    def capped(self) -> float | None:
        """The ceiling where it is below 1, so that a score has to be read against it; else None."""
        return self.ceiling if self.ceiling is not None and round(self.ceiling, 2) < 1 else None

    @property
    def levels(self) -> str:
        """What the score is read against on its prompts, ceiling and chance, as far as they are known, in words."""
        parts = []
        if self.ceiling is not None:
            parts.append(f"ceiling {self.ceiling:.2f}" if self.capped else "ceiling 1")
        if self.chance is not None:
            parts.append(f"chance (uniform attention) {self.chance:.3f}")
        return ", ".join(parts)


class RepeatLoss(Part):
    """Loss in nats on a repeated sequence, by index within the first and the second copy.

    ``first[0]`` is None where no BOS stands in front: nothing predicts that token then. The means skip the
    first token of each copy, which nothing announces.
    """

    first: list[Number | None]
    second: list[Number]
    protocol: str

    @property
    def first_mean(self) -> float:
        return fmean(value for value in self.first[1:] if value is not None)

    @property
    def second_mean(self) -> float:
        return fmean(self.second[1:])

    @property
    def gain(self) -> float:
        """In-context gain: first mean minus second mean."""
        return self.first_mean - self.second_mean


class Scan(Result):
    """Scores of all heads of one model.

    ``kind`` is ``"computed"`` (by this project's code) or ``"published"`` (by others).
    Scores that were not measured are absent, never zero.
    """

    SCHEMA: ClassVar[str] = "induction-scan/2"

    kind: Literal["computed", "published"]
    scores: dict[str, HeadScores]
    loss: RepeatLoss | None = None

    def score(self, name: str) -> HeadScores:
        """
        Raises:
            InputError: the score was not measured.
        """
        if name not in self.scores:
            raise InputError(
                f"{self.model} has no score '{name}' here; choose from {', '.join(self.scores)}."
            )
        return self.scores[name]

    def ranked(self, score: str = "induction") -> list[tuple[int, int, float]]:
        """``(layer, head, mean)`` of all heads, highest first.

        Raises:
            InputError: the score was not measured.
        """
        grid = self.score(score).mean
        heads = [(layer, head, value) for layer, row in enumerate(grid) for head, value in enumerate(row)]
        return sorted(heads, key=lambda item: -item[2])

    def verdict(self) -> str:
        return reading.verdict(self)

    def heading(self) -> list[str]:
        return super().heading()[:1]

    def listing(self, by: str = "", top: int = 10) -> Iterator[dict[str, Any]]:
        """The ranking with intervals and a bar per head."""
        by = by or "induction"
        measured = self.score(by)
        for rank, (layer, head, mean) in enumerate(self.ranked(by)[:top], 1):
            interval = ""
            if measured.low and measured.high:
                interval = f"{measured.low[layer][head]:.3f} to {measured.high[layer][head]:.3f}"
            bar = "█" * round(BAR_WIDTH * min(max(mean, 0), 1))
            shown = {"score": f"{mean:.3f}", "95 % interval": interval, "": bar}
            yield {"rank": rank, "head": f"{layer}.{head}", **shown}

    def words(self, by: str = "") -> list[str]:
        """The score and its levels, the verdict (on induction), the leader as a pick, and what to beware of."""
        by = by or "induction"
        defined = f"{SCORES[by].title}: {self.score(by).protocol}"
        return [
            defined,
            self.score(by).levels,
            self.verdict(),
            str(reading.selection(self, by)),
            *reading.remarks(self, by, "induction"),
        ]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per head, one column per score, and its share of the ceiling where that is below 1."""
        for layer in range(self.n_layers):
            for head in range(self.n_heads):
                shares = {name: score.mean[layer][head] for name, score in self.scores.items()}
                shares |= {
                    f"{name}_of_ceiling": score.mean[layer][head] / score.capped
                    for name, score in self.scores.items()
                    if score.capped
                }
                yield {"layer": layer, "head": head, **{name: round(v, DIGITS) for name, v in shares.items()}}

    def check(self) -> None:
        for name, score in self.scores.items():
            for grid in (score.mean, score.low, score.high, score.std, *(score.per_prompt or [])):
                check_shape(f"score '{name}'", grid, self.n_layers, self.n_heads)
            check_shape(f"the reach of score '{name}'", score.reach, self.n_layers)
        if self.loss and (len(self.loss.second) < 2 or len(self.loss.first) != len(self.loss.second)):
            raise ValueError("the losses of the two copies do not fit each other")
