"""Scan in Chromium: the third step on the first screen, the strip of models, two models, the phone, the keyboard."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect
from running import address

pytestmark = pytest.mark.browser

MINI = "?model=mini-2l"
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
SHOWN = "#gallery [aria-pressed=true]"


def box(page, selector):
    return page.locator(selector).first.bounding_box()


def test_removing_it_breaks_it_is_on_the_first_screen_above_the_grid(visit):
    page = visit(MINI)
    page.set_viewport_size({"width": 1280, "height": 800})
    step = page.locator(".ih-step").nth(2)
    expect(step).to_contain_text(
        re.compile(r"Without these 4 heads, loss .* goes from 0\.01 to \d\d\.\d\d nats")
    )
    expect(step.get_by_role("table", name="Loss on the second copy")).to_be_visible()
    place = step.bounding_box()
    grid = box(page, "#scan-grid [role=gridcell]")
    assert place["y"] + place["height"] < grid["y"]


@pytest.mark.parametrize("model", ["mini-2l", "gpt2", "distilgpt2"])
def test_the_grid_lies_within_the_first_screen(visit, model):
    page = visit(f"?model={model}")
    page.set_viewport_size({"width": 1280, "height": 800})
    last = page.locator("#scan-grid [role=gridcell]").last.bounding_box()
    assert last["y"] + last["height"] < 800


def test_the_third_step_leads_to_its_proof_and_back_leads_home(visit):
    page = visit(MINI)
    page.evaluate("window.same = true")
    link = page.locator(".ih-step").get_by_role("link", name="Test it in Patching")
    wanted = link.get_attribute("href")
    link.click()
    expect(page.locator("#sets-headline")).to_contain_text("Without these 4 heads")
    expect(page.locator("#sets-headline")).to_be_in_viewport()
    assert urlsplit(page.url).query == wanted[1:], "written as the page writes it"
    assert address(page) | {"together": "ablate", "heads": "1.7,1.2,1.6,1.4"} == address(page)
    page.go_back()
    expect(page.locator(".ih-step").first).to_be_visible()
    assert page.evaluate("window.same"), "nothing was loaded anew"


def test_the_strip_marks_the_model_on_show_whatever_chose_it(visit):
    page = visit("?model=gpt2")
    expect(page.locator(SHOWN)).to_contain_text("gpt2")
    page.locator("#gallery .ih-card", has_text="mini-1l").click()
    expect(page.locator(SHOWN)).to_have_count(1)
    expect(page.locator(SHOWN)).to_contain_text("mini-1l")
    expect(page.locator("#headline")).to_contain_text("There is no induction head to remove")
    expect(page.locator("#headline")).to_be_in_viewport()
    page.locator("#model input").fill("mini-2l")
    page.locator("#model input").press("Enter")
    expect(page.locator(SHOWN)).to_contain_text("mini-2l")


def test_strip_and_steps_are_one_stop_each_and_arrows_go_on(visit):
    page = visit(MINI)
    page.locator(SHOWN).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#gallery .ih-card").nth(1)).to_be_focused()
    page.keyboard.press("Tab")
    assert page.evaluate("Boolean(document.activeElement.closest('#score'))")
    page.get_by_role("link", name="See the ranking").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("link", name="Test it in Patching").first).to_be_focused()
    page.keyboard.press("Tab")
    assert page.evaluate("Boolean(document.activeElement.closest('#scan-grid'))")
    score, grid = box(page, "#score"), box(page, "#scan-grid")
    assert score["y"] + score["height"] <= grid["y"]


def test_both_grids_of_two_models_answer_and_share_their_depth(visit):
    page = visit(f"{MINI}&compare=gpt2", ready="#compare-right [role=gridcell]")
    for edge in ("first", "last"):
        left, right = (
            getattr(page.locator(f"#compare-{side} [role=gridcell]"), edge).bounding_box()
            for side in ("left", "right")
        )
        end = 0 if edge == "first" else 1
        assert left["y"] + end * left["height"] == pytest.approx(right["y"] + end * right["height"], abs=3)
    assert page.locator("#compare-right [aria-selected=true]").count() == 0
    page.locator("#compare-right [data-l='5'][data-h='1']").click()
    expect(page.locator("#head-card h2")).to_have_text("Head 5.1")
    expect(page.locator("#scan-grid [role=gridcell]")).to_have_count(144)
    page.wait_for_url("**model=gpt2*head=5.1*compare=mini-2l*")
    expect(page.locator("#compare-right [role=gridcell]")).to_have_count(16)
    page.locator("#compare-left [data-l='7'][data-h='2']").click()
    expect(page.locator("#head-card h2")).to_have_text("Head 7.2")


def test_the_head_card_knocks_the_head_out(visit):
    page = visit(MINI)
    card = page.locator("#head-card")
    expect(card).to_contain_text("Alone, 1.7 seems useless")
    page.locator("#scan-grid [data-l='0'][data-h='2']").click()
    expect(card).to_contain_text("without 0.2 alone")
    expect(card).to_contain_text("without these and 0.2")
    expect(card).not_to_contain_text("seems useless")


def test_what_was_not_measured_is_said_once(visit):
    page = visit("?model=EleutherAI/pythia-70m", ready="#scan-grid .ih-empty")
    expect(page.locator("#tab-scan, [role=tabpanel]").get_by_text("No scores yet")).to_have_count(1)
    expect(page.locator("#export button:visible")).to_have_count(0)
    expect(page.locator("#ranking")).to_be_hidden()
    expect(page.get_by_text("No head selected")).to_have_count(0)


@pytest.mark.parametrize("model", ["mini-2l", "gpt2", SMOLLM2])
def test_a_phone_scrolls_three_thousand_pixels_at_most(visit, model):
    page = visit(f"?model={model}", width=390)
    expect(page.locator("#ranking tbody tr")).to_have_count(6)
    assert page.evaluate("document.documentElement.scrollHeight") <= 3000
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert all(
        size >= 24
        for cell in page.locator("#scan-grid [role=gridcell]").all()[:9]
        for size in [cell.bounding_box()["width"]]
    )
