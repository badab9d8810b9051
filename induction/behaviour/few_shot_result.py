"""Abstract patterns from examples: how often the next line is completed as the lines before it. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from induction.base import Number, Part, Result, check_shape, head_name
from induction.patching.interventions import ABLATIONS, by_name

CHANCE = 0.5  # of the two words of the line one is right


@dataclass(frozen=True)
class Pattern:
    """How the third word of a line follows from the first two; ``answer`` is the place of the word that it repeats."""

    name: str
    title: str
    meaning: str
    answer: int


PATTERNS: dict[str, Pattern] = by_name(
    Pattern("aba", "A B A", "The third word repeats the first, which stands two words back.", 0),
    Pattern("abb", "A B B", "The third word repeats the second, the one before it.", 1),
)


class Curve(Part):
    """Accuracy by number of examples, mean over prompts with its 95 % interval.

    Attributes:
        overall: over all lines that have an example, with its interval ``overall_low`` to ``overall_high``.
    """

    mean: list[Number]
    low: list[Number]
    high: list[Number]
    overall: Number
    overall_low: Number
    overall_high: Number


class Lost(Part):
    """Accuracy over all lines with an example that is lost without the set: mean over prompts, 95 % interval, and the
    same without each random set."""

    mean: Number
    low: Number
    high: Number
    random: list[Number]


class FewShot(Result):
    """Accuracy on a pattern after 0, 1, … examples, intact, without a set of heads and without random ones.

    Attributes:
        heads: the set, ``[layer, head]``.
        random: without each of the random sets in turn, ``[set][examples]``; ``random_mean`` over all of them, with an
            interval over prompts.
    """

    SCHEMA: ClassVar[str] = "induction-few-shot/1"

    pattern: str
    heads: list[list[int]]
    ablation: str
    intact: Curve
    without: Curve
    random_mean: Curve | None
    random: list[list[Number]]
    lost: Lost
    protocol: str

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row per number of examples."""
        curves = {"intact": self.intact, "without": self.without, "random": self.random_mean}
        for examples in range(len(self.intact.mean)):
            cells = {
                f"{name}{'' if end == 'mean' else f'_{end}'}": getattr(curve, end)[examples]
                if curve
                else None
                for name, curve in curves.items()
                for end in ("mean", "low", "high")
            }
            yield {"examples": examples, **cells}

    def learns(self) -> bool:
        """Whether the intact model is above chance on the lines that have an example."""
        return self.intact.overall_low > CHANCE

    def verdict(self) -> str:
        title, intact = PATTERNS[self.pattern].title, self.intact
        most = len(intact.mean) - 1
        said = f"Of the lines with 1 to {most} examples of {title} the model gets {intact.overall:.0%} right"
        if not self.learns():
            return (
                f"{said} ({intact.overall_low:.0%} to {intact.overall_high:.0%}), which is not above chance "
                f"({CHANCE:.0%}): it does not take up the pattern, so nothing can be lost."
            )
        random = "" if self.random_mean is None else f", without random heads {self.random_mean.overall:.0%}"
        heads = ", ".join(head_name((layer, head)) for layer, head in self.heads[:6])
        more = f" and {len(self.heads) - 6} more" if len(self.heads) > 6 else ""
        return (
            f"{said}, without {heads}{more} {self.without.overall:.0%}{random} (chance {CHANCE:.0%}). Lost: "
            f"{self.lost.mean:.2f}, 95 % interval {self.lost.low:.2f} to {self.lost.high:.2f}."
        )

    def heading(self) -> list[str]:
        return [f"{self.model}: {PATTERNS[self.pattern].title} from examples", self.protocol]

    def check(self) -> None:
        n = len(self.intact.mean)
        if self.pattern not in PATTERNS or self.ablation not in ABLATIONS:
            raise ValueError("no such pattern or ablation")
        for curve in filter(None, (self.intact, self.without, self.random_mean)):
            for part in (curve.mean, curve.low, curve.high):
                check_shape("a curve", part, n)
