"""Controls of the page from settings: the kind of control, its title, help and limits come from each field."""

from __future__ import annotations

from typing import Any

import gradio as gr

from induction.experiment import Settings, limits, ours, title_of

LONG = 1000  # characters from which on a text gets several lines


def control(settings: type[Settings], name: str, **options: Any) -> gr.components.Component:
    """The control of one field; ``options`` replace what follows from it."""
    field = settings.model_fields[name]
    choices, (low, high) = ours(field)["choices"], limits(field)
    given: dict[str, Any] = {
        "value": field.default,
        "label": field.title,
        "info": field.description,
        "min_width": 140,
    }
    if choices is not None:
        titled = not any(isinstance(choice, str) for choice in choices.values())
        given["choices"] = (
            [(title_of(choices, choice), choice) for choice in choices] if titled else list(choices)
        )
        return (gr.Radio if titled else gr.Dropdown)(**given | options)
    if field.annotation is bool:
        return gr.Checkbox(**given | options)
    if field.annotation is str:
        lines = {"lines": 2, "max_lines": 6} if (high or 0) >= LONG else {}
        return gr.Textbox(**given | lines | options)
    if low is not None and high is not None:
        given["info"] = f"{field.description}, {low:,} to {high:,}"
    if name == "seed":
        given["info"] = field.description
    return gr.Number(**given | {"precision": 0 if field.annotation is int else None} | options)


def controls(settings: type[Settings], *names: str) -> dict[str, gr.components.Component]:
    """Controls of these fields (default all) in their order."""
    return {name: control(settings, name) for name in names or settings.model_fields}


def asked(settings: type[Settings], values: dict[str, Any]) -> Settings:
    """The settings that controls, or a browser's request, ask for; what else is among the values is left out.

    Raises:
        InputError: a value of another type, an unknown choice or an exceeded limit.
    """
    return settings(**{name: values[name] for name in settings.model_fields if name in values}).served()
