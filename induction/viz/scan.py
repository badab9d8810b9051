"""Figures of a scan: the grid of heads, loss on both copies, induction against previous-token score."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import plotly.graph_objects as go

from induction.analysis.result import HeadScores, Scan
from induction.analysis.scores import SCORES
from induction.base import InputError, head_name
from induction.viz import frame
from induction.viz.heat_map import heat_map
from induction.viz.theme import LIGHT, Palette

LABELLED = 5  # heads named in the scatter
PLOT = 260  # its height in pixels

Points = dict[str, tuple[float, float, str]]  # by head: across, up, and both in words


def spread(score: HeadScores, layer: int, head: int) -> str:
    """The uncertainty of one head's score: interval, deviation over runs, or nothing."""
    if score.low and score.high:
        return f"[{score.low[layer][head]:.2f}, {score.high[layer][head]:.2f}]"
    return f"± {score.std[layer][head]:.2f}" if score.std else ""


def grid(scan: Scan, name: str = "induction", **look: Any) -> go.Figure:
    """One score of every head as a heat map.

    Args:
        look: ``palette``, ``selected`` and ``marked`` of :func:`induction.viz.heat_map.heat_map`.

    Raises:
        InputError: the score was not measured.
    """
    score, title = scan.score(name), SCORES[name].title
    return heat_map(
        score.mean,
        title=f"{title} score of every head",
        spoken=f"{title} score of every head of {scan.model}",
        protocol=frame.origin_line(scan, score.protocol)
        + (score.levels and f" Read against: {score.levels}."),
        what="score (attention)",
        low=score.low,
        high=score.high,
        **look,
    )


def loss_curve(scan: Scan, *, palette: Palette = LIGHT) -> go.Figure:
    """Loss in nats by index within the first and the second copy.

    Raises:
        InputError: the loss was not measured.
    """
    loss = scan.loss
    if loss is None:
        raise InputError(f"The loss of {scan.model} was not measured; run a scan with the loss.")
    copies = (
        ("first copy", loss.first, palette.second, loss.first_mean),
        ("second copy", loss.second, palette.accent, loss.second_mean),
    )
    lines = [
        frame.line(
            list(range(len(values))),
            values,
            colour,
            f"%{{y:.2f}} nats<extra>{name}</extra>",
            name=f"{name}, mean {mean:.2f}",
        )
        for name, values, colour, mean in copies
    ]
    return frame.chart(
        lines,
        palette,
        title="Loss by position",
        spoken=f"Loss of {scan.model}: {loss.first_mean:.2f} nats on the first copy, "
        f"{loss.second_mean:.2f} on the second",
        protocol=frame.origin_line(
            scan, f"{loss.protocol.rstrip('.')}. Means skip the first token of each copy"
        ),
        x=frame.axis("index of the token within its copy", unifiedhovertitle={"text": "token %{x}"}),
        y=frame.axis("loss (nats per token)", rangemode="tozero"),
        hover="x unified",
    )


def induction_vs_previous(
    scan: Scan, *, palette: Palette = LIGHT, selected: str = "", marked: Collection[str] = ()
) -> go.Figure:
    """One point per head: previous-token score across, induction score up. Selecting a box makes a set of heads.

    Raises:
        InputError: one of the two was not measured.
    """
    induction, previous = scan.score("induction"), scan.score("previous_token")
    points: Points = {
        head_name((layer, head)): (
            across,
            up,
            f"induction {up:.2f} {spread(induction, layer, head)}<br>"
            f"previous token {across:.2f} {spread(previous, layer, head)}",
        )
        for layer, rows in enumerate(zip(previous.mean, induction.mean, strict=True))
        for head, (across, up) in enumerate(zip(*rows, strict=True))
    }
    named = {head_name(item[:2]) for item in scan.ranked("induction")[:LABELLED]}
    named |= {head_name(scan.ranked("previous_token")[0][:2]), selected} & points.keys()
    protocol = induction.protocol
    if previous.protocol != protocol:
        protocol = f"Induction: {protocol} Previous token: {previous.protocol}"
    title = "Induction against previous-token score"
    return frame.chart(
        head_points(points, palette, selected, marked),
        palette,
        title=title,
        spoken=f"{title} of every head of {scan.model}",
        protocol=frame.origin_line(scan, protocol),
        x=frame.axis("previous-token score (attention, 0 to 1)", range=[-0.03, 1.03]),
        y=frame.axis("induction score (attention, 0 to 1)", range=[-0.03, 1.06]),
        notes=head_names({name: point for name, point in points.items() if name in named}),
        plot=PLOT,
        drag="select",
    )


def head_points(points: Points, palette: Palette, selected: str, marked: Collection[str]) -> list[go.Scatter]:
    """A point per head, those of the chosen set and the selected one on top of the others."""
    chosen = [name for name in points if name in marked and name != selected]
    others = [name for name in points if name not in (*chosen, selected)]
    return [
        _points({name: points[name] for name in names}, group, colour, size)
        for group, names, colour, size in (
            ("heads", others, palette.accent, 9),
            ("chosen set", chosen, palette.second, 11),
            (f"selected {selected}", [selected] if selected in points else [], palette.selected, 13),
        )
        if names
    ]


def _points(places: Points, group: str, colour: str, size: int) -> go.Scatter:
    across, up, words = zip(*places.values(), strict=True)
    return go.Scatter(
        x=across,
        y=up,
        customdata=[[name, *place[:2]] for name, place in places.items()],
        hovertext=[f"head {name}: {text}" for name, text in zip(places, words, strict=True)],
        hoverinfo="text",
        mode="markers",
        marker={"color": colour, "size": size, "opacity": 0.65 if group == "heads" else 1},
        name=group,
        meta={"pick": "head"},
    )


def head_names(places: Points, most: float = 1.0) -> list[dict[str, Any]]:
    """Names beside their points, moved down until none covers another; they keep their distance in any zoom.

    Args:
        most: what the height of the plot stands for.
    """
    placed: list[tuple[float, float]] = []
    notes = []
    for name, (across, up, _) in sorted(places.items(), key=lambda place: -place[1][1]):
        side, away = ("left", 7) if across < 0.85 else ("right", -7)
        x, y, shift = across * frame.NARROW + 5 * away, -up / most * PLOT, 0
        while any(abs(x - at) < 30 and abs(y + shift - other) < 13 for at, other in placed):
            shift += 1
        placed.append((x, y + shift))
        place = {"x": across, "y": up, "xanchor": side, "xshift": away, "yshift": -shift}
        notes.append({"text": name, "showarrow": False, "font": {"size": 12}, **place})
    return notes
