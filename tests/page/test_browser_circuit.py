"""Circuit and Training in Chromium: clicking heads and paths, links, live runs, the slider, accessibility."""

from __future__ import annotations

import json
import re
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import expect
from running import address, open_settings

from induction.circuit.results import Circuit
from induction.results import CIRCUITS, HISTORIES

pytestmark = pytest.mark.browser

MINI = "?model=mini-2l&tab=circuit"
DIAGRAM = "#circuit-diagram svg"


def mark(page, kind, name):
    return page.locator(f"#circuit-diagram [data-{kind}='{name}']")


def test_the_diagram_has_previous_token_heads_left_and_induction_heads_right(visit):
    page = visit(MINI, ready=DIAGRAM)
    expect(page.locator("#circuit-headline")).to_contain_text("feeds")
    sender, receiver = (mark(page, "head", name).bounding_box() for name in ("0.2", "1.2"))
    assert sender["x"] + sender["width"] < receiver["x"]
    expect(page.locator("#circuit-kinds")).to_contain_text("induction score at least 0.4")


def test_a_clicked_path_shows_its_numbers_and_its_link_restores_them(visit):
    page = visit(f"{MINI}&head=1.2", ready=DIAGRAM)
    mark(page, "edge", "0.2>1.2").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#circuit-edge h2")).to_have_text("Path 0.2 → 1.2")
    keys = page.locator("#circuit-edge tr[aria-selected=true]")
    expect(keys).to_contain_text("Keys")
    expect(keys.locator("td").first).to_have_text(re.compile(r"^\+0\.[1-9]"))
    page.wait_for_url("**edge=0.2*")
    assert address(page)["edge"] == "0.2>1.2"
    again = visit("?" + urlsplit(page.url).query, ready="#circuit-edge h2")
    expect(again.locator("#circuit-edge h2")).to_have_text("Path 0.2 → 1.2")


def test_a_clicked_head_is_selected_everywhere(visit):
    page = visit(f"{MINI}&head=1.2", ready=DIAGRAM)
    mark(page, "head", "1.6").click()
    expect(page.locator("#circuit-head h2")).to_have_text("Head 1.6: induction head")
    expect(page.locator("#circuit-paths .ih-plot")).to_have_attribute(
        "aria-label", re.compile("into head 1.6")
    )
    mark(page, "head", "0.2").click()
    expect(page.locator("#circuit-head h2")).to_have_text("Head 0.2: previous-token head")
    expect(page.locator("#circuit-paths .ih-empty")).to_contain_text("first layer")


def test_through_queries_nothing_arrives(visit):
    page = visit(f"{MINI}&head=1.2&through=q", ready=DIAGRAM)
    expect(page.get_by_role("radio", name="Queries")).to_be_checked()
    expect(page.locator(DIAGRAM)).to_contain_text("no effect on attention to the target")
    page.get_by_role("radio", name="Keys").check()
    expect(page.locator(DIAGRAM)).to_contain_text("widest")


def test_the_sentence_follows_the_chosen_input_and_measure(visit):
    page = visit(f"{MINI}&head=1.2", ready=DIAGRAM)
    verdict = page.locator("#circuit-headline .ih-verdict")
    circuit = CIRCUITS.get("mini-2l")
    for name, through in (("Queries", "q"), ("Values", "v"), ("Keys", "k")):
        page.get_by_role("radio", name=name).check()
        expect(verdict).to_have_text(circuit.finding(through, "attention"))
    page.get_by_role("radio", name="Answer").check()
    expect(verdict).to_have_text(circuit.finding("k", "answer"))
    expect(verdict).to_contain_text("of the logit difference")


def test_a_threshold_hides_bands_and_a_pinned_head_keeps_its_own(visit):
    page = visit(f"{MINI}&head=1.2", ready=DIAGRAM)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/queue/join" in request.url else None)
    strengths = {
        band.get_attribute("data-to"): float(band.get_attribute("data-strength"))
        for band in page.locator("#circuit-diagram [data-from='0.2']").all()
    }
    assert len(strengths) == 4
    middle = sorted(strengths.values())[2]
    page.get_by_label("Hide bands below").fill(f"{middle - 0.01:.2f}")
    for receiver, strength in strengths.items():
        band = page.locator(f"#circuit-diagram [data-to='{receiver}'].ih-weak")
        expect(band).to_have_count(int(strength < middle - 0.01))
    page.get_by_label("Hide bands below").fill("0")
    page.get_by_role("button", name="Pin 1.2").click()
    expect(page.locator("#circuit-diagram .ih-loose")).to_have_count(3)
    page.get_by_role("button", name="Unpin 1.2").click()
    expect(page.locator("#circuit-diagram .ih-loose")).to_have_count(0)
    assert asked == []


