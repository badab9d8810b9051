"""The circuit diagram, drawn by hand: curved bands, and cards and tokens that are buttons, are no chart of plotly's.

Heads that feed stand on the left, heads that are fed on the right, an example beneath.

Marks carry ``data-head`` (``5.1``) or ``data-edge`` (``4.11>5.1``) for clicks, and ``data-tip`` for their numbers; the
group of an edge has its ends and, for a threshold, its strength.
"""

from __future__ import annotations

from dataclasses import dataclass

from induction.analysis.kinds import KINDS
from induction.base import Head, InputError, check_choice, head_name
from induction.circuit.results import FEEDING, INPUTS, MEASURES, Circuit, Example, Receiver, signed
from induction.viz import svg
from induction.viz.example import tokens_and_steps
from induction.viz.theme import LIGHT, MONO, Palette

SENDERS = 8  # rows on the left
COMPOSING = 1.5  # composition is drawn from so many times the random baseline on
ROW, NODE_HEIGHT, NODE_WIDTH = 30.0, 24.0, 152.0
LEFT, RIGHT, TOP = 8.0, svg.WIDTH - 8.0 - NODE_WIDTH, 42.0
FOLLOWED = ("previous_token", "induction")  # kinds with a whole frame
WIDEST = 9.0
LEGEND_ROW = 16


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
    def strength(self) -> float:
        """What a threshold on the bands counts: the effect where it is known, else composition."""
        return abs(self.effect) if self.effect is not None else self.composition or 0.0

    @property
    def composes(self) -> bool:
        return self.composition is not None and self.composition >= COMPOSING * self.baseline


