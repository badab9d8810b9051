"""What a model does with and without a set of heads, as stored: next tokens, recall, loops, prose. No torch."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from induction.base import Number, Part, Result, check_shape
from induction.patching.interventions import ABLATIONS, Declaration, by_name

PERIOD, STRETCH = 12, 12  # longest period of a loop, and tokens at the end that repeat with it
EARLY, LATE, AROUND = (
    50,
    500,
    10,
)  # positions of the in-context-learning score, each with so many to both sides
CHANCE = 0.5  # of the two words of a line one is right


@dataclass(frozen=True, kw_only=True)
class Pattern(Declaration):
    """How the third word of a line follows from the first two: it repeats the one at ``repeats``."""

    repeats: int


PATTERNS: dict[str, Pattern] = by_name(
    Pattern("aba", "A B A", "The third word repeats the first, which stands two words back.", repeats=0),
    Pattern("abb", "A B B", "The third word repeats the second, the one before it.", repeats=1),
)
#: What is measured: title and unit.
MEASURES: dict[str, tuple[str, str]] = {
    "recall": ("Probability of the true successor", "probability"),
    "right": ("Lines completed as those before", "share"),
    "looped": ("Continuations that end in a loop", "share"),
    "distinct": ("Distinct 3-grams", "share"),
    "loss": ("Loss, all tokens", "nats"),
    "early": ("Loss, early", "nats"),
    "late": ("Loss, late", "nats"),
    "learning": ("In-context-learning score", "nats"),
    "predictable": ("Loss, predictable by induction", "nats"),
    "other": ("Loss, other tokens", "nats"),
    "excess": ("Predictable minus other", "nats"),
}


class Bound(Part):
    """A mean with its 95 % interval, where there are prompts enough for one."""

    mean: Number
    low: Number | None
    high: Number | None


class Curve(Part):
    """Means with their 95 % intervals, by point."""

    mean: list[Number]
    low: list[Number | None]
    high: list[Number | None]

    def check_points(self, what: str, n: int) -> None:
        for values in (self.mean, self.low, self.high):
            check_shape(what, values, n)


class Measured(Part):
    """A number with the whole model and without the set, their difference, and its value without each control set."""

    name: str
    intact: Bound
    without: Bound
    change: Bound
    random: list[Number]
    matched: list[Number] = Field(default_factory=list)

    @property
    def title(self) -> str:
        return MEASURES[self.name][0]

    @property
    def unit(self) -> str:
        return MEASURES[self.name][1]

    @property
    def tells(self) -> bool:
        """Whether the set changes it: the interval leaves out 0, and no control set changes it as far that way."""
        low, high, controls = self.change.low, self.change.high, [*self.random, *self.matched]
        if low is None or high is None or low <= 0 <= high:
            return False
        if not controls:
            return True
        return self.without.mean > max(controls) if low > 0 else self.without.mean < min(controls)

    def row(self) -> dict[str, Any]:
        """As a row of a table."""
        parts = {"intact": self.intact, "without": self.without, "change": self.change}
        numbers = {
            name if field == "mean" else f"{name}_{field}": getattr(part, field)
            for name, part in parts.items()
            for field in ("mean", "low", "high")
        }
        controls = {"random": self.random, "matched": self.matched}
        return {
            "measure": self.name,
            **numbers,
            **{k: v for n, c in controls.items() for k, v in spread(n, c)},
        }

    def listed(self) -> dict[str, Any]:
        """As a row in the terminal."""
        return {
            "measure": f"{self.title} ({self.unit})",
            "intact": f"{self.intact.mean:.3f}",
            "without": f"{self.without.mean:.3f}",
            "change": in_words(self.change),
            "random sets": ranged(self.random),
            "matched sets": ranged(self.matched),
        }


class Behaviour(Result, ABC):
    """What a model does, with and without a set of heads.

    Attributes:
        label: of the set, as a sentence has it.
        random_sets: distinct ones of as many other heads in the same layers.
        ablation: what replaces the heads' outputs, a name of :data:`induction.patching.interventions.ABLATIONS`.
        engine: ``direct`` where the model's parts were run, ``hooked`` for whole runs with hooks; the same numbers.
    """

    SCHEMA: ClassVar[str] = "induction-behaviour/1"

    label: str
    heads: Annotated[list[list[int]], Field(min_length=1)]
    random_sets: list[list[list[int]]]
    ablation: str
    reference: str | None
    protocol: str
    engine: str

    def check(self) -> None:
        if self.ablation not in ABLATIONS:
            raise ValueError(f"ablation '{self.ablation}'")
        for heads in (self.heads, *self.random_sets):
            check_shape("heads", heads, len(self.heads), 2)
            if not all(0 <= layer < self.n_layers and 0 <= head < self.n_heads for layer, head in heads):
                raise ValueError("a head outside of the model")

    def heading(self) -> list[str]:
        names = ", ".join(f"{layer}.{head}" for layer, head in self.heads)
        without = f"without {names}; {ABLATIONS[self.ablation].title.lower()} ablation"
        return [*super().heading(), f"{without}, {self.reference}" if self.reference else without]

    def _control(self, measured: Measured) -> str:
        """The controls beside a number of a sentence."""
        said = [
            f"{ranged(values)} without {kind} sets"
            for kind, values in (("random", measured.random), ("entropy-matched", measured.matched))
            if values
        ]
        return "; ".join(said) or "no control"


class Candidate(Part):
    """A next token and its probabilities; ``random`` without each random set."""

    token: str
    intact: Number
    without: Number
    random: list[Number]


class Continuation(Part):
    """What a model says next, token by token, the most likely each time, and how likely it was."""

    tokens: list[str]
    probabilities: list[Number]

    @property
    def text(self) -> str:
        return "".join(self.tokens)


class NextTokens(Behaviour):
    """The next token of a prompt and the greedy continuation.

    Attributes:
        prompt: its tokens.
        candidates: the top tokens of the whole model, then those of the model without the set that are not among them.
        random: the continuation without the first of the random sets.
    """

    TYPE: ClassVar[str] = "next"

    prompt: Annotated[list[str], Field(min_length=1)]
    candidates: Annotated[list[Candidate], Field(min_length=1)]
    intact: Continuation
    without: Continuation
    random: Continuation | None

    def check(self) -> None:
        super().check()
        for one in self.candidates:
            check_shape("random", one.random, len(self.random_sets))
        for one in filter(None, (self.intact, self.without, self.random)):
            check_shape("tokens", one.tokens, len(self.intact.tokens))
            check_shape("probabilities", one.probabilities, len(self.intact.tokens))

    def rows(self) -> Iterator[dict[str, Any]]:
        """First the candidates, then the continuations by position."""
        for one in self.candidates:
            controls = dict(spread("random", one.random))
            yield {
                "part": "next", "position": 1, "token": one.token, "intact": one.intact, "without": one.without,
                **controls, "said_without": None, "said_random": None,
            }  # fmt: skip
        for at, token in enumerate(self.intact.tokens):
            other = self.random
            yield {
                "part": "continuation", "position": at + 1, "token": token, "intact": self.intact.probabilities[at],
                "without": self.without.probabilities[at],
                **dict(spread("random", [other.probabilities[at]] if other else [])),
                "said_without": self.without.tokens[at], "said_random": other.tokens[at] if other else None,
            }  # fmt: skip

    def listing(self, by: str = "", top: int = 10) -> Iterator[dict[str, Any]]:
        for one in self.candidates:
            numbers = {"intact": f"{one.intact:.3f}", "without": f"{one.without:.3f}"}
            yield {"next token": one.token, **numbers, "random sets": ranged(one.random)}

    def words(self, by: str = "") -> list[str]:
        said = [("with all heads", self.intact), (f"without {self.label}", self.without)]
        said += [("without a random set", self.random)] if self.random else []
        return [self.verdict(), *(f"Continued {how}: {one.text}" for how, one in said)]

    def verdict(self) -> str:
        first = self.candidates[0]
        control = f" ({ranged(first.random)} without random sets)" if first.random else " (no control)"
        text = (
            f"The next token {first.token} has probability {first.intact:.2f} with all heads and {first.without:.2f} "
            f"without {self.label}{control}. {_apart(self.intact, self.without, 'the greedy continuation')}"
        )
        if self.random:
            text += f"; {_apart(self.intact, self.random, 'without a random set it')}"
        return f"{text}."


def _apart(one: Continuation, other: Continuation, what: str) -> str:
    """From which token on two continuations differ."""
    pairs = enumerate(zip(one.tokens, other.tokens, strict=True))
    at = next((at for at, (a, b) in pairs if a != b), None)
    what = what[:1].upper() + what[1:] if what.startswith("the") else what
    if at is None:
        return f"{what} stays the same for {len(one.tokens)} token{'s' * (len(one.tokens) > 1)}"
    return f"{what} changes from token {at + 1} on"


class Recall(Behaviour):
    """How well a list that came once is said again, by how far back it was.

    Attributes:
        lags: lengths of the lists, which are the distances to the last occurrence.
        first: probability of the true token in the first copy, where nothing can be copied, by lag.
        random: mean over the random sets, with intervals over prompts; ``random_low`` and ``random_high`` are the
            lowest and the highest set.
        overall: mean over the lags.
    """

    TYPE: ClassVar[str] = "recall"

    lags: Annotated[list[int], Field(min_length=1)]
    n_prompts: int
    first: Curve
    intact: Curve
    without: Curve
    random: Curve | None
    random_low: list[Number] | None
    random_high: list[Number] | None
    overall: Measured

    def check(self) -> None:
        super().check()
        for name in ("first", "intact", "without", "random"):
            if (curve := getattr(self, name)) is not None:
                curve.check_points(name, len(self.lags))
        for name in ("random_low", "random_high"):
            check_shape(name, getattr(self, name), len(self.lags))

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per lag."""
        for at, lag in enumerate(self.lags):
            row: dict[str, Any] = {"lag": lag}
            for name in ("intact", "without", "random", "first"):
                curve = getattr(self, name)
                for field, label in (("mean", name), ("low", f"{name}_low"), ("high", f"{name}_high")):
                    label = {"random_low": "random_mean_low", "random_high": "random_mean_high"}.get(
                        label, label
                    )
                    row[label] = getattr(curve, field)[at] if curve else None
            row["random_lowest"] = self.random_low[at] if self.random_low else None
            row["random_highest"] = self.random_high[at] if self.random_high else None
            yield row

    def listing(self, by: str = "", top: int = 10) -> Iterator[dict[str, Any]]:
        for at, lag in enumerate(self.lags):
            control = "-"
            if self.random and self.random_low and self.random_high:
                control = (
                    f"{self.random.mean[at]:.3f} ({self.random_low[at]:.3f} to {self.random_high[at]:.3f})"
                )
            numbers = {name: f"{getattr(self, name).mean[at]:.3f}" for name in ("intact", "without")}
            yield {"lag": lag, **numbers, "random sets": control, "first copy": f"{self.first.mean[at]:.3f}"}

    def verdict(self) -> str:
        one = self.overall
        falls = one.tells and one.change.mean < 0
        end = (
            "It goes with these heads and not with random ones"
            if falls and one.random
            else "It goes with these heads"
            if falls
            else "It does not go with these heads more than with others"
        )
        return (
            f"Of a repeated list of random tokens the true successor has probability {one.intact.mean:.2f} with all "
            f"heads and {one.without.mean:.2f} without {self.label} ({self._control(one)}), averaged over distances of "
            f"{self.lags[0]} to {self.lags[-1]} tokens; {average(self.first.mean):.3f} the first time. {end}."
        )


