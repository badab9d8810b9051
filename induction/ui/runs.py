"""Results on show and live runs, the same for every experiment: kept for a while by their settings, else bundled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from induction import model as models
from induction.base import InputError, Progress, Result
from induction.experiment import Experiment, Settings, experiments
from induction.patching.experiments import PairSettings
from induction.results import bundled
from induction.results.running import perform
from induction.ui import jobs, zero_gpu
from induction.ui.components import status
from induction.ui.loading import loading
from induction.ui.names import checked_model

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
    try:
        name = checked_model(model)
        if kept.get((experiment.name, name, settings.key())) is None:
            # A link may already name this result: forgetting the name first makes its arrival a change.
            for state in loading(name):
                yield state, "", None
        for step in steps(experiment, name, settings):
            seconds = getattr(step.result, "seconds", None)
            yield status.running(step), None, step.result
    except InputError as error:
        yield status.stopped("error", str(error)), "", None
        return
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
    elif cheap(model):
        yield from run(experiment, model, on_show, lambda: settings)
    else:
        text = f"This link shows a live run that is no longer kept; press {button} to measure it again."
        yield status.stopped("idle", text), gr.skip()


def cheap(model: str) -> bool:
    """Whether a link may start runs of this model: it is small and at hand."""
    return models.availability(model) == "bundled"
