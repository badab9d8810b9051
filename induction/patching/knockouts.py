"""Ablations of a model that questions about single heads are answered from, without torch.

Kept as grids: every head alone, and the induction heads with each head beside them. Answers are :class:`HeadSets`, as
live runs give them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any, ClassVar

from pydantic import Field

from induction.base import Gaps, Head, Number, Part, check_shape, head_name
from induction.patching.interventions import LOSSES, METRICS
from induction.patching.results import HeadSet, HeadSets, Intervention, Measure

DIGITS = 4
LOSS = "second_copy_loss"  # what is lost without induction
MEASURES = METRICS | LOSSES


class Changes(Part):
    """Changes of one measure by head, ``[layer][head]``; None where there is none."""

    effect: Gaps
    low: Gaps
    high: Gaps


class Knockouts(Intervention):
    """Each head removed alone and beside the induction heads.

    Attributes:
        intervention: the name of an ablation.
        induction: the heads that are removed together, as ``[layer, head]``, the strongest first.
        intact: each measure of the whole model.
        alone: by measure, one head removed. Its controls are all other heads of its layer.
        beside: by measure, the induction heads and one more removed; None at the induction heads, without controls.
        together: the induction heads removed, against random sets of their layers; None where there are none.
    """

    TYPE: ClassVar[str] = "knockouts"

    intervention: str
    induction: list[list[int]]
    intact: dict[str, Number]
    alone: dict[str, Changes]
    beside: dict[str, Changes] = Field(default_factory=dict)
    together: HeadSet | None = None
    n_random: int = 0
    reference: str | None = None
    engine: str | None = None

    def of(self, heads: Sequence[Head]) -> HeadSets | None:
        """These heads removed together, in any order; None where that was not measured."""
        found = self._found(set(heads), {(layer, head) for layer, head in self.induction})
        return found and self._answer(
            [found], self.n_random if found is self.together else len(_random(found))
        )

    def each(self) -> HeadSets:
        """Every head removed in turn."""
        heads = [(layer, head) for layer in range(self.n_layers) for head in range(self.n_heads)]
        return self._answer([self._alone(*head) for head in heads], self.n_heads - 1)

    def _found(self, heads: set[Head], induction: set[Head]) -> HeadSet | None:
        if any(not (0 <= layer < self.n_layers and 0 <= head < self.n_heads) for layer, head in heads):
            return None
        if len(heads) == 1:
            return self._alone(*heads.copy().pop())
        if heads == induction:
            return self.together
        more = heads - induction
        if induction <= heads and len(more) == 1 and self.beside:
            ((layer, head),) = more
            one = {name: self._measure(name, changes, layer, head) for name, changes in self.beside.items()}
            return HeadSet(label="the set", heads=[*self.induction, [layer, head]], measures=one)
        return None

    def _alone(self, layer: int, head: int) -> HeadSet:
        """One head; the other heads of its layer are its controls."""
        measures = {}
        for name, changes in self.alone.items():
            one = self._measure(name, changes, layer, head)
            random = [value for other, value in enumerate(changes.effect[layer]) if other != head]
            below = [(value < one.effect) + (value == one.effect) / 2 for value in random]
            above = round(100 * fmean(below), 2) if below else None
            measures[name] = one.model_copy(update={"random": random, "percentile": above})
        return HeadSet(label=head_name((layer, head)), heads=[[layer, head]], measures=measures)

    def _measure(self, name: str, changes: Changes, layer: int, head: int) -> Measure:
        effect, low, high = (grid[layer][head] for grid in (changes.effect, changes.low, changes.high))
        intact = self.intact[name]
        ends = {"baseline": intact, "edited": round(intact + effect, DIGITS)}
        return Measure(**ends, effect=effect, low=low, high=high, unit=MEASURES[name].unit)

    def _answer(self, sets: list[HeadSet], n_random: int) -> HeadSets:
        shared = set(type(self).model_fields) & set(HeadSets.model_fields) - {"n_random", "seconds"}
        about = {name: getattr(self, name) for name in shared}
        return HeadSets(**about, component="z", sets=sets, n_random=n_random)

    def without(self, head: Head) -> str:
        """What is lost without one head: alone, against the others of its layer, and with the induction heads."""
        own = self._found({head}, set())
        if own is None:
            return ""
        alone = own.measures[LOSS]
        text = (
            f"Removed on its own: loss on the second copy {alone.baseline:.2f} → {alone.edited:.2f} nats "
            f"(other heads of its layer: {alone.random_in_words(2)} on average)."
        )
        others = [tuple(one) for one in self.induction if tuple(one) != head]
        more = self.of([*others, head]) if others else None
        if more is None:
            return text
        with_them = (
            f"With the {'other ' if list(head) in self.induction else ''}{len(others)} induction heads"
        )
        return f"{text} {with_them}: → {more.sets[0].measures[LOSS].edited:.2f}."

    def redundancy(self, head: Head) -> str:
        """That others stand in for an induction head; empty where its own effect is half an even share or more."""
        n, whole = len(self.induction), self.together and self.together.measures[LOSS]
        if list(head) not in self.induction or n < 2 or not whole or whole.low is None or whole.low <= 0:
            return ""
        own = self._alone(*head).measures[LOSS].effect
        if own * n >= whole.effect / 2:
            return ""
        return (
            f"Redundancy: without {head_name(head)} alone the loss changes by {own:+z.2f}, without all {n} induction "
            f"heads by {whole.effect:+z.2f}. The others stand in for it, so little effect of its own says little."
        )

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per head."""
        for layer in range(self.n_layers):
            for head in range(self.n_heads):
                grids = {"alone": self.alone, "with_induction_heads": self.beside}
                cells = {
                    f"{name}_{which}": changes[name].effect[layer][head] if changes else None
                    for which, changes in grids.items()
                    for name in self.intact
                }
                yield {"layer": layer, "head": head, **cells}

    def verdict(self) -> str:
        return (self.of([(layer, head) for layer, head in self.induction]) or self.each()).verdict()

    def check(self) -> None:
        if not self.alone or self.alone.keys() != self.intact.keys():
            raise ValueError("a measure without its intact value, or the other way round")
        for grids in (self.alone, self.beside):
            for name, changes in grids.items():
                if name not in self.intact or name not in MEASURES:
                    raise ValueError(f"'{name}' is none of {', '.join(MEASURES)}")
                for grid in (changes.effect, changes.low, changes.high):
                    check_shape(name, grid, self.n_layers, self.n_heads)
        if any(value is None for changes in self.alone.values() for row in changes.effect for value in row):
            raise ValueError("a head without an effect")
        self.each().check()
        if self.together:
            self._answer([self.together], self.n_random).check()
            if self.together.heads != self.induction:
                raise ValueError("the heads removed together are not the induction heads")


