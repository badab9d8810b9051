"""Patching: which heads carry the answer, one by one and together, bundled or run now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import gradio as gr
from plotly.graph_objects import Figure

from induction import model as models
from induction.base import InputError
from induction.data_gen.sequences import TOKEN_SETS
from induction.patching import results
from induction.patching.interventions import ABLATIONS, COMPONENTS, DIRECTIONS, METRICS, Declaration
from induction.patching.results import HeadSets, Patching
from induction.ui import jobs, links, received
from induction.ui import patching_settings as settings
from induction.ui.components import status
from induction.ui.components.exports import exports
from induction.ui.components.head_grid import grid_value, head_grid, picked
from induction.ui.components.note import html, note
from induction.ui.components.plot import plot, plot_value
from induction.ui.live_scan import shown_scan
from induction.ui.loading import loading
from induction.ui.names import checked_model, short_name
from induction.ui.patching_runs import sets_steps, sweep_steps
from induction.ui.patching_settings import Sweep, Together, from_texts, shown_sets, shown_sweep
from induction.ui.tabs import patching_cards as cards
from induction.viz import patching as figures
from induction.viz.theme import LIGHT, PAGE

if TYPE_CHECKING:
    from induction.ui.page import Page

INTRODUCTION = (
    "Attention shows where a head looks; patching shows whether it matters. Two prompts differ in context and share "
    "their last token. Copy one head's activation from one run into the other: how much of the answer moves with it?"
)
N_SWEEP = len(fields(Sweep))  # of the values that an event hands over, the first make a Sweep
N_VALUES = N_SWEEP + len(fields(Together))
AFTER_ABLATION = "second_copy_loss"  # what the figure of an ablation shows


# -- what the tab shows --------------------------------------------------------------------------------------


def _read(values: tuple[Any, ...]) -> tuple[Sweep, Together]:
    """The settings from the values of the controls, in the order of the fields."""
    form, vocab, n_pairs, seed, *texts = values[:8]
    sweep = Sweep(
        form, vocab, int(n_pairs or 0), int(seed or 0), *(text or "" for text in texts), *values[8:N_SWEEP]
    )
    action, heads, top_k, n_random, ablation = values[N_SWEEP:]
    return sweep, Together(action, heads or "", int(top_k or 0), int(n_random or 0), ablation)


def draw(model: str, head: str, metric: str, *values: Any) -> list[Any]:
    """The map of all heads and what belongs to it, then heads together, in the order of ``build``."""
    sweep, together = _read(values[:N_VALUES])  # after them come what only asks to draw again
    result = shown_sweep(model, sweep)
    sets = shown_sets(model, sweep, together)
    asked = {"model": model, "metric": metric, "head": head, **asdict(sweep), **asdict(together)}
    name = short_name(model)
    return [
        cards.headline(model, sweep, result, metric),
        _grid(result, metric, head, together.heads),
        cards.meaning(sweep, metric),
        cards.prompts(result),
        plot_value(
            f"{name}-patched",
            lambda: figures.bars(_needed(result), metric, palette=PAGE, selected=head),
        ),
        cards.sets_headline(sets, together, metric),
        plot_value(f"{name}-sets", lambda: _sets_figure(sets, together, metric, PAGE)),
        cards.sets_table(sets),
        {**asked, "what": "heads"},
        {**asked, "what": "sets"},
        gr.update(visible=sweep.form != "own" and sweep.form != "bundled"),
        gr.update(visible=sweep.form == "own"),
        gr.update(visible=together.action != "curve"),
        gr.update(visible=together.action == "ablate"),
        gr.update(visible=sweep != Sweep(), interactive=True),
    ]


def _needed(result: Patching | None) -> Patching:
    if result is None:
        raise InputError(cards.NOT_RUN)
    return result


def _grid(result: Patching | None, metric: str, head: str, heads: str) -> dict[str, Any]:
    if result is None or metric not in result.effects:
        return grid_value(None, title="", missing=cards.NOT_RUN if result is None else "not measured")
    effect = result.effect(metric)
    size = result.group_size  # heads that share keys or values have one effect

    def by_head(grid: Any) -> Any:
        return grid and [[cell for cell in row for _ in range(size)] for row in grid]

    values = figures.effects(result, metric)
    notes = {}
    if size > 1:
        notes = {
            f"{layer}.{group * size + at}": f"patched together: {result.name(layer, group)}"
            for layer in range(result.n_layers)
            for group in range(result.n_heads)
            for at in range(size)
        }
    return grid_value(
        by_head(values),
        title="Estimated effect" if result.method == "estimate" else "Effect",
        selected=head,
        low=by_head(effect.low),
        high=by_head(effect.high),
        scale="diverging",
        limit=figures.scale_limit(values),
        marked=[part.strip() for part in heads.split(",") if links.parse_head(part)],
        notes=notes,
        missing="not run yet, or undefined",
    )


def _sets_figure(result: HeadSets | None, together: Together, metric: str, palette: Any) -> Figure:
    if result is None:
        raise InputError("Nothing was run with these settings yet: press Run on the set.")
    if together.action == "curve":
        return figures.curve(result, metric, palette=palette)
    return figures.distribution(
        result, AFTER_ABLATION if together.action == "ablate" else metric, palette=palette
    )


def export(kind: str, asked: dict[str, Any]) -> tuple[str, str | Figure]:
    """File name and text of an export, or its figure.

    Raises:
        InputError: nothing was run, or the request is damaged.
    """
    sweep, together = from_texts(asked)
    model, metric, head = (str(asked.get(name, "")) for name in ("model", "metric", "head"))
    if asked.get("what") == "sets":
        result: Patching | HeadSets | None = shown_sets(model, sweep, together)
    else:
        result = shown_sweep(model, sweep)
    if result is None:
        raise InputError(cards.NOT_RUN)
    kept_name = "".join(c if c.isalnum() or c in "-." else "-" for c in short_name(result.model))
    name = f"patching-{kept_name}-{'sets' if asked.get('what') == 'sets' else 'heads'}"
    if kind == "json":
        return f"{name}.json", results.to_json(result)
    if kind == "csv":
        return f"{name}.csv", results.to_csv(result)
    if isinstance(result, HeadSets):
        return f"{name}.svg", _sets_figure(result, together, metric, LIGHT)
    marked = tuple(together.heads.replace(" ", "").split(","))
    return f"{name}.svg", figures.head_map(result, metric, selected=head, marked=marked)


# -- live runs -----------------------------------------------------------------------------------------------


def run_sweep(model: str, head: str, metric: str, *values: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Steps of a run over all heads: ``(status, grid, pulse)``; the pulse says that the result is there."""
    try:
        name = checked_model(model)
        sweep, together = _read(values)
        for state in loading(name):
            yield state, gr.skip(), gr.skip()
        result = None
        for step in sweep_steps(name, sweep):
            result = step.result
            yield status.running(step), _grid(result, metric, head, together.heads), gr.skip()
    except InputError as error:
        yield status.stopped("error", str(error)), gr.skip(), _pulse()
        return
    yield status.stopped("done", _took(result)), gr.skip(), _pulse()


