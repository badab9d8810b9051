"""Attention in Chromium: painted heads and what they cost, the text and its tokens, heads over each other, zoom, keys,
hostile text, links, limits, exports.
"""

from __future__ import annotations

import json
import re
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from playwright.sync_api import expect
from running import address, app_process, open_settings

from induction.analysis.attention import attend, written
from induction.data_gen.prompts import Prompt, token_ids
from induction.model import load_model

pytestmark = pytest.mark.browser

MINI = "?model=mini-2l&tab=attention"
PAINTED = "#attention-view [data-painted]"
HOSTILE = "<img src=x onerror=alert(1)> ${alert(1)} {{x}} 😀 שלום\nline <img src=x onerror=alert(1)>"


def thumb(page, layer, head):
    return page.locator(f".ia-thumb[data-l='{layer}'][data-h='{head}']")


def painted(page, head):
    expect(page.locator(PAINTED)).to_have_attribute("data-painted", head)


def write_own_text(page, text):
    open_settings(page, "attention")
    page.get_by_role("radio", name="Own text").check()
    page.locator("#own-text textarea").fill(text)
    page.locator("#run-attention").click()


@pytest.fixture(scope="module")
def seen():
    """What the view shows of the default prompt, computed here."""
    mini = load_model("mini-2l")
    return attend(mini, token_ids(mini, Prompt.parse("repeat-24-random-0"), "")[0])


def test_a_clicked_head_is_painted_and_the_pointer_tells_its_weights(visit, seen):
    page = visit(f"{MINI}&head=1.0", ready=PAINTED)
    thumb(page, 1, 2).click()
    painted(page, "1.2")
    expect(page.locator(".ia-title")).to_have_text("Head 1.2 of mini-2l")
    tip = page.locator("#attention-view .ih-tip")
    page.locator(".ia-base").scroll_into_view_if_needed()
    box = page.locator(".ia-base").bounding_box()
    told = {}
    for x in range(60, int(box["width"]), 31):
        for y in range(60, int(box["height"]), 31):
            page.mouse.move(box["x"] + x, box["y"] + y)
            if tip.is_visible():
                found = re.fullmatch(r"(\d+) (.*)  →  (\d+) (.*?)weight ([\d.]+)(.*)", tip.text_content())
                query, key = int(found[1]), int(found[3])
                assert (found[2], found[4]) == (seen.labels[query], seen.labels[key])
                assert bool(found[6]) == seen.targets[query, key]
                told[query, key] = float(found[5])
    assert len(told) > 50
    for (query, key), weight in told.items():
        assert key <= query
        assert weight == pytest.approx(seen.patterns[1, 2, query, key], abs=0.008)  # a grey level, two digits


def test_heads_of_the_layer_are_painted_without_asking_the_server(visit):
    page = visit(f"{MINI}&head=1.0", ready=PAINTED)
    expect(page.locator(".ia-lists")).to_be_visible()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    order = [1, 2, 3, 4, 5, 6, 7]
    seen_before_asking = page.evaluate(
        """async (heads) => {
          const view = document.querySelector('#attention-view [data-painted]');
          const painted = [];
          for (const head of heads) {
            document.querySelector(`.ia-thumb[data-l="1"][data-h="${head}"]`).click();
            await new Promise((resolve) => setTimeout(resolve));
            painted.push(view.dataset.painted);
          }
          return painted;
        }""",
        order,
    )
    assert seen_before_asking == [f"1.{head}" for head in order]
    page.wait_for_url("**head=1.7*")
    expect(page.locator(".ia-lists")).to_be_visible()
    assert asked
    assert len([url for url in asked if "component_server" in url]) <= 1  # what the head writes


