"""Just enough SVG for a diagram: marks, a wrapped caption, escaped text.

Diagrams are drawn 440 units wide so that their type stays readable on a phone; heights include the caption.
A mark with ``data-tip`` shows that text on hover in the page, one with ``data-head`` selects the head.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from html import escape

from induction.viz.theme import SANS, Palette

WIDTH = 440
TEXT = 13
SMALL = 11.5
CAPTION_CHARACTERS = 68
CAPTION_LINE = 14

Point = tuple[float, float]


def tag(name: str, text: str | None = None, **attributes: object) -> str:
    """One element; ``_`` in attribute names becomes ``-``, text and values are escaped, None is left out."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{shown}/>" if text is None else f"<{name}{shown}>{escape(text)}</{name}>"


def _number(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def label(x: float, y: float, text: str, colour: str, **attributes: object) -> str:
    """Text; ``size`` in units, anchored at its start unless told otherwise."""
    size = attributes.pop("size", TEXT)
    return tag("text", text, x=x, y=y, fill=colour, font_size=size, **attributes)


def box(x: float, y: float, width: float, height: float, **attributes: object) -> str:
    return tag("rect", x=x, y=y, width=width, height=height, **attributes)


def curve(start: Point, *towards: Point, **attributes: object) -> str:
    """A line from ``start`` to the last of three points, bent towards the two before it."""
    (x, y), points = start, " ".join(f"{x:.1f} {y:.1f}" for x, y in towards)
    return tag("path", d=f"M{x:.1f} {y:.1f} C{points}", fill="none", **attributes)


def figure(parts: Iterable[str], palette: Palette, *, title: str, caption: str, height: float) -> str:
    """The whole document: marks down to ``height``, then the caption with the protocol.

    ``title`` is read by screen readers; to them it is a group, because an image has no parts that a keyboard reaches.
    """
    lines = textwrap.wrap(caption, CAPTION_CHARACTERS)
    total = height + CAPTION_LINE * len(lines) + 4
    below = "".join(
        label(8, height + CAPTION_LINE * (i + 0.6), text, palette.muted, size=SMALL)
        for i, text in enumerate(lines)
    )
    size = {"width": f"{WIDTH:g}", "height": f"{total:g}"}
    view = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {WIDTH:g} {total:g}"}
    opening = tag("svg", **view, **size, role="group", aria_label=title, font_family=SANS)
    background = tag("rect", **size, fill=palette.paper)
    captions = tag("g", data_caption=caption, data_top=f"{height:g}")  # the page shows it as its own text
    return f"{opening[:-2]}>{background}{''.join(parts)}{captions[:-2]}>{below}</g></svg>"
