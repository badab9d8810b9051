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

from gradio.events import Dependency

class Note(gr.HTML):
    """One paragraph of text; takes no space when empty. ``role`` is ``status`` for news, else None."""

    def __init__(self, value: str = "", *, role: str | None = None, **options: Any) -> None:
        live = f' role="{role}"' if role else ""
        super().__init__(
            value=value,
            html_template=f'<p class="ih-note"{live}></p>',
            js_on_load=_JS,
            apply_default_css=False,
            **options,
        )
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component
