"""Bars of the earlier heads of one head: composition of their weights, and effect of the paths between them."""

from __future__ import annotations

import plotly.graph_objects as go

from induction.base import InputError, head_name
from induction.circuit.results import INPUTS, Composition, Paths, signed
from induction.viz import frame
from induction.viz.theme import LIGHT, Palette

BARS = 12
ROW = 22  # pixels from one bar to the next

Row = tuple[str, float, tuple[float, float] | None]  # earlier head, value, interval


def composition_bars(
    composition: Composition, model: str, *, through: str = "k", palette: Palette = LIGHT, selected: str = ""
) -> go.Figure:
    """Composition with the strongest earlier heads, and what random heads of this shape score as a line and band.

    Args:
        selected: a head (``4.11``) or an edge (``4.11>5.1``).

    Raises:
        InputError: that input was not computed.
    """
    if through not in composition.measured:
        raise InputError(
            f"Composition through {INPUTS[through].title.lower()} is not known here; choose from "
            f"{', '.join(INPUTS[name].title.lower() for name in composition.measured)}."
        )
    grid, receiver = composition.measured[through], head_name((composition.layer, composition.head))
    cells = [
        (head_name((layer, head)), value, None)
        for layer, row in enumerate(grid)
        for head, value in enumerate(row)
    ]
    rows: list[Row] = sorted(cells, key=lambda cell: -cell[1])[:BARS]
    figure = _bars(rows, receiver, palette, selected, digits=4)
    random, deviation = composition.baseline, composition.baseline_deviation
    frame.level(figure, f"random heads {random:.4f} ± {deviation:.4f}", palette.ink, dash="dash", x=random)
    band = {"x0": random - deviation, "x1": random + deviation, "y0": 0, "y1": 1, "yref": "y domain"}
    figure.add_shape(type="rect", fillcolor=palette.ink, opacity=0.15, line_width=0, **band)
    name = f"{through.upper()}-composition"
    figure.update_xaxes(title_text=f"{name} with {receiver} (0 to 1)", rangemode="tozero")
    who = "Computed by this project" if composition.kind == "computed" else "From published weights"
    return frame.finish(
        figure,
        palette,
        title=f"{name} with head {receiver}",
        spoken=f"{name} of earlier heads with head {receiver} of {model}",
        protocol=f"{model}, {composition.origin}. {who}. {composition.definition.rstrip('.')}.",
        plot=ROW * max(len(rows), 3),
        drag=False,
    )


def path_bars(
    paths: Paths,
    model: str,
    *,
    through: str = "k",
    measure: str = "attention",
    palette: Palette = LIGHT,
    selected: str = "",
) -> go.Figure:
    """Effect of the path from the strongest earlier heads, with 95 % intervals over prompt pairs.

    Raises:
        InputError: that input was not patched, or the effect is undefined.
    """
    ranked = sorted(paths.ranked(through, measure), key=lambda cell: -abs(cell[2]))[:BARS]
    if not ranked:
        raise InputError(paths.caveats())
    effect = paths.effects[through][measure]
    rows: list[Row] = [
        (head_name((layer, head)), value, effect.interval(layer, head)) for layer, head, value in ranked
    ]
    receiver, inputs = head_name((paths.layer, paths.head)), INPUTS[through].title.lower()
    figure = _bars(rows, receiver, palette, selected)
    what = "attention to the target" if measure == "attention" else "share of the answer"
    figure.update_xaxes(title_text=f"effect through {inputs} ({what})")
    return frame.finish(
        figure,
        palette,
        title=f"Paths into head {receiver} through {inputs}",
        spoken=f"Path patching into head {receiver} of {model} through {inputs}",
        protocol=f"{model}, head {receiver}. {_protocol(paths, through, measure)}",
        plot=ROW * max(len(rows), 3),
        drag=False,
    )


def _protocol(paths: Paths, through: str, measure: str) -> str:
    whole = paths.effects[through][measure].whole
    together = "" if whole is None else f" Everything that this input reads together: {signed(whole)}."
    unit, bars, caveats = "Attention", "means, lines 95 % t-intervals", ""
    if measure == "answer":
        unit, bars = (
            "Logit difference",
            "ratios of means over the pairs, lines their 95 % intervals (Fieller)",
        )
        caveats = paths.caveats() and f" {paths.caveats()}"
    return (
        f"{paths.protocol}; bars are {bars}. {unit} {paths.clean[measure]:.2f} in the clean runs, "
        f"{paths.corrupted[measure]:.2f} in the corrupted ones.{together}{caveats}"
    )


def _bars(rows: list[Row], receiver: str, palette: Palette, selected: str, digits: int = 3) -> go.Figure:
    """Horizontal bars, one per earlier head, the first on top."""
    names, values = [name for name, _, _ in rows], [value for _, value, _ in rows]
    intervals = [ends for _, _, ends in rows]

    def words(value: float, ends: tuple[float, float] | None) -> str:
        bounds = f" [{signed(ends[0], digits)}, {signed(ends[1], digits)}]" if ends else ""
        return signed(value, digits) + bounds

    figure = go.Figure(
        go.Bar(
            x=values,
            y=names,
            orientation="h",
            error_x=frame.error_bars(values, intervals, palette.ink),
            customdata=[[name, value, *(ends or (None, None))] for name, value, ends in rows],
            hovertext=[f"{name} into {receiver}: {words(value, ends)}" for name, value, ends in rows],
            hoverinfo="text",
            marker={
                "color": [
                    palette.selected if selected in (name, f"{name}>{receiver}") else palette.accent
                    for name in names
                ]
            },
            **{"name": "earlier head", "showlegend": False, "meta": {"pick": "head"}},
        )
    )
    figure.update_xaxes(zeroline=True)
    figure.update_yaxes(title_text="earlier head", type="category", autorange="reversed", dtick=1)
    return figure
