"""Components of the page's own: their scripts are sent once, in the page's head, and each component starts its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

import gradio as gr

FOLDER = Path(__file__).parent
#: What the others call.
SHARED = ("scale.js", "heads.js", "address.js", "keys.js", "terms.js", "pictures.js", "chart.js")


def component(
    value: Any, template: str, name: str, *events: str, packed: bool = False, **options: Any
) -> gr.HTML:
    """A component that runs ``<name>.js`` on its template; see :func:`head`.

    A function and not a subclass of ``gr.HTML``: Gradio writes a ``.pyi`` file beside every subclass.

    Args:
        events: that its script fires. Gradio looks for their names, in quotes, in what starts it.
        packed: the value travels, and lies in the page, as a text that only the component's script unpacks. Gradio
            copies the values of all components again and again, which takes time where they are large.
    """
    server = "typeof server === 'undefined' ? null : server"
    fires = ", ".join(f"'{event}'" for event in events)
    given = "window.ih.unpacked(props)" if packed else "props"
    start = f"window.ih.{name}(element, {given}, trigger, watch, {server});  // fires {fires}"
    first = pack(value) if packed else value
    made = gr.HTML(first, html_template=template, js_on_load=start, apply_default_css=False, **options)
    if packed:
        _is_packed.add(made)
    return made


_is_packed: WeakSet[gr.HTML] = WeakSet()


def pack(value: Any) -> Any:
    """A value as the text that travels; updates of other properties, and texts, stay as they are."""
    if not isinstance(value, dict) or "__type__" in value:
        return value
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def packing(components: Sequence[Any], values: Any) -> Any:
    """What a function returns for these components, with the values packed of those that unpack them."""
    if len(components) == 1:
        return pack(values) if components[0] in _is_packed else values
    return [
        pack(value) if one in _is_packed else value for one, value in zip(components, values, strict=True)
    ]


def head(setup: dict[str, Any]) -> str:
    """The page's head: every component's script as a function of ``window.ih``.

    Args:
        setup: what scripts have to know, which is their ``PAGE``: ``plotly``, and the ``model`` and ``head`` that are
            on show at first.
    """
    shared = "".join(_read(FOLDER / name) for name in SHARED)
    own = [path for path in sorted(FOLDER.glob("*.js")) if path.name not in SHARED]
    functions = ",\n".join(
        f"{path.stem}(element, props, trigger, watch, server) {{\n{_read(path)}}}" for path in own
    )
    given = f"const PAGE = {json.dumps(setup)};\n"
    # To events of the page, and to components.
    offered = (
        f"unpacked, selectHead, selectedHead, pickAdds, toggled, address, arrive, whenArrived,\n{functions}"
    )
    return f"<script>\nwindow.ih = (() => {{\n{given}{shared}return {{\n{offered}\n}};\n}})();\n</script>"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
