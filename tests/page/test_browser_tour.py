"""The guided tour in Chromium: walked through by a visitor, never in the way; and leaving in mid-run."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from running import app_process, restored

from induction.results import CIRCUITS, SCANS
from induction.ui.components import tour
from induction.ui.page import top_head

pytestmark = pytest.mark.browser

CARD = "section.ih-tour"


def test_the_tour_is_walked_by_doing_what_it_says(visit):
    page = visit("?model=gpt2&tab=scan")
    page.get_by_role("button", name="Tour of a minute").click()
    count, text = page.locator(".ih-tour-count"), page.locator(f"{CARD} [role=status]")
    expect(page.locator(f"{CARD} h2")).to_be_focused()
    expect(count).to_have_text("Step 1 of 4")
    page.wait_for_url("**model=mini-2l*")
    page.locator("#scan-grid .ih-cell[data-l='1'][data-h='7']").click()
    for number, (tab, done) in enumerate(
        (
            ("Attention", "#tab-attention canvas >> visible=true >> nth=0"),
            ("Patching", "#patching-headline"),
            ("Circuit", "#circuit-diagram [data-head='0.2']"),
        ),
        2,
    ):
        expect(count).to_have_text(f"Step {number} of 4")
        expect(text).to_have_text(f"Open the tab {tab}.")
        page.get_by_role("tab", name=tab).click()
        expect(text).to_have_text(tour.STEPS[number - 1].text)
        page.locator(done).click(position={"x": 5, "y": 5})
    expect(count).to_have_text("Done")
    page.get_by_role("button", name="Finish").click()
    expect(page.locator(CARD)).to_be_hidden()
    expect(page.locator(".ih-tour-here")).to_have_count(0)


def test_next_does_it_and_escape_ends_it(visit):
    page = visit("?model=mini-2l&tab=scan", width=390)
    opener = page.get_by_role("button", name="Tour of a minute")
    opener.click()
    next_button = page.locator(".ih-tour-next")
    next_button.click()
    expect(next_button).to_have_text("Open Attention")
    next_button.click()
    expect(page.get_by_role("tab", name="Attention")).to_have_attribute("aria-selected", "true")
    expect(next_button).to_have_text("Next")
    card = page.locator(CARD).bounding_box()
    assert card["x"] >= 0
    assert card["x"] + card["width"] <= 390
    page.keyboard.press("Escape")
    expect(page.locator(CARD)).to_be_hidden()
    expect(opener).to_be_focused()


def test_what_the_tour_says_of_heads_is_so():
    """Its two heads are the results' own."""
    assert top_head(SCANS.get(tour.MODEL)) in tour.STEPS[0].text
    assert CIRCUITS.get(tour.MODEL).finding().startswith("0.2 (previous-token head) feeds")
    assert "0.2" in tour.STEPS[-1].text


def test_leaving_in_the_middle_of_a_trace_leaves_no_error(browser, slow_model, tmp_path):
    """Neither in the browser's console nor in the server's log."""
    log, errors = tmp_path / "log", []
    with app_process(log=log) as (url, _):
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{url}?model=mini-2l&tab=circuit")
        page.wait_for_selector("#circuit-diagram svg")
        restored(page)
        page.locator("#model input").fill(slow_model)
        page.keyboard.press("Enter")
        expect(page.locator("#circuit-headline h2")).to_have_text("slow-gpt2")
        page.locator("#run-circuit").click()
        expect(page.locator("#circuit-status p")).to_contain_text(re.compile("prompts|pair"), timeout=60_000)
        # The server has seen it once the model's queue is free: the next visitor's run starts.
        page.goto(f"{url}?model=mini-2l&tab=circuit&circuit=2-random-0-1.6")
        expect(page.locator("#circuit-headline .ih-badge")).to_have_text("Measured live", timeout=60_000)
        page.close()
    assert errors == []
    assert "Traceback" not in log.read_text()
