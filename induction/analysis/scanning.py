"""Scan a model: every score of every head, in few forward passes and bounded memory.

Each attention pattern is reduced to the cells that the scores ask for inside the hook that sees it. Losses come from
the logits that the model itself puts out, soft cap and scale included; where none is wanted, only one position is
unembedded.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from induction.analysis.result import DIGITS, HeadScores, RepeatLoss, Scan
from induction.analysis.scores import OLSSON_LENGTH, SCORES, Cells, Score, cells
from induction.base import InputError, Progress, check_choice, finished, mean_interval
from induction.data_gen.sequences import Batch, Passage, RepeatedSequence, passage, repeated_batch
from induction.model import provenance
from induction.model.tokens import check_ids

if TYPE_CHECKING:
    import torch
    from transformer_lens.model_bridge import TransformerBridge

DEFAULT_SCORES = tuple(name for name, score in SCORES.items() if score.copies == 2)
BATCH_BYTES = 1 << 30  # attention of one layer and logits, with their copies, that a batch may hold
BATCH_FLOP = 2e11  # about a second on two cores: progress moves and a cancel is heard


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
        scores: names from :data:`induction.analysis.scores.SCORES`. ``prefix_matching`` adds a second set of prompts,
            Olsson's 25 tokens times 4, each the mean of three sequences.
        loss: also measure the loss on both copies (of the prompts of two), which costs an unembedding.

    Yields:
        Progress; the last step carries the :class:`~induction.analysis.result.Scan`. Closing cancels.

    Raises:
        InputError: unknown score or token set, a count out of range, prompts longer than the context.
    """
    if not scores:
        raise InputError(f"A scan measures at least one score; choose one of {', '.join(SCORES)}.")
    for name in scores:
        check_choice(name, tuple(SCORES), "score")
    start = time.perf_counter()
    batches: dict[int, Batch] = {}  # by the number of copies
    draw = partial(repeated_batch, model, vocab=vocab, seed=seed)
    if loss or any(SCORES[name].copies == 2 for name in scores):
        batches[2] = draw(n_prompts=n_prompts, length=length)
    if any(SCORES[name].copies == 4 for name in scores):
        sequences = max(SCORES[name].sequences for name in scores)
        batches[4] = draw(n_prompts=n_prompts * sequences, length=OLSSON_LENGTH, copies=4, spread=0)
    total = sum(len(batch.lengths) for batch in batches.values())
    measured: dict[str, HeadScores] = {}
    repeat_loss = None
    done = 0
    for copies, batch in batches.items():
        names = tuple(name for name in scores if SCORES[name].copies == copies)
        with_loss = loss and copies == 2
        prompts = [batch.prompt(row) for row in range(len(batch.lengths))]
        parts = []
        for rows in _batches(model, batch, with_loss):
            what = "prompts" if len(prompts) == n_prompts else "sequences"
            label = f"{what} {rows.start + 1} to {rows.stop} of {len(prompts)}"
            yield Progress(done + rows.start, total, label)
            parts.append(_measure(model, prompts[rows], names, with_loss))
        done += len(prompts)
        measured |= _head_scores(names, prompts, parts, str(batch), together=len(prompts) // n_prompts)
        if with_loss:
            repeat_loss = _repeat_loss([row for part in parts for row in part.nll], batch, str(batch))
    result = Scan(
        **provenance(model),
        kind="computed",
        scores={name: measured[name] for name in scores},
        loss=repeat_loss,
        seed=seed,
        seconds=round(time.perf_counter() - start, 2),
    )
    yield Progress(total, total, "done", result)


scan = finished(iter_scan)


def get_top_induction_heads(
    model: TransformerBridge,
    vocab_name: str = "letters",
    n_prompts: int = 10,
    *,
    top_k: int = 10,
    seed: int = 0,
) -> list[tuple[int, int, float]]:
    """``(layer, head, induction score)`` of the ``top_k`` heads, highest first.

    Raises:
        InputError: ``top_k`` is below 1, or what :func:`iter_scan` refuses.
    """
    if top_k < 1:
        raise InputError(f"top_k counts heads: give 1 or more, not {top_k}.")
    found = scan(model, vocab=vocab_name, n_prompts=n_prompts, seed=seed, scores=("induction",), loss=False)
    return found.ranked("induction")[:top_k]


def analyze_induction_heads(
    model: TransformerBridge, prompt: str | Passage | RepeatedSequence | Sequence[int]
) -> Scan:
    """Score every head on one prompt in which something repeats.

    Args:
        prompt: a text, a generated prompt, or token ids ``[pos]``.

    Returns:
        A scan of one prompt, without intervals; scores that the prompt cannot show are absent. Read each score
        against its ``ceiling`` on this prompt, and see :func:`induction.analysis.reading.remarks`.

    Raises:
        InputError: no token of the prompt comes twice with one in between, or it exceeds the context.
    """
    if isinstance(prompt, str):
        prompt = passage(model, prompt)
    if isinstance(prompt, RepeatedSequence):
        prompt = prompt.ids(model)
    ids = np.asarray(prompt.ids if isinstance(prompt, Passage) else prompt, dtype=np.int64)
    if ids.ndim != 1:
        raise InputError("Give the token ids of one prompt as a flat list.")
    check_ids(model, ids)
    names = tuple(name for name, score in SCORES.items() if cells(score, ids).denominator)
    if "induction" not in names:
        raise InputError(
            "Nothing repeats in this prompt, so no head can show induction; repeat a part of it."
        )
    start = time.perf_counter()
    part = _measure(model, [ids], names, loss=False)
    protocol = f"one prompt of {len(ids)} tokens"
    return Scan(
        **provenance(model),
        kind="computed",
        scores=_head_scores(names, [ids], [part], protocol),
        seconds=round(time.perf_counter() - start, 2),
    )


@dataclass
class _Part:
    """What one batch of prompts measured."""

    scores: dict[str, NDArray[np.float64]]  # name -> [prompt, layer, head]
    reach: dict[str, NDArray[np.float64]]  # name -> [prompt, layer], the most that a head there can score
    nll: list[NDArray[np.float64]]  # one [pos - 1] per prompt, nats; empty without loss


def _batches(model: TransformerBridge, batch: Batch, loss: bool) -> list[slice]:
    """Rows that run together."""
    size, n = rows_at_once(model, max(batch.lengths), loss), len(batch.lengths)
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def rows_at_once(model: TransformerBridge, width: int, loss: bool) -> int:
    """How many prompts of so many tokens run together: as many as fit the memory and the patience for one step."""
    attention = 4 * 4 * model.cfg.n_heads * width**2  # scores, mask, softmax, pattern in fp32
    # Logits as they come, capped, and of one prompt for the loss.
    logits = 4 * 4 * model.cfg.d_vocab * width if loss else 0
    flop = 2 * 12 * model.cfg.n_layers * model.cfg.d_model**2 * width
    return int(max(1, min(BATCH_BYTES // (attention + logits), BATCH_FLOP // flop)))


def _measure(
    model: TransformerBridge, prompts: list[NDArray[np.int64]], names: tuple[str, ...], loss: bool
) -> _Part:
    """One forward pass over prompts of any lengths, padded on the right."""
    import torch

    width = max(len(ids) for ids in prompts)
    padded = np.stack([np.pad(ids, (0, width - len(ids)), mode="edge") for ids in prompts])
    tokens = torch.as_tensor(padded, device=model.cfg.device)  # [prompt, pos]
    asked = _Asked.of([SCORES[name] for name in names], prompts)
    row, query, key, segment, answer = (
        torch.as_tensor(index, device=tokens.device)
        for index in (asked.row, asked.query, asked.key, asked.segment, asked.answer)
    )
    n_segments, n_heads = len(names) * len(prompts), model.cfg.n_heads  # segment: score * n_prompts + prompt
    sums = np.zeros((model.cfg.n_layers, n_segments, n_heads))  # attention at the cells
    answered = np.zeros((model.cfg.n_layers, n_segments))  # queries at whose cells some head looks at all

    def reduce(pattern: torch.Tensor, hook: Any) -> None:  # [prompt, head, query, key]
        layer = int(hook.name.split(".")[1])
        values = pattern[row, :, query, key].double()  # [cell, head]
        total = values.new_zeros(n_segments, n_heads).index_add_(0, segment, values)
        sums[layer] = total.cpu().numpy()
        # Softmax gives exactly 0 only where a mask lets nothing through.
        seen = answer[(values > 0).any(1)].unique()
        answered[layer] = np.bincount(asked.segment_of_answer[seen.cpu().numpy()], minlength=n_segments)

    layers = range(model.cfg.n_layers) if names else ()
    hooks = [(f"blocks.{layer}.attn.hook_pattern", reduce) for layer in layers]
    if not loss:  # the model's own unembedding then costs one position
        hooks.append(("unembed.hook_in", lambda normed, hook: normed[:, :1]))
    with torch.inference_mode():
        logits = model.run_with_hooks(tokens, fwd_hooks=hooks, return_type="logits" if loss else None)
        nll = [_loss(row, ids) for row, ids in zip(logits, prompts, strict=True)] if loss else []
    table = (sums / asked.denominator[:, None]).reshape(model.cfg.n_layers, len(names), len(prompts), n_heads)
    reach = (answered / asked.denominator).reshape(model.cfg.n_layers, len(names), len(prompts))
    return _Part(
        dict(zip(names, table.transpose(1, 2, 0, 3), strict=True)),
        dict(zip(names, reach.transpose(1, 2, 0), strict=True)),
        nll,
    )


@dataclass(frozen=True)
class _Asked:
    """The cells of all scores on all prompts as flat index arrays.

    ``row``, ``query``, ``key``, ``segment`` and ``answer`` are ``[cell]``: a segment is one score on one prompt, an
    answer one query of a segment. ``segment_of_answer`` is ``[answer]``, ``denominator`` ``[segment]``.
    """

    row: NDArray[np.int64]
    query: NDArray[np.int64]
    key: NDArray[np.int64]
    segment: NDArray[np.int64]
    answer: NDArray[np.int64]
    segment_of_answer: NDArray[np.int64]
    denominator: NDArray[np.float64]

    @classmethod
    def of(cls, scores: list[Score], prompts: list[NDArray[np.int64]]) -> _Asked:
        found = [cells(score, ids) for score in scores for ids in prompts]
        sizes = [len(query) for query, _, _ in found]
        none = np.empty(0, dtype=np.int64)
        query = np.concatenate([none, *(query for query, _, _ in found)])
        key = np.concatenate([none, *(key for _, key, _ in found)])
        segment = np.repeat(np.arange(len(found)), sizes)
        width = max(map(len, prompts))
        answers, answer = np.unique(segment * width + query, return_inverse=True)
        denominator = np.array([max(denominator, 1.0) for _, _, denominator in found])
        return cls(segment % len(prompts), query, key, segment, answer, answers // width, denominator)


def _loss(logits: torch.Tensor, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Loss on each token given those before it, in nats: ``[pos - 1]``.

    Args:
        logits: of one prompt and perhaps of padding behind it, ``[pos or more, d_vocab]``.
    """
    import torch

    targets = torch.as_tensor(ids[1:], device=logits.device)
    nll = torch.nn.functional.cross_entropy(logits[: len(targets)].float(), targets, reduction="none")
    return nll.double().cpu().numpy()


def _head_scores(
    names: tuple[str, ...],
    prompts: list[NDArray[np.int64]],
    parts: list[_Part],
    protocol: str,
    *,
    together: int = 1,
) -> dict[str, HeadScores]:
    """Means and intervals over prompts, and what they can be read against there.

    Args:
        together: so many sequences are averaged to one prompt.
    """
    if together > 1:
        protocol += f", averaged {together} by {together}"
    found = {name: [cells(score, ids) for ids in prompts] for name, score in SCORES.items()}
    measured = {}
    for name in names:
        values = np.concatenate([part.scores[name] for part in parts])  # [sequence, layer, head]
        values = values.reshape(-1, together, *values.shape[1:]).mean(1)  # [prompt, layer, head]
        reach = np.concatenate([part.reach[name] for part in parts])  # [prompt, layer]
        ceiling = float(np.mean([of_prompt.ceiling for of_prompt in found[name]]))
        low = high = None
        if len(values) > 1:
            bounds = mean_interval(values, stratified=SCORES[name].varied)
            low, high = (_rounded(bound.clip(0, ceiling)) for bound in bounds)
        measured[name] = HeadScores(
            mean=_rounded(values.mean(0)),
            low=low,
            high=high,
            per_prompt=_rounded(values),
            chance=round(float(np.mean([of_prompt.chance for of_prompt in found[name]])), DIGITS),
            ceiling=round(ceiling, DIGITS),
            reach=_rounded(reach.mean(0)),
            mimics={} if SCORES[name].by_position else _mimics(name, found),
            protocol=protocol,
        )
    return measured


def _mimics(name: str, found: dict[str, list[Cells]]) -> dict[str, float]:
    """What heads would score that do something else, see :class:`~induction.analysis.result.HeadScores`.

    Args:
        found: the cells of every score on every prompt.
    """
    own = found[name]
    others = {other: found[other] for other, score in SCORES.items() if score.mask is not SCORES[name].mask}
    mimics = {
        other: float(np.mean([mine.overlap(theirs) for mine, theirs in zip(own, there, strict=True)]))
        for other, there in others.items()
    }
    by_distance = [of_prompt.by_distance() for of_prompt in own]
    scored = np.zeros(max(map(len, by_distance)))  # [distance], mean over prompts
    for of_prompt in by_distance:
        scored[: len(of_prompt)] += of_prompt / len(own)
    best = int(scored.argmax())
    mimics[f"{best} back"] = float(scored[best])
    return {what: round(value, DIGITS) for what, value in mimics.items() if value > 0}


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