def run_sets(model: str, *values: Any) -> Iterator[tuple[Any, Any]]:
    """Steps of a run over heads together: ``(status, pulse)``."""
    try:
        name = checked_model(model)
        sweep, together = _read(values)
        for state in loading(name):
            yield state, gr.skip()
        result = None
        for step in sets_steps(name, sweep, together):
            result = step.result
            yield status.running(step), gr.skip()
    except InputError as error:
        yield status.stopped("error", str(error)), gr.skip()
        return
    yield status.stopped("done", _took(result)), _pulse()


def _took(result: Patching | HeadSets | None) -> str:
    took = f" in {result.seconds:.1f} s" if result and result.seconds else ""
    return f"Done{took}. What is shown is from this run."


def _pulse() -> str:
    return str(time.monotonic_ns())


def rerun(tab: str, model: str, head: str, metric: str, *values: Any) -> Iterator[tuple[Any, Any, Any]]:
    """What a link's settings need when it is opened: nothing, a cheap run at once, or the button."""
    sweep, _ = _read(values)
    if tab != "patching" or shown_sweep(model, sweep) is not None:
        yield gr.skip(), gr.skip(), gr.skip()
    elif models.availability(model) == "bundled":
        yield from run_sweep(model, head, metric, *values)
    else:
        text = "The settings of this link are in place; press Patch every head to run them."
        yield status.stopped("idle", text), gr.skip(), gr.skip()


def rerun_sets(tab: str, model: str, *values: Any) -> Iterator[tuple[Any, Any]]:
    """The same for heads together."""
    sweep, together = _read(values)
    wanted = tab == "patching" and together != Together() and shown_sets(model, sweep, together) is None
    if wanted and models.availability(model) == "bundled":
        yield from run_sets(model, *values)
    else:
        yield gr.skip(), gr.skip()


def _collect(event: gr.EventData, collecting: bool, heads: str) -> Any:
    """A clicked head joins the set, or leaves it."""
    head = picked(event)
    return _toggled(heads, head) if collecting and head else gr.skip()


def _toggled(heads: str, head: str) -> str:
    there = [part.strip() for part in (heads or "").split(",") if links.parse_head(part)]
    return ",".join([part for part in there if part != head] if head in there else [*there, head])


