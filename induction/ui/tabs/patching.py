"""Patching: which heads carry the answer, one by one and together, bundled or run now.

What is on show follows from the settings, which all stand in the address: the result of a live run with them while it
is kept, else the bundled one that has them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from induction.base import InputError
from induction.experiment import Settings, experiments
from induction.patching.experiments import BUNDLED, OWN, AblationSettings, HeadsSettings, TogetherSettings
from induction.patching.interventions import METRICS, Declaration, by_name
from induction.patching.results import HeadSets, Patching
from induction.ui import jobs, links, runs
from induction.ui.components import status
from induction.ui.components.exports import exported, exports
from induction.ui.components.head_grid import grid_value, head_grid, picked
from induction.ui.components.note import html, note
from induction.ui.components.plot import plot, plot_value
from induction.ui.controls import asked, control, controls
from induction.ui.names import short_name
from induction.ui.tabs import patching_cards as cards
from induction.viz import patching as figures
from induction.viz.theme import LIGHT, PAGE

if TYPE_CHECKING:
    from induction.ui.page import Page

INTRODUCTION = (
    "Attention shows where a head looks; patching shows whether it matters. Two prompts differ in context and share "
    "their last token. Copy one head's activation from one run into the other: how much of the answer moves with it?"
)
#: What can be done with heads together.
ACTIONS: dict[str, Declaration] = by_name(
    Declaration("curve", "First k heads", "Patch the first 1, 2, … k heads by induction score together."),
    Declaration("patch", "Patch the set", "Patch the heads of the set together."),
    Declaration("ablate", "Ablate the set", "Replace the outputs of the set's heads in the clean prompt."),
)
ALONE = [name for name in HeadsSettings.model_fields]
NAMES = [*ALONE, "action", "heads", "top_k", "n_random", "ablation"]  # of the controls
AFTER_ABLATION = "second_copy_loss"  # what the figure of an ablation shows
Asked = tuple[str, Settings]  # name of an experiment, and what it is asked


# -- what the tab shows --------------------------------------------------------------------------------------


def alone(values: dict[str, Any]) -> Asked:
    """What is asked of every head on its own.

    Raises:
        InputError: a setting is refused.
    """
    return "heads", asked(HeadsSettings, values)


def together(values: dict[str, Any]) -> Asked:
    """What is asked of heads together.

    Raises:
        InputError: a setting is refused, or the set is empty.
    """
    action = values.get("action", "curve")
    if action not in ACTIONS:
        raise InputError(f"There is no action '{action}'; choose one of {', '.join(ACTIONS)}.")
    if action == "curve":
        return "together", asked(TogetherSettings, values | {"heads": ""})
    if not str(values.get("heads") or "").strip():
        raise InputError("The set is empty; click heads in the map or take the first k heads.")
    if action == "ablate":
        return "ablation", asked(AblationSettings, values)
    return "together", asked(TogetherSettings, values)


def found(model: str, ask: Callable[[dict[str, Any]], Asked], values: dict[str, Any]) -> tuple[Any, str]:
    """The result on show, or None and why there is none."""
    try:
        name, settings = ask(values)
    except InputError as error:
        return None, str(error)
    result = runs.shown(name, model, settings)
    return result, "" if result else cards.missing(model, name, settings)


def draw(model: str, head: str, metric: str, *given: Any) -> list[Any]:
    """The map of all heads and what belongs to it, then heads together, in the order of ``build``."""
    values = dict(zip(NAMES, given, strict=False))  # after them come what only asks to draw again
    result, missing = found(model, alone, values)
    sets, no_sets = found(model, together, values)
    name, generated = short_name(model), values["form"] not in (BUNDLED, OWN)
    request = {"model": model, "metric": metric, "head": head, **values}
    action = values["action"]
    return [
        cards.headline(model, values, result, metric, missing),
        _grid(result, metric, head, values["heads"], missing),
        cards.meaning(values, metric),
        cards.prompts(result),
        plot_value(
            f"{name}-patched",
            lambda: figures.bars(_needed(result, missing), metric, palette=PAGE),
        ),
        cards.sets_headline(sets, metric, no_sets),
        plot_value(f"{name}-sets", lambda: _sets_figure(_needed(sets, no_sets), metric, PAGE)),
        cards.sets_table(sets),
        {**request, "what": "heads"},
        {**request, "what": "sets"},
        gr.update(visible=generated),
        gr.update(visible=values["form"] == OWN),
        gr.update(visible=action != "curve"),
        gr.update(visible=action == "ablate"),
        gr.update(
            visible=any(values[field] != default for field, default in _defaults().items() if field in ALONE)
        ),
    ]


def _needed(result: Any, missing: str) -> Any:
    if result is None:
        raise InputError(missing)
    return result


def _grid(result: Patching | None, metric: str, head: str, heads: str, missing: str) -> dict[str, Any]:
    if result is None or metric not in result.effects:
        return grid_value(None, title="", missing=missing or "not measured")
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
        low=by_head(effect.low),
        high=by_head(effect.high),
        scale="diverging",
        limit=figures.scale_limit(values),
        marked=_heads_in(heads),
        notes=notes,
        missing="not run yet, or undefined",
    )


def _sets_figure(result: HeadSets, metric: str, palette: Any) -> Any:
    if len(result.sets) > 1:
        return figures.curve(result, metric, palette=palette)
    ablated = AFTER_ABLATION in result.sets[0].measures
    return figures.distribution(result, AFTER_ABLATION if ablated else metric, palette=palette)


def export(kind: str, request: dict[str, Any]) -> tuple[str, Any]:
    """File name and content of an export.

    Raises:
        InputError: nothing was run, or the request is damaged.
    """
    model, metric, head = (str(request.get(name, "")) for name in ("model", "metric", "head"))
    what = "sets" if request.get("what") == "sets" else "heads"
    name, settings = (together if what == "sets" else alone)(request)
    result = _needed(runs.shown(name, model, settings), cards.missing(model, name, settings))
    file = f"patching-{short_name(result.model)}-{what}"
    if what == "sets":
        return exported(kind, file, result, lambda: _sets_figure(result, metric, LIGHT))
    marked = tuple(_heads_in(str(request.get("heads") or "")))
    return exported(
        kind, file, result, lambda: figures.head_map(result, metric, selected=head, marked=marked)
    )


# -- live runs -----------------------------------------------------------------------------------------------


def run(
    ask: Callable[[dict[str, Any]], Asked], model: str, head: str, metric: str, *given: Any
) -> Iterator[tuple[Any, Any, Any]]:
    """Steps of a run: ``(status, pulse, map so far)``; the pulse asks to draw what is there."""
    values = dict(zip(NAMES, given, strict=False))
    try:
        name, settings = ask(values)
    except InputError as error:
        yield status.stopped("error", str(error)), gr.skip(), gr.skip()
        return
    shown = gr.skip()
    for state, on_show, result in runs.run_steps(experiments()[name], model, settings):
        if isinstance(result, Patching):
            shown = _grid(result, metric, head, values["heads"], "")
        yield state, gr.skip() if on_show is None else _pulse(), shown


def _pulse() -> str:
    return str(time.monotonic_ns())


def rerun(
    ask: Callable[[dict[str, Any]], Asked], tab: str, model: str, head: str, metric: str, *given: Any
) -> Iterator[tuple[Any, Any, Any]]:
    """What a link's settings need when it is opened: nothing, a cheap run at once, or the button."""
    values = dict(zip(NAMES, given, strict=False))
    wanted = ask is alone or any(values[name] != _defaults()[name] for name in NAMES if name not in ALONE)
    result, _ = found(model, ask, values)
    if tab != "patching" or not wanted or result is not None:
        yield gr.skip(), gr.skip(), gr.skip()
    elif runs.cheap(experiments()[ask(values)[0]], model, ask(values)[1]):
        yield from run(ask, model, head, metric, *given)
    else:
        text = "The settings of this link are in place; press the button to run them."
        yield status.stopped("idle", text), gr.skip(), gr.skip()


