"""Figures of patching: the map of all heads, patched against clean and corrupted, head sets against random sets."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import plotly.graph_objects as go

from induction.base import InputError
from induction.patching.interventions import ABLATIONS, COMPONENTS, DIRECTIONS, LOSSES, METRICS, head_name
from induction.patching.results import HeadSet, HeadSets, Measure, Patching
from induction.viz import frame
from induction.viz.heat_map import heat_map
from induction.viz.theme import LIGHT, Palette

BARS = 8  # heads in the bar chart
BINS = 20


def origin_line(result: Patching | HeadSets) -> str:
    """Whose figures these are and how they were made, for captions."""
    published = isinstance(result, Patching) and result.kind == "published"
    who = "Published by others" if published else "Computed by this project"
    estimate = " Estimate by attribution patching, not exact." if _estimated(result) else ""
    return f"{result.model}. {who}.{estimate} {result.protocol.rstrip('.')}."


def _caption(result: Patching | HeadSets, caveats: str) -> str:
    """:func:`origin_line`, and what a reader of the metric on show has to know."""
    return f"{origin_line(result)} {caveats}".strip()


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


def head_map(
    result: Patching,
    metric: str = "logit_difference",
    *,
    palette: Palette = LIGHT,
    selected: str = "",
    marked: Collection[str] = (),
) -> go.Figure:
    """The effect of every head (or group of heads that share keys or values) as a heat map.

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
        selected=selected,
        marked=marked,
        unit=_column(result),
        name=result.name,
        palette=palette,
    )


def bars(
    result: Patching,
    metric: str = "logit_difference",
    *,
    palette: Palette = LIGHT,
    selected: str = "",
) -> go.Figure:
    """Clean, corrupted and patched value for the heads with the largest effect, as means over the pairs.

    Probability where it was measured, because it reads without explanation; heads are those that lead by ``metric``.

    Raises:
        InputError: the metric was not measured, or the effect on it is undefined.
    """
    shown = "probability" if "probability" in result.effects else metric
    effect = result.effect(shown)
    clean, corrupted = effect.plain
    ranked = sorted(result.ranked(metric), key=lambda item: -abs(item[2]))[:BARS]
    if not ranked:
        raise InputError(result.caveats(metric))
    names = [result.name(layer, head) for layer, head, _ in ranked]
    values = [_patched_mean(result, shown, layer, head) for layer, head, _ in ranked]
    leading, shares = result.effect(metric), [value for _, _, value in ranked]
    ends = [
        (leading.interval(layer, head) if result.n_positions is None else None) or (None, None)
        for layer, head, _ in ranked
    ]
    plain = f"clean {clean:.3f}, corrupted {corrupted:.3f}"
    patched = go.Bar(
        x=names,
        y=values,
        customdata=[
            [name, value, share, *end]
            for name, value, share, end in zip(names, values, shares, ends, strict=True)
        ],
        hovertext=[
            f"{name}: patched {'not measured' if value is None else f'{value:.3f}'}<br>{plain}<br>"
            f"effect on the {METRICS[metric].title.lower()} {share:.3f}{frame.interval(*end)}"
            for name, value, share, end in zip(names, values, shares, ends, strict=True)
        ],
        hoverinfo="text",
        marker={"color": [palette.selected if name == selected else palette.accent for name in names]},
        name="patched",
        showlegend=True,
        meta={"pick": "head"} if result.unit == "head" else None,
    )
    unit, y_name = METRICS[shown].unit, METRICS[shown].title
    known = [0.0, clean, corrupted, *(value for value in values if value is not None)]
    margin = 0.06 * (max(known) - min(known) or 1)
    n = len(effect.clean)
    return frame.chart(
        [patched],
        palette,
        title="Clean, corrupted and patched",
        spoken=f"{y_name}: {plain}, and with each head patched",
        protocol=(f"Means over {n} prompt pairs. " if n > 1 else "")
        + _caption(result, result.caveats(shown)),
        x={"title": {"text": f"patched {_column(result)}"}, "type": "category"},
        y={"title": {"text": f"{y_name} ({'0 to 1' if unit == shown else unit})"}}
        | {"range": [min(known) - (margin if min(known) < 0 else 0), max(known) + margin]},
        shapes=[
            frame.level(f"clean {clean:.2f}", palette.second, y=clean),
            frame.level(f"corrupted {corrupted:.2f}", palette.muted, dash="dash", y=corrupted),
        ],
        drag=False,
    )


def _column(result: Patching) -> str:
    return "head" if result.unit == "head" else "group of heads"


