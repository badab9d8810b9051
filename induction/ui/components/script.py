"""Components of the page's own: their scripts are sent once, in the page's head, and each component starts its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

FOLDER = Path(__file__).parent
#: What the others call.
SHARED = ("scale.js", "heads.js", "address.js", "keys.js", "terms.js", "pictures.js", "chart.js")


def component(value: Any, template: str, name: str, *events: str, **options: Any) -> gr.HTML:
    """A component that runs ``<name>.js`` on its template; see :func:`head`.

    A function and not a subclass of ``gr.HTML``: Gradio writes a ``.pyi`` file beside every subclass.

    Args:
        events: that its script fires. Gradio looks for their names, in quotes, in what starts it.
    """
    server = "typeof server === 'undefined' ? null : server"
    fires = ", ".join(f"'{event}'" for event in events)
    start = f"window.ih.{name}(element, props, trigger, watch, {server});  // fires {fires}"
    return gr.HTML(value, html_template=template, js_on_load=start, apply_default_css=False, **options)


def head(setup: dict[str, Any]) -> str:
    """The page's head: every component's script as a function of ``window.ih``.

    Args:
        setup: what scripts have to know, which is their ``PAGE``: ``plotly`` and the ``head`` selected at first.
    """
    shared = "".join(_read(FOLDER / name) for name in SHARED)
    own = [path for path in sorted(FOLDER.glob("*.js")) if path.name not in SHARED]
    functions = ",\n".join(
        f"{path.stem}(element, props, trigger, watch, server) {{\n{_read(path)}}}" for path in own
    )
    given = f"const PAGE = {json.dumps(setup)};\n"
    # To events of the page, and to components.
    offered = f"selectHead, selectedHead, pickAdds, toggled, address, arrive,\n{functions}"
    return f"<script>\nwindow.ih = (() => {{\n{given}{shared}return {{\n{offered}\n}};\n}})();\n</script>"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
