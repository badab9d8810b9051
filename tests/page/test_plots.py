"""Plotly's figures in the page: what a click and a box choose, theme, updates, files, and how its script arrives."""

from __future__ import annotations

import json
import re
import time
import urllib.request

import pytest
from playwright.sync_api import expect
from plotly.graph_objects import Figure
from running import address, open_settings

from induction.base import InputError
from induction.ui.components import plot

SCAN = "?model=gpt2&score=induction"
PLOT = "#scatter .ih-plot"
# Where on the screen a point of a figure's data lies: (a holder, [x, y]) -> {x, y}.
PLACE = """(holder, [x, y]) => {
  const { xaxis, yaxis } = holder._fullLayout;
  const box = holder.getBoundingClientRect();
  return { x: box.left + xaxis._offset + xaxis.d2p(x), y: box.top + yaxis._offset + yaxis.d2p(y) };
}"""
MARK = """(holder, name) => {
  for (const { customdata, x, y } of holder.calcdata.map((points) => points[0].trace)) {
    const at = (customdata || []).findIndex(([head]) => head === name);
    if (at >= 0) return [x[at], y[at]];
  }
}"""


@pytest.fixture
def scatter(visit):
    """The page with its scatter drawn and in view, and the scatter's node."""
    page = visit(SCAN)
    return page, drawn(page, PLOT)


def drawn(page, selector: str):
    holder = page.locator(selector)
    holder.scroll_into_view_if_needed()
    holder.locator(".main-svg").first.wait_for()
    return holder


def click(page, holder, point) -> None:
    at = holder.evaluate(PLACE, point)
    page.mouse.move(at["x"], at["y"])
    page.mouse.click(at["x"], at["y"])


def drag(page, holder, start, end) -> None:
    start, end = (holder.evaluate(PLACE, point) for point in (start, end))
    page.mouse.move(start["x"], start["y"])
    page.mouse.down()
    page.mouse.move(end["x"], end["y"], steps=6)
    page.mouse.up()


def test_a_figure_or_what_is_missing():
    figure = Figure(layout={"meta": {"title": "T", "protocol": "P"}, "height": 300})
    value = plot.plot_value("a/b <c>.svg", lambda: figure)
    assert value["figure"]["layout"]["meta"] == {"title": "T", "protocol": "P"}
    assert json.dumps(value)  # plain values: it travels as JSON
    assert not set(value["name"]) & set("/<> ")
    assert plot.plot_value("x", lambda: "<svg/>")["svg"] == "<svg/>"

    def nothing():
        raise InputError("Measure first.")

    assert plot.plot_value("x", nothing) == {"missing": "Measure first."}


@pytest.mark.browser
def test_a_click_selects_the_head_and_an_update_keeps_the_node(scatter):
    page, holder = scatter
    page.evaluate("node => { window.kept = node }", holder.locator(".main-svg").first.element_handle())
    click(page, holder, holder.evaluate(MARK, "4.11"))
    expect(page.locator("#head input")).to_have_value(re.compile(r"^4\.11"))
    expect(page.locator("#scan-grid [aria-selected=true]")).to_have_attribute("data-l", "4")
    page.wait_for_function(
        "(path) => document.querySelector(path).data.flatMap(({ customdata, marker }) =>"
        " (customdata || []).filter((_, at) => marker.line.width[at] > 0).map(([head]) => head)).join() === '4.11'",
        arg=PLOT,
    )
    assert page.evaluate("kept.isConnected")


@pytest.mark.browser
def test_a_box_makes_the_set_of_the_patching_tab(scatter):
    page, holder = scatter
    drag(page, holder, (-0.02, 1.05), (0.2, 0.8))
    strongest = {"5.5", "6.9", "7.10", "5.1", "7.2"}
    expect(page.get_by_text("The set in Patching is now")).to_contain_text("5.5")
    page.wait_for_url("**heads=*")
    assert set(address(page)["heads"].split(",")) == strongest
    page.get_by_role("tab", name="Patching").click()
    open_settings(page, "sets")
    page.get_by_label("Patch the set").check()
    assert set(page.locator("#set-heads textarea, #set-heads input").input_value().split(",")) == strongest


@pytest.mark.browser
def test_a_checkpoint_and_a_head_are_picked_in_training(visit):
    page = visit("?model=mini-2l&tab=training", ready="#training-loss .main-svg")
    holder = drawn(page, "#training-loss .ih-plot")
    index, at = holder.evaluate(
        "(holder) => { const trace = holder.calcdata[0][0].trace; return [20, [trace.x[20], trace.y[20]]] }"
    )
    expected = holder.evaluate("(holder, at) => holder.calcdata[0][0].trace.customdata[at][0]", index)
    click(page, holder, at)
    expect(page.locator("#checkpoint [role=status]")).to_contain_text(f"Checkpoint {expected + 1} of")


