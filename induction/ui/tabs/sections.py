"""Tabs of experiments that need no layout of their own: each is a section with controls, run, what was found, its
figures, its numbers and exports. Several share a tab, where one is chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from induction.analysis.reading import passing
from induction.base import InputError, Result, head_name, parse_heads
from induction.experiment import Experiment, experiments
from induction.ui import jobs, links, runs
from induction.ui.components.exports import exported, exports
from induction.ui.components.note import html, note
from induction.ui.components.plot import plot, plot_value
from induction.ui.names import short_name
from induction.ui.panel import Panel, back_button, back_visible, wishes
from induction.ui.tabs.cards import continuations, evidence_card, excerpts
from induction.ui.words import headline, table
from induction.viz.by_experiment import FIGURES
from induction.viz.theme import LIGHT, PAGE

if TYPE_CHECKING:
    from induction.ui.page import Page

ROWS = 200  # shown; exports have all
LONGEST_CELL = 60
SWITCHES = 12  # heads that can be switched off by a click, the highest by induction score


class Look(NamedTuple):
    """How a result is shown beside its verdict, its numbers and its figure.

    Attributes:
        card: HTML about the selected head, of the result, the model's name and the head.
        picks: whether marks of the figure select a head.
        button: what its button says, where that is not "Run" and its title.
        switches: whether heads of its set can be switched off and on by a click.
    """

    card: Callable[[Any, str, str], str] | None = None
    picks: bool = False
    button: str = ""
    switches: bool = False


#: By experiment.
LOOKS: dict[str, Look] = {
    "knockout": Look(button="Knock out"),
    "why": Look(button="Explain"),
    "next": Look(continuations, button="Continue", switches=True),
    "evidence": Look(evidence_card, picks=True),
    "real_text": Look(excerpts, picks=True, button="Read prose"),
}


@dataclass(frozen=True)
class Group:
    """A tab: its title, what it is for, and the experiments that it shows."""

    title: str
    help: str
    shows: tuple[str, ...]


GROUPS: dict[str, Group] = {
    "edges": Group(
        "Edges",
        "What one edge of attention does, and why it is there. Knockout takes the attention to where induction looks "
        "and leaves the rest of the head; the score before the softmax is split into what stands at the query "
        "times what stands at the key.",
        ("knockout", "why"),
    ),
    "behaviour": Group(
        "Behaviour",
        "What the model does without a set of heads, by default the induction heads, beside random sets of the same "
        "layers.",
        ("next", "prose", "recall", "loops", "few_shot"),
    ),
    "evidence": Group(
        "Evidence",
        "Everything that is known of a head on one card: each test with its interval, its control and the threshold "
        "it is held against; and what heads do in real text.",
        ("evidence", "real_text"),
    ),
}


def build(page: Page, name: str, group: Group) -> None:
    """The tab of a group."""
    shown = [experiments()[one] for one in group.shows]
    titles = [(one.title, one.name) for one in shown]
    with page.tab(name, group.title):
        which = gr.Radio(
            titles,
            value=shown[0].name,
            show_label=False,
            container=False,
            visible=len(shown) > 1,
            elem_id=f"{name}-shows",
        )
        columns = []
        for number, experiment in enumerate(shown):
            with gr.Column(visible=not number) as column:
                section(page, name, experiment, which)
            columns.append(column)
        note(group.help)
    if len(shown) > 1:
        page.link(links.choice(f"{name}_shows", shown[0].name, group.shows), which)
        names = [one.name for one in shown]

        def show(chosen: str) -> list[Any]:
            return [gr.update(visible=one == chosen) for one in names]

        which.change(show, which, columns, **jobs.QUICK)


def section(page: Page, tab: str, experiment: Experiment, which: gr.Radio) -> None:
    """One experiment, drawn while it is the one that is chosen."""
    name, look = experiment.name, LOOKS.get(experiment.name, Look())
    draws = FIGURES.get(name)

    def draw(model: str, shown: str, chosen: str) -> list[Any]:
        if chosen != name:
            return [gr.skip()] * 5
        result = runs.shown(name, model, shown)
        live = runs.live(name, model, shown) is not None
        verdict = result.verdict() if result else f"Not measured yet: press {panel.button}."
        return [
            headline(
                f"{experiment.title}: {short_name(model)}",
                result,
                verdict,
                live=live,
                protocols=_protocols(result),
            ),
            plot_value(f"{name}-{short_name(model)}", lambda: _figure(draws, result, panel.button)),
            _table(result) if result else "",
            {"model": model, "shown": shown} if result else None,
            back_visible(name, model, shown),
        ]

    def draw_card(model: str, shown: str, chosen: str, head: str) -> str:
        result = runs.shown(name, model, shown) if chosen == name else None
        return look.card(result, model, head) if result and look.card else ""

    def export(kind: str, asked: dict[str, Any]) -> tuple[str, Any]:
        result = runs.shown(name, str(asked.get("model", "")), str(asked.get("shown", "")))
        if result is None:
            raise InputError(f"Not measured yet: press {panel.button}.")
        figure = (lambda: draws(result, palette=LIGHT)) if draws else None
        return exported(kind, f"{name}-{short_name(result.model)}", result, figure)

    on_show = gr.Textbox("", visible=False)
    panel = Panel(name, look.button or f"Run {experiment.title.lower()}")
    group = switches(page, tab, name, panel) if look.switches else None
    with gr.Column(elem_classes=["ih-results"]):
        title, back = html("", elem_id=f"{name}-headline"), back_button(f"{name}-put-back")
        with gr.Row(elem_classes=["ih-panels"]):
            with gr.Column(min_width=320, elem_classes=["ih-panel"], visible=look.card is not None):
                card = html("", elem_id=f"{name}-card")
            with gr.Column(min_width=320, elem_classes=["ih-panel"], visible=draws is not None):
                figure = plot(elem_id=f"{name}-figure")
        with gr.Column(elem_classes=["ih-panel"]):
            numbers = html("", elem_id=f"{name}-table")
            files = exports(export, None, figures=draws is not None, elem_id=f"{name}-export")
    panel.wire(page, on_show, back, tab=tab)
    if group:
        group.input(switch, group, [panel.controls["heads"], panel.wish], **jobs.TOASTS)
    panel.follow(on_show, list(panel.controls))
    page.show(tab, draw, [page.model, on_show, which], [title, figure, numbers, files, back])
    if look.card:
        page.show(tab, draw_card, [page.model, on_show, which, page.head], [card])
    if look.picks:
        page.selects_head(figure)


def switches(page: Page, tab: str, name: str, panel: Panel) -> gr.CheckboxGroup:
    """The likeliest heads as switches: a click takes one out of the model or puts it back, and shows what comes."""
    group = gr.CheckboxGroup(
        [],
        label="Heads switched off",
        info="Click to switch a head off or on; each state is kept",
        elem_id=f"{name}-switches",
    )

    def fill(model: str, heads: str) -> Any:
        scan = runs.shown("scan", model)
        if scan is None:
            return gr.update(visible=False)
        try:
            off = parse_heads(heads, scan.n_layers, scan.n_heads) if heads.strip() else passing(scan)
        except InputError:
            return gr.skip()
        likely = [(layer, head) for layer, head, _ in scan.ranked()[:SWITCHES]]
        names = [head_name(head) for head in dict.fromkeys([*likely, *off])]
        return gr.update(choices=names, value=list(map(head_name, off)), visible=True)

    page.show(tab, fill, [page.model, panel.controls["heads"]], [group])
    return group


def switch(heads: list[str]) -> tuple[Any, Any]:
    """``(the set, wish)``; with no head switched off there is nothing to compare."""
    if not heads:
        gr.Info("With all heads on there is nothing to compare: switch one off.")
        return gr.skip(), gr.skip()
    return ", ".join(heads), wishes()


def _protocols(result: Result | None) -> list[tuple[str, str]]:
    return [("", protocol)] if (protocol := getattr(result, "protocol", "")) else []


def _figure(draws: Callable[..., Any] | None, result: Result | None, button: str) -> Any:
    if draws is None or result is None:
        raise InputError(f"Not measured yet: press {button}.")
    return draws(result, palette=PAGE)


def _table(result: Result) -> str:
    rows = list(islice(result.rows(), ROWS))
    written = [[_cell(cell) for cell in row.values()] for row in rows]
    numbers = table(rows[0] if rows else [], written, result.verdict())
    shown = f"the first {ROWS} rows" if len(rows) == ROWS else "all numbers"
    return f"<details><summary>As a table: {shown}</summary>{numbers}</details>"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"
