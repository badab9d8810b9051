"""The tab of an experiment that has none of its own: controls, run, what was found, its numbers, exports."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import gradio as gr

from induction.base import InputError, Result
from induction.experiment import Experiment
from induction.ui import runs
from induction.ui.components.exports import exported, exports
from induction.ui.components.note import html, note
from induction.ui.names import short_name
from induction.ui.panel import Panel, back_button, back_visible
from induction.ui.words import headline, table

if TYPE_CHECKING:
    from induction.ui.page import Page

ROWS = 200  # shown; exports have all


def build(page: Page, experiment: Experiment) -> None:
    name = experiment.name

    def draw(model: str, shown: str) -> list[Any]:
        result = runs.shown(name, model, shown)
        live = runs.live(name, model, shown) is not None
        verdict = result.verdict() if result else f"Nothing measured yet: press {panel.button}."
        return [
            headline(f"{experiment.title}: {short_name(model)}", result, verdict, live=live),
            back_visible(name, model, shown),
            _table(result) if result else "",
            {"model": model, "shown": shown} if result else None,
        ]

    def export(kind: str, asked: dict[str, Any]) -> tuple[str, Any]:
        result = runs.shown(name, str(asked.get("model", "")), str(asked.get("shown", "")))
        if result is None:
            raise InputError(f"Nothing measured yet: press {panel.button}.")
        return exported(kind, f"{name}-{short_name(result.model)}", result)

    with page.tab(name, experiment.title):
        on_show = gr.Textbox("", visible=False)
        note(experiment.help)
        with gr.Column(elem_classes=["ih-panel"]):
            panel = Panel(name, f"Run {experiment.title.lower()}")
        with gr.Column(elem_classes=["ih-panel", "ih-results"]):
            title, back = html("", elem_id=f"{name}-headline"), back_button(f"{name}-put-back")
            numbers = html("", elem_id=f"{name}-table")
            files = exports(export, None, figures=False, elem_id=f"{name}-export")
    panel.wire(page, on_show, back)
    panel.follow(on_show, list(panel.controls))
    page.show(name, draw, [page.model, on_show], [title, back, numbers, files])


def _table(result: Result) -> str:
    rows = list(islice(result.rows(), ROWS))
    written = [
        [
            "–" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else str(cell)
            for cell in row.values()
        ]
        for row in rows
    ]
    return table(rows[0] if rows else [], written, result.verdict())
