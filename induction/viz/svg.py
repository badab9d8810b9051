"""Just enough SVG for plain charts: two linear axes, marks, a wrapped caption, escaped text.

Figures are drawn 440 units wide so that their type stays readable on a phone; heights include the caption.
A mark with ``data-tip`` shows that text on hover in the page, one with ``data-head`` selects the head.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Axes:
    """A plotting area: ``x`` and ``y`` turn data into units, y upwards."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    left: float = 46
    right: float = WIDTH - 14
    top: float = 34
    bottom: float = 246

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values within ``low..high``, about that many."""
    raw = (high - low) / max(about, 1)
    magnitude = 10 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.99)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def frame(axes: Axes, palette: Palette, *, x_label: str, y_label: str) -> list[str]:
    """Grid lines, tick labels and axis names (with units)."""
    parts = []
    for value in ticks(*axes.y_range):
        y = axes.y(value)
        parts.append(
            tag("line", x1=axes.left, x2=axes.right, y1=y, y2=y, stroke=palette.line, stroke_width=1)
        )
        parts.append(label(axes.left - 6, y + 4, f"{value:g}", palette.muted, size=SMALL, text_anchor="end"))
    for value in ticks(*axes.x_range):
        x = axes.x(value)
        parts.append(
            label(x, axes.bottom + 15, f"{value:g}", palette.muted, size=SMALL, text_anchor="middle")
        )
        parts.append(
            tag("line", x1=x, x2=x, y1=axes.bottom, y2=axes.bottom + 4, stroke=palette.muted, stroke_width=1)
        )
    middle = (axes.left + axes.right) / 2
    parts.append(label(middle, axes.bottom + 32, x_label, palette.ink, text_anchor="middle"))
    parts.append(label(8, axes.top - 14, y_label, palette.ink))
    return parts


def line(
    axes: Axes, points: Sequence[tuple[float, float]], colour: str, width: float = 2, **attributes: object
) -> str:
    path = " ".join(f"{'L' if i else 'M'}{axes.x(x):.1f} {axes.y(y):.1f}" for i, (x, y) in enumerate(points))
    return tag(
        "path", d=path, fill="none", stroke=colour, stroke_width=width, stroke_linejoin="round", **attributes
    )


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
