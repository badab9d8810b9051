"""Results on show and live runs, the same for every experiment: kept for a while by their settings, else bundled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from induction import model as models
from induction.base import InputError, Progress, Result
from induction.experiment import Experiment, Settings, experiments
from induction.patching.experiments import PairSettings
from induction.results import bundled, estimate
from induction.results.running import perform
from induction.ui import jobs, zero_gpu
from induction.ui.components import status
from induction.ui.loading import loading
from induction.ui.names import checked_model

MOMENT = 3.0  # seconds that a run which nobody has pressed a button for may take

kept: jobs.Cache[Result] = jobs.Cache(64)  # by (experiment, model, settings)


def steps(experiment: Experiment, model: str, settings: Settings) -> Iterator[Progress[Any]]:
    """The kept result as one last step, or the steps of a run whose result is then kept.

    Raises:
        InputError: the model or the settings are refused.
    """
    key = (experiment.name, model, settings.key())
    yield from kept.run(key, lambda: _perform(experiment.name, model, settings))


@zero_gpu.borrowed
def _perform(name: str, model: str, settings: Settings) -> Iterator[Progress[Any]]:
    if isinstance(settings, PairSettings):
        settings.check_served(models.load_model(model, zero_gpu.DEVICE))
    yield from perform(experiments()[name], model, settings, zero_gpu.DEVICE)


def live(name: str, model: str, asked: Settings | str) -> Result | None:
    """The result of a live run, while it is kept.

    Args:
        name: of the experiment.
        asked: its settings, or what a link says of them.
    """
    settings = experiments()[name].settings.parse(asked) if isinstance(asked, str) else asked
    return None if settings is None else kept.get((name, model, settings.key()))


def shown(name: str, model: str, asked: Settings | str = "") -> Any:
    """What is on show: the live result while it is kept, else what is bundled, else None."""
    found = live(name, model, asked)
    return found or bundled(name, model, None if isinstance(asked, str) else asked)


def run_steps(
    experiment: Experiment, model: str, settings: Settings
) -> Iterator[tuple[dict[str, Any], str | None, Result | None]]:
    """Steps of a run: ``(status, name of the result on show or None, result so far)``.

    The last one names its result; an empty name says that none is on show until then, or that the run was refused.
    """
    seconds = None
    fresh = True
    try:
        name = checked_model(model)
        fresh = kept.get((experiment.name, name, settings.key())) is None
        if fresh:
            # A link may already name this result: forgetting the name first makes its arrival a change.
            yield status.waiting("Starting…"), "", None
            for state in loading(name):
                yield state, None, None
        for step in steps(experiment, name, settings):
            seconds = getattr(step.result, "seconds", None)
            yield status.running(step), None, step.result
    except InputError as error:
        yield status.stopped("error", str(error)), "", None
        return
    if fresh and seconds:
        estimate.learn(experiment, name, settings, seconds)
    took = f" in {seconds:.1f} s" if seconds else ""
    yield status.stopped("done", f"Done{took}. The figures are from this run."), str(settings), None


def run(
    experiment: Experiment, model: str, on_show: str, settings: Callable[[], Settings]
) -> Iterator[tuple[Any, Any]]:
    """Steps of a run where a hidden text names the result on show: ``(status, name)``.

    Args:
        on_show: that name.
        settings: makes the settings, or says why it cannot.
    """
    try:
        wanted = settings()
    except InputError as error:
        yield status.stopped("error", str(error)), gr.skip()
        return
    for state, name, _ in run_steps(experiment, model, wanted):
        yield state, name or ("" if name == "" and on_show == str(wanted) else gr.skip())


def rerun(
    experiment: Experiment, model: str, on_show: str, settings: Settings | None, button: str
) -> Iterator[tuple[Any, Any]]:
    """What a link's settings need when it is opened: nothing, a cheap run at once, or the button."""
    if settings is None or live(experiment.name, model, settings) is not None:
        yield gr.skip(), gr.skip()
    elif cheap(experiment, model, settings):
        yield from run(experiment, model, on_show, lambda: settings)
    else:
        text = f"This link shows a live run that is no longer kept; press {button} to measure it again."
        yield status.stopped("idle", text), gr.skip()


def cheap(experiment: Experiment, model: str, settings: Settings) -> bool:
    """Whether a run may start by itself: its model is at hand and it takes a moment."""
    seconds = estimate.expected(experiment, model, settings)
    return seconds is not None and seconds <= MOMENT and models.availability(model) != "download"


def judged(
    experiment: Experiment, model: str, on_show: str, wanted: Settings, button: str, *, changed: bool
) -> tuple[dict[str, Any], str | None, bool]:
    """What follows from settings beside a result: ``(status, other name of the result on show or None, run now)``.

    Args:
        on_show: name of the live result on show, empty for what is bundled.
        changed: whether a visitor has just set them, so that what answers them may be shown or run.
    """
    fine, name = status.stopped("idle", ""), experiment.name
    there, usual = experiment.settings.parse(on_show), experiment.settings()
    if wanted == (usual if there is None else there):
        return fine, None, False
    if changed and wanted == usual and bundled(name, model):
        return fine, "", False
    if changed and live(name, model, wanted):
        return fine, str(wanted), False
    said = estimate.in_words(estimate.expected(experiment, model, wanted))
    press = f"{button} ({said})" if said else button
    if shown(name, model, on_show) is None:
        told = status.stopped("idle", f"Not measured yet: press {press}.")
    else:
        what = there.words() if there and live(name, model, there) else "the bundled result"
        told = status.stopped("stale", f"Shown is still {what}. {press} measures what is set here.")
    return told, None, changed and cheap(experiment, model, wanted)
