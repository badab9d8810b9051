"""Figures of patching: the map of all heads, patched against clean and corrupted, head sets against random sets."""

from __future__ import annotations

from induction.base import InputError
from induction.patching.interventions import ABLATIONS, COMPONENTS, DIRECTIONS, LOSSES, METRICS
from induction.patching.results import HeadSet, HeadSets, Measure, Patching
from induction.viz import svg
from induction.viz.heat_map import heat_map
from induction.viz.theme import LIGHT, Palette

BARS = 8  # heads in the bar chart
BINS = 20


def origin_line(result: Patching | HeadSets) -> str:
    """Whose figures these are and how they were made, for captions."""
    published = isinstance(result, Patching) and result.kind == "published"
    who = "Published by others" if published else "Computed by this project"
    estimate = " Estimate by attribution patching, not exact." if _estimated(result) else ""
    return f"{result.model}. {who}.{estimate} {result.protocol.rstrip('.')}."


def _caption(result: Patching | HeadSets, caveats: str) -> str:
    """:func:`origin_line`, and what a reader of the metric on show has to know."""
    return f"{origin_line(result)} {caveats}".strip()


def _estimated(result: Patching | HeadSets) -> bool:
    return isinstance(result, Patching) and result.method == "estimate"


def title_of(result: Patching, metric: str) -> str:
    """What the numbers are: ``Denoising, head output: share of the logit difference``."""
    what = f"{DIRECTIONS[result.direction].title}, {COMPONENTS[result.component].title.lower()}"
    estimate = "estimated " if _estimated(result) else ""
    return f"{what}: {estimate}effect on the {METRICS[metric].title.lower()}"


def effects(result: Patching, metric: str) -> list[list[float | None]]:
    """The effect of every head; where every position was patched, that of its strongest position.

    Raises:
        InputError: the metric was not measured.
    """

    def strongest(cell: float | list[float | None] | None) -> float | None:
        if not isinstance(cell, list):
            return cell
        return max((value for value in cell if value is not None), key=abs, default=None)

    return [[strongest(cell) for cell in row] for row in result.effect(metric).mean]


def scale_limit(values: list[list[float | None]]) -> float:
    """The end of the scale: 1, or less where all effects are small, so that the map is not empty."""
    largest = max((abs(value) for row in values for value in row if value is not None), default=1.0)
    return next((end for end in (0.05, 0.1, 0.2, 0.5) if largest <= end), 1.0)


def head_map(
    result: Patching,
    metric: str = "logit_difference",
    *,
    palette: Palette = LIGHT,
    selected: str = "",
    marked: tuple[str, ...] = (),
) -> str:
    """The effect of every head, layers down and heads (or groups of heads) across.

    Raises:
        InputError: the metric was not measured.
    """
    values = effects(result, metric)
    parts, height = heat_map(
        values,
        palette,
        heading=title_of(result, metric),
        limit=scale_limit(values),
        diverging=True,
        selected=selected,
        marked=marked,
        note=f"1 = all of it; layers down, {result.unit}s across",
    )
    title = f"{title_of(result, metric)} of every head of {result.model}"
    return svg.figure(
        parts, palette, title=title, caption=_caption(result, result.caveats(metric)), height=height
    )


