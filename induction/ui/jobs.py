"""Work on models: one at a time, queued with a limit, cached by its settings, errors in plain words.

Every event that touches a model is wired with ``**jobs.MODEL`` and a function wrapped by
:func:`plain_errors`. Long work is a generator, so that cancelling and closing the page end it cleanly.
"""

from __future__ import annotations

import functools
import html
import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar

import gradio as gr

from induction.errors import InputError
from induction.progress import Progress

#: Options of every event that touches a model: hooks on a shared model must not run concurrently.
#: They show where they stand in a ``status`` of their own.
MODEL: dict[str, Any] = {
    "concurrency_id": "model",
    "concurrency_limit": 1,
    "show_progress": "hidden",
    "api_visibility": "private",
}
#: Options of events that only read results: straight through, beside any running model.
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
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
            if step.result is not None:
                self.put(key, step.result)
            yield step


def plain_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Show an :class:`InputError` as its own sentence (escaped: toasts render HTML), no traceback."""

    def toast(error: InputError) -> gr.Error:
        return gr.Error(html.escape(str(error)), title="Not possible as asked", print_exception=False)

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
