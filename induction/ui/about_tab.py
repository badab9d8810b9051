"""About: definitions, how to read each figure, limits, sources, how to run it at home."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from induction.scores import SCORES

if TYPE_CHECKING:
    from induction.ui.page import Page


def definitions() -> str:
    """Markdown list of all scores, from their declarations."""
    return "\n".join(f"- **{score.title}**. {score.meaning} *{score.source}*" for score in SCORES.values())


def build(page: Page) -> None:
    with page.tab("about", "About"):
        gr.Markdown(f"## What the scores mean\n\n{definitions()}")
