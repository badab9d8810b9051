"""The page: header, tabs, share box, and the wiring that all tabs have in common.

The whole page is a function of its link parameters (:mod:`induction.ui.links`): model, head, tab, and
what each tab declares. The address follows them, and opening an address restores them.

Adding a tab is one file ``<name>_tab.py`` with ``def build(page: Page) -> None`` and one line in
:func:`build`. Inside it::

    def build(page: Page) -> None:
        with page.tab("patching", "Patching"):              # tab=patching in the address
            seed = gr.Number(0, label="Seed", precision=0)
            grid = head_grid()
        page.link(links.integer("patch_seed", 0, low=0, high=99_999), seed)
        page.show("patching", draw, [page.model, page.head, seed], [grid])
        page.selects_head(grid)

* ``page.model``, ``page.head`` (``"5.1"``), ``page.current_tab`` and ``page.live`` are hidden Textboxes that
  all tabs share: read them as inputs, never write them except through the methods here. ``live`` says which
  scan is shown; :func:`induction.ui.live_scan.shown_scan` turns ``(model, live)`` into the
  :class:`~induction.results.Scan` or None. Before loading a model, pass its name through
  :func:`induction.ui.names.checked_model`: a hosted page loads only what it lists.
* ``page.link(parameter, component)`` puts a component's value into the address and restores it from
  there. Parameter names are global: give tab-specific ones a prefix. Defaults stay out of the address.
* ``page.show(tab, fn, inputs, outputs)`` runs ``fn(*inputs)`` whenever an input changes while the tab is
  open, and when the tab is opened or restored. Only the last of several changes counts. ``fn`` may be a
  generator; it must be cheap or cached. ``also`` are inputs whose changes do not count. With ``model=True``
  it runs in the model queue, and no other work on a model runs meanwhile.
* ``page.changed(components)(fn, inputs, outputs)`` runs whatever the tab; listen to ``.change`` of what a link
  restores in no other way.
* ``page.when_opened(fn, inputs, outputs)`` runs once, after the address was restored.
* ``page.selects_head(component)``: the ``pick`` event of a head_grid (or any component that fires ``pick``
  with layer and head) selects that head everywhere. ``page.opens_attention(button)``: shows the
  selected head in the Attention tab. ``page.chooses_model(event, fn)`` opens the model that ``fn`` names.
* Long work: ``jobs.long_run(run, cancel, generator, inputs, outputs)``; the first output is a
  :func:`induction.ui.components.status.status`.
* All events are ``api_visibility="private"``; the named public endpoints are in :mod:`induction.ui.api`.
* ``page.chooses_set(component)``: the ``chosen`` event of a plot makes its heads the set of the Patching tab.
* Figures: :func:`induction.ui.components.plot.plot` shows the figures of :mod:`induction.viz` (hover, click, download);
  :func:`induction.ui.components.head_grid.head_grid` shows numbers per head; :mod:`induction.ui.components.note` holds
  text.
* Text from visitors reaches HTML only through ``props.value`` and ``textContent``, or ``html.escape``.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from induction import model as models
from induction import results
from induction.ui import api, jobs, links, theme
from induction.ui.components.head_grid import picked
from induction.ui.components.note import html, note
from induction.ui.components.plot import chosen_heads, script_route
from induction.ui.live_scan import shown_scan
from induction.ui.names import checked_model, default_model, facts, hosted, known_models, short_name

TITLE = "Induction Head Explorer"
TAGLINE = (
    "Find the attention heads that complete patterns (<code>A B … A → B</code>), look at them, "
    "and test whether the model needs them."
)
FOLDER = Path(__file__).parent
SESSIONS = 30  # whose state Gradio keeps, at some MB each: a program's session never ends by itself
# What changes within a moment counts as one change: its pulses are the same value.
_PULSE = """() => (window.ihPulse ??= new Promise((resolve) => setTimeout(() => {
  window.ihPulse = null;
  resolve(String(Math.random()));
}, 20)))"""


@dataclass
class Page:
    """What the tabs share while the page is being built; see the module's docstring."""

    demo: gr.Blocks
    tabs: gr.Tabs
    model: gr.Textbox
    head: gr.Textbox
    live: gr.Textbox
    current_tab: gr.Textbox
    wanted: gr.Textbox  # a model somebody asked for, not yet checked
    hidden: gr.Column  # for boxes that are never shown
    heads: gr.Textbox  # the set of the Patching tab, which lays it out
    linked: list[tuple[links.Parameter, gr.components.Component]] = field(default_factory=list)
    tab_names: list[str] = field(default_factory=list)
    openings: list[tuple[Callable[..., Any], list[Any], list[Any], bool]] = field(default_factory=list)

    def tab(self, name: str, label: str) -> gr.Tab:
        """A context manager for the tab's contents."""
        self.tab_names.append(name)
        tab = gr.Tab(label, id=name, elem_id=f"tab-{name}")
        tab.select(
            None, None, self.current_tab, js=f"() => {json.dumps(name)}", api_visibility="private"
        )  # fires for a visitor's click as well as for gr.Tabs(selected=...)
        return tab

    def link(self, parameter: links.Parameter, component: gr.components.Component) -> None:
        if parameter.name in {known.name for known, _ in self.linked}:
            raise ValueError(f"two tabs declare the link parameter '{parameter.name}'")
        self.linked.append((parameter, component))

    def show(
        self,
        tab: str,
        function: Callable[..., Any],
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        *,
        also: Sequence[Any] = (),
        model: bool = False,
    ) -> None:
        safe = jobs.on_model(function) if model else jobs.plain_errors(function)
        self.changed([self.current_tab, *inputs])(
            _only_when_open(tab, safe, len(outputs)),
            [self.current_tab, *inputs, *also],
            list(outputs),
            trigger_mode="always_last",
            **(jobs.MODEL if model else jobs.QUICK),
        )

    def changed(self, components: Sequence[Any]) -> Callable[..., Any]:
        """One event for a change of any of these components, with one listener.

        Gradio repeats a postponed ``always_last`` run by firing its whole event again. Where two components that
        change together have several listeners in common, these postpone and repeat each other for ever; with an
        event of its own, a listener repeats nothing but itself.
        """
        with self.hidden:
            pulse = gr.Textbox(visible=False)
        gr.on(
            [component.change for component in components],
            None,
            None,
            pulse,
            js=_PULSE,
            show_progress="hidden",
            api_visibility="private",
        )
        return pulse.change

    def selects_head(self, component: Any) -> None:
        def select(event: gr.EventData) -> Any:
            return picked(event) or gr.skip()

        component.pick(select, None, self.head, **jobs.QUICK)

    def chooses_set(self, component: Any) -> None:
        def choose_set(event: gr.EventData) -> Any:
            heads, _ = links.heads("selection").read(chosen_heads(event))
            if not heads:
                return gr.skip()
            gr.Info(f"The set in Patching is now {heads.replace(',', ', ')}.")
            return heads

        queued = {**jobs.QUICK, "queue": True}  # without it the message would not be seen
        component.chosen(choose_set, None, self.heads, **queued)

    def chooses_model(self, event: Callable[..., Any], which: Callable[..., Any], inputs: Any = None) -> None:
        """``event(which, inputs)``, as in ``(button.click, lambda: "gpt2")``, opens the model it returns."""
        event(which, inputs, self.wanted, **jobs.QUICK).then(
            jobs.plain_errors(choose), self.wanted, [self.model, self.head, self.live], **jobs.QUICK
        )

    def when_opened(
        self, function: Callable[..., Any], inputs: list[Any], outputs: list[Any], *, model: bool = False
    ) -> None:
        """Run once after the page was opened and its address was restored, whatever the tab."""
        safe = jobs.on_model(function) if model else jobs.plain_errors(function)
        self.openings.append((safe, inputs, outputs, model))

    def opens_attention(self, button: gr.Button) -> None:
        button.click(lambda: gr.Tabs(selected="attention"), None, self.tabs, **jobs.QUICK)


