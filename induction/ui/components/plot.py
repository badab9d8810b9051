"""A figure of plotly in the page: hover, zoom, marks that select a head or a checkpoint, download as PNG or SVG.

``gr.Plot`` knows no click, remounts on every update and ignores the theme. Plotly's script is the installed
package's own, served at an address of its own and fetched when the first figure comes into view.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import plotly
from plotly.graph_objects import Figure
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

from induction.base import InputError
from induction.ui.components.script import component
from induction.viz.frame import CONFIG

#: Where a server of the page has plotly's script: the version makes the address good for ever.
SCRIPT = f"/gradio_api/plotly-{plotly.__version__}.min.js"
_FILE = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
#: What the scripts that draw have to know; plot.js sees to the size.
PLOTLY: dict[str, Any] = {"script": SCRIPT, "config": {**CONFIG, "displayModeBar": True, "responsive": False}}
_HTML = (
    '<div class="ih-plot" role="figure" hidden></div><p class="ih-caption"></p>'
    '<details class="ih-as-table" hidden><summary>As a table</summary></details><p class="ih-empty" hidden></p>'
)


def plot(value: dict[str, Any] | None = None, **options: Any) -> gr.HTML:
    """A figure; its value comes from :func:`plot_value`.

    Fires ``pick`` for marks of traces whose ``meta`` is ``{"pick": "head"}`` and whose ``customdata`` begins with the
    head's name, and ``chosen`` for heads within a drawn box; read them with
    :func:`induction.ui.components.head_grid.picked` and :func:`chosen_heads`. Marks with ``{"pick": "checkpoint"}`` and
    the index in ``customdata`` move :mod:`induction.ui.components.checkpoints`, without the server.
    """
    events = ("pick", "chosen")
    return component(value, _HTML, "plot", *events, packed=True, elem_classes=["ih-plot-block"], **options)


def plot_value(name: str, draw: Callable[[], Figure | str]) -> dict[str, Any]:
    """What a :func:`plot`, or a diagram, shows: the figure or SVG of ``draw``, or its :class:`InputError` in words.

    Args:
        name: file name of downloads, without suffix. Zoom is kept while it stays the same.
    """
    safe = "".join(c if c.isalnum() or c in "-." else "-" for c in name)
    try:
        drawn = draw()
    except InputError as error:
        return {"missing": str(error)}
    return (
        {"svg": drawn, "name": safe} if isinstance(drawn, str) else {"figure": as_json(drawn), "name": safe}
    )


def as_json(figure: Figure) -> dict[str, Any]:
    """The figure as plotly's script takes it."""
    return json.loads(figure.to_json(validate=False))


def chosen_heads(event: gr.EventData) -> str:
    """The heads of a ``chosen`` event as one text, ``5.1,5.5``, of which nothing is checked yet."""
    heads = event._data.get("heads")
    return ",".join(head for head in heads if isinstance(head, str)) if isinstance(heads, list) else ""


def script_route() -> Route:
    """The address of plotly's script. Under Gradio's own prefix, which a server in front passes on."""

    async def send(request: Request) -> FileResponse:
        return FileResponse(_FILE, headers={"Cache-Control": "public, max-age=31536000, immutable"})

    return Route(SCRIPT, send)