class Loops(Behaviour):
    """How often greedy continuations end in a loop.

    Attributes:
        n_prompts, n_prompt, n_new: openings, tokens of each, and tokens that were said.
        looped: share of the continuations, with Wilson's interval of each share.
        distinct: share of distinct 3-grams among all of a continuation.
        examples: the first continuation with all heads and without the set.
    """

    TYPE: ClassVar[str] = "loops"

    n_prompts: int
    n_prompt: int
    n_new: int
    looped: Measured
    distinct: Measured
    examples: list[str]

    def rows(self) -> Iterator[dict[str, Any]]:
        yield from (one.row() for one in (self.looped, self.distinct))

    def listing(self, by: str = "", top: int = 10) -> Iterator[dict[str, Any]]:
        yield from (one.listed() for one in (self.looped, self.distinct))

    def verdict(self) -> str:
        one, n = self.looped, self.n_prompts
        intact, without = round(one.intact.mean * n), round(one.without.mean * n)
        controls = (
            f"{ranged([value * n for value in one.random], 1)} without random sets"
            if one.random
            else "no control"
        )
        said = (
            f"{intact} of {n} continuations of prose end in a loop with all heads and {without} without {self.label} "
            f"({controls}); {self.distinct.intact.mean:.2f} and {self.distinct.without.mean:.2f} of their 3-grams "
            f"are distinct ({self._control(self.distinct)})."
        )
        if one.tells or self.distinct.tells:
            less = one.change.mean < 0 if one.tells else self.distinct.change.mean > 0
            return f"{said} Without these heads it repeats itself {'less' if less else 'more'} than without others."
        return f"{said} That is no difference that {n} continuations can tell."


