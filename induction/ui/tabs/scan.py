"""Scan: the scores of every head, bundled or measured now, ranked, drawn and put into words."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr
from plotly.graph_objects import Figure

from induction import model as models
from induction import results
from induction.analysis.scores import SCORES
from induction.base import InputError
from induction.data_gen.sequences import TOKEN_SETS
from induction.results import Scan
from induction.ui import jobs, links, live_runs
from induction.ui.components import status
from induction.ui.components.exports import exports
from induction.ui.components.gallery import gallery, picked_model
from induction.ui.components.head_grid import grid_value, head_grid
from induction.ui.components.head_table import head_table, table_value
from induction.ui.components.note import html, note
from induction.ui.components.plot import plot, plot_value
from induction.ui.live_scan import LENGTH, PROMPTS, Settings, is_live, kept, measure, parameter, shown_scan
from induction.ui.names import short_name
from induction.viz import scan as figures
from induction.viz.theme import LIGHT, PAGE

if TYPE_CHECKING:
    from induction.ui.page import Page

NO_SECOND = ""  # nothing to compare with


# -- what the tab shows, each a function of (model, live, score, head) ---------------------------------------


def draw(model: str, live: str, score: str, head: str, heads: str = "") -> list[Any]:
    """Everything above the live controls, in the order of ``build``."""
    scan = shown_scan(model, live)
    name = short_name(model)
    return [
        definition(scan, score),
        scan_grid(scan, score, head),
        headline(model, scan, is_live(model, live)),
        head_card(scan, score, head),
        table_value(scan, score, head),
        plot_value(f"{name}-loss", lambda: figures.loss_curve(_needed(scan), palette=PAGE)),
        plot_value(
            f"{name}-induction-vs-previous",
            lambda: figures.induction_vs_previous(
                _needed(scan), palette=PAGE, selected=head, marked=heads.split(",")
            ),
        ),
        {"model": model, "live": live, "score": score, "head": head},
        gr.update(visible=is_live(model, live) and model in results.bundled_names()),
        remarks(scan, score),
        selection(scan, score),
    ]


def _needed(scan: Scan | None) -> Scan:
    if scan is None:
        raise InputError("Nothing measured yet for this model: run a live scan below.")
    return scan


def definition(scan: Scan | None, score: str) -> str:
    """What a score means and, where it was measured, what it is read against."""
    declared = SCORES[score]
    levels = figures.levels(scan.scores[score]) if scan and score in scan.scores else ""
    read_against = f" {levels[:1].upper()}{levels[1:]}." if levels else ""
    return f"{declared.meaning}{read_against} Source: {declared.source}."


def remarks(scan: Scan | None, score: str) -> str:
    """What has to be known before the score on show, or the verdict, is believed."""
    return " ".join(results.remarks(scan, score, "induction")) if scan else ""


def selection(scan: Scan | None, score: str) -> str:
    """The leader of the ranking as the pick of many."""
    return str(results.selection(scan, score)) if scan and score in scan.scores else ""


def scan_grid(scan: Scan | None, score: str, selected: str) -> dict[str, Any]:
    """The value of a grid of heads for one score of a scan."""
    title = SCORES[score].title
    if scan is None:
        return grid_value(None, title=title, missing="Nothing measured yet: run a live scan below.")
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
        selected=selected,
    )


def headline(model: str, scan: Scan | None, live: bool) -> str:
    """Verdict and provenance as HTML of the project's own words; names are escaped."""
    if scan is None:
        return (
            f"<h2>{escape(short_name(model))}</h2><p>No scores yet for this model. Run a live scan below.</p>"
        )
    kind = "Measured live" if live else "Published by others" if scan.kind == "published" else "Bundled"
    details = [scan.origin.rstrip(".") + "."]
    if scan.seconds is not None:
        details.append(f"{scan.seconds:.1f} s.")
    if scan.versions:
        details.append(", ".join(f"{name} {version}" for name, version in scan.versions.items()) + ".")
    protocols = list(dict.fromkeys(score.protocol for score in scan.scores.values()))
    items = "".join(
        f"<li>{escape(', '.join(SCORES[n].title for n, s in scan.scores.items() if s.protocol == protocol))}: "
        f"{escape(protocol)}</li>"
        for protocol in protocols
    )
    badge = f"<span class='ih-badge' data-kind='{'live' if live else scan.kind}'>{kind}</span>"
    return (
        f"<h2>{escape(short_name(scan.model))} {badge}</h2>"
        f"<p class='ih-verdict'>{escape(results.verdict(scan))}</p>"
        "<details><summary>How this was measured</summary>"
        f"<p>{escape(' '.join(details))}</p><ul>{items}</ul></details>"
    )