def _first_heads(model: str, live: str, k: float) -> str:
    """The first k heads by induction score, as a set."""
    scan = shown_scan(model, live)
    if scan is None or "induction" not in scan.scores:
        raise InputError("This model has no induction scores yet; run a scan in the Scan tab first.")
    low, high = settings.TOP_K
    ranked = scan.ranked("induction")[: min(max(int(k or low), low), high)]
    return ",".join(links.format_head(layer, head) for layer, head, _ in ranked)


# -- layout and wiring ---------------------------------------------------------------------------------------


def _choices(declared: dict[str, Declaration]) -> list[tuple[str, str]]:
    return [(item.title, name) for name, item in declared.items()]


def _between(limits: tuple[int, int]) -> str:
    return f"{limits[0]:,} to {limits[1]:,}"


def _prompt_controls() -> tuple[list[gr.components.Component], gr.Row, gr.Column]:
    """Controls of the prompts in the order of the first fields of :class:`Sweep`, and the groups they come in."""
    form = gr.Radio(_choices(settings.FORMS), value="bundled", label="Prompts", elem_id="patch-form")
    with gr.Row(visible=False) as generated:
        vocab = gr.Dropdown(
            list(TOKEN_SETS),
            value="random",
            label="Token set",
            info="Words suit a language model",
            min_width=160,
        )
        n_pairs = gr.Number(
            10,
            label="Prompt pairs",
            info=_between(settings.PAIRS),
            precision=0,
            min_width=120,
            elem_id="patch-pairs",
        )
        seed = gr.Number(0, label="Seed", info="Same seed, same prompts", precision=0, min_width=120)
    limit = f"up to {settings.TOKENS} tokens, as many as the other"
    with gr.Column(visible=False) as own:
        clean = gr.Textbox(
            label="Clean prompt",
            info=f"What the model answers; {limit}",
            lines=2,
            max_lines=6,
            elem_id="patch-clean",
        )
        corrupted = gr.Textbox(
            label="Corrupted prompt",
            info="The same without what the answer needs",
            lines=2,
            max_lines=6,
            elem_id="patch-corrupted",
        )
        with gr.Row():
            answer = gr.Textbox(
                label="Answer", info="One token; empty: what the model says to the clean prompt"
            )
            distractor = gr.Textbox(
                label="Distractor", info="One token; empty: what it says to the corrupted prompt"
            )
    return [form, vocab, n_pairs, seed, clean, corrupted, answer, distractor], generated, own


def _set_controls(
    heads: gr.Textbox,
) -> tuple[list[gr.components.Component], gr.Number, gr.Column, gr.Radio, list[Any]]:
    """Controls of heads together in the order of :class:`Together`, and what is shown only for some actions."""
    action = gr.Radio(_choices(settings.ACTIONS), value="curve", label="Heads together", elem_id="set-action")
    with gr.Column(visible=False) as chosen:
        heads.render()
        collecting = gr.Checkbox(
            False, label="Clicks in the map add to the set or take from it", elem_id="collect"
        )
        with gr.Row():
            first = gr.Button("Take the first k by induction score", size="sm", elem_id="first-heads")
            toggle = gr.Button("Add or remove the selected head", size="sm", elem_id="toggle-head")
            clear = gr.Button("Empty the set", size="sm")
    ablation = gr.Radio(
        _choices(ABLATIONS), value="mean", label="Ablation", visible=False, elem_id="ablation"
    )
    with gr.Row():
        top_k = gr.Number(
            Together.top_k,
            label="k",
            info=_between(settings.TOP_K),
            precision=0,
            min_width=100,
            elem_id="top-k",
        )
        n_random = gr.Number(
            Together.n_random,
            label="Random sets for each",
            info=_between(settings.RANDOM_SETS),
            precision=0,
            min_width=140,
            elem_id="random-sets",
        )
    return (
        [action, heads, top_k, n_random, ablation],
        top_k,
        chosen,
        ablation,
        [collecting, first, toggle, clear],
    )


