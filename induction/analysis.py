"""Scan a model: every score of every head, in few forward passes and bounded memory.

Each attention pattern is reduced to the cells that the scores ask for inside the hook that sees it, and
the unembedding is computed only where the loss is wanted, a slice at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from induction import __version__
from induction.data_gen import Batch, Passage, RepeatedSequence, passage, repeated_batch
from induction.errors import InputError
from induction.model import name_of, origin
from induction.progress import Progress, finish
from induction.results import HeadScores, RepeatLoss, Scan
from induction.scores import SCORES, Score, cells
from induction.statistics import bootstrap_interval

if TYPE_CHECKING:
    import torch
    from transformer_lens.model_bridge import TransformerBridge

DEFAULT_SCORES = tuple(name for name, score in SCORES.items() if score.copies == 2)
OLSSON_LENGTH = 25
BATCH_BYTES = 1 << 30  # attention of one layer, with its copies, that a batch may hold
BATCH_FLOP = 2e11  # about a second on two cores: progress moves and a cancel is heard
LOSS_BYTES = 1 << 28
DIGITS = 5


@cache
def _versions() -> dict[str, str]:  # reading a package's metadata takes milliseconds
    packages = ("torch", "transformer_lens", "transformers", "numpy")
    return {"induction": __version__, **{package: version(package) for package in packages}}


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return dict(_versions())


def scan(
    model: TransformerBridge,
    *,
    n_prompts: int = 10,
    vocab: str = "random",
    length: int | None = None,
    seed: int = 0,
    scores: Sequence[str] = DEFAULT_SCORES,
    loss: bool = True,
    on_progress: Callable[[Progress[Scan]], None] | None = None,
) -> Scan:
    """Score every head on repeated sequences; see :func:`iter_scan` for the arguments."""
    steps = iter_scan(
        model, n_prompts=n_prompts, vocab=vocab, length=length, seed=seed, scores=scores, loss=loss
    )
    return finish(steps, on_progress)


def iter_scan(
    model: TransformerBridge,
    *,
    n_prompts: int = 10,
    vocab: str = "random",
    length: int | None = None,
    seed: int = 0,
    scores: Sequence[str] = DEFAULT_SCORES,
    loss: bool = True,
) -> Generator[Progress[Scan], None, None]:
    """Score every head on ``[BOS] r1..rL r1..rL`` prompts of varied L, a batch of prompts per step.

    Args:
        length: mean L (default 50, less for small token sets); L varies by a fifth around it.
        vocab: a token set of :data:`induction.data_gen.TOKEN_SETS`.
        scores: names from :data:`induction.scores.SCORES`. ``prefix_matching`` adds a second set of prompts,
            Olsson's 25 tokens times 4.
        loss: also measure the loss on both copies, which costs an unembedding.

    Yields:
        Progress; the last step carries the :class:`~induction.results.Scan`. Closing cancels.

    Raises:
        InputError: unknown score or token set, a count out of range, prompts longer than the context.
    """
    unknown = [name for name in scores if name not in SCORES]
    if unknown or not scores:
        raise InputError(f"There is no score '{', '.join(unknown)}'; choose from {', '.join(SCORES)}.")
    start = time.perf_counter()
    batch = repeated_batch(model, n_prompts=n_prompts, length=length, vocab=vocab, seed=seed)
    work = [(batch, tuple(name for name in scores if SCORES[name].copies == 2), loss)]
    four = tuple(name for name in scores if SCORES[name].copies == 4)
    if four:
        olsson = repeated_batch(
            model, n_prompts=n_prompts, length=OLSSON_LENGTH, vocab=vocab, seed=seed, copies=4, spread=0
        )
        work.append((olsson, four, False))

    total = n_prompts * len(work)
    measured: dict[str, HeadScores] = {}
    repeat_loss = None
    done = 0
    for prompts, names, with_loss in work:
        parts = []
        for rows in _batches(model, prompts):
            label = f"prompts {rows.start + 1} to {rows.stop} of {n_prompts}"
            yield Progress(done + rows.start, total, label)
            ids = [prompts.prompt(row) for row in range(rows.start, rows.stop)]
            parts.append(_measure(model, ids, names, with_loss))
        done += n_prompts
        protocol = str(prompts)
        for name in names:
            values = np.concatenate([part.scores[name] for part in parts])  # [prompt, layer, head]
            chances = np.concatenate([part.chance[name] for part in parts])  # [prompt]
            measured[name] = _head_scores(values, chances, protocol, seed)
        if with_loss:
            nll = [row for part in parts for row in part.nll]
            repeat_loss = _repeat_loss(nll, prompts, protocol)
    result = Scan(
        model=name_of(model),
        n_layers=model.cfg.n_layers,
        n_heads=model.cfg.n_heads,
        kind="computed",
        origin=origin(model),
        scores={name: measured[name] for name in scores},
        loss=repeat_loss,
        seed=seed,
        seconds=round(time.perf_counter() - start, 2),
        versions=versions(),
    )
    yield Progress(total, total, "done", result)


def get_top_induction_heads(
    model: TransformerBridge,
    vocab_name: str = "letters",
    n_prompts: int = 10,
    *,
    top_k: int = 10,
    seed: int = 0,
) -> list[tuple[int, int, float]]:
    """``(layer, head, induction score)`` of the ``top_k`` heads, highest first."""
    found = scan(model, vocab=vocab_name, n_prompts=n_prompts, seed=seed, scores=("induction",), loss=False)
    return found.ranked("induction")[:top_k]


def analyze_induction_heads(
    model: TransformerBridge, prompt: str | Passage | RepeatedSequence | Sequence[int]
) -> Scan:
    """Score every head on one prompt in which something repeats.

    Args:
        prompt: a text, a generated prompt, or token ids ``[pos]``.

    Returns:
        A scan of one prompt, without intervals; scores that the prompt cannot show are absent.

    Raises:
        InputError: no token of the prompt comes twice with one in between, or it exceeds the context.
    """
    if isinstance(prompt, str):
        prompt = passage(model, prompt)
    if isinstance(prompt, RepeatedSequence):
        prompt = prompt.ids(model)
    ids = np.asarray(prompt.ids if isinstance(prompt, Passage) else prompt, dtype=np.int64)
    if ids.ndim != 1 or len(ids) < 2 or len(ids) > model.cfg.n_ctx:
        raise InputError(f"A prompt has 2 to {model.cfg.n_ctx} tokens in this model, not {ids.size}.")
    if ids.min() < 0 or ids.max() >= model.cfg.d_vocab:
        raise InputError(f"Token ids run from 0 to {model.cfg.d_vocab - 1} in this model.")
    names = tuple(name for name, score in SCORES.items() if cells(score, ids)[2])
    if "induction" not in names:
        raise InputError(
            "Nothing repeats in this prompt, so no head can show induction; repeat a part of it."
        )
    start = time.perf_counter()
    part = _measure(model, [ids], names, loss=False)
    protocol = f"one prompt of {len(ids)} tokens"
    return Scan(
        model=name_of(model),
        n_layers=model.cfg.n_layers,
        n_heads=model.cfg.n_heads,
        kind="computed",
        origin=origin(model),
        scores={name: _head_scores(part.scores[name], part.chance[name], protocol, 0) for name in names},
        seconds=round(time.perf_counter() - start, 2),
        versions=versions(),
    )


@dataclass
class _Part:
    """What one batch of prompts measured."""

    scores: dict[str, NDArray[np.float64]]  # name -> [prompt, layer, head]
    chance: dict[str, NDArray[np.float64]]  # name -> [prompt]
    nll: list[NDArray[np.float64]]  # one [pos - 1] per prompt, nats; empty without loss


def _batches(model: TransformerBridge, batch: Batch) -> list[slice]:
    """Rows that run together: as many as fit the memory and the patience for one step."""
    width = max(batch.lengths)
    attention = 4 * 4 * model.cfg.n_heads * width**2  # scores, mask, softmax, pattern in fp32
    flop = 2 * 12 * model.cfg.n_layers * model.cfg.d_model**2 * width
    size = int(max(1, min(BATCH_BYTES // attention, BATCH_FLOP // flop)))
    n = len(batch.lengths)
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _measure(
    model: TransformerBridge, prompts: list[NDArray[np.int64]], names: tuple[str, ...], loss: bool
) -> _Part:
    """One forward pass over prompts of any lengths, padded on the right."""
    import torch

    width = max(len(ids) for ids in prompts)
    padded = np.stack([np.pad(ids, (0, width - len(ids)), mode="edge") for ids in prompts])
    tokens = torch.as_tensor(padded, device=model.cfg.device)  # [prompt, pos]
    pick, chance = _cells_of([SCORES[name] for name in names], prompts)
    row, query, key, segment = (torch.as_tensor(index, device=tokens.device) for index in pick[:4])
    weight = torch.as_tensor(pick[4], device=tokens.device)[:, None]  # [cell, 1]
    sums = torch.zeros(
        (model.cfg.n_layers, len(names) * len(prompts), model.cfg.n_heads), dtype=torch.float64
    )  # [layer, score * prompt, head]
    final: list[torch.Tensor] = []

    def reduce(pattern: torch.Tensor, hook: Any) -> None:  # [prompt, head, query, key]
        values = pattern[row, :, query, key].double() * weight  # [cell, head]
        total = torch.zeros(sums.shape[1:], dtype=torch.float64, device=pattern.device)
        sums[int(hook.name.split(".")[1])] = total.index_add_(0, segment, values).cpu()

    def cut(normed: torch.Tensor, hook: Any) -> torch.Tensor:  # [prompt, pos, d_model]
        if loss:
            final.append(normed)
        return normed[:, :1]  # the model's own unembedding then costs one position

    hooks = [(f"blocks.{layer}.attn.hook_pattern", reduce) for layer in range(model.cfg.n_layers)]
    with torch.inference_mode():
        model.run_with_hooks(tokens, fwd_hooks=[*hooks, ("unembed.hook_in", cut)], return_type=None)
        nll = _loss(model, final[0], tokens) if loss else []
    shape = (model.cfg.n_layers, len(names), len(prompts), model.cfg.n_heads)
    table = sums.view(shape).permute(1, 2, 0, 3).numpy()  # [score, prompt, layer, head]
    return _Part(
        dict(zip(names, table, strict=True)),
        dict(zip(names, chance, strict=True)),
        [values[: len(ids) - 1] for values, ids in zip(nll, prompts, strict=True)] if loss else [],
    )


def _cells_of(
    scores: list[Score], prompts: list[NDArray[np.int64]]
) -> tuple[list[NDArray[Any]], NDArray[np.float64]]:
    """The cells of all scores on all prompts as flat index arrays, and each score's chance on each prompt.

    Returns:
        ``[row, query, key, segment, weight]``, each ``[cell]``, where segment = score * n_prompts + row and
        weight = 1 / denominator; and chance ``[score, prompt]``.
    """
    parts: list[list[NDArray[Any]]] = []
    chance = np.zeros((len(scores), len(prompts)))
    for s, score in enumerate(scores):
        for row, ids in enumerate(prompts):
            query, key, denominator = cells(score, ids)
            same = np.ones(len(query))
            segment = s * len(prompts) + row
            parts.append([row * same, query, key, segment * same, same / max(denominator, 1)])
            chance[s, row] = (1 / (query + 1)).sum() / max(denominator, 1)
    row, query, key, segment, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    return [*(index.astype(np.int64) for index in (row, query, key, segment)), weight], chance


def _loss(model: TransformerBridge, normed: torch.Tensor, tokens: torch.Tensor) -> NDArray[np.float64]:
    """Loss on each token given those before it, in nats: ``[prompt, pos - 1]``."""
    import torch

    flat, targets = normed[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
    size = max(1, LOSS_BYTES // (2 * 4 * model.cfg.d_vocab))
    parts = []
    for start in range(0, len(flat), size):
        logits = model.unembed(flat[None, start : start + size])[0].float()  # [slice, d_vocab]
        parts.append(
            torch.nn.functional.cross_entropy(logits, targets[start : start + size], reduction="none")
        )
    return torch.cat(parts).view(tokens.shape[0], -1).double().cpu().numpy()


def _head_scores(
    values: NDArray[np.float64], chances: NDArray[np.float64], protocol: str, seed: int
) -> HeadScores:
    """Mean and interval over prompts; ``values`` ``[prompt, layer, head]``."""
    several = len(values) > 1
    low, high = bootstrap_interval(values, seed) if several else (None, None)
    return HeadScores(
        mean=_rounded(values.mean(0)),
        low=_rounded(low) if low is not None else None,
        high=_rounded(high) if high is not None else None,
        per_prompt=_rounded(values),
        chance=round(float(chances.mean()), DIGITS),
        protocol=protocol,
    )


def _rounded(values: NDArray[np.float64]) -> list[Any]:
    return np.round(values, DIGITS).tolist()


def _repeat_loss(nll: list[NDArray[np.float64]], batch: Batch, protocol: str) -> RepeatLoss:
    """Mean loss by index in the copy, as far as the shortest prompt goes."""
    shortest = min(batch.periods)
    offset = 0 if batch.has_bos else -1  # without BOS nothing predicts the first token
    first, second = [], []
    for values, period in zip(nll, batch.periods, strict=True):
        copy = np.concatenate([[np.nan], values]) if offset else values
        first.append(copy[:shortest])
        second.append(copy[period : period + shortest])
    curves = [np.round(np.mean(copy, axis=0), DIGITS).tolist() for copy in (first, second)]
    if offset:
        curves[0][0] = None
    return RepeatLoss(first=curves[0], second=curves[1], protocol=f"{protocol}; nats")
