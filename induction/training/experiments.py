"""The training history of a model, which is only read here. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from induction.base import InputError, Progress
from induction.experiment import Experiment, Settings
from induction.training.history import History


def refuse(model: str, settings: Settings) -> Iterator[Progress[History]]:
    raise InputError(
        f"No training history of {model} comes with the package; measure one with the command history."
    )


EXPERIMENTS = (
    Experiment(
        name="training",
        title="Training",
        help="How the heads of a model formed: losses and scores at the checkpoints of its training, as bundled.",
        settings=Settings,
        result=History,
        run=refuse,
        reads=True,
    ),
)
