"""Bars of the earlier heads of one head: composition of their weights, and effect of the paths between them."""

from __future__ import annotations

from induction.base import Head, InputError, head_name
from induction.circuit.results import INPUTS, Composition, Paths, signed
from induction.viz import svg
from induction.viz.theme import LIGHT, MONO, Palette

BARS = 12


def composition_bars(
    composition: Composition, model: str, *, through: str = "k", palette: Palette = LIGHT, selected: str = ""
) -> str:
    """Composition with the strongest earlier heads, and what random heads of this shape score as a line.

    Raises:
        InputError: that input was not computed.
    """
    if through not in composition.measured:
        raise InputError(
            f"Composition through {INPUTS[through].title.lower()} is not known here; choose from "
            f"{', '.join(INPUTS[name].title.lower() for name in composition.measured)}."
        )
    grid = composition.measured[through]
    cells = [((layer, head), value) for layer, row in enumerate(grid) for head, value in enumerate(row)]
    cells.sort(key=lambda cell: -cell[1])
    name = head_name((composition.layer, composition.head))
    letter = through.upper()
    parts, axes = _bars(
        [(head, value, None) for head, value in cells[:BARS]],
        f"{letter}-composition with {name}",
        palette,
        selected,
        high=max(cells[0][1], composition.baseline) if cells else 1.0,
        receiver=name,
    )
    x = axes.x(composition.baseline)
    parts.append(
        svg.tag(
            "line",
            x1=x,
            x2=x,
            y1=axes.top - 8,
            y2=axes.bottom,
            stroke=palette.ink,
            stroke_width=1.5,
            stroke_dasharray="4 3",
        )
    )
    parts.append(
        svg.label(
            x + 4,
            axes.top - 3,
            f"random heads {composition.baseline:.4f} ± {composition.baseline_deviation:.4f}",
            palette.ink,
            size=svg.SMALL,
        )
    )
    who = "Computed by this project" if composition.kind == "computed" else "From published weights"
    caption = f"{model}, {composition.origin}. {who}. {composition.definition.rstrip('.')}."
    title = f"{letter}-composition of earlier heads with head {name} of {model}"
    return svg.figure(parts, palette, title=title, caption=caption, height=axes.bottom + 42)


def path_bars(
    paths: Paths,
    model: str,
    *,
    through: str = "k",
    measure: str = "attention",
    palette: Palette = LIGHT,
    selected: str = "",
) -> str:
    """Effect of the path from the strongest earlier heads, with 95 % intervals over prompt pairs.

    Raises:
        InputError: that input was not patched, or the effect is undefined.
    """
    ranked = sorted(paths.ranked(through, measure), key=lambda cell: -abs(cell[2]))[:BARS]
    if not ranked:
        raise InputError(paths.caveats())
    effect = paths.effects[through][measure]
    rows = [((layer, head), value, effect.interval(layer, head)) for layer, head, value in ranked]
    name = head_name((paths.layer, paths.head))
    what = "attention to the target" if measure == "attention" else "share of the answer"
    ends = [abs(end) for _, value, interval in rows for end in (value, *(interval or ()))]
    parts, axes = _bars(
        rows,
        f"effect through {INPUTS[through].title.lower()} ({what})",
        palette,
        selected,
        high=max(*ends, 0.05),
        low=min(0.0, *(end for _, value, interval in rows for end in (value, *(interval or ())))),
        receiver=name,
    )
    whole = (
        "" if effect.whole is None else f" Everything that this input reads together: {signed(effect.whole)}."
    )
    clean, corrupted = paths.clean[measure], paths.corrupted[measure]
    unit = "attention" if measure == "attention" else "logit difference"
    bars = "means, lines 95 % t-intervals"
    caveats = ""
    if measure == "answer":
        bars = "ratios of means over the pairs, lines their 95 % intervals (Fieller)"
        caveats = paths.caveats() and f" {paths.caveats()}"
    caption = (
        f"{model}, head {name}. {paths.protocol}; bars are {bars}. {unit.capitalize()} {clean:.2f} in the clean runs, "
        f"{corrupted:.2f} in the corrupted ones.{whole}{caveats}"
    )
    title = f"Path patching into head {name} of {model} through {INPUTS[through].title.lower()}"
    return svg.figure(parts, palette, title=title, caption=caption, height=axes.bottom + 42)


def _bars(
    rows: list[tuple[Head, float, tuple[float, float] | None]],
    label: str,
    palette: Palette,
    selected: str,
    *,
    high: float,
    low: float = 0.0,
    receiver: str,
) -> tuple[list[str], svg.Axes]:
    """Horizontal bars, one per sending head."""
    height, top = 19.0, 26.0
    axes = svg.Axes((low * 1.05, high * 1.05), (0, 1), left=58, top=top, bottom=top + height * len(rows))
    parts = []
    for value in svg.ticks(*axes.x_range, about=5):
        x = axes.x(value)
        parts.append(
            svg.tag("line", x1=x, x2=x, y1=axes.top, y2=axes.bottom, stroke=palette.line, stroke_width=1)
        )
        parts.append(
            svg.label(x, axes.bottom + 15, f"{value:g}", palette.muted, size=svg.SMALL, text_anchor="middle")
        )
    middle = (axes.left + axes.right) / 2
    parts.append(svg.label(middle, axes.bottom + 33, label, palette.ink, text_anchor="middle"))
    for index, (head, value, interval) in enumerate(rows):
        name = head_name(head)
        y = axes.top + (index + 0.5) * height
        zero, end = axes.x(0), axes.x(value)
        chosen = selected in (name, f"{name}>{receiver}")
        tip = f"{name} into {receiver}: {signed(value)}"
        parts.append(
            svg.label(
                axes.left - 8,
                y + 4,
                name,
                palette.selected if chosen else palette.ink,
                size=svg.SMALL,
                text_anchor="end",
                font_family=MONO,
            )
        )
        parts.append(
            svg.tag(
                "rect",
                x=min(zero, end),
                y=y - 6,
                width=max(abs(end - zero), 0.5),
                height=12,
                fill=palette.selected if chosen else palette.accent,
                data_head=name,
                data_tip=tip if interval is None else f"{tip} [{signed(interval[0])}, {signed(interval[1])}]",
            )
        )
        if interval:
            parts.append(
                svg.tag(
                    "line",
                    x1=axes.x(interval[0]),
                    x2=axes.x(interval[1]),
                    y1=y,
                    y2=y,
                    stroke=palette.ink,
                    stroke_width=1.4,
                    pointer_events="none",
                )
            )
    parts.append(
        svg.tag(
            "line",
            x1=axes.x(0),
            x2=axes.x(0),
            y1=axes.top,
            y2=axes.bottom,
            stroke=palette.muted,
            stroke_width=1,
        )
    )
    return parts, axes
