"""An experiment on a model that is named: what is bundled where it is only read, else the model loaded and run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from induction.base import Progress
from induction.experiment import Experiment, Settings
from induction.results.shelf import bundled


def perform(
    experiment: Experiment, model: str, settings: Settings, device: str = "cpu"
) -> Iterator[Progress[Any]]:
    """Steps of an experiment; bundled results that save it work are handed over.

    Args:
        model: a name that :func:`induction.model.load_model` takes.

    Raises:
        InputError: the model or the settings are refused, or there is nothing to read.
    """
    if experiment.reads:
        found = bundled(experiment.name, model, settings)
        steps = experiment.run(model, settings) if found is None else iter([Progress(1, 1, "read", found)])
        yield from steps
        return
    from induction.model import load_model

    known = {name: bundled(name, model) for name in experiment.known}
    yield from experiment.run(load_model(model, device), settings, **known)
