"""Long work is a generator of :class:`Progress`; closing the generator cancels it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar

Found = TypeVar("Found")
Arguments = ParamSpec("Arguments")


@dataclass(frozen=True)
class Progress(Generic[Found]):
    """How far a piece of work is; the last one of a run carries its result."""

    done: int
    total: int
    label: str
    result: Found | None = None


def finish(
    steps: Iterator[Progress[Found]], on_progress: Callable[[Progress[Found]], None] = lambda step: None
) -> Found:
    """Run a generator of progress to its end and return the result that its last step carries."""
    result = None
    for step in steps:
        on_progress(step)
        result = step.result
    if result is None:
        raise RuntimeError("the work ended without a result")
    return result


def finished(steps: Callable[Arguments, Iterator[Progress[Found]]]) -> Callable[Arguments, Found]:
    """``x`` from ``iter_x``: with the same arguments and their docs, run to its end; returns the result."""

    @wraps(steps)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Found:
        return finish(steps(*args, **kwargs))

    signature = inspect.signature(steps)
    carried = re.sub(r".*Progress\[(.*?)\].*", r"\1", str(signature.return_annotation))
    run.__signature__ = signature.replace(return_annotation=carried)  # type: ignore[attr-defined]
    run.__annotations__ = {**steps.__annotations__, "return": carried}
    run.__name__ = run.__qualname__ = steps.__name__.removeprefix("iter_")
    arguments = re.sub(r" +Yields:\n.*?\n\n", "", steps.__doc__ or "", flags=re.DOTALL)
    run.__doc__ = f"Returns what the last step of :func:`{steps.__name__}` carries. {arguments}"
    return run


def share(steps: Iterator[Progress[Found]], low: float, high: float) -> Generator[Progress[Any], None, Found]:
    """Pass on the steps of a part as ``low`` to ``high`` per cent of the whole; returns the part's result."""
    result = None
    for step in steps:
        result = step.result
        yield Progress(round(low + (high - low) * step.done / max(step.total, 1)), 100, step.label)
    if result is None:
        raise RuntimeError("the work ended without a result")
    return result
