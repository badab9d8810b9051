"""What interventions on heads found: every head on its own, heads together, and direct attribution. No torch.

A value that is not defined (or not computed yet) is None, never zero and never NaN.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from induction.base import Grid, InputError, Number, Part, Result, check_shape, head_name
from induction.patching.interventions import ABLATIONS, COMPONENTS, DIRECTIONS, LOSSES, METRICS, Declaration

Row = list[Number | None]
# [layer][head]; where every position was patched, [layer][head][pos]
Cells = list[Row] | list[list[Row]]
Kind = Literal["computed", "published"]
LISTED = 3  # heads named in a verdict
INTERVAL = "95 % interval"


class Pair(Part):
    """A prompt pair as shown: readable tokens, and the position that is scored."""

    clean: list[str]
    corrupted: list[str]
    answer: str
    distractor: str
    position: int


def not_better(clean: Sequence[float], corrupted: Sequence[float], floor: float) -> list[int]:
    """Pairs, counted from 0, whose clean prompt does not score better than the corrupted one by the floor.

    They count in every mean all the same: leaving them out would select pairs by how they came out.
    """
    ends = zip(clean, corrupted, strict=True)
    return [pair for pair, (better, worse) in enumerate(ends) if better - worse < floor]


def caveats(
    metric: str,
    floor: float,
    plain: tuple[float, float],
    pairs: Sequence[int],
    n_pairs: int | None = None,
    *,
    undefined: bool,
    unbounded: bool,
) -> str:
    """What a reader of effects has to know; empty where nothing is amiss.

    Args:
        plain: mean value of the clean and of the corrupted prompts.
        pairs: those, counted from 0, whose clean prompt is not better (:func:`not_better`).
        undefined: there is no effect at all; ``unbounded``: there is, and no interval holds.
    """
    said, amount = [], _amount(floor, metric)
    if undefined:
        clean, corrupted = plain
        said.append(
            f"The effect on the {METRICS[metric].title.lower()} is undefined: on average the clean prompts "
            f"({clean:.3g}) are not better than the corrupted ones ({corrupted:.3g}) by {amount}, so there is no "
            "answer to bring back or to lose; choose prompts that the model answers better when they are clean."
        )
    if pairs:
        said.append(
            f"In {_pairs_in_words(pairs, n_pairs)} the clean prompt is not better than the corrupted one by {amount}; "
            f"{'they count' if len(pairs) > 1 else 'it counts'} in the means."
        )
    if unbounded and not undefined:
        said.append(
            "The 95 % intervals are not bounded: these pairs do not tell the gap between clean and corrupted from 0."
        )
    return " ".join(said)


def _pairs_in_words(pairs: Sequence[int], n_pairs: int | None) -> str:
    """Which of how many, counted from 1 as prompts are shown."""
    named = ", ".join(str(pair + 1) for pair in pairs)
    if len(pairs) == n_pairs:
        return f"all {n_pairs} pairs" if n_pairs > 1 else "the only pair"
    of = (
        f"{len(pairs)} pair{'s' * (len(pairs) > 1)}"
        if n_pairs is None
        else f"{len(pairs)} of {n_pairs} pairs"
    )
    return f"{of} ({named})"


def _amount(value: float, metric: str) -> str:
    unit = METRICS[metric].unit
    return f"{value:g}" if unit == metric else f"{value:g} {unit}"


class Bounded(Part):
    """Something with an interval for every head."""

    low: Cells | None = None
    high: Cells | None = None

    def interval(self, layer: int, head: int) -> tuple[float, float] | None:
        """95 % interval of one head (of all positions together); None where there is none or it is not bounded."""
        if self.low is None or self.high is None:
            return None
        low, high = self.low[layer][head], self.high[layer][head]
        return None if low is None or high is None else (low, high)


class Effect(Bounded):
    """What patching each head does to one metric. Everything is over the same pairs: all of them.

    Attributes:
        clean, corrupted: value in the plain runs, per pair.
        patched: value with the head patched, ``[pair][layer][head]``; None where it is published or still running.
        mean: effect (see :data:`induction.patching.interventions.DIRECTIONS`), the ratio of means over the pairs; None
            everywhere where mean(clean) - mean(corrupted) is below the floor.
        low, high: its 95 % interval (Fieller) over pairs; None with fewer than two pairs, and None for a head
            where no bounded interval holds.
        floor: see :class:`induction.patching.interventions.Metric`.
        not_better: pairs, counted from 0, with clean - corrupted below the floor; they count in the means.
    """

    clean: list[Number]
    corrupted: list[Number]
    mean: Cells
    floor: Number
    not_better: list[int] = Field(default_factory=list)
    patched: list[Cells] | None = None

    @property
    def plain(self) -> tuple[float, float]:
        """Mean value of the clean and of the corrupted prompts."""
        n = len(self.clean)
        return sum(self.clean) / n, sum(self.corrupted) / n


class Intervention(Result):
    """What the results of this module have in common: one schema, the prompt pairs, and what they ask for.

    ``task`` says so in words where it is not induction.
    """

    SCHEMA: ClassVar[str] = "induction-patching/2"

    protocol: str
    pairs: list[Pair] = Field(default_factory=list)
    task: str = ""

    def _of_the_task(self, text: str) -> str:
        """A verdict, which begins with the task where a reader would take it for induction."""
        return f"{self.task}, not induction. {text}" if self.task and text else text


class Patching(Intervention):
    """A patching sweep over all heads of one model.

    ``kind`` is ``"computed"`` or ``"published"``; ``method`` is ``"exact"`` (one forward pass per patch, or the
    same numbers) or ``"estimate"`` (attribution patching). ``n_heads`` counts the columns: with grouped-query
    attention, patching k or v, a column is a group of ``group_size`` heads and ``unit`` is ``"group"``.
    ``engine`` says how it was computed: ``"direct"`` (:mod:`induction.patching.sweep`) or ``"hooked"`` (whole passes).
    """

    TYPE: ClassVar[str] = "patching"

    kind: Kind
    method: Literal["exact", "estimate"]
    direction: str
    component: str
    positions: str
    effects: dict[str, Effect]
    unit: Literal["head", "group"] = "head"
    group_size: int = 1
    n_positions: int | None = None
    engine: str | None = None

    def effect(self, metric: str) -> Effect:
        """
        Raises:
            InputError: the metric was not measured.
        """
        if metric not in self.effects:
            raise InputError(
                f"There is no metric '{metric}' in this result; choose one of {', '.join(self.effects)}."
            )
        return self.effects[metric]

    def caveats(self, metric: str) -> str:
        """What a reader of the effects has to know: pairs without an answer to bring back, intervals without bounds,
        or why there is no effect at all; empty where nothing is amiss."""
        effect = self.effect(metric)
        if not effect.clean:
            return ""
        return caveats(
            metric,
            effect.floor,
            effect.plain,
            effect.not_better,
            len(effect.clean),
            undefined=all_gaps(effect.mean),
            unbounded=effect.low is not None and all_gaps(effect.low),
        )

    @property
    def pick(self) -> str:
        """What the strongest head of a sweep is, in words: the intervals say nothing of that."""
        unit = "heads" if self.unit == "head" else "groups"
        n = self.n_layers * self.n_heads
        return f"The strongest of {n} {unit} is partly luck; the intervals do not allow for the pick."

    def ranked(self, metric: str = "logit_difference") -> list[tuple[int, int, float]]:
        """``(layer, head, effect)`` of all heads with a defined effect, highest first.

        Where every position was patched, a head's best position counts.
        """
        heads = []
        for layer, row in enumerate(self.effect(metric).mean):
            for head, cell in enumerate(row):
                values = [
                    value for value in (cell if isinstance(cell, list) else [cell]) if value is not None
                ]
                if values:
                    heads.append((layer, head, max(values)))
        return sorted(heads, key=lambda item: -item[2])

    def name(self, layer: int, head: int) -> str:
        """``5.1``, or the heads of a group: ``3.0-2``."""
        if self.unit == "head":
            return head_name((layer, head))
        first = head * self.group_size
        return f"{layer}.{first}-{first + self.group_size - 1}"

    def heading(self) -> list[str]:
        what = f"{DIRECTIONS[self.direction].title.lower()} {COMPONENTS[self.component].title.lower()}, {self.method}"
        return [f"{self.model}: {what}", self.protocol]

    def listing(self, by: str = "", top: int = 10) -> Iterator[dict[str, Any]]:
        """The heads with the largest effects on a metric, highest first."""
        by = by or "logit_difference"
        for layer, head, value in self.ranked(by)[:top]:
            interval = None if self.n_positions is not None else self.effect(by).interval(layer, head)
            yield {
                self.unit: self.name(layer, head),
                "effect": f"{value:+.3f}",
                INTERVAL: _interval(interval),
            }

    def words(self, by: str = "") -> list[str]:
        return [self.verdict(by or "logit_difference"), self.pick]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per head (or group), and position where every one was patched."""
        parts = {"effect": "mean", "low": "low", "high": "high"}
        columns = {
            f"{metric}_{part}": (metric, field) for metric in self.effects for part, field in parts.items()
        }
        for layer in range(self.n_layers):
            for head in range(self.n_heads):
                for position in [None] if self.n_positions is None else range(self.n_positions):
                    cells = {
                        name: self._cell(*column, layer, head, position) for name, column in columns.items()
                    }
                    yield {"layer": layer, self.unit: head, "position": position, **cells}

    def _cell(self, metric: str, field: str, layer: int, head: int, position: int | None) -> Any:
        grid = getattr(self.effects[metric], field)
        cell = None if grid is None else grid[layer][head]
        return cell if position is None or cell is None else cell[position]

    def verdict(self, metric: str = "logit_difference") -> str:
        """The strongest heads in one or two sentences."""
        if metric not in self.effects:
            known = ", ".join(METRICS[name].title.lower() for name in self.effects)
            return f"Measured here: {known}; choose that metric, or patch anew."
        ranked = sorted(self.ranked(metric), key=lambda item: -abs(item[2]))
        if not ranked:
            return self._of_the_task(self.caveats(metric))
        leaders = ", ".join(
            f"{self.name(layer, head)} ({value:+.2f})" for layer, head, value in ranked[:LISTED]
        )
        clean, corrupted = self.effects[metric].plain
        declared = METRICS[metric]
        unit = "" if declared.unit == metric else f" {declared.unit}"
        plain = f"{declared.title}: clean {clean:.3g}, corrupted {corrupted:.3g}{unit}"
        text = f"{plain}. Largest effects: {leaders}."
        return self._of_the_task(f"{text} {self.caveats(metric)}".strip())

    def check(self) -> None:
        _check_names(
            (self.direction, DIRECTIONS), (self.component, COMPONENTS), *((m, METRICS) for m in self.effects)
        )
        deep = () if self.n_positions is None else (self.n_positions,)
        shape = (self.n_layers, self.n_heads, *deep)
        for metric, effect in self.effects.items():
            n = len(effect.clean)
            for grid in (effect.mean, effect.low, effect.high):
                check_shape(metric, grid, *shape)
            check_shape(metric, effect.patched, n, *shape)
            check_shape(metric, effect.corrupted, n)
            _check_ends(metric, effect.low, effect.high)
            if effect.low is not None and (
                _gaps(effect.low) != _gaps(effect.high) or not _covers(effect.mean, effect.low)
            ):
                raise ValueError(f"{metric}: intervals and effects are of different heads")
            if effect.not_better != not_better(effect.clean, effect.corrupted, effect.floor):
                raise ValueError(f"{metric}: the pairs named are not those whose clean prompt is not better")


