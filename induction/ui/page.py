"""What the tabs share: the state of the page, how a tab shows things, and how heads and models are chosen.

The whole page is a function of its link parameters (:mod:`induction.ui.links`): model, head, tab, and
what each tab declares. The address follows them, and opening an address restores them.

A tab is one file of :mod:`induction.ui.tabs` with ``def build(page: Page) -> None``, listed in
:mod:`induction.ui.app`. Inside it::

    def build(page: Page) -> None:
        with page.tab("scan", "Scan"):                      # tab=scan in the address
            grid = head_grid()
            panel = Panel("scan", "Run scan")               # controls, buttons and status from its settings
        page.show("scan", draw, [page.model, page.head, page.live], [grid])
        page.selects_head(grid)

* ``page.model``, ``page.head`` (``"5.1"``), ``page.current_tab`` and ``page.live`` are hidden Textboxes that
  all tabs share: read them as inputs, never write them except through the methods here. ``live`` says which
  scan is shown: ``runs.shown("scan", model, live)`` is the result or None.
* Parameter names are global: give tab-specific ones a prefix. Defaults stay out of the address.
* All events are ``api_visibility="private"``; the named public endpoints are in :mod:`induction.ui.api`.
* Text from visitors reaches HTML only through ``props.value`` and ``textContent``, or ``html.escape``.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from induction import model as models
from induction.analysis.result import Scan
from induction.ui import jobs, links, runs
from induction.ui.components.plot import chosen_heads
from induction.ui.components.script import packing
from induction.ui.names import checked_model, known_models, labelled

# What changes within a moment counts as one change: its pulses are the same value. A tab that is not open gets none,
# and none comes before a link's values are there.
_PULSE = """(current, pulse) => {
  if (TAB && current !== TAB) return pulse;
  return window.ihPulse ??= window.ih.whenArrived.then(() => new Promise((resolve) => setTimeout(() => {
    window.ihPulse = null;
    resolve(String(Math.random()));
  }, 20)));
}"""


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
    places: dict[str, str] = field(default_factory=dict)  # ids to scroll to, by parameter
    tab_names: list[str] = field(default_factory=list)

    def tab(self, name: str, label: str) -> gr.Tab:
        """A context manager for the tab's contents."""
        self.tab_names.append(name)
        tab = gr.Tab(label, id=name, elem_id=f"tab-{name}")
        tab.select(
            None, None, self.current_tab, js=f"() => {json.dumps(name)}", api_visibility="private"
        )  # fires for a visitor's click as well as for gr.Tabs(selected=...)
        return tab

    def link(self, parameter: links.Parameter, component: gr.components.Component, at: str = "") -> None:
        """Put a component's value into the address and restore it from there.

        Args:
            at: id of the element that a link which has this parameter scrolls to.
        """
        if parameter.name in {known.name for known, _ in self.linked}:
            raise ValueError(f"two tabs declare the link parameter '{parameter.name}'")
        self.linked.append((parameter, component))
        if at:
            self.places[parameter.name] = at

    def is_linked(self, component: gr.components.Component) -> bool:
        return any(known is component for _, known in self.linked)

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
        """Run ``function(*inputs, *also)`` whenever an input changes while the tab is open, and when it is opened.

        Only the last of several changes counts; a change of ``also`` does not. The function may be a generator; it must
        be cheap or cached. With ``model`` it runs in the model queue, and no other work on a model meanwhile.
        """
        safe = jobs.on_model(function) if model else jobs.plain_errors(function)
        self.changed([self.current_tab, *inputs], tab)(
            _only_when_open(tab, safe, list(outputs)),
            [self.current_tab, *inputs, *also],
            list(outputs),
            trigger_mode="always_last",
            **(jobs.MODEL if model else jobs.QUICK),
        )

    def changed(self, components: Sequence[Any], tab: str = "") -> Callable[..., Any]:
        """One event for a change of any of these components, with one listener; of a tab, while that is open.

        Gradio repeats a postponed ``always_last`` run by firing its whole event again. Where two components that
        change together have several listeners in common, these postpone and repeat each other for ever; with an
        event of its own, a listener repeats nothing but itself.
        """
        with self.hidden:
            pulse = gr.Textbox("", visible=False)
        gr.on(
            [component.change for component in components],
            None,
            [self.current_tab, pulse],
            pulse,
            js=_PULSE.replace("TAB", json.dumps(tab)),
            show_progress="hidden",
            api_visibility="private",
        )
        return pulse.change

    def selects_head(self, component: Any) -> None:
        """The component's ``pick`` event, with layer and head, selects that head everywhere, without the server."""
        component.pick(None, None, self.head, js="() => window.ih.selectedHead()", **jobs.QUICK)

    def chooses_set(self, component: Any) -> None:
        """The component's ``chosen`` event, with heads, makes them the set of the Patching tab."""

        def choose_set(event: gr.EventData) -> Any:
            heads, _ = links.heads("selection").read(chosen_heads(event))
            if not heads:
                return gr.skip()
            gr.Info(f"The set in Patching is now {heads.replace(',', ', ')}.")
            return heads

        component.chosen(choose_set, None, self.heads, **jobs.TOASTS)

    def chooses_model(self, event: Callable[..., Any], which: Callable[..., Any], inputs: Any = None) -> None:
        """``event(which, inputs)``, as in ``(button.click, lambda: "gpt2")``, opens the model it returns."""
        event(which, inputs, self.wanted, **jobs.QUICK).then(
            jobs.plain_errors(choose), self.wanted, [self.model, self.head, self.live], **jobs.QUICK
        )

    def opens_attention(self, button: gr.Button) -> None:
        button.click(lambda: gr.Tabs(selected="attention"), None, self.tabs, **jobs.QUICK)


def _only_when_open(tab: str, function: Callable[..., Any], outputs: list[Any]) -> Callable[..., Any]:
    nothing = gr.skip() if len(outputs) == 1 else [gr.skip()] * len(outputs)

    if inspect.isgeneratorfunction(function):

        def steps(current: str, *values: Any) -> Iterator[Any]:
            if current == tab:
                for step in function(*values):
                    yield packing(outputs, step)
            else:
                yield nothing

        return steps

    def call(current: str, *values: Any) -> Any:
        return packing(outputs, function(*values)) if current == tab else nothing

    return call


def top_head(scan: Scan | None, score: str = "induction") -> str:
    """The highest head by a score; 0.0 where nothing was measured."""
    if scan is None or not scan.scores:
        return "0.0"
    layer, head, _ = scan.ranked(score if score in scan.scores else next(iter(scan.scores)))[0]
    return links.format_head(layer, head)


def shape_of(model: str, scan: Scan | None) -> tuple[int, int] | None:
    """``(layers, heads)`` from the scan or the catalogue; None for a model nobody measured yet."""
    if scan is not None:
        return scan.n_layers, scan.n_heads
    card = models.CATALOGUE.get(model)
    return (card.n_layers, card.n_heads) if card else None


def model_choices(model: str) -> list[tuple[str, str]]:
    """Models for the picker: those listed, and the one on show."""
    return [(labelled(name), name) for name in dict.fromkeys([*known_models(), model])]


def head_choices(scan: Scan | None, shape: tuple[int, int] | None, head: str) -> list[tuple[str, str]]:
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
    return model, top_head(runs.shown("scan", model)), ""
