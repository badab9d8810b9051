"""Training: how the heads formed, over checkpoints of a training run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from induction.analysis.scores import SCORES
from induction.results import HISTORIES
from induction.training.history import History, phase_change
from induction.ui import jobs, links
from induction.ui.components.exports import exported, exports
from induction.ui.components.head_grid import grid_value, head_grid, picked
from induction.ui.components.note import html, note
from induction.ui.components.plot import picked_checkpoint, plot, plot_value
from induction.ui.words import headline
from induction.viz import training as figures
from induction.viz.theme import LIGHT, PAGE

if TYPE_CHECKING:
    from induction.ui.page import Page

NOTHING = ""  # no run to compare with
MEASURED = ("previous_token", "induction")  # in the order in which they form
MOST = 2000  # checkpoints that a link may count to
INTRODUCTION = (
    "First heads appear that look at the token before. Only when they write down what they see can a later layer "
    "find it, and the loss on repeated text falls within a short stretch of training. A model of one layer has no "
    "later layer. Move through the checkpoints and watch the heads."
)


# -- what the tab shows --------------------------------------------------------------------------------------


def draw(run: str, against: str, checkpoint: float, head: str) -> list[Any]:
    """Everything of the tab, in the order of ``build``."""
    history, index = chosen(run, checkpoint)
    other = HISTORIES.find(against)
    point = history.checkpoints[index]
    return [
        title(history),
        plot_value(
            f"{run}-training-loss",
            lambda: figures.losses(
                history, compare=None if other is history else other, at=index, palette=PAGE
            ),
        ),
        plot_value(
            f"{run}-training-heads",
            lambda: figures.scores(history, at=index, selected=head, palette=PAGE),
        ),
        place(history, index),
        *(grid_value(getattr(point, name), title=SCORES[name].title) for name in MEASURED),
        {"run": run, "checkpoint": str(index + 1), "head": head},
    ]


def chosen(run: str, checkpoint: float) -> tuple[History, int]:
    """The run on show and the index of its checkpoint; ``checkpoint`` counts from 1, 0 stands for the last.

    Raises:
        InputError: no such run comes with the package.
    """
    history = HISTORIES.get(run)
    wanted = int(checkpoint or 0) or len(history.checkpoints)
    return history, min(max(wanted, 1), len(history.checkpoints)) - 1


def title(history: History) -> str:
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
    return headline(f"{history.model}, {shape}", history, " ".join(sentences), protocols=protocols)


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
    checkpoint = str(asked.get("checkpoint", ""))
    history, index = chosen(str(asked.get("run", "")), int(checkpoint) if checkpoint.isdecimal() else 0)
    selected = str(asked.get("head", ""))
    draw = partial(figures.scores, history, at=index, selected=selected, palette=LIGHT)
    return exported(kind, f"training-{history.model}", history, draw)


# -- layout and wiring ---------------------------------------------------------------------------------------


def build(page: Page) -> None:
    runs = HISTORIES.names()
    first = "mini-2l" if "mini-2l" in runs else runs[0]
    control = "mini-1l" if "mini-1l" in runs else NOTHING
    count = len(HISTORIES.get(first).checkpoints)
    with page.tab("training", "Training"):
        note(INTRODUCTION, elem_id="training-introduction")
        with gr.Row():
            run = gr.Dropdown(runs, value=first, label="Training run", min_width=180, elem_id="run")
            against = gr.Dropdown(
                [("nothing", NOTHING), *((name, name) for name in runs)],
                value=control,
                label="Compare its loss with",
                min_width=180,
                elem_id="against",
            )
        headline_box = html("", elem_id="training-headline")
        with gr.Row(elem_classes=["ih-panels"]):
            with gr.Column(min_width=320, elem_classes=["ih-panel"]):
                html("<h2>Loss</h2>")
                loss = plot(elem_id="training-loss")
            with gr.Column(min_width=320, elem_classes=["ih-panel"]):
                html("<h2>Heads</h2>")
                heads = plot(elem_id="training-heads")
        with gr.Column(elem_classes=["ih-panel"]):
            html("<h2>One checkpoint</h2>")
            checkpoint = gr.Slider(1, count, value=count, step=1, label="Checkpoint", elem_id="checkpoint")
            where = note("", role="status", elem_id="training-place")
            with gr.Row():
                with gr.Column(min_width=300):
                    previous = head_grid(elem_id="training-previous")
                with gr.Column(min_width=300):
                    induction = head_grid(elem_id="training-induction")
            head = gr.Textbox("", visible=False)
            html("<h2>Export this history</h2>")
            files = exports(export, {}, elem_id="training-export")

    page.link(links.choice("run", first, runs), run)
    page.link(links.choice("against", control, [NOTHING, *runs]), against)
    page.link(links.integer("checkpoint", count, low=1, high=MOST), checkpoint)
    page.link(links.head("trained"), head)
    page.show(
        "training",
        draw,
        [run, against, checkpoint, head],
        [headline_box, loss, heads, where, previous, induction, files],
    )
    for component in (previous, induction, heads):
        component.pick(_picked_head, None, head, **jobs.QUICK)
    for component in (loss, heads):
        component.checkpoint(_picked_checkpoint, None, checkpoint, **jobs.QUICK)
    run.change(_range, [run, checkpoint], checkpoint, **jobs.QUICK)


def _picked_head(event: gr.EventData) -> Any:
    return picked(event) or gr.skip()


def _picked_checkpoint(event: gr.EventData) -> Any:
    index = picked_checkpoint(event)
    return gr.skip() if index is None else min(index + 1, MOST)


def _range(run: str, checkpoint: float) -> Any:
    """The slider's range for a run."""
    history, index = chosen(run, checkpoint)
    return gr.Slider(maximum=len(history.checkpoints), value=index + 1)
