"""What the Circuit tab says in words and tables: the finding, one path, one head, all kinds of heads.

HTML of the project's own words and numbers; whatever else goes into it has passed ``html.escape``.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

from induction.analysis.kinds import KINDS, kinds_of
from induction.base import Head, InputError, head_name
from induction.circuit.results import INPUTS, MEASURES, MLPS, Circuit, signed
from induction.ui import links, runs, words
from induction.ui.names import short_name
from induction.ui.tabs.cards import why_link

NOT_TRACED = "What feeds the heads of this model was not measured yet: press Trace circuit."
EDGE = re.compile(r"(\d{1,3}\.\d{1,3})>(\d{1,3}\.\d{1,3})", re.ASCII)


def place_of(circuit: Circuit, head: str) -> Head:
    """The head of a text like ``5.1``.

    Raises:
        InputError: the circuit's model has no such head.
    """
    place = links.parse_head(head)
    if place is None or place[0] >= circuit.n_layers or place[1] >= circuit.n_heads:
        raise InputError("This model has no such head; choose one in the figure.")
    return place


def headline(model: str, circuit: Circuit | None, live: bool, through: str, measure: str) -> str:
    """What was found through this input on this measure, and how."""
    if circuit is None:
        return words.headline(short_name(model), None, NOT_TRACED)
    protocols = [
        ("", f"{circuit.protocol}. Scores: {circuit.scan_protocol.rstrip('.')}."),
        (
            "",
            "The corrupted prompts leave the last token alone, so that queries can change only through what earlier "
            "heads bring there.",
        ),
    ]
    title, notes = short_name(model), circuit.refusals()
    return words.headline(
        title, circuit, circuit.finding(through, measure), live=live, protocols=protocols, notes=notes
    )


def edge_card(circuit: Circuit | None, edge: str, through: str) -> str:
    """All numbers of one path: effect through each input on both measures, and composition."""
    match = EDGE.fullmatch(edge)
    if circuit is None or match is None:
        return ""
    try:
        sender = place_of(circuit, match[1])
        receiver = circuit.receiver(*place_of(circuit, match[2]))
    except InputError:
        return ""
    if receiver.paths is None or sender[0] >= receiver.layer:
        return ""
    composition = receiver.composition
    rows = []
    for name, effects in receiver.paths.effects.items():
        cells = [f"<th scope='row'>{INPUTS[name].title}</th>"]
        for effect in effects.values():
            value = effect.mean[sender[0]][sender[1]]
            if value is None:
                cells.append("<td>undefined</td>")
                continue
            interval = ""
            if bounds := effect.interval(*sender):
                shown = ", ".join(signed(bound, 2) for bound in bounds)
                interval = f" <span class='ih-interval'>[{shown}]</span>"
            cells.append(f"<td>{signed(value)}{interval}</td>")
        composed = composition.measured.get(name) if composition else None
        cells.append(f"<td>{composed[sender[0]][sender[1]]:.3f}</td>" if composed else "<td>–</td>")
        chosen = " aria-selected='true'" if name == through else ""
        rows.append(f"<tr{chosen}>{''.join(cells)}</tr>")
    random = ""
    if composition:
        random = (
            f"<p class='ih-note'>Random heads compose with {composition.baseline:.3f} ± "
            f"{composition.baseline_deviation:.3f}.</p>"
        )
    titles = "".join(f"<th scope='col'>{declared.title}</th>" for declared in MEASURES.values())
    return (
        f"<h2>Path {match[1]} → {match[2]}</h2>"
        "<div class='ih-scroll' tabindex='0'><table class='ih-table'>"
        "<caption class='ih-hidden'>Effects of this path</caption>"
        f"<thead><tr><th scope='col'>Through</th>{titles}<th scope='col'>Composition</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f"<p class='ih-note'>{MLPS[receiver.paths.mlps].meaning} {escape(receiver.paths.caveats())}</p>{random}"
    )


def _scores(model: str, live: str, circuit: Circuit | None) -> tuple[dict[str, Any], Any, str]:
    """Score grids, direct effect (or None) and where the direct effect is from."""
    if circuit is not None:
        published = circuit.kind == "published"
        where = "indirect-object prompts, published" if published else "clean prompts"
        return circuit.scores, circuit.direct, f"logits, {where}"
    scan = runs.shown("scan", model, live)
    return {name: score.mean for name, score in scan.scores.items()} if scan else {}, None, ""


def head_card(model: str, live: str, circuit: Circuit | None, head: str) -> str:
    """What the selected head is, by which rule, and whether it copies."""
    scores, direct, source = _scores(model, live, circuit)
    place = links.parse_head(head)
    grid = next(iter(scores.values()), [])
    if place is None or place[0] >= len(grid) or place[1] >= len(grid[0]):
        return "<h2>No head selected</h2><p>Click a head of the figure, or choose one above.</p>"
    layer, index = place
    kind = KINDS[kinds_of(scores, direct)[layer][index]]
    rule = f" Rule: {escape(kind.rule)}." if kind.score else ""
    named = {known.score for known in KINDS.values()}
    rows = [
        _row(f"{name.replace('_', '-').capitalize()} score", "", f"{values[layer][index]:.2f}")
        for name, values in scores.items()
        if name in named
    ]
    if direct is not None:
        rows.append(_row("Direct effect on the answer", source, signed(direct[layer][index], 2)))
    receivers = circuit.receivers if circuit is not None else []
    for receiver in receivers:
        copying = receiver.copying
        if copying and (receiver.layer, receiver.head) == place:
            tops = f"{copying.top1:.2f} / {copying.top5:.2f}"
            rows.append(_row("Copying, top-1 / top-5", copying.definition, tops))
            limits = "-1 to 1; heads that do no induction reach 1 as well"
            rows.append(_row("Copying, eigenvalue score", limits, signed(copying.eigenvalue, 2)))
    return (
        f"<h2>Head {head_name(place)}: {kind.title.lower()}</h2><p>{escape(kind.meaning)}{rule}</p>"
        "<table class='ih-table ih-card-table'>"
        f"<caption class='ih-hidden'>Measurements of head {head_name(place)}</caption>{''.join(rows)}</table>"
        f"<p>{why_link(model, head_name(place))}</p>"
    )


def _row(title: str, detail: str, value: str) -> str:
    small = f" <span class='ih-interval'>({escape(detail)})</span>" if detail else ""
    return f"<tr><th scope='row'>{escape(title)}{small}</th><td>{escape(value)}</td></tr>"


def kinds_table(model: str, live: str, circuit: Circuit | None) -> str:
    """Every kind with its rule and its heads."""
    scores, direct, source = _scores(model, live, circuit)
    if not scores:
        return "<h2>Kinds of heads</h2><p>No scores yet for this model.</p>"
    kinds = kinds_of(scores, direct)
    rows = []
    for kind in KINDS.values():
        if kind.score is None:
            continue
        heads = [
            f"{layer}.{head}"
            for layer, row in enumerate(kinds)
            for head, name in enumerate(row)
            if name == kind.name
        ]
        shown = escape(" ".join(heads)) or "none"
        if kind.score not in scores or (kind.against and direct is None):
            shown = "not measured"
        rows.append(
            f"<tr><th scope='row'>{escape(kind.title)}<br><span class='ih-interval'>{escape(kind.rule)}</span></th>"
            f"<td class='ih-wrap'>{shown}</td></tr>"
        )
    where = f"<p class='ih-note'>Direct effect: {escape(source)}. The first rule that holds names a head.</p>"
    return (
        "<h2>Kinds of heads</h2><table class='ih-table ih-card-table'>"
        "<caption class='ih-hidden'>Kinds of heads, their rules and the heads</caption>"
        f"<tbody>{''.join(rows)}</tbody></table>{where if source else ''}"
    )
