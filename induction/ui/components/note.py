"""Text in the page: the project's own HTML, and plain text that may hold anything a visitor wrote."""

from __future__ import annotations

from typing import Any

import gradio as gr

from induction.ui.components.script import component


def note(value: str = "", *, role: str | None = None, **options: Any) -> gr.HTML:
    """One paragraph, set as text and never read as HTML; no space when empty. ``role="status"``: read aloud."""
    live = f' role="{role}"' if role else ""
    template = f'<p class="ih-note"{live}></p>'
    return component(value, template, "note", **options)


def html(value: str, **options: Any) -> gr.HTML:
    """HTML of the project's own words; whatever else goes into it has passed ``html.escape``."""
    return gr.HTML(value, apply_default_css=False, **options)
