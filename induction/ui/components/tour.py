"""A guided tour of a minute: a button, and a small card that says the next thing to do on the page itself.

Not ``gr.Walkthrough``: that is a stepper whose steps hold their contents, so that every tab would have to live inside
it; it stands in the page instead of beside what it speaks of, cannot be closed, and asks the server at each step.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import gradio as gr

from induction.ui.components.script import component

MODEL = "mini-2l"  # works everywhere at once


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        tab: where, by its name and its label.
        text: what to do there and what it shows.
        target: CSS selector of what is clicked; ``show``, of what is outlined and scrolled to.
    """

    title: str
    tab: str
    label: str
    text: str
    target: str
    show: str


STEPS = (
    Step(
        "Find the head",
        "scan",
        "Scan",
        "Each cell is one attention head. The dark ones look where induction would: at the token after the earlier "
        "copy of the current one. Click 1.7, the strongest.",
        "#scan-grid .ih-cell[data-l='1'][data-h='7']",
        "#scan-grid",
    ),
    Step(
        "Look at its stripe",
        "attention",
        "Attention",
        "Where the text repeats, the head looks back at the first copy, one token on: a stripe beside the diagonal. "
        "Click a token or the matrix.",
        "#tab-attention :is(canvas, .ia-token, .ia-thumb, .ia-matrix, .ia-matrix *)",
        "#tab-attention .ia-matrix",
    ),
    Step(
        "Is it needed?",
        "patching",
        "Patching",
        "Here heads are patched or switched off, alone and together. Induction heads stand in for each other: one may "
        "seem useless alone while the set is not. Click anything here that you want to try.",
        "#tab-patching *",
        "#patching-headline",
    ),
    Step(
        "What feeds it",
        "circuit",
        "Circuit",
        "It finds A because an earlier head, 0.2, told each token what stood before it. A band is as wide as that "
        "effect. Click a head or a band.",
        "#circuit-diagram :is([data-head], [data-edge])",
        "#circuit-diagram",
    ),
)
END = (
    "That is the whole story: a head found by where it looks, tested by what breaks without it, and explained by the "
    "head that feeds it. Choose another model and ask again."
)
_HTML = (
    '<button type="button" class="ih-more ih-tour-start" aria-haspopup="dialog">Tour of a minute</button>'
    '<section class="ih-tour" role="dialog" aria-label="Guided tour" hidden>'
    '<p class="ih-tour-count"></p><h2 tabindex="-1"></h2><div role="status"><p></p></div>'
    '<div class="ih-tools"><button type="button" class="ih-tour-next"></button>'
    '<button type="button" class="ih-tour-end">End tour</button></div></section>'
)


def tour() -> gr.HTML:
    """The button and its card. Fires ``started`` where another model than :data:`MODEL` is on show."""
    value = {"steps": [asdict(step) for step in STEPS], "end": END, "model": MODEL}
    return component(value, _HTML, "tour", "started", elem_id="tour")
