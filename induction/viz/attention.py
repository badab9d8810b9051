"""One head's attention on one prompt as a figure for export."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from induction.analysis.attention import Attention, without_first
from induction.viz import svg
from induction.viz.theme import LIGHT, Palette

SIDE = 620.0  # of the matrix
LARGEST_CELL = 22.0
LABELS_APART = 9.0  # units from one token's name to the next
LONGEST_LABEL = 14  # characters


def head_figure(
    seen: Attention, layer: int, head: int, *, hide_first: bool = False, palette: Palette = LIGHT
) -> str:
    """Queries down, keys across, induction targets outlined, tokens named as far as there is room.

    The matrix is an embedded image of one pixel per cell, so the palette has to be of plain colours.

    Raises:
        InputError: the model has no such head.
    """
    pattern = seen.pattern(layer, head)
    if hide_first:
        pattern = without_first(pattern)
    n = seen.n_tokens
    names = [_shortened(label) for label in seen.labels]
    cell = min(SIDE / n, LARGEST_CELL)
    side = n * cell
    left, top = 106.0, 128.0
    right = left + max(side, 300.0)
    parts = [
        svg.label(8, 18, f"Attention of head {layer}.{head} of {seen.model}", palette.ink, font_weight=600),
        svg.label(left, 38, "key: token that is looked at", palette.ink),
        svg.label(8, top - 10, "query", palette.ink),
    ]
    every = int(np.ceil(LABELS_APART / cell))
    size = min(svg.SMALL, cell * every + 1)
    for position in range(0, n, every):
        middle = (position + 0.5) * cell
        x, y = left + middle, top + middle
        parts.append(
            svg.label(
                left - 5,
                y + size * 0.35,
                names[position],
                palette.muted,
                size=size,
                text_anchor="end",
                direction="ltr",
            )
        )
        parts.append(
            svg.label(
                0,
                0,
                names[position],
                palette.muted,
                size=size,
                transform=f"translate({x + size * 0.35:.1f} {top - 5:.1f}) rotate(-90)",
                direction="ltr",
            )
        )
    parts.append(
        svg.tag(
            "image",
            href="data:image/png;base64," + b64encode(_picture(pattern, palette)).decode(),
            x=left,
            y=top,
            width=side,
            height=side,
            style="image-rendering: pixelated",
            preserveAspectRatio="none",
        )
    )
    axes = f"M{left:g} {top:g}V{top + side:g}H{left + side:g}"
    parts.append(svg.tag("path", d=axes, fill="none", stroke=palette.line, stroke_width=1))
    outlines = "".join(
        f"M{left + key * cell:.1f} {top + query * cell:.1f}h{cell:.2f}v{cell:.2f}h{-cell:.2f}z"
        for query, key in np.argwhere(seen.targets).tolist()
    )
    if outlines:
        parts.append(svg.tag("path", d=outlines, fill="none", stroke=palette.second, stroke_width=1))
    bottom = top + side + 14
    parts += _legend(left, bottom, palette, targets=bool(outlines))
    caption = f"{seen.model}, head {layer}.{head}. {seen.protocol}. Computed by this project; weights: {seen.origin}."
    if hide_first:
        caption += " The first token is left out and every row renormalised to sum to 1."
    title = f"Attention of head {layer}.{head} of {seen.model} on {n} tokens"
    return svg.figure(parts, palette, title=title, caption=caption, height=bottom + 34, width=right + 14)


def _shortened(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"


def _picture(pattern: NDArray[np.floating], palette: Palette) -> bytes:
    """PNG of one pixel per cell in the sequential colours; cells of the future are transparent."""
    from PIL import Image

    steps = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in palette.sequential], float)
    at = np.clip(pattern, 0, 1) * (len(steps) - 1)
    pixels = np.empty((*pattern.shape, 4), np.uint8)  # [query, key, RGBA]
    for channel in range(3):
        pixels[..., channel] = np.rint(np.interp(at, np.arange(len(steps)), steps[:, channel]))
    pixels[..., 3] = np.tril(np.full(pattern.shape, 255))
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG", optimize=True)
    return out.getvalue()


def _legend(x: float, y: float, palette: Palette, *, targets: bool) -> list[str]:
    width = 28.0
    parts = [
        svg.tag("rect", x=x + i * width, y=y, width=width, height=9, fill=colour)
        for i, colour in enumerate(palette.sequential)
    ]
    end = x + width * len(palette.sequential)
    parts.append(svg.label(x, y + 23, "0", palette.muted, size=svg.SMALL))
    parts.append(svg.label(end, y + 23, "attention 1", palette.muted, size=svg.SMALL, text_anchor="end"))
    if targets:
        box = {"width": 9, "height": 9, "fill": "none", "stroke": palette.second, "stroke_width": 1.5}
        parts.append(svg.tag("rect", x=end + 16, y=y, **box))
        parts.append(svg.label(end + 30, y + 9, "induction target", palette.muted, size=svg.SMALL))
    return parts
