"""Figures of what a model does with and without a set of heads: next tokens, recall, loops, losses on prose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from induction.behaviour.results import (
    CHANCE,
    PATTERNS,
    Behaviour,
    Curve,
    FewShot,
    Loops,
    Measured,
    NextTokens,
    ProseLosses,
    Recall,
    average,
)
from induction.viz import frame
from induction.viz.theme import LIGHT, Palette

SHOWN = 10  # tokens
INTACT, RANDOM, MATCHED = "with all heads", "without random sets", "without matched sets"


def next_tokens(result: NextTokens, palette: Palette = LIGHT) -> go.Figure:
    """Probabilities of the likeliest next tokens with all heads, without the set and without random sets."""
    ranked = sorted(result.candidates, key=lambda one: -max(one.intact, one.without))[:SHOWN]
    names = [
        f"{at + 1}. {frame.short(one.token, 14)}" for at, one in enumerate(ranked)
    ]  # tokens may look alike
    series = [
        (INTACT, [one.intact for one in ranked], palette.accent, None),
        (_without(result), [one.without for one in ranked], palette.selected, None),
    ]
    if result.random_sets:
        ends = ([min(one.random) for one in ranked], [max(one.random) for one in ranked])
        series.append((RANDOM, [average(one.random) for one in ranked], palette.muted, ends))
    traces = [_bars(names, values, name, colour, ends, palette) for name, values, colour, ends in series]
    return _chart(
        result,
        traces,
        palette,
        title="The next token",
        spoken=f"The next token {result.candidates[0].token} of {result.model}: {result.verdict()}",
        x=frame.axis("", type="category"),
        y=frame.axis("probability", range=[0, 1.05]),
        below=100,
    )


def recall(result: Recall, palette: Palette = LIGHT) -> go.Figure:
    """Probability of the true successor by distance to the last occurrence, with 95 % intervals over lists."""
    curves = [
        (INTACT, result.intact, palette.accent, "solid"),
        (_without(result), result.without, palette.selected, "solid"),
        (RANDOM, result.random, palette.muted, "dash"),
        ("first time, nothing to copy", result.first, palette.second, "dot"),
    ]
    traces = [
        _curve(result.lags, curve, name, palette, colour, dash, "%{x} back: %{y:.3f}", marks=True)
        for name, curve, colour, dash in curves
        if curve is not None
    ]
    return _chart(
        result,
        traces,
        palette,
        title="Recall of a repeated list by distance",
        spoken=f"Recall of {result.model}: {result.verdict()}",
        x=frame.axis("distance to the last occurrence (tokens)", type="log", tickvals=result.lags),
        y=frame.axis("probability of the true successor", range=[0, 1.05]),
    )


def loops(result: Loops, palette: Palette = LIGHT) -> go.Figure:
    """Share of continuations that end in a loop, and of distinct 3-grams."""
    measures = (result.looped, result.distinct)
    names = ["end in a loop", "distinct 3-grams"]
    bounds = [
        (INTACT, [one.intact for one in measures], palette.accent),
        (_without(result), [one.without for one in measures], palette.selected),
    ]
    traces = [
        _bars(
            names,
            [one.mean for one in of],
            name,
            colour,
            ([one.low for one in of], [one.high for one in of]),
            palette,
        )
        for name, of, colour in bounds
    ]
    if result.random_sets:
        traces.append(_controls(names, measures, palette))
    return _chart(
        result,
        traces,
        palette,
        title="Loops in continuations of prose",
        spoken=f"Loops of {result.model}: {result.verdict()}",
        x=frame.axis("", type="category"),
        y=frame.axis("share", range=[0, 1.05]),
    )


def prose(result: ProseLosses, palette: Palette = LIGHT) -> go.Figure:
    """Loss on prose by position, each point the mean of a stretch of tokens."""
    middle = [start + (result.width - 1) / 2 for start in result.windows]
    curves = [
        (RANDOM, result.random, palette.muted, "dash"),
        (MATCHED, result.matched, palette.second, "dot"),
        (_without(result), result.without, palette.selected, "solid"),
        (INTACT, result.intact, palette.accent, "solid"),
    ]
    traces = [
        _curve(middle, curve, name, palette, colour, dash, "around token %{x:.0f}: %{y:.2f} nats")
        for name, curve, colour, dash in curves
        if curve is not None
    ]
    return _chart(
        result,
        traces,
        palette,
        title="Loss on prose by position",
        spoken=f"Loss on prose of {result.model}: {result.verdict()}",
        x=frame.axis(f"position (tokens, means of {result.width})", rangemode="tozero"),
        y=frame.axis("loss (nats per token)"),
        protocol=f"{result.protocol}; means of stretches of {result.width} tokens",
    )


def prose_tokens(result: ProseLosses, palette: Palette = LIGHT) -> go.Figure:
    """By how much the loss rises without heads on tokens that induction could predict, and on the others."""
    measures = [result.measure(name) for name in ("predictable", "other")]
    names = ["predictable by induction", "all other tokens"]
    change = [one.change for one in measures]
    ends = ([one.low for one in change], [one.high for one in change])
    means = [one.mean for one in change]
    traces = [_bars(names, means, _without(result), palette.selected, ends, palette)]
    for name, kind, colour in ((RANDOM, "random", palette.muted), (MATCHED, "matched", palette.second)):
        if getattr(measures[0], kind):
            moved = [[value - one.intact.mean for value in getattr(one, kind)] for one in measures]
            ends = ([min(values) for values in moved], [max(values) for values in moved])
            traces.append(_bars(names, [average(values) for values in moved], name, colour, ends, palette))
    return _chart(
        result,
        traces,
        palette,
        title="What is lost on prose",
        spoken=f"Rise of the loss of {result.model}: {result.verdict()}",
        x=frame.axis("", type="category"),
        y=frame.axis("rise of the loss (nats per token)"),
    )


def few_shot(result: FewShot, palette: Palette = LIGHT) -> go.Figure:
    """Share of the lines that are right by number of examples, with 95 % intervals over prompts; chance as a line."""
    curves = [
        (INTACT, result.intact, palette.accent, "solid"),
        (_without(result), result.without, palette.selected, "solid"),
        (RANDOM, result.random, palette.muted, "dash"),
    ]
    examples = list(range(result.n_examples + 1))
    traces = [
        _curve(examples, curve, name, palette, colour, dash, "%{x} examples: %{y:.0%}", marks=True)
        for name, curve, colour, dash in curves
        if curve is not None
    ]
    return _chart(
        result,
        traces,
        palette,
        title=f"{PATTERNS[result.pattern].title} from examples",
        spoken=f"Patterns from examples, {result.model}: {result.verdict()}",
        x=frame.axis("examples before the line (number)", **frame.counted(result.n_examples, 11)),
        y=frame.axis("lines that are right (share)", range=[0, 1.05], tickformat=".0%"),
        shapes=[frame.level("chance", palette.muted, y=CHANCE, dash="dot")],
    )


def _without(result: Behaviour) -> str:
    return f"without {frame.short(result.label, 40)}"


def _controls(names: list[str], measures: Sequence[Measured], palette: Palette) -> go.Bar:
    """Means over the random sets, with their range."""
    ends = ([min(one.random) for one in measures], [max(one.random) for one in measures])
    return _bars(names, [average(one.random) for one in measures], RANDOM, palette.muted, ends, palette)


def _bars(
    names: list[str],
    values: list[float],
    name: str,
    colour: str,
    ends: tuple[Sequence[float | None], Sequence[float | None]] | None,
    palette: Palette,
) -> go.Bar:
    error = None if ends is None else frame.error_bars(values, *ends, palette.ink)
    told = f"%{{x}}: %{{y:.3f}}<extra>{name}</extra>"
    return go.Bar(x=names, y=values, name=name, marker={"color": colour}, error_y=error, hovertemplate=told)


def _curve(
    x: Sequence[float],
    curve: Curve,
    name: str,
    palette: Palette,
    colour: str,
    dash: str,
    told: str,
    *,
    marks: bool = False,
) -> go.Scatter:
    """A line through means; intervals only where points are few."""
    error = frame.error_bars(curve.mean, curve.low, curve.high, colour) if marks else None
    look = {"mode": "lines+markers" if marks else "lines", "line": {"dash": dash}}
    return frame.line(x, curve.mean, colour, f"{told}<extra>{name}</extra>", name=name, error_y=error, **look)


def _chart(
    result: Behaviour, traces: Sequence[Any], palette: Palette, *, protocol: str = "", **options: Any
) -> go.Figure:
    caption = frame.origin_line(result, f"{protocol or result.protocol}; {result.ablation} ablation")
    return frame.chart(traces, palette, protocol=caption, **options)
