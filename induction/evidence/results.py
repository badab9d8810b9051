"""The tests that make a head an induction head, declared once, and what came out of them for every head. No torch.

A test passes where the value reaches its threshold and the 95 % interval lies above the control. What was not
measured is None, never a failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist, median
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from induction.analysis.kinds import STRIPE
from induction.base import Gaps, Head, Part, Result, check_shape, head_name
from induction.patching.interventions import by_name

# A text offers more to look at than a repeat does: chosen after seeing that the highest heads of mini-2l and SmolLM2
# reach .06 and .16 there, ten and thirty times chance.
IN_PROSE = 0.04
ADDS = 0.1  # logits that a head adds to answer minus distractor, from which on it copies
SHARE, SHARE_IN_SET = 0.1, 0.05  # of the answer
LOST = 0.1  # nats
MOVES = 0.1  # attention
NORMAL = NormalDist()
WIDTH = NORMAL.inv_cdf(0.975)  # half an interval in standard errors
Outcome = Literal["pass", "fail", "not measured"]
SIGNS: dict[str, str] = {"pass": "✓", "fail": "✗", "not measured": "–"}
OTHERS = "other heads of its layer, median"
UNIFORM = "uniform attention"


@dataclass(frozen=True)
class Test:
    """One question about a head.

    Attributes:
        title: what the head does where it passes.
        meaning: how that is measured.
        control: what stands beside the value, in words.
        view: of the page, where it is seen; ``{head}`` and ``{set}`` are filled in.
    """

    name: str
    title: str
    meaning: str
    unit: str
    threshold: float
    control: str
    view: str

    __test__ = False  # to pytest, which takes the name for one of its own


TESTS: dict[str, Test] = by_name(
    Test(
        "attends",
        "Attends, random repeats",
        "Attention to the token after the earlier copy, on repeated random tokens.",
        "attention",
        STRIPE,
        UNIFORM,
        "tab=scan",
    ),
    Test(
        "attends_text",
        "Attends, real text",
        "The same on prose, after the latest earlier occurrence, where a bigram would not predict the repeat.",
        "attention",
        IN_PROSE,
        "the same distances, where nothing repeats",
        "tab=evidence&evidence_shows=real_text",
    ),
    Test(
        "copies",
        "Copies",
        "What the head itself adds to the logit of the answer minus that of the distractor.",
        "logits",
        ADDS,
        OTHERS,
        "tab=circuit",
    ),
    Test(
        "works_alone",
        "Works alone",
        "Share of the answer that its output brings back into the corrupted run.",
        "share of the answer",
        SHARE,
        OTHERS,
        "tab=patching",
    ),
    Test(
        "works_in_set",
        "Works in its set",
        "Share of the answer that it brings back beyond what the other induction heads do.",
        "share of the answer",
        SHARE_IN_SET,
        OTHERS,
        "tab=patching&action=patch&heads={set}",
    ),
    Test(
        "needed_alone",
        "Needed alone",
        "Loss on the second copy that its mean ablation adds.",
        "nats",
        LOST,
        OTHERS,
        "tab=patching&action=ablate&heads={head}",
    ),
    Test(
        "needed_in_set",
        "Needed in its set",
        "Loss that its mean ablation adds when the other induction heads are gone, too.",
        "nats",
        LOST,
        OTHERS,
        "tab=patching&action=ablate&heads={set}",
    ),
    Test(
        "edge_needed",
        "Edge needed",
        "Loss on the second copy that is added when the head may not look where induction looks, beside the other "
        "induction heads, which may not either.",
        "nats",
        LOST,
        OTHERS,
        "tab=edges&edges_shows=knockout&heads={set}",
    ),
    Test(
        "fed_by",
        "Fed by an earlier head",
        "Attention to the target that the strongest earlier head moves through its keys alone.",
        "attention",
        MOVES,
        "other earlier heads, median",
        "tab=circuit&head={head}",
    ),
)


class Column(Part):
    """One test on every head, ``[layer][head]``; None where it was not measured.

    Attributes:
        notes: what belongs to the value of a head, by its name.
    """

    value: Gaps
    low: Gaps
    high: Gaps
    control: Gaps
    protocol: str
    notes: dict[str, str] = Field(default_factory=dict)


class Line(NamedTuple):
    """One test of one head."""

    test: Test
    value: float | None
    low: float | None
    high: float | None
    control: float | None
    outcome: Outcome
    note: str = ""

    @property
    def interval(self) -> str:
        return "" if self.low is None or self.high is None else f"{self.low:.2f} to {self.high:.2f}"

    def said(self) -> dict[str, str]:
        """The line as a table has it."""
        shown = {"value": self.value, "control": self.control}
        cells = {name: "–" if value is None else f"{value:.3f}" for name, value in shown.items()}
        value = f"{cells['value']} {self.note}".strip()
        return {
            "test": self.test.title,
            "": SIGNS[self.outcome],
            "value": value,
            "95 % interval": self.interval,
            "control": cells["control"],
            "at least": f"{self.test.threshold:g}",
            "unit": self.test.unit,
        }


class Evidence(Result):
    """What is known of the heads of a model, test by test.

    Attributes:
        induction: the heads that reach the threshold of the scan, ``[layer, head]``, the strongest first: the set.
        tested: the heads that were asked about.
        columns: by name of :data:`TESTS`.
        refused: by name of a test, why this model has no such figures.
    """

    SCHEMA: ClassVar[str] = "induction-evidence/1"

    induction: list[list[int]]
    tested: list[list[int]]
    columns: dict[str, Column]
    refused: dict[str, str] = Field(default_factory=dict)
    protocol: str

    def of(self, heads: Sequence[Head] | None) -> Evidence | None:
        """The same of some of the heads, None where one of them was not tested; of all for None."""
        if heads is None:
            return self
        kept = [list(head) for head in heads]
        return self.model_copy(update={"tested": kept}) if all(head in self.tested for head in kept) else None

    def lines(self, head: Head) -> list[Line]:
        """The tests of one head in their order, those that were not measured among them."""
        return [self._line(test, head) for test in TESTS.values()]

    def _line(self, test: Test, head: Head) -> Line:
        column, (layer, index) = self.columns.get(test.name), head
        known = column is not None and layer < self.n_layers and index < self.n_heads
        if not known or column.value[layer][index] is None:
            return Line(test, None, None, None, None, "not measured")
        value, low, high, control = (
            grid[layer][index] for grid in (column.value, column.low, column.high, column.control)
        )
        above = low is None or low > (control or 0.0)
        outcome: Outcome = "pass" if value >= test.threshold and above else "fail"
        return Line(test, value, low, high, control, outcome, column.notes.get(head_name(head), ""))

    def passed(self, head: Head) -> int:
        """How many tests a head passes."""
        return sum(line.outcome == "pass" for line in self.lines(head))

    def expected(self, test: str) -> float | None:
        """How many of the heads that were tested would pass if the true value of each were its control: from the
        widths of the intervals, taken as normal; None without intervals."""
        column, threshold = self.columns.get(test), TESTS[test].threshold
        if column is None:
            return None
        chances = []
        for layer, head in self._heads():
            low, high, control = (grid[layer][head] for grid in (column.low, column.high, column.control))
            if low is not None and high is not None and high > low:
                error = (high - low) / (2 * WIDTH)
                # Both are needed: the threshold, and an interval above the control.
                chances.append(1 - NORMAL.cdf(max((threshold - (control or 0.0)) / error, WIDTH)))
        return sum(chances) if chances else None

    def ranked(self) -> list[tuple[int, int, int]]:
        """``(layer, head, tests passed)`` of the heads that were tested, most first, then by attention."""
        attends = self.columns.get("attends")
        scores = attends.value if attends else None

        def order(item: tuple[int, int, int]) -> tuple[float, float]:
            return -item[2], -((scores[item[0]][item[1]] or 0.0) if scores else 0.0)

        return sorted(((*head, self.passed(head)) for head in self._heads()), key=order)

    def _heads(self) -> list[Head]:
        return [(layer, head) for layer, head in self.tested]

    def verdict(self, head: Head | None = None) -> str:
        """What the tests say of one head, or of all that were tested."""
        if head is None and len(self.tested) == 1:
            head = self._heads()[0]
        if head is not None:
            return self._of_head(head)
        ranked = self.ranked()
        most = ranked[0][2]
        best = [head_name(item[:2]) for item in ranked if item[2] == most]
        named = ", ".join(best[:6]) + (f" and {len(best) - 6} more" if len(best) > 6 else "")
        measured = sum(name in self.columns for name in TESTS)
        reached = sum(self._line(TESTS["attends"], item).outcome == "pass" for item in self._heads())
        expected = self.expected("attends")
        by_chance = "" if expected is None else f" (by chance: {_few(expected)})"
        return (
            f"Of {len(ranked)} heads {reached} attend where induction looks{by_chance}. Most tests, {most} of "
            f"{measured}, are passed by {named}."
        )

    def _of_head(self, head: Head) -> str:
        lines, name = self.lines(head), head_name(head)
        measured = [line for line in lines if line.outcome != "not measured"]
        failed = [line.test.title.lower() for line in measured if line.outcome == "fail"]
        if not measured:
            return f"Nothing was measured of head {name}; run the evidence of that head."
        text = f"Head {name} passes {len(measured) - len(failed)} of {len(measured)} tests"
        return f"{text}; not: {', '.join(failed)}." if failed else f"{text}."

    def heading(self) -> list[str]:
        return [f"{self.model}: evidence, head by head", self.protocol]

    def listing(self, by: str = "", top: int = 10) -> Iterator[dict[str, Any]]:
        """One head: a row per test. Several: a row per head, a column per test."""
        if len(self.tested) == 1:
            yield from (line.said() for line in self.lines(self._heads()[0]))
            return
        for layer, head, passed in self.ranked()[:top]:
            signs = {line.test.title: SIGNS[line.outcome] for line in self.lines((layer, head))}
            yield {"head": head_name((layer, head)), "passed": passed, **signs}

    def words(self, by: str = "") -> list[str]:
        many = len(self.tested) > 1
        chance = [self.chance(name) for name in self.columns] if many else []
        return [self.verdict(), *filter(None, chance), *self.refusals()]

    def chance(self, test: str) -> str:
        """How many heads pass a test, and how many would by chance."""
        expected = self.expected(test)
        if expected is None:
            return ""
        passed = sum(self._line(TESTS[test], head).outcome == "pass" for head in self._heads())
        return f"{TESTS[test].title}: {passed} pass, {_few(expected)} expected by chance."

    def refusals(self) -> list[str]:
        """What could not be verified on this model, a sentence each."""
        return [f"{TESTS[name].title} is not given. {why}" for name, why in self.refused.items()]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per head that was tested and test."""
        for layer, head in self.tested:
            for line in self.lines((layer, head)):
                ends = {"value": line.value, "low": line.low, "high": line.high, "control": line.control}
                more = {"threshold": line.test.threshold, "unit": line.test.unit, "outcome": line.outcome}
                yield {
                    "layer": layer,
                    "head": head,
                    "test": line.test.name,
                    **ends,
                    **more,
                    "note": line.note,
                }

    def check(self) -> None:
        for name, column in self.columns.items():
            if name not in TESTS:
                raise ValueError(f"no test '{name}'")
            for grid in (column.value, column.low, column.high, column.control):
                check_shape(f"test '{name}'", grid, self.n_layers, self.n_heads)


def _few(count: float) -> str:
    return "fewer than 0.01" if count < 0.01 else f"{count:.2f}"


def others_of(values: Gaps, head: Head, left_out: Sequence[Head]) -> float | None:
    """Median over the other heads of a head's layer, without those ``left_out``; None where none is left."""
    layer, index = head
    others = [
        value
        for at, value in enumerate(values[layer])
        if at != index and value is not None and (layer, at) not in left_out
    ]
    return median(others) if others else None
