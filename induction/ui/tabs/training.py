"""Training: how the heads formed, over checkpoints of a training run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from induction.analysis.scores import SCORES
from induction.base import head_name
from induction.results import HISTORIES
from induction.training.history import History, phase_change
from induction.ui import jobs, links
from induction.ui.components.checkpoints import checkpoints
from induction.ui.components.exports import exported, exports
from induction.ui.components.head_grid import grid_value, picked
from induction.ui.components.note import html, note
from induction.ui.components.plot import plot, plot_value
from induction.ui.names import short_name
from induction.ui.words import headline, table
from induction.viz import training as figures
from induction.viz.theme import LIGHT, PAGE

if TYPE_CHECKING:
    from induction.ui.page import Page

# The checkpoint for the address: 0 for the last, as at the start.
_MOVED = """() => {
  const slider = document.querySelector('#checkpoint input[type=range]');
  return slider.value === slider.max ? 0 : Number(slider.value);
}"""
NOTHING, OWN = "", ""  # no run to compare with; the run of the model on show
MEASURED = ("previous_token", "induction")  # in the order in which they form
RUN_HEADINGS = (
    "Run",
    "Trained on",
    "Seed",
    "Tokens",
    "First previous-token head",
    "First induction head",
    "Highest induction score at the end",
    "Prose loss, nats",
    "Loss on the second copy, nats",
)
MOST = 2000  # checkpoints that a link may count to
INTRODUCTION = (
    "First heads appear that look at the token before. Only when they write down what they see can a later layer "
    "find it, and the loss on repeated text falls within a short stretch of training. A model of one layer has no "
    "later layer. Play, move the slider or click a curve, and watch the heads."
)


# -- what the tab shows --------------------------------------------------------------------------------------


def draw(model: str, run: str, against: str, checkpoint: float) -> list[Any]:
    """What does not depend on a head, in the order of ``build``."""
    history, index = chosen(model, run, checkpoint)
    other = HISTORIES.find(against)
    return [
        title(history, missing(model, run, history)),
        plot_value(
            f"{history.model}-training-loss",
            lambda: figures.losses(
                history, compare=None if other is history else other, at=index, palette=PAGE
            ),
        ),
        frames(history, index),
        {"model": model, "run": history.model},
        plot_value(
            "training-runs",
            lambda: figures.runs(list(HISTORIES.all().values()), shown=history.model, palette=PAGE),
        ),
        runs_table(),
    ]


def runs_table() -> str:
    """All runs beside each other: what they saw, and whether and when heads formed."""
    rows = []
    for history in HISTORIES.all().values():
        last, formed = history.checkpoints[-1], [figures.first_to_form(history, name) for name in MEASURED]
        when = [
            f"{head_name(one[0])} at {figures.tokens_in_words(history.checkpoints[one[1]].tokens)}"
            if one
            else "none"
            for one in formed
        ]
        best = max(max(row) for row in last.induction)
        prose = "–" if last.prose_loss is None else f"{last.prose_loss:.2f}"
        seen = [history.data or "–", str(history.seed), figures.tokens_in_words(last.tokens)]
        rows.append([history.model, *seen, *when, f"{best:.2f}", prose, f"{last.second_copy_loss:.2f}"])
    return table(RUN_HEADINGS, rows, "All training runs")


def draw_heads(model: str, run: str, head: str, checkpoint: float) -> dict[str, Any]:
    history, index = chosen(model, run, checkpoint)
    return plot_value(
        f"{history.model}-training-heads",
        lambda: figures.scores(history, at=index, selected=head, palette=PAGE),
    )


def frames(history: History, index: int) -> dict[str, Any]:
    """All checkpoints, for the component that moves through them."""
    return {
        "at": index,
        "said": [place(history, at) for at in range(len(history.checkpoints))],
        "tokens": [point.tokens for point in history.checkpoints],
        "grids": [
            [grid_value(getattr(point, name), title=SCORES[name].title) for name in MEASURED]
            for point in history.checkpoints
        ],
    }


def chosen(model: str, run: str, checkpoint: float) -> tuple[History, int]:
    """The run on show and the index of its checkpoint; ``checkpoint`` counts from 1, 0 stands for the last.

    Raises:
        InputError: no such run comes with the package.
    """
    history = HISTORIES.get(run) if run else HISTORIES.find(model) or HISTORIES.get(_first())
    wanted = int(checkpoint or 0) or len(history.checkpoints)
    return history, min(max(wanted, 1), len(history.checkpoints)) - 1


def missing(model: str, run: str, history: History) -> str:
    """That the model on show has no history, where its own was asked for."""
    if run or history.model == model:
        return ""
    return f"No training history comes with {short_name(model)}; shown is how {history.model} was trained."


def _first() -> str:
    runs = HISTORIES.names()
    return "mini-2l" if "mini-2l" in runs else runs[0]


def title(history: History, note: str = "") -> str:
    """What happened, in words."""
    shape = f"{history.n_layers} layer{'s' * (history.n_layers > 1)} × {history.n_heads} heads"
    formed = {name: figures.first_to_form(history, name) for name in MEASURED}
    sentences = []
    for name in MEASURED:
        found = formed[name]
        words = name.replace("_", "-")
        if found is None:
            sentences.append(f"No {words} head: none reaches a score of {figures.STRIPE:g}.")
        else:
            (layer, head), index = found
            tokens = figures.tokens_in_words(history.checkpoints[index].tokens)
            sentences.append(f"The first {words} head is {layer}.{head}, after {tokens} tokens.")
    change = phase_change(history)
    if change is not None:
        before, after = (history.checkpoints[i].second_copy_loss for i in (change - 1, change))
        sentences.append(
            f"At the change the loss on repeated text falls from {before:.2f} to {after:.2f} nats per token."
        )
    protocols = [("", f"{history.protocol.rstrip('.')}. Seed {history.seed}.")]
    return headline(
        f"{history.model}, {shape}",
        history,
        " ".join(sentences),
        protocols=protocols,
        notes=[note] * bool(note),
    )


def place(history: History, index: int) -> str:
    """Where the checkpoint lies in the run and what was measured there."""
    point = history.checkpoints[index]
    prose = "" if point.prose_loss is None else f"prose {point.prose_loss:.2f}, "
    return (
        f"Checkpoint {index + 1} of {len(history.checkpoints)}: step {point.step:,}, "
        f"{figures.tokens_in_words(point.tokens)} tokens. Loss: {prose}first copy {point.first_copy_loss:.2f}, "
        f"second copy {point.second_copy_loss:.2f} nats per token."
    )


def export(kind: str, asked: dict[str, Any]) -> tuple[str, Any]:
    """File name and content of an export.

    Raises:
        InputError: no such run.
    """
    history = HISTORIES.get(str(asked.get("run", "")))
    draw = partial(figures.scores, history, selected=str(asked.get("head", "")), palette=LIGHT)
    return exported(kind, f"training-{history.model}", history, draw)


# -- layout and wiring ---------------------------------------------------------------------------------------


def build(page: Page) -> None:
    names = HISTORIES.names()
    control = "mini-1l" if "mini-1l" in names else NOTHING
    with page.tab("training", "Training"):
        headline_box = html("", elem_id="training-headline")
        player = checkpoints(
            [SCORES[name].title for name in MEASURED],
            ["training-loss", "training-heads"],
            elem_id="checkpoint",
        )
        with gr.Row(elem_classes=["ih-panels"], elem_id="training-charts"):
            with gr.Column(min_width=300, elem_classes=["ih-panel"]):
                loss = plot(elem_id="training-loss")
            with gr.Column(min_width=300, elem_classes=["ih-panel"]):
                heads = plot(elem_id="training-heads")
        note(INTRODUCTION, elem_id="training-introduction")
        with gr.Row():
            run = gr.Dropdown(
                [("of the model on show", OWN), *((name, name) for name in names)],
                value=OWN,
                label="Training run",
                min_width=180,
                elem_id="run",
            )
            against = gr.Dropdown(
                [("nothing", NOTHING), *((name, name) for name in names)],
                value=control,
                label="Compare its loss with",
                min_width=180,
                elem_id="against",
            )
        files = exports(export, None, elem_id="training-export")
        with gr.Column(elem_classes=["ih-panel"]):
            runs = plot(elem_id="training-runs")
            every = html("", elem_id="training-all")
        checkpoint, head = gr.Number(0, visible=False), gr.Textbox("", visible=False)

    page.link(links.choice("run", OWN, [OWN, *names]), run)
    page.link(links.choice("against", control, [NOTHING, *names]), against)
    page.link(links.integer("checkpoint", 0, low=0, high=MOST), checkpoint)
    page.link(links.head("trained"), head)
    asked, shown = [page.model, run], [headline_box, loss, player, files, runs, every]
    page.show("training", draw, [*asked, against], shown, also=[checkpoint])
    page.show("training", draw_heads, [*asked, head], [heads], also=[checkpoint])
    for component in (player, heads):
        component.pick(_picked_head, None, head, **jobs.QUICK)
    player.moved(None, None, checkpoint, js=_MOVED, **jobs.QUICK)


def _picked_head(event: gr.EventData) -> Any:
    return picked(event) or gr.skip()
