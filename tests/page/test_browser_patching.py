"""Patching in Chromium: a run fills the map, a cancelled one leaves it, sets, links, hostile texts, accessibility."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect
from running import address, open_settings

from induction.data_gen.pairs import pairs
from induction.model import load_model
from induction.patching.heads import patch_heads, patch_set
from induction.patching.interventions import random_sets

pytestmark = pytest.mark.browser

MINI = "?model=mini-2l&tab=patching"
SMOLLM2 = "?model=HuggingFaceTB/SmolLM2-135M-Instruct"
GRID = "#patching-grid [role=gridcell]"
DONE = re.compile("Done")


def cell(page, layer, head):
    return page.locator(f"#patching-grid [data-l='{layer}'][data-h='{head}']")


def test_the_bundled_result_is_there_at_once_and_the_metric_switches(visit):
    page = visit(MINI, ready=GRID)
    expect(page.locator("#patching-headline")).to_contain_text("Bundled")
    expect(page.locator("#patching-bars .ih-plot")).to_have_attribute("aria-label", re.compile("clean 12.4"))
    expect(page.locator("#sets-headline")).to_contain_text("first 4 heads")
    expect(page.locator("#patching-prompts .ip-differs").first).to_be_visible()
    page.get_by_label("Probability", exact=True).check()
    expect(page.locator("#patching-headline")).to_contain_text("Probability: clean 0.5")
    page.wait_for_url("**metric=probability*")


def test_a_run_equals_the_library_and_a_clicked_head_is_selected_everywhere(visit):
    page = visit(f"{MINI}&prompts=first_a&pairs=3&patch_seed=9", ready="#run-patching")
    expect(page.locator("#patching-status")).to_contain_text(DONE)  # cheap: a link runs it
    expect(page.locator("#patching-headline")).to_contain_text("Measured live")
    model = load_model("mini-2l")
    effects = patch_heads(model, pairs(model, 3, seed=9), seed=9).effect("logit_difference").mean
    for layer, head in ((0, 2), (1, 2), (1, 0)):
        value = f"{effects[layer][head]:.2f}".replace("0.", ".", 1)
        expect(cell(page, layer, head)).to_have_attribute("aria-label", re.compile(re.escape(value)))
    cell(page, 0, 2).click()
    expect(page.locator("#head input")).to_have_value(re.compile("^0.2"))
    page.locator("#patched-attention").click()
    expect(page.locator("#attention-view h2").first).to_contain_text("0.2")


def test_a_set_made_by_clicks_stands_against_random_sets_and_in_the_link(visit):
    page = visit(f"{MINI}&prompts=first_a&pairs=2", ready=GRID)
    expect(page.locator("#patching-headline")).to_contain_text("Measured live")
    for head in (7, 6):
        cell(page, 1, head).click(modifiers=["Shift"])
    cell(page, 1, 5).click()  # selects alone
    expect(page.locator("#sets-table")).to_contain_text(
        "Heads 1.7 1.6"
    )  # a moment of work: it runs by itself
    open_settings(page, "sets")
    expect(page.locator("#set-heads textarea, #set-heads input")).to_have_value("1.7,1.6")
    expect(cell(page, 1, 6)).to_have_class(re.compile("ih-marked"))
    page.locator("#collect input").check()
    cell(page, 1, 5).click()
    expect(page.locator("#set-heads textarea, #set-heads input")).to_have_value("1.7,1.6,1.5")
    cell(page, 1, 5).click()
    expect(page.locator("#sets-table")).to_contain_text("Heads 1.7 1.6.")
    model = load_model("mini-2l")
    alone = patch_set(model, pairs(model, 2), [(1, 7), (1, 6)], n_random=20)
    shown = f"{alone.sets[0].measures['logit_difference'].effect:+.3f}"
    expect(page.locator("#sets-table")).to_contain_text(shown)
    assert len(random_sets([(1, 7)], 20, seed=0, n_layers=2, n_heads=8)) == 20
    page.wait_for_url("**heads=1.7*")
    again = visit("?" + urlsplit(page.url).query, ready="#sets-table table")
    expect(again.locator("#sets-table")).to_contain_text(shown)
    assert address(again)["heads"] == "1.7,1.6"


def test_a_run_can_be_cancelled_and_the_settings_put_back(visit, slow_model):
    page = visit(f"{MINI}&patch_vocab=words&pairs=50", ready=GRID)
    page.locator("#model input").fill(slow_model)
    page.locator("#model input").press("Enter")
    expect(page.locator("#patching-status")).to_contain_text("Not measured yet")
    open_settings(page, "patching")
    page.get_by_label("A replaced").check()
    page.locator("#run-patching").click()
    expect(page.locator("#patching-status")).to_contain_text("pair ", timeout=60_000)
    expect(page.locator("#patching-grid")).to_be_visible()  # it fills as the run goes
    page.locator("#cancel-patching").click()
    expect(page.locator("#patching-status")).to_contain_text("Cancelled")
    expect(page.locator("#patching-grid")).to_be_hidden()
    page.locator("#patching-put-back").click()
    expect(page.get_by_label("As bundled")).to_be_checked()


def test_own_texts_are_text_whatever_they_hold(visit):
    hostile = '<img src=x onerror="alert(1)"> ${alert(1)} 🙂 مرحبا'
    page = visit(f"{MINI}&prompts=own", ready="#patch-clean textarea")  # the line of settings is open
    page.locator("#patch-clean textarea").fill(f"{hostile} one")
    page.locator("#patch-corrupted textarea").fill(f"{hostile} two")
    page.locator("#run-patching").click()
    expect(page.locator("#patching-status")).to_contain_text(re.compile("Done|same"))
    assert page.locator("#tab-patching img, .gradio-container img[src=x]").count() == 0
    page.locator("#patch-corrupted textarea").fill("short")
    page.locator("#run-patching").click()
    expect(page.locator("#patching-status")).to_contain_text("the same number of tokens")


def test_the_verdict_and_the_map_are_on_the_first_screen(visit):
    for query, width, height in (
        (MINI, 1280, 800),
        ("?model=gpt2&tab=patching", 1280, 800),
        (MINI, 390, 844),
    ):
        page = visit(query, width=width, ready=GRID)
        page.set_viewport_size({"width": width, "height": height})
        verdict = page.locator("#patching-headline .ih-verdict").bounding_box()
        first, last = (getattr(page.locator(GRID), end).bounding_box() for end in ("first", "last"))
        assert verdict["y"] + verdict["height"] < height
        assert first["y"] < height
        if width > 1000:
            assert last["y"] + last["height"] < height, query


def test_other_settings_grey_the_old_result_until_they_are_put_back(visit):
    page = visit(f"{SMOLLM2}&tab=patching", ready=GRID)
    told = page.locator("#patching-status")
    expect(told).to_have_text("")
    shown = cell(page, 16, 0).get_attribute("aria-label")
    open_settings(page, "patching")
    page.get_by_label("Noising", exact=True).check()
    expect(told).to_contain_text("Shown is still: prompts: as bundled · denoising")
    expect(told).to_contain_text(re.compile(r"Patch every head \(about .+\) measures what is set here"))
    expect(page.locator("#patching-heads > .ip-old")).to_be_visible()
    assert cell(page, 16, 0).get_attribute("aria-label") == shown
    expect(page.locator("#patching-sets > .ip-old")).to_be_visible()  # they would be patched the same way
    page.get_by_label("Values").check()
    expect(told).to_contain_text("Shown is still")
    page.locator("#patching-put-back").click()
    expect(told).to_have_text("")
    expect(page.locator(".ip-old")).to_have_count(0)


def test_a_model_without_results_says_so_once_and_an_error_stays_with_its_model(visit):
    page = visit("?model=distilgpt2&tab=patching", ready="#run-patching")
    expect(page.locator("#patching-status")).to_contain_text("Not measured yet")
    for name in ("grid", "bars", "export"):
        expect(page.locator(f"#patching-{name}")).to_be_hidden()
    page.locator("#run-patching").click()
    error = page.locator("#patching-status [data-state=error]")
    expect(error).to_be_visible(timeout=60_000)  # the tests have no hub
    page.locator("#model input").fill("mini-2l")
    page.locator("#model input").press("Enter")
    expect(page.locator("#patching-headline")).to_contain_text("mini-2l")
    expect(error).to_have_count(0)
    expect(page.locator("#patching-status")).to_have_text("")


def test_a_click_marks_the_head_everywhere_and_its_card_follows(visit):
    page = visit(MINI, ready=GRID)
    cell(page, 1, 7).click()
    expect(page.locator("#patching-head")).to_contain_text("Redundancy: without 1.7 alone")
    cell(page, 0, 2).click()
    expect(page.locator("#patching-head h2")).to_have_text("Head 0.2")
    expect(cell(page, 0, 2)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#patching-head")).not_to_contain_text("Redundancy")


def test_numbers_count_with_enter_and_no_sooner(visit):
    page = visit(f"{MINI}&prompts=first_a&pairs=2", ready=GRID)
    expect(page.locator("#patching-headline")).to_contain_text("Measured live")
    open_settings(page, "patching")
    number = page.get_by_label("Prompt pairs")
    number.fill("3")
    expect(page.locator("#patching-status")).to_contain_text("Shown is still")
    number.press("Enter")
    expect(page.locator("#patching-status")).to_contain_text(DONE)
    expect(page.locator("#patching-headline")).to_contain_text("3 prompt pairs")


def test_no_label_of_the_bars_is_cut_off(visit):
    page = visit(MINI, ready=GRID)
    page.locator("#patching-bars").scroll_into_view_if_needed()
    page.get_by_label("Probability", exact=True).check()
    expect(page.locator("#patching-bars")).to_contain_text("corrupted 0.0")
    with page.expect_download() as download:
        page.locator("#patching-bars").get_by_role("button", name="Download as SVG").click()
    file = page.context.new_page()
    file.set_content(download.value.path().read_text(encoding="utf-8"))
    words, outside = file.evaluate(
        """() => {
          const whole = document.querySelector('svg').getBoundingClientRect();
          const texts = [...document.querySelectorAll('text')].filter((text) => text.getBoundingClientRect().width);
          const over = texts.filter((text) => {
            const box = text.getBoundingClientRect();
            return box.left < whole.left || box.right > whole.right + 1 || box.top < whole.top;
          });
          return [texts, over].map((some) => some.map((text) => text.textContent));
        }"""
    )
    assert any("corrupted 0.0" in text for text in words)
    assert outside == []


def test_a_figure_is_offered_once(visit):
    page = visit(MINI, ready=GRID)
    page.locator("#sets-figure").scroll_into_view_if_needed()
    expect(page.locator("#sets-figure").get_by_role("button", name="Download as PNG")).to_be_visible()
    assert page.locator("#sets-export button").all_inner_texts() == ["JSON", "CSV"]
