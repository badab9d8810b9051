"""Figures of patching: the map of all heads, patched against clean and corrupted, head sets against random sets."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import plotly.graph_objects as go

from induction.base import InputError, head_name
from induction.patching.interventions import ABLATIONS, COMPONENTS, DIRECTIONS, LOSSES, METRICS
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
        unit="head" if result.unit == "head" else "group of heads",
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
    figure = go.Figure()
    figure.add_bar(
        x=names,
        y=values,
        customdata=[list(row) for row in zip(names, values, shares, *zip(*ends, strict=True), strict=True)],
        hovertext=[
            f"{name}: patched {'not measured' if value is None else f'{value:.3f}'}<br>{plain}<br>"
            f"effect on the {METRICS[metric].title.lower()} {share:.3f}{frame.interval(*end)}"
            for name, value, share, end in zip(names, values, shares, ends, strict=True)
        ],
        hoverinfo="text",
        marker={"color": [palette.selected if name == selected else palette.accent for name in names]},
        **{"name": "patched", "showlegend": True},
        meta={"pick": "head"} if result.unit == "head" else None,
    )
    frame.level(figure, f"clean {clean:.2f}", palette.second, y=clean)
    frame.level(figure, f"corrupted {corrupted:.2f}", palette.muted, dash="dash", y=corrupted)
    unit = METRICS[shown].unit
    y_name = METRICS[shown].title + ("" if unit == shown else f" ({unit})")
    known = [0.0, clean, corrupted, *(value for value in values if value is not None)]
    margin = 0.06 * (max(known) - min(known) or 1)
    figure.update_xaxes(
        title_text=f"patched {'head' if result.unit == 'head' else 'group of heads'}", type="category"
    )
    figure.update_yaxes(
        title_text=y_name if unit != shown else f"{y_name} (0 to 1)",
        range=[min(known) - (margin if min(known) < 0 else 0), max(known) + margin],
    )
    n = len(effect.clean)
    return frame.finish(
        figure,
        palette,
        title="Clean, corrupted and patched",
        spoken=f"{y_name}: {plain}, and with each head patched",
        protocol=(f"Means over {n} prompt pairs. " if n > 1 else "")
        + _caption(result, result.caveats(shown)),
        drag=False,
    )


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
    figure = go.Figure()
    drawn = [(k, *_band(measure.random)) for k, measure in points if measure.random]
    if drawn:
        means, ends = [mean for _, _, mean, _ in drawn], [(low, high) for _, low, _, high in drawn]
        figure.add_scatter(
            x=[k for k, *_ in drawn],
            y=means,
            error_y=frame.error_bars(means, ends, palette.second, thickness=5, width=0),
            customdata=[[k, *values] for k, *values in drawn],
            mode="markers",
            marker={"color": palette.second, "size": 7},
            hovertemplate="%{y:.2f}, %{customdata[1]:.2f} to %{customdata[3]:.2f}<extra>random</extra>",
            **{"name": "random sets, mean and 95 %", "showlegend": True, "opacity": 0.6},
        )
    heads = [head_name(tuple(result.sets[k - 1].heads[-1])) for k, _, _ in own]
    effect_of = [effect for _, _, effect in own]
    intervals = [_interval(measure) for _, measure, _ in own]
    figure.add_scatter(
        x=[k for k, _, _ in own],
        y=effect_of,
        error_y=frame.error_bars(effect_of, intervals, palette.accent),
        customdata=[
            [head, k, effect, *(ends or (None, None)), frame.interval(*(ends or (None, None)))]
            for head, (k, _, effect), ends in zip(heads, own, intervals, strict=True)
        ],
        hovertemplate="%{y:.2f}%{customdata[5]}<extra>to %{customdata[0]}</extra>",
        mode="lines+markers",
        line={"color": palette.accent, "width": 2},
        marker={"color": palette.accent, "size": 8},
        **{"name": "first k heads", "showlegend": True, "meta": {"pick": "head"}},
    )
    figure.update_layout(hovermode="x unified")
    figure.update_xaxes(title_text="k, heads patched together, by induction score", nticks=11, tickformat="d")
    figure.update_xaxes(range=[0.5, len(points) + 0.5], unifiedhovertitle_text="first %{x} heads")
    figure.update_yaxes(title_text=effect_name(result, metric), rangemode="tozero")
    return frame.finish(
        figure,
        palette,
        title="The first k heads together",
        spoken=f"{own[-1][0]} heads together: {effect_name(result, metric)} {effect_of[-1]:.2f}",
        protocol=_caption(result, caveats),
        plot=280,
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
    span = [0.0, measure.effect, *measure.random]
    counts, edges = np.histogram(
        measure.random, BINS, (min(span), max(span) if max(span) > min(span) else 1.0)
    )
    mean = sum(measure.random) / len(measure.random)
    own, ends = measure.effect, _interval(measure) or (None, None)
    words = f"{own:.3f}{frame.interval(*ends, digits=3)}"
    figure = go.Figure()
    figure.add_bar(
        x=((edges[1:] + edges[:-1]) / 2).tolist(),
        y=counts.tolist(),
        width=float(edges[1] - edges[0]),
        customdata=[list(bin_) for bin_ in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)],
        hovertemplate="%{y} random sets between %{customdata[0]:.3f} and %{customdata[1]:.3f}<extra></extra>",
        marker={"color": palette.second, "opacity": 0.6},
        **{"name": f"{len(measure.random)} random sets, mean {mean:.2f}", "showlegend": True},
    )
    top = int(counts.max())
    figure.add_scatter(
        x=[own, own],
        y=[0, top * 1.15],
        error_x=frame.error_bars([own, own], [None, _interval(measure)], palette.accent),
        customdata=[[own, *ends, mean, measure.percentile]] * 2,
        hovertemplate=f"this set {words}<br>random sets: mean {mean:.3f}<br>"
        f"percentile {measure.percentile:.0f}<extra></extra>",
        mode="lines",
        line={"color": palette.accent, "width": 3},
        **{"name": f"this set {own:.2f}", "showlegend": True},
    )
    figure.update_xaxes(title_text=effect_name(result, metric))
    figure.update_yaxes(title_text="number of random sets", tickformat="d", rangemode="tozero", nticks=6)
    return frame.finish(
        figure,
        palette,
        title="This set among random sets",
        spoken=f"This set: {own:.3f}; {len(measure.random)} random sets: mean {mean:.3f}",
        protocol=_caption(result, caveats),
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
