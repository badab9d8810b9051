"""Buttons that download a result as JSON, CSV or figure; the text is made on the server when asked for.

PNG is the SVG, drawn by the browser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from induction.base import InputError
from induction.ui.components import script

_JS = script.read("exports.js")
TYPES = {"json": "application/json", "csv": "text/csv", "svg": "image/svg+xml"}


def exports(make: Callable[[str, dict[str, Any]], tuple[str, str]], value: dict[str, Any], **options: Any):
    """Export buttons.

    Args:
        make: ``(kind, arguments) -> (file name, text)`` for kinds of :data:`TYPES`; its :class:`InputError` is
            shown as it stands. The arguments come from a browser: check them.
        value: the arguments, as a dictionary of texts; update the component with new ones.
    """

    def export_text(request: dict[str, Any]) -> dict[str, str]:
        kind = request.get("kind") if isinstance(request, dict) else None
        if kind not in TYPES:
            return {"error": "Choose JSON, CSV or SVG."}
        try:
            name, text = make(kind, request)
        except InputError as error:
            return {"error": str(error)}
        return {"name": name, "text": text, "type": TYPES[kind]}

    buttons = "".join(
        f'<button type="button" data-kind="{kind}">{kind.upper()}</button>' for kind in (*TYPES, "png")
    )
    return gr.HTML(
        value,
        html_template=f'<div class="ih-tools">{buttons}</div><p class="ih-note" role="status"></p>',
        js_on_load=_JS,
        apply_default_css=False,
        server_functions=[export_text],
        **options,
    )
