"""The Hugging Face Hub: what is in its local cache, whether it answers, and fetching weights with progress."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from urllib.parse import urlsplit

from induction.base import Progress

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # names the files of weights that are in several
MEGABYTE = 1_000_000
TIMEOUT = 5.0  # seconds to connect
POLL = 0.3  # seconds between two steps of a download


def in_cache(name: str, revision: str | None = None) -> bool:
    """Whether configuration and weights of a model are in the local cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    weights = [WEIGHTS, INDEX]
    if revision:
        weights.append("pytorch_model.bin")  # training checkpoints of the past have nothing else
    try:
        config, *found = (
            try_to_load_from_cache(name, file, revision=revision) for file in ("config.json", *weights)
        )
    except HFValidationError:
        return False
    return isinstance(config, str) and any(isinstance(file, str) for file in found)


def answers() -> bool:
    """Whether the Hub can be connected to. Its client would retry for half a minute before it says that it cannot."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if urllib.request.getproxies():  # a proxy may reach what this machine cannot
        return True
    hub = urlsplit(constants.ENDPOINT)
    port = hub.port or (80 if hub.scheme == "http" else 443)
    try:
        socket.create_connection((hub.hostname or "", port), timeout=TIMEOUT).close()
    except OSError:
        return False
    return True


def iter_weights(name: str) -> Iterator[Progress[str]]:
    """Fetch a model's weights into the local cache, in steps of megabytes; the last step carries the model's name.

    Closing stops the download. The Hub's client keeps no part of a file, so the next try starts that file anew.

    Raises:
        Exception: whatever the Hub's client throws.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError
    from tqdm import tqdm

    fetched = {"done": 0, "total": 0, "stop": False}

    class Meter(tqdm):
        """Counts bytes for the steps below and draws nothing."""

        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, **{**options, "disable": True})
            fetched["total"] += options.get("total") or 0
            fetched["done"] += options.get("initial") or 0

        def update(self, n: float | None = 1) -> None:
            if fetched["stop"]:
                raise InterruptedError("the download was cancelled")
            fetched["done"] += int(n or 0)

    def fetch() -> None:
        try:
            hf_hub_download(name, WEIGHTS, tqdm_class=Meter)
        except EntryNotFoundError:
            index = Path(hf_hub_download(name, INDEX, tqdm_class=Meter))
            for file in {*json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}:
                hf_hub_download(name, file, tqdm_class=Meter)

    pool = ThreadPoolExecutor(1)
    try:
        future = pool.submit(fetch)
        while not wait([future], timeout=POLL).done:
            done, total = (fetched[part] // MEGABYTE for part in ("done", "total"))
            yield Progress(done, max(total, 1), f"downloading {name}: {done:,} of {total:,} MB")
        future.result()
        yield Progress(1, 1, f"downloaded {name}", name)
    finally:
        fetched["stop"] = True
        pool.shutdown(wait=False)