def _only_when_open(tab: str, function: Callable[..., Any], n_outputs: int) -> Callable[..., Any]:
    nothing = gr.skip() if n_outputs == 1 else [gr.skip()] * n_outputs

    if inspect.isgeneratorfunction(function):

        def steps(current: str, *values: Any) -> Iterator[Any]:
            if current == tab:
                yield from function(*values)
            else:
                yield nothing

        return steps

    def call(current: str, *values: Any) -> Any:
        return function(*values) if current == tab else nothing

    return call


def top_head(scan: results.Scan | None, score: str = "induction") -> str:
    """The highest head by a score; 0.0 where nothing was measured."""
    if scan is None or not scan.scores:
        return "0.0"
    layer, head, _ = scan.ranked(score if score in scan.scores else next(iter(scan.scores)))[0]
    return links.format_head(layer, head)


def shape_of(model: str, scan: results.Scan | None) -> tuple[int, int] | None:
    """``(layers, heads)`` from the scan or the catalogue; None for a model nobody measured yet."""
    if scan is not None:
        return scan.n_layers, scan.n_heads
    card = models.CATALOGUE.get(model)
    return (card.n_layers, card.n_heads) if card else None


def model_choices(model: str) -> list[tuple[str, str]]:
    """Models for the picker: those listed, and the one on show."""
    return [(short_name(name), name) for name in dict.fromkeys([*known_models(), model])]


def head_choices(
    scan: results.Scan | None, shape: tuple[int, int] | None, head: str
) -> list[tuple[str, str]]:
    """Heads for the picker, the strongest induction heads first, each with its score."""
    if scan is not None and "induction" in scan.scores:
        return [
            (f"{layer}.{head}  ·  {value:.2f}", f"{layer}.{head}") for layer, head, value in scan.ranked()
        ]
    n_layers, n_heads = shape or (0, 0)
    names = [links.format_head(layer, index) for layer in range(n_layers) for index in range(n_heads)]
    return [(name, name) for name in names or [head]]


