"""Every tab in a full state: accessible in light and dark, headings in order, nothing to scroll sideways."""

from __future__ import annotations

from itertools import pairwise

import pytest
from axe_playwright_python.sync_playwright import Axe

pytestmark = pytest.mark.browser

SMOLLM2 = "?model=HuggingFaceTB/SmolLM2-135M-Instruct"  # the widest and deepest of the bundled ones
STATES = {  # (address, what must stand before the look)
    "scan": (f"{SMOLLM2}&compare=gpt2", "#compare-right [role=gridcell]"),
    "attention": ("?model=mini-2l&tab=attention&head=1.2&prompt=natural-2", ".ia-lists"),
    "patching": ("?model=mini-2l&tab=patching&together=ablate&heads=0.2", "#sets-table table"),
    "patching-30-layers": (f"{SMOLLM2}&tab=patching", "#patching-grid [role=gridcell]"),
    "circuit": ("?model=mini-2l&tab=circuit&head=1.2&edge=0.2>1.2", "#circuit-diagram svg"),
    "circuit-30-layers": (f"{SMOLLM2}&tab=circuit", "#circuit-diagram svg"),
    "training": ("?tab=training", "#training-loss .main-svg"),
    "about": ("?tab=about", "#about h2"),
}
WIDTHS = (390, 768, 1280, 1920)


@pytest.fixture(scope="module", params=STATES)
def page(request, browser, app_url):
    query, ready = STATES[request.param]
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(app_url + query)
    page.wait_for_selector(ready, timeout=30_000)
    page.add_style_tag(content="* { transition: none !important; }")  # axe would see colours half-way
    yield page
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(page, theme):
    page.evaluate("dark => document.body.classList.toggle('dark', dark)", theme == "dark")
    serious = [
        (rule["id"], [node["html"][:160] for node in rule["nodes"]])
        for rule in Axe().run(page).response["violations"]
        if rule["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_headings_go_down_one_level_at_a_time(page):
    headings = page.locator(":is(h1, h2, h3, h4):visible")
    levels = [int(name[1]) for name in headings.evaluate_all("nodes => nodes.map(node => node.tagName)")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels)), levels


def test_nothing_to_scroll_sideways(page):
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width