class Measure(Part):
    """One measure of one head set.

    Attributes:
        baseline, edited: mean over prompts of the plain run and with the set edited.
        other: patching: mean of the run that activations come from, where the effect is 1; ablation: None.
        effect: patching: share of the answer, ``(edited - baseline) / (other - baseline)``, None where the clean
            prompts are not better on average by the metric's floor; ablation: edited minus baseline, in ``unit``.
        low, high: 95 % interval over prompts, Fieller's of a share, Student's t of a difference; None with one
            prompt, without an effect, and where no bounded interval holds.
        not_better: as of :class:`Effect`.
        random: effect of each random set, over the same prompts; none where the effect is undefined.
        percentile: share of random sets with a smaller effect, 0..100, ties counted half.
    """

    baseline: Number
    edited: Number
    effect: Number | None
    unit: str
    low: Number | None = None
    high: Number | None = None
    other: Number | None = None
    not_better: list[int] = Field(default_factory=list)
    random: list[Number] = Field(default_factory=list)
    percentile: Number | None = None

    @property
    def shown(self) -> str:
        return "undefined" if self.effect is None else f"{self.effect:+z.3f}"

    def random_in_words(self, digits: int = 3) -> str:
        """Mean effect of the random sets, which are all the same where a layer has no heads to choose among."""
        return average_in_words(self.random, digits)


