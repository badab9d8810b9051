"""Results of interventions that travel: dataclasses, JSON with a schema version, CSV, text tables, bundled files.

Imports neither torch nor transformer_lens, so a page can show results before any model is loaded.
A value that is not defined (or not computed yet) is None, never zero and never NaN.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from induction.base import InputError, head_name
from induction.patching.interventions import ABLATIONS, COMPONENTS, DIRECTIONS, LOSSES, METRICS
from induction.results import document, types

SCHEMA = "induction-patching/2"
FOLDER = Path(__file__).parents[1] / "results" / "patching"
UNITS = ("head", "group")  # what a column of a sweep is

Grid = list[list[Any]]  # [layer][head] of float | None; where every position was patched, [layer][head][pos]


@dataclass(frozen=True)
class Pair:
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


def not_better_in_words(pairs: Sequence[int], metric: str, floor: float, n_pairs: int | None = None) -> str:
    """A sentence that names these pairs, counted from 1 as prompts are shown; empty where there are none."""
    if not pairs:
        return ""
    named = ", ".join(str(pair + 1) for pair in pairs)
    if len(pairs) == n_pairs:
        where = f"all {n_pairs} pairs" if n_pairs > 1 else "the only pair"
    elif n_pairs is None:
        where = f"{len(pairs)} pair{'s' * (len(pairs) > 1)} ({named})"
    else:
        where = f"{len(pairs)} of {n_pairs} pairs ({named})"
    return (
        f"In {where} the clean prompt is not better than the corrupted one by {_amount(floor, metric)}; "
        f"{'they count' if len(pairs) > 1 else 'it counts'} in the means."
    )


def undefined_in_words(clean: float, corrupted: float, metric: str, floor: float) -> str:
    """Why there is no effect, from the means of the two plain runs, and what to do."""
    return (
        f"The effect on the {METRICS[metric].title.lower()} is undefined: on average the clean prompts "
        f"({clean:.3g}) are not better than the corrupted ones ({corrupted:.3g}) by {_amount(floor, metric)}, so there "
        "is no answer to bring back or to lose; choose prompts that the model answers better when they are clean."
    )


NOT_BOUNDED = (
    "The 95 % intervals are not bounded: these pairs do not tell the gap between clean and corrupted from 0."
)


def _amount(value: float, metric: str) -> str:
    unit = METRICS[metric].unit
    return f"{value:g}" if unit == metric else f"{value:g} {unit}"


class Bounded:
    """Something with an interval for every head."""

    low: Grid | None
    high: Grid | None

    def interval(self, layer: int, head: int) -> tuple[float, float] | None:
        """95 % interval of one head (of all positions together); None where there is none or it is not bounded."""
        if self.low is None or self.high is None:
            return None
        low, high = self.low[layer][head], self.high[layer][head]
        return None if low is None or high is None else (low, high)


@dataclass(frozen=True)
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

    clean: list[float]
    corrupted: list[float]
    mean: Grid
    floor: float
    not_better: list[int] = field(default_factory=list)
    patched: list[Grid] | None = None
    low: Grid | None = None
    high: Grid | None = None

    @property
    def plain(self) -> tuple[float, float]:
        """Mean value of the clean and of the corrupted prompts."""
        n = len(self.clean)
        return sum(self.clean) / n, sum(self.corrupted) / n


@dataclass(frozen=True)
class Patching:
    """A patching sweep over all heads of one model, with everything needed to repeat it.

    ``kind`` is ``"computed"`` or ``"published"``; ``method`` is ``"exact"`` (one forward pass per patch, or the
    same numbers) or ``"estimate"`` (attribution patching). ``n_heads`` counts the columns: with grouped-query
    attention, patching k or v, a column is a group of ``group_size`` heads and ``unit`` is ``"group"``.
    ``engine`` says how it was computed: ``"direct"`` (:mod:`induction.patching.sweep`) or ``"hooked"`` (whole passes).
    """

    model: str
    n_layers: int
    n_heads: int
    kind: str
    origin: str
    protocol: str
    method: str
    direction: str
    component: str
    positions: str
    effects: dict[str, Effect]
    unit: str = "head"
    group_size: int = 1
    n_positions: int | None = None
    pairs: list[Pair] = field(default_factory=list)
    engine: str | None = None
    seed: int | None = None
    seconds: float | None = None
    versions: dict[str, str] = field(default_factory=dict)

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
        said = [not_better_in_words(effect.not_better, metric, effect.floor, len(effect.clean))]
        if all_gaps(effect.mean):
            said.insert(0, undefined_in_words(*effect.plain, metric, effect.floor))
        elif effect.low is not None and all_gaps(effect.low):
            said.append(NOT_BOUNDED)
        return " ".join(filter(None, said))

    @property
    def pick(self) -> str:
        """What the strongest head of a sweep is, in words: the intervals say nothing of that."""
        unit = "heads" if self.unit == "head" else "groups"
        n = self.n_layers * self.n_heads
        return f"The strongest of {n} {unit} is partly luck; the intervals do not allow for the pick."

    def mean_of_ratios(self, metric: str = "logit_difference") -> Grid:
        """A variant of the effect, shown nowhere: the mean of the pairs' own ratios, as of :attr:`Effect.mean`.

        Pairs with ``|clean - corrupted|`` below the floor have no ratio and are left out, which selects on the outcome,
        and of the others those with the smallest gap decide. None everywhere where no pair is left.

        Raises:
            InputError: the metric was not measured, or its values per pair are not stored.
        """
        effect = self.effect(metric)
        if effect.patched is None:
            raise InputError("This result has no values per pair; measure it to have them.")
        ratios = []
        for clean, corrupted, patched in zip(effect.clean, effect.corrupted, effect.patched, strict=True):
            start, end = (corrupted, clean) if self.direction == "denoise" else (clean, corrupted)
            if abs(end - start) >= effect.floor:
                ratios.append((np.array(patched, dtype=float) - start) / (end - start))
        if not ratios:
            return np.full(np.shape(effect.mean), None).tolist()
        return np.mean(ratios, axis=0).tolist()

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


@dataclass(frozen=True)
class Measure:
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

    baseline: float
    edited: float
    effect: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    other: float | None = None
    not_better: list[int] = field(default_factory=list)
    random: list[float] = field(default_factory=list)
    percentile: float | None = None

    def random_in_words(self, digits: int = 3) -> str:
        """Mean effect of the random sets, which are all the same where a layer has no heads to choose among."""
        alike = " (all alike)" if len(self.random) > 1 and len(set(self.random)) == 1 else ""
        return f"{sum(self.random) / len(self.random):+.{digits}f}{alike}" if self.random else "–"


@dataclass(frozen=True)
class HeadSet:
    """Heads that were edited together, as ``[layer, head]``, and what came of it."""

    label: str
    heads: list[list[int]]
    measures: dict[str, Measure]


@dataclass(frozen=True)
class HeadSets:
    """Interventions on sets of heads; ``intervention`` is ``"denoise"``, ``"noise"`` or an ablation's name."""

    model: str
    n_layers: int
    n_heads: int
    origin: str
    protocol: str
    intervention: str
    component: str
    sets: list[HeadSet]
    n_random: int = 0
    reference: str | None = None
    pairs: list[Pair] = field(default_factory=list)
    engine: str | None = None
    seed: int | None = None
    seconds: float | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def unbounded(self, measure: Measure) -> bool:
        """Whether a measured effect has no interval although there are pairs enough, because none holds."""
        return None not in (measure.other, measure.effect) and measure.low is None and len(self.pairs) > 1

    def caveats(self, head_set: HeadSet, metric: str) -> str:
        """As :meth:`Patching.caveats`, of one set; ablation has none."""
        measure = head_set.measures[metric]
        if measure.other is None:
            return ""
        floor = METRICS[metric].floor
        said = [not_better_in_words(measure.not_better, metric, floor, len(self.pairs))]
        if measure.effect is None:
            plain = (measure.other, measure.baseline)  # clean, corrupted
            said.insert(
                0, undefined_in_words(*plain[:: 1 if self.intervention == "denoise" else -1], metric, floor)
            )
        elif self.unbounded(measure):
            said.append(NOT_BOUNDED)
        return " ".join(filter(None, said))


