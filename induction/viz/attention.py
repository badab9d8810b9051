"""One head's attention on one prompt, for exports and the notebook; the page draws its own on a canvas."""

from __future__ import annotations

import io
import math
from base64 import b64encode
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image

from induction.analysis.attention import Attention, without_first
from induction.viz import frame
from induction.viz.theme import LIGHT, Palette

CELL, SMALLEST, LARGEST = 22, 150, 460  # pixels of a cell at most, and of the matrix from top to bottom
APART = 13  # pixels from one token's name to the next
LONGEST = 12  # characters of a name


def head_figure(
    seen: Attention, layer: int, head: int, *, hide_first: bool = False, palette: Palette = LIGHT
) -> go.Figure:
    """Queries down, keys across, induction targets outlined, tokens named as far as there is room.

    Raises:
        InputError: the model has no such head.
    """
    pattern = seen.pattern(layer, head)
    if hide_first:
        pattern = without_first(pattern)
    n = seen.n_tokens
    names = [frame.short(label, LONGEST) for label in seen.labels]
    # Every place is a category of its own, although tokens repeat; the hover says both.
    places = [f"{index} {name}" for index, name in enumerate(names)]
    room = 14 + 7.2 * max(min(len(label), LONGEST) for label in seen.labels)
    below = room + 26
    plot = min(max(n * CELL, SMALLEST), LARGEST)
    targets = np.argwhere(seen.targets)  # [target, (query, key)]
    outlines = go.Scatter(
        x=[places[key] for key in targets[:, 1]],
        y=[places[query] for query in targets[:, 0]],
        mode="markers",
        marker={
            "symbol": "square-open",
            "size": max(min(plot, frame.NARROW) / n, 2),
            "color": palette.second,
        },
        name="induction target",
        hoverinfo="skip",
    )
    protocol = f"{seen.model}, head {layer}.{head}. {seen.protocol}. Computed by this project; weights: {seen.origin}."
    if hide_first:
        protocol += " The first token is left out and every row renormalised to sum to 1."
    return frame.chart(
        [_map(pattern, places, palette, -below / plot), *([outlines] if len(targets) else [])],
        palette,
        title=f"Attention of head {layer}.{head}",
        spoken=f"Attention of head {layer}.{head} of {seen.model} on {n} tokens",
        protocol=protocol,
        x=_axis("key (token that is looked at)", places, names, frame.NARROW)
        | {"tickangle": -90, "range": [-0.5, n - 0.5]},
        y=_axis("query (token that looks)", places, names, plot) | {"range": [n - 0.5, -0.5]},
        plot=plot,
        left=room + 24,
        below=below + frame.COLOUR_BAR,
    )


def picture(pattern: NDArray[np.floating], *, palette: Palette = LIGHT) -> str:
    """One head's pattern as a data URI for an image, a pixel per weight: clear where there is none, so that it lies on
    light and dark ground. Show it with ``image-rendering: pixelated``.

    Args:
        pattern: ``[query, key]`` in 0..1, as of :meth:`Attention.pattern`.
    """
    tint = tuple(bytes.fromhex(palette.accent[1:]))
    pixels = np.empty((*pattern.shape, 4), np.uint8)
    pixels[..., :3] = tint
    pixels[..., 3] = np.rint(np.clip(pattern, 0, 1) * 255)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(out.getvalue()).decode()}"


def largest(pattern: NDArray[np.floating], size: int) -> NDArray[np.floating]:
    """The pattern ``[query, key]`` in squares of ``size`` tokens, each with its largest weight: a stripe of single
    cells stays visible in a small :func:`picture`."""
    short = -len(pattern) % size
    squares = np.pad(pattern, (0, short)).reshape(-(-len(pattern) // size), size, -1, size)
    return squares.max((1, 3))


def _axis(title: str, places: list[str], names: list[str], length: float) -> dict[str, Any]:
    """An axis of tokens, named as far as there is room on this many pixels."""
    shown = range(0, len(places), math.ceil(APART * len(places) / length))
    named = {"tickvals": list(shown), "ticktext": [names[index] for index in shown], "showgrid": False}
    order = {"type": "category", "categoryorder": "array", "categoryarray": places}
    return frame.axis(title, **named, **order)


def _map(pattern: NDArray[np.floating], places: list[str], palette: Palette, bar: float) -> go.Heatmap:
    """The pattern ``[query, key]``, empty in the future; ``bar`` is where the colour bar goes."""
    return frame.heat(
        [
            [round(float(weight), 4) if key <= query else None for key, weight in enumerate(row)]
            for query, row in enumerate(pattern)
        ],
        palette.sequential,
        "attention (0 to 1)",
        palette,
        bar_at=bar,
        x=places,
        y=places,
        hovertemplate="query %{y}<br>key %{x}<br>attention %{z:.4f}<extra></extra>",
        zmin=0,
        zmax=1,
    )
