"""Scan: the scores of every head, bundled or measured now, ranked, drawn and put into words."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from induction import model as models
from induction.analysis import reading
from induction.analysis.result import Scan
from induction.analysis.scores import SCORES
from induction.base import InputError
from induction.results import SCANS
from induction.ui import jobs, links, runs, words
from induction.ui.components.exports import exported, exports
from induction.ui.components.gallery import SHOW, gallery, picked_model
from induction.ui.components.head_grid import grid_value, head_grid, natural_height, picked
from induction.ui.components.head_table import head_table, table_value
from induction.ui.components.note import html, note
from induction.ui.components.plot import plot, plot_value
from induction.ui.names import short_name
from induction.ui.panel import Panel, back_button, back_visible
from induction.ui.tabs.scan_steps import knocked_out, steps
from induction.ui.terms import explained
from induction.viz import scan as figures
from induction.viz.theme import LIGHT, PAGE

if TYPE_CHECKING:
    from induction.ui.page import Page

NO_SECOND = ""  # nothing to compare with
UNMEASURED = "No scores yet for this model: press Run scan."


# -- what the tab shows, each a function of (model, live, score, head) ---------------------------------------


def draw(model: str, live: str, score: str, heads: str = "") -> list[Any]:
    """What does not depend on the selected head, in the order of ``build``."""
    scan = runs.shown("scan", model, live)
    name, there = short_name(model), gr.update(visible=scan is not None)
    return [
        headline(model, live, scan),
        scan_grid(scan, score),
        definition(scan, score),
        " ".join(reading.remarks(scan, score, "induction")) if scan else "",
        back_visible("scan", model, live),
        there,
        str(reading.selection(scan, score)) if scan and score in scan.scores else "",
        table_value(scan, score),
        plot_value(
            f"{name}-induction-vs-previous",
            lambda: figures.induction_vs_previous(
                _needed(scan), palette=PAGE, marked=(heads or "").split(",")
            ),
        ),
        reading.used(scan) if scan else "",
        plot_value(f"{name}-loss", lambda: figures.loss_curve(_needed(scan), palette=PAGE)),
        {"model": model, "live": live, "score": score} if scan else None,
    ]


def headline(model: str, live: str, scan: Scan | None) -> str:
    """Whose figures these are, and the evidence in three steps."""
    is_live = runs.live("scan", model, live) is not None
    return words.heading(short_name(model), scan, live=is_live) + (steps(scan) if scan else "")


def provenance(scan: Scan) -> str:
    """How the scores were measured, those of one protocol together."""
    protocols: dict[str, list[str]] = {}
    for name, score in scan.scores.items():
        protocols.setdefault(score.protocol, []).append(SCORES[name].title)
    return words.measured(scan, [(", ".join(names), protocol) for protocol, names in protocols.items()])


def _needed(scan: Scan | None) -> Scan:
    if scan is None:
        raise InputError(UNMEASURED)
    return scan


def definition(scan: Scan | None, score: str) -> str:
    """What a score means, what it is read against where it was measured, and how it was."""
    declared = SCORES[score]
    levels = scan.scores[score].levels if scan and score in scan.scores else ""
    read_against = f" {levels[:1].upper()}{levels[1:]}." if levels else ""
    text = f"{declared.meaning}{read_against} Source: {declared.source}."
    return f"<p class='ih-note'>{explained(text)}</p>{provenance(scan) if scan else ''}"


def scan_grid(scan: Scan | None, score: str, **look: Any) -> dict[str, Any]:
    """The value of a grid of heads for one score of a scan; ``look`` as of :func:`grid_value`."""
    title = SCORES[score].title
    if scan is None:
        return grid_value(None, title=title, missing=UNMEASURED)
    if score not in scan.scores:
        there = ", ".join(SCORES[name].title for name in scan.scores)
        missing = f"{title} was not measured for {scan.model}; there are: {there}."
        return grid_value(None, title=title, missing=missing)
    values = scan.scores[score]
    return grid_value(
        values.mean,
        title=title,
        low=values.low,
        high=values.high,
        std=values.std,
        chance=values.chance,
        **look,
    )


def draw_head(model: str, live: str, score: str, head: str) -> str:
    scan = runs.shown("scan", model, live)
    return head_card(scan, score, head) + knocked_out(scan, model, head)


def head_card(scan: Scan | None, score: str, head: str) -> str:
    """All scores of the selected head as bars with their chance level."""
    place = links.parse_head(head)
    if scan is None or place is None or place[0] >= scan.n_layers or place[1] >= scan.n_heads:
        return f"<h2>Head {escape(head)}</h2>"
    layer, index = place
    rows = []
    for name, values in scan.scores.items():
        value = values.mean[layer][index]
        tick = f"<i style='left:{values.chance:.1%}'></i>" if values.chance is not None else ""
        bar = f"<span class='ih-bar' style='width:{min(max(value, 0), 1):.1%}'></span>"
        rows.append(
            f"<tr><th scope='row'>{escape(SCORES[name].title)}</th>"
            f"<td class='ih-bar-cell'><span class='ih-track'>{bar}{tick}</span></td><td>{value:.2f}</td>"
            f"<td class='ih-interval'>{escape(figures.spread(values, layer, index))}</td></tr>"
        )
    by = score if score in scan.scores else next(iter(scan.scores))
    ranked = [(layer, index) for layer, index, _ in scan.ranked(by)]
    rank = ranked.index(place) + 1
    return (
        f"<h2>Head {layer}.{index}</h2>"
        f"<p>Rank {rank} of {len(ranked)} by {escape(SCORES[by].title)} score.</p>"
        f"<table class='ih-table ih-card-table'><caption class='ih-hidden'>Scores of head {layer}.{index}</caption>"
        f"{''.join(rows)}</table>"
    )


def export(kind: str, asked: dict[str, Any]) -> tuple[str, Any]:
    """File name and content of an export.

    Raises:
        InputError: nothing is measured, or the request names no score.
    """
    model, live, score, head = (str(asked.get(key, "")) for key in ("model", "live", "score", "head"))
    scan = _needed(runs.shown("scan", model, live))
    name = "-".join(["scan", short_name(scan.model), *([live] if live else [])])
    return exported(
        kind, name, scan, lambda: figures.grid(scan, score, palette=LIGHT, selected=head), f"-{score}"
    )


def compared(model: str, live: str, score: str, second: str) -> list[Any]:
    """Two models side by side, the one on show and a bundled one, on one axis of depth."""
    first, other = runs.shown("scan", model, live), SCANS.find(second)
    if first is None or other is None:
        return [gr.Column(visible=False), gr.skip(), gr.skip(), gr.skip(), gr.skip()]
    height = max(natural_height(scan.n_layers) for scan in (first, other))
    return [
        gr.Column(visible=True),
        _heading(model, first),
        scan_grid(first, score, height=height),
        _heading(second, other),
        scan_grid(other, score, height=height, another=True),
    ]


def swapped(event: gr.EventData, model: str, second: str) -> list[Any]:
    """A head of the second model was picked: that model is on show with it, beside the one that was."""
    head = picked(event)
    if not head or SCANS.find(second) is None:
        return [gr.skip()] * 4
    return [second, head, "", model if SCANS.find(model) else NO_SECOND]


def _heading(name: str, scan: Scan) -> str:
    return f"<h3>{escape(short_name(name))}</h3><p>{escape(scan.verdict())}</p>"


# -- the live scan -------------------------------------------------------------------------------------------


def need(model: str) -> tuple[str, Any]:
    """What a live run of this model needs that is not here, and the button to a model that needs nothing."""
    if models.availability(model) != "download":
        return "", gr.update(visible=False)
    card = models.CATALOGUE.get(model)
    size = f" {card.download_mb} MB" if card else ""
    offline = offline_choice()
    text = f"The weights are not on this machine: the first run downloads{size} from the Hugging Face Hub."
    return text, gr.update(value=f"Use {offline} instead: works offline", visible=bool(offline))


def offline_choice() -> str:
    return next(iter(models.offline_models()), "")


# -- layout and wiring ---------------------------------------------------------------------------------------


def build(page: Page) -> None:
    model, head, live = page.model, page.head, page.live
    first = draw(model.value, "", "induction")  # in the page before anything is asked for
    text, offline_button = need(model.value)
    with page.tab("scan", "Scan"):
        heading = html(first[0], elem_id="headline", elem_classes=["ih-results"])
        with gr.Row(elem_classes=["ih-panels", "ih-results"]):
            with gr.Column(scale=3, min_width=320, elem_classes=["ih-panel"]):
                grid = head_grid(first[1], elem_id="scan-grid")
                meaning, warned = html(first[2], elem_id="meaning"), note(first[3], elem_id="remarks")
                back = back_button("put-back")
            with gr.Column(scale=2, min_width=300, elem_classes=["ih-panel"]):
                card = html(draw_head(model.value, "", "induction", head.value), elem_id="head-card")
                attention = gr.Button("See it in Attention", size="sm", elem_id="open-attention")
        # The style sheet shows these two above the grid, which the Tab key reaches first.
        cards = gallery(model.value, elem_id="gallery")
        score = gr.Radio(
            [(declared.title, declared.name) for declared in SCORES.values()],
            value="induction",
            label="Score",
            show_label=False,
            container=False,
            elem_id="score",
        )
        panel = Panel("scan", "Run scan")
        needs = note(text, elem_id="needs")
        offline = gr.Button(size="sm", elem_id="offline", **_given(offline_button))
        measured, *figures_shown = _figures_area(first)
        compare = _compare_area(page)

    page.link(links.choice("score", "induction", SCORES), score)
    shared = [model, live, score]
    shown = [heading, grid, meaning, warned, back, measured, *figures_shown]
    page.show("scan", draw, [*shared, page.heads], shown)
    page.show("scan", draw_head, [*shared, head], [card])
    compare(shared)
    page.show("scan", need, [model], [needs, offline])
    _, table, scatter, *_ = figures_shown
    for component in (grid, table, scatter):
        page.selects_head(component)
    page.chooses_set(scatter)
    page.opens_attention(attention)
    page.chooses_model(offline.click, offline_choice)
    page.chooses_model(cards.pick, picked_model)
    model.change(None, model, None, js=SHOW, **jobs.QUICK)
    panel.wire(page, live, back)
    panel.follow(live, list(panel.controls))


def _given(update: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a button from an update of it."""
    return {"value": update.get("value", ""), "visible": update["visible"]}


