"""Back and Forward of the browser: a component without a look that fires ``back``."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import gradio as gr

from induction.ui.components.script import component


def history() -> gr.HTML:
    """Fires ``back``; read where to with :func:`query_of`."""
    return component(None, "<span hidden></span>", "history", "back", elem_id="history")


def query_of(event: gr.EventData) -> dict[str, Any]:
    """The parameters of the address that was gone to, of which nothing is checked yet."""
    query = event._data.get("query")
    try:
        return dict(parse_qsl(str(query).removeprefix("?"), max_num_fields=200))
    except ValueError:  # more fields than any address of this page has
        return {}
