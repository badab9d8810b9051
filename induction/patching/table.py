"""The one loop behind every experiment on heads: prompts x rows of edits -> a table of measures.

A prompt brings its plain run, what activations are replaced by and how logits are measured (:class:`Prompt`); a row
names the heads that are replaced together (:class:`Row`). Rows are run by their lowest layer, the last layer first, in
batches: a row costs nothing below its lowest layer (:mod:`induction.patching.sweep`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from induction.base import Head
from induction.patching.interventions import COMPONENTS, Component
from induction.patching.sweep import Edit, Run, run_rows

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


class Row(NamedTuple):
    """Heads (groups, where they share what is replaced) that are edited together, at one position or at all."""

    heads: tuple[Head, ...]
    position: int | None = None


@dataclass(frozen=True)
class Prompt:
    """A plain run that is edited.

    Attributes:
        label: of it, for progress.
        values: per layer, the replacement, shaped as in :class:`induction.patching.sweep.Edit`.
        measure: of logits ``[row, d_vocab]`` (``[row, pos, d_vocab]`` of the positions from the first edited
            one on with ``every_position``) ``[row, measure]``.
        plain: measures of the unedited runs ``[run, measure]``.
        start: the first position that an edit can change.
        column: of the table where its measures begin.
    """

    label: str
    run: Run
    values: Sequence[torch.Tensor]
    measure: Callable[[torch.Tensor], NDArray[np.float64]]
    plain: NDArray[np.float64]
    start: int = 0
    every_position: bool = False
    column: int = 0


class Filled(NamedTuple):
    """A batch of rows of one prompt was measured; ``whole``: its layer is done."""

    label: str
    layer: int
    whole: bool


@dataclass
class Table:
    """Measures of every row on every prompt, NaN where there is none (yet).

    Attributes:
        prompts: each made when its turn comes.
        n_plain, n_measures: of every prompt.
        max_bytes: activations that a batch of rows may hold.
        edited: ``[row, prompt, measure]``.
        plain: ``[plain run, prompt, measure]``.
        done, total: rows of all prompts.
        direct: whether every run was computed from the parts of the model.
    """

    model: TransformerBridge
    component: Component
    rows: Sequence[Row]
    prompts: Sequence[Callable[[], Prompt]]
    n_plain: int
    n_measures: int
    max_bytes: int
    done: int = 0
    direct: bool = True

    def __post_init__(self) -> None:
        self.edited = np.full((len(self.rows), len(self.prompts), self.n_measures), np.nan)
        self.plain = np.full((self.n_plain, len(self.prompts), self.n_measures), np.nan)
        self.total = len(self.rows) * len(self.prompts)

    @property
    def engine(self) -> str:
        return "direct" if self.direct else "hooked"

    def fill(self) -> Iterator[Filled]:
        """Run all rows of one prompt after the other, a batch per step; the last batch is no step of its own."""
        together: dict[tuple[int, int], list[int]] = {}  # by minus the lowest layer and position, -1 for all
        for index, row in enumerate(self.rows):
            lowest = min(layer for layer, _ in row.heads)
            together.setdefault((-lowest, -1 if row.position is None else row.position), []).append(index)
        for number, prepare in enumerate(self.prompts):
            prompt = prepare()
            self.direct = self.direct and prompt.run.direct
            columns = slice(prompt.column, prompt.column + prompt.plain.shape[1])
            self.plain[:, number, columns] = prompt.plain
            left = Counter(-key[0] for key, indices in together.items() for _ in indices)
            for (below, position), indices in sorted(together.items()):
                for which, measured in self._measured(prompt, indices, position):
                    self.edited[which, number, columns] = measured
                    self.done += len(which)
                    left[-below] -= len(which)
                    if self.done < self.total:
                        yield Filled(prompt.label, -below, not left[-below])

    def _measured(
        self, prompt: Prompt, indices: list[int], position: int
    ) -> Iterator[tuple[list[int], NDArray[np.float64]]]:
        """Measures of rows that start in one layer and at one position: ``(indices, [row, measure])``."""
        run = prompt.run
        if 0 <= position < prompt.start:  # there is nothing to copy that is not there already
            yield indices, prompt.measure(run.logits[None])
            return
        edits = _edits([self.rows[index] for index in indices], run, self.component, prompt.values)
        limits = {"start": max(position, prompt.start), "max_bytes": self.max_bytes}
        done = 0
        for logits in run_rows(
            self.model, run, edits, n_rows=len(indices), every_position=prompt.every_position, **limits
        ):
            yield indices[done : done + len(logits)], prompt.measure(logits)
            done += len(logits)


def _edits(
    rows: Sequence[Row], run: Run, component: Component, values: Sequence[torch.Tensor]
) -> dict[int, Edit]:
    """The edits of all rows, by layer; rows are edited at one position each, or all at all positions."""
    n_pos = 1 if rows[0].position is None else run.n_pos
    masks: dict[int, NDArray[np.bool_]] = {}  # [row, pos or 1, head]
    for number, row in enumerate(rows):
        for layer, head in row.heads:
            if layer not in masks:
                n_heads = values[layer].shape[COMPONENTS[component].head_axis]
                masks[layer] = np.zeros((len(rows), n_pos, n_heads), dtype=bool)
            masks[layer][number, row.position or 0, head] = True
    device = run.tokens.device
    return {
        layer: Edit(component, torch.as_tensor(mask, device=device), values[layer])
        for layer, mask in masks.items()
    }
