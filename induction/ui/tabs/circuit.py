"""Circuit: what feeds the induction heads, drawn, with the numbers of every head and path, bundled or traced now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from induction.base import Head, InputError
from induction.circuit.experiments import AUTO, CircuitSettings
from induction.circuit.results import INPUTS, MEASURES, Circuit
from induction.patching.interventions import Declaration
from induction.results import published_composition
from induction.ui import jobs, links, runs
from induction.ui.components.diagram import diagram
from induction.ui.components.exports import exported, exports
from induction.ui.components.note import html, note
from induction.ui.components.plot import plot, plot_value
from induction.ui.names import short_name
from induction.ui.panel import Panel, back_button, back_visible
from induction.ui.tabs.circuit_cards import (
    EDGE,
    NOT_TRACED,
    edge_card,
    head_card,
    headline,
    kinds_table,
    place_of,
)
from induction.viz import circuit as figures
from induction.viz import paths as bars
from induction.viz.theme import LIGHT, PAGE

if TYPE_CHECKING:
    from induction.ui.page import Page

INTRODUCTION = (
    "An induction head works because an earlier head has written “the token before me was A” where its keys read. "
    "A band is as wide as the effect of one head's change sent into that input of one later head and nowhere else "
    "(path patching)."
)


# -- what the tab shows --------------------------------------------------------------------------------------


def draw(model: str, traced: str, through: str, measure: str, edge: str, live: str) -> list[Any]:
    """What does not depend on the selected head, in the order of ``build``."""
    circuit = runs.shown("circuit", model, traced)
    drawn = plot_value(
        f"{short_name(model)}-circuit",
        lambda: figures.diagram(
            _needed(circuit), through=through, measure=measure, palette=PAGE, selected=edge
        ),
    )
    asked = {"model": model, "traced": traced, "through": through, "measure": measure, "selected": edge}
    return [
        headline(model, circuit, runs.live("circuit", model, traced) is not None, through, measure),
        drawn,
        edge_card(circuit, edge, through),
        kinds_table(model, live, circuit),
        asked if circuit else None,
        back_visible("circuit", model, traced),
    ]


def draw_head(
    model: str, traced: str, through: str, measure: str, head: str, edge: str, live: str
) -> list[Any]:
    """What a head changes: its card, and the heads that feed it."""
    circuit, name = runs.shown("circuit", model, traced), short_name(model)
    if links.parse_head(head) is None:
        head = "0.0"
    return [
        head_card(model, live, circuit, head),
        f"<h2>Paths into {head}</h2>",
        plot_value(f"{name}-paths-into-{head}", lambda: _paths(circuit, head, edge, through, measure)),
        f"<h2>Composition with {head}</h2>",
        plot_value(f"{name}-composition-with-{head}", lambda: _composition(circuit, head, edge, through)),
    ]


def _needed(circuit: Circuit | None) -> Circuit:
    if circuit is None:
        raise InputError(NOT_TRACED)
    return circuit


def _paths(circuit: Circuit | None, head: str, edge: str, through: str, measure: str) -> Any:
    circuit = _needed(circuit)
    place = _fed(circuit, head)
    paths = None if circuit.kind == "published" else circuit.receiver(*place).paths
    if paths is None:
        raise InputError(NOT_TRACED)
    return bars.path_bars(paths, circuit.model, through=through, measure=measure, palette=PAGE, selected=edge)


def _composition(circuit: Circuit | None, head: str, edge: str, through: str) -> Any:
    circuit = _needed(circuit)
    place = _fed(circuit, head)
    if circuit.kind == "published":  # known for every head, not for the receivers alone
        found = published_composition(circuit.model, *place)
    else:
        found = circuit.receiver(*place).composition
    if found is None:
        raise InputError(NOT_TRACED)
    return bars.composition_bars(found, circuit.model, through=through, palette=PAGE, selected=edge)


def _fed(circuit: Circuit, head: str) -> Head:
    place = place_of(circuit, head)
    if circuit.n_layers == 1:
        raise InputError(f"Head {head} is in the only layer: no earlier head feeds it.")
    if place[0] == 0:
        raise InputError(
            f"Head {head} is in the first layer, which no earlier head feeds; choose a later one."
        )
    return place


def export(kind: str, asked: dict[str, Any]) -> tuple[str, Any]:
    """File name and content of an export.

    Raises:
        InputError: nothing is measured, or the request names no input or measure.
    """
    model, traced, through, measure, selected = (
        str(asked.get(key, "")) for key in ("model", "traced", "through", "measure", "selected")
    )
    selected = selected or str(asked.get("head", ""))
    circuit = _needed(runs.shown("circuit", model, traced))
    is_live = runs.live("circuit", model, traced) is not None
    name = "-".join(["circuit", short_name(circuit.model), *([traced] if is_live else [])])

    def draw() -> str:
        return figures.diagram(circuit, through=through, measure=measure, palette=LIGHT, selected=selected)

    return exported(kind, name, circuit, draw, f"-{through}")


# -- layout and wiring ---------------------------------------------------------------------------------------


def build(page: Page) -> None:
    model, head, live = page.model, page.head, page.live
    with page.tab("circuit", "Circuit"):
        traced = gr.Textbox("", visible=False)
        edge = gr.Textbox("", visible=False)
        panel = Panel("circuit", "Trace circuit", special={"head": _which})
        with gr.Row(elem_classes=["ih-aside"]):
            with gr.Column(min_width=300):
                title = html("", elem_id="circuit-headline")
                put_back = back_button("circuit-put-back")
            with gr.Column(min_width=300, elem_classes=["ih-panel", "ih-results"]):
                drawing = diagram(elem_id="circuit-diagram")
            with gr.Column(min_width=300, elem_classes=["ih-results"]):
                with gr.Row(elem_classes=["ih-tight"]):
                    through = _choice(INPUTS, "k", "Which input of the later head", "through")
                    measure = _choice(MEASURES, "attention", "Effect on", "measure")
                path = html("", elem_id="circuit-edge")
                card = html("", elem_id="circuit-head")
        note(INTRODUCTION, elem_id="circuit-introduction")
        with gr.Row(elem_classes=["ih-panels", "ih-results"]):
            with gr.Column(min_width=320, elem_classes=["ih-panel"]):
                paths_title = html("")
                paths = plot(elem_id="circuit-paths")
            with gr.Column(min_width=320, elem_classes=["ih-panel"]):
                composition_title = html("")
                composition = plot(elem_id="circuit-composition")
        with gr.Column(elem_classes=["ih-panel"]):
            kinds = html("", elem_id="circuit-kinds")
            files = exports(export, None, elem_id="circuit-export")

    page.link(links.choice("through", "k", INPUTS), through)
    page.link(links.choice("effect", "attention", MEASURES), measure)
    page.link(_edge_parameter(), edge, at="circuit-edge")

    shared = [model, traced, through, measure]
    page.show("circuit", draw, [*shared, edge], [title, drawing, path, kinds, files, put_back], also=[live])
    page.show(
        "circuit",
        draw_head,
        [*shared, head],
        [card, paths_title, paths, composition_title, composition],
        also=[edge, live],
    )
    for component in (drawing, paths, composition):
        page.selects_head(component)
    drawing.edge(_picked_edge, None, edge, **jobs.QUICK)
    panel.wire(page, traced, put_back, read=_settings, also=[head])
    panel.follow(traced, [name for name in panel.controls if name != "head"])
    traced.change(_traced_into, traced, panel.controls["head"], **jobs.QUICK)


def _choice(declared: dict[str, Declaration], value: str, label: str, name: str) -> gr.Radio:
    choices = [(one.title, key) for key, one in declared.items()]
    return gr.Radio(choices, value=value, label=label, min_width=220, elem_id=name)


def _which() -> gr.Radio:
    return gr.Radio(
        [("Strongest induction heads", AUTO), ("The selected head", "head")],
        value=AUTO,
        label="What feeds",
        min_width=260,
        elem_id="which",
    )


def _settings(values: dict[str, Any], head: str) -> dict[str, Any]:
    return values if values["head"] == AUTO else values | {"head": head}


def _traced_into(shown: str) -> Any:
    """The control says of the circuit on show whether it is of one head."""
    settings = CircuitSettings.parse(shown)
    return gr.skip() if settings is None else AUTO if settings.head == AUTO else "head"


def _edge_parameter() -> links.Parameter:
    """``edge=0.2>1.2``: the path on show."""

    def read(text: str) -> tuple[str, str | None]:
        if EDGE.fullmatch(text):
            return text, None
        return "", "The link's edge is not written sender>receiver, as in 4.11>5.1."

    return links.Parameter("edge", "", read)


def _picked_edge(event: gr.EventData) -> Any:
    name = event._data.get("edge")
    return name if isinstance(name, str) and EDGE.fullmatch(name) else gr.skip()