def _heads_in(text: str) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if links.parse_head(part)]


def _collect(event: gr.EventData, collecting: bool, heads: str) -> Any:
    """A clicked head joins the set, or leaves it."""
    head = picked(event)
    return _toggled(heads, head) if collecting and head else gr.skip()


def _toggled(heads: str, head: str) -> str:
    there = _heads_in(heads)
    return ",".join([part for part in there if part != head] if head in there else [*there, head])


def _first_heads(model: str, live: str, k: float) -> str:
    """The first k heads by induction score, as a set."""
    scan = runs.shown("scan", model, live)
    if scan is None or "induction" not in scan.scores:
        raise InputError("This model has no induction scores yet; run a scan in the Scan tab first.")
    size = asked(TogetherSettings, {"top_k": k}).top_k
    return ",".join(links.format_head(layer, head) for layer, head, _ in scan.ranked("induction")[:size])


# -- layout and wiring ---------------------------------------------------------------------------------------


def _choices(declared: dict[str, Any]) -> list[tuple[str, str]]:
    return [(item.title, name) for name, item in declared.items()]


def _defaults() -> dict[str, Any]:
    """Values of all controls."""
    models = (HeadsSettings(), TogetherSettings(), AblationSettings())
    values = {name: value for settings in models for name, value in settings.model_dump().items()}
    return {name: values.get(name, "curve") for name in NAMES}