@pytest.mark.browser
def test_the_theme_is_followed_without_a_new_figure(scatter):
    page, holder = scatter
    colour = "node => getComputedStyle(node).fill"
    mark = holder.locator(".points path").first
    light = mark.evaluate(colour)
    page.evaluate("node => { window.kept = node }", holder.locator(".main-svg").first.element_handle())
    page.evaluate("document.body.classList.toggle('dark')")
    page.wait_for_function(
        f"([path, before]) => ({colour})(document.querySelector(path + ' .points path')) !== before",
        arg=[PLOT, light],
    )
    assert page.evaluate("kept.isConnected")


@pytest.mark.browser
@pytest.mark.parametrize(("kind", "start"), [("PNG", b"\x89PNG"), ("SVG", b"<svg")])
def test_files_of_the_figure_and_of_the_export(scatter, kind, start):
    page, holder = scatter
    buttons = (
        holder.get_by_role("button", name=f"Download as {kind}"),
        page.locator(f"#export [data-kind={kind.lower()}]"),
    )
    for button in buttons:
        with page.expect_download() as download:
            button.click()
        content = download.value.path().read_bytes()
        assert download.value.suggested_filename.endswith(f".{kind.lower()}")
        assert content.startswith(start)
        if kind == "SVG":
            assert b"var(" not in content, "a file has colours of its own"
            words = re.sub(rb"<[^>]*>|\s", b"", content)  # lines are broken anywhere
            assert b"Publishedbyothers" in words, "and its protocol"


@pytest.mark.browser
def test_plotlys_script_comes_compressed_after_the_first_result(visit):
    page = visit(SCAN)
    grid_there = page.evaluate("performance.now()")
    drawn(page, PLOT)
    (entry,) = page.evaluate(
        "performance.getEntriesByType('resource').filter((entry) => entry.name.includes('plotly'))"
        ".map((entry) => [entry.name, entry.startTime, entry.encodedBodySize, entry.decodedBodySize])"
    )
    name, start, encoded, decoded = entry
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert painted < start
    assert grid_there > 0
    assert encoded < decoded / 2.5
    assert "site-packages" not in name


def test_streams_of_events_are_not_compressed_and_steps_arrive_one_by_one(app_url):
    """Two steps of a live scan, read raw as a program does that accepts compressed answers."""
    headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip"}
    arguments = json.dumps({"data": ["mini-2l", 30, 60, "random", 0, True]}).encode()
    call = f"{app_url}gradio_api/call/scan"
    asked = urllib.request.urlopen(urllib.request.Request(call, arguments, headers), timeout=30)
    event = json.load(asked)["event_id"]
    stream = urllib.request.urlopen(urllib.request.Request(f"{call}/{event}", headers=headers), timeout=120)
    assert stream.headers["Content-Encoding"] is None
    times = [time.monotonic() for line in stream if line.startswith(b"event:")]
    assert len(times) > 2
    assert times[-1] - times[0] > 0.02, "they did not come all at once"


@pytest.mark.browser
@pytest.mark.parametrize(
    ("tab", "selector"),
    [("scan", PLOT), ("training", "#training-heads .ih-plot"), ("circuit", "#circuit-paths .ih-plot")],
)
def test_a_figure_can_be_read_on_a_phone(visit, tab, selector):
    page = visit(f"?model=mini-2l&head=1.6&tab={tab}", width=390, ready=selector)
    holder = drawn(page, selector)
    sizes = holder.evaluate(
        "(holder) => [...holder.querySelectorAll('text')].filter((node) => node.textContent.trim())"
        ".map((node) => parseFloat(getComputedStyle(node).fontSize))"
    )
    assert len(sizes) > 5
    assert min(sizes) >= 12
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.browser
def test_text_in_a_figure_does_not_run(scatter):
    """Names of models and tokens come from visitors: plotly reads some tags, but none that runs."""
    page, holder = scatter
    hostile = '<img src=x onerror="alert(1)"><a href="javascript:alert(2)">x</a><b onmouseover=alert(3)>${alert(4)}</b>'
    holder.evaluate(
        "(holder, text) => Plotly.react(holder, holder.data.map((trace) => ({ ...trace, name: text, hovertext: text, "
        "text })), { ...holder.layout, title: { text }, showlegend: true })",
        hostile,
    )
    at = holder.evaluate(PLACE, holder.evaluate(MARK, "5.1"))
    page.mouse.move(at["x"] - 9, at["y"])
    page.mouse.move(at["x"], at["y"])
    holder.locator(".hoverlayer text").first.wait_for()
    page.mouse.move(at["x"] + 2, at["y"] + 2)  # over the label, too
    assert holder.locator("img, script, [onerror], [onmouseover]").count() == 0
    links = holder.locator("a").evaluate_all(
        "nodes => nodes.map((node) => node.getAttribute('xlink:href') || '')"
    )
    assert not any("javascript" in link for link in links)
