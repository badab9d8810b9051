"""Figures of patching: the map of all heads, patched against clean and corrupted, head sets against random sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from induction.base import InputError
from induction.patching.interventions import ABLATIONS, COMPONENTS, DIRECTIONS, LOSSES, METRICS
from induction.patching.results import HeadSet, HeadSets, Measure, Patching
from induction.viz import frame
from induction.viz.heat_map import heat_map
from induction.viz.theme import LIGHT, Palette

BARS = 8  # heads in the bar chart
BINS = 20


def _caption(result: Patching | HeadSets, caveats: str) -> str:
    """How the figures were made, and what a reader of the metric on show has to know."""
    estimate = "Estimate by attribution patching, not exact. " if _estimated(result) else ""
    return f"{frame.origin_line(result, estimate + result.protocol)} {caveats}".strip()


def _estimated(result: Patching | HeadSets) -> bool:
    return isinstance(result, Patching) and result.method == "estimate"


def title_of(result: Patching, metric: str) -> str:
    """What the numbers are: ``Denoising, head output: share of the logit difference``."""
    what = f"{DIRECTIONS[result.direction].title}, {COMPONENTS[result.component].title.lower()}"
    estimate = "estimated " if _estimated(result) else ""
    return f"{what}: {estimate}effect on the {METRICS[metric].title.lower()}"


def effects(result: Patching, metric: str) -> list[list[float | None]]:
    """The effect of every head; where every position was patched, that of its strongest position.

    Raises:
        InputError: the metric was not measured.
    """

    def strongest(cell: float | list[float | None] | None) -> float | None:
        if not isinstance(cell, list):
            return cell
        return max((value for value in cell if value is not None), key=abs, default=None)

    return [[strongest(cell) for cell in row] for row in result.effect(metric).mean]


def scale_limit(values: list[list[float | None]]) -> float:
    """The end of the scale: 1, or less where all effects are small, so that the map is not empty."""
    largest = max((abs(value) for row in values for value in row if value is not None), default=1.0)
    return next((end for end in (0.05, 0.1, 0.2, 0.5) if largest <= end), 1.0)


def head_map(result: Patching, metric: str = "logit_difference", **look: Any) -> go.Figure:
    """The effect of every head (or group of heads that share keys or values) as a heat map.

    Args:
        look: ``palette``, ``selected`` and ``marked`` of :func:`induction.viz.heat_map.heat_map`.

    Raises:
        InputError: the metric was not measured.
    """
    values, effect = effects(result, metric), result.effect(metric)
    whole = result.n_positions is None  # intervals are of whole heads, never of one position
    return heat_map(
        values,
        title=title_of(result, metric),
        spoken=f"{title_of(result, metric)} of every head of {result.model}",
        protocol=_caption(result, result.caveats(metric)),
        what="effect (1 = all of it)",
        low=effect.low if whole else None,
        high=effect.high if whole else None,
        limit=scale_limit(values),
        diverging=True,
        unit=_column(result),
        name=result.name,
        **look,
    )


def bars(
    result: Patching,
    metric: str = "logit_difference",
    *,
    palette: Palette = LIGHT,
    selected: str = "",
) -> go.Figure:
    """Where the heads with the largest effects move the metric, as means over the pairs.

    A bar begins at the value of the run that is patched, so that its length is the effect.

    Raises:
        InputError: the metric was not measured, or the effect on it is undefined.
    """
    effect, declared = result.effect(metric), METRICS[metric]
    clean, corrupted = effect.plain
    start, _ = DIRECTIONS[result.direction].order(clean, corrupted)
    rows = _leading(result, metric)
    if not rows:
        raise InputError(result.caveats(metric))
    plain = f"clean {clean:.3f}, corrupted {corrupted:.3f}"
    told = [
        f"{name}: patched {value:.3f}<br>{plain}<br>effect {share:.3f}{frame.interval(*ends)}"
        for name, value, share, *ends in rows
    ]
    names, values, *_ = zip(*rows, strict=True)
    pick = {"pick": "head"} if result.unit == "head" else None
    moved = {"x": names, "y": [value - start for value in values], "base": start}
    patched = frame.head_bars(rows, told, [selected], palette, **moved, name="patched", meta=pick)
    n = len(effect.clean)
    over = f"Means over {n} prompt pairs. " if n > 1 else ""
    unit = "0 to 1" if declared.unit == metric else declared.unit
    return frame.chart(
        [patched],
        palette,
        title="Clean, corrupted and patched",
        spoken=f"{declared.title}: {plain}, and with each head patched",
        protocol=over + _caption(result, result.caveats(metric)),
        x=frame.axis(f"patched {_column(result)}", type="category"),
        y=frame.axis(f"{declared.title} ({unit})", range=_range([clean, corrupted, *values]), zeroline=False),
        shapes=[
            frame.level(f"clean {clean:.2f}", palette.second, y=clean),
            frame.level(f"corrupted {corrupted:.2f}", palette.muted, dash="dash", y=corrupted),
        ],
        drag=False,
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Of an axis that leaves some room at its ends."""
    low, high = min(values), max(values)
    margin = 0.06 * (high - low or 1)
    return low - margin, high + margin


