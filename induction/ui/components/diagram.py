"""The circuit diagram of :mod:`induction.viz.circuit` in the page: an SVG drawn by hand, with buttons in it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from induction.ui.components.script import component

_HTML = (
    '<div class="ih-figure"></div>'
    '<p class="ih-note ih-readout" role="status"></p>'
    '<div class="ih-tools ih-sift" hidden>'
    '<label>Hide bands below <input type="range" min="0" max="1" step="0.01" value="0"><output>0</output></label>'
    '<span class="ih-pins"></span><button type="button" class="ih-pin"></button></div>'
    '<p class="ih-caption"></p>'
    '<div class="ih-tools" hidden>'
    '<button type="button" data-kind="svg" aria-label="Download this figure as SVG">SVG</button>'
    '<button type="button" data-kind="png" aria-label="Download this figure as PNG">PNG</button>'
    "</div>"
)


def diagram(value: dict[str, Any] | None = None, **options: Any) -> gr.HTML:
    """An SVG; its value comes from :func:`induction.ui.components.plot.plot_value`.

    Fires ``pick`` for heads and ``edge`` for bands. Pins and the threshold of the bands are the browser's own; what
    they hide is in the downloads all the same.
    """
    classes = {"elem_classes": ["ih-figure-block"]}
    return component(value, _HTML, "diagram", "pick", "edge", packed=True, **classes, **options)
