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


def group(parts: Iterable[str], **attributes: object) -> str:
    opening = tag("g", **attributes)
    return f"{opening[:-2]}>{''.join(parts)}</g>"


def label(x: float, y: float, text: str, colour: str, **attributes: object) -> str:
    """Text; ``size`` in units, anchored at its start unless told otherwise."""
    size = attributes.pop("size", TEXT)
    return tag("text", text, x=x, y=y, fill=colour, font_size=size, **attributes)


def figure(
    parts: Iterable[str],
    palette: Palette,
    *,
    title: str,
    caption: str,
    height: float = 290,
    width: float = WIDTH,
    role: str = "img",
) -> str:
    """The whole document: marks, then the caption with the protocol. ``title`` is read by screen readers.

    Args:
        role: ``group`` where marks can be reached by keyboard, because an image has no parts.
    """
    lines = textwrap.wrap(caption, int(CAPTION_CHARACTERS * width / WIDTH))
    total = height + CAPTION_LINE * len(lines) + 4
    below = [
        label(8, height + CAPTION_LINE * (i + 0.6), text, palette.muted, size=SMALL)
        for i, text in enumerate(lines)
    ]
    opening = tag(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {total:g}",
        width=f"{width:g}",
        height=f"{total:g}",
        role=role,
        aria_label=title,
        font_family=SANS,
    )
    background = tag("rect", width=f"{width:g}", height=f"{total:g}", fill=palette.paper)
    captions = group(below, data_caption=caption, data_top=f"{height:g}")  # the page shows it as its own text
    return f"{opening[:-2]}>{background}{''.join(parts)}{captions}</svg>"
