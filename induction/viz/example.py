"""The example beneath a circuit: its tokens, and the two looks that make an induction head."""

from __future__ import annotations

from induction.base import Head, head_name
from induction.circuit.results import Example
from induction.viz import svg
from induction.viz.theme import MONO, Palette

LEFT = 8.0
SHOWN_CHARACTERS = 7


def tokens_and_steps(
    example: Example, top: float, *, sender: Head | None, receiver: Head, palette: Palette
) -> list[str]:
    """The tokens around A B and the second A, and the two looks: B back to A, second A on to B."""
    last = len(example.tokens) - 1
    near = [example.first_a - 1, example.first_a, example.first_b, example.first_b + 1, last - 1, last]
    shown = [index for index in dict.fromkeys(near) if 0 <= index <= last]
    y, height = top + 74, 22.0
    parts, middle = [], {}
    x = LEFT
    for place, index in enumerate(shown):
        if place and index != shown[place - 1] + 1:
            parts.append(svg.label(x + 1, y + 15, "…", palette.muted))
            x += 16
        text = _short(example.tokens[index])
        width = 12 + 6.9 * len(text)
        marked = index in (example.first_a, example.first_b, last)
        parts += _token(text, example.tokens[index], x, y, width, height, palette, marked=marked)
        middle[index] = x + width / 2
        x += width + 4
    parts.append(svg.label(x + 2, y + 15, "→", palette.ink))
    x += 20
    text = _short(example.answer)
    parts += _token(
        text, example.answer, x, y, 12 + 6.9 * len(text), height, palette, marked=True, expected=True
    )
    steps = [(last, example.first_b, receiver, example.step_on, "2", 48.0, palette.selected)]
    if sender:
        steps.append((example.first_b, example.first_a, sender, example.step_back, "1", 20.0, palette.accent))
    for query, key, (layer, head), grid, number, rise, colour in steps:
        parts.append(_arc(middle[query], middle[key], y - 3, rise, colour))
        parts.append(
            svg.label(
                LEFT,
                top + (8 if number == "1" else 24),
                f"Step {number}: {head_name((layer, head))} looks "
                + ("back one, from B to A" if number == "1" else "for its own token, from A to B")
                + f": attention {grid[layer][head]:.2f}",
                colour,
                size=svg.SMALL,
                font_weight=600,
            )
        )
    names = {example.first_a: "A", example.first_b: "B", last: "A"}
    parts += [
        svg.label(middle[index], y + height + 14, name, palette.muted, size=svg.SMALL, text_anchor="middle")
        for index, name in names.items()
    ]
    return parts


def _short(token: str) -> str:
    return token if len(token) <= SHOWN_CHARACTERS else f"{token[: SHOWN_CHARACTERS - 1]}…"


def _token(
    text: str,
    whole: str,
    x: float,
    y: float,
    width: float,
    height: float,
    palette: Palette,
    *,
    marked: bool,
    expected: bool = False,
) -> list[str]:
    return [
        svg.tag(
            "rect",
            x=x,
            y=y,
            width=width,
            height=height,
            rx=3,
            fill=palette.raised,
            stroke=palette.ink if marked else palette.line,
            stroke_width=1,
            stroke_dasharray="3 2" if expected else None,
            data_tip=f"token {whole}",
        ),
        svg.label(
            x + 6,
            y + 15,
            text,
            palette.ink if marked else palette.muted,
            size=svg.SMALL,
            font_family=MONO,
            pointer_events="none",
        ),
    ]


def _arc(from_x: float, to_x: float, y: float, rise: float, colour: str) -> str:
    """A bow from the query to the key, with a point at the key."""
    bow = svg.tag(
        "path",
        d=f"M{from_x:.1f} {y:.1f} C{from_x:.1f} {y - rise:.1f} {to_x:.1f} {y - rise:.1f} {to_x:.1f} {y - 4:.1f}",
        fill="none",
        stroke=colour,
        stroke_width=1.8,
    )
    point = svg.tag("path", d=f"M{to_x - 4:.1f} {y - 6:.1f} h8 l-4 6 z", fill=colour)
    return bow + point
