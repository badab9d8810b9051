"""The figure of attention knockout: what heads lose with their edges, beside the heads removed and both controls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import plotly.graph_objects as go

from induction.base import InputError
from induction.patching.edge_results import EdgeKnockout, EdgeMeasure
from induction.patching.interventions import LOSSES, METRICS
from induction.patching.results import Measure
from induction.viz import frame
from induction.viz.theme import LIGHT, Palette


class Bar(NamedTuple):
    """A value with the ends of an interval around it, and what they are of."""

    name: str
    value: float
    low: float | None
    high: float | None
    told: str
    colour: str


def bars(result: EdgeKnockout, metric: str = "logit_difference", *, palette: Palette = LIGHT) -> go.Figure:
    """The loss on the second copy (or a metric, where edges of a text were marked) of the whole model and without.

    Intervals are 95 % over prompts, of a change from the whole model; at the controls, the middle 95 % of the draws.

    Raises:
        InputError: the metric was not measured.
    """
    name, last = result.leading(metric), result.sets[-1]
    if name not in last.measures:
        raise InputError(f"'{metric}' was not measured; choose from {', '.join(last.measures)}.")
    declared = (METRICS | LOSSES)[name]
    shown = list(_bars(last.measures[name], palette))
    values, low, high = ([getattr(bar, end) for bar in shown] for end in ("value", "low", "high"))
    unit = "0 to 1" if declared.unit == name else declared.unit
    trace = go.Bar(
        x=[bar.name for bar in shown],
        y=values,
        error_y=frame.error_bars(values, low, high, palette.ink),
        marker={"color": [bar.colour for bar in shown]},
        hovertext=[f"{bar.told}: {bar.value:.3f}{frame.interval(bar.low, bar.high, 3)}" for bar in shown],
        hoverinfo="text",
        showlegend=False,
    )
    said = ", ".join(f"{bar.told} {bar.value:.2f}" for bar in shown)
    return frame.chart(
        [trace],
        palette,
        title="Edges removed, heads removed, and controls",
        spoken=f"{declared.title}: {said}",
        protocol=frame.origin_line(result, f"{last.label}: {last.names}. {result.protocol}"),
        x=frame.axis("what is removed", type="category", tickangle=0),
        y=frame.axis(f"{declared.title} ({unit})", rangemode="tozero"),
        drag=False,
        below=frame.AXIS + frame.LINE,
    )


def _bars(one: EdgeMeasure, palette: Palette) -> Iterator[Bar]:
    """One after the other; what was not measured is left out."""

    def changed(measure: Measure, name: str) -> Bar:
        ends = (None if end is None else one.baseline + end for end in (measure.low, measure.high))
        return Bar(name, measure.edited, *ends, f"{name} removed", palette.accent)

    yield Bar("nothing", one.baseline, None, None, "intact", palette.muted)
    yield changed(one, "edges")
    if one.removed is not None:
        yield changed(one.removed, "heads")
    controls = (
        (one.random, "random<br>heads", "the same edges of random heads"),
        (one.edges, "random<br>edges", "random edges"),
    )
    for random, name, told in controls:
        if random:
            low, mean, high = frame.middle(random)
            place = (one.baseline + end for end in (mean, low, high))
            yield Bar(name, *place, f"{told}, mean of {len(random)}", palette.second)
