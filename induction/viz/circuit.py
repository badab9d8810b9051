"""Figures of a circuit: heads that feed on the left, heads that are fed on the right, and a short example.

Marks carry ``data-head`` (``5.1``) or ``data-edge`` (``4.11>5.1``) for clicks, and ``data-tip`` for their numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from induction.errors import InputError
from induction.interventions import Head, head_name
from induction.kinds import KINDS
from induction.results.circuit import (
    INPUTS,
    MEASURES,
    Circuit,
    Composition,
    Example,
    Paths,
    Receiver,
    signed,
)
from induction.viz import svg
from induction.viz.theme import LIGHT, MONO, Palette

SENDERS = 8  # rows on the left
FEEDING = 0.01  # an effect below it is not drawn
COMPOSING = 1.5  # composition is drawn from so many times the random baseline on
ROW, NODE_HEIGHT, NODE_WIDTH = 44.0, 36.0, 136.0
LEFT, RIGHT, TOP = 8.0, svg.WIDTH - 8.0 - NODE_WIDTH, 50.0
WIDEST = 9.0
BARS = 12
SHOWN_CHARACTERS = 7


@dataclass(frozen=True)
class Edge:
    """One sender of one receiver: effect through an input (None where undefined) and composition."""

    sender: Head
    receiver: Head
    effect: float | None
    composition: float | None
    baseline: float

    @property
    def name(self) -> str:
        return f"{head_name(self.sender)}>{head_name(self.receiver)}"

    @property
    def feeds(self) -> bool:
        return self.effect is not None and abs(self.effect) >= FEEDING

    @property
    def composes(self) -> bool:
        return self.composition is not None and self.composition >= COMPOSING * self.baseline


def edges(circuit: Circuit, *, through: str = "k", measure: str = "attention") -> list[Edge]:
    """Every sender of every receiver that was measured, strongest effect first (where known, else composition).

    Raises:
        InputError: the input or measure was not patched.
    """
    found = []
    for receiver in circuit.receivers:
        if receiver.composition is None:
            continue
        composed = receiver.composition.measured.get(through)
        effects = None
        if receiver.paths is not None:
            receiver.paths.ranked(through, measure)  # says what is missing
            effects = receiver.paths.effects[through][measure].mean
        for layer in range(receiver.layer):
            for head in range(circuit.n_heads):
                found.append(
                    Edge(
                        (layer, head),
                        (receiver.layer, receiver.head),
                        effects[layer][head] if effects else None,
                        composed[layer][head] if composed else None,
                        receiver.composition.baseline,
                    )
                )
    return sorted(found, key=lambda edge: (-abs(edge.effect or 0.0), -(edge.composition or 0.0)))


def senders(circuit: Circuit, found: list[Edge]) -> list[Head]:
    """Heads for the left side, by layer: feeders, the best composer of each receiver, previous-token heads."""
    chosen = [edge.sender for edge in found if edge.feeds]
    for receiver in dict.fromkeys(edge.receiver for edge in found):
        best = max(
            (edge for edge in found if edge.receiver == receiver), key=lambda edge: edge.composition or 0
        )
        chosen += [best.sender] if best.composes else []
    last = max((edge.receiver[0] for edge in found), default=0)
    scores = circuit.scores["previous_token"]
    previous = [head for head in circuit.of_kind("previous_token") if head[0] < last]
    chosen += sorted(previous, key=lambda head: -scores[head[0]][head[1]])
    return sorted(list(dict.fromkeys(chosen))[:SENDERS])


def diagram(
    circuit: Circuit,
    *,
    through: str = "k",
    measure: str = "attention",
    palette: Palette = LIGHT,
    selected: str = "",
) -> str:
    """The circuit: senders left, receivers right, edges as wide as the effect of their path, an example beneath.

    Args:
        through: which input of the receivers, ``q``, ``k`` or ``v``.
        measure: ``attention`` or ``answer``.
        selected: a head (``5.1``) or an edge (``4.11>5.1``) to mark.

    Raises:
        InputError: there is no receiver with earlier heads, or the input was not patched.
    """
    if circuit.n_layers == 1:
        raise InputError(
            f"{circuit.model} has one layer: no head is earlier than another, so there is no circuit to draw."
        )
    if not any(receiver.composition for receiver in circuit.receivers):
        raise InputError(
            f"No induction head was found in {circuit.model}, so there is no circuit to draw; choose a head of a "
            "later layer to see what feeds it."
        )
    found = edges(circuit, through=through, measure=measure)
    left = senders(circuit, found)
    right = sorted((receiver for receiver in circuit.receivers if receiver.composition), key=_place)
    rows = max(len(left), len(right), 1)
    left_at = {head: _y(index, len(left), rows) for index, head in enumerate(left)}
    right_at = {_place(receiver): _y(index, len(right), rows) for index, receiver in enumerate(right)}
    parts = [
        svg.label(LEFT, 18, "Writes “the token before me”", palette.ink, font_weight=600),
        svg.label(
            svg.WIDTH - 8, 18, "Completes the pattern", palette.ink, font_weight=600, text_anchor="end"
        ),
        svg.label(
            svg.WIDTH / 2,
            36,
            f"read through {INPUTS[through].title.lower()}",
            palette.muted,
            size=svg.SMALL,
            text_anchor="middle",
        ),
    ]
    drawn = [edge for edge in found if edge.sender in left_at and (edge.feeds or edge.composes)]
    widest = max((abs(edge.effect or 0.0) for edge in drawn if edge.feeds), default=0.0)
    for edge in reversed(drawn):  # the strongest on top
        parts += _edge(
            edge, left_at[edge.sender], right_at[edge.receiver], widest, measure, palette, selected
        )
    for head, y in left_at.items():
        score = circuit.scores["previous_token"][head[0]][head[1]]
        parts += _node(circuit, head, LEFT, y, f"previous token {score:.2f}", palette, selected)
    for head, y in right_at.items():
        score = circuit.scores["induction"][head[0]][head[1]]
        parts += _node(circuit, head, RIGHT, y, f"induction {score:.2f}", palette, selected)
    bottom = TOP + rows * ROW + 4
    parts += _legend(circuit, bottom, widest, measure, palette)
    bottom += 44
    if circuit.example:
        parts += _example(
            circuit.example, bottom, _shown_best(circuit.example, found, selected), circuit, palette
        )
        bottom += 128
    title = f"Circuit of {circuit.model}: which earlier heads feed its induction heads through " + (
        INPUTS[through].title.lower()
    )
    caption = (
        f"{circuit.model}, {circuit.origin}. {MEASURES[measure].meaning} Path patching, {circuit.protocol}, means over "
        f"pairs; effects below {FEEDING:g} are not drawn. Scores: {circuit.scan_protocol.rstrip('.')}."
    )
    if circuit.kind == "published":
        caption = f"{circuit.model}, {circuit.origin}. {circuit.protocol}. Scores: {circuit.scan_protocol.rstrip('.')}."
    return svg.figure(parts, palette, title=title, caption=caption, height=bottom, role="group")


def _shown_best(example: Example, found: list[Edge], selected: str) -> Edge | None:
    """The path whose two steps the example shows: the selected one, else a strong one that it shows well."""

    def strength(edge: Edge) -> float:
        (a, b), (c, d) = edge.sender, edge.receiver
        return abs(edge.effect or 0.0) * example.step_back[a][b] * example.step_on[c][d]

    feeding = [edge for edge in found if edge.feeds]
    chosen = [edge for edge in feeding if edge.name == selected]
    return max(chosen or feeding, key=strength, default=None)


def _place(receiver: Receiver) -> Head:
    return receiver.layer, receiver.head


def _y(index: int, count: int, rows: int) -> float:
    """Middle of the index-th of ``count`` nodes, spread evenly over the height of ``rows``."""
    return TOP + (index + 0.5) * rows / count * ROW


def _node(
    circuit: Circuit, head: Head, x: float, y: float, score: str, palette: Palette, selected: str
) -> list[str]:
    name = head_name(head)
    kind = KINDS[circuit.kinds[head[0]][head[1]]]
    chosen = name == selected
    known = kind.name in ("previous_token", "induction")
    direct = circuit.direct[head[0]][head[1]]
    tip = f"head {name}, {kind.title.lower()}: {score}, direct effect {signed(direct, 2)} logits"
    return [
        svg.tag(
            "rect",
            x=x,
            y=y - NODE_HEIGHT / 2,
            width=NODE_WIDTH,
            height=NODE_HEIGHT,
            rx=4,
            fill=palette.raised,
            stroke=palette.selected if chosen else palette.accent if known else palette.muted,
            stroke_width=2.5 if chosen else 1.5,
            stroke_dasharray=None if known or chosen else "4 3",
            data_head=name,
            data_tip=tip,
            **_reachable(tip),
        ),
        svg.label(
            x + 10,
            y - 2,
            name,
            palette.selected if chosen else palette.ink,
            font_family=MONO,
            font_weight=600,
            pointer_events="none",
        ),
        svg.label(
            x + 10,
            y + 12,
            score,
            palette.muted,
            size=svg.SMALL,
            pointer_events="none",
        ),
    ]


def _reachable(tip: str) -> dict[str, object]:
    """What makes a mark a button that the keyboard reaches."""
    return {"tabindex": 0, "role": "button", "aria_label": tip}


def _edge(
    edge: Edge, from_y: float, to_y: float, widest: float, measure: str, palette: Palette, selected: str
) -> list[str]:
    start, end = LEFT + NODE_WIDTH, RIGHT

    def path(shift: float) -> str:
        a, b, third = from_y + shift, to_y + shift, (end - start) / 2.2
        return (
            f"M{start:.1f} {a:.1f} C{start + third:.1f} {a:.1f} {end - third:.1f} {b:.1f} {end:.1f} {b:.1f}"
        )

    chosen = edge.name == selected
    tip = f"{head_name(edge.sender)} into {head_name(edge.receiver)}: "
    tip += "effect not known" if edge.effect is None else f"effect on the {measure} {signed(edge.effect)}"
    if edge.composition is not None:
        tip += f", composition {edge.composition:.3f} (random {edge.baseline:.3f})"
    marks = []
    width = 0.0
    if edge.feeds and edge.effect is not None:
        width = max(1.0, WIDEST * abs(edge.effect) / widest)
        colour = palette.accent if edge.effect > 0 else palette.diverging[0]
        marks.append(
            svg.tag(
                "path",
                d=path(0),
                fill="none",
                stroke=palette.selected if chosen else colour,
                stroke_width=width,
                stroke_opacity=1 if chosen else 0.8,
            )
        )
    if edge.composes:
        marks.append(
            svg.tag(
                "path",
                d=path(width / 2 + 3),
                fill="none",
                stroke=palette.selected if chosen else palette.second,
                stroke_width=min(2.0, 0.5 * (edge.composition or 0.0) / edge.baseline),
                stroke_dasharray="5 3",
            )
        )
    # A line of one unit is hard to hit: an invisible one of comfortable width takes the pointer.
    marks.append(
        svg.tag(
            "path",
            d=path(0),
            fill="none",
            stroke="transparent",
            stroke_width=max(12.0, width),
            pointer_events="stroke",
            data_edge=edge.name,
            data_tip=tip,
            **_reachable(tip),
        )
    )
    return marks


def _legend(circuit: Circuit, y: float, widest: float, measure: str, palette: Palette) -> list[str]:
    what = "attention to the target" if measure == "attention" else "the answer"
    effect = f"path patching: effect on {what}, widest {widest:.2f}"
    if circuit.kind == "published":
        effect = "path patching: not measured, these are published weights alone"
    elif not widest:
        effect = f"path patching: no effect on {what} of {FEEDING:g} or more"
    composed = f"composition of the weights, {COMPOSING:g} × random heads or more"
    dashed = {"stroke": palette.second, "stroke_width": 1.2, "stroke_dasharray": "5 3"}
    parts = []
    for text, style in ((effect, {"stroke": palette.accent, "stroke_width": WIDEST / 2}), (composed, dashed)):
        parts.append(svg.tag("line", x1=LEFT, x2=LEFT + 26, y1=y + 6, y2=y + 6, **style))
        parts.append(svg.label(LEFT + 33, y + 10, text, palette.muted, size=svg.SMALL))
        y += 17
    return parts


def _example(
    example: Example, top: float, best: Edge | None, circuit: Circuit, palette: Palette
) -> list[str]:
    """The tokens around A B and the second A, and the two looks: B back to A, second A on to B."""
    last = len(example.tokens) - 1
    near = [example.first_a - 1, example.first_a, example.first_b, example.first_b + 1, last - 1, last]
    shown = [index for index in dict.fromkeys(near) if 0 <= index <= last]
    y, height = top + 74, 22.0
    parts, middle = [], {}
    x = LEFT
    for place, index in enumerate(shown):
        if place and index != shown[place - 1] + 1:
            parts.append(svg.label(x + 1, y + 15, "…", palette.muted))
            x += 16
        text = _short(example.tokens[index])
        width = 12 + 6.9 * len(text)
        marked = index in (example.first_a, example.first_b, last)
        parts += _token(text, example.tokens[index], x, y, width, height, palette, marked=marked)
        middle[index] = x + width / 2
        x += width + 4
    parts.append(svg.label(x + 2, y + 15, "→", palette.ink))
    x += 20
    text = _short(example.answer)
    parts += _token(
        text, example.answer, x, y, 12 + 6.9 * len(text), height, palette, marked=True, expected=True
    )
    receiver = (
        best.receiver
        if best
        else max((_place(r) for r in circuit.receivers), key=lambda head: example.step_on[head[0]][head[1]])
    )
    steps = [(last, example.first_b, receiver, example.step_on, "2", 48.0, palette.selected)]
    if best:
        steps.append(
            (example.first_b, example.first_a, best.sender, example.step_back, "1", 20.0, palette.accent)
        )
    for query, key, (layer, head), grid, number, rise, colour in steps:
        parts.append(_arc(middle[query], middle[key], y - 3, rise, colour))
        parts.append(
            svg.label(
                LEFT,
                top + (8 if number == "1" else 24),
                f"Step {number}: {head_name((layer, head))} looks "
                + ("back one, from B to A" if number == "1" else "for its own token, from A to B")
                + f": attention {grid[layer][head]:.2f}",
                colour,
                size=svg.SMALL,
                font_weight=600,
            )
        )
    names = {example.first_a: "A", example.first_b: "B", last: "A"}
    parts += [
        svg.label(middle[index], y + height + 14, name, palette.muted, size=svg.SMALL, text_anchor="middle")
        for index, name in names.items()
    ]
    return parts


def _short(token: str) -> str:
    return token if len(token) <= SHOWN_CHARACTERS else f"{token[: SHOWN_CHARACTERS - 1]}…"


def _token(
    text: str,
    whole: str,
    x: float,
    y: float,
    width: float,
    height: float,
    palette: Palette,
    *,
    marked: bool,
    expected: bool = False,
) -> list[str]:
    return [
        svg.tag(
            "rect",
            x=x,
            y=y,
            width=width,
            height=height,
            rx=3,
            fill=palette.raised,
            stroke=palette.ink if marked else palette.line,
            stroke_width=1,
            stroke_dasharray="3 2" if expected else None,
            data_tip=f"token {whole}",
        ),
        svg.label(
            x + 6,
            y + 15,
            text,
            palette.ink if marked else palette.muted,
            size=svg.SMALL,
            font_family=MONO,
            pointer_events="none",
        ),
    ]


def _arc(from_x: float, to_x: float, y: float, rise: float, colour: str) -> str:
    """A bow from the query to the key, with a point at the key."""
    bow = svg.tag(
        "path",
        d=f"M{from_x:.1f} {y:.1f} C{from_x:.1f} {y - rise:.1f} {to_x:.1f} {y - rise:.1f} {to_x:.1f} {y - 4:.1f}",
        fill="none",
        stroke=colour,
        stroke_width=1.8,
    )
    point = svg.tag("path", d=f"M{to_x - 4:.1f} {y - 6:.1f} h8 l-4 6 z", fill=colour)
    return bow + point


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
        InputError: that input was not patched, or no pair has a defined effect.
    """
    ranked = sorted(paths.ranked(through, measure), key=lambda cell: -abs(cell[2]))[:BARS]
    if not ranked:
        raise InputError(
            "Clean and corrupted prompts give nearly the same answer, so no effect is defined; choose other prompts."
        )
    effect = paths.effects[through][measure]
    rows = []
    for layer, head, value in ranked:
        interval = (effect.low[layer][head], effect.high[layer][head]) if effect.low and effect.high else None
        rows.append(((layer, head), value, interval))
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
    caption = (
        f"{model}, head {name}. {paths.protocol}; bars are means, lines 95 % bootstrap intervals. {unit.capitalize()} "
        f"{clean:.2f} in the clean runs, {corrupted:.2f} in the corrupted ones.{whole}"
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