def _figures_area(first: list[Any]) -> list[Any]:
    """What there is of a measured model besides grid and card; on a phone one beside the other, to be swiped."""
    with gr.Row(
        elem_classes=["ih-panels", "ih-results", "ih-swipe"], visible=first[5]["visible"]
    ) as measured:
        with gr.Column(scale=5, min_width=320, elem_classes=["ih-panel"]):
            html("<h2>Ranking</h2>")
            picked, table = note(first[6], elem_id="selection"), head_table(first[7], elem_id="ranking")
        with gr.Column(scale=4, min_width=320, elem_classes=["ih-panel"]):
            html("<h2>Two kinds of head</h2>")
            scatter = plot(first[8], elem_id="scatter")
        with gr.Column(scale=4, min_width=320, elem_classes=["ih-panel"]):
            html("<h2>Does the model use it?</h2>")
            used, loss = note(first[9], elem_id="used"), plot(first[10], elem_id="loss")
    files = exports(export, first[11], elem_id="export")
    return [measured, picked, table, scatter, used, loss, files]


def _compare_area(page: Page) -> Callable[[list[Any]], None]:
    """Two models side by side; returns what wires it."""
    second = gr.Dropdown(
        [("nothing", NO_SECOND), *((short_name(name), name) for name in SCANS.names())],
        value=NO_SECOND,
        label="Compare the model on show with",
        elem_id="compare",
    )
    with gr.Column(visible=False, elem_classes=["ih-panel", "ih-results"]) as pair:
        note("Both grids run from the first layer to the last: what is equally high is equally deep.")
        with gr.Row():
            with gr.Column(min_width=320):
                left_title, left = html(""), head_grid(None, elem_id="compare-left")
            with gr.Column(min_width=320):
                right_title, right = html(""), head_grid(None, elem_id="compare-right")

    def wire(shared: list[Any]) -> None:
        page.link(links.choice("compare", NO_SECOND, SCANS.names), second, at="compare-left")
        page.show("scan", compared, [*shared, second], [pair, left_title, left, right_title, right])
        page.selects_head(left)
        right.pick(swapped, [page.model, second], [page.model, page.head, page.live, second], **jobs.QUICK)

    return wire
