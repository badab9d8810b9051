"""Scan: the scores of every head, bundled or measured now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from induction import results
from induction.scores import SCORES
from induction.ui import links
from induction.ui.head_grid import grid_value, head_grid

if TYPE_CHECKING:
    from induction.ui.page import Page


def kept_scan(model: str, live: str) -> results.Scan | None:
    return None


def draw_grid(model: str, live: str, score: str, selected: str) -> dict[str, Any]:
    from induction.ui.page import shown_scan

    scan = shown_scan(model, live)
    if scan is None or score not in scan.scores:
        return grid_value(None, title="", missing=f"{SCORES[score].title}: not measured for this model.")
    values = scan.scores[score]
    return grid_value(
        values.mean,
        title=SCORES[score].title,
        low=values.low,
        high=values.high,
        std=values.std,
        chance=values.chance,
        selected=selected,
    )


def build(page: Page) -> None:
    with page.tab("scan", "Scan"):
        score = gr.Radio(
            [(score.title, score.name) for score in SCORES.values()],
            value="induction",
            label="Score",
            elem_id="score",
        )
        grid = head_grid(draw_grid(page.model.value, "", "induction", page.head.value), elem_id="scan-grid")
    page.link(links.choice("score", "induction", SCORES), score)
    page.show("scan", draw_grid, [page.model, page.live, score, page.head], [grid])
    page.selects_head(grid)
