"""One number of every head as a heat map: layers down, heads across."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import plotly.graph_objects as go

from induction.base import head_name
from induction.viz import frame
from induction.viz.theme import LIGHT, Palette

Grid = Sequence[Sequence[float | None]]


def heat_map(
    values: Grid,
    *,
    what: str = "effect",
    low: Grid | None = None,
    high: Grid | None = None,
    limit: float = 1.0,
    diverging: bool = False,
    selected: str = "",
    marked: Collection[str] = (),
    unit: str = "head",
    name: Callable[[int, int], str] = lambda layer, head: head_name((layer, head)),
    palette: Palette = LIGHT,
    **words: str,
) -> go.Figure:
    """A map of any number per head.

    Args:
        values: ``[layer][head]``; None is not measured or not defined, and stays empty.
        what: the number with its unit, for the scale and the hover; ``low``, ``high``: its interval.
        limit: the end of the scale, which runs from 0 or, ``diverging``, from ``-limit``.
        selected: the head on show, ``"5.1"``; ``marked``: heads of a set.
        unit: what a column is, a head or a group of heads; ``name``: of one.
        words: ``title``, ``spoken`` and ``protocol`` of :func:`induction.viz.frame.chart`.
    """
    plot = max(min(26, 520 / len(values)) * len(values), 60)
    trace = frame.heat(
        [list(row) for row in values],
        palette.diverging if diverging else palette.sequential,
        what,
        palette,
        bar_at=-frame.AXIS / plot,
        customdata=_cells(values, low, high, name),
        hovertemplate=f"{unit} %{{customdata[0]}}: {what} %{{customdata[1]:.3f}}%{{customdata[4]}}<extra></extra>",
        zmin=-limit if diverging else 0.0,
        zmax=limit,
        xgap=1,
        ygap=1,
        meta={"pick": "head"} if unit == "head" else None,
    )
    apart = math.ceil(14 * len(values) / plot)  # layers from one tick to the next, which has a line of text
    ticks = {"showgrid": False, "zeroline": False, "tickformat": "d"}
    return frame.chart(
        [trace],
        palette,
        x=frame.axis(f"{unit} (number within its layer)", nticks=13, **ticks),
        y=frame.axis("layer (number)", dtick=apart, range=[len(values) - 0.5, -0.5], **ticks),
        shapes=_outlines(values, selected, marked, palette),
        plot=plot,
        below=frame.AXIS + frame.COLOUR_BAR,
        drag=False,
        **words,
    )


def _cells(
    values: Grid, low: Grid | None, high: Grid | None, name: Callable[[int, int], str]
) -> list[list[list[Any]]]:
    """``[layer][head]``: name, value, ends of the interval, and the interval in words."""
    return [
        [
            [name(layer, head), value, *ends, frame.interval(*ends)]
            for head, value in enumerate(row)
            for ends in [[None if grid is None else grid[layer][head] for grid in (low, high)]]
        ]
        for layer, row in enumerate(values)
    ]


def _outlines(values: Grid, selected: str, marked: Collection[str], palette: Palette) -> list[dict[str, Any]]:
    """A frame around the heads of the set and the selected one; one entry of the legend stands for all of a kind."""
    outlines = []
    for heads, colour, name in (
        ([selected], palette.selected, "selected head"),
        (marked, palette.second, "chosen set"),
    ):
        look = {"type": "rect", "name": name, "legendgroup": name, "line": {"color": colour, "width": 2.5}}
        places = [(layer, head) for layer, row in enumerate(values) for head in range(len(row))]
        for index, (layer, head) in enumerate(place for place in places if head_name(place) in heads):
            place = {"x0": head - 0.5, "x1": head + 0.5, "y0": layer - 0.5, "y1": layer + 0.5}
            outlines.append({"showlegend": not index, **look, **place})
    return outlines
