"""An experiment declared in one file, as anyone would; inside :func:`declared` every surface has it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from induction.base import Progress, Result
from induction.experiment import DECLARED_IN, Experiment, Settings, setting

PAUSE = 0.0  # seconds before each step, for tests that cancel
STEPS = 3


class ToySettings(Settings):
    count: int = setting(2, "Count", "How many numbers", low=1, high=9)
    order: str = setting("up", "Order", "Which way", choices={"up": "Upwards", "down": "Downwards"})
    doubled: bool = setting(False, "Doubled", "Each number twice as large")
    note: str = setting("", "Note", "Said again in the verdict", high=20)


class ToyResult(Result):
    SCHEMA: ClassVar[str] = "induction-toy/1"

    numbers: list[int]
    note: str

    def rows(self) -> Iterator[dict[str, Any]]:
        for position, number in enumerate(self.numbers):
            yield {"position": position, "number": number}

    def verdict(self) -> str:
        return f"The largest number is {max(self.numbers)}. {self.note}".strip()


def run_toy(model: Any, settings: ToySettings) -> Iterator[Progress[ToyResult]]:
    for done in range(STEPS):
        yield Progress(done, STEPS, f"step {done + 1} of {STEPS}")
        time.sleep(PAUSE)
    numbers = [number * (1 + settings.doubled) for number in range(settings.count)]
    shape = {"n_layers": model.cfg.n_layers, "n_heads": model.cfg.n_heads}
    found = ToyResult(
        model="toy",
        origin="made up",
        numbers=numbers if settings.order == "up" else numbers[::-1],
        note=settings.note,
        **shape,
    )
    yield Progress(STEPS, STEPS, "done", found)


EXPERIMENTS = (
    Experiment(
        name="toy",
        title="Toy",
        help="Numbers in a row.",
        settings=ToySettings,
        result=ToyResult,
        run=run_toy,
        work=lambda n_layers, n_heads, settings: 1,
    ),
)


@contextmanager
def declared() -> Iterator[Experiment]:
    """The toy is on the list of experiments in this block."""
    DECLARED_IN.append(__name__)
    try:
        yield EXPERIMENTS[0]
    finally:
        DECLARED_IN.remove(__name__)
