"""One number of every head as a heat map, layers down and heads across, with its scale."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from induction.viz import svg
from induction.viz.theme import Palette, between

LEFT, TOP = 34.0, 46.0
STEPS = 40  # of the scale


def heat_map(
    values: Sequence[Sequence[float | None]],
    palette: Palette,
    *,
    heading: str,
    limit: float = 1.0,
    diverging: bool = False,
    selected: str = "",
    marked: Collection[str] = (),
    note: str = "",
) -> tuple[list[str], float]:
    """The marks of the map and its height.

    Args:
        values: ``[layer][head]``; None is not measured or not defined, and stays empty.
        limit: the end of the scale, which runs from 0 or, ``diverging``, from ``-limit``.
        selected: the head on show, ``"5.1"``; ``marked``: heads of a set.
        note: beside the scale.
    """
    across = (svg.WIDTH - LEFT - 10) / len(values[0])
    down = min(across, 26.0)
    scale = palette.diverging if diverging else palette.sequential
    start = -limit if diverging else 0.0
    parts = [svg.label(8, 18, heading, palette.ink)]
    small = {"size": svg.SMALL}
    for head in range(len(values[0])):
        x = LEFT + (head + 0.5) * across
        parts.append(svg.label(x, TOP - 5, str(head), palette.muted, text_anchor="middle", **small))
    for layer, row in enumerate(values):
        y = TOP + layer * down
        parts.append(
            svg.label(LEFT - 6, y + down / 2 + 4, str(layer), palette.muted, text_anchor="end", **small)
        )
        for head, value in enumerate(row):
            name = f"{layer}.{head}"
            outline = palette.selected if name == selected else palette.second if name in marked else None
            fill = "none" if value is None else between(scale, (value - start) / (limit - start))
            parts.append(
                svg.tag(
                    "rect",
                    x=LEFT + head * across + 1,
                    y=y + 1,
                    width=across - 2,
                    height=down - 2,
                    fill=fill,
                    stroke=outline or (palette.line if value is None else None),
                    stroke_width=2.5 if outline else None,
                )
            )
    bottom = TOP + len(values) * down + 12
    for step in range(STEPS):
        fill = between(scale, step / (STEPS - 1))
        parts.append(svg.tag("rect", x=LEFT + step * 4.0, y=bottom, width=4.5, height=8, fill=fill))
    end = LEFT + 4 * STEPS
    parts.append(svg.label(LEFT, bottom + 20, f"{start:.3g}", palette.muted, **small))
    parts.append(svg.label(end, bottom + 20, f"{limit:.3g}", palette.muted, text_anchor="end", **small))
    if note:
        parts.append(svg.label(end + 14, bottom + 8, note, palette.muted, **small))
    return parts, bottom + 30