@dataclass(frozen=True)
class Attribution:
    """Direct logit attribution: what each head itself writes towards the answer, signed, in logits.

    Attributes:
        mean: logit difference that the head's output adds, ``[layer][head]``, mean over pairs.
        low, high: 95 % t-interval of the mean over pairs; None with fewer than two.
        total: the logit difference of the clean run, mean over pairs; None where the source does not give it.
        rest: what embedding, MLPs and biases add: total minus the sum over heads.
    """

    model: str
    n_layers: int
    n_heads: int
    kind: str
    origin: str
    protocol: str
    mean: Grid
    low: Grid | None = None
    high: Grid | None = None
    total: float | None = None
    rest: float | None = None
    pairs: list[Pair] = field(default_factory=list)
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=dict)


Result = Patching | HeadSets | Attribution
_TYPES = {"patching": Patching, "head_sets": HeadSets, "attribution": Attribution}


def to_json(result: Result) -> str:
    """One JSON document that :func:`from_json` reads back to an equal object."""
    name = next(name for name, kind in _TYPES.items() if isinstance(result, kind))
    return json.dumps({"schema": SCHEMA, "type": name, **asdict(result)}, allow_nan=False)


def from_json(text: str, name: str = "this file") -> Result:
    """Read a result.

    Raises:
        InputError: the text is damaged, of another schema, or its numbers do not fit its shape.
    """
    return document.read(text, name, schema=SCHEMA, build=_build, check=_check)


