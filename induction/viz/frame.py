"""What all charts share: size, title, legend, protocol, modebar, interval marks, and text that is safe in them.

A chart's type stays at 12 px or more and its parts in place from 390 px of width on.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Iterable, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.basedatatypes import BaseTraceType

from induction.base import Result
from induction.viz.theme import Palette, template

#: For ``Plotly.newPlot``, ``Figure.show`` and ``write_html``. Which buttons there are is part of each chart's layout.
CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "showSendToCloud": False,  # plotly 4's button that would upload the chart
    "responsive": True,
    "toImageButtonOptions": {"format": "png", "scale": 2},
}
LEFT, RIGHT = 58, 14  # margins, in pixels
NARROW = 390 - LEFT - RIGHT  # the plotting area on a phone
AXIS = 50  # below the plotting area: tick labels and the axis title
COLOUR_BAR = 52  # below that, where there is one
LINE, LEGEND_LINE, TITLE_LINE = 16, 19, 19
TITLE_CHARACTERS, PROTOCOL_CHARACTERS = 46, 54
CHARACTER = 6.4  # mean width of a character of 12 px
SUPERFLUOUS = ("sendChartToCloud", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d")


def chart(
    traces: Sequence[BaseTraceType],
    palette: Palette,
    *,
    title: str,
    spoken: str,
    protocol: str,
    x: dict[str, Any],
    y: dict[str, Any],
    shapes: Sequence[dict[str, Any]] = (),
    notes: Sequence[dict[str, Any]] = (),
    hover: str = "closest",
    plot: float = 240,
    left: float = LEFT,
    below: float = AXIS,
    drag: str | bool = "zoom",
) -> go.Figure:
    """A chart with its frame; ``layout.meta`` has what a page shows as text of its own.

    Args:
        traces: those with a name have an entry in the legend, unless they say otherwise.
        title: short, above the chart, over ``layout.meta["title_height"]`` pixels of height and margin; ``spoken``: one
            sentence for screen readers.
        protocol: how the numbers were made. It stands under the chart as the annotation named ``protocol``, over
            the ``layout.meta["protocol_height"]`` lowest pixels of height and margin.
        x, y: the axes; ``notes``: annotations.
        plot: height of the plotting area; ``left`` and ``below``: room for the names at its axes; all in pixels.
        drag: what dragging does: ``zoom``, ``select`` (a set of heads), or False where there is nothing to zoom into.
    """
    heading, caption = textwrap.wrap(title, TITLE_CHARACTERS), textwrap.wrap(protocol, PROTOCOL_CHARACTERS)
    named = _legend(traces, shapes)
    top = 14 + TITLE_LINE * len(heading) + LEGEND_LINE * _legend_rows(named) + (8 if named else 0)
    lowest = LINE * len(caption) + 10
    layout = {
        "template": template(palette),
        "autosize": True,
        "height": top + plot + below + lowest,
        "margin": {"l": left, "r": RIGHT, "t": top, "b": below + lowest},
        "title": {"text": _lines(heading), "pad": {"l": 8, "t": 8 + TITLE_LINE * (len(heading) - 1)}},
        "showlegend": bool(named),
        "hovermode": hover,
        "dragmode": drag,
        "modebar": {"remove": [*SUPERFLUOUS, *(() if drag == "select" else ("select2d",))]},
        "xaxis": {"fixedrange": not drag, **x},
        "yaxis": {"fixedrange": not drag, **y},
        "shapes": list(shapes),
        "annotations": [*notes, _below(caption, palette, left, below)],
        "meta": {
            "title": spoken,
            "protocol": protocol,
            "protocol_height": lowest,
            "title_height": TITLE_LINE * len(heading),
        },
    }
    return go.Figure(list(traces), layout)


def _legend(traces: Sequence[BaseTraceType], shapes: Sequence[dict[str, Any]]) -> list[str]:
    """The entries of the legend; traces that do not say whether they have one are told."""
    for trace in traces:
        if trace.showlegend is None:
            trace.showlegend = trace.name is not None
    return [one["name"] for one in (*traces, *shapes) if one["showlegend"]]


def _below(lines: list[str], palette: Palette, left: float, below: float) -> dict[str, Any]:
    corner = {"xref": "paper", "yref": "paper", "x": 0, "y": 0, "xanchor": "left", "yanchor": "top"}
    text = {"text": _lines(lines), "align": "left", "font": {"size": 12, "color": palette.muted}}
    return {"name": "protocol", "showarrow": False, "xshift": 8 - left, "yshift": -below, **corner, **text}


def _legend_rows(names: Iterable[str]) -> int:
    """Rows of a horizontal legend on a phone, filled one after the other."""
    rows, end = 0, math.inf
    for width in (len(name) * CHARACTER + 45 for name in names):
        rows, end = (rows + 1, width) if end + width > NARROW else (rows, end + width)
    return rows


def _lines(lines: Iterable[str]) -> str:
    return "<br>".join(escape(line, quote=False) for line in lines)


def origin_line(result: Result, protocol: str) -> str:
    """Whose figures these are and how they were made, for the protocol of a chart."""
    published = getattr(result, "kind", "") == "published"
    who = "Published by others" if published else "Computed by this project"
    return f"{result.model}. {who}. {protocol.rstrip('.')}."


def axis(title: str, **options: Any) -> dict[str, Any]:
    return {"title": {"text": title}, **options}


def counted(most: int, ticks: int) -> dict[str, Any]:
    """Of an axis that counts up to ``most``: ticks at whole numbers, as many at the most."""
    return {"tick0": 0, "dtick": max(1, math.ceil(most / ticks)), "tickformat": "d"}


def short(text: str, characters: int) -> str:
    """A name or token as text in a chart: cut to length, and escaped, since plotly reads tags in texts."""
    return escape(text if len(text) <= characters else f"{text[: characters - 1]}…", quote=False)


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """`` [0.20, 0.40]``, or nothing where there is no interval."""
    return "" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"


def middle(random: Sequence[float]) -> tuple[float, float, float]:
    """Low end, mean and high end of the middle 95 % of random draws."""
    ordered = sorted(random)
    cut = int(0.025 * len(ordered))
    return ordered[cut], sum(ordered) / len(ordered), ordered[len(ordered) - 1 - cut]


def error_bars(
    values: Sequence[float],
    low: Sequence[float | None],
    high: Sequence[float | None],
    colour: str,
    **style: Any,
) -> dict[str, Any]:
    """Intervals as plotly takes them: distances from the values, none where there is no interval."""
    down = [0 if end is None else value - end for value, end in zip(values, low, strict=True)]
    up = [0 if end is None else end - value for value, end in zip(values, high, strict=True)]
    shown = {"color": colour, "thickness": 1.5, "width": 3, "visible": any(end is not None for end in low)}
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, **shown, **style}


def line(x: Sequence[float], y: Sequence[float | None], colour: str, told: str, **options: Any) -> go.Scatter:
    """A line; ``told`` is the template of its hover, ``line`` among the options is its look beside the colour."""
    look = {"color": colour, "width": 2, **options.pop("line", {})}
    return go.Scatter(x=x, y=y, hovertemplate=told, line=look, **{"mode": "lines", **options})


def head_bars(
    rows: Sequence[Sequence[Any]], told: list[str], chosen: Collection[str], palette: Palette, **options: Any
) -> go.Bar:
    """A bar for each row, which begins with the name of a head; ``told`` on hover, those ``chosen`` stand out."""
    colours = [palette.selected if row[0] in chosen else palette.accent for row in rows]
    hover = {"customdata": [list(row) for row in rows], "hovertext": told, "hoverinfo": "text"}
    return go.Bar(marker={"color": colours}, **hover, **options)


def heat(
    z: list[list[float | None]],
    colours: Sequence[str],
    name: str,
    palette: Palette,
    *,
    bar_at: float,
    **options: Any,
) -> go.Heatmap:
    """Cells in these colours, evenly spaced; None stays empty. The scale lies below the axis, under its name.

    Args:
        bar_at: where the scale begins, in heights of the plotting area.
    """
    small = {"size": 12, "color": palette.muted}
    text = {
        "title": {"text": name, "side": "top", "font": small},
        "tickfont": small,
        "tickangle": 0,
        "nticks": 5,
    }
    place = {"x": 0, "xanchor": "left", "xpad": 0, "y": bar_at, "yanchor": "top", "ypad": 0}
    bar = {"orientation": "h", "thickness": 9, "outlinewidth": 0, "len": 0.7, **text, **place}
    scale = [[at / (len(colours) - 1), colour] for at, colour in enumerate(colours)]
    return go.Heatmap(z=z, colorscale=scale, colorbar=bar, hoverongaps=False, **options)


def level(
    name: str, colour: str, *, x: float | None = None, y: float = 0.0, dash: str = "solid"
) -> dict[str, Any]:
    """A line across the whole plot at ``x`` or ``y``, with its entry in the legend."""
    line = {
        "type": "line",
        "name": name,
        "showlegend": True,
        "line": {"color": colour, "width": 2, "dash": dash},
    }
    if x is None:
        return {**line, "x0": 0, "x1": 1, "xref": "x domain", "y0": y, "y1": y}
    return {**line, "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "y domain"}


def band(low: float, high: float, colour: str, *, opacity: float, name: str = "") -> dict[str, Any]:
    """A stretch of the x axis; with a name, it has an entry in the legend."""
    look = {"fillcolor": colour, "opacity": opacity, "line": {"width": 0}}
    place = {"x0": low, "x1": high, "y0": 0, "y1": 1, "yref": "y domain"}
    return {"type": "rect", "name": name, "showlegend": bool(name), **look, **place}