def test_the_numbers_of_a_mark_cover_nothing_of_the_figure(visit):
    page = visit(f"{MINI}&head=1.2", ready=DIAGRAM)
    mark(page, "head", "0.2").hover()
    readout = page.locator("#circuit-diagram .ih-readout")
    expect(readout).to_contain_text("head 0.2, previous-token head: previous-token 0.97")
    svg, line = (page.locator(one).bounding_box() for one in (DIAGRAM, "#circuit-diagram .ih-readout"))
    assert line["y"] >= svg["y"] + svg["height"]


def test_verdict_and_diagram_lie_within_the_first_screen(visit):
    page = visit(MINI, ready=DIAGRAM)
    for part in ("#circuit-headline .ih-verdict", DIAGRAM):
        box = page.locator(part).bounding_box()
        assert box["y"] + box["height"] <= 800


def test_the_diagram_can_be_read_on_a_phone(visit):
    page = visit(MINI, width=390, ready=DIAGRAM)
    smallest = page.locator("#circuit-diagram svg").evaluate(
        """(svg) => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width *
          Math.min(...[...svg.querySelectorAll('text')].map((text) => parseFloat(text.getAttribute('font-size'))))"""
    )
    assert smallest >= 12
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_gpt2_shows_published_composition_and_says_that_no_path_was_patched(visit):
    page = visit("?model=gpt2&tab=circuit&head=5.5", ready=DIAGRAM)
    expect(page.locator("#circuit-headline")).to_contain_text("Published by others")
    page.locator("#circuit-composition").scroll_into_view_if_needed()  # a figure is drawn where it is seen
    expect(page.locator("#circuit-composition .yaxislayer-above text").filter(has_text="4.11")).to_have_count(
        1
    )
    expect(page.locator("#circuit-kinds")).to_contain_text("10.7 11.10")
    expect(page.locator("#circuit-paths .ih-empty")).to_contain_text("press Trace circuit")


def test_a_live_trace_replaces_the_bundled_circuit_and_its_link_repeats_it(visit):
    page = visit(f"{MINI}&head=1.6", ready=DIAGRAM)
    open_settings(page, "circuit")
    page.get_by_label("Prompt pairs").fill("2")
    page.get_by_role("radio", name="The selected head").check()
    page.locator("#run-circuit").click()
    expect(page.locator("#circuit-status p")).to_contain_text("Done in", timeout=60_000)
    expect(page.locator("#circuit-headline .ih-badge")).to_have_text("Measured live")
    expect(page.locator("#circuit-diagram [data-head^='1.']")).to_have_count(1)
    page.wait_for_url("**circuit=2-random-0-1.6*")
    again = visit("?" + urlsplit(page.url).query, ready=DIAGRAM)
    expect(again.locator("#circuit-headline .ih-badge")).to_have_text("Measured live")
    again.locator("#circuit-put-back").click()
    expect(again.locator("#circuit-headline .ih-badge")).to_have_text("Bundled")


def test_limits_are_said_and_a_run_can_be_cancelled(visit, slow_model):
    page = visit(MINI, ready=DIAGRAM)
    open_settings(page, "circuit")
    page.get_by_label("Prompt pairs").fill("99")
    page.locator("#run-circuit").click()
    expect(page.locator("#circuit-status p")).to_contain_text("at most 20 here")
    page.locator("#model input").fill(slow_model)
    page.keyboard.press("Enter")
    expect(page.locator("#circuit-headline h2")).to_have_text("slow-gpt2")
    expect(page.locator("#circuit-diagram .ih-empty")).to_contain_text("not measured yet")
    page.get_by_label("Prompt pairs").fill("20")
    page.locator("#run-circuit").click()
    expect(page.locator("#circuit-status p")).to_contain_text(re.compile("prompts|pair"), timeout=60_000)
    page.locator("#cancel-circuit").click()
    expect(page.locator("#circuit-status p")).to_contain_text("Cancelled")


def test_exports_are_what_is_shown(visit):
    page = visit(f"{MINI}&head=1.2", ready=DIAGRAM)
    with page.expect_download() as download:
        page.locator("#circuit-export [data-kind=json]").click()
    found = json.loads(download.value.path().read_text())
    assert (found["schema"], found["model"]) == (Circuit.SCHEMA, "mini-2l")
    with page.expect_download() as download:
        page.locator("#circuit-export [data-kind=csv]").click()
    assert download.value.path().read_text().startswith("receiver,sender,")


HOSTILE = {"edge": "<img src=x onerror=alert(1)>", "circuit": "${alert(1)}", "through": "z", "effect": "'\">"}