def test_a_head_of_another_layer_costs_the_view_one_request_of_less_than_15_kb(visit):
    page = visit("?model=HuggingFaceTB/SmolLM2-135M-Instruct&tab=attention&head=18.6", ready=PAINTED)
    page.get_by_role("button", name="All layers").click()
    expect(page.locator(".ia-many .ia-thumb")).to_have_count(270)
    finished = []
    page.on("requestfinished", lambda request: finished.append(request))
    thumb(page, 17, 3).click()
    painted(page, "17.3")
    expect(page.locator(".ia-where")).to_contain_text("17.3")
    expect(page.locator(".ia-lists")).to_be_visible()
    page.wait_for_url("**head=17.3*")
    sizes = [one.sizes()["responseBodySize"] for one in finished if "component_server" in one.url]
    assert len(sizes) == 1
    assert 1_000 < sizes[0] < 15_000


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_verdict_text_and_matrix_lie_above_the_fold(visit, width, height):
    page = visit(MINI, width=width, ready=PAINTED)
    page.set_viewport_size({"width": width, "height": height})
    painted(page, address(page)["head"])
    first = ".ia-base" if width > 900 else ".ia-token[data-position='6']"
    for part in (".ia-verdict", first):
        box = page.locator(part).bounding_box()
        assert box["y"] + box["height"] <= height, part


def test_a_token_is_previewed_kept_and_let_go_and_both_ways_are_coloured(visit, seen):
    page = visit(f"{MINI}&head=1.7", ready=PAINTED)
    pattern = seen.patterns[1, 7]
    levels = np.rint(np.where(seen.targets, pattern, 0) * 255)  # as the picture has them
    strongest = int(levels.max(1).argmax())
    here, reading = page.locator(".ia-here"), page.locator(".ia-reading")
    expect(here).to_have_attribute("data-position", str(strongest))  # the first one shown
    page.locator(".ia-token[data-position='10']").hover()
    expect(here).to_have_attribute("data-position", "10")
    most = int(pattern[10].argmax())
    expect(reading).to_have_text(re.compile(rf"^From token 10 .*looks most at {most} "))
    page.locator(".ia-verdict").hover()
    expect(here).to_have_attribute("data-position", str(strongest))
    page.locator(".ia-token[data-position='10']").click()
    page.locator(".ia-token[data-position='12']").hover()
    expect(here).to_have_attribute("data-position", "10")
    expect(page.locator("[role=option][aria-selected=true]")).to_have_attribute("data-position", "10")
    page.wait_for_url("**row=10*")
    page.get_by_label("Who looks at it").check()
    looks = pattern[10:, 10]
    expect(reading).to_have_text(
        re.compile(rf"^At token 10 .*looks at it most from {10 + int(looks.argmax())} ")
    )
    expect(page.locator(".ia-token[data-position='9']")).to_have_class(re.compile("ia-later"))
    page.keyboard.press("Escape")
    expect(page.locator("[role=option][aria-selected=true]")).to_have_count(0)
    page.wait_for_function("!location.search.includes('row=')")


def test_the_matrix_lights_the_tokens(visit):
    page = visit(f"{MINI}&head=1.7", ready=PAINTED)
    box = page.locator(".ia-base").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.8)
    told = re.match(r"(\d+) .* → +(\d+) ", page.locator("#attention-view .ih-tip").text_content())
    lit = page.locator(".ia-lit").evaluate_all("all => all.map((one) => one.dataset.position)")
    assert sorted(lit, key=int) == [told[2], told[1]]


def test_heads_lie_over_each_other_and_are_switched_off_in_the_legend(visit, seen):
    page = visit(f"{MINI}&head=1.7&row=30", ready=PAINTED)
    page.locator(".ia-add").select_option("0.2")
    thumb(page, 1, 2).click(modifiers=["Shift"])
    expect(page.locator(".ia-title")).to_have_text("Heads 1.7, 0.2, 1.2 of mini-2l")

    def said(*heads):
        parts = []
        for layer, head in heads:
            most = int(seen.patterns[layer, head, 30].argmax())
            parts.append(rf"{layer}\.{head} looks most at {most} [^;]*")
        return re.compile("^From token 30 [^:]*: " + "; ".join(parts) + "$")

    reading = page.locator(".ia-reading")
    expect(reading).to_have_text(said((1, 7), (0, 2), (1, 2)))
    bars = page.locator(".ia-token[data-position='29']").evaluate("one => one.style.backgroundImage")
    assert bars.count("linear-gradient") == 3
    page.get_by_role("button", name="0.2", exact=True).click()
    expect(page.get_by_role("button", name="0.2", exact=True)).to_have_attribute("aria-pressed", "false")
    expect(reading).to_have_text(said((1, 7), (1, 2)))
    page.get_by_role("button", name="Take head 0.2 away").click()
    page.get_by_role("button", name="Take head 1.2 away").click()
    expect(page.locator(".ia-chip")).to_have_count(0)
    expect(page.locator(".ia-title")).to_have_text("Head 1.7 of mini-2l")


