"""What a head is, from what was measured: the rules and their thresholds, declared once. No torch.

The rules are tried from top to bottom and the first that holds names the head. A high induction score
alone does not show that a head copies: copy-suppression heads attend to the same place and lower the answer
(McDougall et al. 2023, arXiv 2310.04625).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STRIPE = 0.4  # mean attention at the cells of a score from which on a head counts as such
SINK = 0.7  # mean attention to position 0
AGAINST = -0.1  # logits that a head itself adds to answer minus distractor


@dataclass(frozen=True)
class Kind:
    """A kind of head: the score that must reach its threshold, and whether it must work against the answer."""

    name: str
    title: str
    meaning: str
    score: str | None = None
    threshold: float = 0.0
    against: bool = False

    @property
    def rule(self) -> str:
        """The rule in words."""
        if self.score is None:
            return "none of the other rules holds"
        text = f"{self.score.replace('_', '-')} score at least {self.threshold:g}"
        return f"{text} and direct effect at most {AGAINST:g} logits" if self.against else text


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "copy_suppression",
            "Copy suppression",
            "Attends where an induction head does and lowers the token it finds there.",
            "induction",
            STRIPE,
            against=True,
        ),
        Kind(
            "induction",
            "Induction head",
            "Attends to the token that followed the earlier copy of the current token.",
            "induction",
            STRIPE,
        ),
        Kind(
            "previous_token",
            "Previous-token head",
            "Attends to the token directly before the current one.",
            "previous_token",
            STRIPE,
        ),
        Kind(
            "duplicate_token",
            "Duplicate-token head",
            "Attends to the earlier copy of the current token itself.",
            "duplicate_token",
            STRIPE,
        ),
        Kind("sink", "Attention sink", "Rests on the first position.", "first_token", SINK),
        Kind("none", "None of these", "No rule holds on repeated sequences."),
    )
}


def head_kind(scores: Mapping[str, float], direct: float | None = None) -> str:
    """The name of the first kind of :data:`KINDS` whose rule holds.

    Args:
        scores: attention scores of the head by name; a score that was not measured makes no kind.
        direct: what the head itself adds to answer minus distractor, in logits; None where not measured.
    """
    for kind in KINDS.values():
        if kind.score is None:
            return kind.name
        reached = scores.get(kind.score, 0.0) >= kind.threshold
        if reached and (not kind.against or (direct is not None and direct <= AGAINST)):
            return kind.name
    raise AssertionError("the last kind has no rule")


def kinds_of(
    scores: Mapping[str, Sequence[Sequence[float]]], direct: Sequence[Sequence[float]] | None = None
) -> list[list[str]]:
    """Names of the kinds of all heads ``[layer][head]``, from grids of that shape."""
    some = next(iter(scores.values()))
    return [
        [
            head_kind(
                {name: grid[layer][head] for name, grid in scores.items()},
                None if direct is None else direct[layer][head],
            )
            for head in range(len(row))
        ]
        for layer, row in enumerate(some)
    ]
