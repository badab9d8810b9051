"""Figures of a scan: the grid of heads, loss on both copies, induction against previous-token score."""

from __future__ import annotations

from induction.analysis.scores import SCORES
from induction.base import InputError
from induction.results import HeadScores, Scan
from induction.viz import svg
from induction.viz.heat_map import heat_map
from induction.viz.theme import LIGHT, Palette

LABELLED = 5  # heads named in the scatter


def origin_line(scan: Scan, protocol: str) -> str:
    """Whose figures these are and how they were made, for captions."""
    who = "Published by others" if scan.kind == "published" else "Computed by this project"
    return f"{scan.model}. {who}. {protocol.rstrip('.')}."


def spread(score: HeadScores, layer: int, head: int) -> str:
    """The uncertainty of one head's score: interval, deviation over runs, or nothing."""
    if score.low and score.high:
        return f"[{score.low[layer][head]:.2f}, {score.high[layer][head]:.2f}]"
    return f"± {score.std[layer][head]:.2f}" if score.std else ""


def levels(score: HeadScores) -> str:
    """What a score is read against on its prompts: the ceiling and chance, as far as they are known."""
    parts = []
    if score.ceiling is not None:
        parts.append(f"ceiling {score.ceiling:.2f}" if score.capped else "ceiling 1")
    if score.chance is not None:
        parts.append(f"chance (uniform attention) {score.chance:.3f}")
    return ", ".join(parts)


def _score(scan: Scan, name: str) -> HeadScores:
    if name not in scan.scores:
        raise InputError(f"{scan.model} has no score '{name}' here; choose from {', '.join(scan.scores)}.")
    return scan.scores[name]


def grid(scan: Scan, name: str = "induction", *, palette: Palette = LIGHT, selected: str = "") -> str:
    """One score of every head as a heat map, layers down and heads across.

    Raises:
        InputError: the score was not measured.
    """
    score = _score(scan, name)
    parts, height = heat_map(
        score.mean,
        palette,
        heading=f"{SCORES[name].title} score by layer (down) and head (across)",
        selected=selected,
        note=", ".join(
            [
                *([f"chance {score.chance:.3f}"] if score.chance is not None else []),
                *([f"ceiling {score.capped:.2f}"] if score.capped else []),
            ]
        ),
    )
    title = f"{SCORES[name].title} score of every head of {scan.model}"
    caption = origin_line(scan, score.protocol)
    return svg.figure(parts, palette, title=title, caption=caption, height=height)


def loss_curve(scan: Scan, *, palette: Palette = LIGHT) -> str:
    """Loss in nats by index within the first and the second copy.

    Raises:
        InputError: the loss was not measured.
    """
    if scan.loss is None:
        raise InputError(f"The loss of {scan.model} was not measured; run a scan with the loss.")
    first = [(i, value) for i, value in enumerate(scan.loss.first) if value is not None]
    second = list(enumerate(scan.loss.second))
    high = max(value for _, value in first + second)
    axes = svg.Axes((0, len(second) - 1), (0, high * 1.08))
    parts = svg.frame(
        axes, palette, x_label="index of the token within its copy", y_label="loss (nats per token)"
    )
    series = (
        ("first copy", first, palette.second, scan.loss.first_mean),
        ("second copy", second, palette.accent, scan.loss.second_mean),
    )
    for name, points, colour, mean in series:
        parts.append(svg.line(axes, points, colour))
        tail = [value for x, value in points if x > 0.4 * len(second)]  # the stretch below the label
        y = max(axes.y(max(tail)) - 7, axes.top + 10)
        text = f"{name}, mean {mean:.2f}"
        parts.append(svg.label(axes.right, y, text, colour, font_weight=600, text_anchor="end"))
    for i, value in second:
        before = scan.loss.first[i] if i < len(scan.loss.first) else None
        tip = f"token {i}: " + (f"first copy {before:.2f}, " if before is not None else "")
        width = (axes.right - axes.left) / len(second)
        parts.append(
            svg.tag(
                "rect",
                x=axes.x(i) - width / 2,
                y=axes.top,
                width=width,
                height=axes.bottom - axes.top,
                fill="transparent",
                data_tip=f"{tip}second copy {value:.2f} nats",
            )
        )
    title = (
        f"Loss of {scan.model}: {scan.loss.first_mean:.2f} nats on the first copy, "
        f"{scan.loss.second_mean:.2f} on the second"
    )
    caption = origin_line(scan, f"{scan.loss.protocol.rstrip('.')}. Means skip the first token of each copy")
    return svg.figure(parts, palette, title=title, caption=caption)


def induction_vs_previous(scan: Scan, *, palette: Palette = LIGHT, selected: str = "") -> str:
    """One point per head: previous-token score across, induction score up.

    Raises:
        InputError: one of the two was not measured.
    """
    induction, previous = _score(scan, "induction"), _score(scan, "previous_token")
    axes = svg.Axes((0, 1), (0, 1))
    parts = svg.frame(axes, palette, x_label="previous-token score", y_label="induction score")
    named = {f"{layer}.{head}" for layer, head, _ in scan.ranked("induction")[:LABELLED]}
    layer, head, _ = scan.ranked("previous_token")[0]
    named |= {f"{layer}.{head}", selected}
    points: list[tuple[bool, str]] = []
    places: list[tuple[float, float, str]] = []
    for layer, row in enumerate(induction.mean):
        for head, value in enumerate(row):
            name = f"{layer}.{head}"
            across = previous.mean[layer][head]
            x, y = axes.x(across), axes.y(value)
            chosen = name == selected
            mark = svg.tag(
                "circle",
                cx=x,
                cy=y,
                r=6.5 if chosen else 4.5,
                fill=palette.selected if chosen else palette.accent,
                fill_opacity=1 if chosen else 0.65,
                stroke=palette.paper,
                stroke_width=1,
                data_head=name,
                data_tip=f"head {name}: induction {value:.2f}, previous token {across:.2f}",
            )
            points.append((chosen, mark))
            if name in named:
                places.append((x + 9 if x + 40 < axes.right else x - 36, y + 4, name))
    parts += [mark for _, mark in sorted(points, key=lambda point: point[0])]
    for x, y, name in _apart(places):
        chosen = name == selected
        colour = palette.selected if chosen else palette.ink
        parts.append(svg.label(x, y, name, colour, size=svg.SMALL, font_weight=600 if chosen else None))
    title = f"Induction against previous-token score of every head of {scan.model}"
    protocol = induction.protocol
    if previous.protocol != protocol:
        protocol = f"Induction: {protocol} Previous token: {previous.protocol}"
    return svg.figure(parts, palette, title=title, caption=origin_line(scan, protocol))


def _apart(places: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Names moved down, from the top on, until none covers another that was placed before it."""
    placed: list[tuple[float, float, str]] = []
    for x, y, name in sorted(places, key=lambda place: place[1]):
        while any(abs(x - at) < 30 and abs(y - other) < 11 for at, other, _ in placed):
            y += 1
        placed.append((x, y, name))
    return placed
