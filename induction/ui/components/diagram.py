"""The circuit diagram of :mod:`induction.viz.circuit` in the page: an SVG drawn by hand, with buttons in it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from induction.ui.components.script import component

_HTML = (
    '<div class="ih-figure"></div><p class="ih-caption"></p>'
    '<div class="ih-tools" hidden>'
    '<button type="button" data-kind="svg" aria-label="Download this figure as SVG">SVG</button>'
    '<button type="button" data-kind="png" aria-label="Download this figure as PNG">PNG</button>'
    '</div><div class="ih-tip" role="tooltip" hidden></div>'
)


def diagram(value: dict[str, Any] | None = None, **options: Any) -> gr.HTML:
    """An SVG; its value comes from :func:`induction.ui.components.plot.plot_value`.

    Fires ``pick`` for heads and ``edge`` for bands.
    """
    classes = {"elem_classes": ["ih-figure-block"]}
    return component(value, _HTML, "diagram", "pick", "edge", **classes, **options)
