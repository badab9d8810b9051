"""How well a repeated list is said again, by how far back it was."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from induction.base import InputError, Progress, finished
from induction.behaviour.results import Recall
from induction.behaviour.variants import DIGITS, Variants, about, curve_of, iter_reference, measured
from induction.data_gen.sequences import Batch, repeated_batch
from induction.model.tokens import bos_id
from induction.patching.ablation import Reference
from induction.patching.interventions import AblationKind
from induction.patching.sweep import MAX_BYTES, record
from induction.patching.table import Prompt, Row, Table

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

SHORTEST = 4
COPIES = 2  # measures: mean probability in the first and in the second copy


def lags_of(model: TransformerBridge, longest: int) -> list[int]:
    """4, 8, 16, … up to ``longest``, as far as two copies fit into the context.

    Raises:
        InputError: none fits.
    """
    room = (model.cfg.n_ctx - (bos_id(model) is not None)) // 2
    lags = [lag for lag in (SHORTEST << at for at in range(24)) if lag <= min(longest, room)]
    if not lags:
        raise InputError(
            f"Two copies of {SHORTEST} tokens are the least; there is room for {min(longest, room)} here."
        )
    return lags


def iter_recall(
    model: TransformerBridge,
    variants: Variants,
    *,
    longest: int = 64,
    n_prompts: int = 10,
    kind: AblationKind = "mean",
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
) -> Generator[Progress[Recall], None, None]:
    """Probability of the true successor of each token of a list that comes again, its last token left out.

    Args:
        longest: list; there are lists of 4, 8, 16, … tokens.
        n_prompts: lists of each length, of distinct random tokens.
        seed: of lists and reference set.

    Yields:
        Progress; the last step carries the result. Closing cancels.

    Raises:
        InputError: a count out of range, or no list fits.
    """
    started = time.perf_counter()
    lags = lags_of(model, longest)
    lists = {"n_prompts": n_prompts, "spread": 0.0}
    batches = [repeated_batch(model, length=lag, seed=seed + at, **lists) for at, lag in enumerate(lags)]
    reference = yield from iter_reference(model, max(batches[-1].lengths), kind, seed=seed)
    prompts = [
        partial(_prompt, model, batch, index, at, reference, kind)
        for at, batch in enumerate(batches)
        for index in range(n_prompts)
    ]
    rows = [Row(heads) for heads in variants.sets]
    n_measures = COPIES * len(lags)
    table = Table(model, "z", rows, prompts, n_plain=1, n_measures=n_measures, max_bytes=max_bytes)
    for label, _, _ in table.fill():
        yield Progress(table.done, table.total, label)
    result = Recall(
        **about(model, variants, kind, reference, seed),
        protocol=f"{n_prompts} lists of each length, {lags[0]} to {lags[-1]} distinct random tokens, said twice"
        f"{_left_out(lags, longest)}; probability of the next token of the second copy; {variants.words()}",
        engine=table.engine,
        lags=lags,
        n_prompts=n_prompts,
        **_found(_by_lag(table.plain, len(lags)), _by_lag(table.edited, len(lags)), variants),
        seconds=round(time.perf_counter() - started, 2),
    )
    yield Progress(table.total, table.total, "done", result)


recall = finished(iter_recall)


def _prompt(
    model: TransformerBridge, batch: Batch, index: int, at: int, reference: Reference, kind: AblationKind
) -> Prompt:
    run = record(model, tuple(batch.prompt(index).tolist()))
    measure = partial(_probabilities, tokens=run.tokens[0], period=batch.periods[index])
    with torch.no_grad():
        plain = measure(model(run.tokens))
    values = reference.values(kind, index, run.n_pos)
    label = f"lag {batch.periods[index]}, list {index + 1} of {len(batch.periods)}"
    return Prompt(label, run, values, measure, plain, every_position=True, column=COPIES * at)


def _probabilities(logits: torch.Tensor, tokens: torch.Tensor, period: int) -> NDArray[np.float64]:
    """Mean probability of the true token in the first and the second copy, their first tokens left out.

    Args:
        logits: ``[row, pos, d_vocab]``.
        tokens: ``[pos]``, two copies after an optional BOS.

    Returns:
        ``[row, copy]``.
    """
    start = len(tokens) - COPIES * period
    found = []
    for copy in range(COPIES):
        at = slice(start + copy * period, start + (copy + 1) * period - 1)  # from each token to the next
        targets = tokens[at.start + 1 : at.stop + 1]
        true = logits[:, at].softmax(-1).gather(-1, targets[None, :, None].expand(len(logits), -1, -1))
        found.append(true[..., 0].double().mean(1))  # [row]
    return torch.stack(found, 1).cpu().numpy()


def _by_lag(values: NDArray[np.float64], n_lags: int) -> NDArray[np.float64]:
    """``[row, prompt of all lags, measure]``, NaN for other lags, as ``[row, copy, prompt of a lag, lag]``."""
    rows = values.reshape(len(values), n_lags, -1, n_lags, COPIES)  # [row, lag, prompt, lag, copy]
    own = np.stack([rows[:, lag, :, lag] for lag in range(n_lags)], 2)  # [row, prompt, lag, copy]
    return np.moveaxis(own, -1, 1)


def _found(plain: NDArray[np.float64], edited: NDArray[np.float64], variants: Variants) -> dict:
    """Fields of the result; arrays are ``[row, copy, prompt, lag]``."""
    second, controls = edited[:, 1], edited[variants.of_random, 1]  # [set, prompt, lag]
    by_set = controls.mean(1).round(DIGITS)  # [set, lag]
    there = len(controls) > 0
    return {
        "first": curve_of(plain[0, 0]),
        "intact": curve_of(plain[0, 1]),
        "without": curve_of(second[0]),
        "random": curve_of(controls.mean(0)) if there else None,
        "random_low": by_set.min(0).tolist() if there else None,
        "random_high": by_set.max(0).tolist() if there else None,
        "overall": measured("recall", plain[0, 1].mean(-1), second.mean(-1), variants),
    }


def _left_out(lags: Sequence[int], longest: int) -> str:
    return " (no longer ones fit into the context)" if 2 * lags[-1] <= longest else ""
