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

Points = dict[str, tuple[float, float]]  # previous-token and induction score by head


def origin_line(scan: Scan, protocol: str) -> str:
    """Whose figures these are and how they were made, for captions."""
    who = "Published by others" if scan.kind == "published" else "Computed by this project"
    return f"{scan.model}. {who}. {protocol.rstrip('.')}."


def spread(score: HeadScores, layer: int, head: int) -> str:
    """The uncertainty of one head's score: interval, deviation over runs, or nothing."""
    if score.low and score.high:
        return f"[{score.low[layer][head]:.2f}, {score.high[layer][head]:.2f}]"
    return f"± {score.std[layer][head]:.2f}" if score.std else ""


def _score(scan: Scan, name: str) -> HeadScores:
    if name not in scan.scores:
        raise InputError(f"{scan.model} has no score '{name}' here; choose from {', '.join(scan.scores)}.")
    return scan.scores[name]


def grid(
    scan: Scan,
    name: str = "induction",
    *,
    palette: Palette = LIGHT,
    selected: str = "",
    marked: Collection[str] = (),
) -> go.Figure:
    """One score of every head as a heat map.

    Raises:
        InputError: the score was not measured.
    """
    score, title = _score(scan, name), SCORES[name].title
    against = score.levels
    return heat_map(
        score.mean,
        title=f"{title} score of every head",
        spoken=f"{title} score of every head of {scan.model}",
        protocol=origin_line(scan, score.protocol) + (f" Read against: {against}." if against else ""),
        what="score (attention)",
        low=score.low,
        high=score.high,
        selected=selected,
        marked=marked,
        palette=palette,
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
        go.Scatter(
            x=list(range(len(values))),
            y=values,
            name=f"{name}, mean {mean:.2f}",
            mode="lines",
            line={"color": colour, "width": 2},
            hovertemplate=f"%{{y:.2f}} nats<extra>{name}</extra>",
        )
        for name, values, colour, mean in copies
    ]
    return frame.chart(
        lines,
        palette,
        title="Loss by position",
        spoken=f"Loss of {scan.model}: {loss.first_mean:.2f} nats on the first copy, "
        f"{loss.second_mean:.2f} on the second",
        protocol=origin_line(scan, f"{loss.protocol.rstrip('.')}. Means skip the first token of each copy"),
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
    induction, previous = _score(scan, "induction"), _score(scan, "previous_token")
    points: Points = {
        head_name((layer, head)): (previous.mean[layer][head], value)
        for layer, row in enumerate(induction.mean)
        for head, value in enumerate(row)
    }
    chosen = [name for name in points if name in marked and name != selected]
    others = [name for name in points if name not in (*chosen, selected)]
    traces = [
        _points(scan, {name: points[name] for name in names}, group, colour, size)
        for group, names, colour, size in (
            ("heads", others, palette.accent, 9),
            ("chosen set", chosen, palette.second, 11),
            (f"selected {selected}", [selected] if selected in points else [], palette.selected, 13),
        )
        if names
    ]
    named = {head_name(item[:2]) for item in scan.ranked("induction")[:LABELLED]}
    named |= {head_name(scan.ranked("previous_token")[0][:2]), selected} & points.keys()
    protocol = induction.protocol
    if previous.protocol != protocol:
        protocol = f"Induction: {protocol} Previous token: {previous.protocol}"
    title = "Induction against previous-token score"
    return frame.chart(
        traces,
        palette,
        title=title,
        spoken=f"{title} of every head of {scan.model}",
        protocol=origin_line(scan, protocol),
        x=frame.axis("previous-token score (attention, 0 to 1)", range=[-0.03, 1.03]),
        y=frame.axis("induction score (attention, 0 to 1)", range=[-0.03, 1.06]),
        notes=_names({name: points[name] for name in named}),
        plot=PLOT,
        drag="select",
    )


def _points(scan: Scan, places: Points, group: str, colour: str, size: int) -> go.Scatter:
    def told(name: str, score: str) -> str:
        layer, head = map(int, name.split("."))
        return f"{scan.scores[score].mean[layer][head]:.2f} {spread(scan.scores[score], layer, head)}"

    return go.Scatter(
        x=[across for across, _ in places.values()],
        y=[up for _, up in places.values()],
        customdata=[[name, *place] for name, place in places.items()],
        hovertext=[
            f"head {name}: induction {told(name, 'induction')}<br>previous token {told(name, 'previous_token')}"
            for name in places
        ],
        hoverinfo="text",
        mode="markers",
        marker={"color": colour, "size": size, "opacity": 0.65 if group == "heads" else 1},
        name=group,
        meta={"pick": "head"},
    )


def _names(places: Points) -> list[dict[str, Any]]:
    """Names beside their points, moved down until none covers another; they keep their distance in any zoom."""
    placed: list[tuple[float, float]] = []
    notes = []
    for name, (across, up) in sorted(places.items(), key=lambda place: -place[1][1]):
        side, away = ("left", 7) if across < 0.85 else ("right", -7)
        x, y, shift = across * frame.NARROW + 5 * away, -up * PLOT, 0
        while any(abs(x - at) < 30 and abs(y + shift - other) < 13 for at, other in placed):
            shift += 1
        placed.append((x, y + shift))
        place = {"x": across, "y": up, "xanchor": side, "xshift": away, "yshift": -shift}
        notes.append({"text": name, "showarrow": False, "font": {"size": 12}, **place})
    return notes