def choose(model: str) -> tuple[Any, ...]:
    """A visitor picked a model: ``(model, head, live)``, the head being its strongest one."""
    model = checked_model(model)
    return model, top_head(shown_scan(model, "")), ""


def build() -> gr.Blocks:
    """Lay out and wire the whole page. Imports no torch."""
    from induction.ui.tabs import about as about_tab
    from induction.ui.tabs import attention as attention_tab
    from induction.ui.tabs import circuit as circuit_tab
    from induction.ui.tabs import patching as patching_tab
    from induction.ui.tabs import scan as scan_tab
    from induction.ui.tabs import training as training_tab

    start = default_model()
    scan = shown_scan(start, "")
    with gr.Blocks(title=TITLE, analytics_enabled=False) as demo:
        with gr.Row(elem_id="header", equal_height=False):
            html(f"<h1>{TITLE}</h1><p>{TAGLINE}</p>", elem_id="title")
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
        model_facts = note(facts(start), elem_id="facts")
        notice = note("", elem_id="notice")
        # The state of the page is in hidden boxes: a Dropdown fires change events of its own now and then.
        model = gr.Textbox(start, visible=False)
        head = gr.Textbox(top_head(scan), visible=False)
        live = gr.Textbox("", visible=False)
        current_tab = gr.Textbox("scan", visible=False)
        wanted = gr.Textbox("", visible=False)
        hidden = gr.Column(visible=False)
        heads = gr.Textbox(
            label="The set",
            info="layer.head, …; or click heads in the map",
            elem_id="set-heads",
            max_lines=3,
            render=False,
        )
        with gr.Tabs(selected="scan", elem_id="tabs") as tabs:
            page = Page(demo, tabs, model, head, live, current_tab, wanted, hidden, heads)
            page.link(links.Parameter("model", start, _read_model(start), always=True), model)
            page.link(links.choice("tab", "scan", lambda: page.tab_names, always=True), current_tab)
            page.link(links.head("head"), head)
            for tab in (
                scan_tab,
                attention_tab,
                patching_tab,
                circuit_tab,
                training_tab,
                about_tab,
            ):
                tab.build(page)
        _share_and_restore(page, notice)
        api.declare()
        page.changed([model, head, live])(
            _refill,
            [model, head, live],
            [model_picker, head_picker, model_facts],
            trigger_mode="always_last",
            **jobs.QUICK,
        )
        page.chooses_model(model_picker.input, lambda name: name, model_picker)
        head_picker.input(_checked_head, [model, live, head_picker], [head, head_picker], **jobs.QUICK)
    return demo


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


def _refill(model: str, head: str, live: str) -> list[Any]:
    """The pickers and the facts line follow the state."""
    scan = shown_scan(model, live)
    heads = head_choices(scan, shape_of(model, scan), head)
    return [
        gr.Dropdown(choices=model_choices(model), value=model),
        gr.Dropdown(choices=heads, value=head),
        facts(model, live),
    ]


def _checked_head(model: str, live: str, head: str) -> tuple[str, str]:
    scan = shown_scan(model, live)
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

    def restore(request: gr.Request) -> list[Any]:
        query = dict(request.query_params)
        if not any(parameter.name in query for parameter in parameters):
            return [gr.skip()] * (len(components) + 2)
        restored = links.read_query(query, parameters)
        values, notices = restored.values, restored.notices
        scan = shown_scan(values["model"], values.get("live", ""))
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
        "limit": links.PROMPT_LIMIT,
    }
    address = (FOLDER / "page.js").read_text(encoding="utf-8").replace("SETUP", json.dumps(setup))
    opened = page.demo.load(restore, None, [*components, page.tabs, notice], **jobs.QUICK)
    wiring: dict[str, Any] = {
        "inputs": components,
        "outputs": [share, share_note],
        "js": address,
        "show_progress": "hidden",
        "api_visibility": "private",
    }
    opened.then(None, **wiring)
    for function, inputs, outputs, uses_model in page.openings:
        opened.then(function, inputs, outputs, **(jobs.MODEL if uses_model else jobs.QUICK))
    gr.on([component.change for component in components], None, **wiring)


def launch_options() -> dict[str, Any]:
    """Arguments of ``launch``: Gradio takes theme and style sheet there.

    Large answers are compressed, at the level that takes half the time of the highest for 1 % more; Starlette leaves
    event streams as they are, so the steps of a run arrive one by one.
    """
    compression = Middleware(GZipMiddleware, minimum_size=2000, compresslevel=5)
    return {
        "theme": theme.theme(),
        "css": theme.css(),
        "run_history": False,
        "state_session_capacity": SESSIONS,
        "footer_links": ["api", "settings"],
        "app_kwargs": {"middleware": [compression], "routes": [script_route()]},
    }
