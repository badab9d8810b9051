"""The example beneath a circuit: its tokens, and the two looks that make an induction head."""

from __future__ import annotations

from induction.base import Head, head_name
from induction.circuit.results import Example
from induction.viz import svg
from induction.viz.theme import MONO, Palette

LEFT, HEIGHT = 8.0, 22.0
SHOWN_CHARACTERS = 7


def tokens_and_steps(
    example: Example, top: float, *, sender: Head | None, receiver: Head, palette: Palette
) -> list[str]:
    """The tokens around A B and the second A, and the two looks: B back to A, second A on to B."""
    a, b, last = example.first_a, example.first_b, len(example.tokens) - 1
    names = {a: "A", b: "B", last: "A"}
    shown = [index for index in dict.fromkeys((a - 1, a, b, b + 1, last - 1, last)) if 0 <= index <= last]
    parts, middle, x, y = [], {}, LEFT, top + 74
    for index in shown:
        if middle and index - 1 not in middle:
            parts.append(svg.label(x + 1, y + 15, "…", palette.muted))
            x += 16
        width, token = _token(example.tokens[index], x, y, palette, marked=index in names)
        parts += token
        middle[index] = x + width / 2
        x += width + 4
    parts.append(svg.label(x + 2, y + 15, "→", palette.ink))
    parts += _token(example.answer, x + 20, y, palette, marked=True, stroke_dasharray="3 2")[1]
    steps = [
        (2, receiver, "for its own token, from A to B", example.step_on, last, b, 48.0, palette.selected)
    ]
    if sender:
        steps.append((1, sender, "back one, from B to A", example.step_back, b, a, 20.0, palette.accent))
    for number, (layer, head), how, grid, query, key, rise, colour in steps:
        text = f"Step {number}: {head_name((layer, head))} looks {how}: attention {grid[layer][head]:.2f}"
        parts.append(_arc(middle[query], middle[key], y - 3, rise, colour))
        parts.append(svg.label(LEFT, top - 8 + 16 * number, text, colour, size=svg.SMALL, font_weight=600))
    small = {"size": svg.SMALL, "text_anchor": "middle"}
    return parts + [
        svg.label(middle[index], y + HEIGHT + 14, name, palette.muted, **small)
        for index, name in names.items()
    ]


def _token(
    token: str, x: float, y: float, palette: Palette, *, marked: bool, **look: object
) -> tuple[float, list[str]]:
    """Its width, and a frame with the token, cut to length; ``look`` is the frame's."""
    text = token if len(token) <= SHOWN_CHARACTERS else f"{token[: SHOWN_CHARACTERS - 1]}…"
    width, stroke = 12 + 6.9 * len(text), palette.ink if marked else palette.line
    look = {"rx": 3, "fill": palette.raised, "stroke": stroke, "stroke_width": 1, **look}
    style = {"size": svg.SMALL, "font_family": MONO, "pointer_events": "none"}
    return width, [
        svg.box(x, y, width, HEIGHT, **look, data_tip=f"token {token}"),
        svg.label(x + 6, y + 15, text, palette.ink if marked else palette.muted, **style),
    ]


def _arc(from_x: float, to_x: float, y: float, rise: float, colour: str) -> str:
    """A bow from the query to the key, with a point at the key."""
    ends = (from_x, y), (from_x, y - rise), (to_x, y - rise), (to_x, y - 4)
    point = svg.tag("path", d=f"M{to_x - 4:.1f} {y - 6:.1f} h8 l-4 6 z", fill=colour)
    return svg.curve(*ends, stroke=colour, stroke_width=1.8) + point
