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
    title: str,
    spoken: str = "",
    protocol: str = "",
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
) -> go.Figure:
    """A map of any number per head.

    Args:
        values: ``[layer][head]``; None is not measured or not defined, and stays empty.
        what: the number with its unit, for the scale and the hover; ``low``, ``high``: its interval.
        limit: the end of the scale, which runs from 0 or, ``diverging``, from ``-limit``.
        selected: the head on show, ``"5.1"``; ``marked``: heads of a set.
        unit: what a column is, a head or a group of heads; ``name``: of one.
    """
    plot = max(min(26, 520 / len(values)) * len(values), 60)
    cells = _cells(values, low, high, name)
    bar = frame.colour_bar(what, palette, y=-frame.AXIS / plot)
    trace = go.Heatmap(
        z=[list(row) for row in values],
        customdata=[[cell[:-1] for cell in row] for row in cells],
        hovertext=[[f"{unit} {cell[0]}: {what} {cell[-1]}" for cell in row] for row in cells],
        hoverinfo="text",
        hoverongaps=False,
        colorscale=frame.colour_scale(palette.diverging if diverging else palette.sequential),
        zmin=-limit if diverging else 0.0,
        zmax=limit,
        **{"xgap": 1, "ygap": 1, "colorbar": bar, "name": ""},
        meta={"pick": "head"} if unit == "head" else None,
    )
    figure = go.Figure(trace)
    _outline(figure, values, [selected], palette.selected, "selected head")
    _outline(figure, values, marked, palette.second, "chosen set")
    ticks = {"showgrid": False, "zeroline": False, "tickformat": "d"}
    figure.update_xaxes(title_text=f"{unit} (number within its layer)", nticks=13, **ticks)
    figure.update_yaxes(title_text="layer (number)", **ticks, dtick=math.ceil(14 * len(values) / plot))
    figure.update_yaxes(range=[len(values) - 0.5, -0.5])
    return frame.finish(
        figure,
        palette,
        title=title,
        spoken=spoken or title,
        protocol=protocol,
        plot=plot,
        below=frame.AXIS + frame.COLOUR_BAR,
        drag=False,
    )


def _cells(
    values: Grid, low: Grid | None, high: Grid | None, name: Callable[[int, int], str]
) -> list[list[list[Any]]]:
    """``[layer][head]``: name, value, ends of the interval, and the numbers in words."""
    rows = []
    for layer, row in enumerate(values):
        ends = [
            [None if grid is None else grid[layer][head] for grid in (low, high)] for head in range(len(row))
        ]
        rows.append(
            [
                [name(layer, head), value, *ends[head], f"{value:.3f}{frame.interval(*ends[head])}"]
                if value is not None
                else [name(layer, head), None, None, None, "not defined"]
                for head, value in enumerate(row)
            ]
        )
    return rows


def _outline(figure: go.Figure, values: Grid, heads: Collection[str], colour: str, name: str) -> None:
    """A frame around each of these heads that the map has; one entry of the legend stands for all."""
    places = [(layer, head) for layer, row in enumerate(values) for head in range(len(row))]
    for index, (layer, head) in enumerate(place for place in places if head_name(place) in heads):
        figure.add_shape(
            type="rect",
            name=name,
            legendgroup=name,
            showlegend=not index,
            line={"color": colour, "width": 2.5},
            **{"x0": head - 0.5, "x1": head + 0.5, "y0": layer - 0.5, "y1": layer + 0.5},
        )