def build(page: Page) -> None:
    model, head, live = page.model, page.head, page.live
    with page.tab("patching", "Patching"):
        pulse = gr.Textbox("", visible=False)
        note(INTRODUCTION, elem_id="patching-introduction")
        with gr.Column(elem_classes=["ih-panel"], elem_id="patch-settings"):
            prompts, generated, own = _prompt_controls()
            with gr.Row():
                direction = gr.Radio(_choices(DIRECTIONS), value="denoise", label="Direction", min_width=200)
                component = gr.Radio(_choices(COMPONENTS), value="z", label="What is copied", min_width=320)
                method = gr.Radio(_choices(settings.METHODS), value="exact", label="Method", min_width=200)
            with gr.Row():
                run = gr.Button("Patch every head", variant="primary", elem_id="run-patching")
                cancel = gr.Button("Cancel", elem_id="cancel-patching")
                put_back = gr.Button(
                    "Put back the bundled settings", visible=False, elem_id="patching-put-back"
                )
            state = status.status(status.stopped("idle", ""), elem_id="patching-status")
        metric = gr.Radio(
            _choices(METRICS),
            value="logit_difference",
            label="Metric (switches without a new run)",
            elem_id="metric",
        )
        with gr.Row(elem_classes=["ih-panels"]):
            with gr.Column(min_width=320, elem_classes=["ih-panel"]):
                title = html("", elem_id="patching-headline")
                grid = head_grid(elem_id="patching-grid")
                meaning = html("", elem_id="patching-meaning")
                files = exports(export, {}, elem_id="patching-export")
                pairs = html("", elem_id="patching-prompts")
            with gr.Column(min_width=320, elem_classes=["ih-panel"]):
                html("<h2>Clean, corrupted and patched</h2>")
                bars = plot(elem_id="patching-bars")
                open_attention = gr.Button("Open the selected head in Attention", size="sm")
        with gr.Row(elem_classes=["ih-panels"]):
            with gr.Column(min_width=320, elem_classes=["ih-panel"], elem_id="set-settings"):
                html("<h2>Heads together, against random sets</h2>")
                together, top_k, chosen, ablation, tools = _set_controls(page.heads)
                with gr.Row():
                    run_set = gr.Button("Run on the set", variant="primary", elem_id="run-sets")
                    cancel_set = gr.Button("Cancel", elem_id="cancel-sets")
                set_state = status.status(status.stopped("idle", ""), elem_id="sets-status")
            with gr.Column(min_width=320, elem_classes=["ih-panel"]):
                sets_title = html("", elem_id="sets-headline")
                sets_figure = plot(elem_id="sets-figure")
                sets_table = html("", elem_id="sets-table")
                sets_files = exports(export, {}, elem_id="sets-export")

    values = [*prompts, direction, component, method, *together]
    for parameter, control in zip(_parameters(), values, strict=True):
        page.link(parameter, control)
    page.link(links.choice("metric", "logit_difference", METRICS), metric)
    outputs = [title, grid, meaning, pairs, bars, sets_title, sets_figure, sets_table, files, sets_files]
    outputs += [generated, own, chosen, ablation, put_back]
    page.show("patching", draw, [model, head, metric, *values, pulse], outputs)

    page.selects_head(grid)
    page.selects_head(bars)
    page.selects_head(sets_figure)
    page.opens_attention(open_attention)
    collecting, first, toggle, clear = tools
    heads = page.heads
    grid.pick(_collect, [collecting, heads], heads, **jobs.QUICK)
    first.click(jobs.plain_errors(_first_heads), [model, live, top_k], heads, **jobs.QUICK)
    toggle.click(_toggled, [heads, head], heads, **jobs.QUICK)
    clear.click(lambda: "", None, heads, **jobs.QUICK)
    put_back.click(_defaults, None, values, **jobs.QUICK)
    jobs.long_run(run, cancel, run_sweep, [model, head, metric, *values], [state, grid, pulse])
    cancel.click(_pulse, None, pulse, **jobs.QUICK)  # the map of a broken-off run gives way to what was there
    jobs.long_run(run_set, cancel_set, run_sets, [model, *values], [set_state, pulse])
    tab = page.current_tab
    page.when_opened(rerun, [tab, model, head, metric, *values], [state, grid, pulse], model=True)
    page.when_opened(rerun_sets, [tab, model, *values], [set_state, pulse], model=True)


def _defaults() -> list[Any]:
    return [*asdict(Sweep()).values(), *asdict(Together()).values()]


def _parameters() -> list[links.Parameter]:
    """The link parameters of the settings, in the order of the fields of :class:`Sweep` and :class:`Together`."""
    return [
        links.choice("prompts", "bundled", settings.FORMS),
        links.choice("patch_vocab", "random", TOKEN_SETS),
        links.integer("pairs", Sweep.n_pairs, low=settings.PAIRS[0], high=settings.PAIRS[1]),
        links.integer("patch_seed", 0, low=received.SEED[0], high=received.SEED[1]),
        links.text("clean"),
        links.text("corrupted"),
        links.text("answer", limit=100),
        links.text("distractor", limit=100),
        links.choice("direction", "denoise", DIRECTIONS),
        links.choice("component", "z", COMPONENTS),
        links.choice("method", "exact", settings.METHODS),
        links.choice("together", "curve", settings.ACTIONS),
        links.heads("heads"),
        links.integer("k", Together.top_k, low=settings.TOP_K[0], high=settings.TOP_K[1]),
        links.integer("random_sets", 20, low=settings.RANDOM_SETS[0], high=settings.RANDOM_SETS[1]),
        links.choice("ablation", "mean", ABLATIONS),
    ]