def bars(
    result: Patching,
    metric: str = "logit_difference",
    *,
    palette: Palette = LIGHT,
    selected: str = "",
) -> str:
    """Clean, corrupted and patched value for the heads with the largest effect, as means over the pairs.

    Probability where it was measured, because it reads without explanation; heads are those that lead by ``metric``.

    Raises:
        InputError: the metric was not measured, or the effect on it is undefined.
    """
    shown = "probability" if "probability" in result.effects else metric
    effect = result.effect(shown)
    clean, corrupted = effect.plain
    ranked = sorted(result.ranked(metric), key=lambda item: -abs(item[2]))[:BARS]
    if not ranked:
        raise InputError(result.caveats(metric))
    bars_of = [(layer, head, _patched_mean(result, shown, layer, head)) for layer, head, _ in ranked]
    values = [value for _, _, value in bars_of if value is not None]
    low, high = min(0.0, clean, corrupted, *values), max(clean, corrupted, *values)
    margin = 0.12 * (high - low or 1)
    axes = svg.Axes(
        (0, len(ranked)), (low - (margin if low < 0 else 0), high + margin), right=svg.WIDTH - 112
    )
    unit = METRICS[shown].unit
    y_name = METRICS[shown].title + ("" if unit == shown else f" ({unit})")
    parts = _frame(axes, palette, y_name, [result.name(layer, head) for layer, head, _ in bars_of])
    width = (axes.right - axes.left) / len(ranked)
    for at, (layer, head, value) in enumerate(bars_of):
        if value is None:
            continue
        name = result.name(layer, head)
        top, bottom = axes.y(max(value, 0)), axes.y(min(value, 0))
        parts.append(
            svg.tag(
                "rect",
                x=axes.left + (at + 0.18) * width,
                y=top,
                width=0.64 * width,
                height=max(bottom - top, 1.0),
                fill=palette.selected if name == selected else palette.accent,
                data_head=f"{layer}.{head}" if result.unit == "head" else None,
                data_tip=f"{name}: patched {value:.3f}, clean {clean:.3f}, corrupted {corrupted:.3f}",
            )
        )
    places = [("clean", clean, palette.second), ("corrupted", corrupted, palette.muted)]
    ends = sorted(axes.y(value) for _, value, _ in places)
    apart = max(0.0, 26 - (ends[1] - ends[0])) / 2  # two lines of text each
    for name, value, colour in places:
        y = axes.y(value)
        parts.append(
            svg.tag(
                "line",
                x1=axes.left,
                x2=axes.right,
                y1=y,
                y2=y,
                stroke=colour,
                stroke_width=2,
                stroke_dasharray="5 3" if name == "corrupted" else None,
            )
        )
        text_y = y + (-apart if y == ends[0] else apart)
        parts.append(svg.label(axes.right + 6, text_y + 4, f"{name} {value:.2f}", colour, font_weight=600))
    n = len(effect.clean)
    caption = (f"Means over {n} prompt pairs. " if n > 1 else "") + _caption(result, result.caveats(shown))
    title = f"{y_name}: clean {clean:.3f}, corrupted {corrupted:.3f}, and with each head patched"
    return svg.figure(parts, palette, title=title, caption=caption)


def _patched_mean(result: Patching, metric: str, layer: int, head: int) -> float | None:
    """Mean value with one head patched; from the effect where only that was published."""
    effect = result.effect(metric)
    if effect.patched is not None and result.n_positions is None:
        cells = [pair[layer][head] for pair in effect.patched if pair[layer][head] is not None]
        return sum(cells) / len(cells) if cells else None
    share = effects(result, metric)[layer][head]
    if share is None:
        return None
    clean, corrupted = effect.plain
    start, end = (corrupted, clean) if result.direction == "denoise" else (clean, corrupted)
    return start + share * (end - start)


def _frame(
    axes: svg.Axes, palette: Palette, y_name: str, names: list[str], x_name: str = "patched head"
) -> list[str]:
    """Grid lines, and a name below each of the columns."""
    parts = []
    for value in svg.ticks(*axes.y_range):
        y = axes.y(value)
        parts.append(svg.tag("line", x1=axes.left, x2=axes.right, y1=y, y2=y, stroke=palette.line))
        parts.append(
            svg.label(axes.left - 6, y + 4, f"{value:g}", palette.muted, size=svg.SMALL, text_anchor="end")
        )
    for at, name in enumerate(names):
        x = axes.x(at + 0.5)
        parts.append(
            svg.label(x, axes.bottom + 15, name, palette.muted, size=svg.SMALL, text_anchor="middle")
        )
    middle = (axes.left + axes.right) / 2
    parts.append(svg.label(middle, axes.bottom + 32, x_name, palette.ink, text_anchor="middle"))
    parts.append(svg.label(8, axes.top - 14, y_name, palette.ink))
    return parts


def effect_name(result: HeadSets, metric: str) -> str:
    """What the effect of a set is, with its unit: a share when patching, a change when ablating."""
    declared = (METRICS | LOSSES)[metric]
    if result.intervention in ABLATIONS:
        return f"change of {declared.title[0].lower()}{declared.title[1:]} ({declared.unit})"
    return f"effect on the {declared.title.lower()} (share)"


