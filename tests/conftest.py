"""Fixtures that several files use: models loaded once, the app in a process of its own, and a watchful browser.

``visit(query)`` opens a page and waits for it; console errors, failed scripts and requests that leave the
machine fail the test at its end, whatever it was about.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import models
import pytest
from running import restored, running_app


@pytest.fixture(scope="module", params=models.BUILDERS)
def model(request):
    """A random model of each architecture in turn."""
    return models.BUILDERS[request.param]()


@pytest.fixture(scope="session")
def planted():
    """The circuit planted by hand."""
    return models.planted_circuit()


@pytest.fixture(scope="session")
def mini():
    """The bundled model with induction heads."""
    from induction.model import load_model

    return load_model("mini-2l")


@pytest.fixture(scope="session")
def app_url() -> Iterator[str]:
    """Address of ``python app.py``, started once for all tests."""
    with running_app() as url:
        yield url


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> str:
    """A folder with a random three-layer GPT-2, for live runs at home."""
    return models.save_gpt2(
        tmp_path_factory.mktemp("models") / "tiny-gpt2", layers=3, width=32, positions=256
    )


@pytest.fixture(scope="session")
def slow_model(tmp_path_factory) -> str:
    """A folder with a random GPT-2 on which a large scan takes many seconds, for cancelling."""
    return models.save_gpt2(
        tmp_path_factory.mktemp("models") / "slow-gpt2", layers=6, width=512, positions=1024
    )


@pytest.fixture(scope="session")
def smollm2():
    """The real model of the installed wheel, loaded once for all tests; ``said_on_loading`` holds its warning."""
    import warnings

    from induction.model import SMOLLM2, load_model
    from induction.model.loading import _loaded

    _loaded.clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = load_model(SMOLLM2)
    model.said_on_loading = " ".join(str(warning.message) for warning in said)
    return model


@pytest.fixture(scope="session")
def browser():
    """Chromium of the system, or playwright's own; where there is neither, the test is skipped."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=30_000)  # the first run of an app imports torch, and machines are shared
    with sync_playwright() as playwright:
        installed = [
            shutil.which("chromium"),
            shutil.which("google-chrome"),
            playwright.chromium.executable_path,
        ]
        path = next((path for path in installed if path and Path(path).exists()), None)
        if path is None:
            pytest.skip("no Chromium: apt-get install chromium, or playwright install chromium")
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, app_url):
    """``visit(query, width=1280)`` opens the page and returns it when its grid or tab stands."""
    problems: list[str] = []
    contexts = []

    def open_page(query: str = "", *, width: int = 1280, ready: str = "#scan-grid [role=gridcell]"):
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: (problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on(
            "request",
            lambda request: (
                problems.append(f"request to {request.url}")
                if not request.url.startswith((app_url, "data:", "blob:"))
                else None
            ),
        )
        page.goto(app_url + query)
        page.wait_for_selector(ready)
        restored(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []
