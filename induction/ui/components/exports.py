"""Buttons that download a result as JSON, CSV or figure, made when asked for.

Texts come from the server; a figure of plotly comes as its JSON and becomes SVG or PNG in the browser, which also
turns a drawing that comes as SVG into PNG.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from plotly.graph_objects import Figure

from induction.base import InputError, Result
from induction.ui.components.plot import as_json
from induction.ui.components.script import component

TYPES = {"json": "application/json", "csv": "text/csv", "svg": "image/svg+xml"}


def exports(
    make: Callable[[str, dict[str, Any]], tuple[str, str | Figure]],
    value: dict[str, Any] | None,
    *,
    figures: bool = True,
    **options: Any,
) -> gr.HTML:
    """Export buttons.

    Args:
        make: ``(kind, arguments) -> (file name, text or figure)`` for kinds of :data:`TYPES`, a figure for ``svg``
            alone; its :class:`InputError` is shown as it stands. The arguments come from a browser: check them.
        value: the arguments, as a dictionary of texts, to which the browser adds the selected ``head``; None where
            there is nothing to download. Update the component with new ones.
        figures: whether there is a figure to download.
    """

    def export_text(request: dict[str, Any]) -> dict[str, Any]:
        kind = request.get("kind") if isinstance(request, dict) else None
        if kind not in TYPES:
            return {"error": "Choose JSON, CSV or SVG."}
        try:
            name, made = make(kind, request)
        except InputError as error:
            return {"error": str(error)}
        if isinstance(made, Figure):
            return {"name": name, "figure": as_json(made)}
        return {"name": name, "text": made, "type": TYPES[kind]}

    buttons = "".join(
        f'<button type="button" data-kind="{kind}">{kind.upper()}</button>'
        for kind in ((*TYPES, "png") if figures else ("json", "csv"))
    )
    template = f'<div class="ih-tools">{buttons}</div><p class="ih-note" role="status"></p>'
    return component(value, template, "exports", server_functions=[export_text], **options)


def exported(
    kind: str, name: str, result: Result, draw: Callable[[], Figure | str] | None = None, of_figure: str = ""
) -> tuple[str, str | Figure]:
    """File name and content of a result, for ``make`` of :func:`exports`.

    Args:
        of_figure: what the name of a figure's file has besides.
    """
    if kind == "svg" and draw:
        return f"{name}{of_figure}.svg", draw()
    return f"{name}.{kind}", result.to_csv() if kind == "csv" else result.to_json()
