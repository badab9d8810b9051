"""Long work is a generator of :class:`Progress`; closing the generator cancels it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Progress(Generic[Result]):
    """How far a piece of work is; the last one of a run carries its result."""

    done: int
    total: int
    label: str
    result: Result | None = None


def finish(
    steps: Iterator[Progress[Result]], on_progress: Callable[[Progress[Result]], None] | None = None
) -> Result:
    """Run a generator of progress to its end and return the result that its last step carries."""
    result = None
    for step in steps:
        if on_progress:
            on_progress(step)
        result = step.result
    if result is None:
        raise RuntimeError("the work ended without a result")
    return result
