"""What a visitor sees until a model is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from induction import model as models
from induction.ui import zero_gpu
from induction.ui.components import status
from induction.ui.names import short_name


def loading(model: str) -> Iterator[dict[str, Any]]:
    """States to show: the download where one is needed, then what loading is at. Closing is heard at once.

    Raises:
        ModelUnavailable: the Hub is out of reach, or the download broke off.
    """
    if models.availability(model) == "download":
        for step in models.iter_fetch(model):
            yield status.running(step)
    if zero_gpu.HERE:  # it is loaded where the GPU is
        yield status.waiting(f"Loading {short_name(model)}…")
        return
    for step in models.iter_load(model):
        yield status.running(replace(step, label=f"Loading {short_name(model)}: {step.label}"))
