"""Circuit: what feeds the induction heads, drawn, with the numbers of every head and path, bundled or traced now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from induction.base import Head, InputError
from induction.circuit.experiments import AUTO
from induction.circuit.results import INPUTS, MEASURES, Circuit
from induction.results import published_composition
from induction.ui import jobs, links, runs
from induction.ui.components.diagram import diagram
from induction.ui.components.exports import exported, exports
from induction.ui.components.note import html, note
from induction.ui.components.plot import plot, plot_value
from induction.ui.names import short_name
from induction.ui.panel import Panel, back_button, back_visible
from induction.ui.tabs.circuit_cards import EDGE, edge_card, head_card, headline, kinds_table, place_of
from induction.viz import circuit as figures
from induction.viz import paths as bars
from induction.viz.theme import LIGHT, PAGE

if TYPE_CHECKING:
    from induction.ui.page import Page

INTRODUCTION = (
    "An induction head works because an earlier head has written “the token before me was A” where its keys read. "
    "A band is as wide as the effect of one head's change sent into that input of one later head and nowhere else "
    "(path patching). Click a head or a band for its numbers."
)
NOT_TRACED = "What feeds the heads of this model was not measured yet: trace its circuit below."


# -- what the tab shows --------------------------------------------------------------------------------------


def draw(model: str, live: str, traced: str, head: str, edge: str, through: str, measure: str) -> list[Any]:
    """Everything above the live controls, in the order of ``build``."""
    circuit = runs.shown("circuit", model, traced)
    name = short_name(model)
    if links.parse_head(head) is None:
        head = "0.0"
    return [
        headline(model, circuit, runs.live("circuit", model, traced) is not None),
        plot_value(
            f"{name}-circuit",
            lambda: figures.diagram(
                _needed(circuit), through=through, measure=measure, palette=PAGE, selected=edge or head
            ),
        ),
        edge_card(circuit, edge, through),
        head_card(model, live, circuit, head),
        kinds_table(model, live, circuit),
        f"<h2>Paths into {head}</h2>",
        plot_value(f"{name}-paths-into-{head}", lambda: _paths(circuit, head, edge, through, measure)),
        f"<h2>Composition with {head}</h2>",
        plot_value(f"{name}-composition-with-{head}", lambda: _composition(circuit, head, edge, through)),
        {"model": model, "traced": traced, "through": through, "measure": measure, "selected": edge or head},
        back_visible("circuit", model, traced),
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
        note(INTRODUCTION, elem_id="circuit-introduction")
        with gr.Row():
            through = gr.Radio(
                [(declared.title, name) for name, declared in INPUTS.items()],
                value="k",
                label="Which input of the later head",
                elem_id="through",
            )
            measure = gr.Radio(
                [(declared.title, name) for name, declared in MEASURES.items()],
                value="attention",
                label="Effect on",
                elem_id="measure",
            )
        with gr.Row(elem_classes=["ih-panels"]):
            with gr.Column(min_width=320, elem_classes=["ih-panel"]):
                title = html("", elem_id="circuit-headline")
                drawing = diagram(elem_id="circuit-diagram")
            with gr.Column(min_width=320, elem_classes=["ih-panel"]):
                path = html("", elem_id="circuit-edge")
                card = html("", elem_id="circuit-head")
                kinds = html("", elem_id="circuit-kinds")
        with gr.Row(elem_classes=["ih-panels"]):
            with gr.Column(min_width=320, elem_classes=["ih-panel"]):
                paths_title = html("")
                paths = plot(elem_id="circuit-paths")
            with gr.Column(min_width=320, elem_classes=["ih-panel"]):
                composition_title = html("")
                composition = plot(elem_id="circuit-composition")
        with gr.Column(elem_classes=["ih-panel"], elem_id="trace"):
            html("<h2>Trace it yourself</h2>")
            panel = Panel("circuit", "Trace circuit", special={"head": _which})
            put_back = back_button("circuit-put-back")
            html("<h2>Export this circuit</h2>")
            files = exports(export, {}, elem_id="circuit-export")

    page.link(links.choice("through", "k", INPUTS), through)
    page.link(links.choice("effect", "attention", MEASURES), measure)
    page.link(_edge_parameter(), edge, at="circuit-edge")

    page.show(
        "circuit",
        draw,
        [model, live, traced, head, edge, through, measure],
        [
            title,
            drawing,
            path,
            card,
            kinds,
            paths_title,
            paths,
            composition_title,
            composition,
            files,
            put_back,
        ],
    )
    for component in (drawing, paths, composition):
        page.selects_head(component)
    drawing.edge(_picked_edge, None, edge, **jobs.QUICK)
    panel.wire(page, traced, put_back, read=_settings, also=[head])


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