def _patched_mean(result: Patching, metric: str, layer: int, head: int) -> float | None:
    """Mean value with one head patched; from the effect where only that was published."""
    effect = result.effect(metric)
    if effect.patched is not None and result.n_positions is None:
        cells = [pair[layer][head] for pair in effect.patched if pair[layer][head] is not None]
        return sum(cells) / len(cells) if cells else None
    share = effects(result, metric)[layer][head]
    if share is None:
        return None
    clean, corrupted = effect.plain
    start, end = (corrupted, clean) if result.direction == "denoise" else (clean, corrupted)
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
    points = [(at + 1, _measure(head_set, metric)) for at, head_set in enumerate(result.sets)]
    own = [(k, measure, measure.effect) for k, measure in points if measure.effect is not None]
    # Sets share pairs and plain runs, and so what is to be said.
    caveats = result.caveats(result.sets[0], metric)
    if not own:
        raise InputError(caveats)
    effect_of = [effect for _, _, effect in own]
    traces = [_random_sets(points, palette)] if any(measure.random for _, measure in points) else []
    intervals = [_interval(measure) for _, measure, _ in own]
    cells = [
        [head_name(tuple(result.sets[k - 1].heads[-1])), k, effect, *(ends or (None, None))]
        for (k, _, effect), ends in zip(own, intervals, strict=True)
    ]
    first = go.Scatter(
        x=[k for k, _, _ in own],
        y=effect_of,
        error_y=frame.error_bars(effect_of, intervals, palette.accent),
        customdata=[[*cell, frame.interval(*cell[3:])] for cell in cells],
        hovertemplate="%{y:.2f}%{customdata[5]}<extra>to %{customdata[0]}</extra>",
        mode="lines+markers",
        line={"color": palette.accent, "width": 2},
        marker={"size": 8},
        name="first k heads",
        showlegend=True,
        meta={"pick": "head"},
    )
    name = effect_name(result, metric)
    return frame.chart(
        [*traces, first],
        palette,
        title="The first k heads together",
        spoken=f"{own[-1][0]} heads together: {name} {effect_of[-1]:.2f}",
        protocol=_caption(result, caveats),
        x={
            "title": {"text": "k, heads patched together, by induction score"},
            "nticks": 11,
            "tickformat": "d",
        }
        | {"range": [0.5, len(points) + 0.5], "unifiedhovertitle": {"text": "first %{x} heads"}},
        y={"title": {"text": name}, "rangemode": "tozero"},
        hover="x unified",
        plot=280,
    )


def _random_sets(points: list[tuple[int, Measure]], palette: Palette) -> go.Scatter:
    """Mean of the random sets of each size, and the middle 95 % of them as a bar."""
    drawn = [(k, *_band(measure.random)) for k, measure in points if measure.random]
    means, ends = [mean for _, _, mean, _ in drawn], [(low, high) for _, low, _, high in drawn]
    return go.Scatter(
        x=[k for k, *_ in drawn],
        y=means,
        error_y=frame.error_bars(means, ends, palette.second, thickness=5, width=0),
        customdata=[list(cell) for cell in drawn],
        hovertemplate="%{y:.2f}, %{customdata[1]:.2f} to %{customdata[3]:.2f}<extra>random</extra>",
        mode="markers",
        marker={"color": palette.second, "size": 7},
        opacity=0.6,
        name="random sets, mean and 95 %",
        showlegend=True,
    )


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
    random, own, ends = measure.random, measure.effect, _interval(measure)
    low, high = min(0.0, own, *random), max(0.0, own, *random)
    counts, edges = np.histogram(random, BINS, (low, high if high > low else low + 1))
    mean, bounds = sum(random) / len(random), ends or (None, None)
    bars = go.Bar(
        x=((edges[1:] + edges[:-1]) / 2).tolist(),
        y=counts.tolist(),
        width=float(edges[1] - edges[0]),
        customdata=np.stack([edges[:-1], edges[1:]], 1).tolist(),
        hovertemplate="%{y} random sets between %{customdata[0]:.3f} and %{customdata[1]:.3f}<extra></extra>",
        marker={"color": palette.second, "opacity": 0.6},
        name=f"{len(random)} random sets, mean {mean:.2f}",
        showlegend=True,
    )
    line = go.Scatter(
        x=[own, own],
        y=[0, 1.15 * int(counts.max())],
        error_x=frame.error_bars([own, own], [None, ends], palette.accent),
        hovertemplate=f"this set {own:.3f}{frame.interval(*bounds, digits=3)}<br>random sets: mean {mean:.3f}<br>"
        f"percentile {measure.percentile:.0f}<extra></extra>",
        mode="lines",
        line={"color": palette.accent, "width": 3},
        name=f"this set {own:.2f}",
        showlegend=True,
    )
    return frame.chart(
        [bars, line],
        palette,
        title="This set among random sets",
        spoken=f"This set: {own:.3f}; {len(random)} random sets: mean {mean:.3f}",
        protocol=_caption(result, caveats),
        x={"title": {"text": effect_name(result, metric)}},
        y={"title": {"text": "number of random sets"}, "tickformat": "d", "rangemode": "tozero", "nticks": 6},
        plot=200,
    )


def _interval(measure: Measure) -> tuple[float, float] | None:
    return None if measure.low is None or measure.high is None else (measure.low, measure.high)


def _measure(head_set: HeadSet, metric: str) -> Measure:
    if metric not in head_set.measures:
        raise InputError(f"'{metric}' was not measured; choose from {', '.join(head_set.measures)}.")
    return head_set.measures[metric]


def _band(random: list[float]) -> tuple[float, float, float]:
    """Low end, mean and high end of the middle 95 % of the random sets."""
    ordered = sorted(random)
    cut = int(0.025 * len(ordered))
    return ordered[cut], sum(ordered) / len(ordered), ordered[len(ordered) - 1 - cut]
