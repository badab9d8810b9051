"""What was measured of the heads and the losses of a model: pieces of a scan. No torch."""

from __future__ import annotations

from statistics import fmean

from induction.base import Grid, Number, Part


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