def curve(result: HeadSets, metric: str = "logit_difference", *, palette: Palette = LIGHT) -> str:
    """The effect of the first 1, 2, ... k heads together, and of random sets of the same size.

    Raises:
        InputError: the metric was not measured, or the effect on it is undefined.
    """
    points = [(at + 1, _measure(head_set, metric)) for at, head_set in enumerate(result.sets)]
    own = [(k, measure.effect) for k, measure in points if measure.effect is not None]
    caveats = result.caveats(
        result.sets[0], metric
    )  # sets share pairs and plain runs, and so what is to be said
    if not own:
        raise InputError(caveats)
    bands = [(k, *_band(measure.random)) for k, measure in points if measure.random]
    everything = [value for _, value in own] + [value for _, *values in bands for value in values]
    low, high = min(0.0, *everything), max(1.0, *everything)
    axes = svg.Axes((0, len(points)), (low, high + 0.05 * (high - low)))  # a column for each k
    parts = _frame(
        axes,
        palette,
        effect_name(result, metric),
        [str(k) for k, _ in points],
        "heads patched together, by induction score",
    )
    for k, least, mean, most in bands:
        x = axes.x(k - 0.5)
        tip = f"{k} random heads: mean {mean:.2f}, 95 % of sets {least:.2f} to {most:.2f}"
        stroke = {"stroke": palette.second, "stroke_width": 7, "stroke_opacity": 0.35, "data_tip": tip}
        parts.append(svg.tag("line", x1=x, x2=x, y1=axes.y(least), y2=axes.y(most), **stroke))
        parts.append(svg.tag("circle", cx=x, cy=axes.y(mean), r=3, fill=palette.second))
    parts.append(svg.line(axes, [(k - 0.5, value) for k, value in own], palette.accent))
    for (k, measure), head_set in zip(points, result.sets, strict=True):
        if measure.effect is None:
            continue
        layer, head = head_set.heads[-1]
        tip = f"first {k}, with {layer}.{head}: {measure.effect:.2f}"
        if measure.low is not None and measure.high is not None:
            tip += f" [{measure.low:.2f}, {measure.high:.2f}]"
        parts.append(
            svg.tag(
                "circle",
                cx=axes.x(k - 0.5),
                cy=axes.y(measure.effect),
                r=5,
                fill=palette.accent,
                stroke=palette.paper,
                data_head=f"{layer}.{head}",
                data_tip=tip,
            )
        )
    key = axes.top - 14
    parts.append(
        svg.label(axes.right, key, "first k heads", palette.accent, font_weight=600, text_anchor="end")
    )
    if bands:
        text = "random sets, mean and 95 %"
        parts.append(
            svg.label(axes.right, key + 16, text, palette.second, font_weight=600, text_anchor="end")
        )
    last = own[-1]
    title = f"{last[0]} heads together: {effect_name(result, metric)} {last[1]:.2f}"
    return svg.figure(parts, palette, title=title, caption=_caption(result, caveats))


def distribution(result: HeadSets, metric: str = "logit_difference", *, palette: Palette = LIGHT) -> str:
    """Where the effect of the first set falls among the random sets.

    Raises:
        InputError: no random sets were run, or the effect is undefined.
    """
    measure = _measure(result.sets[0], metric)
    caveats = result.caveats(result.sets[0], metric)
    if measure.effect is None:
        raise InputError(caveats)
    if not measure.random:
        raise InputError("No random sets were run; ask for some to see where this set falls among them.")
    values = [*measure.random, measure.effect]
    low, high = min(0.0, *values), max(0.0, *values)
    pad = 0.06 * (high - low or 1)
    low, high = low - pad, high + pad
    width = (high - low) / BINS
    counts = [0] * BINS
    for value in measure.random:
        counts[min(int((value - low) / width), BINS - 1)] += 1
    axes = svg.Axes((low, high), (0, max(counts) * 1.25))
    parts = svg.frame(axes, palette, x_label=effect_name(result, metric), y_label="number of random sets")
    for at, count in enumerate(counts):
        if count:
            left, top = axes.x(low + at * width), axes.y(count)
            tip = f"{count} random sets between {low + at * width:.3f} and {low + (at + 1) * width:.3f}"
            parts.append(
                svg.tag(
                    "rect",
                    x=left + 0.5,
                    y=top,
                    width=axes.x(low + width) - axes.x(low) - 1,
                    height=axes.bottom - top,
                    fill=palette.second,
                    fill_opacity=0.55,
                    data_tip=tip,
                )
            )
    x = axes.x(measure.effect)
    parts.append(
        svg.tag("line", x1=x, x2=x, y1=axes.top, y2=axes.bottom, stroke=palette.accent, stroke_width=3)
    )
    right = x < (axes.left + axes.right) / 2
    parts.append(
        svg.label(
            x + (6 if right else -6),
            axes.top + 10,
            f"this set {measure.effect:.2f}",
            palette.accent,
            font_weight=600,
            text_anchor="start" if right else "end",
        )
    )
    title = (
        f"This set: {measure.effect:.3f}; {len(measure.random)} random sets: mean "
        f"{sum(measure.random) / len(measure.random):.3f}"
    )
    return svg.figure(parts, palette, title=title, caption=_caption(result, caveats))


def _measure(head_set: HeadSet, metric: str) -> Measure:
    if metric not in head_set.measures:
        raise InputError(f"'{metric}' was not measured; choose from {', '.join(head_set.measures)}.")
    return head_set.measures[metric]


def _band(random: list[float]) -> tuple[float, float, float]:
    """Low end, mean and high end of the middle 95 % of the random sets."""
    ordered = sorted(random)
    cut = int(0.025 * len(ordered))
    return ordered[cut], sum(ordered) / len(ordered), ordered[len(ordered) - 1 - cut]
