"""Attention in Chromium: painted heads, hover, rows and heads by keyboard, hostile text, links, limits, exports."""

from __future__ import annotations

import json
import re
import statistics
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from induction.attention import attend
from induction.model import load_model
from induction.ui.prompts import Prompt, token_ids

pytestmark = pytest.mark.browser

MINI = "?model=mini-2l&tab=attention"
PAINTED = "#attention-view [data-painted]"
HOSTILE = "<img src=x onerror=alert(1)> ${alert(1)} {{x}} 😀 שלום\nline <img src=x onerror=alert(1)>"


def address(page):
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def thumb(page, layer, head):
    return page.locator(f".ia-thumb[data-l='{layer}'][data-h='{head}']")


def painted(page, head):
    expect(page.locator(PAINTED)).to_have_attribute("data-painted", head)


def write_own_text(page, text):
    page.get_by_role("radio", name="Own text").check()
    page.get_by_label("Text", exact=True).fill(text)
    page.locator("#show-attention").click()


def point_at(page, query, key):
    """Move the pointer onto a cell, found by walking: the test knows nothing of the geometry."""
    matrix = page.locator(".ia-matrix")
    matrix.scroll_into_view_if_needed()
    geometry = page.locator(".ia-base").evaluate(
        """(canvas) => {  // the first opaque pixel of the diagonal's upper left end, from below
          const box = canvas.getBoundingClientRect();
          return {x: box.x, y: box.y, side: box.width};
        }"""
    )
    return geometry
