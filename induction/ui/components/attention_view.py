"""Attention of one prompt, drawn by hand: hundreds of matrices on canvas, where charts would take seconds.

One large head, its neighbours, one query row in words.

Tokens and weights travel as data: labels as JSON, weights as grey PNG, one byte per cell. The script draws them
with canvas and ``textContent``; switching heads within a layer asks nobody. It fires

    pick   {layer, head}        the head on show changed
    state  {row, hide_first}    the query row or the first column's visibility changed
    run    {}                   the prompt on show is not on the server any more (or not yet)
    need   {layer, head}        what this head writes is not known yet
"""

from __future__ import annotations

import io
import math
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from induction.analysis.attention import Attention, Written, without_first
from induction.analysis.scores import SCORES
from induction.ui.components.script import component

OVERVIEW_CELLS = 150_000  # of all heads together: the overview stays below 200 KB whatever the model

_HTML = """
<p class="ih-empty ia-missing" role="status"></p>
<div class="ia-body" hidden>
  <h2 class="ia-title"></h2>
  <p class="ih-note ia-scores"></p>
  <p class="ia-notice"></p>
  <div class="ia-columns">
    <section class="ia-left">
      <div class="ia-switches">
        <label><input type="checkbox" class="ia-hide"> Hide the first token</label>
        <label><input type="checkbox" class="ia-outline" checked> Outline induction targets</label>
      </div>
      <div class="ia-matrix" tabindex="0" role="application" aria-roledescription="attention matrix"
        aria-describedby="ia-keys"><canvas class="ia-base"></canvas><canvas class="ia-over"></canvas></div>
      <div class="ih-legend ia-legend">
        <span>0</span><span class="ih-scale" data-scale="sequential"></span><span>1 attention</span>
        <span class="ia-key">induction target</span>
      </div>
      <p class="ih-caption" id="ia-keys">Queries run down, keys across. Click a row, or use the arrow keys: up and
        down for the query, left and right for the head.</p>
      <p class="ih-caption ia-caption"></p>
    </section>
    <section class="ia-right">
      <div class="ia-bar"><h3 class="ia-heads"></h3><button type="button" class="ih-more ia-all"></button></div>
      <div class="ia-thumbs" role="radiogroup" aria-label="Heads"></div>
      <h3 class="ia-query"></h3>
      <p class="ia-reading" role="status"></p>
      <p class="ia-text"></p>
      <h3>What the head writes there</h3>
      <div class="ia-written"></div>
    </section>
  </div>
</div>
<div class="ih-tip" role="tooltip" hidden></div>
"""


def attention_view(tiles: Callable[[dict[str, Any]], dict[str, Any]], **options: Any) -> gr.HTML:
    """The component. Props: ``value`` (:func:`view_value`), ``selected`` ("1.3"), ``written`` (:func:`written_value`).

    Args:
        tiles: ``{model, prompt, text, layer, hide_first}`` to :func:`tiles_value`, or ``{"gone": True}``. Its
            argument comes from a browser.
    """

    def fetch(asked: dict[str, Any]) -> dict[str, Any]:
        return tiles(asked if isinstance(asked, dict) else {})

    events = ("pick", "state", "run", "need")
    own = {"elem_classes": ["ia-block"], "server_functions": [fetch], "selected": "", "written": None}
    return component(None, _HTML, "attention_view", *events, **own, **options)


def missing_value(text: str, *, run: int = 0, model: str = "") -> dict[str, Any]:
    """The empty state in words.

    With a new number as ``run`` the component asks for the work itself, and goes on showing another prompt of the
    same ``model`` meanwhile.
    """
    return {"missing": text, "run": run, "model": model}


def view_value(
    seen: Attention, request: dict[str, str], *, name: str, head: str, row: int, hide_first: bool, notice: str
) -> dict[str, Any]:
    """What the component shows of a prompt; ``request`` is what the prompt's tiles are asked by."""
    layer = min(max(int(head.split(".")[0]), 0), seen.n_layers - 1)
    ceilings = seen.ceilings()
    return {
        "request": request,
        "name": name,
        "tokens": seen.labels,
        "ids": seen.ids,
        "n_layers": seen.n_layers,
        "n_heads": seen.n_heads,
        "scores": [
            {
                "title": SCORES[key].title,
                "values": [[_figure(x) for x in heads] for heads in values.tolist()],
                "ceiling": _figure(ceilings[key]),
            }
            for key, values in seen.scores().items()
        ],
        "targets": as_png(seen.targets[None]),
        "layer": layer,
        "tiles": tiles_value(seen, layer, hide_first),
        "head": head,
        "row": row,
        "hide_first": hide_first,
        "notice": notice,
        "caption": f"{seen.protocol}. {seen.origin[:1].upper()}{seen.origin[1:]}. Weights to within .002.",
    }


def _figure(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 3)


def tiles_value(seen: Attention, layer: int | None, hide_first: bool) -> dict[str, Any]:
    """Attention of a layer's heads, cell for cell, or of all heads of the model, pooled to a bounded size."""
    patterns = seen.patterns.reshape(-1, *seen.patterns.shape[2:]) if layer is None else seen.patterns[layer]
    if hide_first:
        patterns = without_first(patterns)
    if layer is None:
        factor = 1
        while len(patterns) * math.ceil(seen.n_tokens / factor) ** 2 > OVERVIEW_CELLS:
            factor += 1
        patterns = pooled(patterns, factor)
    return {"png": as_png(patterns), "size": patterns.shape[-1]}


def as_png(patterns: np.ndarray) -> str:
    """One grey PNG, base64, a tile per head from top to bottom, 255 for weight 1.

    Args:
        patterns: ``[head, query, key]`` in 0..1.
    """
    tiles = np.rint(np.clip(patterns, 0, 1) * 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(tiles.reshape(-1, tiles.shape[-1])).save(out, "PNG", optimize=True)
    return b64encode(out.getvalue()).decode()


def pooled(patterns: np.ndarray, factor: int) -> np.ndarray:
    """The largest weight of every ``factor`` x ``factor`` block, so that thin stripes survive.

    Args:
        patterns: ``[..., query, key]``; the last blocks may be smaller.
    """
    starts = np.arange(0, patterns.shape[-1], factor)
    return np.maximum.reduceat(np.maximum.reduceat(patterns, starts, axis=-2), starts, axis=-1)


def written_value(request: dict[str, str], written: Written) -> dict[str, Any]:
    """What a head writes at every position, for the prop ``written``."""
    return {
        "request": request,
        "head": f"{written.layer}.{written.head}",
        "promoted": [[[label, round(value, 2)] for label, value in row] for row in written.promoted],
        "suppressed": [[[label, round(value, 2)] for label, value in row] for row in written.suppressed],
        "following": [found and [round(found[0], 2), found[1]] for found in written.following],
    }
