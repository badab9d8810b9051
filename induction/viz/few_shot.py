"""Accuracy on an abstract pattern by number of examples, intact and without heads."""

from __future__ import annotations

import plotly.graph_objects as go

from induction.behaviour.few_shot_result import CHANCE, PATTERNS, FewShot
from induction.viz import frame
from induction.viz.theme import LIGHT, Palette


def examples(result: FewShot, *, palette: Palette = LIGHT) -> go.Figure:
    """Three curves with 95 % intervals: the model, without the set, without random sets; chance as a line."""
    curves = [
        ("intact", result.intact, palette.accent),
        ("without the set", result.without, palette.selected),
        ("without random heads", result.random_mean, palette.muted),
    ]
    traces = []
    for name, curve, colour in curves:
        if curve is None:
            continue
        traces.append(
            frame.line(
                list(range(len(curve.mean))),
                curve.mean,
                colour,
                f"%{{y:.0%}}<extra>{name}</extra>",
                name=f"{name}, {curve.overall:.0%}",
                mode="lines+markers",
                error_y=frame.error_bars(curve.mean, curve.low, curve.high, colour),
            )
        )
    most = len(result.intact.mean) - 1
    return frame.chart(
        traces,
        palette,
        title=f"{PATTERNS[result.pattern].title} from examples",
        spoken=result.verdict(),
        protocol=frame.origin_line(result, f"{result.protocol}. Percentages: over lines with an example"),
        x=frame.axis("examples before the line (number)", **frame.counted(most, 11)),
        y=frame.axis("lines that are right (share)", range=[0, 1.03], tickformat=".0%"),
        shapes=[frame.level("chance", palette.line, y=CHANCE, dash="dot")],
        hover="x unified",
    )
