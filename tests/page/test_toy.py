"""An experiment declared in one file is on the page: an endpoint, a link that restores it, a live run with cancel."""

from __future__ import annotations

import pytest
import toy
from gradio_client import Client
from playwright.sync_api import expect
from running import open_settings, restored

from induction.base import finish
from induction.model import load_model
from induction.ui import api, app, jobs


@pytest.fixture(scope="module")
def toy_url():
    """The page with the toy on the list, served by this process."""
    with toy.declared():
        demo = app.build()
        options = {**app.launch_options(), "prevent_thread_lock": True, "quiet": True}
        _, url, _ = demo.queue(max_size=jobs.QUEUE_LIMIT).launch(**options)
        yield url
        demo.close()


@pytest.fixture
def slowly(monkeypatch):
    monkeypatch.setattr(toy, "PAUSE", 1.0)


def expected(**asked):
    return finish(toy.run_toy(load_model("mini-1l"), toy.ToySettings(**asked)))


def test_it_is_an_endpoint_with_documented_arguments(toy_url):
    client = Client(toy_url, verbose=False)
    (declared,) = toy.EXPERIMENTS
    endpoint = client.view_api(return_format="dict")["named_endpoints"]["/toy"]
    given = {
        parameter["parameter_name"]: parameter["parameter_default"] for parameter in endpoint["parameters"]
    }
    assert given == {"model": "mini-2l", **toy.ToySettings().model_dump(), "live": True}
    assert endpoint["description"] == declared.help
    assert "count: Count. How many numbers, 1 to 9." in api.endpoint(declared).__doc__
    job = client.submit("mini-1l", count=3, doubled=True, note="<b>", api_name="/toy")
    assert toy.ToyResult.model_validate({k: v for k, v in job.result().items() if k != "schema"}) == expected(
        count=3, doubled=True, note="<b>"
    )
    assert [step["label"] for step in job.outputs()[:-1]] == ["step 1 of 3", "step 2 of 3", "step 3 of 3"]


@pytest.mark.browser
def test_its_link_restores_it_and_its_run_can_be_cancelled(toy_url, browser, slowly):
    asked = toy.ToySettings(count=4, order="down", note="<i>so</i>")
    page = browser.new_page()
    page.goto(f"{toy_url}?model=mini-1l&tab=toy&toy={asked}")
    restored(page)
    expect(page.locator("#toy-headline")).to_contain_text("Measured live", timeout=60_000)
    expect(page.locator("#toy-headline")).to_contain_text(
        expected(count=4, order="down", note="<i>so</i>").verdict()
    )
    expect(page.locator("#toy-table tbody tr")).to_have_count(4)
    assert page.locator("#tab-toy i").count() == 0 or page.locator("#toy-headline i").count() == 0
    open_settings(page, "toy")
    expect(page.get_by_label("Count")).to_have_value("4")
    page.get_by_label("Count").fill("5")
    page.locator("#run-toy").click()
    expect(page.locator("#toy-status")).to_contain_text("step 2 of 3", timeout=30_000)
    page.locator("#cancel-toy").click()
    expect(page.locator("#toy-status")).to_contain_text("Cancelled")
    expect(page.locator("#toy-table tbody tr")).to_have_count(4)
    page.locator("#run-toy").click()
    expect(page.locator("#toy-table tbody tr")).to_have_count(5, timeout=30_000)
    with page.expect_download() as waiting:
        page.locator("#toy-export").get_by_role("button", name="CSV").click()
    assert waiting.value.path().read_text().splitlines()[:2] == ["position,number", "0,4"]
    page.close()
