"""Patching: which heads carry the answer, one by one and together, bundled or run now.

What is on show follows from the settings, which all stand in the address: the result of a live run with them while it
is kept, else the bundled one that has them. Where there is neither, a run of a moment starts by itself; until there is
one, what was on show stays, greyed, with its name beside the button.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from induction.analysis.reading import passing
from induction.base import InputError
from induction.experiment import Settings, experiments, ours
from induction.patching.experiments import (
    BUNDLED,
    IOI,
    OWN,
    AblationSettings,
    HeadsSettings,
    TogetherSettings,
)
from induction.patching.interventions import METRICS, Declaration, by_name
from induction.patching.results import HeadSets, Patching
from induction.results import estimate
from induction.ui import jobs, links, runs
from induction.ui.components import status
from induction.ui.components.exports import exported, exports
from induction.ui.components.head_grid import grid_value, head_grid
from induction.ui.components.note import html, note
from induction.ui.components.plot import plot, plot_value
from induction.ui.controls import asked, control, controls
from induction.ui.names import short_name
from induction.ui.panel import Asks, wishes
from induction.ui.tabs import patching_cards as cards
from induction.viz import patching as figures
from induction.viz.theme import LIGHT, PAGE

if TYPE_CHECKING:
    from induction.ui.page import Page

INTRODUCTION = (
    "Copy what one head computed on one prompt into the run of another: how much of the answer moves with it?"
)
#: What can be done with heads together.
ACTIONS: dict[str, Declaration] = by_name(
    Declaration("curve", "First k heads", "Patch the first 1, 2, … k heads by induction score together."),
    Declaration("patch", "Patch the set", "Patch the heads of the set together."),
    Declaration("ablate", "Ablate the set", "Replace the outputs of the set's heads in the clean prompt."),
)
ALONE = [name for name in HeadsSettings.model_fields]
NAMES = [*ALONE, "action", "heads", "top_k", "n_random", "ablation"]  # of the controls
_SETTINGS = (HeadsSettings, TogetherSettings, AblationSettings)
#: What is typed into these counts with Enter; a set is made by clicks, too.
TYPED = [
    name
    for name, field in {name: field for one in _SETTINGS for name, field in one.model_fields.items()}.items()
    if name in NAMES and name != "heads" and ours(field)["choices"] is None
]
AFTER_ABLATION = "second_copy_loss"  # what the figure of an ablation shows
RESULTS, OLD = "ip-results", "ip-old"  # classes: where results stand, and that they answer other settings
# A head clicked with Shift or Ctrl, or while clicks build the set, joins the set or leaves it.
_COLLECT = """(collecting, action, heads) => collecting || window.ih.pickAdds()
  ? [window.ih.toggled(heads, window.ih.selectedHead()), action === "curve" ? "patch" : action] : [heads, action]"""
_TELL = "(note, state) => (state && state.state === 'running' ? state : JSON.parse(note))"
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
        raise InputError("The set is empty: Shift-click heads in the map, or take the induction heads.")
    if action == "ablate":
        return "ablation", asked(AblationSettings, values)
    return "together", asked(TogetherSettings, values)


@dataclass(frozen=True)
class Shown:
    """A result on show, or None where there is none.

    Attributes:
        values: of the controls that it answers.
        fits: whether these are the values that are set now.
        wanted: what is asked now; None where ``refused`` says why it cannot be.
    """

    result: Any
    values: dict[str, Any]
    fits: bool
    wanted: Asked | None
    refused: str = ""


def found(model: str, ask: Callable[[dict[str, Any]], Asked], values: dict[str, Any], before: Any) -> Shown:
    """What answers the values; else what was on show ``before``, of the same model; else what is bundled."""
    wanted, refused, known = None, "", [values]
    try:
        wanted = ask(values)
    except InputError as error:
        refused, known = str(error), []
    for one in filter(None, (*known, _values_of(before, model), _defaults())):
        try:
            name, settings = ask(one)
            result = runs.shown(name, model, settings)
        except InputError:
            continue
        if result is not None:
            return Shown(result, one, one is values, wanted, refused)
    return Shown(None, values, False, wanted, refused)


def _remembered(model: str, shown: Shown, values: dict[str, Any]) -> str:
    return json.dumps({"model": model, "values": shown.values, "asked": values})


def _values_of(before: str, model: str, which: str = "values") -> dict[str, Any]:
    """What :func:`_remembered` wrote of this model; it comes back from a browser."""
    try:
        kept = json.loads(before or "{}")
        values = kept[which] if kept.get("model") == model else {}
        return {name: values.get(name, default) for name, default in _defaults().items()} if values else {}
    except (ValueError, AttributeError, KeyError):
        return {}


def told(model: str, button: str, shown: Shown, state: dict[str, Any], again: bool) -> Any:
    """The status after the settings, the model or the results changed; ``again``: none of what is asked did."""
    now = state["state"] if again or state["state"] == "running" else ""
    if now == "running" or (now and now != "idle" and (shown.fits or now == "error")):
        return gr.skip()
    if shown.refused:
        return status.stopped("stale" if shown.result else "idle", shown.refused)
    if shown.fits or shown.wanted is None:
        return status.stopped("idle", "")
    name, wanted = shown.wanted
    said = estimate.in_words(estimate.expected(experiments()[name], model, wanted))
    press, cancelled = f"{button} ({said})" if said else button, "Cancelled. " if now == "cancelled" else ""
    if shown.result is None:
        return status.stopped("idle", f"{cancelled}Not measured yet: press {press}.")
    text = (
        f"{cancelled}Shown is still: {cards.in_words(shown.values, name)}. {press} measures what is set here."
    )
    return status.stopped("stale", text)


def _note(state: Any) -> Any:
    """A status on its way to the page, which takes it where no run has begun meanwhile; new every time."""
    return json.dumps({"at": wishes(), **state}) if "state" in state else gr.skip()


def _wish(model: str, shown: Shown, before: str, values: dict[str, Any]) -> Any:
    """Whether a run starts by itself: for settings that were chosen now, in no text, and are answered in a moment."""
    last = _values_of(before, model, "asked")
    chosen = not last or any(values[name] != last[name] for name in NAMES if name not in TYPED)
    if not chosen or shown.fits or shown.wanted is None or shown.wanted[1].form == OWN:
        return gr.skip()
    name, wanted = shown.wanted
    return wishes() if runs.cheap(experiments()[name], model, wanted) else gr.skip()


def entered(ask: Callable[[dict[str, Any]], Asked], model: str, metric: str, *given: Any) -> Any:
    """Whether a run starts with Enter in a field: one of a moment does, where nothing answers the settings yet."""
    try:
        name, wanted = ask(dict(zip(NAMES, given, strict=False)))
    except InputError:
        return gr.skip()
    starts = runs.shown(name, model, wanted) is None and runs.cheap(experiments()[name], model, wanted)
    return wishes() if starts else gr.skip()


def _stands(shown: Shown, state: dict[str, Any]) -> Any:
    """Where results stand: greyed where they answer something else, and there while a first run fills them."""
    there = shown.result is not None or state["state"] == "running"
    return gr.update(visible=there, elem_classes=[RESULTS, *([] if shown.fits else [OLD])])


def draw(model: str, metric: str, *given: Any) -> list[Any]:
    """The map of all heads and what belongs to it, in the order of ``build``."""
    values, (_, before, state) = dict(zip(NAMES, given, strict=False)), given[len(NAMES) :]
    shown = found(model, alone, values, before)
    result, again = shown.result, _values_of(before, model, "asked") == values
    own = values["form"] == OWN
    changed = any(values[name] != default for name, default in _defaults().items() if name in ALONE)
    line = {"label": cards.in_words(values, "heads")}
    return [
        cards.headline(model, shown.values, result, metric),
        _grid(result, metric, values["heads"]),
        cards.meaning(shown.values, metric),
        cards.prompts(result),
        plot_value(
            f"{short_name(model)}-patched", lambda: figures.bars(_needed(result), metric, palette=PAGE)
        ),
        result
        and {"model": model, "metric": metric, **shown.values, "heads": values["heads"], "what": "heads"},
        _stands(shown, state),
        gr.update(**line, **({"open": True} if own and not values["clean"] else {})),
        _note(told(model, cards.BUTTONS["heads"], shown, state, again)),
        _wish(model, shown, before, values),
        _remembered(model, shown, values),
        gr.update(visible=values["form"] not in (BUNDLED, IOI, OWN)),
        gr.update(visible=own),
        gr.update(visible=changed),
    ]


def draw_sets(model: str, metric: str, *given: Any) -> list[Any]:
    """Heads together, in the order of ``build``."""
    values, (_, before, state) = dict(zip(NAMES, given, strict=False)), given[len(NAMES) :]
    shown = found(model, together, values, before)
    result, again = shown.result, _values_of(before, model, "asked") == values
    action = values["action"]
    return [
        cards.sets_headline(model, result, metric),
        plot_value(f"{short_name(model)}-sets", lambda: _sets_figure(_needed(result), metric, PAGE)),
        cards.sets_table(result),
        result and {"model": model, "metric": metric, **shown.values, "what": "sets"},
        _stands(shown, state),
        gr.update(label=cards.set_in_words(values)),
        _note(told(model, cards.BUTTONS["together"], shown, state, again)),
        _wish(model, shown, before, values),
        _remembered(model, shown, values),
        gr.update(visible=action != "curve"),
        gr.update(visible=action == "ablate"),
        gr.update(visible=action == "curve"),
    ]


def draw_head(model: str, metric: str, head: str, before: str) -> str:
    """What the selected head does alone, and with others."""
    shown = found(model, alone, _values_of(before, model) or _defaults(), "")
    return cards.head_card(model, head, shown.result, metric)


def _needed(result: Any) -> Any:
    if result is None:
        raise InputError("Nothing was run with these settings yet.")
    return result


def _grid(result: Patching | None, metric: str, heads: str) -> dict[str, Any]:
    if result is None or metric not in result.effects:
        return grid_value(None, title="", missing="The map of all heads comes here.")
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
    result = _needed(runs.shown(name, model, settings))
    file = f"patching-{short_name(result.model)}-{what}"
    if what == "sets":  # its figure has buttons of its own
        return exported(kind, file, result, lambda: _sets_figure(result, metric, LIGHT))
    marked = tuple(_heads_in(str(request.get("heads") or "")))
    return exported(
        kind, file, result, lambda: figures.head_map(result, metric, selected=head, marked=marked)
    )


# -- live runs -----------------------------------------------------------------------------------------------


def run(
    ask: Callable[[dict[str, Any]], Asked], model: str, metric: str, *given: Any
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
            shown = _grid(result, metric, values["heads"])
        yield state, gr.skip() if on_show is None else wishes(), shown


def _heads_in(text: str) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if links.parse_head(part)]


def _induction_heads(model: str, live: str) -> str:
    """The induction heads that the scan on show found, as a set."""
    scan = runs.shown("scan", model, live)
    if scan is None or "induction" not in scan.scores:
        raise InputError("This model has no induction scores yet; run a scan in the Scan tab first.")
    if not (heads := passing(scan)):
        raise InputError("This model has no induction head.")
    return ",".join(links.format_head(*head) for head in heads)


def _first_set(action: str, model: str, live: str, heads: str) -> Any:
    """Whoever turns to a set that is empty finds the induction heads in it, where they are known."""
    if action == "curve" or heads.strip():
        return gr.skip()
    try:
        return _induction_heads(model, live)
    except InputError:
        return gr.skip()


# -- layout and wiring ---------------------------------------------------------------------------------------


def _choices(declared: dict[str, Any]) -> list[tuple[str, str]]:
    return [(item.title, name) for name, item in declared.items()]


def _defaults() -> dict[str, Any]:
    """Values of all controls."""
    values = {name: value for settings in _SETTINGS for name, value in settings().model_dump().items()}
    return {name: values.get(name, "curve") for name in NAMES}


def _alone_controls() -> tuple[dict[str, Any], list[Any], gr.Button]:
    """Controls by name, the groups that hide, and the button that puts them back."""
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
    put_back = gr.Button(
        "Put back the bundled settings", size="sm", visible=False, elem_id="patching-put-back"
    )
    return made, [generated, own], put_back


def _together_controls(heads: gr.Textbox) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """Controls by name, the groups that hide, and tools of the set."""
    action = gr.Radio(_choices(ACTIONS), value="curve", label="Heads together", elem_id="set-action")
    made: dict[str, Any] = {"action": action, "heads": heads}
    with gr.Column(visible=False) as chosen:
        heads.render()
        collecting = gr.Checkbox(
            False, label="Clicks in the map build the set, without Shift", elem_id="collect"
        )
        with gr.Row():
            first = gr.Button("Take the induction heads", size="sm", elem_id="first-heads")
            toggle = gr.Button("Add or remove the selected head", size="sm", elem_id="toggle-head")
            clear = gr.Button("Empty the set", size="sm")
    ablation = control(AblationSettings, "ablation", visible=False, elem_id="ablation", info=None)
    with gr.Row():
        made["top_k"] = control(TogetherSettings, "top_k", elem_id="top-k", min_width=100)
        made["n_random"] = control(TogetherSettings, "n_random", elem_id="random-sets")
    made["ablation"] = ablation
    return made, [chosen, ablation, made["top_k"]], [collecting, first, toggle, clear]


def _alone_area(metric: gr.Radio) -> tuple[dict[str, Any], Asks, gr.Button, list[Any], Any]:
    """Controls by name, their row, the button that puts them back, what :func:`draw` draws, and what picks heads."""
    with gr.Column(elem_id="patching-heads"):
        with Asks("patching", cards.BUTTONS["heads"], HeadsSettings().words()) as asks:
            made, groups, put_back = _alone_controls()
        with gr.Column(elem_classes=[RESULTS]) as results, gr.Row(elem_classes=["ih-panels"]):
            with gr.Column(scale=3, min_width=320, elem_classes=["ih-panel"]):
                title = html("", elem_id="patching-headline")
                metric.render()
                grid = head_grid(elem_id="patching-grid")
                note(INTRODUCTION, elem_id="patching-introduction")
                meaning, pairs = html("", elem_id="patching-meaning"), html("", elem_id="patching-prompts")
                files = exports(export, None, elem_id="patching-export")
            with gr.Column(scale=2, min_width=320, elem_classes=["ih-panel"]):
                card = html("", elem_id="patching-head")
                attention = gr.Button("Open this head in Attention", size="sm", elem_id="patched-attention")
                html("<h2>Clean, corrupted and patched</h2>")
                bars = plot(elem_id="patching-bars")
    drawn = [title, grid, meaning, pairs, bars, files, results, asks.line]
    return made, asks, put_back, [drawn, [*groups, put_back], card, attention], (grid, bars)


def build(page: Page) -> None:
    with page.hidden:
        pulse = gr.Textbox("", visible=False)
        wish, wish_sets, before, before_sets, noted, noted_sets = (
            gr.Textbox("", visible=False) for _ in range(6)
        )
    metric = gr.Radio(
        _choices(METRICS),
        value="logit_difference",
        label="Metric",
        show_label=False,
        container=False,
        elem_id="metric",
        render=False,
    )
    with page.tab("patching", "Patching"):
        made, asks, put_back, (drawn, groups, card, attention), (grid, bars) = _alone_area(metric)
        with gr.Column(elem_id="patching-sets"):
            html("<h2>Heads together, against random sets</h2>")
            with Asks("sets", cards.BUTTONS["together"], cards.set_in_words(_defaults())) as set_asks:
                more, set_groups, tools = _together_controls(page.heads)
            with gr.Column(elem_classes=[RESULTS]) as results, gr.Row(elem_classes=["ih-panels"]):
                with gr.Column(min_width=320, elem_classes=["ih-panel"]):
                    said, table = html("", elem_id="sets-headline"), html("", elem_id="sets-table")
                    files = exports(export, None, figures=False, elem_id="sets-export")
                with gr.Column(min_width=320, elem_classes=["ih-panel"]):
                    figure = plot(elem_id="sets-figure")

    made |= more
    values = [made[name] for name in NAMES]
    _link(page, made, metric)
    shared = [page.model, metric, *values]
    drawn_sets = [said, figure, table, files, results, set_asks.line]
    for function, outputs, row, noted_in, wished, kept, hidden in (
        (draw, drawn, asks, noted, wish, before, groups),
        (draw_sets, drawn_sets, set_asks, noted_sets, wish_sets, before_sets, set_groups),
    ):
        told_to = [*outputs, noted_in, wished, kept, *hidden]
        page.show("patching", function, [*shared, pulse], told_to, also=[kept, row.state])
        noted_in.change(None, [noted_in, row.state], row.state, js=_TELL, **jobs.QUICK)
    page.show("patching", draw_head, [page.model, metric, page.head, before], [card])
    for component in (grid, bars, figure):
        page.selects_head(component)
    page.opens_attention(attention)
    _wire_set(page, grid, made, tools)
    put_back.click(
        lambda: [_defaults()[name] for name in ALONE], None, [made[name] for name in ALONE], **jobs.QUICK
    )
    enter = [made[name].submit for name in TYPED]
    for ask, row, wished in ((alone, asks, wish), (together, set_asks, wish_sets)):
        gr.on(enter, partial(entered, ask), shared, wished, **jobs.QUICK)
        starts = [row.run.click, wished.change]
        jobs.long_run(starts, row.cancel, partial(run, ask), shared, [row.state, pulse, grid])
        # The map of a broken-off run gives way to what was there.
        row.cancel.click(wishes, None, pulse, **jobs.QUICK)


def _link(page: Page, made: dict[str, Any], metric: gr.Radio) -> None:
    """Every setting has its own parameter in the address."""
    for settings in _SETTINGS:
        for name, field in settings.model_fields.items():
            if name != "heads" and name in made and not page.is_linked(made[name]):
                page.link(links.of_field(field), made[name])
    page.link(links.choice("together", "curve", ACTIONS), made["action"], at="patching-sets")
    page.link(links.heads("heads"), made["heads"])
    page.link(links.choice("metric", "logit_difference", METRICS), metric)


def _wire_set(page: Page, grid: Any, made: dict[str, Any], tools: list[Any]) -> None:
    collecting, first, toggle, clear = tools
    heads, action = made["heads"], made["action"]
    grid.pick(None, [collecting, action, heads], [heads, action], js=_COLLECT, **jobs.QUICK)
    first.click(jobs.plain_errors(_induction_heads), [page.model, page.live], heads, **jobs.TOASTS)
    action.input(_first_set, [action, page.model, page.live, heads], heads, **jobs.QUICK)
    toggle.click(None, [heads, page.head], heads, js="window.ih.toggled", **jobs.QUICK)
    clear.click(lambda: "", None, heads, **jobs.QUICK)