def head_card(scan: Scan | None, score: str, head: str) -> str:
    """All scores of the selected head as bars with their chance level."""
    place = links.parse_head(head)
    if scan is None or place is None or place[0] >= scan.n_layers or place[1] >= scan.n_heads:
        return "<h2>No head selected</h2><p>Click a cell of the grid, or choose a head above.</p>"
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


def export(kind: str, asked: dict[str, Any]) -> tuple[str, str | Figure]:
    """File name and text of an export, or its figure.

    Raises:
        InputError: nothing is measured, or the request names no score.
    """
    model, live, score = (str(asked.get(key, "")) for key in ("model", "live", "score"))
    scan = _needed(shown_scan(model, live))
    name = "-".join(["scan", short_name(scan.model), *([live] if live else [])])
    if kind == "json":
        return f"{name}.json", results.to_json(scan)
    if kind == "csv":
        return f"{name}.csv", results.to_csv(scan)
    grid = figures.grid(scan, score, palette=LIGHT, selected=str(asked.get("head", "")))
    return f"{name}-{score}.svg", grid


def compared(model: str, live: str, score: str, head: str, second: str) -> list[Any]:
    """Two models side by side: the one on show and a bundled one."""
    if second not in results.bundled_names():
        return [gr.Row(visible=False), gr.skip(), gr.skip(), gr.skip(), gr.skip()]
    first, other = shown_scan(model, live), results.bundled(second)
    return [
        gr.Row(visible=True),
        _heading(model, first),
        scan_grid(first, score, head),
        _heading(second, other),
        scan_grid(other, score, ""),
    ]


def _heading(name: str, scan: Scan | None) -> str:
    verdict = f"<p>{escape(results.verdict(scan))}</p>" if scan else ""
    return f"<h3>{escape(short_name(name))}</h3>{verdict}"


# -- the live scan -------------------------------------------------------------------------------------------


def run_live(
    model: str, live: str, n_prompts: float, length: float, vocab: str, seed: float
) -> Iterator[live_runs.Step]:
    """Steps of a live scan: ``(status, live)``; ``live`` names the result once it is there."""
    settings = Settings(int(n_prompts or 0), int(length or 0), vocab, int(seed or 0))
    yield from live_runs.run(model, live, settings, kept, measure)


def rerun(model: str, live: str) -> Iterator[live_runs.Step]:
    """What a link's live scan needs when it is opened."""
    yield from live_runs.rerun(model, live, Settings.parse(live), kept, measure, "Run scan")


def need(model: str) -> tuple[str, Any]:
    """What a live run of this model needs, and the button to a model that needs nothing."""
    if models.availability(model) != "download":
        return "Runs on this machine, without a download.", gr.update(visible=False)
    card = models.CATALOGUE.get(model)
    size = f" {card.download_mb} MB" if card else ""
    offline = next(iter(models.offline_models()), None)
    text = f"The weights are not on this machine: the first run downloads{size} from the Hugging Face Hub."
    return text, gr.update(value=f"Use {offline} instead: works offline", visible=offline is not None)


def offline_choice() -> str:
    return next(iter(models.offline_models()), "")


# -- layout and wiring ---------------------------------------------------------------------------------------


