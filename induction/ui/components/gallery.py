"""All models with a bundled result as a strip of small grids, the one on show marked; a click opens one."""

from __future__ import annotations

from typing import Any

import gradio as gr

from induction.results import SCANS
from induction.ui.components.script import component
from induction.ui.names import has, known_models, short_name

_HTML = '<div class="ih-gallery ih-rove" role="toolbar" aria-label="Models with bundled scores"></div>'
#: What a change of the model says to it, in the browser.
SHOW = "(model) => { document.dispatchEvent(new CustomEvent('ih:model', { detail: model })); }"


def gallery(shown: str, **options: Any) -> gr.HTML:
    """One card per bundled model, ``shown`` being the one on show at first.

    Fires ``pick``; read the model with :func:`picked_model`.
    """
    return component({"cards": _cards(), "shown": shown}, _HTML, "gallery", "pick", packed=True, **options)


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
        text = f"{scan.n_layers} × {scan.n_heads} heads, strongest {layer}.{head} at {best:.2f}"
        card = {"model": name, "name": short_name(name), "has": has(name), "text": text}
        cards.append({**card, "values": values})
    return cards