class ProseLosses(Behaviour):
    """Loss on prose by position, and on what induction could predict.

    Attributes:
        matched_sets: control sets of other heads with the nearest attention entropy.
        windows: first position of each stretch of the curves; ``width`` tokens long.
        early, late: positions of the in-context-learning score, which is late minus early.
        n_predictable: tokens that induction predicts, of ``n_tokens``.
        measures: mean over passages.
        entropy: mean attention entropy of every head, in nats.
    """

    TYPE: ClassVar[str] = "prose"

    n_passages: int
    length: int
    matched_sets: list[list[list[int]]]
    windows: Annotated[list[int], Field(min_length=1)]
    width: int
    early: int
    late: int
    n_predictable: int
    n_tokens: int
    intact: Curve
    without: Curve
    random: Curve | None
    matched: Curve | None
    measures: list[Measured]
    entropy: list[list[Number]] | None

    def check(self) -> None:
        super().check()
        for name in ("intact", "without", "random", "matched"):
            if (curve := getattr(self, name)) is not None:
                curve.check_points(name, len(self.windows))
        check_shape("entropy", self.entropy, self.n_layers, self.n_heads)
        if unknown := [one.name for one in self.measures if one.name not in MEASURES]:
            raise ValueError(f"measure '{unknown[0]}'")
        if missing := {"learning", "early", "late", "predictable", "other"} - {
            one.name for one in self.measures
        }:
            raise ValueError(f"no measure '{min(missing)}'")

    def measure(self, name: str) -> Measured:
        return next(one for one in self.measures if one.name == name)

    def rows(self) -> Iterator[dict[str, Any]]:
        yield from (one.row() for one in self.measures)

    def listing(self, by: str = "", top: int = 10) -> Iterator[dict[str, Any]]:
        yield from (one.listed() for one in self.measures)

    def verdict(self) -> str:
        score, hit, rest, excess = map(self.measure, ("learning", "predictable", "other", "excess"))
        end = (
            "What these heads earn is what induction could predict, beyond their controls"
            if excess.tells and excess.change.mean > 0
            else "That is no more than what other heads earn"
        )
        early, late = self.measure("early"), self.measure("late")
        return (
            f"On prose the loss goes from {early.intact.mean:.2f} nats at token {self.early} to "
            f"{late.intact.mean:.2f} at {self.late} with all heads ({score.intact.mean:+.2f}) and from "
            f"{early.without.mean:.2f} to {late.without.mean:.2f} without {self.label} "
            f"({score.without.mean:+.2f}; {self._control(score)}). Without them, tokens that "
            f"induction could predict cost {hit.change.mean:+.2f} nats ({_changes(hit)}), all others "
            f"{rest.change.mean:+.2f} ({_changes(rest)}). {end}."
        )