def test_hostile_links_are_replaced_by_defaults(visit):
    query = {
        "model": "mini-2l",
        "tab": "circuit",
        **HOSTILE,
        "checkpoint": "9e9",
        "trained": "{{x}}",
        "run": "../",
    }
    page = visit("?" + urlencode(query), ready=DIAGRAM)
    expect(page.locator("#notice")).to_contain_text("not written sender>receiver")
    expect(page.get_by_role("radio", name="Keys")).to_be_checked()
    assert set(address(page)) == {"model", "tab", "head"}


# Training

TRAINING, LOSS = "?model=mini-2l&tab=training", "#training-loss .main-svg"
SLIDER = "#checkpoint input[type=range]"


def requests_of(page):
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/gradio_api/" in request.url else None)
    return asked


def test_the_slider_moves_the_grids_and_the_marks_without_the_server(visit):
    page = visit(TRAINING, ready=LOSS)
    expect(page.locator("#training-headline")).to_contain_text("The first previous-token head is 0.")
    expect(page.locator("#training-heads .main-svg").first).to_be_visible()
    cell = page.locator("#checkpoint .ih-frames > div:last-child [data-l='1'][data-h='6']")
    expect(cell).to_have_attribute("aria-label", re.compile(r"Induction \.[6-9]"))
    asked = requests_of(page)
    page.locator(SLIDER).fill("20")
    expect(page.locator("#checkpoint [role=status]")).to_contain_text("Checkpoint 20 of")
    expect(cell).to_have_attribute("aria-label", re.compile(r"Induction \.0"))
    page.wait_for_url("**checkpoint=20*")
    tokens = HISTORIES.get("mini-2l").checkpoints[19].tokens
    for chart in ("training-loss", "training-heads"):
        marked = page.locator(f"#{chart} .ih-plot").evaluate(
            "(holder) => holder.layout.shapes.find((shape) => shape.name === 'checkpoint on show').x0"
        )
        assert marked == tokens
    assert asked == []


def test_play_runs_when_pressed_and_pauses(visit):
    page = visit(f"{TRAINING}&checkpoint=10", ready=LOSS)
    status = page.locator("#checkpoint [role=status]")
    expect(status).to_contain_text("Checkpoint 10 of")  # nothing moves by itself
    play = page.locator("#checkpoint .ih-player button")
    play.focus()
    page.keyboard.press("Enter")
    expect(play).to_contain_text("Pause")
    expect(status).not_to_contain_text("Checkpoint 10 of")
    page.keyboard.press("Enter")
    expect(play).to_contain_text("Play")
    page.wait_for_url(f"**checkpoint={page.locator(SLIDER).input_value()}*")


def test_a_clicked_head_is_followed_through_training(visit):
    page = visit(f"{TRAINING}&checkpoint=40", ready=LOSS)
    page.locator("#checkpoint .ih-frames > div:first-child [data-l='0'][data-h='2']").click()
    expect(page.locator("#training-heads .ih-plot")).to_contain_text("0.2, previous-token")
    page.wait_for_url("**trained=0.2*")
    again = visit("?" + urlsplit(page.url).query, ready="#training-heads .main-svg")
    expect(again.locator("#training-heads .ih-plot")).to_contain_text("0.2, previous-token")
    expect(again.locator("#checkpoint [role=status]")).to_contain_text("Checkpoint 40 of")


def test_curves_and_slider_lie_within_the_first_screen(visit):
    page = visit(TRAINING, ready=LOSS)
    for part in ("#training-headline .ih-verdict", SLIDER, "#training-loss .nsewdrag"):
        box = page.locator(part).first.bounding_box()
        assert box["y"] + box["height"] <= 800


def test_training_follows_the_model_and_says_where_there_is_no_history(visit):
    page = visit("?model=gpt2&tab=training", ready=LOSS)
    headline = page.locator("#training-headline")
    expect(headline.locator(".ih-note")).to_have_text(
        "No training history comes with gpt2; shown is how mini-2l was trained."
    )
    page.locator("#model input").fill("mini-1l")
    page.keyboard.press("Enter")
    expect(headline.locator("h2")).to_contain_text("mini-1l, 1 layer")
    expect(headline.locator(".ih-note")).to_have_count(0)
    expect(headline).to_contain_text("No induction head: none reaches")


def test_the_control_of_one_layer_forms_nothing(visit):
    page = visit("?model=mini-1l&tab=training&against=mini-2l", ready=LOSS)
    expect(page.locator("#training-headline")).to_contain_text("No induction head: none reaches")
    expect(page.locator("#training-loss .ih-plot")).to_contain_text("second copy, mini-2l")
    expect(page.locator("#training-loss .ih-plot")).not_to_contain_text("the change")
    page.get_by_role("tab", name="Circuit").click()
    expect(page.locator("#circuit-headline .ih-badge")).to_have_text("Bundled")
    expect(page.locator("#circuit-diagram .ih-empty")).to_contain_text("has one layer")