def _build(data: dict[str, Any]) -> Result:
    kind = data.pop("type")
    data["pairs"] = [Pair(**pair) for pair in data["pairs"]]
    if kind == "patching":
        data["effects"] = {metric: Effect(**effect) for metric, effect in data["effects"].items()}
        return Patching(**data)
    if kind == "attribution":
        return Attribution(**data)
    if kind != "head_sets":
        raise ValueError(f"type {kind}")
    sets = []
    for head_set in data["sets"]:
        measures = {key: Measure(**measure) for key, measure in head_set.pop("measures").items()}
        sets.append(HeadSet(**head_set, measures=measures))
    data["sets"] = sets
    return HeadSets(**data)


def _check(result: Result) -> None:
    _check_names(result)
    if isinstance(result, HeadSets):
        _check_sets(result)
        return
    shape: tuple[int, ...] = (result.n_layers, result.n_heads)
    if isinstance(result, Attribution):
        for grid in (result.mean, result.low, result.high):
            if grid is not None:
                _check_numbers(grid, shape, "attribution", gaps=False)
        return
    if result.n_positions is not None:
        shape = (*shape, result.n_positions)
    for metric, effect in result.effects.items():
        _check_numbers(effect.mean, shape, metric)
        if (effect.low is None) != (effect.high is None):
            raise ValueError(f"{metric}: an interval has two ends")
        if effect.low is not None and effect.high is not None:
            _check_numbers(effect.low, shape, metric)
            _check_numbers(effect.high, shape, metric)
            if _gaps(effect.low) != _gaps(effect.high) or not _covers(effect.mean, effect.low):
                raise ValueError(f"{metric}: intervals and effects are of different heads")
        if effect.patched is not None:
            _check_numbers(effect.patched, (len(effect.clean), *shape), metric)
        _check_numbers(effect.clean, (len(effect.corrupted),), metric, gaps=False)
        _check_numbers(effect.corrupted, (len(effect.clean),), metric, gaps=False)
        if effect.not_better != not_better(effect.clean, effect.corrupted, effect.floor):
            raise ValueError(f"{metric}: the pairs named are not those whose clean prompt is not better")


def _check_names(result: Result) -> None:
    """Raises ValueError where a name is none of those that are declared."""
    named: list[tuple[str, Collection[str]]] = []
    if isinstance(result, Patching):
        named = [(result.direction, DIRECTIONS), (result.component, COMPONENTS), (result.unit, UNITS)]
        named += [(metric, METRICS) for metric in result.effects]
    elif isinstance(result, HeadSets):
        named = [(result.intervention, ABLATIONS | DIRECTIONS), (result.component, COMPONENTS)]
        named += [(name, METRICS | LOSSES) for head_set in result.sets for name in head_set.measures]
    for name, known in named:
        if name not in known:
            raise ValueError(f"'{name}' is none of {', '.join(known)}")


