"""How heads form: figures measured at checkpoints of a training run. No torch."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from induction.analysis.kinds import STRIPE
from induction.results import document, read_folder

SCHEMA = "induction-history/1"
FOLDER = Path(__file__).parents[1] / "results" / "histories"


@dataclass(frozen=True)
class Checkpoint:
    """What was measured after ``tokens`` training tokens; losses in nats, scores ``[layer][head]``."""

    step: int
    tokens: int
    prose_loss: float | None
    first_copy_loss: float
    second_copy_loss: float
    induction: list[list[float]]
    previous_token: list[list[float]]


@dataclass(frozen=True)
class History:
    """The checkpoints of one run, oldest first, with everything needed to repeat it."""

    model: str
    n_layers: int
    n_heads: int
    origin: str
    protocol: str
    seed: int
    checkpoints: list[Checkpoint]
    versions: dict[str, str]


def to_json(history: History) -> str:
    """One JSON document that :func:`from_json` reads back to an equal object."""
    return json.dumps({"schema": SCHEMA, **asdict(history)}, allow_nan=False)


def to_csv(history: History) -> str:
    """One row per checkpoint: losses, then both scores of every head."""
    heads = [(layer, head) for layer in range(history.n_layers) for head in range(history.n_heads)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    losses = ["prose_loss", "first_copy_loss", "second_copy_loss"]
    scores = ["induction", "previous_token"]
    names = [f"{score}_{layer}.{head}" for score in scores for layer, head in heads]
    writer.writerow(["step", "tokens", *losses, *names])
    for point in history.checkpoints:
        values = [getattr(point, score)[layer][head] for score in scores for layer, head in heads]
        writer.writerow([point.step, point.tokens, *(getattr(point, loss) for loss in losses), *values])
    return out.getvalue()


def to_text(history: History) -> str:
    """A table for the terminal: one row per checkpoint, with the highest head of each score."""
    lines = [f"{history.model}: {history.origin}", f"{history.protocol}; seed {history.seed}", ""]
    lines.append(
        f"{'step':>8} {'tokens':>14} {'first copy':>11} {'second copy':>12}  induction  previous token"
    )
    for point in history.checkpoints:
        tops = []
        for grid in (point.induction, point.previous_token):
            value, layer, head = max(
                (value, layer, head) for layer, row in enumerate(grid) for head, value in enumerate(row)
            )
            tops.append(f"{layer}.{head} {value:.2f}")
        lines.append(
            f"{point.step:8,} {point.tokens:14,} {point.first_copy_loss:11.2f} {point.second_copy_loss:12.2f}"
            f"  {tops[0]:<9}  {tops[1]}"
        )
    change = phase_change(history)
    if change is None:
        lines.append(
            "\nNo sudden change: no induction head formed, or the loss on the second copy hardly fell."
        )
    else:
        before, after = history.checkpoints[change - 1], history.checkpoints[change]
        lines.append(
            f"\nThe loss on the second copy falls fastest between step {before.step:,} and {after.step:,}."
        )
    return "\n".join(lines)


def from_json(text: str, name: str = "this file") -> History:
    """Read a history.

    Raises:
        InputError: the text is damaged, of another schema, or holds no checkpoint in order.
    """
    return document.read(text, name, schema=SCHEMA, build=_build, check=_check)


def _build(data: dict[str, Any]) -> History:
    checkpoints = [Checkpoint(**item) for item in data.pop("checkpoints")]
    return History(checkpoints=checkpoints, **data)


def _check(history: History) -> None:
    tokens = [checkpoint.tokens for checkpoint in history.checkpoints]
    if not tokens or tokens != sorted(set(tokens)):
        raise ValueError("no checkpoints in the order of training")
    for checkpoint in history.checkpoints:
        for grid in (checkpoint.induction, checkpoint.previous_token):
            if len(grid) != history.n_layers or any(len(row) != history.n_heads for row in grid):
                raise ValueError("grids that do not fit its shape")


def phase_change(history: History) -> int | None:
    """Index of the checkpoint at which the second-copy loss has fallen fastest per log training token.

    None where no induction head formed: no head's score reaches :data:`induction.analysis.kinds.STRIPE`, or the loss
    never falls by more than half a nat in all. A loss that both copies share falls without any such head.
    """
    best = max(max(max(row) for row in checkpoint.induction) for checkpoint in history.checkpoints)
    losses = [checkpoint.second_copy_loss for checkpoint in history.checkpoints]
    if best < STRIPE or max(losses) - min(losses) < 0.5:
        return None
    logs = [math.log(max(checkpoint.tokens, 1)) for checkpoint in history.checkpoints]
    started = [i for i in range(1, len(losses)) if history.checkpoints[i - 1].tokens > 0]
    return min(started, key=lambda i: (losses[i] - losses[i - 1]) / (logs[i] - logs[i - 1]), default=None)


@cache
def bundled_histories() -> dict[str, History]:
    """Every history that comes with the package, by model."""
    return {history.model: history for history in read_folder(FOLDER, from_json)}
