"""Every head that was tested against every test: passed, failed, not measured."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from induction.base import head_name
from induction.evidence.results import SIGNS, TESTS, Evidence, Line
from induction.viz import frame
from induction.viz.theme import LIGHT, Palette

MOST = 32  # heads drawn
ROW = 20  # pixels
LEVEL = {"pass": 1.0, "fail": 0.0, "not measured": math.nan}


def matrix(result: Evidence, *, palette: Palette = LIGHT) -> go.Figure:
    """Heads down, those that pass most first, tests across; a sign in each cell, so that colour is not alone."""
    heads = [(layer, head) for layer, head, _ in result.ranked()[:MOST]]
    lines = [result.lines(head) for head in heads]
    names, tests = [head_name(head) for head in heads], [test.title for test in TESTS.values()]
    trace = go.Heatmap(
        z=[
            [None if math.isnan(LEVEL[line.outcome]) else LEVEL[line.outcome] for line in row]
            for row in lines
        ],
        x=tests,
        y=names,
        text=[[SIGNS[line.outcome] for line in row] for row in lines],
        texttemplate="%{text}",
        customdata=[[[name, _told(line)] for line in row] for name, row in zip(names, lines, strict=True)],
        hovertemplate="head %{customdata[0]}, %{x}<br>%{customdata[1]}<extra></extra>",
        colorscale=[[0, palette.sequential[0]], [1, palette.sequential[2]]],
        zmin=0,
        zmax=1,
        showscale=False,
        xgap=2,
        ygap=2,
        meta={"pick": "head"},
    )
    left_out = len(result.tested) - len(heads)
    more = f" The {left_out} heads that pass fewest are not drawn." if left_out else ""
    signs = f"{SIGNS['pass']} passed, {SIGNS['fail']} failed, {SIGNS['not measured']} or empty not measured."
    return frame.chart(
        [trace],
        palette,
        title="Which tests each head passes",
        spoken=result.verdict(),
        protocol=frame.origin_line(result, f"{result.protocol}. {signs}{more}"),
        x=frame.axis("test", tickangle=-90, showgrid=False, type="category"),
        y=frame.axis("head (layer.head)", autorange="reversed", type="category", showgrid=False, dtick=1),
        plot=max(ROW * len(heads), 80),
        below=190,
        drag=False,
    )


def _told(line: Line) -> str:
    if line.value is None:
        return "not measured"
    interval = frame.interval(line.low, line.high)
    control = "" if line.control is None else f"; control {line.control:.3f}"
    return f"{line.value:.3f}{interval} {line.test.unit}{control}; at least {line.test.threshold:g}"