def test_wheel_and_buttons_zoom_and_dragging_moves(visit):
    page = visit(f"{MINI}&head=1.7", ready=PAINTED)
    box = page.locator(".ia-base").bounding_box()
    place = box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.9
    tip = page.locator("#attention-view .ih-tip")
    page.mouse.move(*place)
    before = tip.text_content()
    page.mouse.wheel(0, -800)
    expect(page.locator(".ia-zoomed")).to_have_count(1)
    page.mouse.move(place[0] + 1, place[1])
    assert tip.text_content() == before  # the cell under the pointer stays there
    page.mouse.down()
    page.mouse.move(place[0] + 60, place[1] - 60, steps=4)
    page.mouse.up()
    expect(page.locator("[role=option][aria-selected=true]")).to_have_count(0)  # dragging keeps no token
    page.mouse.move(*place)
    expect(tip).not_to_have_text(before)
    page.get_by_role("button", name="Whole").click()
    expect(page.locator(".ia-zoomed")).to_have_count(0)


def test_two_fingers_zoom_the_matrix(browser, app_url):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.goto(app_url + MINI)
    page.locator(PAINTED).wait_for()
    page.locator(".ia-matrix").scroll_into_view_if_needed()
    box = page.locator(".ia-base").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = context.new_cdp_session(page)

    def fingers(kind, apart):
        points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}] if apart else []
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", 20)
    for apart in range(25, 81, 5):
        fingers("touchMove", apart)
    fingers("touchEnd", 0)
    expect(page.locator(".ia-matrix")).to_have_class(re.compile("ia-zoomed"))
    context.close()


def test_tokens_are_reached_by_keyboard_and_the_matrix_has_a_table(visit, seen):
    page = visit(f"{MINI}&head=1.7", ready=PAINTED)
    assert page.locator(".ia-token[tabindex='0']").count() == 1
    page.locator(".ia-token[tabindex='0']").focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("[role=option][aria-selected=true]")).to_have_attribute("data-position", "2")
    page.locator(".ia-cells summary").click()
    pattern = seen.patterns[1, 7]
    rows = page.locator(".ia-cells tr")
    expect(rows).to_have_count(13)
    for row in range(1, 13):
        query, key, weight, target = rows.nth(row).locator("td").all_text_contents()
        at = int(query.split()[0]), int(key.split()[0])
        assert float(weight) == pytest.approx(pattern[at], abs=0.008)
        assert (target == "yes") == seen.targets[at]


def test_the_verdict_and_the_rank_say_what_the_numbers_are(visit, mini, seen):
    page = visit(f"{MINI}&head=1.7&row=30", ready=PAINTED)
    score = f"{seen.scores()['induction'][1, 7]:.2f}".removeprefix("0")
    expect(page.locator(".ia-verdict")).to_have_text(
        f"Head 1.7 looks where induction would: on repeated tokens {score} of its attention goes to the token after "
        "the earlier copy."
    )
    logits, rank = written(mini, seen, 1, 7).following[30]
    expect(page.locator(".ia-follow")).to_contain_text(f"{logits:+.2f} logits, rank {rank:,} of 1,024 tokens")
    thumb(page, 1, 3).click()
    expect(page.locator(".ia-verdict")).to_contain_text("Head 1.3 does not look where induction would")


def test_a_64_token_prompt_ships_less_than_300_kb(visit):
    page = visit()
    shipped = []

    def count(request):
        if request.resource_type in ("fetch", "xhr", "eventsource"):
            shipped.append(request.sizes()["responseBodySize"])

    page.wait_for_load_state("networkidle")
    page.on("requestfinished", count)
    page.goto(page.url.split("?")[0] + f"{MINI}&head=1.0&prompt=repeat-31-random-0")
    page.wait_for_selector(".ia-lists")
    page.get_by_role("button", name="All layers").click()
    expect(page.locator(".ia-many .ia-thumb")).to_have_count(16)
    page.wait_for_load_state("networkidle")
    assert 10_000 < sum(shipped) < 300_000


