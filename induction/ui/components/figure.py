"""A figure of :mod:`induction.viz` in the page: hover, click on a head, export as SVG or PNG."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from induction.base import InputError
from induction.ui.components import script

_JS = script.read("figure.js")
_HTML = (
    '<div class="ih-figure"></div><p class="ih-caption"></p>'
    '<div class="ih-tools" hidden>'
    '<button type="button" data-kind="svg" aria-label="Download this figure as SVG">SVG</button>'
    '<button type="button" data-kind="png" aria-label="Download this figure as PNG">PNG</button>'
    '</div><div class="ih-tip" role="tooltip" hidden></div>'
)


def figure(value: dict[str, Any] | None = None, **options: Any) -> gr.HTML:
    """An SVG figure; its value comes from :func:`figure_value`. Fires ``pick`` where marks have ``data-head``."""
    return gr.HTML(
        value,
        html_template=_HTML,
        js_on_load=_JS,
        apply_default_css=False,
        elem_classes=["ih-figure-block"],
        **options,
    )


def figure_value(name: str, draw: Callable[[], str]) -> dict[str, Any]:
    """What a :func:`figure` shows: the SVG of ``draw``, or its :class:`InputError` as the empty state.

    Args:
        name: file name of exports, without suffix.
    """
    safe = "".join(c if c.isalnum() or c in "-." else "-" for c in name)
    try:
        return {"svg": draw(), "name": safe}
    except InputError as error:
        return {"missing": str(error)}
