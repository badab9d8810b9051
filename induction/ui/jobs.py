"""Work on models: one at a time, queued with a limit, cached by its settings, errors in plain words.

Every event that touches a model is wired with ``**jobs.MODEL`` and a function wrapped by :func:`on_model`.
Long work is a generator, so that cancelling and closing the page end it cleanly.
"""

from __future__ import annotations

import functools
import html
import inspect
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import gradio as gr

from induction.base import InputError, Progress
from induction.ui.components import status

#: Whatever touches a model queues up, one at a time.
TURNS: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
#: Options of the page's events that touch a model: they show where they stand in a ``status`` of their own.
MODEL: dict[str, Any] = {
    **TURNS,
    "show_progress": "hidden",
    "api_visibility": "private",
}
#: Options of events that only read results: straight through, beside any running model.
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
#: The same for events that may toast: Gradio shows what was told outside of its queue to nobody.
TOASTS: dict[str, Any] = {**QUICK, "queue": True, "concurrency_limit": None}
QUEUE_LIMIT = 24  # waiting jobs; beyond it Gradio tells the visitor that the queue is full

Result = TypeVar("Result")


class Cache(Generic[Result]):
    """The last ``size`` results by their settings. Shared by all visitors: keys hold every setting."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Hashable, Result] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Result | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: Hashable, result: Result) -> None:
        with self._lock:
            self._kept[key] = result
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def run(
        self, key: Hashable, work: Callable[[], Iterator[Progress[Result]]]
    ) -> Iterator[Progress[Result]]:
        """The kept result as one last step, or the steps of ``work`` with its result kept."""
        kept = self.get(key)
        if kept is not None:
            yield Progress(1, 1, "from the cache", kept)
            return
        for step in work():
            if step.result is not None and step.done == step.total:  # what is there before is in part
                self.put(key, step.result)
            yield step


# Hooks on a shared model must not run concurrently. Gradio's limit alone does not see to that: the step of a
# cancelled generator runs on in its thread while its place is already given away.
_model_lock = threading.Lock()


def on_model(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, or each step of the generator function, with the models to itself; errors in plain words."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def steps(*values: Any) -> Iterator[Any]:
            work = function(*values)
            try:
                while True:
                    with _model_lock:
                        try:
                            step = next(work)
                        except StopIteration:
                            return
                    yield step
            finally:
                work.close()

        return plain_errors(steps)

    @functools.wraps(function)
    def call(*values: Any) -> Any:
        with _model_lock:
            return function(*values)

    return plain_errors(call)


def plain_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Show an :class:`InputError` as its own sentence (escaped: toasts render HTML), no traceback."""

    def toast(error: InputError) -> gr.Error:
        return gr.Error(
            html.escape(str(error), quote=False), title="Not possible as asked", print_exception=False
        )

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def steps(*values: Any) -> Iterator[Any]:
            try:
                yield from function(*values)
            except InputError as error:
                raise toast(error) from None

        return steps

    @functools.wraps(function)
    def call(*values: Any) -> Any:
        try:
            return function(*values)
        except InputError as error:
            raise toast(error) from None

    return call


def long_run(
    run: gr.Button | Callable[..., Any] | Sequence[Callable[..., Any]],
    cancel: gr.Button,
    function: Callable[..., Iterator[Any]],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
) -> None:
    """Wire a generator that works on a model to its two buttons; ``run`` may be events of other components.

    ``outputs[0]`` is a :func:`induction.ui.components.status.status`; the function's steps keep it up to date, and
    here it says what they cannot: that the run waits for its turn, was cancelled, or did not come through.
    """
    state = outputs[0]
    waiting = status.waiting("Waiting for a free turn…")
    full = status.stopped("error", "Too many runs are waiting; try again in a moment.")
    cancelled = status.stopped("cancelled", "Cancelled. What is shown is unchanged.")
    event = run.click if isinstance(run, gr.Button) else run
    on = partial(gr.on, event) if isinstance(event, Sequence) else event
    asked = on(lambda: waiting, None, state, **QUICK)
    # A cancelled run ends with its current step; "multiple" lets the next one queue up behind it.
    started = asked.then(
        _told(on_model(function), len(outputs)), list(inputs), list(outputs), trigger_mode="multiple", **MODEL
    )
    started.failure(lambda shown: full if shown == waiting else gr.skip(), state, state, **QUICK)
    stop = cancel.click(lambda: cancelled, None, state, cancels=[started], **QUICK)
    # A step that was on its way when the run ended may arrive after the word: say it again.
    stop.then(lambda: cancelled, None, state, **QUICK)


def _told(function: Callable[..., Iterator[Any]], n_outputs: int) -> Callable[..., Iterator[Any]]:
    """The generator function, with what nobody foresaw said in its status and logged by Python."""

    @functools.wraps(function)
    def steps(*values: Any) -> Iterator[Any]:
        try:
            yield from function(*values)
        except gr.Error:
            raise
        except Exception:
            logging.getLogger(__name__).exception("a run broke off")
            broken = status.stopped("error", "The run broke off; the server's log says why.")
            yield (broken, *[gr.skip()] * (n_outputs - 1))

    return steps
