"""The checkpoints of a training run to move through: a slider, Play, and a grid of heads for each score.

All of a history's grids are sent once (some KB), so that moving asks nothing of the server.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from induction.ui.components.head_grid import GRID
from induction.ui.components.script import component

_HTML = (
    '<div class="ih-player"><button type="button" class="ih-more" aria-pressed="false">▶ Play</button>'
    '<input type="range" min="1" value="1" step="1" aria-label="Checkpoint">'
    '<p class="ih-note" role="status"></p></div>'
    '<div class="ih-frames">{grids}</div>'
)


def checkpoints(names: list[str], charts: list[str], **options: Any) -> gr.HTML:
    """Its value is ``{"at": index, "said": [text of each checkpoint], "tokens": [...], "grids": [[grid_value of each
    score] of each checkpoint]}``.

    Fires ``moved`` when a visitor has moved (the slider's value counts from 1) and ``pick`` for a head.

    Args:
        names: of the grids, in words.
        charts: ids of plots whose mark named "checkpoint on show" follows, and whose curves can be clicked.
    """
    grids = "".join(f"<div><h3>{name}</h3>{GRID}</div>" for name in names)
    template = f"<div data-charts='{' '.join(charts)}'>{_HTML.format(grids=grids)}</div>"
    return component(None, template, "checkpoints", "moved", "pick", packed=True, **options)