def _alone_area() -> tuple[dict[str, Any], list[Any], list[Any]]:
    """Controls by name, the groups that hide, and ``[run, cancel, put back, status]``."""
    with gr.Column(elem_classes=["ih-panel"], elem_id="patch-settings"):
        made = {"form": control(HeadsSettings, "form", elem_id="patch-form", info=None)}
        with gr.Row(visible=False) as generated:
            made |= controls(HeadsSettings, "vocab", "n_pairs", "seed")
        with gr.Column(visible=False) as own:
            made |= {
                name: control(HeadsSettings, name, elem_id=f"patch-{name}") for name in ("clean", "corrupted")
            }
            with gr.Row():
                made |= controls(HeadsSettings, "answer", "distractor")
        with gr.Row():
            made |= {
                name: control(HeadsSettings, name, info=None, min_width=width)
                for name, width in (("direction", 200), ("component", 320), ("method", 200))
            }
        with gr.Row():
            buttons = [
                gr.Button("Patch every head", variant="primary", elem_id="run-patching"),
                gr.Button("Cancel", elem_id="cancel-patching"),
                gr.Button("Put back the bundled settings", visible=False, elem_id="patching-put-back"),
            ]
        state = status.status(status.stopped("idle", ""), elem_id="patching-status")
    return made, [generated, own], [*buttons, state]


def _together_area(heads: gr.Textbox) -> tuple[dict[str, Any], list[Any], list[Any], list[Any]]:
    """Controls by name, the groups that hide, tools of the set, and ``[run, cancel, status]``."""
    html("<h2>Heads together, against random sets</h2>")
    action = gr.Radio(_choices(ACTIONS), value="curve", label="Heads together", elem_id="set-action")
    made: dict[str, Any] = {"action": action, "heads": heads}
    with gr.Column(visible=False) as chosen:
        heads.render()
        collecting = gr.Checkbox(
            False, label="Clicks in the map add to the set or take from it", elem_id="collect"
        )
        with gr.Row():
            first = gr.Button("Take the first k by induction score", size="sm", elem_id="first-heads")
            toggle = gr.Button("Add or remove the selected head", size="sm", elem_id="toggle-head")
            clear = gr.Button("Empty the set", size="sm")
    ablation = control(AblationSettings, "ablation", visible=False, elem_id="ablation", info=None)
    with gr.Row():
        made["top_k"] = control(TogetherSettings, "top_k", elem_id="top-k", min_width=100)
        made["n_random"] = control(TogetherSettings, "n_random", elem_id="random-sets")
    made["ablation"] = ablation
    with gr.Row():
        buttons = [
            gr.Button("Run on the set", variant="primary", elem_id="run-sets"),
            gr.Button("Cancel", elem_id="cancel-sets"),
        ]
    state = status.status(status.stopped("idle", ""), elem_id="sets-status")
    return made, [chosen, ablation], [collecting, first, toggle, clear], [*buttons, state]


