"""Ways through the page, in Chromium: history, keyboard, phone, words explained, loading, leaving."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from running import address, app_process, open_settings, restored
from test_browser import cell, open_model

pytestmark = pytest.mark.browser
PHONE = {"width": 390, "height": 844}
SHIFTS = """window.shifts = 0; new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
  if (!entry.hadRecentInput) window.shifts += entry.value; })).observe({ type: 'layout-shift', buffered: true });"""


def tab(page, name):
    return page.get_by_role("tab", name=name, exact=True)


def quiet(page) -> None:
    """Waits until nothing has been asked of the server for a while."""
    page.wait_for_function("""() => {
      const count = performance.getEntriesByType('resource').length;
      if (count !== window.counted) [window.counted, window.since] = [count, performance.now()];
      return performance.now() - window.since > 800;
    }""")


def focused(page) -> str:
    return page.evaluate("document.activeElement.outerHTML.slice(0, 200)")


def test_back_and_forward_go_through_heads_tabs_and_models(visit):
    page = visit("?model=mini-2l&head=1.7")
    cell(page, 1, 2).click()
    page.wait_for_url("**head=1.2*")
    tab(page, "Circuit").click()
    page.wait_for_url("**tab=circuit*")
    page.go_back()
    expect(tab(page, "Scan")).to_have_attribute("aria-selected", "true")
    expect(cell(page, 1, 2)).to_have_attribute("aria-selected", "true")
    page.go_back()
    expect(cell(page, 1, 7)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#head-card h2").first).to_contain_text("1.7")
    page.go_forward()
    expect(cell(page, 1, 2)).to_have_attribute("aria-selected", "true")
    assert address(page)["head"] == "1.2"
    open_model(page, "mini-1l")
    page.wait_for_url("**model=mini-1l*")
    page.go_back()
    expect(page.locator("#scan-grid [role=gridcell]")).to_have_count(16)


def test_what_is_no_model_tab_or_head_makes_no_entry(visit):
    page = visit("?model=mini-2l")
    before = page.evaluate("history.length")
    page.get_by_role("radio", name="Previous token").click()
    page.wait_for_url("**score=previous_token*")
    assert page.evaluate("history.length") == before


def test_the_skip_link_is_first_and_leads_to_the_tab(visit):
    page = visit("?model=mini-2l")
    page.keyboard.press("Tab")
    assert "ih-skip" in focused(page)
    page.keyboard.press("Enter")
    assert "gridcell" in focused(page)


def test_at_most_six_stops_before_the_grid(visit):
    page = visit("?model=mini-2l")
    stops = 0
    page.keyboard.press("Tab")
    while "gridcell" not in focused(page):
        stops += 1
        assert stops <= 6, focused(page)
        page.keyboard.press("Tab")


def test_tabs_and_radio_groups_are_one_stop_with_arrow_keys(visit):
    page = visit("?model=mini-2l")
    tab(page, "Scan").focus()
    page.keyboard.press("ArrowRight")
    expect(tab(page, "Attention")).to_have_attribute("aria-selected", "true")
    expect(tab(page, "Attention")).to_be_focused()
    page.keyboard.press("Home")
    expect(tab(page, "Scan")).to_have_attribute("aria-selected", "true")
    page.get_by_role("radio", name="Induction").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Duplicate token")).to_be_checked()
    page.keyboard.press("Tab")
    assert 'type="radio"' not in focused(page)


def test_a_click_on_a_head_is_one_small_request(visit):
    page = visit("?model=gpt2")
    quiet(page)
    answers = []
    page.on("response", lambda answer: answers.append(answer))
    cell(page, 7, 2).click()
    expect(page.locator("#head-card h2").first).to_contain_text("7.2")
    expect(page.locator("#ranking tr[aria-selected=true]")).to_contain_text("7.2")
    page.wait_for_url("**head=7.2*")
    quiet(page)
    assert len(answers) <= 1
    assert sum(len(answer.body()) for answer in answers) < 15_000


@pytest.mark.parametrize("size", [{"width": 1280, "height": 800}, PHONE], ids=["desktop", "phone"])
def test_nothing_jumps_while_the_page_comes(browser, app_url, size):
    page = browser.new_page(viewport=size)
    page.add_init_script(SHIFTS)
    page.goto(app_url)
    page.locator("#scan-grid [role=gridcell]").first.wait_for()
    restored(page)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("window.shifts") < 0.1
    page.close()


def test_on_a_phone_all_tabs_are_there(browser, app_url):
    page = browser.new_page(viewport=PHONE)
    page.goto(app_url)
    restored(page)
    for name in ("Scan", "Attention", "Patching", "Circuit", "Training", "About"):
        expect(tab(page, name)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.close()


def test_words_are_explained_where_they_stand(visit):
    page = visit("?model=mini-2l")
    term = page.locator(".ih-verdict .ih-term, .ih-step .ih-term").first
    term.hover()
    tip = page.locator(".ih-explanation")
    expect(tip).to_be_visible()
    assert tip.inner_text() == term.get_attribute("data-explained")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()


def test_a_figure_can_be_read_as_a_table(visit):
    page = visit("?model=mini-2l")
    figure = page.locator("#scatter")
    figure.scroll_into_view_if_needed()
    figure.get_by_text("As a table").click()
    expect(figure.locator("tbody tr, tr")).to_have_count(17)  # 16 heads and the heading


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("?model=gpt2&compare=distilgpt2", "#compare-left"),
        ("?model=mini-2l&tab=patching&together=ablate&heads=1.7", "#sets-headline"),
        ("?model=mini-2l&tab=circuit&edge=0.2%3E1.2", "#circuit-edge"),
    ],
    ids=["compared", "a set", "an edge"],
)
def test_a_link_opens_where_it_points(visit, query, place):
    page = visit(query, ready=place)
    expect(page.locator(place)).to_be_in_viewport()


def test_nothing_of_another_model_is_painted_first(browser, app_url):
    """The page comes with its default model; a link to another one waits for it."""
    page = browser.new_page()
    page.add_init_script(
        """window.painted = new Set(); (function look() {
          const title = document.querySelector('#headline h2');
          if (title?.checkVisibility({ visibilityProperty: true })) window.painted.add(title.textContent.split(' ')[0]);
          requestAnimationFrame(look);
        })()"""
    )
    page.goto(f"{app_url}?model=gpt2&tab=scan&head=5.1")
    restored(page)
    page.wait_for_function("window.painted.size")
    assert page.evaluate("[...window.painted]") == ["gpt2"]
    page.close()


def test_loading_says_what_it_is_at(browser, slow_model):
    with app_process() as (url, _):  # of its own: nobody has loaded the model there
        page = browser.new_page()
        page.goto(url)
        restored(page)
        open_model(page, slow_model)
        open_settings(page, "scan")
        page.locator("#run-scan").click()
        expect(page.locator("#scan-status")).to_contain_text(re.compile(r"Loading .*: .*\d s of about \d+ s"))
        page.close()


def test_leaving_in_mid_run_makes_no_error(browser, slow_model, tmp_path):
    log = tmp_path / "log"
    with app_process(log=log) as (url, _):
        page = browser.new_page()
        errors = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(url)
        restored(page)
        open_model(page, slow_model)
        open_settings(page, "scan")
        page.get_by_label("Prompts").fill("64")
        page.get_by_label("Tokens per copy").fill("200")
        page.locator("#run-scan").click()
        expect(page.locator("#scan-status")).to_contain_text("prompts", timeout=60_000)
        page.goto("about:blank")
        page.close()
        again = browser.new_page()  # the server answers on
        again.goto(url)
        restored(again)
        again.close()
    assert not errors
    assert "Traceback" not in log.read_text()
