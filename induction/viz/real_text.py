"""Figures of heads in prose: the map of all heads, and prose against random repeats."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import plotly.graph_objects as go

from induction.analysis.real_text_result import MEASURES, RealText
from induction.base import InputError, head_name
from induction.viz import frame
from induction.viz.heat_map import heat_map
from induction.viz.scan import LABELLED, PLOT, head_names, head_points
from induction.viz.theme import LIGHT, Palette

ROOM = 1.08  # of an axis: the largest value times it


def head_map(result: RealText, by: str = "latest", **look: Any) -> go.Figure:
    """One measure of every head as a heat map, by default attention after the latest earlier occurrence.

    Args:
        by: of :data:`induction.analysis.real_text_result.MEASURES`.
        look: ``palette``, ``selected`` and ``marked`` of :func:`induction.viz.heat_map.heat_map`.

    Raises:
        InputError: there is no such measure.
    """
    if by not in result.measures:
        raise InputError(f"There is no measure '{by}'; choose one of {', '.join(result.measures)}.")
    measure, declared = result.measures[by], MEASURES[by]
    most = max(abs(value) for row in measure.mean for value in row)
    beside = f" Chance (uniform attention): {measure.chance:.3g}; ceiling: {measure.ceiling:.3g}."
    return heat_map(
        measure.mean,
        title=f"In prose: {declared.title[:1].lower()}{declared.title[1:]}",
        spoken=f"{declared.title}, in prose, of every head of {result.model}",
        protocol=frame.origin_line(result, result.protocol) + beside,
        what=declared.what,
        low=measure.low,
        high=measure.high,
        limit=most or 1.0,
        diverging=by == "lead",
        **look,
    )


def prose_vs_repeats(
    result: RealText, *, palette: Palette = LIGHT, selected: str = "", marked: Collection[str] = ()
) -> go.Figure:
    """One point per head: induction score on random repeats across, the score in prose up, chance as a line.

    Raises:
        InputError: the scores on random repeats were not at hand.
    """
    if result.agreement is None:
        raise InputError(f"No scan of {result.model} was compared with; run it with one.")
    agreement, latest = result.agreement, result.measures["latest"]
    points = {}
    for layer, rows in enumerate(zip(agreement.repeat, latest.mean, strict=True)):
        for head, (across, up) in enumerate(zip(*rows, strict=True)):
            ends = [grid and grid[layer][head] for grid in (latest.low, latest.high)]
            told = f"in prose {up:.3f}{frame.interval(*ends, digits=3)}<br>random repeats {across:.2f}"
            points[head_name((layer, head))] = (across, up, told)
    named = {head_name(item[:2]) for item in result.ranked()[:LABELLED]} | ({selected} & points.keys())
    interval = frame.interval(agreement.low, agreement.high)
    most = ROOM * max(latest.chance, *(up for _, up, _ in points.values()))
    title = "Prose against random repeats"
    return frame.chart(
        head_points(points, palette, selected, marked),
        palette,
        title=title,
        spoken=f"{title} of every head of {result.model}: rank correlation {agreement.spearman:.2f}",
        protocol=frame.origin_line(
            result,
            f"Rank correlation of all heads {agreement.spearman:.2f}{interval}. Prose: {result.protocol}. "
            f"Random repeats: {agreement.protocol}",
        ),
        x=frame.axis("score on random repeats (attention, 0 to 1)", range=[-0.03, 1.03]),
        y=frame.axis("score in prose (attention)", range=[-0.03 * most, most]),
        shapes=[frame.level(f"chance {latest.chance:.3f}", palette.muted, y=latest.chance, dash="dot")],
        notes=head_names({name: point for name, point in points.items() if name in named}, most),
        plot=PLOT,
        drag="select",
    )