def test_all_layers_and_the_first_column(visit, seen):
    page = visit(f"{MINI}&head=1.2", ready=PAINTED)
    page.get_by_role("button", name="All layers").click()
    expect(page.locator(".ia-thumb")).to_have_count(16)
    thumb(page, 0, 2).click()
    painted(page, "0.2")
    page.wait_for_url("**head=0.2*")
    expect(page.locator("#head input")).to_have_value(re.compile(r"^0\.2"))
    page.locator(".ia-matrix").press("End")
    page.get_by_label("Hide the first token").check()
    painted(page, "0.2 without first")
    expect(page.locator(".ia-caption")).to_contain_text("renormalised")
    page.wait_for_url("**hide_first=1*")
    row = seen.patterns[0, 2, -1, 1:] / seen.patterns[0, 2, -1, 1:].sum()
    most = f"{row.max():.2f}".removeprefix("0")
    expect(page.locator(".ia-reading")).to_contain_text(
        f"{row.argmax() + 1} {seen.labels[row.argmax() + 1]} ({most}"
    )


def test_the_head_on_show_is_in_sight_among_all_heads(visit, slow_model):
    page = visit(MINI, ready=PAINTED)
    page.locator("#model input").fill(slow_model)
    page.keyboard.press("Enter")
    expect(page.locator(".ia-title")).to_contain_text("slow-gpt2", timeout=60_000)
    page.add_style_tag(content=".ia-thumbs { max-height: 6rem !important; }")  # as in a model of many layers
    page.locator("#head input").fill("5.3")
    page.keyboard.press("Enter")
    painted(page, "5.3")
    page.get_by_role("button", name="All layers").click()
    expect(page.locator(".ia-many .ia-thumb")).to_have_count(24)
    expect(thumb(page, 5, 3)).to_be_in_viewport()
    expect(thumb(page, 0, 0)).not_to_be_in_viewport()


