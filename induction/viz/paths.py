"""Bars of the earlier heads of one head: composition of their weights, and effect of the paths between them."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from induction.base import InputError, check_choice, head_name
from induction.circuit.results import INPUTS, Composition, Paths, signed
from induction.viz import frame
from induction.viz.theme import LIGHT, Palette

BARS = 12
ROW = 22  # pixels from one bar to the next

Row = tuple[str, float, float | None, float | None]  # earlier head, value, ends of its interval


def composition_bars(
    composition: Composition, model: str, *, through: str = "k", palette: Palette = LIGHT, selected: str = ""
) -> go.Figure:
    """Composition with the strongest earlier heads, and what random heads of this shape score as a line and band.

    Args:
        selected: a head (``4.11``) or an edge (``4.11>5.1``).

    Raises:
        InputError: that input was not computed.
    """
    check_choice(through, tuple(INPUTS), "input")
    if through not in composition.measured:
        raise InputError(
            f"Composition through {INPUTS[through].title.lower()} is not known here; choose from "
            f"{', '.join(INPUTS[name].title.lower() for name in composition.measured)}."
        )
    grid, receiver = composition.measured[through], head_name((composition.layer, composition.head))
    cells: list[Row] = [
        (head_name((layer, head)), value, None, None)
        for layer, row in enumerate(grid)
        for head, value in enumerate(row)
    ]
    rows = sorted(cells, key=lambda cell: -cell[1])[:BARS]
    random, deviation = composition.baseline, composition.baseline_deviation
    name = f"{through.upper()}-composition"
    who = "Computed by this project" if composition.kind == "computed" else "From published weights"
    return _chart(
        rows,
        receiver,
        palette,
        selected,
        digits=4,
        title=f"{name} with head {receiver}",
        spoken=f"{name} of earlier heads with head {receiver} of {model}",
        protocol=f"{model}, {composition.origin}. {who}. {composition.definition.rstrip('.')}.",
        x=frame.axis(f"{name} with {receiver} (0 to 1)", rangemode="tozero"),
        shapes=[
            frame.level(f"random heads {random:.4f} ± {deviation:.4f}", palette.ink, dash="dash", x=random),
            frame.band(random - deviation, random + deviation, palette.ink, opacity=0.15),
        ],
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
        (head_name((layer, head)), value, *(effect.interval(layer, head) or (None, None)))
        for layer, head, value in ranked
    ]
    receiver, inputs = head_name((paths.layer, paths.head)), INPUTS[through].title.lower()
    what = "attention to the target" if measure == "attention" else "share of the answer"
    return _chart(
        rows,
        receiver,
        palette,
        selected,
        title=f"Paths into head {receiver} through {inputs}",
        spoken=f"Path patching into head {receiver} of {model} through {inputs}",
        protocol=f"{model}, head {receiver}. {_protocol(paths, through, measure)}",
        x=frame.axis(f"effect through {inputs} ({what})"),
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


def _chart(
    rows: list[Row], receiver: str, palette: Palette, selected: str, *, digits: int = 3, **shown: Any
) -> go.Figure:
    """Horizontal bars, one per earlier head, the first on top."""
    names, values, low, high = zip(*rows, strict=True) if rows else ((), (), (), ())

    def words(value: float, low: float | None, high: float | None) -> str:
        bounds = "" if low is None or high is None else f" [{signed(low, digits)}, {signed(high, digits)}]"
        return signed(value, digits) + bounds

    bars = frame.head_bars(
        rows,
        [f"{name} into {receiver}: {words(*numbers)}" for name, *numbers in rows],
        [selected, selected.removesuffix(f">{receiver}")],
        palette,
        x=values,
        y=names,
        orientation="h",
        error_x=frame.error_bars(values, low, high, palette.ink),
        meta={"pick": "head"},
    )
    y = frame.axis("earlier head", type="category", autorange="reversed", dtick=1)
    return frame.chart([bars], palette, y=y, plot=ROW * max(len(rows), 3), drag=False, **shown)
