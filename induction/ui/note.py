"""Plain text that may hold anything a visitor wrote: it is set as text, never read as HTML."""

from __future__ import annotations

from typing import Any

import gradio as gr

_JS = """
const paragraph = element.querySelector('p');
const draw = () => { paragraph.textContent = props.value || ''; paragraph.hidden = !props.value; };
watch('value', draw);
draw();
"""


def note(value: str = "", *, role: str | None = None, **options: Any) -> gr.HTML:
    """One paragraph of text; takes no space when empty. ``role="status"`` for news that is read aloud."""
    live = f' role="{role}"' if role else ""
    template = f'<p class="ih-note"{live}></p>'
    return gr.HTML(value, html_template=template, js_on_load=_JS, apply_default_css=False, **options)