def test_rows_and_heads_by_keyboard_and_the_link_restores_them(visit, seen):
    page = visit(f"{MINI}&head=1.2", ready=PAINTED)
    page.locator(".ia-matrix").focus()
    page.keyboard.press("Home")
    for key in (*["ArrowDown"] * 30, "ArrowRight", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    painted(page, "1.1")
    expect(page.locator(".ia-here")).to_have_attribute("data-position", "30")
    most = int(seen.patterns[1, 1, 30].argmax())
    reading = f"From token 30 {seen.labels[30]}: the head looks most at {most} {seen.labels[most]} ("
    expect(page.locator(".ia-reading")).to_contain_text(reading)
    page.wait_for_url("**row=30*")
    page.wait_for_url("**head=1.1*")
    again = visit("?" + urlsplit(page.url).query, ready=PAINTED)
    painted(again, "1.1")
    expect(again.locator(".ia-reading")).to_contain_text(reading)
    expect(again.locator(".ia-follow")).to_contain_text(f"31 {seen.labels[31]}")
    expect(again.locator(".ia-lists tr")).to_have_count(10)


def test_a_token_of_a_live_prompt_can_be_clicked(visit):
    page = visit(f"{MINI}&head=1.2&prompt=natural-0", ready=PAINTED)
    page.locator(".ia-token[data-position='20']").click()
    expect(page.locator(".ia-reading")).to_contain_text("From token 20 ")
    expect(page.locator("#attention-settings")).to_contain_text("natural text · A name that comes back")


def test_hostile_text_is_shown_as_text_and_comes_back_from_its_link(visit):
    page = visit(MINI, ready=PAINTED)
    write_own_text(page, HOSTILE)
    text = page.locator(".ia-text")
    expect(text).to_have_text(re.compile(r"<img·src=x·on.*\$\{al.*\{\{x\}\}.*line·<img"))
    assert page.locator("img[src=x]").count() == 0
    expect(page.locator(".ia-lists")).to_be_visible()
    page.wait_for_url("**prompt=own*")
    again = visit("?" + urlsplit(page.url).query, ready=PAINTED)
    expect(again.locator(".ia-text")).to_have_text(text.text_content())
    open_settings(again, "attention")
    expect(again.locator("#own-text textarea")).to_have_value(HOSTILE)
    assert again.locator("img[src=x]").count() == 0


def test_a_long_text_is_cut_in_tokens_and_in_the_link(visit):
    page = visit(MINI, ready=PAINTED)
    write_own_text(page, "the cat and the dog " * 190)
    expect(page.locator(".ia-notice")).to_contain_text("shown are the first 256, the limit of this view")
    expect(page.locator(".ia-token")).to_have_count(256)
    painted(page, address(page)["head"])
    too_long = "a b " * 1_100
    query = {"model": "mini-2l", "tab": "attention", "prompt": "own", "text": too_long}
    cut = visit("?" + urlencode(query), ready=".ia-token")
    expect(cut.locator("#notice")).to_contain_text("cut")
    expect(cut.locator(".ia-token")).to_have_count(256)


def test_hostile_links_fall_back(visit):
    query = {"model": "mini-2l", "tab": "attention", "prompt": HOSTILE, "row": "9e9", "hide_first": "${x}"}
    page = visit("?" + urlencode(query), ready=PAINTED)
    expect(page.locator("#notice")).to_contain_text("The link's prompt is not written as in")
    assert set(address(page)) == {"model", "tab", "head"}
    expect(page.locator(".ia-token")).to_have_count(49)


def test_limits_and_an_empty_text_are_said_beside_the_button(visit):
    page = visit(MINI, ready=PAINTED)
    open_settings(page, "attention")
    page.get_by_label("Length").fill("500")
    page.locator("#run-attention").click()
    expect(page.locator("#attention-status")).to_contain_text("Length: at most 120 here, not 500.")
    expect(page.locator(".ia-title")).to_be_visible()
    write_own_text(page, " ")
    expect(page.locator("#attention-status")).to_contain_text("Write or paste a text")


def test_a_model_out_of_reach_says_what_it_needs(visit):
    page = visit("?model=gpt2&tab=attention", ready="#run-attention")
    missing = page.locator(".ia-missing")
    expect(page.locator("#attention-export .ih-tools")).to_be_hidden()
    expect(missing).to_contain_text("which are not on this machine")
    expect(missing).to_contain_text("mini-2l")
    page.locator("#run-attention").click()
    expect(page.locator("#attention-status")).to_contain_text("cannot be reached", timeout=60_000)


def test_exports_are_the_head_on_show(visit, seen):
    page = visit(f"{MINI}&head=1.1", ready=PAINTED)
    thumb(page, 1, 2).click()
    page.wait_for_url("**head=1.2*")
    files = {}
    for kind in ("JSON", "CSV", "SVG", "PNG"):
        with page.expect_download() as waiting:
            page.locator("#attention-export").get_by_role("button", name=kind).click()
        files[kind] = waiting.value.path().read_bytes()
    found = json.loads(files["JSON"])
    assert (found["layer"], found["head"]) == (1, 2)
    assert found["attention"][-1] == pytest.approx(seen.patterns[1, 2, -1].tolist(), abs=0.5 / 255 + 1e-4)
    assert files["CSV"].decode().splitlines()[0].startswith("query,0 ")
    assert files["SVG"].startswith(b"<svg")
    assert files["PNG"].startswith(b"\x89PNG")


def test_leaving_while_a_prompt_is_read_leaves_no_error(browser, tmp_path):
    log, problems = tmp_path / "log", []
    with app_process(log=log) as (url, _):
        page = browser.new_page()
        page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{url}{MINI}&prompt=natural-0")
        page.wait_for_selector("#attention-status [data-state=running]")
        page.goto("about:blank")
        page.close()
        again = browser.new_page()  # the server answers on
        again.goto(f"{url}{MINI}&prompt=natural-1")
        again.wait_for_selector(PAINTED)
        again.close()
    assert problems == []
    assert "Traceback" not in log.read_text()