def _check_sets(result: HeadSets) -> None:
    for head_set in result.sets:
        for layer, head in head_set.heads:
            if not (0 <= layer < result.n_layers and 0 <= head < result.n_heads):
                raise ValueError(f"no head {layer}.{head}")
        if head_set.measures.keys() != result.sets[0].measures.keys():
            raise ValueError("the sets have different measures")
        for name, measure in head_set.measures.items():
            _check_numbers(measure.random, (len(measure.random),), name, gaps=False)
            if bool(measure.random) != (measure.percentile is not None):
                raise ValueError(f"{name}: a percentile comes with random sets")
            if (measure.low is None) != (measure.high is None):
                raise ValueError(f"{name}: an interval has two ends")
            if not all(0 <= pair < len(result.pairs) for pair in measure.not_better):
                raise ValueError(f"{name}: names a pair that there is not")


def _check_numbers(values: Any, shape: tuple[int, ...], what: str, *, gaps: bool = True) -> None:
    """Raises ValueError unless these are finite numbers of this shape, with ``gaps`` or None."""
    if not shape:
        if values is None and gaps:
            return
        if not types.is_number(values):
            raise ValueError(f"{what}: a cell is no finite number")
        return
    if not isinstance(values, list) or len(values) != shape[0]:
        raise ValueError(f"{what}: not {' x '.join(map(str, shape))}")
    for value in values:
        _check_numbers(value, shape[1:], what, gaps=gaps)


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


