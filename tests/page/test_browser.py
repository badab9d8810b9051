"""The page in Chromium: first paint, clicking, links, live runs, hostile text, small screens, accessibility."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import expect
from running import ROOT, address, open_settings, running_app

pytestmark = pytest.mark.browser

SELECTED = "#scan-grid [aria-selected=true]"


def cell(page, layer, head, grid="scan-grid"):
    return page.locator(f"#{grid} [data-l='{layer}'][data-h='{head}']")


def test_first_paint_shows_a_bundled_result(visit):
    page = visit("?model=gpt2")
    expect(page.locator("h1")).to_have_text("Induction Head Explorer")
    expect(page.locator("#scan-grid [role=gridcell]")).to_have_count(144)
    expect(page.locator("#headline")).to_contain_text("Published by others")
    expect(page.locator("#ranking tbody tr").first).to_contain_text("5.5")


def test_a_clicked_head_is_selected_everywhere_and_its_link_restores_it(visit):
    page = visit("?model=gpt2")
    cell(page, 7, 2).click()
    expect(page.locator("#head-card h2")).to_have_text("Head 7.2")
    expect(page.locator("#ranking tr[aria-selected=true]")).to_contain_text("7.2")
    page.wait_for_url("**head=7.2*")
    link = page.locator("#link").locator("textarea, input").input_value()
    again = visit("?" + urlsplit(link).query)
    expect(again.locator(SELECTED)).to_have_attribute("aria-label", re.compile(r"^Head 7\.2, Induction \.85"))
    expect(again.locator("#head-card h2")).to_have_text("Head 7.2")


def test_the_table_selects_too(visit):
    page = visit("?model=gpt2&head=5.1&score=previous_token")
    page.locator("#ranking button[aria-label='Select head 4.11']").click()
    expect(page.locator(SELECTED)).to_have_attribute("aria-label", re.compile(r"^Head 4\.11"))


def test_the_whole_view_is_restored(visit):
    query = {
        "model": "gpt2",
        "tab": "scan",
        "head": "4.11",
        "score": "previous_token",
        "compare": "distilgpt2",
    }
    page = visit("?" + urlencode(query))
    expect(page.get_by_role("radio", name="Previous token")).to_be_checked()
    expect(page.locator(SELECTED)).to_have_attribute(
        "aria-label", re.compile(r"^Head 4\.11, Previous token \.99")
    )
    expect(page.locator("#compare-left [role=gridcell]")).to_have_count(144)
    assert address(page) == query


def test_a_link_opens_its_tab(visit):
    page = visit("?model=gpt2&tab=about", ready="#about h2")
    expect(page.get_by_role("tab", name="About")).to_have_attribute("aria-selected", "true")


def test_keyboard(visit):
    page = visit("?model=gpt2&head=5.5")
    cell(page, 5, 5).focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    expect(cell(page, 6, 9)).to_be_focused()
    expect(page.locator("#scan-grid .ih-tip")).to_contain_text("Head 6.9")
    page.keyboard.press("Enter")
    expect(page.locator("#head-card h2")).to_have_text("Head 6.9")
    expect(cell(page, 6, 9)).to_be_focused()
    page.keyboard.press("Control+Home")
    expect(cell(page, 0, 0)).to_be_focused()
    assert page.locator("#scan-grid [role=gridcell][tabindex='0']").count() == 1


def test_the_tooltip_says_score_interval_and_chance(visit):
    page = visit("?model=HuggingFaceTB/SmolLM2-135M-Instruct")
    cell(page, 18, 6).hover()
    expect(page.locator("#scan-grid .ih-tip")).to_have_text(
        re.compile(r"Head 18\.6Induction \.\d\d \[\.\d\d, \.\d\d\]chance \.\d\d")
    )


def test_another_model_brings_its_strongest_head(visit):
    page = visit("?model=gpt2&head=5.1")
    page.locator("#gallery .ih-card", has_text="distilgpt2").click()
    expect(page.locator("#scan-grid [role=gridcell]")).to_have_count(72)
    expect(page.locator(SELECTED)).to_have_attribute("aria-label", re.compile(r"^Head 3\.10"))
    page.wait_for_url("**model=distilgpt2*head=3.10*")
    expect(page.locator("#loss .ih-empty")).to_contain_text("was not measured")


HOSTILE = {
    "model": "<img src=x onerror=alert(1)>",
    "tab": "${alert(1)}",
    "head": "{{constructor.constructor('alert(1)')()}}",
    "score": "'\"><script>alert(1)</script>",
    "live": "9e9",
    "compare": "../../etc/passwd",
}


def test_a_hostile_link_falls_back_with_a_notice(visit):
    page = visit("?" + urlencode(HOSTILE))
    notice = page.locator("#notice")
    expect(notice).to_contain_text("The link's model is not one that this page lists")
    expect(notice).to_contain_text("The link's live scan")
    assert page.locator("img[src=x]").count() == 0
    assert set(address(page)) == {"model", "tab", "head"}


def test_a_head_that_the_model_lacks_is_named_in_the_notice(visit):
    page = visit("?model=gpt2&head=77.7")
    expect(page.locator("#notice")).to_contain_text("layers 0..11 and heads 0..11")
    expect(page.locator("#head-card h2")).to_have_text("Head 5.5")


def open_model(page, name):
    box = page.locator("#model input")
    box.fill(name)
    box.press("Enter")


def test_a_live_scan_replaces_the_result_and_can_be_shared(visit, tiny_model):
    page = visit()
    open_model(page, tiny_model)
    expect(page.locator("#scan-grid .ih-empty")).to_be_visible()
    open_settings(page, "scan")
    page.get_by_label("Prompts").fill("2")
    page.get_by_label("Tokens per copy").fill("8")
    page.locator("#run-scan").click()
    expect(page.locator("#headline")).to_contain_text("Measured live", timeout=90_000)
    expect(page.locator("#scan-grid [role=gridcell]")).to_have_count(12)
    expect(page.locator("#scan-status")).to_contain_text("Done")
    page.wait_for_url("**live=2-8-random-0*")
    expect(page.locator("#facts")).to_contain_text("measured live")


def test_a_typed_head_is_checked(visit):
    page = visit("?model=gpt2")
    for typed, shown in (("6.9", "Head 6.9"), ("44.1", "Head 5.5")):
        box = page.locator("#head input")
        box.fill(typed)
        box.press("Enter")
        expect(page.locator("#head-card h2")).to_have_text(shown)
    expect(page.get_by_text("not the head asked for")).to_be_visible()


def test_a_running_scan_can_be_cancelled(visit, slow_model):
    page = visit()
    open_model(page, slow_model)
    expect(page.locator("#scan-grid .ih-empty")).to_be_visible()
    open_settings(page, "scan")
    page.get_by_label("Prompts").fill("64")
    page.get_by_label("Tokens per copy").fill("200")
    page.locator("#run-scan").click()
    expect(page.locator("#scan-status")).to_contain_text(
        re.compile(r"prompts \d+ to \d+ of 64"), timeout=90_000
    )
    page.locator("#cancel-scan").click()
    expect(page.locator("#scan-status")).to_contain_text("Cancelled")
    expect(page.locator("#scan-status .ih-progress")).to_be_hidden()
    # The model is free again: the next visitor's run comes through, and the cancelled one left nothing.
    page.get_by_label("Prompts").fill("1")
    page.get_by_label("Tokens per copy").fill("4")
    page.locator("#run-scan").click()
    page.wait_for_url("**live=1-4-random-0*")
    expect(page.locator("#headline")).to_contain_text("Measured live")


def test_two_visitors_do_not_see_each_other(visit):
    one, other = visit("?model=gpt2&head=5.1"), visit("?model=distilgpt2&head=3.2")
    cell(one, 6, 9).click()
    expect(one.locator("#head-card h2")).to_have_text("Head 6.9")
    expect(other.locator("#head-card h2")).to_have_text("Head 3.2")
    expect(other.locator("#scan-grid [role=gridcell]")).to_have_count(72)


def test_bad_settings_are_refused_in_words(visit):
    page = visit("?model=gpt2")
    open_settings(page, "scan")
    page.get_by_label("Prompts").fill("1000")
    page.locator("#run-scan").click()
    expect(page.locator("#scan-status")).to_contain_text("Prompts: at most 64")


def test_a_model_out_of_reach_says_what_is_missing(visit):
    page = visit("?model=EleutherAI/pythia-160m", ready="#scan-grid .ih-empty")
    expect(page.locator("#needs")).to_contain_text("375 MB")
    page.locator("#run-scan").click()
    expect(page.locator("#scan-status")).to_contain_text("cannot be reached", timeout=60_000)


def test_exports(visit):
    page = visit("?model=gpt2")
    with page.expect_download() as waiting:
        page.locator("#export").get_by_role("button", name="JSON").click()
    assert waiting.value.suggested_filename == "scan-gpt2.json"
    assert json.loads(waiting.value.path().read_text())["model"] == "gpt2"


def test_dark_mode_changes_paper_and_scale(visit):
    def look(query):
        page = visit(query)
        return [
            page.evaluate("getComputedStyle(document.querySelector('gradio-app')).backgroundColor"),
            cell(page, 5, 5).evaluate("node => getComputedStyle(node).backgroundColor"),
        ]

    light, dark = look("?model=gpt2&head=0.0"), look("?model=gpt2&head=0.0&__theme=dark")
    assert light[0] == "rgb(247, 246, 242)"
    assert dark[0] == "rgb(18, 24, 31)"
    assert light[1] != dark[1]


def test_the_first_grid_comes_within_twice_the_time_of_an_empty_gradio_page(browser):
    """Both in one run on one machine, from process start; the page of ours includes the painted grid."""
    empty = "import gradio as gr\nwith gr.Blocks() as demo: pass\ndemo.launch(prevent_thread_lock=True)"
    times = {"empty": [], "ours": []}
    for _ in range(2):
        start = time.monotonic()
        subprocess.run([sys.executable, "-c", empty], check=True, capture_output=True, cwd=ROOT)
        times["empty"].append(time.monotonic() - start)
        start = time.monotonic()
        with running_app() as url:
            page = browser.new_page()
            page.goto(url)
            page.wait_for_selector("#scan-grid [role=gridcell]")
            times["ours"].append(time.monotonic() - start)
            page.close()
    assert min(times["ours"]) < 2 * min(times["empty"])
