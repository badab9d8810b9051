"""Figures of a training history: losses and head scores over training tokens, the change and the order marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from induction.analysis.kinds import STRIPE
from induction.base import Head, InputError, head_name
from induction.training.history import History, phase_change
from induction.viz import frame
from induction.viz.theme import LIGHT, Palette

DRAWN = 0.2  # a head whose score never reaches it has no line, unless it is among the highest
STRONG = 3  # the highest heads per score, which have a thick line
PLOT = 165  # height of a plotting area: curves and what moves through them fit on a screen
RISEN = 0.5  # nats by which the loss on the first copy rises before it is explained
UNIFIED = 12  # more lines than these would fill the chart with one hover box


def losses(
    history: History, *, compare: History | None = None, at: int | None = None, palette: Palette = LIGHT
) -> go.Figure:
    """Prose loss and loss on both copies of repeated random tokens, over training tokens on a log axis.

    Args:
        compare: another run, whose second-copy loss is drawn dashed.
        at: index of the checkpoint to mark.

    Raises:
        InputError: fewer than two checkpoints after the first step.
    """
    traces, told = [], "%{{y:.2f}} nats<extra>{}</extra>"
    for name, loss, colour in (
        ("prose", "prose_loss", palette.muted),
        ("first copy", "first_copy_loss", palette.second),
        ("second copy", "second_copy_loss", palette.accent),
    ):
        values = [getattr(point, loss) for point in history.checkpoints]
        if any(value is not None for value in values):
            traces.append(_line(history, values, name, told.format(name), colour))
    if compare is not None:
        name = f"second copy, {frame.short(compare.model, 20)}"
        values = [point.second_copy_loss for point in compare.checkpoints]
        look = {"line": {"dash": "dash"}, "meta": None}  # its checkpoints are not those that can be picked
        traces.append(_line(compare, values, name, told.format(name), palette.ink, **look))
    return _chart(
        [history] if compare is None else [history, compare],
        traces,
        at,
        palette,
        notes=_rise(history, palette),
        title="Loss over training",
        spoken=f"Loss of {history.model} while it was trained",
        y=frame.axis("loss (nats per token)", rangemode="tozero"),
        hover="x unified",
    )


def _rise(history: History, palette: Palette) -> list[dict[str, Any]]:
    """Why the loss on the first copy rises, where it does: beside the curves, which begin low at the left."""
    start, end = (history.checkpoints[index].first_copy_loss for index in (0, -1))
    if end - start < RISEN:
        return []
    text = (
        "First copy: random tokens cannot be<br>predicted. A trained model bets all the<br>"
        f"same: its loss rises from {start:.2f} to {end:.2f}."
    )
    place = {"xref": "paper", "yref": "paper", "x": 0.02, "y": 0.98, "xanchor": "left", "yanchor": "top"}
    font = {"size": 12, "color": palette.second}
    return [{"name": "rise", "text": text, "showarrow": False, "align": "left", "font": font, **place}]


def scores(
    history: History, *, at: int | None = None, selected: str = "", palette: Palette = LIGHT
) -> go.Figure:
    """Previous-token and induction score of every head over training tokens, and which head was first.

    Args:
        at: index of the checkpoint to mark.
        selected: a head (``1.6``) whose two lines are drawn on top.

    Raises:
        InputError: fewer than two checkpoints after the first step.
    """
    lines, dots, told, own = [], [], [], []
    for name, colour, dash in (
        ("previous_token", palette.second, "dash"),
        ("induction", palette.accent, "solid"),
    ):
        title = name.replace("_", "-")
        heads = ranked(history, name)
        drawn = [head for index, (head, top) in enumerate(heads) if top >= DRAWN or index < STRONG]
        for index, head in reversed(list(enumerate(drawn))):  # the highest on top
            width, opacity = (2.5, 1) if index < STRONG else (1, 0.6)
            look = {"line": {"width": width}, "opacity": opacity, "showlegend": not index}
            lines.append(_head_line(history, name, head, f"{title} score", colour, **look))
        for head in (head for head, _ in heads if head_name(head) == selected):
            look, group = {"line": {"width": 3, "dash": dash}}, f"{selected}, {title}"
            own.append(_head_line(history, name, head, group, palette.selected, **look))
        formed = first_to_form(history, name)
        told.append(f"{title.capitalize()}: no head reached {STRIPE:g}.")
        if formed is not None:
            dots.append(_dot(history, name, *formed, colour, palette))
            tokens = tokens_in_words(history.checkpoints[formed[1]].tokens)
            told[-1] = (
                f"{title.capitalize()}: {head_name(formed[0])} first reached {STRIPE:g}, at {tokens} tokens."
            )
    return _chart(
        [history],
        [*lines, *own, *dots],
        at,
        palette,
        *told,
        f"One line per head, thick for the highest {STRONG}; others that never reach {DRAWN:g} have none.",
        title="Head scores over training",
        spoken=f"When heads of {history.model} formed",
        y=frame.axis("score (mean attention, 0 to 1)", range=[-0.03, 1.05]),
        hover="x unified" if len(lines) + len(own) <= UNIFIED else "closest",
    )


def runs(histories: Sequence[History], *, shown: str = "", palette: Palette = LIGHT) -> go.Figure:
    """The highest induction score of several runs beside each other, over training tokens; dashed: prose alone.

    Args:
        shown: the model on show, whose line is thick.

    Raises:
        InputError: fewer than two checkpoints after the first step.
    """
    colours = (palette.accent, palette.second, palette.selected, palette.muted, palette.ink, palette.warn)
    lines = []
    for number, history in enumerate(histories):
        best = [max(max(row) for row in point.induction) for point in history.checkpoints]
        look = {"width": 3 if history.model == shown else 1.5, "dash": "dash" if alone(history) else "solid"}
        name = frame.short(history.model, 24)
        told = f"%{{y:.2f}}<extra>{name}</extra>"
        lines.append(_line(history, best, name, told, colours[number % len(colours)], line=look, meta=None))
    said = " ".join(f"{one.model}: {one.data or 'not said'}, seed {one.seed}." for one in histories)
    return frame.chart(
        [*lines],
        palette,
        x=_tokens_axis(histories),
        plot=PLOT,
        shapes=[frame.level(f"threshold {STRIPE:g}", palette.line, y=STRIPE, dash="dot")],
        title="Highest induction score, all runs",
        spoken=f"Highest induction score of {len(histories)} training runs over training tokens",
        protocol=f"{said} {histories[0].protocol.rstrip('.')}.",
        y=frame.axis("score (mean attention, 0 to 1)", range=[-0.03, 1.05]),
        hover="x unified",
    )


def alone(history: History) -> bool:
    """Whether a run saw prose and nothing else."""
    return history.data == "prose alone"


def of_head(history: History, score: str, head: Head) -> list[float]:
    """The score of a head at every checkpoint."""
    return [getattr(point, score)[head[0]][head[1]] for point in history.checkpoints]


def ranked(history: History, score: str) -> list[tuple[Head, float]]:
    """Heads with the highest value that ``score`` reached in training, highest first."""
    heads = [(layer, head) for layer in range(history.n_layers) for head in range(history.n_heads)]
    return sorted(((head, max(of_head(history, score, head))) for head in heads), key=lambda item: -item[1])


def first_to_form(history: History, score: str) -> tuple[Head, int] | None:
    """The head whose ``score`` reached :data:`induction.analysis.kinds.STRIPE` first and the index of that
    checkpoint.
    """
    for index, point in enumerate(history.checkpoints):
        grid = getattr(point, score)
        value, head = max(
            (value, (layer, head)) for layer, row in enumerate(grid) for head, value in enumerate(row)
        )
        if value >= STRIPE and point.tokens > 0:
            return head, index
    return None


def tokens_in_words(tokens: int) -> str:
    """A count of tokens with three digits: ``5.28 M``."""
    for size, unit in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if tokens >= size:
            return f"{tokens / size:.3g}{unit}"
    return str(tokens)


def _chart(
    runs: Sequence[History],
    traces: Sequence[go.Scatter],
    at: int | None,
    palette: Palette,
    *told: str,
    **shown: Any,
) -> go.Figure:
    """Of the first run, the others beside it: a band where the second-copy loss falls fastest, and a line at the
    checkpoint on show. The untrained model has no place on a log axis: its line stands at the left edge.
    """
    history, marks = runs[0], []
    change, said = phase_change(history), "No induction head formed: no change to mark."
    if change is not None:
        ends = [history.checkpoints[index].tokens for index in (change - 1, change)]
        marks.append(frame.band(*ends, palette.selected, opacity=0.22, name="the change"))
        before, after = map(tokens_in_words, ends)
        said = f"The change, where the second-copy loss falls fastest: {before} to {after} tokens."
    if at is not None:
        tokens = history.checkpoints[at].tokens
        line = frame.level("checkpoint on show", palette.selected, x=tokens)
        marks.append(line if tokens > 0 else {**line, "xref": "x domain"})
    origin = f"{history.model}, {history.origin}. {history.protocol.rstrip('.')}; seed {history.seed}."
    words = {"protocol": " ".join([origin, *told, said])}
    return frame.chart(traces, palette, x=_tokens_axis(runs), plot=PLOT, shapes=marks, **words, **shown)


def _tokens_axis(runs: Sequence[History]) -> dict[str, Any]:
    """The axis of training tokens; refuses histories that are no line."""
    tokens = {point.tokens for run in runs for point in run.checkpoints if point.tokens > 0}
    if len(tokens) < 2:
        raise InputError(
            f"The history of {runs[0].model} has fewer than two checkpoints after the start of training; measure more."
        )
    ticks = {"tickformat": "~s", "dtick": 1 if max(tokens) >= 200 * min(tokens) else "D2", "zeroline": False}
    told = {"text": "%{x:.3s} tokens"}
    return frame.axis("training tokens (log)", type="log", unifiedhovertitle=told, **ticks)


def _line(
    history: History, values: Sequence[float | None], name: str, told: str, colour: str, **look: Any
) -> go.Scatter:
    """One number at every checkpoint that has a place on a log axis; ``name`` is its entry of the legend, shared by
    all lines of that name, ``told`` the template of its hover."""
    cells = [
        [index, point.tokens, value]
        for index, (point, value) in enumerate(zip(history.checkpoints, values, strict=True))
        if point.tokens > 0
    ]
    line = {"dash": "solid", **look.pop("line", {})}
    common = {"opacity": 1, "showlegend": True, "legendgroup": name, "meta": {"pick": "checkpoint"}}
    xs, ys = [cell[1] for cell in cells], [cell[2] for cell in cells]
    return frame.line(xs, ys, colour, told, name=name, customdata=cells, line=line, **{**common, **look})


def _head_line(history: History, score: str, head: Head, name: str, colour: str, **look: Any) -> go.Scatter:
    told = f"%{{y:.2f}}<extra>{head_name(head)} {score.replace('_', '-')}</extra>"
    return _line(history, of_head(history, score, head), name, told, colour, **look)


def _dot(history: History, score: str, head: Head, index: int, colour: str, palette: Palette) -> go.Scatter:
    """A named dot where the first head formed."""
    tokens, value = history.checkpoints[index].tokens, of_head(history, score, head)[index]
    return go.Scatter(
        x=[tokens],
        y=[value],
        customdata=[[index, tokens, value]],
        hovertemplate=f"first: {head_name(head)}, %{{y:.2f}}<extra></extra>",
        mode="markers+text",
        text=[head_name(head)],
        textposition="top left",
        textfont={"size": 12},
        marker={"size": 10, "color": colour, "line": {"color": palette.paper, "width": 1.5}},
        legendgroup=f"{score.replace('_', '-')} score",
        showlegend=False,
        meta={"pick": "checkpoint"},
    )