def to_csv(result: Result) -> str:
    """Patching and attribution: one row per head (and position); head sets: one row per set and measure."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if isinstance(result, HeadSets):
        numbers = ["baseline", "edited", "other", "effect", "low", "high", "percentile"]
        writer.writerow(["set", "heads", "measure", "unit", *numbers])
        for head_set in result.sets:
            heads = " ".join(head_name((layer, head)) for layer, head in head_set.heads)
            for name, m in head_set.measures.items():
                row = [getattr(m, number) for number in numbers]
                writer.writerow([head_set.label, heads, name, m.unit, *row])
        return out.getvalue()
    if isinstance(result, Attribution):
        writer.writerow(
            ["layer", "head", "logit_difference_mean", "logit_difference_low", "logit_difference_high"]
        )
        for layer in range(result.n_layers):
            for head in range(result.n_heads):
                grids = (result.mean, result.low, result.high)
                writer.writerow(
                    [layer, head, *(None if grid is None else grid[layer][head] for grid in grids)]
                )
        return out.getvalue()
    positions = [None] if result.n_positions is None else list(range(result.n_positions))
    parts = {"effect": "mean", "low": "low", "high": "high"}
    columns = [(metric, part) for metric in result.effects for part in parts]
    writer.writerow(["layer", result.unit, "position", *(f"{metric}_{part}" for metric, part in columns)])
    for layer in range(result.n_layers):
        for head in range(result.n_heads):
            for position in positions:
                cells = []
                for metric, part in columns:
                    grid = getattr(result.effects[metric], parts[part])
                    cell = None if grid is None else grid[layer][head]
                    cells.append(cell if position is None or cell is None else cell[position])
                writer.writerow([layer, head, position, *cells])
    return out.getvalue()


def to_text(result: Result, *, metric: str = "logit_difference", top: int = 10) -> str:
    """A table for the terminal: the strongest heads of a sweep, or the head sets."""
    if isinstance(result, HeadSets):
        return _sets_text(result, metric, top)
    if isinstance(result, Attribution):
        return _attribution_text(result, top)
    effect = result.effect(metric)
    title = COMPONENTS[result.component].title.lower()
    lines = [
        f"{result.model}: {DIRECTIONS[result.direction].title.lower()} {title}, {METRICS[metric].title.lower()}, "
        f"{result.method}",
        f"{result.protocol}",
    ]
    n = len(effect.clean)
    if n:
        clean, corrupted = effect.plain
        lines.append(f"clean {clean:.4g}, corrupted {corrupted:.4g}{_over(n)}")
    if result.caveats(metric):
        lines.append(result.caveats(metric))
    lines += ["", f"{result.unit:>8}  effect  95 % interval"]
    for layer, head, value in result.ranked(metric)[:top]:
        row = f"{result.name(layer, head):>8}  {value:+.3f}"
        interval = None if result.n_positions is not None else effect.interval(layer, head)
        if interval:
            row += f"  {interval[0]:+.3f} to {interval[1]:+.3f}"
        lines.append(row)
    return "\n".join([*lines, result.pick])


def _over(n_pairs: int) -> str:
    return f" (means over {n_pairs} pairs)" if n_pairs > 1 else ""


def _sets_text(result: HeadSets, metric: str, top: int) -> str:
    declared = (ABLATIONS | DIRECTIONS)[result.intervention]
    what = "ablation" if result.intervention in ABLATIONS else "of heads together"
    component = COMPONENTS[result.component].title.lower()
    lines = [f"{result.model}: {declared.title.lower()} {what}, {component}", result.protocol]
    if len(result.sets) > 1:
        caveats = result.caveats(result.sets[0], metric)  # the pairs and the plain runs are those of all sets
        return "\n".join([*lines, *filter(None, [caveats]), "", *_sets_table(result.sets, metric, top)])
    for head_set in result.sets:
        heads = " ".join(head_name((layer, head)) for layer, head in head_set.heads)
        lines += ["", f"{head_set.label}: {heads}"]
        for name, m in head_set.measures.items():
            shown = "undefined" if m.effect is None else f"{m.effect:+.3f}"
            if m.low is not None and m.high is not None:
                shown += f" ({m.low:+.3f} to {m.high:+.3f})"
            row = f"  {name:<22} {m.baseline:8.3f} -> {m.edited:8.3f}   effect {shown}"
            if m.random:
                row += f"; random sets {m.random_in_words()}, percentile {m.percentile:.0f}"
            lines.append(row)
        for name in head_set.measures:
            if caveats := result.caveats(head_set, name):
                lines.append(f"  {name}: {caveats}")
    return "\n".join(lines)


def _sets_table(sets: list[HeadSet], metric: str, top: int) -> list[str]:
    """One row per set: the effect on the metric and on the losses, each with the mean of its random sets.

    Sets of one head each are a ranking, by size of the effect on the metric; larger ones stay in their order.
    """
    names = [name for name in sets[0].measures if name == metric or name not in METRICS]
    if all(len(head_set.heads) == 1 for head_set in sets):
        sets = sorted(sets, key=lambda head_set: -abs(head_set.measures[metric].effect or 0))
    rows = [["heads", *names]]
    for head_set in sets[:top]:
        cells = []
        for measure in (head_set.measures[name] for name in names):
            cell = "undefined" if measure.effect is None else f"{measure.effect:+.3f}"
            if measure.random:
                cell += f" (random {measure.random_in_words()})"
            cells.append(cell)
        rows.append([head_set.label, *cells])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _attribution_text(result: Attribution, top: int) -> str:
    cells = [(layer, head, value) for layer, row in enumerate(result.mean) for head, value in enumerate(row)]
    lines = [f"{result.model}: direct logit attribution", result.protocol, "", "    head  logits"]
    for layer, head, value in sorted(cells, key=lambda cell: -abs(cell[2]))[:top]:
        lines.append(f"{head_name((layer, head)):>8}  {value:+.3f}")
    if result.total is not None and result.rest is not None:
        lines.append(f"embedding, MLPs and biases {result.rest:+.3f}; logit difference {result.total:+.3f}")
    return "\n".join(lines)


def bundled_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.json"))


@cache
def bundled(name: str) -> Result:
    """A result that comes with the package.

    Raises:
        InputError: no such bundled result.
    """
    if name not in bundled_names():
        raise InputError(f"No bundled patching result for '{name}'; there are {', '.join(bundled_names())}.")
    return from_json((FOLDER / f"{name}.json").read_text(encoding="utf-8"), f"{name}.json")