def build(page: Page) -> None:
    model, head, live = page.model, page.head, page.live
    first = draw(model.value, "", "induction", head.value)
    text, offline_button = need(model.value)
    with page.tab("scan", "Scan"):
        score = gr.Radio(
            [(declared.title, declared.name) for declared in SCORES.values()],
            value="induction",
            label="Score",
            elem_id="score",
        )
        meaning = note(first[0], elem_id="meaning")
        warned = note(first[9], elem_id="remarks")
        with gr.Row(elem_classes=["ih-panels"]):
            with gr.Column(scale=3, min_width=320, elem_classes=["ih-panel"]):
                title = html(first[2], elem_id="headline")
                grid = head_grid(first[1], elem_id="scan-grid")
                put_back = gr.Button(
                    "Put back the bundled result", size="sm", visible=False, elem_id="put-back"
                )
            with gr.Column(scale=2, min_width=300, elem_classes=["ih-panel"]):
                card = html(first[3], elem_id="head-card")
                attention = gr.Button("Open this head in Attention", elem_id="open-attention")
                html("<h2>Two kinds of head</h2>")
                scatter = plot(first[6], elem_id="scatter")
        with gr.Row(elem_classes=["ih-panels"]):
            with gr.Column(scale=3, min_width=320, elem_classes=["ih-panel"]):
                html("<h2>Ranking</h2>")
                picked = note(first[10], elem_id="selection")
                table = head_table(first[4], elem_id="ranking")
            with gr.Column(scale=2, min_width=300, elem_classes=["ih-panel"]):
                html("<h2>Does the model use it?</h2>")
                loss = plot(first[5], elem_id="loss")
                html("<h2>Export this scan</h2>")
                files = exports(export, first[7], elem_id="export")
        with gr.Column(elem_classes=["ih-panel"], elem_id="live"):
            html("<h2>Measure it yourself</h2>")
            needs = note(text, elem_id="needs")
            offline = gr.Button(
                offline_button.get("value", ""),
                size="sm",
                visible=offline_button["visible"],
                elem_id="offline",
            )
            with gr.Row():
                n_prompts = gr.Number(
                    10, label="Prompts", info=f"{PROMPTS[0]} to {PROMPTS[1]}", precision=0, min_width=140
                )
                length = gr.Number(
                    50,
                    label="Tokens per copy",
                    info=f"{LENGTH[0]} to {LENGTH[1]}, varied by a fifth",
                    precision=0,
                    min_width=140,
                )
                vocab = gr.Dropdown(
                    list(TOKEN_SETS),
                    value="random",
                    label="Token set",
                    info="What the repeated tokens are drawn from",
                    min_width=180,
                )
                seed = gr.Number(0, label="Seed", info="Same seed, same prompts", precision=0, min_width=140)
            with gr.Row():
                run = gr.Button("Run scan", variant="primary", elem_id="run-scan")
                cancel = gr.Button("Cancel", elem_id="cancel-scan")
            state = status.status(status.stopped("idle", ""), elem_id="scan-status")
        with gr.Column(elem_classes=["ih-panel"]):
            html("<h2>All bundled models</h2>")
            cards = gallery(elem_id="gallery")
            second = gr.Dropdown(
                [("nothing", NO_SECOND), *((short_name(name), name) for name in results.bundled_names())],
                value=NO_SECOND,
                label="Compare the model on show with",
                elem_id="compare",
            )
            with gr.Row(visible=False) as pair:
                with gr.Column(min_width=320):
                    left_title = html("")
                    left = head_grid(None, elem_id="compare-left")
                with gr.Column(min_width=320):
                    right_title = html("")
                    right = head_grid(None, elem_id="compare-right")

    page.link(links.choice("score", "induction", SCORES), score)
    page.link(parameter(), live)
    page.link(links.choice("compare", NO_SECOND, results.bundled_names), second)

    shared = [model, live, score, head]
    shown = [meaning, grid, title, card, table, loss, scatter, files, put_back, warned, picked]
    page.show("scan", draw, [*shared, page.heads], shown)
    page.show("scan", compared, [*shared, second], [pair, left_title, left, right_title, right])
    page.show("scan", need, [model], [needs, offline])
    for component in (grid, table, scatter, left):
        page.selects_head(component)
    page.chooses_set(scatter)
    page.opens_attention(attention)
    page.chooses_model(offline.click, offline_choice)
    page.chooses_model(cards.pick, picked_model)

    settings = [n_prompts, length, vocab, seed]
    jobs.long_run(run, cancel, run_live, [model, live, *settings], [state, live])
    live_runs.puts_back(put_back, live, state)
    live.change(_controls, live, settings, **jobs.QUICK)
    page.when_opened(rerun, [model, live], [state, live], model=True)


def _controls(live: str) -> list[Any]:
    """The settings of the scan on show, for the controls."""
    settings = Settings.parse(live)
    if settings is None:
        return [gr.skip()] * 4
    return [settings.n_prompts, settings.length, settings.vocab, settings.seed]
