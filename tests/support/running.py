"""The app in a process of its own, for tests and for the scripts beside them."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def app_process(
    port: int = 0, log: Path | None = None, root: Path = ROOT, **environment: str
) -> Iterator[tuple[str, subprocess.Popen]]:
    """Address and process of ``python app.py`` of a checkout, started for this block, without a hub.

    ``log`` takes what it says.
    """
    port = port or free_port()
    own = {**os.environ, "GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1"}
    own.pop("SPACE_ID", None)
    told = log.open("w") if log else None
    process = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=root,
        env={**own, **environment},
        stdout=subprocess.PIPE,
        stderr=told,
        text=True,
    )
    try:
        for line in process.stdout:
            if "Running on local URL" in line:
                break
        else:
            raise RuntimeError("app.py ended before it listened")
        yield f"http://127.0.0.1:{port}/", process
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextmanager
def running_app(**environment: str) -> Iterator[str]:
    """Address of ``python app.py``, started for this block, without a hub."""
    with app_process(**environment) as (url, _):
        yield url


def address(page) -> dict[str, str]:
    """The parameters that a page's address holds."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def restored(page) -> None:
    """Waits until a page answers: its address is written once everything it asks for was put back."""
    page.wait_for_function("document.querySelector('#link textarea, #link input')?.value.includes('?')")


def open_settings(page, name: str) -> None:
    """Opens the line of an experiment's settings to its controls."""
    line = page.locator(f"#{name}-settings > button")
    if "open" not in (line.get_attribute("class") or "").split():
        line.click()
        page.wait_for_timeout(
            300
        )  # Gradio makes the controls now; what is typed into one before it stands is lost


def words_of(page: str) -> str:
    """A piece of HTML as a reader sees it: terms are marked up in the middle of sentences."""
    return unescape(re.sub("<[^>]*>", "", page))
