"""The notebook: it runs, quickly, and says what the committed one says."""

from __future__ import annotations

import re

import nbformat
import pytest
from nbclient import NotebookClient
from running import ROOT

PATH = ROOT / "notebooks" / "induction_heads_analysis.ipynb"
CHART = "application/vnd.plotly.v1+json"
NUMBER = re.compile(r"[-+]?\d+\.\d+")
TOOK = re.compile(r"^[\d.]+ s\b", re.M)  # how long a measurement took


def said(notebook: nbformat.NotebookNode) -> list[tuple[int, str]]:
    """What each code cell wrote, figures by the text that they are read out with."""
    texts: list[tuple[int, str]] = []
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                before = texts.pop()[1] if texts and texts[-1][0] == index else ""
                texts.append((index, before + output.text))  # a slow kernel says it in parts
            elif CHART in output.data:
                meta = output.data[CHART]["layout"]["meta"]
                texts.append((index, f"{meta['title']}: {meta['protocol']}"))
            else:
                label = re.search(r'aria-label="([^"]*)"', output.data.get("image/svg+xml", ""))
                texts.append((index, label[1] if label else output.data["text/plain"]))
    return [(index, TOOK.sub("", text)) for index, text in texts]


def test_the_notebook_runs_and_its_committed_outputs_are_what_it_says(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    committed = nbformat.read(PATH, as_version=4)
    cells = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert all(cell.outputs or "import" in cell.source for cell in cells)
    run = nbformat.read(PATH, as_version=4)
    NotebookClient(run, timeout=120, resources={"metadata": {"path": str(PATH.parent)}}).execute()
    for (index, now), (where, then) in zip(said(run), said(committed), strict=True):
        assert index == where
        assert NUMBER.sub("#", now) == NUMBER.sub("#", then)
        numbers = [list(map(float, NUMBER.findall(text))) for text in (now, then)]
        assert numbers[0] == pytest.approx(numbers[1], abs=0.02, rel=0.02)


def test_the_notebook_is_small_and_shows_its_charts_where_plotly_is_not_known():
    assert PATH.stat().st_size < 800_000
    charts = [
        output.data
        for cell in nbformat.read(PATH, as_version=4).cells
        for output in cell.get("outputs", [])
        if CHART in output.get("data", {})
    ]
    assert len(charts) >= 15
    assert all("image/svg+xml" in chart for chart in charts)
    assert all("text/html" not in chart for chart in charts)  # no script, and nothing from the net


def test_the_notebook_has_no_logic_of_its_own():
    for cell in nbformat.read(PATH, as_version=4).cells:
        if cell.cell_type == "code":
            assert not re.search(r"^\s*(def|class|for|while)\b", cell.source, re.M)