def _changes(one: Measured) -> str:
    """By how much the control sets change a number."""
    said = [
        f"{kind} sets {average(values) - one.intact.mean:+.2f}"
        for kind, values in (("random", one.random), ("matched", one.matched))
        if values
    ]
    return ", ".join(said) or "no control"


def average(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def spread(name: str, values: Sequence[float]) -> Iterator[tuple[str, float | None]]:
    """Mean, lowest and highest of control sets, as columns; None where there are none."""
    for label, of in (("mean", average), ("lowest", min), ("highest", max)):
        yield f"{name}_{label}", of(values) if values else None


def ranged(values: Sequence[float], digits: int = 3) -> str:
    """``0.912 (0.850 to 0.940)``, mean and range; a single value alone."""
    if not values:
        return "-"
    mean = f"{average(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def in_words(bound: Bound) -> str:
    ends = "" if bound.low is None or bound.high is None else f" [{bound.low:+.3f}, {bound.high:+.3f}]"
    return f"{bound.mean:+.3f}{ends}"


class FewShot(Behaviour):
    """How often a line of new words is completed by the pattern of the lines before it.

    Attributes:
        pattern: a name of :data:`PATTERNS`.
        intact, without, random: share of the lines that are right, by number of examples; ``random`` is the mean over
            the random sets.
        right: over all lines that have an example.
    """

    TYPE: ClassVar[str] = "few_shot"

    pattern: str
    n_prompts: int
    intact: Curve
    without: Curve
    random: Curve | None
    right: Measured

    def check(self) -> None:
        super().check()
        if self.pattern not in PATTERNS:
            raise ValueError(f"pattern '{self.pattern}'")
        for curve in filter(None, (self.intact, self.without, self.random)):
            curve.check_points("a curve", len(self.intact.mean))

    @property
    def n_examples(self) -> int:
        return len(self.intact.mean) - 1

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per number of examples."""
        for at in range(self.n_examples + 1):
            row: dict[str, Any] = {"examples": at}
            for name in ("intact", "without", "random"):
                curve = getattr(self, name)
                for field in ("mean", "low", "high"):
                    row[name if field == "mean" else f"{name}_{field}"] = (
                        getattr(curve, field)[at] if curve else None
                    )
            yield row

    def listing(self, by: str = "", top: int = 10) -> Iterator[dict[str, Any]]:
        for at in range(self.n_examples + 1):
            cells = {
                name: f"{curve.mean[at]:.2f}" if (curve := getattr(self, name)) else "-"
                for name in ("intact", "without", "random")
            }
            yield {"examples": at, **cells}

    def learns(self) -> bool:
        """Whether the whole model is above chance on the lines that have an example."""
        low = self.right.intact.low
        return low is not None and low > CHANCE

    def verdict(self) -> str:
        one, title = self.right, PATTERNS[self.pattern].title
        examples = f"1 to {self.n_examples} examples"
        said = f"Of the lines with {examples} of {title}, {one.intact.mean:.0%} are right with all heads"
        if not self.learns():
            return (
                f"{said}, which is not above chance ({CHANCE:.0%}): the model does not take up the pattern, so nothing "
                "can be lost."
            )
        end = (
            "more than with random ones" if one.tells and one.change.mean < 0 else "not more than with others"
        )
        return (
            f"{said} and {one.without.mean:.0%} without {self.label} ({self._control(one)}; chance {CHANCE:.2f}). "
            f"Changed by {in_words(one.change)}: it goes with these heads {end}."
        )
