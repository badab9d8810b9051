"""Circuit: what feeds the induction heads, drawn, with the numbers of every head and path, bundled or traced now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr
from plotly.graph_objects import Figure

from induction.base import InputError
from induction.circuit import results
from induction.circuit.results import INPUTS, MEASURES, MLPS, Circuit
from induction.data_gen.sequences import TOKEN_SETS
from induction.patching.interventions import Head
from induction.ui import jobs, links, live_runs
from induction.ui.components import status
from induction.ui.components.diagram import diagram
from induction.ui.components.exports import exports
from induction.ui.components.note import html, note
from induction.ui.components.plot import plot, plot_value
from induction.ui.live_circuit import (
    AUTO,
    FROZEN,
    PAIRS,
    Settings,
    is_live,
    kept,
    parameter,
    shown_circuit,
    trace,
)
from induction.ui.names import short_name
from induction.ui.tabs.circuit_cards import EDGE, edge_card, head_card, headline, kinds_table, place_of
from induction.viz import circuit as figures
from induction.viz import paths as senders
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
    circuit = shown_circuit(model, traced)
    name = short_name(model)
    if links.parse_head(head) is None:
        head = "0.0"
    return [
        headline(model, circuit, is_live(model, traced)),
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
        gr.update(visible=is_live(model, traced) and model in results.bundled_names()),
    ]


def _needed(circuit: Circuit | None) -> Circuit:
    if circuit is None:
        raise InputError(NOT_TRACED)
    return circuit


def _paths(circuit: Circuit | None, head: str, edge: str, through: str, measure: str) -> Figure:
    circuit = _needed(circuit)
    place = _fed(circuit, head)
    paths = None if circuit.kind == "published" else circuit.receiver(*place).paths
    if paths is None:
        raise InputError(NOT_TRACED)
    return senders.path_bars(
        paths, circuit.model, through=through, measure=measure, palette=PAGE, selected=edge
    )


def _composition(circuit: Circuit | None, head: str, edge: str, through: str) -> Figure:
    circuit = _needed(circuit)
    place = _fed(circuit, head)
    if circuit.kind == "published":  # known for every head, not for the receivers alone
        found = results.published_composition(circuit.model, *place)
    else:
        found = circuit.receiver(*place).composition
    if found is None:
        raise InputError(NOT_TRACED)
    return senders.composition_bars(found, circuit.model, through=through, palette=PAGE, selected=edge)


def _fed(circuit: Circuit, head: str) -> Head:
    place = place_of(circuit, head)
    if circuit.n_layers == 1:
        raise InputError(f"Head {head} is in the only layer: no earlier head feeds it.")
    if place[0] == 0:
        raise InputError(
            f"Head {head} is in the first layer, which no earlier head feeds; choose a later one."
        )
    return place


def export(kind: str, asked: dict[str, Any]) -> tuple[str, str]:
    """File name and text of an export.

    Raises:
        InputError: nothing is measured, or the request names no input or measure.
    """
    model, traced, through, measure, selected = (
        str(asked.get(key, "")) for key in ("model", "traced", "through", "measure", "selected")
    )
    circuit = _needed(shown_circuit(model, traced))
    name = "-".join(["circuit", short_name(circuit.model), *([traced] if is_live(model, traced) else [])])
    if kind == "json":
        return f"{name}.json", results.to_json(circuit)
    if kind == "csv":
        return f"{name}.csv", results.to_csv(circuit)
    svg = figures.diagram(circuit, through=through, measure=measure, palette=LIGHT, selected=selected)
    return f"{name}-{through}.svg", svg


# -- the live run --------------------------------------------------------------------------------------------


def run_live(
    model: str, traced: str, head: str, which: str, n_pairs: float, vocab: str, seed: float, mlps: str
) -> Iterator[live_runs.Step]:
    """Steps of a live run: ``(status, traced)``; ``traced`` names the result once it is there."""
    settings = Settings(int(n_pairs or 0), vocab, int(seed or 0), head if which == "head" else AUTO, mlps)
    yield from live_runs.run(model, traced, settings, kept, trace)


def rerun(model: str, traced: str) -> Iterator[live_runs.Step]:
    """What a link's live circuit needs when it is opened."""
    yield from live_runs.rerun(model, traced, Settings.parse(traced), kept, trace, "Trace circuit")


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
            with gr.Row():
                which = gr.Radio(
                    [("Strongest induction heads", AUTO), ("The selected head", "head")],
                    value=AUTO,
                    label="What feeds",
                    min_width=260,
                    elem_id="which",
                )
                n_pairs = gr.Number(
                    10, label="Prompt pairs", info=f"{PAIRS[0]} to {PAIRS[1]}", precision=0, min_width=140
                )
                vocab = gr.Dropdown(
                    list(TOKEN_SETS),
                    value="random",
                    label="Token set",
                    info="Words suit a language model",
                    min_width=180,
                )
                seed = gr.Number(0, label="Seed", info="Same seed, same prompts", precision=0, min_width=140)
                mlps = gr.Radio(
                    [(declared.title, name) for name, declared in MLPS.items()],
                    value=FROZEN,
                    label="Between sender and receiver",
                    info="Frozen: the direct path alone",
                    min_width=260,
                    elem_id="mlps",
                )
            with gr.Row():
                run = gr.Button("Trace circuit", variant="primary", elem_id="run-circuit")
                cancel = gr.Button("Cancel", elem_id="cancel-circuit")
                put_back = gr.Button("Put back the bundled result", visible=False, elem_id="circuit-put-back")
            state = status.status(status.stopped("idle", ""), elem_id="circuit-status")
            html("<h2>Export this circuit</h2>")
            files = exports(export, {}, elem_id="circuit-export")

    page.link(links.choice("through", "k", INPUTS), through)
    page.link(links.choice("effect", "attention", MEASURES), measure)
    page.link(parameter(), traced)
    page.link(_edge_parameter(), edge)

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
    jobs.long_run(
        run, cancel, run_live, [model, traced, head, which, n_pairs, vocab, seed, mlps], [state, traced]
    )
    live_runs.puts_back(put_back, traced, state)
    page.when_opened(rerun, [model, traced], [state, traced], model=True)


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
