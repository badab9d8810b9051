"""Patching: which heads carry the answer, one by one and together, bundled or run now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from induction import model as models
from induction.data_gen import TOKEN_SETS
from induction.errors import InputError
from induction.interventions import ABLATIONS, COMPONENTS, DIRECTIONS, METRICS, Declaration
from induction.results import patching as results
from induction.results.patching import HeadSets, Patching
from induction.ui import jobs, links, status
from induction.ui import patching_cards as cards
from induction.ui import patching_settings as settings
from induction.ui.exports import exports
from induction.ui.figure import figure, figure_value
from induction.ui.head_grid import grid_value, head_grid, picked
from induction.ui.live import shown_scan
from induction.ui.names import checked_model, short_name
from induction.ui.note import html, note
from induction.ui.patching_runs import sets_steps, sweep_steps
from induction.ui.patching_settings import Sweep, Together, from_texts, shown_sets, shown_sweep
from induction.viz import patching as figures
from induction.viz.theme import LIGHT, PAGE

if TYPE_CHECKING:
    from induction.ui.page import Page

INTRODUCTION = (
    "Attention shows where a head looks; patching shows whether it matters. Two prompts differ in context and share "
    "their last token. Copy one head's activation from one run into the other: how much of the answer moves with it?"
)
N_SWEEP = len(Sweep.__dataclass_fields__)  # how many of the values that an event hands over make a Sweep
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
    sweep, together = _read(values)
    result = shown_sweep(model, sweep)
    sets = shown_sets(model, sweep, together)
    asked = {"model": model, "metric": metric, "head": head, **sweep.__dict__, **together.__dict__}
    name = short_name(model)
    return [
        cards.headline(model, sweep, result, metric),
        _grid(result, metric, head, together.heads),
        cards.meaning(sweep, metric),
        cards.prompts(result),
        figure_value(
            f"{name}-patched",
            lambda: figures.bars(_needed(result), metric, palette=PAGE, selected=head),
        ),
        cards.sets_headline(sets, together, metric),
        figure_value(f"{name}-sets", lambda: _sets_figure(sets, together, metric, PAGE)),
        cards.sets_table(sets),
        {**asked, "what": "heads"},
        {**asked, "what": "sets"},
        gr.update(visible=sweep.form != "own" and sweep.form != "bundled"),
        gr.update(visible=sweep.form == "own"),
        gr.update(visible=together.action == "curve"),
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
    values = figures.effects(result, metric)
    return grid_value(
        values,
        title=("Estimated effect" if result.method == "estimate" else "Effect"),
        selected=head,
        low=effect.low,
        high=effect.high,
        scale="diverging",
        limit=figures.scale_limit(values),
        marked=[part.strip() for part in heads.split(",") if links.parse_head(part)],
        missing="not run yet, or undefined",
    )


def _sets_figure(result: HeadSets | None, together: Together, metric: str, palette: Any) -> str:
    if result is None:
        raise InputError("Nothing was run with these settings yet: press Run on the set.")
    if together.action == "curve":
        return figures.curve(result, metric, palette=palette)
    return figures.distribution(
        result, AFTER_ABLATION if together.action == "ablate" else metric, palette=palette
    )


def export(kind: str, asked: dict[str, Any]) -> tuple[str, str]:
    """File name and text of an export.

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
        yield status.waiting(f"Loading {name}…"), gr.skip(), gr.skip()
        result = None
        for step in sweep_steps(name, sweep):
            result = step.result
            yield status.running(step), _grid(result, metric, head, together.heads), gr.skip()
    except InputError as error:
        yield status.stopped("error", str(error)), gr.skip(), _pulse()
        return
    yield status.stopped("done", _took(result)), gr.skip(), _pulse()


def run_sets(model: str, live: str, *values: Any) -> Iterator[tuple[Any, Any]]:
    """Steps of a run over heads together: ``(status, pulse)``."""
    try:
        name = checked_model(model)
        sweep, together = _read(values)
        yield status.waiting(f"Loading {name}…"), gr.skip()
        result = None
        for step in sets_steps(name, live, sweep, together):
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


def rerun_sets(tab: str, model: str, live: str, *values: Any) -> Iterator[tuple[Any, Any]]:
    """The same for heads together."""
    sweep, together = _read(values)
    wanted = tab == "patching" and together != Together() and shown_sets(model, sweep, together) is None
    if wanted and models.availability(model) == "bundled":
        yield from run_sets(model, live, *values)
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