def average_in_words(random: Sequence[float], digits: int = 3) -> str:
    """Mean of the effects of random draws; that they are all the same, where they are."""
    alike = " (all alike)" if len(random) > 1 and len(set(random)) == 1 else ""
    return f"{sum(random) / len(random):+z.{digits}f}{alike}" if random else "–"


class HeadSet(Part):
    """Heads that were edited together, as ``[layer, head]``, and what came of it."""

    label: str
    heads: list[list[int]]
    measures: dict[str, Measure]

    @property
    def names(self) -> str:
        return " ".join(head_name((layer, head)) for layer, head in self.heads)


class HeadSets(Intervention):
    """Interventions on sets of heads; ``intervention`` is ``"denoise"``, ``"noise"`` or an ablation's name."""

    TYPE: ClassVar[str] = "head_sets"
    KNOWN: ClassVar[Mapping[str, Declaration]] = ABLATIONS | DIRECTIONS

    intervention: str
    component: str
    sets: Annotated[list[HeadSet], Field(min_length=1)]
    n_random: int = 0
    reference: str | None = None
    engine: str | None = None

    def unbounded(self, measure: Measure) -> bool:
        """Whether a measured effect has no interval although there are pairs enough, because none holds."""
        return None not in (measure.other, measure.effect) and measure.low is None and len(self.pairs) > 1

    def caveats(self, head_set: HeadSet, metric: str) -> str:
        """As :meth:`Patching.caveats`, of one set; ablation has none."""
        measure = head_set.measures[metric]
        if measure.other is None:
            return ""
        plain = DIRECTIONS[self.intervention].order(measure.baseline, measure.other)
        return caveats(
            metric,
            METRICS[metric].floor,
            plain,
            measure.not_better,
            len(self.pairs),
            undefined=measure.effect is None,
            unbounded=self.unbounded(measure),
        )

    @property
    def in_turn(self) -> bool:
        """Whether each set is one head, so that the sets are a ranking."""
        return len(self.sets) > 1 and all(len(one.heads) == 1 for one in self.sets)

    def heading(self) -> list[str]:
        declared = (ABLATIONS | DIRECTIONS)[self.intervention]
        what = "ablation" if self.intervention in ABLATIONS else "of heads together"
        lines = [
            f"{self.model}: {declared.title.lower()} {what}, {COMPONENTS[self.component].title.lower()}",
            self.protocol,
        ]
        return lines if len(self.sets) > 1 else [*lines, f"{self.sets[0].label}: {self.sets[0].names}"]

    def listing(self, by: str = "", top: int = 10) -> Iterator[dict[str, Any]]:
        """Of one set a row per measure; of several a row per set, with its effects on a metric and on the losses."""
        if len(self.sets) == 1:
            for name, one in self.sets[0].measures.items():
                numbers = {"plain": f"{one.baseline:.3f}", "edited": f"{one.edited:.3f}", "effect": one.shown}
                bounds = None if one.low is None or one.high is None else (one.low, one.high)
                random = {"random sets": one.random_in_words()} if one.random else {}
                above = {"percentile": f"{one.percentile:.0f}"} if one.percentile is not None else {}
                yield {"measure": name, **numbers, INTERVAL: _interval(bounds), **random, **above}
            return
        for one in self.ranked(by)[:top] if self.in_turn else self.sets[:top]:
            cells = {}
            for name, measure in one.measures.items():
                if name == (by or "logit_difference") or name not in METRICS:
                    random = f" (random {measure.random_in_words()})" if measure.random else ""
                    cells[name] = measure.shown + random
            yield {"heads": one.label, **cells}

    def ranked(self, by: str = "") -> list[HeadSet]:
        """The sets by the size of their effect on a metric, largest first."""
        return sorted(self.sets, key=lambda one: -abs(one.measures[by or "logit_difference"].effect or 0))

    def words(self, by: str = "") -> list[str]:
        """The verdict, and caveats of the measures that it does not speak of."""
        by, last = by or "logit_difference", self.sets[-1]
        others = [name for name in last.measures if name != by] if len(self.sets) == 1 else []
        said = {name: self.caveats(last, name) for name in others}
        return [self.verdict(by), *(f"{name}: {text}" for name, text in said.items() if text)]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per set and measure."""
        numbers = ("baseline", "edited", "other", "effect", "low", "high", "percentile")
        for one in self.sets:
            for name, measure in one.measures.items():
                cells = {number: getattr(measure, number) for number in numbers}
                yield {"set": one.label, "heads": one.names, "measure": name, "unit": measure.unit, **cells}

    def verdict(self, metric: str = "logit_difference") -> str:
        """What the last set does, in a few sentences: of a curve the largest one; of heads in turn, which do most."""
        last = self.sets[-1]
        measure = last.measures.get(metric)
        if measure is None:
            known = ", ".join((METRICS | LOSSES)[name].title.lower() for name in last.measures)
            return f"Measured here: {known}; choose that metric, or run anew."
        if self.in_turn:
            most = (f"{one.label} ({one.measures[metric].shown})" for one in self.ranked(metric)[:LISTED])
            of = METRICS[metric].title.lower()
            return self._of_the_task(f"Largest effects on the {of}, each head alone: {', '.join(most)}.")
        caveats = self.caveats(last, metric)
        if measure.effect is None:
            return self._of_the_task(caveats)
        which = "the first" if len(self.sets) > 1 else "these"
        heads = f"{which} {len(last.heads)} heads" if len(last.heads) > 1 else f"head {last.names}"
        if self.intervention in ABLATIONS:
            first, second = (last.measures[name] for name in LOSSES)
            text = (
                f"Without {heads} the loss on the second copy goes from {second.baseline:.2f} to "
                f"{second.edited:.2f} nats, on the first from {first.baseline:.2f} to {first.edited:.2f}."
            )
            compared, of = second, ", change the second by "  # what the figure shows, whatever the metric
        else:
            share = "comes back" if self.intervention == "denoise" else "is lost"
            title = METRICS[metric].title.lower()
            text = f"With {heads} patched, {measure.effect:.2f} of the {title} {share}."
            compared, of = measure, ": "
        if compared.random:
            text += f" Random heads of the same layers, as many{of}{compared.random_in_words(2)} on average"
            above = compared.percentile
            text += "." if above is None else f"; this set lies above {above:.0f} % of them."
        return self._of_the_task(f"{text} {caveats}".strip())

    def check(self) -> None:
        _check_names((self.intervention, self.KNOWN), (self.component, COMPONENTS))
        for one in self.sets:
            for head in one.heads:
                if len(head) != 2 or not (0 <= head[0] < self.n_layers and 0 <= head[1] < self.n_heads):
                    raise ValueError(f"no head {head}")
            if one.measures.keys() != self.sets[0].measures.keys():
                raise ValueError("the sets have different measures")
            for name, measure in one.measures.items():
                _check_names((name, METRICS | LOSSES))
                _check_ends(name, measure.low, measure.high)
                if bool(measure.random) != (measure.percentile is not None):
                    raise ValueError(f"{name}: a percentile comes with random sets")
                if not all(0 <= pair < len(self.pairs) for pair in measure.not_better):
                    raise ValueError(f"{name}: names a pair that there is not")


class Attribution(Intervention):
    """Direct logit attribution: what each head itself writes towards the answer, signed, in logits.

    Attributes:
        mean: logit difference that the head's output adds, ``[layer][head]``, mean over pairs.
        low, high: 95 % t-interval of the mean over pairs; None with fewer than two.
        total: the logit difference of the clean run, mean over pairs; None where the source does not give it.
        rest: what embedding, MLPs and biases add: total minus the sum over heads.
    """

    TYPE: ClassVar[str] = "attribution"

    kind: Kind
    mean: Grid
    low: Grid | None = None
    high: Grid | None = None
    total: Number | None = None
    rest: Number | None = None

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per head."""
        grids = {"mean": self.mean, "low": self.low, "high": self.high}
        for layer in range(self.n_layers):
            for head in range(self.n_heads):
                cells = {name: None if grid is None else grid[layer][head] for name, grid in grids.items()}
                yield {"layer": layer, "head": head, **{f"logit_difference_{k}": v for k, v in cells.items()}}

    def heading(self) -> list[str]:
        return [f"{self.model}: direct logit attribution", self.protocol]

    def listing(self, by: str = "", top: int = 10) -> Iterator[dict[str, Any]]:
        for layer, head, value in self.ranked()[:top]:
            yield {"head": head_name((layer, head)), "logits": f"{value:+.3f}"}

    def ranked(self) -> list[tuple[int, int, float]]:
        """``(layer, head, logits)`` of all heads, largest first whatever the sign."""
        heads = [
            (layer, head, value) for layer, row in enumerate(self.mean) for head, value in enumerate(row)
        ]
        return sorted(heads, key=lambda item: -abs(item[2]))

    def verdict(self) -> str:
        leaders = ", ".join(f"{layer}.{head} ({value:+.2f})" for layer, head, value in self.ranked()[:LISTED])
        text = f"Heads that write most towards the answer or against it, in logits: {leaders}."
        if self.total is None or self.rest is None:
            return text
        return f"{text} Embedding, MLPs and biases {self.rest:+.2f}; logit difference {self.total:+.2f}."

    def check(self) -> None:
        for grid in (self.mean, self.low, self.high):
            check_shape("attribution", grid, self.n_layers, self.n_heads)


def _interval(bounds: tuple[float, float] | None) -> str:
    return f"{bounds[0]:+.3f} to {bounds[1]:+.3f}" if bounds else ""


def _check_names(*named: tuple[str, Collection[str]]) -> None:
    """Raises ValueError where a name is none of those that are declared."""
    for name, known in named:
        if name not in known:
            raise ValueError(f"'{name}' is none of {', '.join(known)}")


def _check_ends(what: str, low: Any, high: Any) -> None:
    if (low is None) != (high is None):
        raise ValueError(f"{what}: an interval has two ends")


def _gaps(values: Any) -> Any:
    """The same nested lists, True for None."""
    return [_gaps(value) for value in values] if isinstance(values, list) else values is None


def _covers(values: Any, bounds: Any) -> bool:
    """Whether there are bounds only where there is a value."""
    if isinstance(values, list):
        return all(map(_covers, values, bounds))
    return values is not None or bounds is None


def all_gaps(values: Any) -> bool:
    """Whether nested lists hold nothing but None."""
    return all(map(all_gaps, values)) if isinstance(values, list) else values is None
