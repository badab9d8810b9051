"""Attention of one prompt, drawn by hand: hundreds of matrices on canvas, where charts would take seconds.

The prompt as text, coloured by what the token in question looks at or who looks at it, for one head or several beside
each other; their matrix; all heads as small pictures; what the head writes at the token.

Tokens and weights travel as data: labels as JSON, weights as grey PNG, one byte per cell. The script draws them
with canvas and ``textContent``; a head whose layer is there asks for what it writes alone. It fires

    pick   {layer, head}        the head on show changed
    state  {row, hide_first}    the token that is kept (-1: none) or the first column's visibility changed
    run    {}                   the prompt on show is to be read by the model
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gradio as gr
import numpy as np

from induction.analysis.attention import Attention, Written, without_first
from induction.analysis.example import as_png
from induction.analysis.kinds import STRIPE
from induction.analysis.scores import SCORES
from induction.ui.components.script import component
from induction.ui.terms import explained

OVERVIEW_CELLS = 150_000  # of all heads together: the overview stays below 200 KB whatever the model
AT_ONCE = 40_000  # bytes of all layers together, below which they come with the view

HOW = (
    "Logits above the mean of the vocabulary, by the direct path alone: head output through the norms on its way and "
    "the unembedding."
)
_HTML = f"""
<p class="ih-empty ia-missing" role="status"></p>
<div class="ia-body" hidden>
  <p class="ia-old" role="status" hidden>Still the prompt before, until the new one is read.</p>
  <h2 class="ia-title"></h2>
  <p class="ih-verdict ia-verdict"></p>
  <p class="ia-notice" role="status"></p>
  <div class="ia-columns">
    <section class="ia-words">
      <div class="ia-switches" role="radiogroup" aria-label="Colour of the tokens">
        <label><input type="radio" name="ia-way" class="ia-from" checked> What it looks at</label>
        <label><input type="radio" name="ia-way" class="ia-to"> Who looks at it</label>
        <label><input type="checkbox" class="ia-hide"> Hide the first token</label>
      </div>
      <p class="ia-text" role="listbox" aria-label="Tokens of the prompt"></p>
      <p class="ia-reading" role="status"></p>
      <p class="ih-caption ia-hint"></p>
      <div class="ia-chips" role="group" aria-label="Heads on show">
        <select class="ia-add" aria-label="Lay another head over this one"></select>
      </div>
    </section>
    <section class="ia-figure">
      <div class="ia-matrix" tabindex="0" role="application" aria-roledescription="attention matrix"
        aria-describedby="ia-keys"><canvas class="ia-base"></canvas><canvas class="ia-over"></canvas></div>
      <div class="ih-legend ia-legend">
        <span class="ia-scale"><span>0</span><span class="ih-scale" data-scale="sequential"></span><span>1</span></span>
        <label class="ia-key"><input type="checkbox" class="ia-outline" checked>
          <span class="ia-target-words"></span></label>
        <span class="ia-zooms"><button type="button" class="ih-more" data-zoom="0.5" aria-label="Zoom out">−</button>
        <button type="button" class="ih-more" data-zoom="2" aria-label="Zoom in">+</button>
        <button type="button" class="ih-more" data-zoom="0">Whole</button></span>
      </div>
      <p class="ih-caption" id="ia-keys">Queries run down, keys across. Wheel or pinch zooms, dragging moves. Arrow
        keys: up and down for the query, left and right for the head.</p>
    </section>
    <section class="ia-others">
      <div class="ia-bar"><h3 class="ia-heads"></h3><button type="button" class="ih-more ia-all"></button></div>
      <div class="ia-thumbs" role="radiogroup" aria-label="Heads"></div>
    </section>
    <section class="ia-writes">
      <h3 class="ia-where"></h3>
      <div class="ia-written"></div>
      <p class="ih-caption ia-how">{explained(HOW)}</p>
    </section>
  </div>
  <details class="ia-cells"><summary>The strongest cells as a table</summary><div class="ih-scroll" tabindex="0"></div>
  </details>
  <p class="ih-caption ia-caption"></p>
</div>
<div class="ih-tip" role="tooltip" hidden></div>
"""


def attention_view(parts: Callable[[dict[str, Any]], dict[str, Any]], **options: Any) -> gr.HTML:
    """The component; its value comes from :func:`view_value`.

    Args:
        parts: ``{model, prompt, text, layer, hide_first, writes}`` to ``{tiles, written}``
            (:func:`tiles_value` of the layer, :func:`written_value` of the head ``writes``), each where it is asked
            for, or ``{"gone": True}``. Its argument comes from a browser.
    """

    def fetch(asked: dict[str, Any]) -> dict[str, Any]:
        return parts(asked if isinstance(asked, dict) else {})

    own = {"elem_classes": ["ia-block"], "server_functions": [fetch]}
    return component(None, _HTML, "attention_view", "pick", "state", "run", packed=True, **own, **options)


def missing_value(text: str, *, run: int = 0, model: str = "") -> dict[str, Any]:
    """The empty state in words.

    With a new number as ``run`` the component asks for the work itself, and goes on showing another prompt of the
    same ``model`` meanwhile, greyed.
    """
    return {"missing": text, "run": run, "model": model}


def view_value(
    seen: Attention,
    request: dict[str, str],
    written: Written | None,
    *,
    name: str,
    head: str,
    row: int,
    hide_first: bool,
    notice: str,
) -> dict[str, Any]:
    """What the component shows of a prompt.

    Args:
        request: what the prompt's parts are asked by.
        written: of the head, where it is known.
        row: the token that is kept, -1 for none.
    """
    layer = min(max(int(head.split(".")[0]), 0), seen.n_layers - 1)
    ceilings = seen.ceilings()
    tiles = {str(layer): tiles_value(seen, layer, hide_first)}
    if seen.n_layers * len(tiles[str(layer)]["png"]) < AT_ONCE:
        tiles = {str(index): tiles_value(seen, index, hide_first) for index in range(seen.n_layers)}
    return {
        "request": request,
        "name": name,
        "tokens": seen.labels,
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
        "stripe": STRIPE,
        "targets": as_png(seen.targets[None]),
        "tiles": tiles,
        "head": head,
        "written": written_value(written) if written else None,
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


def pooled(patterns: np.ndarray, factor: int) -> np.ndarray:
    """The largest weight of every ``factor`` x ``factor`` block, so that thin stripes survive.

    Args:
        patterns: ``[..., query, key]``; the last blocks may be smaller.
    """
    starts = np.arange(0, patterns.shape[-1], factor)
    return np.maximum.reduceat(np.maximum.reduceat(patterns, starts, axis=-2), starts, axis=-1)


def written_value(written: Written) -> dict[str, Any]:
    """What a head writes at every position."""
    return {
        "head": f"{written.layer}.{written.head}",
        "n_vocab": written.n_vocab,
        "promoted": [[[label, round(value, 2)] for label, value in row] for row in written.promoted],
        "suppressed": [[[label, round(value, 2)] for label, value in row] for row in written.suppressed],
        "following": [found and [round(found[0], 2), found[1]] for found in written.following],
    }