def _leading(result: Patching, metric: str) -> list[list[Any]]:
    """Name, mean of the metric when patched, effect on it and its interval, of the strongest."""
    rows = []
    for layer, head, share in sorted(result.ranked(metric), key=lambda item: -abs(item[2]))[:BARS]:
        ends = result.effect(metric).interval(layer, head) if result.n_positions is None else None
        patched = _patched_mean(result, metric, layer, head, share)
        rows.append([result.name(layer, head), patched, share, *(ends or (None, None))])
    return rows


def _column(result: Patching) -> str:
    return "head" if result.unit == "head" else "group of heads"


def _patched_mean(result: Patching, metric: str, layer: int, head: int, share: float) -> float:
    """Mean value with one head patched; from the effect where only that was published, or only a part is there."""
    effect = result.effect(metric)
    if effect.patched is not None and result.n_positions is None:
        cells = [pair[layer][head] for pair in effect.patched if pair[layer][head] is not None]
        return sum(cells) / len(cells)
    start, end = DIRECTIONS[result.direction].order(*effect.plain)
    return start + share * (end - start)


def effect_name(result: HeadSets, metric: str) -> str:
    """What the effect of a set is, with its unit: a share when patching, a change when ablating."""
    declared = (METRICS | LOSSES)[metric]
    if result.intervention in ABLATIONS:
        return f"change of {declared.title[0].lower()}{declared.title[1:]} ({declared.unit})"
    return f"effect on the {declared.title.lower()} (share)"


def curve(result: HeadSets, metric: str = "logit_difference", *, palette: Palette = LIGHT) -> go.Figure:
    """The effect of the first 1, 2, ... k heads together, and of random sets of the same size.

    Raises:
        InputError: the metric was not measured, or the effect on it is undefined.
    """
    measures = [_measure(head_set, metric) for head_set in result.sets]
    cells = [
        [head_set.names.split()[-1], k, one.effect, one.low, one.high, frame.interval(one.low, one.high)]
        for k, (head_set, one) in enumerate(zip(result.sets, measures, strict=True), start=1)
        if one.effect is not None
    ]
    # Sets share pairs and plain runs, and so what is to be said.
    caveats = result.caveats(result.sets[0], metric)
    if not cells:
        raise InputError(caveats)
    _, ks, shares, low, high, _ = zip(*cells, strict=True)
    first = frame.line(
        ks,
        shares,
        palette.accent,
        "%{y:.2f}%{customdata[5]}<extra>to %{customdata[0]}</extra>",
        error_y=frame.error_bars(shares, low, high, palette.accent),
        customdata=cells,
        mode="lines+markers",
        marker={"size": 8},
        name="first k heads",
        meta={"pick": "head"},
    )
    name, told = effect_name(result, metric), {"text": "first %{x} heads"}
    ticks = frame.counted(len(measures), 11) | {"range": [0.5, len(measures) + 0.5]}
    return frame.chart(
        [*_random_sets(measures, palette), first],
        palette,
        title="The first k heads together",
        spoken=f"{ks[-1]} heads together: {name} {shares[-1]:.2f}",
        protocol=_caption(result, caveats),
        x=frame.axis("first k heads by induction score", unifiedhovertitle=told, **ticks),
        y=frame.axis(name, rangemode="tozero"),
        hover="x unified",
        plot=280,
    )


