"""The grid of heads, drawn by hand: its cells are real buttons, for keyboard and screen reader, as no chart has them.

``grid.pick(fn, ...)`` fires when a cell is clicked or entered; read the head with :func:`picked`.
"""

from __future__ import annotations

from typing import Any, Literal

import gradio as gr

from induction.ui import links
from induction.ui.components.script import component

Grid = list[list[float]] | list[list[float | None]]

GRID = (
    '<div class="ih-grid"></div><div class="ih-legend" hidden></div>'
    '<div class="ih-tip" role="tooltip" hidden></div>'
)


def head_grid(value: dict[str, Any] | None = None, **options: Any) -> gr.HTML:
    """A grid of real buttons with arrow keys and tooltips; its value comes from :func:`grid_value`."""
    return component(value, GRID, "head_grid", "pick", packed=True, elem_classes=["ih-grid-block"], **options)


def grid_value(
    values: Grid | None,
    *,
    title: str,
    low: Grid | None = None,
    high: Grid | None = None,
    std: Grid | None = None,
    chance: float | None = None,
    scale: Literal["sequential", "diverging"] = "sequential",
    limit: float = 1.0,
    marked: list[str] | None = None,
    notes: dict[str, str] | None = None,
    missing: str = "not measured",
    height: float | None = None,
    another: bool = False,
) -> dict[str, Any]:
    """What a :func:`head_grid` shows.

    Args:
        values: ``[layer][head]``; None entries are drawn as not measured. None: an empty grid that says ``missing``.
        title: name of the figure, for tooltips and screen readers.
        low, high: 95 % interval per head; ``std`` is shown where there is no interval.
        chance: level of uniform attention.
        scale: ``sequential`` for 0..limit, ``diverging`` for -limit..limit.
        marked: heads of a set, outlined.
        notes: one more line in the tooltip of a head.
        height: of all layers together in rem, so that two grids share their axis; default :func:`natural_height`.
        another: its heads are not those of the model on show: none is marked as selected.
    """
    if not values:
        return {"missing": missing}
    return {
        "n_layers": len(values),
        "n_heads": len(values[0]),
        "values": values,
        "low": low,
        "high": high,
        "std": std,
        "chance": chance,
        "title": title,
        "scale": scale,
        "limit": limit,
        "marked": marked or [],
        "notes": notes or {},
        "missing": missing,
        "height": height or natural_height(len(values)),
        "another": another,
    }


def natural_height(n_layers: int) -> float:
    """Of all layers together, in rem: rows that a finger hits, in a grid that fits a screen if it can."""
    return n_layers * min(max(1.5, 28 / n_layers), 4.0)


def picked(event: gr.EventData) -> str:
    """The head of a ``pick`` event as ``"5.1"``, or an empty string where the client sent nonsense."""
    layer, head = event._data.get("layer"), event._data.get("head")
    if not all(isinstance(index, int) and 0 <= index < 1000 for index in (layer, head)):
        return ""
    return links.format_head(layer, head)
