"""Greedy continuations of many edited texts at once: a batch of one new token per step, keys and values kept."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from induction.base import InputError
from induction.model.anatomy import near
from induction.patching.sweep import Edit, Texts, edit_hooks, logits_from, record

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class Said:
    """What was said.

    Attributes:
        tokens, probabilities: ``[row, new pos]``.
        first: logits at the end of the prompts ``[row, d_vocab]``.
        direct: whether it was computed from the parts of the model.
    """

    tokens: torch.Tensor
    probabilities: torch.Tensor
    first: torch.Tensor
    direct: bool


def iter_greedy(
    model: TransformerBridge, tokens: torch.Tensor, edits: dict[int, Edit], n_new: int
) -> Generator[int, None, Said]:
    """The most likely token after each text, again and again; an end token does not end it.

    Args:
        tokens: ``[row, pos]``, or one row that all edits start from.
        edits: by layer, whose values have ``pos + n_new`` positions.

    Yields:
        how many tokens were said. Returns what was said.

    Raises:
        InputError: prompt and continuation exceed the model's context.
    """
    n_rows = len(next(iter(edits.values())).mask)
    if (length := tokens.shape[1] + n_new) > model.cfg.n_ctx:
        raise InputError(
            f"Prompt and continuation have {length} tokens and the model's context is {model.cfg.n_ctx}; shorten them."
        )
    run = record(model, tuple(tokens[0].tolist()))
    if run.direct:
        said = yield from _steps(model, tokens, Texts(tokens, edits, run.readout), edits, n_rows, n_new)
        last = torch.cat([tokens.expand(n_rows, -1), said.tokens[:, :-1]], 1)[-1:]  # [1, pos] of the last row
        of_last = {layer: edit.of_rows(slice(n_rows - 1, n_rows)) for layer, edit in edits.items()}
        expected = _hooked(model, last, of_last).softmax(-1).max()
        if near(said.probabilities[-1, -1], expected):  # else the model does something else with what is kept
            return said
    return (yield from _steps(model, tokens, None, edits, n_rows, n_new))


def _steps(
    model: TransformerBridge,
    tokens: torch.Tensor,
    texts: Texts | None,
    edits: dict[int, Edit],
    n_rows: int,
    n_new: int,
) -> Generator[int, None, Said]:
    """Token by token from what is kept, or without ``texts`` from whole runs with hooks."""
    new, likely, first = [], [], None
    whole = tokens.expand(n_rows, -1)  # [row, pos]
    for step in range(n_new):
        logits = _hooked(model, whole, edits) if texts is None else texts.next_logits(model)
        logits = logits.expand(n_rows, -1)  # [row, d_vocab]
        first = logits if first is None else first
        best = logits.softmax(-1).max(-1)
        new.append(best.indices)
        likely.append(best.values)
        whole = torch.cat([whole, best.indices[:, None]], 1)
        if texts is not None:
            texts.tokens = whole
        yield step + 1
    assert first is not None  # n_new is 1 or more
    return Said(torch.stack(new, 1), torch.stack(likely, 1), first, texts is not None)


def _hooked(model: TransformerBridge, tokens: torch.Tensor, edits: dict[int, Edit]) -> torch.Tensor:
    """Logits at the ends ``[row, d_vocab]`` from a whole run with hooks."""
    n_pos = tokens.shape[1]
    cut: dict[int, Any] = {
        layer: Edit(edit.component, edit.mask, edit.values[:, :n_pos]) for layer, edit in edits.items()
    }
    hooks = [hook for layer, edit in cut.items() for hook in edit_hooks(model, layer, edit)]
    with torch.no_grad():
        return logits_from(model, tokens, hooks, -1)[:, -1]