def _random(found: HeadSet) -> list[float]:
    return next(iter(found.measures.values())).random


def knockouts(
    induction: Sequence[Head], alone: HeadSets, together: HeadSets | None, beside: HeadSets | None
) -> Knockouts:
    """What three live runs found, kept as grids.

    Args:
        alone: every head in turn; ``together``: the induction heads.
        beside: sets that end with the head beside them.
    """
    shape = (alone.n_layers, alone.n_heads)
    intact = {name: round(one.baseline, DIGITS) for name, one in alone.sets[0].measures.items()}
    own = set(Knockouts.model_fields) & set(HeadSets.model_fields) - {"seconds", "protocol", "n_random"}
    losses = alone.protocol.rsplit(";", 1)[0]
    seconds = sum(run.seconds or 0 for run in (alone, together, beside) if run)
    return Knockouts(
        **{name: getattr(alone, name) for name in own},
        protocol=losses,
        induction=[list(head) for head in induction],
        intact=intact,
        alone={name: _grids(alone, name, *shape) for name in intact},
        beside={name: _grids(beside, name, *shape) for name in intact} if beside else {},
        together=together and _rounded(together.sets[0]),
        n_random=together.n_random if together else 0,
        seconds=round(seconds, 2),
    )


def _grids(run: HeadSets, measure: str, n_layers: int, n_heads: int) -> Changes:
    """By the last head of each set."""
    at = {tuple(one.heads[-1]): one.measures[measure] for one in run.sets}

    def grid(end: str) -> Gaps:
        return [
            [_short(getattr(at.get((layer, head)), end, None)) for head in range(n_heads)]
            for layer in range(n_layers)
        ]

    return Changes(effect=grid("effect"), low=grid("low"), high=grid("high"))


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _rounded(one: HeadSet) -> HeadSet:
    measures = {
        name: measure.model_copy(update={"random": [round(value, DIGITS) for value in measure.random]})
        for name, measure in one.measures.items()
    }
    return one.model_copy(update={"measures": measures})