def edges(circuit: Circuit, *, through: str = "k", measure: str = "attention") -> list[Edge]:
    """Every sender of every receiver that was measured, strongest effect first (where known, else composition).

    Raises:
        InputError: there is no receiver with earlier heads, or the input or measure was not patched.
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
    found = []
    for receiver in circuit.receivers:
        if receiver.composition is None:
            continue
        composed, effects = receiver.composition.measured.get(through), None
        if receiver.paths is not None:
            receiver.paths.ranked(through, measure)  # says what is missing
            effects = receiver.paths.effects[through][measure].mean
        found += [
            Edge(
                (layer, head),
                _place(receiver),
                effects[layer][head] if effects else None,
                composed[layer][head] if composed else None,
                receiver.composition.baseline,
            )
            for layer in range(receiver.layer)
            for head in range(circuit.n_heads)
        ]
    return sorted(found, key=lambda edge: (-abs(edge.effect or 0.0), -(edge.composition or 0.0)))


def senders(circuit: Circuit, found: list[Edge]) -> list[Head]:
    """Heads for the left side, by layer: feeders, the best composer of each receiver, previous-token heads."""
    chosen = [edge.sender for edge in found if edge.feeds]
    for receiver in dict.fromkeys(edge.receiver for edge in found):
        own = [edge for edge in found if edge.receiver == receiver]
        best = max(own, key=lambda edge: edge.composition or 0)
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
    check_choice(through, tuple(INPUTS), "input")
    found = edges(circuit, through=through, measure=measure)
    left = senders(circuit, found)
    right = sorted(_place(receiver) for receiver in circuit.receivers if receiver.composition)
    rows, inputs = max(len(left), len(right)), INPUTS[through].title.lower()
    left_at, right_at = (
        {head: TOP + (index + 0.5) * rows / len(heads) * ROW for index, head in enumerate(heads)}
        for heads in (left, right)  # spread evenly over the same height
    )
    bold, small = {"font_weight": 600}, {"size": svg.SMALL, "text_anchor": "middle"}
    parts = [
        svg.label(LEFT, 16, _column(circuit, left, "Earlier heads"), palette.ink, **bold),
        svg.label(
            svg.WIDTH - 8,
            16,
            _column(circuit, right, "Heads they feed"),
            palette.ink,
            text_anchor="end",
            **bold,
        ),
        svg.label(svg.WIDTH / 2, 32, f"through {inputs}", palette.muted, **small),
    ]
    drawn = [edge for edge in found if edge.sender in left_at and (edge.feeds or edge.composes)]
    widest = max((abs(edge.effect or 0.0) for edge in drawn if edge.feeds), default=0.0)
    for edge in reversed(drawn):  # the strongest on top
        heights = left_at[edge.sender], right_at[edge.receiver]
        parts += _edge(edge, *heights, widest, measure, palette, selected)
    for x, heads in ((LEFT, left_at), (RIGHT, right_at)):
        for head, y in heads.items():
            parts += _node(circuit, head, x, y, palette, selected)
    bottom = TOP + rows * ROW + 4
    legend = _legend(circuit, bottom, widest, measure, [*left, *right], palette)
    parts += legend
    bottom += LEGEND_ROW * len(legend) / 2 + 12
    if circuit.example:
        sender, receiver = _shown(circuit.example, found, circuit.receivers, selected)
        parts += tokens_and_steps(circuit.example, bottom, sender=sender, receiver=receiver, palette=palette)
        bottom += 128
    title = f"Circuit of {circuit.model}: which earlier heads feed its induction heads through {inputs}"
    return svg.figure(parts, palette, title=title, caption=_caption(circuit, measure), height=bottom)


def _caption(circuit: Circuit, measure: str) -> str:
    how = circuit.protocol
    if circuit.kind != "published":
        how = (
            f"{MEASURES[measure].meaning} Path patching, {how}, means over pairs; effects below {FEEDING:g} are not "
            "drawn"
        )
    return f"{circuit.model}, {circuit.origin}. {how}. Scores: {circuit.scan_protocol.rstrip('.')}."


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


def _column(circuit: Circuit, heads: list[Head], else_named: str) -> str:
    """What the heads of a column are, where all are of one kind."""
    kinds = {circuit.kinds[layer][head] for layer, head in heads}
    kind = KINDS[kinds.pop()] if len(kinds) == 1 else None
    return f"{kind.title}s" if kind and kind.name in FOLLOWED else else_named


def _node(circuit: Circuit, head: Head, x: float, y: float, palette: Palette, selected: str) -> list[str]:
    """A card with the head's name and what it is: its kind's score, none of another kind."""
    name, (layer, number) = head_name(head), head
    kind, chosen = KINDS[circuit.kinds[layer][number]], name == selected

    def scored(score: str) -> str:
        return f"{score.replace('_', '-')} {circuit.scores[score][layer][number]:.2f}"

    words = f"{kind.score.split('_')[0]} {scored(kind.score).split()[1]}" if kind.score else "no kind"  # fits
    others = [scored(score) for score in FOLLOWED if score != kind.score and score in circuit.scores]
    tip = f"head {name}, {kind.title.lower()}: " + ", ".join(
        [*([scored(kind.score)] if kind.score else []), *others]
    )
    if circuit.direct is not None:
        tip += f", direct effect {signed(circuit.direct[layer][number], 2)} logits"
    known = kind.name in FOLLOWED
    look = {
        "stroke": palette.selected if chosen else palette.accent if known else palette.muted,
        "stroke_width": 2.5 if chosen else 1.5,
        "stroke_dasharray": None if known else "4 3",
    }
    place, quiet = (x, y - NODE_HEIGHT / 2, NODE_WIDTH, NODE_HEIGHT), {"pointer_events": "none"}
    strong = {"font_family": MONO, "font_weight": 600}
    return [
        svg.box(*place, rx=4, fill=palette.raised, **look, **_button(tip, data_head=name)),
        svg.label(x + 8, y + 4, name, palette.ink, **strong, **quiet),
        svg.label(
            x + NODE_WIDTH - 6, y + 4, words, palette.muted, size=svg.SMALL, text_anchor="end", **quiet
        ),
    ]


def _button(tip: str, **what: str) -> dict[str, object]:
    """What makes a mark a button that the keyboard reaches, for a head or an edge, with its numbers on hover."""
    return {**what, "data_tip": tip, "tabindex": 0, "role": "button", "aria_label": tip}


def _edge(
    edge: Edge, from_y: float, to_y: float, widest: float, measure: str, palette: Palette, selected: str
) -> list[str]:
    start, end, chosen = LEFT + NODE_WIDTH, RIGHT, edge.name == selected
    third = (end - start) / 2.2

    def band(shift: float, colour: str, width: float, **look: object) -> str:
        a, b = from_y + shift, to_y + shift
        ends = (start, a), (start + third, a), (end - third, b), (end, b)
        return svg.curve(*ends, stroke=colour, stroke_width=width, **look)

    tip = f"{head_name(edge.sender)} into {head_name(edge.receiver)}: "
    tip += "effect not known" if edge.effect is None else f"effect on the {measure} {signed(edge.effect)}"
    if edge.composition is not None:
        tip += f", composition {edge.composition:.3f} (random {edge.baseline:.3f})"
    marks, width = [], 0.0
    if edge.feeds and edge.effect is not None:
        width = max(1.0, WIDEST * abs(edge.effect) / widest)
        colour = palette.accent if edge.effect > 0 else palette.diverging[0]
        opacity = {"stroke_opacity": 1 if chosen else 0.8}
        marks.append(band(0, palette.selected if chosen else colour, width, **opacity))
    if edge.composes:
        colour, thin = palette.second, min(2.0, 0.5 * (edge.composition or 0.0) / edge.baseline)
        marks.append(
            band(width / 2 + 3, palette.selected if chosen else colour, thin, stroke_dasharray="5 3")
        )
    # A line of one unit is hard to hit: an invisible one of comfortable width takes the pointer.
    reached = {"pointer_events": "stroke", **_button(tip, data_edge=edge.name)}
    marks.append(band(0, "transparent", max(12.0, width), **reached))
    ends = {"data_from": head_name(edge.sender), "data_to": head_name(edge.receiver)}
    return [svg.tag("g", **ends, data_strength=f"{edge.strength:.4f}")[:-2] + ">", *marks, "</g>"]


def _legend(
    circuit: Circuit, y: float, widest: float, measure: str, heads: list[Head], palette: Palette
) -> list[str]:
    """A sample and a text for each kind of mark that is drawn."""
    what = "attention to the target" if measure == "attention" else "the answer"
    effect = f"effect on {what} (path patching), widest {widest:.2f}"
    if circuit.kind == "published":
        effect = "effect not measured: published weights alone"
    elif not widest:
        effect = f"no effect on {what} of {FEEDING:g} or more"
    composed = f"composition of the weights, {COMPOSING:g} × random heads or more"
    framed = "frame of a head that is neither previous-token nor induction"
    entries = [
        (effect, {"stroke": palette.accent, "stroke_width": WIDEST / 2}),
        (composed, {"stroke": palette.second, "stroke_width": 1.2, "stroke_dasharray": "5 3"}),
    ]
    if any(circuit.kinds[layer][head] not in FOLLOWED for layer, head in heads):
        entries.append((framed, {"stroke": palette.muted, "stroke_width": 1.5, "stroke_dasharray": "4 3"}))
    parts = []
    for text, style in entries:
        parts.append(svg.tag("line", x1=LEFT, x2=LEFT + 26, y1=y + 6, y2=y + 6, **style))
        parts.append(svg.label(LEFT + 33, y + 10, text, palette.muted, size=svg.SMALL))
        y += LEGEND_ROW
    return parts
