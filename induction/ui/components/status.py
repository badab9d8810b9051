"""Where a piece of work stands: a progress bar and one line of text, read aloud politely."""

from __future__ import annotations

from typing import Any, Literal

import gradio as gr

from induction.base import Progress
from induction.ui.components.script import component

State = Literal["idle", "stale", "running", "done", "cancelled", "error"]

_HTML = (
    '<div class="ih-status"><div class="ih-progress" role="progressbar" aria-label="Progress" '
    'aria-valuemin="0" aria-valuemax="100"><span></span></div><p role="status"></p></div>'
)


def status(value: dict[str, Any] | None = None, **options: Any) -> gr.HTML:
    """A progress bar with a line under it; its value comes from :func:`running` or :func:`stopped`."""
    return component(value, _HTML, "status", **options)


def running(step: Progress[Any]) -> dict[str, Any]:
    """The bar at a step of the work."""
    share = step.done / step.total if step.total else None
    return {"state": "running", "share": share, "text": step.label}


def waiting(text: str) -> dict[str, Any]:
    """Work whose length nobody knows, such as loading a model."""
    return {"state": "running", "share": None, "text": text}


def stopped(state: State, text: str) -> dict[str, Any]:
    """The end of the work, or its absence, in words."""
    return {"state": state, "share": 1 if state == "done" else 0, "text": text}
