"""Loading a model beside other work: what it is at, how long it has taken, and leaving off at once."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from typing import Any

from induction.base import Progress
from induction.model import loading

Key = tuple[str, str]  # name and device

_pending: dict[Key, Future[None]] = {}
_pending_lock = threading.Lock()
_took: dict[str, float] = {}  # seconds, by name


def iter_load(name: str, device: str = "cpu") -> Iterator[Progress[Any]]:
    """:func:`induction.model.load_model` in a thread of its own; steps of a quarter of a second say what it is at.

    Closing is heard at once; what was begun goes on and is kept, and whoever asks for it next joins in.

    Raises:
        ModelUnavailable, InputError: as :func:`induction.model.load_model` does.
    """
    key = (loading.resolve(name), device)
    if loading.is_loaded(name, device):
        return
    began = time.monotonic()
    with _pending_lock:
        work = _pending.get(key)
        if work is None:
            work = _pending[key] = Future()
            threading.Thread(target=_work_off, args=(key, work), daemon=True).start()
    expected = expected_load(name)
    while not work.done():
        spent = time.monotonic() - began
        label = f"{loading.Stage.now}, {spent:.0f} s of about {max(expected, spent):.0f} s"
        yield Progress(min(int(spent * 10), int(expected * 10) - 1), int(expected * 10), label)
        wait([work], timeout=0.25)
    work.result()


def expected_load(name: str) -> float:
    """Seconds that loading is likely to take: as last time, else by the size of its weights."""
    card = loading.CATALOGUE.get(loading.resolve(name))
    libraries = 0.5 if "transformer_lens" in sys.modules else 6.0
    reading = card.parameters * 4 / 2e8 if card else 5.0  # bytes at the pace of two common cores
    return max(1.0, libraries + _took.get(loading.resolve(name), reading))


def _work_off(key: Key, work: Future[None]) -> None:
    began = time.monotonic()
    try:
        loading.load_model(*key)
        _took[key[0]] = time.monotonic() - began
        work.set_result(None)
    except BaseException as error:  # whatever it is, it is raised where somebody waits
        work.set_exception(error)
    finally:
        with _pending_lock:
            _pending.pop(key, None)