def _random_sets(measures: list[Measure], palette: Palette) -> list[go.Scatter]:
    """Mean of the random sets of each size, and the middle 95 % of them as a bar; nothing where none were run."""
    cells = [[k, *frame.middle(one.random)] for k, one in enumerate(measures, start=1) if one.random]
    if not cells:
        return []
    ks, low, means, high = zip(*cells, strict=True)
    sets = go.Scatter(
        x=ks,
        y=means,
        error_y=frame.error_bars(means, low, high, palette.second, thickness=5, width=0),
        customdata=cells,
        hovertemplate="%{y:.2f}, %{customdata[1]:.2f} to %{customdata[3]:.2f}<extra>random</extra>",
        mode="markers",
        marker={"color": palette.second, "size": 7},
        opacity=0.6,
        name="random sets, mean and 95 %",
    )
    return [sets]


def distribution(
    result: HeadSets, metric: str = "logit_difference", *, palette: Palette = LIGHT
) -> go.Figure:
    """Where the effect of the first set falls among the random sets.

    Raises:
        InputError: no random sets were run, or the effect is undefined.
    """
    measure = _measure(result.sets[0], metric)
    caveats = result.caveats(result.sets[0], metric)
    if measure.effect is None:
        raise InputError(caveats)
    if not measure.random:
        raise InputError("No random sets were run; ask for some to see where this set falls among them.")
    random, own, ends = measure.random, measure.effect, (measure.low, measure.high)
    low, high = min(0.0, own, *random), max(0.0, own, *random)
    counts, edges = np.histogram(random, BINS, (low, high if high > low else low + 1))
    mean = sum(random) / len(random)
    bars = go.Bar(
        x=((edges[1:] + edges[:-1]) / 2).tolist(),
        y=counts.tolist(),
        width=float(edges[1] - edges[0]),
        customdata=np.stack([edges[:-1], edges[1:]], 1).tolist(),
        hovertemplate="%{y} random sets between %{customdata[0]:.3f} and %{customdata[1]:.3f}<extra></extra>",
        marker={"color": palette.second, "opacity": 0.6},
        name=f"{len(random)} random sets, mean {mean:.2f}",
    )
    line = frame.line(
        [own, own],
        [0, 1.15 * int(counts.max())],
        palette.accent,
        f"this set {own:.3f}{frame.interval(*ends, digits=3)}<br>random sets: mean {mean:.3f}<br>"
        f"percentile {measure.percentile:.0f}<extra></extra>",
        error_x=frame.error_bars([own, own], [None, ends[0]], [None, ends[1]], palette.accent),
        line={"width": 3},
        name=f"this set {own:.2f}",
    )
    return frame.chart(
        [bars, line],
        palette,
        title="This set among random sets",
        spoken=f"This set: {own:.3f}; {len(random)} random sets: mean {mean:.3f}",
        protocol=_caption(result, caveats),
        x=frame.axis(effect_name(result, metric)),
        y=frame.axis("number of random sets", rangemode="tozero", **frame.counted(int(counts.max()), 6)),
        plot=200,
    )


def _measure(head_set: HeadSet, metric: str) -> Measure:
    if metric not in head_set.measures:
        raise InputError(f"'{metric}' was not measured; choose from {', '.join(head_set.measures)}.")
    return head_set.measures[metric]
