"""Tabs of sections: every experiment stands in one tab, what is drawn is what was found, and a link restores it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from running import address, words_of

from induction.experiment import experiments
from induction.results import EVIDENCE
from induction.ui import app
from induction.ui.tabs import sections


def test_every_experiment_stands_in_one_tab():
    groups = app._groups()
    grouped = [name for group in groups.values() for name in group.shows]
    assert len(grouped) == len(set(grouped))
    by_hand = {name for name in experiments() if app.SHOWN_BY.get(name, name) in {*app.TABS, "training"}}
    assert {*grouped} == set(experiments()) - by_hand
    assert set(sections.LOOKS) <= set(grouped)


@pytest.mark.browser
def test_a_heads_card_follows_the_head_and_its_lines_lead_to_what_shows_them(visit):
    page = visit("?model=mini-2l&tab=evidence&head=1.2", ready="#evidence-figure .main-svg")
    found = EVIDENCE.get("mini-2l")
    card = page.locator("#evidence-card")
    expect(card).to_contain_text(found.verdict((1, 2)))
    assert found.verdict() in words_of(page.locator("#evidence-headline").inner_html())
    assert card.locator("tbody tr").count() == len(found.lines((1, 2)))
    page.get_by_label("Head (layer.head)").fill("0.2")
    page.keyboard.press("Enter")
    expect(card).to_contain_text(found.verdict((0, 2)))
    link = card.get_by_role("link", name=re.compile("Works alone"))
    link.click()
    page.wait_for_url("**tab=patching*")
    assert (address(page)["model"], address(page)["head"]) == ("mini-2l", "0.2")


@pytest.mark.browser
def test_a_head_is_switched_off_by_a_click_and_its_link_keeps_it(visit):
    page = visit("?model=mini-2l&tab=behaviour", ready="#next-card .ia-text")
    off = page.locator("#next-switches input:checked")
    expect(off).to_have_count(4)
    page.locator("#next-switches").get_by_label("1.7", exact=True).uncheck()
    expect(page.locator("#next-headline")).to_contain_text("Measured live", timeout=60_000)
    expect(page.locator("#next-headline")).to_contain_text("without 1.2, 1.6, 1.4")
    page.wait_for_url("**next=*")
    assert address(page)["next"].startswith("1.2")
