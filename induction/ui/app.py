"""The page put together: header, tabs, share box, the address that follows it, and the options of its server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from induction import model as models
from induction.analysis.result import Scan
from induction.experiment import LONGEST_TEXT, experiments
from induction.patching.experiments import TogetherSettings
from induction.ui import api, jobs, links, runs, theme, warm
from induction.ui.components import script, tour
from induction.ui.components.history import history, query_of
from induction.ui.components.note import html, note
from induction.ui.components.plot import PLOTLY, script_route
from induction.ui.controls import control
from induction.ui.first_paint import FirstPaint
from induction.ui.names import default_model, facts, hosted, known_models
from induction.ui.page import Page, head_choices, model_choices, shape_of, top_head
from induction.ui.tabs import about, attention, circuit, patching, scan, sections, training

TITLE = "Induction Head Explorer"
TAGLINE = (
    "Find the attention heads that complete patterns (<code>A B … A → B</code>), look at them, "
    "and test whether the model needs them."
)
SKIP = '<a class="ih-skip" href="#tabs">Skip to the results</a>'
FOLDER = Path(__file__).parent
SESSIONS = 30  # whose state Gradio keeps, at some MB each: a program's session never ends by itself
TABS = {"scan": scan, "attention": attention, "patching": patching, "circuit": circuit}
# The head of the page's state is the one that components mark; a click changed both already.
_SELECT = "(head) => { window.ih.selectHead(head); return head; }"
#: Experiments that a tab with another name shows.
SHOWN_BY = {"heads": "patching", "together": "patching", "ablation": "patching"}


def build() -> gr.Blocks:
    """Lay out and wire the whole page. Imports no torch."""
    start = default_model()
    scan = runs.shown("scan", start)
    with gr.Blocks(title=TITLE, analytics_enabled=False) as demo:
        *pickers, guide = _header(start, scan)
        model_facts, notice = note(facts(start), elem_id="facts"), note("", elem_id="notice")
        # The state of the page is in hidden boxes: a Dropdown fires change events of its own now and then.
        model, head, live, current_tab, wanted = (
            gr.Textbox(value, visible=False) for value in (start, top_head(scan), "", "scan", "")
        )
        hidden = gr.Column(visible=False)
        heads = control(
            TogetherSettings,
            "heads",
            info="layer.head, …; or Shift-click heads in the map",
            elem_id="set-heads",
            max_lines=3,
            render=False,
        )
        with gr.Tabs(selected="scan", overflow_behavior="wrap", elem_id="tabs") as tabs:
            page = Page(demo, tabs, model, head, live, current_tab, wanted, hidden, heads)
            page.link(links.Parameter("model", start, _read_model(start), always=True), model)
            page.link(links.choice("tab", "scan", lambda: page.tab_names, always=True), current_tab)
            page.link(links.head("head"), head)
            for tab in TABS.values():
                tab.build(page)
            for name, group in _groups().items():
                sections.build(page, name, group)
            training.build(page)
            about.build(page)
        page.chooses_model(guide.started, lambda: tour.MODEL)
        _share_and_restore(page, notice)
        api.declare()
        _follow_state(page, pickers, model_facts)
    return demo


def _groups() -> dict[str, sections.Group]:
    """Tabs of sections; an experiment that no tab shows has one of its own."""
    shown = {
        "training",
        *TABS,
        *SHOWN_BY,
        *(name for group in sections.GROUPS.values() for name in group.shows),
    }
    alone = (one for one in experiments().values() if one.name not in shown)
    return sections.GROUPS | {one.name: sections.Group(one.title, one.help, (one.name,)) for one in alone}


def _header(start: str, scan: Scan | None) -> tuple[gr.Dropdown, gr.Dropdown, gr.HTML]:
    """Title, model picker, head picker and the tour."""
    with gr.Row(elem_id="header", equal_height=False):
        html(f"{SKIP}<h1>{TITLE}</h1><p>{TAGLINE}</p>", elem_id="title")
        guide = tour.tour()
        with gr.Row(elem_id="picker"):
            model_picker = gr.Dropdown(
                model_choices(start),
                value=start,
                label="Model",
                allow_custom_value=not hosted(),
                min_width=150,
                elem_id="model",
            )
            head_picker = gr.Dropdown(
                head_choices(scan, shape_of(start, scan), top_head(scan)),
                value=top_head(scan),
                label="Head (layer.head)",
                allow_custom_value=True,
                min_width=130,
                elem_id="head",
            )
    return model_picker, head_picker, guide


def _follow_state(page: Page, pickers: Sequence[gr.Dropdown], model_facts: gr.HTML) -> None:
    """The pickers and the facts line follow the state of the page, and choose."""
    model_picker, head_picker = pickers
    state = [page.model, page.live]
    refilled = [*pickers, model_facts]
    page.changed(state)(_refill, [*state, page.head], refilled, trigger_mode="always_last", **jobs.QUICK)
    page.head.change(None, page.head, head_picker, js=_SELECT, **jobs.QUICK)
    page.chooses_model(model_picker.input, lambda name: name, model_picker)
    head_picker.input(
        _checked_head, [page.model, page.live, head_picker], [page.head, head_picker], **jobs.TOASTS
    )


def _read_model(default: str) -> Callable[[str], tuple[str, str | None]]:
    """A link may name a listed model or, at home, one that was fetched before; it never starts a download."""

    def read(text: str) -> tuple[str, str | None]:
        name = models.resolve(text)
        if name in known_models():
            return name, None
        if not hosted() and len(name) < 200 and models.availability(name) == "cached":
            return name, None
        return default, f"The link's model is not one that this page lists; showing {default} instead."

    return read


def _refill(model: str, live: str, head: str) -> list[Any]:
    """The pickers and the facts line follow the state."""
    scan = runs.shown("scan", model, live)
    heads = head_choices(scan, shape_of(model, scan), head)
    return [
        gr.Dropdown(choices=model_choices(model), value=model),
        gr.Dropdown(choices=heads, value=head),
        facts(model, runs.live("scan", model, live) is not None),
    ]


def _checked_head(model: str, live: str, head: str) -> tuple[str, str]:
    scan = runs.shown("scan", model, live)
    n_layers, n_heads = shape_of(model, scan) or (1000, 1000)
    name, notice = links.fit_head(head or "", n_layers, n_heads, top_head(scan))
    if notice:
        gr.Warning(notice)
    return name, name


def _share_and_restore(page: Page, notice: gr.HTML) -> None:
    """The share box, the address that follows the page, and the page that follows an address."""
    parameters = [parameter for parameter, _ in page.linked]
    components = [component for _, component in page.linked]
    with gr.Column(elem_id="share"):
        share = gr.Textbox(
            label="Link to this view", interactive=False, max_lines=2, buttons=["copy"], elem_id="link"
        )
        share_note = note("", elem_id="link-note")
        back = history()

    def opened(request: gr.Request) -> list[Any]:
        warm.soon(default_model())
        query = dict(request.query_params)
        if not any(parameter.name in query for parameter in parameters):
            return [gr.skip()] * (len(components) + 2)
        return restore(query)

    def gone_back(event: gr.EventData) -> list[Any]:
        return restore(query_of(event))

    def restore(query: dict[str, str]) -> list[Any]:
        restored = links.read_query(query, parameters)
        values, notices = restored.values, restored.notices
        scan = runs.shown("scan", values["model"], values.get("live", ""))
        shape = shape_of(values["model"], scan)
        if not values["head"]:
            values["head"] = top_head(scan)
        elif shape:
            values["head"], wrong = links.fit_head(values["head"], *shape, top_head(scan))
            notices += [wrong] if wrong else []
        text = " ".join(dict.fromkeys(notices))
        return [
            *(values[parameter.name] for parameter in parameters),
            gr.Tabs(selected=values["tab"]),
            text,
        ]

    setup = {
        "names": [parameter.name for parameter in parameters],
        "defaults": [
            "" if parameter.always else links.written(parameter.default) for parameter in parameters
        ],
        "base": f"https://huggingface.co/spaces/{os.environ['SPACE_ID']}" if hosted() else "",
        "limit": LONGEST_TEXT,
        "places": page.places,
    }
    address = (FOLDER / "page.js").read_text(encoding="utf-8").replace("SETUP", json.dumps(setup))
    outputs = [*components, page.tabs, notice]
    loaded = page.demo.load(opened, None, outputs, **jobs.QUICK)
    back.back(gone_back, None, outputs, **jobs.QUICK)
    wiring: dict[str, Any] = {
        "inputs": components,
        "outputs": [share, share_note],
        "js": address,
        "show_progress": "hidden",
        "api_visibility": "private",
    }
    loaded.then(None, **wiring)
    gr.on([component.change for component in components], None, **wiring)


def launch_options() -> dict[str, Any]:
    """Arguments of ``launch``: Gradio takes theme and style sheet there.

    Large answers are compressed, at the level that takes half the time of the highest for 1 % more; Starlette leaves
    event streams as they are, so the steps of a run arrive one by one.
    """
    model = default_model()
    shown = {"model": model, "head": top_head(runs.shown("scan", model))}
    compression = Middleware(GZipMiddleware, minimum_size=2000, compresslevel=5)
    return {
        "theme": theme.theme(),
        "css": theme.css(),
        "head": script.head({"plotly": PLOTLY, **shown}),
        "run_history": False,
        "state_session_capacity": SESSIONS,
        "footer_links": ["api", "settings"],
        "app_kwargs": {
            "middleware": [
                compression,
                Middleware(FirstPaint, title=TITLE, tabs=[*TABS, *_groups(), "training", "about"]),
            ],
            "routes": [script_route()],
        },
    }
