"""What all charts share: size, title, legend, protocol, modebar, marks of heads, and text that is safe in them.

A chart's type stays at 12 px or more and its parts in place from 390 px of width on.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

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
TITLE_CHARACTERS, PROTOCOL_CHARACTERS, NAME_CHARACTERS = 46, 58, 36
CHARACTER = 6.4  # mean width of a character of 12 px
SUPERFLUOUS = ["sendChartToCloud", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"]


def finish(
    figure: go.Figure,
    palette: Palette,
    *,
    title: str,
    spoken: str,
    protocol: str,
    plot: float = 240,
    left: float = LEFT,
    below: float = AXIS,
    drag: str | bool = "zoom",
) -> go.Figure:
    """The chart with its frame; ``layout.meta`` has what a page shows as text of its own.

    Args:
        title: short, above the chart; ``spoken``: one sentence for screen readers.
        protocol: how the numbers were made. It stands under the chart as the annotation named ``protocol``, over
            the ``layout.meta["protocol_height"]`` lowest pixels of height and margin.
        plot: height of the plotting area; ``left`` and ``below``: room for the names at its axes; all in pixels.
        drag: what dragging does: ``zoom``, ``select`` (a set of heads), or False where there is nothing to zoom into.
    """
    heading = textwrap.wrap(title, TITLE_CHARACTERS)
    caption = textwrap.wrap(protocol, PROTOCOL_CHARACTERS)
    named = [one.name for one in (*figure.data, *figure.layout.shapes) if one.name and one.showlegend]
    top = 14 + TITLE_LINE * len(heading) + LEGEND_LINE * _legend_rows(named) + (8 if named else 0)
    lowest = LINE * len(caption) + 10
    figure.add_annotation(
        name="protocol",
        text="<br>".join(escape(line, quote=False) for line in caption),
        font={"size": 12, "color": palette.muted},
        align="left",
        showarrow=False,
        **{"xref": "paper", "yref": "paper", "x": 0, "y": 0, "xanchor": "left", "yanchor": "top"},
        **{"xshift": 8 - left, "yshift": -below},
    )
    figure.update_layout(
        template=template(palette),
        height=top + plot + below + lowest,
        autosize=True,
        margin={"l": left, "r": RIGHT, "t": top, "b": below + lowest},
        title={
            "text": "<br>".join(escape(line, quote=False) for line in heading),
            "x": 0,
            "xref": "container",
            "xanchor": "left",
        }
        | {
            "pad": {"l": 8, "t": 8 + TITLE_LINE * (len(heading) - 1)},
            "y": 1,
            "yref": "container",
            "yanchor": "top",
        },
        showlegend=bool(named),
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "bottom",
            "tracegroupgap": 0,
        },
        dragmode=drag,
        modebar={"remove": [*SUPERFLUOUS, *(() if drag == "select" else ("select2d",))]},
        meta={"title": spoken, "protocol": protocol, "protocol_height": lowest},
    )
    if not drag:
        figure.update_xaxes(fixedrange=True)
        figure.update_yaxes(fixedrange=True)
    return figure


def _legend_rows(names: Sequence[str]) -> int:
    """Rows of a horizontal legend on a phone, filled one after the other."""
    rows, end = 0, math.inf
    for width in (len(name) * CHARACTER + 45 for name in names):
        rows, end = (rows + 1, width) if end + width > NARROW else (rows, end + width)
    return rows


def short(text: str, characters: int = NAME_CHARACTERS) -> str:
    """A name or token as text in a chart: cut to length, and escaped, since plotly reads tags in texts."""
    return escape(text if len(text) <= characters else f"{text[: characters - 1]}…", quote=False)


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """`` [0.20, 0.40]``, or nothing where there is no interval."""
    return "" if low is None or high is None else f" [{low:.{digits}f}, {high:.{digits}f}]"


def error_bars(
    values: Sequence[float], intervals: Sequence[tuple[float, float] | None], colour: str, **style: Any
) -> dict[str, Any]:
    """Intervals as plotly takes them: distances from the values, none where there is no interval."""
    ends = [found or (value, value) for value, found in zip(values, intervals, strict=True)]
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, (_, high) in zip(values, ends, strict=True)],
        "arrayminus": [value - low for value, (low, _) in zip(values, ends, strict=True)],
        "color": colour,
        "thickness": 1.5,
        "width": 3,
        "visible": any(intervals),
        **style,
    }


def colour_scale(colours: Sequence[str]) -> list[list[Any]]:
    return [[at / (len(colours) - 1), colour] for at, colour in enumerate(colours)]


def colour_bar(name: str, palette: Palette, y: float) -> dict[str, Any]:
    """A scale that lies below the axis, under its name; ``y`` in heights of the plotting area."""
    small = {"size": 12, "color": palette.muted}
    return {
        "orientation": "h",
        "title": {"text": name, "side": "top", "font": small},
        "tickfont": small,
        "tickangle": 0,
        "nticks": 5,
        **{"thickness": 9, "outlinewidth": 0, "len": 0.7},
        **{"x": 0, "xanchor": "left", "xpad": 0, "y": y, "yanchor": "top", "ypad": 0},
    }


def level(figure: go.Figure, name: str, colour: str, *, dash: str = "solid", **place: float) -> None:
    """A line across the whole plot at ``x=`` or ``y=``, with its entry in the legend."""
    (axis, value), across = place.popitem(), {"x": "y", "y": "x"}
    figure.add_shape(
        type="line",
        name=name,
        showlegend=True,
        line={"color": colour, "width": 2, "dash": dash},
        **{f"{axis}0": value, f"{axis}1": value, f"{axis}ref": axis},
        **{f"{across[axis]}0": 0, f"{across[axis]}1": 1, f"{across[axis]}ref": f"{across[axis]} domain"},
    )
