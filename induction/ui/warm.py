"""The libraries and the default model, fetched into memory in the background once somebody has the first page."""

from __future__ import annotations

import threading
import time
from importlib import import_module

from induction import model as models
from induction.base import InputError

AFTER = 2.0  # seconds for the visitor's page to come in
MODULES = ("induction.analysis.scanning", "induction.patching.heads", "induction.patching.ablation")
_begun = threading.Event()


def soon(model: str) -> None:
    """Once in the life of the server."""
    if not _begun.is_set() and models.availability(model) != "download":
        _begun.set()
        threading.Thread(target=_warm, args=(model,), daemon=True).start()


def _warm(model: str) -> None:
    time.sleep(AFTER)
    try:
        for _ in models.iter_load(model):
            pass
        for name in MODULES:
            import_module(name)
    except InputError:
        return  # whoever asks for the model is told
