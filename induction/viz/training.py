"""Figures of a training history: losses and head scores over training tokens, the change and the order marked."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from induction.analysis.kinds import STRIPE
from induction.base import Head, InputError, head_name
from induction.training.history import Checkpoint, History, phase_change
from induction.viz import frame
from induction.viz.theme import LIGHT, Palette

DRAWN = 0.2  # a head whose score never reaches it has no line, unless it is among the highest
STRONG = 3  # the highest heads per score, which have a thick line
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
    figure = _over_tokens([history] if compare is None else [history, compare])
    for name, loss, colour in (
        ("prose", "prose_loss", palette.muted),
        ("first copy", "first_copy_loss", palette.second),
        ("second copy", "second_copy_loss", palette.accent),
    ):
        points = _trained(history)
        if any(getattr(point, loss) is not None for _, point in points):
            values = [getattr(point, loss) for _, point in points]
            _line(figure, points, values, name, colour, template="%{y:.2f} nats")
    if compare is not None:
        points, name = _trained(compare), f"second copy, {frame.short(compare.model, 20)}"
        values = [point.second_copy_loss for _, point in points]
        _line(figure, points, values, name, palette.ink, template="%{y:.2f} nats", dash="dash", pick=False)
    figure.update_layout(hovermode="x unified")
    figure.update_yaxes(title_text="loss (nats per token)", rangemode="tozero")
    _mark(figure, history, at, palette)
    return frame.finish(
        figure,
        palette,
        title="Loss over training",
        spoken=f"Loss of {history.model} while it was trained",
        protocol=f"{_origin(history)} {_change_in_words(history)}",
    )


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
    figure = _over_tokens([history])
    points, told = _trained(history), []
    for name, colour in (("previous_token", palette.second), ("induction", palette.accent)):
        title = f"{name.replace('_', '-')} score"
        heads = ranked(history, name)
        drawn = [head for index, (head, top) in enumerate(heads) if top >= DRAWN or index < STRONG]
        for index, head in reversed(list(enumerate(drawn))):  # the highest on top
            style = {"width": 2.5 if index < STRONG else 1, "opacity": 1 if index < STRONG else 0.6}
            _head_line(figure, points, name, head, colour, group=title, first=not index, **style)
        told.append(_first(figure, history, name, colour, palette))
    for name, dash in (("previous_token", "dash"), ("induction", "solid")):
        own = [head for head, _ in ranked(history, name) if head_name(head) == selected]
        for head in own:
            group = f"{selected}, {name.replace('_', '-')}"
            _head_line(
                figure, points, name, head, palette.selected, group=group, first=True, width=3, dash=dash
            )
    lines = sum(trace.mode == "lines" for trace in figure.data)
    figure.update_layout(hovermode="x unified" if lines <= UNIFIED else "closest")
    figure.update_yaxes(title_text="score (mean attention, 0 to 1)", range=[-0.03, 1.05])
    _mark(figure, history, at, palette)
    return frame.finish(
        figure,
        palette,
        title="Head scores over training",
        spoken=f"When heads of {history.model} formed",
        protocol=f"{_origin(history)} {' '.join(told)} One line per head, thick for the highest {STRONG}; others that "
        f"never reach {DRAWN:g} have none. {_change_in_words(history)}",
    )


def ranked(history: History, score: str) -> list[tuple[Head, float]]:
    """Heads with the highest value that ``score`` reached in training, highest first."""
    heads = [
        ((layer, head), max(getattr(point, score)[layer][head] for point in history.checkpoints))
        for layer in range(history.n_layers)
        for head in range(history.n_heads)
    ]
    return sorted(heads, key=lambda item: -item[1])


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


def _origin(history: History) -> str:
    return f"{history.model}, {history.origin}. {history.protocol.rstrip('.')}; seed {history.seed}."


def _trained(history: History) -> list[tuple[int, Checkpoint]]:
    """The checkpoints that have a place on a log axis, with their index."""
    return [(index, point) for index, point in enumerate(history.checkpoints) if point.tokens > 0]


def _over_tokens(runs: Sequence[History]) -> go.Figure:
    """An empty chart over training tokens; refuses histories that are no line."""
    tokens = {point.tokens for run in runs for _, point in _trained(run)}
    if len(tokens) < 2:
        raise InputError(
            f"The history of {runs[0].model} has fewer than two checkpoints after the start of training; measure more."
        )
    figure = go.Figure()
    figure.update_xaxes(
        title_text="training tokens (log)",
        type="log",
        tickformat="~s",
        hoverformat=".3s",
        dtick=1 if max(tokens) >= 200 * min(tokens) else "D2",
    )
    figure.update_xaxes(unifiedhovertitle_text="%{x:.3s} tokens", zeroline=False)
    return figure


def _line(
    figure: go.Figure,
    points: Sequence[tuple[int, Checkpoint]],
    values: Sequence[float | None],
    name: str,
    colour: str,
    *,
    template: str,
    width: float = 2,
    opacity: float = 1,
    dash: str = "solid",
    pick: bool = True,
    group: str | None = None,
    first: bool = True,
) -> None:
    """One number at every checkpoint; ``group`` is the entry of the legend, which its ``first`` line makes."""
    figure.add_scatter(
        x=[point.tokens for _, point in points],
        y=list(values),
        customdata=[
            [index, point.tokens, value] for (index, point), value in zip(points, values, strict=True)
        ],
        mode="lines",
        line={"color": colour, "width": width, "dash": dash},
        hovertemplate=f"{template}<extra>{name}</extra>",
        meta={"pick": "checkpoint"} if pick else None,
        **{"name": group or name, "legendgroup": group or name, "showlegend": first, "opacity": opacity},
    )


def _head_line(
    figure: go.Figure,
    points: Sequence[tuple[int, Checkpoint]],
    name: str,
    head: Head,
    colour: str,
    **style: float | str | bool,
) -> None:
    values = [getattr(point, name)[head[0]][head[1]] for _, point in points]
    label = f"{head_name(head)} {name.replace('_', '-')}"
    _line(figure, points, values, label, colour, template="%{y:.2f}", **style)


def _first(figure: go.Figure, history: History, name: str, colour: str, palette: Palette) -> str:
    """A named dot where the first head formed, and the sentence that says so."""
    title, formed = name.replace("_", "-"), first_to_form(history, name)
    if formed is None:
        return f"{title.capitalize()}: no head reached {STRIPE:g}."
    head, index = formed
    point = history.checkpoints[index]
    value = getattr(point, name)[head[0]][head[1]]
    figure.add_scatter(
        x=[point.tokens],
        y=[value],
        customdata=[[index, point.tokens, value]],
        text=[head_name(head)],
        mode="markers+text",
        textposition="top left",
        textfont={"size": 12, "color": palette.ink},
        marker={"size": 10, "color": colour, "line": {"color": palette.paper, "width": 1.5}},
        hovertemplate=f"first: {head_name(head)}, %{{y:.2f}}<extra></extra>",
        meta={"pick": "checkpoint"},
        **{"legendgroup": f"{title} score", "showlegend": False, "name": f"{title} score"},
    )
    tokens = tokens_in_words(point.tokens)
    return f"{title.capitalize()}: {head_name(head)} first reached {STRIPE:g}, at {tokens} tokens."


def _mark(figure: go.Figure, history: History, at: int | None, palette: Palette) -> None:
    """A band where the second-copy loss falls fastest, and a line at the checkpoint on show.

    The untrained model has no place on a log axis: its line stands at the left edge.
    """
    change = phase_change(history)
    if change is not None:
        before, after = (history.checkpoints[index].tokens for index in (change - 1, change))
        figure.add_shape(
            type="rect",
            name="the change",
            showlegend=True,
            fillcolor=palette.selected,
            opacity=0.22,
            line_width=0,
            **{"x0": before, "x1": after, "y0": 0, "y1": 1, "yref": "y domain"},
        )
    if at is not None and history.checkpoints[at].tokens > 0:
        frame.level(figure, "checkpoint on show", palette.selected, x=history.checkpoints[at].tokens)
    elif at is not None:
        frame.level(figure, "checkpoint on show", palette.selected, x=0)
        figure.layout.shapes[-1].update(xref="x domain")


def _change_in_words(history: History) -> str:
    index = phase_change(history)
    if index is None:
        return "No induction head formed: no change to mark."
    before, after = (tokens_in_words(history.checkpoints[i].tokens) for i in (index - 1, index))
    return f"The change, where the second-copy loss falls fastest: {before} to {after} tokens."
