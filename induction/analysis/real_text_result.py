"""What heads do in prose: the measures, declared once, and what was found of all heads of a model. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from induction.analysis.kinds import STRIPE
from induction.base import Grid, Head, Number, Part, Result, check_shape, head_name

TIMES = (
    3  # a head attends after an earlier occurrence where it puts so many times its control and chance there
)
NAMED = 5  # heads that a verdict names
STRONGEST = 10  # the decile of an excerpt that shows where a head fires most


@dataclass(frozen=True)
class Measured:
    """Declaration of one number per head: ``what`` it is with its unit, as it stands at an axis."""

    name: str
    title: str
    what: str
    meaning: str


MEASURES: dict[str, Measured] = {
    one.name: one
    for one in (
        Measured(
            "latest",
            "After the latest earlier occurrence",
            "attention (0 to 1)",
            "Attention to the token that followed the latest earlier occurrence of the query's token.",
        ),
        Measured(
            "any",
            "After any earlier occurrence",
            "attention (0 to 1)",
            "The same summed over all earlier occurrences whose successor a bigram model would not predict.",
        ),
        Measured(
            "control",
            "At the same distances elsewhere",
            "attention (0 to 1)",
            "Attention of the same queries as far back as the targets of the other queries lie, where nothing "
            "repeats: what a head scores there by distance alone.",
        ),
        Measured(
            "lead",
            "Lead over the same distances",
            "difference of attention",
            "After the latest earlier occurrence minus at the same distances elsewhere; the interval allows for the "
            "number of heads (Bonferroni).",
        ),
        Measured(
            "often",
            "How often, latest",
            "share of queries",
            f"Share of the queries at which a head puts at least {STRIPE:g} after the latest earlier occurrence.",
        ),
        Measured(
            "often_any",
            "How often, any",
            "share of queries",
            f"Share of the queries at which a head puts at least {STRIPE:g} after all earlier occurrences together.",
        ),
        Measured(
            "entropy",
            "Entropy",
            "entropy (nats)",
            "Mean entropy of a row of attention, over all queries but the first.",
        ),
        Measured(
            "distance",
            "Distance",
            "distance (tokens)",
            "Mean distance from query to key, weighted by attention, over all queries but the first.",
        ),
        Measured(
            "first_token",
            "On the first token",
            "attention (0 to 1)",
            "Mean attention to position 0, over all queries but the first.",
        ),
    )
}


class HeadMeasure(Part):
    """One measure of every head.

    ``mean``, ``low`` and ``high`` are ``[layer][head]``: the mean over books of the mean over their passages, and its
    95 % interval over books (none of fewer than two). ``chance`` is what a head measures on the same cells that
    looks everywhere evenly, ``ceiling`` the most that any head can.
    """

    mean: Grid
    low: Grid | None = None
    high: Grid | None = None
    chance: Number
    ceiling: Number


class Agreement(Part):
    """How far heads rank in prose as they do on repeated random tokens.

    Attributes:
        repeat: induction score of the scan ``[layer][head]``.
        spearman: rank correlation of ``repeat`` with the score in prose over all heads.
        low, high: 95 % percentile bootstrap over books; none of fewer than two. It takes the scan's prompts and the
            heads as given, and percentile intervals of few samples cover less than they say.
        protocol: of the scan.
    """

    repeat: Grid
    spearman: Annotated[float, Field(ge=-1.0001, le=1.0001)]
    low: Number | None = None
    high: Number | None = None
    protocol: str


class Excerpt(Part):
    """Where one head looks from one query of a passage.

    Attributes:
        passage: index into :attr:`RealText.passages`.
        query, target: positions in the passage; the target follows the latest earlier occurrence.
        weight: on the target.
        decile: :data:`STRONGEST` where the head fires most, else of all its queries, ``5`` being the median.
        spans: ``[first, end)`` of the shown pieces of the passage, in order.
        tokens, weights: of these positions; 0 after the query, which no head sees.
        elsewhere: attention to positions that are not shown.
    """

    layer: int
    head: int
    passage: int
    query: int
    target: int
    weight: Number
    decile: Annotated[int, Field(ge=0, le=STRONGEST)]
    spans: list[list[int]]
    tokens: list[str]
    weights: list[Number]
    elsewhere: Number

    @property
    def positions(self) -> list[int]:
        """Of the shown tokens."""
        return [at for first, end in self.spans for at in range(first, end)]

    def largest(self, n: int = 3) -> list[tuple[str, int, float]]:
        """``(token, position, weight)`` of the ``n`` largest weights that are shown, largest first."""
        shown = list(zip(self.tokens, self.positions, self.weights, strict=True))
        return sorted((one for one in shown if one[2] > 0), key=lambda one: -one[2])[:n]


class RealText(Result):
    """What all heads of a model do in prose.

    Attributes:
        passages: the book of each passage.
        length: tokens of a passage.
        n_queries: whose token came before and whose repeat counts; ``n_repeated``: whose token came before.
        measures: of :data:`MEASURES`.
        reach: ``[layer]``, share of the queries at whose target some head of the layer looks at all: less than 1 behind
            a sliding window.
        agreement: None where no scan was given or all heads are alike.
        excerpts: of the heads with the highest scores, and of the induction heads of the scan.
    """

    SCHEMA: ClassVar[str] = "induction-real-text/1"

    protocol: str
    passages: list[str]
    length: int
    n_queries: int
    n_repeated: int
    measures: dict[str, HeadMeasure]
    reach: list[Number]
    agreement: Agreement | None = None
    excerpts: list[Excerpt]

    def ranked(self, by: str = "latest") -> list[tuple[int, int, float]]:
        """``(layer, head, mean)`` of all heads, highest first."""
        grid = self.measures[by].mean
        heads = [(layer, head, value) for layer, row in enumerate(grid) for head, value in enumerate(row)]
        return sorted(heads, key=lambda item: -item[2])

    def leading(self) -> list[Head]:
        """Heads that attend after the latest earlier occurrence, highest score first: they lead over the same distances
        with all heads allowed for, and score :data:`TIMES` what they give there and what chance is, or more."""
        low, control = self.measures["lead"].low, self.measures["control"].mean
        chance = self.measures["latest"].chance
        return [
            (layer, head)
            for layer, head, mean in self.ranked()
            if low and low[layer][head] > 0 and mean >= TIMES * max(control[layer][head], chance)
        ]

    def excerpts_of(self, head: Head) -> list[Excerpt]:
        """The stored excerpts of one head, the strongest first; none where none are stored."""
        own = [one for one in self.excerpts if (one.layer, one.head) == tuple(head)]
        return sorted(own, key=lambda one: (-one.decile, -one.weight))

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row per head: every measure, the score's interval, and the score on random repeats."""
        for layer in range(self.n_layers):
            for head in range(self.n_heads):
                row: dict[str, Any] = {"layer": layer, "head": head}
                for name, measure in self.measures.items():
                    row[name] = measure.mean[layer][head]
                    if name in ("latest", "lead"):
                        ends = {"low": measure.low, "high": measure.high}
                        row |= {f"{name}_{end}": grid and grid[layer][head] for end, grid in ends.items()}
                row["random_repeats"] = self.agreement and self.agreement.repeat[layer][head]
                yield row

    def listing(self, by: str = "", top: int = 10) -> Iterator[dict[str, Any]]:
        """The heads with the highest score, and their controls."""
        measures = self.measures
        for layer, head, mean in self.ranked(by or "latest")[:top]:
            yield {
                "head": head_name((layer, head)),
                "latest": mean,
                "95 % interval": self._interval("latest", layer, head),
                **{
                    name: measures[name].mean[layer][head]
                    for name in ("any", "control", "often", "entropy", "distance", "first_token")
                },
            }

    def verdict(self) -> str:
        return " ".join(filter(None, [self._found(), self._agrees()]))

    def words(self, by: str = "") -> list[str]:
        """The verdict, and what every measure is read against."""
        levels = [
            f"{MEASURES[name].title}: chance (uniform attention) {one.chance:.3g}, ceiling {one.ceiling:.3g}."
            for name, one in self.measures.items()
            if name not in ("control", "lead")
        ]
        return [self.verdict(), *levels, *self._limits(), *self._window()]

    def _found(self) -> str:
        latest, control = self.measures["latest"], self.measures["control"]
        layer, head, mean = self.ranked()[0]
        leader = head_name((layer, head))
        often = self.measures["often"].mean[layer][head]
        of_leader = (
            f"head {leader} has {mean:.3f}{self._interval('latest', layer, head, ' ({})')}, against "
            f"{control.mean[layer][head]:.3f} at such distances and {latest.chance:.3f} by chance, and fires (at least "
            f"{STRIPE:g}) at {often:.0%} of the {self.n_queries:,} queries."
        )
        if latest.low is None:
            return (
                "One book gives no interval. On the token after the latest earlier occurrence in prose, against the "
                f"same distances elsewhere, {of_leader}"
            )
        found = self.leading()
        named = ", ".join(head_name(one) for one in found[:NAMED])
        rest = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        heads = f"{len(found) or 'none'} of {self.n_layers * self.n_heads} heads"
        return (
            f"In prose {heads} {'attends' if len(found) < 2 else 'attend'} to the token after the latest earlier "
            f"occurrence at least {TIMES} times as much as by chance and as to the same distances elsewhere"
            f"{f' ({named}{rest})' if found else ''}. First, {of_leader}"
        )

    def _agrees(self) -> str:
        one = self.agreement
        if one is None:
            return ""
        interval = "" if one.low is None else f" ({one.low:.2f} to {one.high:.2f})"
        return (
            "The ranking of all heads and that on repeated random tokens have a rank correlation of "
            f"{one.spearman:.2f}{interval}."
        )

    def _limits(self) -> list[str]:
        if self.agreement is None or self.agreement.low is None:
            return []
        n = len({*self.passages})
        return [
            f"The interval of the rank correlation resamples the {n} books alone (percentile bootstrap): the scan and "
            "the heads are taken as they are, and of so few books it is somewhat narrow."
        ]

    def _window(self) -> list[str]:
        short = [layer for layer, reach in enumerate(self.reach) if reach < 0.995]
        if not short:
            return []
        least = min(self.reach[layer] for layer in short)
        layers = ", ".join(map(str, short))
        return [
            f"Not every target is within sight of layer {layers}: no head there can score over {least:.2f}."
        ]

    def _interval(self, name: str, layer: int, head: int, form: str = "{}") -> str:
        one = self.measures[name]
        if one.low is None or one.high is None:
            return ""
        return form.format(f"{one.low[layer][head]:.3f} to {one.high[layer][head]:.3f}")

    def check(self) -> None:
        if self.measures.keys() != MEASURES.keys():
            raise ValueError(f"the measures are not {', '.join(MEASURES)}")
        shape = (self.n_layers, self.n_heads)
        for name, one in self.measures.items():
            for grid in (one.mean, one.low, one.high):
                check_shape(f"measure '{name}'", grid, *shape)
        check_shape("the reach", self.reach, self.n_layers)
        if self.agreement:
            check_shape("the scores on random repeats", self.agreement.repeat, *shape)
        for one in self.excerpts:
            self._check_excerpt(one)

    def _check_excerpt(self, one: Excerpt) -> None:
        if not (0 <= one.layer < self.n_layers and 0 <= one.head < self.n_heads):
            raise ValueError(f"no head {one.layer}.{one.head}")
        if not 0 <= one.passage < len(self.passages):
            raise ValueError(f"no passage {one.passage}")
        if not all(len(span) == 2 and 0 <= span[0] < span[1] <= self.length for span in one.spans):
            raise ValueError("a piece of an excerpt lies outside of its passage")
        places = one.positions
        if not len(places) == len(one.tokens) == len(one.weights) or not {one.query, one.target} <= {*places}:
            raise ValueError("an excerpt does not fit its pieces")
