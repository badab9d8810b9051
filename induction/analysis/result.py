"""What a scan of all heads found. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from induction.analysis import reading
from induction.analysis.measured import HeadScores, RepeatLoss
from induction.analysis.scores import SCORES
from induction.base import InputError, Result, check_shape

DIGITS = 5
BAR_WIDTH = 24  # of a score of 1 in the terminal


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