def build(page: Page) -> None:
    with page.tab("patching", "Patching"):
        pulse = gr.Textbox("", visible=False)
        note(INTRODUCTION, elem_id="patching-introduction")
        made, groups, buttons = _alone_area()
        metric = gr.Radio(
            _choices(METRICS),
            value="logit_difference",
            label="Metric (switches without a new run)",
            elem_id="metric",
        )
        with gr.Row(elem_classes=["ih-panels"]):
            with gr.Column(min_width=320, elem_classes=["ih-panel"]):
                title, grid = html("", elem_id="patching-headline"), head_grid(elem_id="patching-grid")
                meaning = html("", elem_id="patching-meaning")
                files = exports(export, {}, elem_id="patching-export")
                pairs = html("", elem_id="patching-prompts")
            with gr.Column(min_width=320, elem_classes=["ih-panel"]):
                html("<h2>Clean, corrupted and patched</h2>")
                bars = plot(elem_id="patching-bars")
                open_attention = gr.Button("Open the selected head in Attention", size="sm")
        with gr.Row(elem_classes=["ih-panels"]):
            with gr.Column(min_width=320, elem_classes=["ih-panel"], elem_id="set-settings"):
                more, more_groups, tools, set_buttons = _together_area(page.heads)
            with gr.Column(min_width=320, elem_classes=["ih-panel"]):
                sets_title, sets_figure = html("", elem_id="sets-headline"), plot(elem_id="sets-figure")
                sets_table = html("", elem_id="sets-table")
                sets_files = exports(export, {}, elem_id="sets-export")

    made |= more
    values = [made[name] for name in NAMES]
    _link(page, made, metric)
    outputs = [title, grid, meaning, pairs, bars, sets_title, sets_figure, sets_table, files, sets_files]
    outputs += [*groups, *more_groups, buttons[2]]
    shared = [page.model, page.head, metric, *values]
    page.show("patching", draw, [*shared, pulse], outputs)
    for component in (grid, bars, sets_figure):
        page.selects_head(component)
    page.opens_attention(open_attention)
    _wire_set(page, grid, made, tools)
    buttons[2].click(lambda: list(_defaults().values()), None, values, **jobs.QUICK)
    for ask, (start, cancel, state) in ((alone, [*buttons[:2], buttons[3]]), (together, set_buttons)):
        told = [state, pulse, grid]
        jobs.long_run(start, cancel, partial(run, ask), shared, told)
        cancel.click(
            _pulse, None, pulse, **jobs.QUICK
        )  # the map of a broken-off run gives way to what was there
        page.when_opened(partial(rerun, ask), [page.current_tab, *shared], told, model=True)


def _link(page: Page, made: dict[str, Any], metric: gr.Radio) -> None:
    """Every setting has its own parameter in the address."""
    for settings in (HeadsSettings, TogetherSettings, AblationSettings):
        for name, field in settings.model_fields.items():
            if name != "heads" and name in made and not page.is_linked(made[name]):
                page.link(links.of_field(field), made[name])
    page.link(links.choice("together", "curve", ACTIONS), made["action"])
    page.link(links.heads("heads"), made["heads"])
    page.link(links.choice("metric", "logit_difference", METRICS), metric)


def _wire_set(page: Page, grid: Any, made: dict[str, Any], tools: list[Any]) -> None:
    collecting, first, toggle, clear = tools
    heads = made["heads"]
    grid.pick(_collect, [collecting, heads], heads, **jobs.QUICK)
    first.click(jobs.plain_errors(_first_heads), [page.model, page.live, made["top_k"]], heads, **jobs.QUICK)
    toggle.click(_toggled, [heads, page.head], heads, **jobs.QUICK)
    clear.click(lambda: "", None, heads, **jobs.QUICK)
