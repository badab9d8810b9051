"""The circuit diagram, drawn by hand: curved bands, and cards and tokens that are buttons, are no chart of plotly's.

Heads that feed stand on the left, heads that are fed on the right, an example beneath.

Marks carry ``data-head`` (``5.1``) or ``data-edge`` (``4.11>5.1``) for clicks, and ``data-tip`` for their numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from induction.analysis.kinds import KINDS
from induction.base import Head, InputError, head_name
from induction.circuit.results import INPUTS, MEASURES, Circuit, Example, Receiver, signed
from induction.viz import svg
from induction.viz.example import tokens_and_steps
from induction.viz.theme import LIGHT, MONO, Palette

SENDERS = 8  # rows on the left
FEEDING = 0.01  # an effect below it is not drawn
COMPOSING = 1.5  # composition is drawn from so many times the random baseline on
ROW, NODE_HEIGHT, NODE_WIDTH = 44.0, 36.0, 136.0
LEFT, RIGHT, TOP = 8.0, svg.WIDTH - 8.0 - NODE_WIDTH, 50.0
WIDEST = 9.0


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
        sender, receiver = _shown(circuit.example, found, circuit.receivers, selected)
        parts += tokens_and_steps(circuit.example, bottom, sender=sender, receiver=receiver, palette=palette)
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


def _shown(
    example: Example, found: list[Edge], receivers: list[Receiver], selected: str
) -> tuple[Head | None, Head]:
    """The heads whose two steps the example shows: of the selected path, else of a strong one that it shows well."""

    def strength(edge: Edge) -> float:
        (a, b), (c, d) = edge.sender, edge.receiver
        return abs(edge.effect or 0.0) * example.step_back[a][b] * example.step_on[c][d]

    feeding = [edge for edge in found if edge.feeds]
    chosen = [edge for edge in feeding if edge.name == selected]
    best = max(chosen or feeding, key=strength, default=None)
    if best:
        return best.sender, best.receiver
    return None, max(map(_place, receivers), key=lambda head: example.step_on[head[0]][head[1]])


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
    tip = f"head {name}, {kind.title.lower()}: {score}"
    if circuit.direct is not None:
        tip += f", direct effect {signed(circuit.direct[head[0]][head[1]], 2)} logits"
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
