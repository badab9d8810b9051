"""Why a head looks where it looks: sources at the query against sources at the key."""

from __future__ import annotations

import plotly.graph_objects as go

from induction.circuit.sources import Looking
from induction.viz import frame
from induction.viz.theme import LIGHT, Palette

ROW = 24  # pixels from one source to the next
NAME = 7.0  # of a character of a source's name
LONGEST = 24  # characters of a name at an axis


def source_map(result: Looking, palette: Palette = LIGHT) -> go.Figure:
    """The split score: a row per source at the query, a column per source at the key; diverging, zero in the middle."""
    rows = [frame.short(name, LONGEST) for name in result.query_sources]
    columns = [frame.short(name, LONGEST) for name in result.key_sources]
    limit = max((abs(value) for row in result.terms for value in row), default=0.0) or 1.0
    below = frame.AXIS + NAME * max(map(len, columns))  # names of keys stand upright
    plot = ROW * max(len(rows), 3)
    told = [
        [
            f"{at_query} at the query, {at_key} at the key: {result.terms[i][j]:+.3f}{_bounds(result, i, j)}<br>"
            f"control {result.control[i][j]:+.3f}"
            for j, at_key in enumerate(columns)
        ]
        for i, at_query in enumerate(rows)
    ]
    trace = frame.heat(
        result.terms,
        palette.diverging,
        "score before the softmax",
        palette,
        bar_at=-below / plot,
        x=columns,
        y=rows,
        hovertext=told,
        hoverinfo="text",
        zmin=-limit,
        zmax=limit,
        xgap=1,
        ygap=1,
    )
    names = {"type": "category", "showgrid": False, "zeroline": False, "dtick": 1}
    return frame.chart(
        [trace],
        palette,
        title=f"Why {result.name} looks there: sources of its score",
        spoken=f"Score of head {result.name} of {result.model} from {frame.short(result.query, 40)} to "
        f"{frame.short(result.key, 40)}, split by what stands at the query and at the key",
        protocol=_protocol(result),
        x=frame.axis("source at the key", tickangle=-90, **names),
        y=frame.axis("source at the query", autorange="reversed", **names),
        plot=plot,
        left=frame.LEFT + int(NAME * max(map(len, rows)) / 2) + 20,
        below=below + frame.COLOUR_BAR,
        drag=False,
    )


def _protocol(result: Looking) -> str:
    cap = "" if result.cap is None else f" Scores are those before the soft cap of {result.cap:g}."
    return (
        f"{frame.origin_line(result, result.protocol)} From {result.query} to {result.key}: all cells sum to "
        f"{result.total:+.2f}; control, {result.control_is.rstrip(',')}: {result.control_total:+.2f}.{cap}"
    )


def _bounds(result: Looking, row: int, column: int) -> str:
    if result.low is None or result.high is None:
        return ""
    return frame.interval(result.low[row][column], result.high[row][column])
