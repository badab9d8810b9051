"""Run the notebook and keep its outputs: ``python tests/scripts/notebook.py``.

Beside every chart, which is interactive where plotly is known, goes its SVG for viewers that show images alone. That
takes Chrome or Chromium; who runs the notebook itself needs neither.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import kaleido
import nbformat
import plotly.graph_objects as go
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
PATH = ROOT / "notebooks" / "induction_heads_analysis.ipynb"
CHART = "application/vnd.plotly.v1+json"


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    notebook = nbformat.read(PATH, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(PATH.parent)}}).execute()
    kaleido.start_sync_server(mathjax=False)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of this run
        for output in cell.get("outputs", []):
            chart = output.get("data", {}).get(CHART)
            if chart:
                figure = go.Figure(json.loads(json.dumps({"data": chart["data"], "layout": chart["layout"]})))
                size = {"format": "svg", "width": 640, "height": int(figure.layout.height)}
                output.data["image/svg+xml"] = kaleido.calc_fig_sync(figure, size).decode()
    kaleido.stop_sync_server()
    nbformat.write(notebook, PATH)
    print(f"{PATH.name}: {PATH.stat().st_size / 1000:.0f} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
