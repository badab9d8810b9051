"""The figures command: every figure there, complete and with its protocol, as a page and, with Chrome, as images."""

from __future__ import annotations

import html
import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from models import gpt2
from PIL import Image

from induction.base import finish
from induction.cli import figures, main
from induction.results import SCANS
from induction.viz import circuit
from induction.viz.by_experiment import FIGURES
from induction.viz.scan import grid
from induction.viz.theme import LIGHT, PAGE


@pytest.fixture
def no_browser(monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", "/no/browser")


def specs(folder):
    """Name and plotly's JSON of every chart in the page."""
    page = (folder / "index.html").read_text(encoding="utf-8")
    found = re.findall(r'<figure id="([^"]+)"[^>]*><script type="application/json">(.*?)</script>', page)
    return {name: json.loads(text) for name, text in found}


@pytest.mark.usefixtures("no_browser")
def test_without_a_browser_the_page_has_every_figure_and_one_sentence_says_so(tmp_path, capsys):
    assert main(["figures", "mini-2l", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert [line for line in said.err.splitlines() if "Chrom" in line] == [
        figures.NO_BROWSER.format("was found")
    ]
    assert str(tmp_path / "index.html") in said.out
    drawn = specs(tmp_path)
    assert set(drawn) >= {"scan-induction", "scan-loss", "scan-induction-previous", "attention-1.7"}
    assert set(drawn) >= {"patching-z-logit_difference", "patching-z-bars", "first-heads-logit_difference"}
    assert set(drawn) >= {"composition-1.7", "paths-1.7", "training-loss", "training-scores"}
    assert set(drawn) >= set(FIGURES)
    for spec in drawn.values():
        assert "mini-2l" in spec["layout"]["meta"]["protocol"]
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert (
        ElementTree.fromstring(re.search(r'<figure id="circuit">(<svg.*?</svg>)', page, re.S)[1]) is not None
    )
    assert re.findall(r'src="([^"]+)"', page) == ["plotly.min.js"]  # nothing from the net
    assert (tmp_path / "plotly.min.js").stat().st_size > 10**6
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [
        ".html",
        ".js",
        ".svg",
    ]  # the circuit needs none


@pytest.mark.browser
def test_with_a_browser_every_figure_is_there_as_png_and_svg(tmp_path):
    scan = SCANS.get("mini-2l")
    drawn = [("scan", grid(scan), grid(scan, palette=PAGE))]
    assert figures.write_images(drawn, tmp_path) == []
    picture = Image.open(tmp_path / "scan.png").convert("RGB")
    assert picture.width == figures.WIDTH * figures.ZOOM
    seen = {f"#{bytes(colour).hex()}" for _, colour in picture.getcolors(10**6)}
    assert LIGHT.paper in seen
    # The strongest head's colour, mixed from the last two of the scale, fills its cell.
    top = scan.ranked()[0][2] * (len(LIGHT.sequential) - 1)
    low, high = (np.array(list(bytes.fromhex(c[1:]))) for c in LIGHT.sequential[-2:])
    mixed = low + (high - low) * (top - 4)
    assert np.abs(np.array(picture.getcolors(10**6), object)[:, 1].tolist() - mixed).sum(1).min() <= 3
    words = " ".join(ElementTree.parse(tmp_path / "scan.svg").getroot().itertext())
    assert "mini-2l. Computed by this project." in words


@pytest.mark.browser
def test_the_page_draws_in_light_and_dark_and_asks_nothing_of_the_net(tmp_path, browser):
    scan = SCANS.get("mini-2l")
    drawn = [("scan", grid(scan), grid(scan, palette=PAGE))]
    path = figures.write_page(drawn, tmp_path, heading="made up")
    for scheme, paper in (("light", "255, 255, 255"), ("dark", "18, 24, 31")):
        page = browser.new_page(color_scheme=scheme, viewport={"width": 390, "height": 800})
        asked, errors = [], []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_selector("#scan .main-svg")
        background = page.eval_on_selector("#scan .main-svg", "node => node.style.background")
        assert paper in background
        assert errors == []
        assert all(url.startswith("file:") for url in asked)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.close()


@pytest.mark.usefixtures("no_browser")
def test_published_figures_are_drawn_and_what_is_missing_is_said(tmp_path, capsys):
    assert main(["figures", "gpt2-small", "--out", str(tmp_path)]) == 0
    assert "left out: attention" in capsys.readouterr().err
    assert "patching-pattern-logit_difference" in specs(tmp_path)


def test_a_model_without_results_is_measured():
    # Of this seed the model, by chance, does better at the clean prompts: without that there is no effect to draw.
    found = finish(figures.iter_results(gpt2(), n_prompts=2, vocab="letters", n_random=2, seed=10))
    assert found["scan"].ranked()[0][2] == max(map(max, found["scan"].scores["induction"].mean))
    drawn, said = figures.draw(found)
    # Random weights know no induction: what cannot be drawn for that says so.
    assert all(re.match(r"left out: (circuit|first-heads-.+): .+\.", sentence) for sentence in said)
    assert {"scan-induction", "scan-loss", "patching-z-bars"} <= {name for name, *_ in drawn}


@pytest.mark.usefixtures("no_browser")
def test_a_folder_that_cannot_be_written_is_refused_in_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["figures", "gpt2", "--out", str(tmp_path / "file")]) == 2
    assert "choose another folder" in capsys.readouterr().err


def test_names_reach_no_other_folder_and_no_markup(tmp_path):
    hostile = "</script><b>bold</b>"
    figure = grid(SCANS.get("gpt2").model_copy(update={"model": hostile}))
    page = figures.write_page([("../up", figure, figure)], tmp_path / "inside", heading="<i>heading</i>")
    assert page.parent == tmp_path / "inside"
    assert not list(tmp_path.glob("*up*"))
    text = page.read_text(encoding="utf-8")
    assert "<b>" not in text
    assert "<i>" not in text
    assert hostile in html.unescape(specs(tmp_path / "inside")["..-up"]["layout"]["meta"]["title"])


def test_the_diagram_says_why_it_is_drawn_by_hand():
    assert "drawn by hand" in circuit.__doc__.splitlines()[0]
