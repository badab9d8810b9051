"""Heads ranked by one score, with its uncertainty and the other scores beside it."""

from __future__ import annotations

from typing import Any

import gradio as gr

from induction.analysis.result import Scan
from induction.analysis.scores import SCORES
from induction.ui.components.script import component
from induction.viz.scan import spread

_HTML = (
    '<div class="ih-scroll" tabindex="0"><table class="ih-table"></table></div>'
    '<button type="button" class="ih-more" hidden></button>'
)
COLUMNS = ("induction", "previous_token", "duplicate_token", "first_token")


def head_table(value: dict[str, Any] | None = None, **options: Any) -> gr.HTML:
    """A ranked table; its value comes from :func:`table_value`. Fires ``pick``."""
    return component(
        value, _HTML, "head_table", "pick", packed=True, elem_classes=["ih-table-block"], **options
    )


def table_value(scan: Scan | None, score: str) -> dict[str, Any]:
    """All heads, highest first, with the score chosen and up to three others that were measured."""
    if scan is None or score not in scan.scores:
        return {"missing": "This score was not measured."}
    names = [score, *(name for name in COLUMNS if name in scan.scores and name != score)][:4]
    rows = [
        {
            "layer": layer,
            "head": head,
            "values": [round(scan.scores[name].mean[layer][head], 4) for name in names],
            "spread": spread(scan.scores[score], layer, head),
        }
        for layer, head, _ in scan.ranked(score)
    ]
    titles = [SCORES[name].title for name in names]
    return {
        "rows": rows,
        "columns": titles,
        "spread": "± over runs" if scan.scores[score].std else "95 % interval",
        "title": f"Heads of {scan.model} by {titles[0]} score",
    }
