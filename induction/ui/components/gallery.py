"""All models with a bundled result as small grids; a click opens one."""

from __future__ import annotations

from typing import Any

import gradio as gr

from induction.results import SCANS
from induction.ui.components.script import component
from induction.ui.names import known_models, short_name

_HTML = '<ul class="ih-gallery"></ul>'


def gallery(**options: Any) -> gr.HTML:
    """One card per bundled model. Fires ``pick``; read the model with :func:`picked_model`."""
    return component(_cards(), _HTML, "gallery", "pick", **options)


def picked_model(event: gr.EventData) -> str:
    """The model of a ``pick`` event, or an empty string where the client sent nonsense."""
    index = event._data.get("model")
    names = _names()
    return names[index] if isinstance(index, int) and 0 <= index < len(names) else ""


def _names() -> list[str]:
    scans = SCANS.all()
    return [name for name in known_models() if name in scans and "induction" in scans[name].scores]


def _cards() -> list[dict[str, Any]]:
    cards = []
    for name in _names():
        scan = SCANS.get(name)
        layer, head, best = scan.ranked("induction")[0]
        values = [[round(value, 2) for value in row] for row in scan.scores["induction"].mean]
        text = f"{scan.n_layers} × {scan.n_heads}, strongest {layer}.{head} at {best:.2f}"
        cards.append({"name": short_name(name), "values": values, "text": text})
    return cards
