"""How heads form: figures measured at checkpoints of a training run. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import Field

from induction.analysis.kinds import STRIPE
from induction.base import Grid, Number, Part, Result, check_shape

SCORES = ("induction", "previous_token")


class Checkpoint(Part):
    """What was measured after ``tokens`` training tokens; losses in nats, scores ``[layer][head]``."""

    step: int
    tokens: int
    prose_loss: Number | None
    first_copy_loss: Number
    second_copy_loss: Number
    induction: Grid
    previous_token: Grid


class History(Result):
    """The checkpoints of one run, oldest first.

    Attributes:
        data: what it was trained on, in words.
    """

    SCHEMA: ClassVar[str] = "induction-history/1"

    protocol: str
    data: str = ""
    checkpoints: Annotated[list[Checkpoint], Field(min_length=1)]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per checkpoint: losses, then both scores of every head."""
        heads = [(layer, head) for layer in range(self.n_layers) for head in range(self.n_heads)]
        for point in self.checkpoints:
            numbers = {name: getattr(point, name) for name in Checkpoint.model_fields if name not in SCORES}
            scores = {f"{s}_{a}.{b}": getattr(point, s)[a][b] for s in SCORES for a, b in heads}
            yield numbers | scores

    def heading(self) -> list[str]:
        return [f"{self.model}: {self.origin}", self.protocol]

    def listing(self, by: str = "", top: int = 10) -> Iterator[dict[str, Any]]:
        """One row per checkpoint, with the highest head of each score."""
        for point in self.checkpoints:
            shown = {"step": f"{point.step:,}", "tokens": f"{point.tokens:,}"}
            shown |= {
                "first copy": f"{point.first_copy_loss:.2f}",
                "second copy": f"{point.second_copy_loss:.2f}",
            }
            for name in SCORES:
                grid = getattr(point, name)
                value, layer, head = max((v, a, b) for a, row in enumerate(grid) for b, v in enumerate(row))
                shown[name.replace("_", " ")] = f"{layer}.{head} {value:.2f}"
            yield shown

    def verdict(self) -> str:
        """Whether and when induction heads formed."""
        change = phase_change(self)
        if change is None:
            return "No sudden change: no induction head formed, or the loss on the second copy hardly fell."
        before, after = self.checkpoints[change - 1], self.checkpoints[change]
        return (
            f"The loss on the second copy falls fastest between step {before.step:,} and {after.step:,}: from "
            f"{before.second_copy_loss:.2f} to {after.second_copy_loss:.2f} nats per token."
        )

    def check(self) -> None:
        tokens = [point.tokens for point in self.checkpoints]
        if tokens != sorted(set(tokens)):
            raise ValueError("no checkpoints in the order of training")
        for point in self.checkpoints:
            for name in SCORES:
                check_shape(name, getattr(point, name), self.n_layers, self.n_heads)


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
