"""Figures of a training history: losses and head scores over training tokens, the change and the order marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from operator import attrgetter

from induction.analysis.kinds import STRIPE
from induction.base import Head, InputError, head_name
from induction.training.history import Checkpoint, History, phase_change
from induction.viz import svg
from induction.viz.theme import LIGHT, Palette

DRAWN = 0.2  # a head whose score never reaches it has no line, unless it is among the highest
STRONG = 3  # the highest heads per score, which have a thick line
LINE = 17  # of a legend


def losses(
    history: History, *, compare: History | None = None, at: int | None = None, palette: Palette = LIGHT
) -> str:
    """Prose loss and loss on both copies of repeated random tokens, over training tokens on a log axis.

    Args:
        compare: another run, whose second-copy loss is drawn dashed.
        at: index of the checkpoint to mark.

    Raises:
        InputError: fewer than two checkpoints after the first step.
    """
    runs = [history] if compare is None else [history, compare]
    measured = [loss for run in runs for point in run.checkpoints for loss in _losses(point)]
    axes = _axes(runs, max(loss for loss in measured if loss is not None) * 1.05)
    parts = [*_marks(history, axes, palette), *_frame(axes, palette, "loss (nats per token)")]
    named: list[tuple[str, dict[str, object]]] = []
    for name, loss, colour in (
        ("prose", "prose_loss", palette.muted),
        ("first copy", "first_copy_loss", palette.second),
        ("second copy", "second_copy_loss", palette.accent),
    ):
        points = _points(history, attrgetter(loss))
        if points:
            parts.append(svg.line(axes, points, colour))
            named.append((name, {"stroke": colour, "stroke_width": 3}))
    if compare is not None:
        dashes = {"stroke_width": 1.4, "stroke_dasharray": "5 3"}
        points = _points(compare, attrgetter("second_copy_loss"))
        parts.append(svg.line(axes, points, palette.ink, width=1.4, stroke_dasharray="5 3"))
        named.append((f"second copy, {compare.model}", {"stroke": palette.ink, **dashes}))
    parts += _legend(named, axes.bottom + 52, palette)
    parts += _selected(history, at, axes, palette)
    parts += _columns(history, axes, _loss_tip)
    title = f"Loss of {history.model} while it was trained"
    caption = f"{_origin(history)} {_marks_in_words(history)}".strip()
    height = axes.bottom + 56 + LINE * math.ceil(len(named) / 2)
    return svg.figure(parts, palette, title=title, caption=caption, height=height)


def scores(history: History, *, at: int | None = None, selected: str = "", palette: Palette = LIGHT) -> str:
    """Previous-token and induction score of every head over training tokens, and which head was first.

    Args:
        at: index of the checkpoint to mark.
        selected: a head (``1.6``) whose two lines are drawn on top.

    Raises:
        InputError: fewer than two checkpoints after the first step.
    """
    axes = _axes([history], 1.0)
    parts = [*_marks(history, axes, palette), *_frame(axes, palette, "score (mean attention)")]
    chosen, dots, y = [], [], axes.bottom + 52
    for name, colour in (("previous_token", palette.second), ("induction", palette.accent)):
        title = name.replace("_", "-")
        heads = ranked(history, name)
        drawn = [head for index, (head, top) in enumerate(heads) if top >= DRAWN or index < STRONG]
        for index, head in reversed(list(enumerate(drawn))):  # the highest on top
            points = _points(history, lambda point, n=name, h=head: getattr(point, n)[h[0]][h[1]])
            thick = index < STRONG
            parts.append(
                svg.line(axes, points, colour, 2 if thick else 1, stroke_opacity=None if thick else 0.55)
            )
        own = [head for head, _ in heads if head_name(head) == selected]
        for head in own:
            points = _points(history, lambda point, n=name, h=head: getattr(point, n)[h[0]][h[1]])
            dashes = "6 3" if name == "previous_token" else None
            chosen.append(svg.line(axes, points, palette.selected, 2.5, stroke_dasharray=dashes))
        text = f"{title}: no head reached {STRIPE:g}"
        formed = first_to_form(history, name)
        if formed is not None:
            head, index = formed
            point = history.checkpoints[index]
            value = getattr(point, name)[head[0]][head[1]]
            text = f"{title}: {head_name(head)} first reached {STRIPE:g}, at {tokens_in_words(point.tokens)} tokens"
            dots.append(
                svg.tag(
                    "circle",
                    cx=axes.x(math.log10(point.tokens)),
                    cy=axes.y(value),
                    r=5.0,
                    fill=colour,
                    stroke=palette.paper,
                    stroke_width=1.5,
                    data_tip=f"head {head_name(head)}: {title} score {value:.2f}",
                )
            )
        parts.append(svg.tag("line", x1=8, x2=30, y1=y - 4, y2=y - 4, stroke=colour, stroke_width=3))
        parts.append(svg.label(37, y, text, palette.ink, size=svg.SMALL))
        y += LINE
    if chosen:
        text = f"{selected}: previous-token score dashed, induction score solid"
        parts.append(svg.label(37, y, text, palette.selected, size=svg.SMALL))
        y += LINE
    parts += chosen
    parts += _selected(history, at, axes, palette)
    parts += _columns(history, axes, _score_tip)
    parts += dots
    title = f"When heads of {history.model} formed"
    caption = (
        f"{_origin(history)} One line per head, thick for the highest {STRONG}; others that never reach {DRAWN:g} have "
        f"none. "
        f"{_marks_in_words(history)}"
    ).strip()
    return svg.figure(parts, palette, title=title, caption=caption, height=y + 4)


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


def _losses(point: Checkpoint) -> tuple[float | None, float, float]:
    return point.prose_loss, point.first_copy_loss, point.second_copy_loss


def _trained(history: History) -> Iterator[tuple[int, Checkpoint]]:
    """The checkpoints that have a place on a log axis, with their index."""
    return ((index, point) for index, point in enumerate(history.checkpoints) if point.tokens > 0)


def _points(history: History, read: Callable[[Checkpoint], float | None]) -> list[tuple[float, float]]:
    values = ((math.log10(point.tokens), read(point)) for _, point in _trained(history))
    return [(x, value) for x, value in values if value is not None]


def _axes(runs: Sequence[History], high: float) -> svg.Axes:
    tokens = [point.tokens for run in runs for _, point in _trained(run)]
    if len(set(tokens)) < 2:
        raise InputError(
            f"The history of {runs[0].model} has fewer than two checkpoints after the start of training; measure more."
        )
    return svg.Axes((math.log10(min(tokens)), math.log10(max(tokens))), (0, high))


def _frame(axes: svg.Axes, palette: Palette, y_label: str) -> list[str]:
    """Grid lines and axis names; across, training tokens on a log axis."""
    parts = []
    for value in svg.ticks(*axes.y_range):
        y = axes.y(value)
        parts.append(svg.tag("line", x1=axes.left, x2=axes.right, y1=y, y2=y, stroke=palette.line))
        parts.append(
            svg.label(axes.left - 6, y + 4, f"{value:g}", palette.muted, size=svg.SMALL, text_anchor="end")
        )
    low, high = axes.x_range
    decades = range(math.floor(low), math.ceil(high) + 1)
    few = len(decades) <= 3
    for tick in sorted(
        {10**decade * digit for decade in decades for digit in ((1, 2, 5) if few else (1, 3))}
    ):
        if not low <= math.log10(tick) <= high:
            continue
        x = axes.x(math.log10(tick))
        parts.append(svg.tag("line", x1=x, x2=x, y1=axes.bottom, y2=axes.bottom + 4, stroke=palette.muted))
        text = tokens_in_words(tick)
        parts.append(
            svg.label(x, axes.bottom + 15, text, palette.muted, size=svg.SMALL, text_anchor="middle")
        )
    middle = (axes.left + axes.right) / 2
    parts.append(
        svg.label(middle, axes.bottom + 32, "training tokens (log)", palette.ink, text_anchor="middle")
    )
    parts.append(svg.label(8, axes.top - 14, y_label, palette.ink))
    return parts


def _marks(history: History, axes: svg.Axes, palette: Palette) -> list[str]:
    """A band where the second-copy loss falls fastest."""
    index = phase_change(history)
    if index is None:
        return []
    before, after = (axes.x(math.log10(history.checkpoints[i].tokens)) for i in (index - 1, index))
    return [
        svg.tag(
            "rect",
            x=before,
            y=axes.top,
            width=max(after - before, 2.0),
            height=axes.bottom - axes.top,
            fill=palette.selected,
            fill_opacity=0.22,
        ),
        svg.label(
            (before + after) / 2,
            axes.top - 4,
            "the change",
            palette.selected,
            size=svg.SMALL,
            text_anchor="middle",
            font_weight=600,
        ),
    ]


def _marks_in_words(history: History) -> str:
    index = phase_change(history)
    if index is None:
        return "No induction head formed: no change to mark."
    before, after = (tokens_in_words(history.checkpoints[i].tokens) for i in (index - 1, index))
    return f"The change, where the second-copy loss falls fastest: {before} to {after} tokens."


def _selected(history: History, at: int | None, axes: svg.Axes, palette: Palette) -> list[str]:
    """A line at the checkpoint on show, at the left edge for the untrained model."""
    if at is None:
        return []
    tokens = history.checkpoints[at].tokens
    x = axes.x(math.log10(tokens)) if tokens > 0 else axes.left
    return [
        svg.tag(
            "line",
            x1=x,
            x2=x,
            y1=axes.top,
            y2=axes.bottom,
            stroke=palette.selected,
            stroke_width=2,
            data_selected=tokens,
        )
    ]


def _legend(named: Sequence[tuple[str, dict[str, object]]], top: float, palette: Palette) -> list[str]:
    """Names of lines in two columns, each with a piece of its line."""
    parts = []
    for index, (name, stroke) in enumerate(named):
        x, y = 8 + svg.WIDTH / 2 * (index % 2), top + LINE * (index // 2)
        parts.append(svg.tag("line", x1=x, x2=x + 22, y1=y - 4, y2=y - 4, **stroke))
        parts.append(svg.label(x + 29, y, name, palette.ink, size=svg.SMALL))
    return parts


def _columns(history: History, axes: svg.Axes, tip: Callable[[Checkpoint], str]) -> list[str]:
    """One invisible column per checkpoint that tells its numbers."""
    points = [point for _, point in _trained(history)]
    places = [axes.x(math.log10(point.tokens)) for point in points]
    borders = [
        axes.left,
        *((a + b) / 2 for a, b in pairwise(places)),
        axes.right,
    ]
    return [
        svg.tag(
            "rect",
            x=left,
            y=axes.top,
            width=right - left,
            height=axes.bottom - axes.top,
            fill="transparent",
            data_tip=f"{tokens_in_words(point.tokens)} tokens: {tip(point)}",
        )
        for point, (left, right) in zip(points, pairwise(borders), strict=True)
    ]


def _loss_tip(point: Checkpoint) -> str:
    prose = "" if point.prose_loss is None else f"prose {point.prose_loss:.2f}, "
    return f"{prose}first copy {point.first_copy_loss:.2f}, second copy {point.second_copy_loss:.2f} nats"


def _score_tip(point: Checkpoint) -> str:
    named = []
    for name in ("previous_token", "induction"):
        grid = getattr(point, name)
        value, head = max(
            (value, (layer, head)) for layer, row in enumerate(grid) for head, value in enumerate(row)
        )
        named.append(f"highest {name.replace('_', '-')} {value:.2f} ({head_name(head)})")
    return ", ".join(named)
