"""What each attention score means: one declaration per score, one function that applies it.

A score is *(mask over (query, key), reduction, ceiling, chance)*. The mask is a
function of the token ids alone, so the same declaration serves a scan prompt
``[BOS] r1..rL r1..rL``, Olsson's four copies and a user's own text:

    induction       k follows an earlier copy of token q    offset -(L-1) on a scan prompt
    duplicate       k is an earlier copy of token q         offset -L
    previous token  k = q - 1                               offset -1

The induction target is the token *after* the earlier copy. Offset -L, which
many tools score instead, is the duplicate-token head.

No torch here: labels and definitions are shown before any model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]  # [query, key], True only where key <= query
Reduction = Literal["mean", "row_sum"]


def _positions(tokens: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    index = np.arange(len(tokens))
    return index[:, None], index[None, :]  # query [q, 1], key [1, k]


def duplicate_mask(tokens: NDArray[np.int64]) -> Mask:
    """Earlier positions that hold the same token as the query."""
    query, key = _positions(tokens)
    return (tokens[:, None] == tokens[None, :]) & (key < query)


def induction_mask(tokens: NDArray[np.int64]) -> Mask:
    """Positions that follow an earlier copy of the query's token (the query itself excluded)."""
    query, key = _positions(tokens)
    follows = np.zeros((len(tokens), len(tokens)), dtype=bool)
    follows[:, 1:] = duplicate_mask(tokens)[:, :-1]
    return follows & (key < query)


def previous_mask(tokens: NDArray[np.int64]) -> Mask:
    query, key = _positions(tokens)
    return key == query - 1


def first_mask(tokens: NDArray[np.int64]) -> Mask:
    query, key = _positions(tokens)
    return (key == 0) & (query >= 1)


def current_mask(tokens: NDArray[np.int64]) -> Mask:
    query, key = _positions(tokens)
    return key == query


@dataclass(frozen=True)
class Score:
    """Declaration of one per-head attention score.

    ``reduction`` is ``"mean"`` (over all cells of the mask) or ``"row_sum"`` (sum
    over keys, then mean over the queries that have a cell). ``copies`` is the
    prompt it is defined on: 2 for the scan's varied-length repeats, 4 for
    Olsson's 25 tokens times 4. Chance is what uniform attention scores; it
    depends on the prompt, see :func:`chance`.
    """

    name: str
    title: str
    meaning: str
    mask: Callable[[NDArray[np.int64]], Mask]
    source: str
    reduction: Reduction = "mean"
    copies: int = 2
    ceiling: float = 1.0


SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        Score(
            "induction",
            "Induction",
            "Attention from the second occurrence of a token to the token that followed the first.",
            induction_mask,
            "Elhage et al. 2021; Olsson et al. 2022",
        ),
        Score(
            "duplicate_token",
            "Duplicate token",
            "Attention from the second occurrence of a token to the first occurrence itself.",
            duplicate_mask,
            "Wang et al. 2022",
        ),
        Score(
            "previous_token",
            "Previous token",
            "Attention from each token to the one directly before it.",
            previous_mask,
            "Elhage et al. 2021",
        ),
        Score(
            "first_token",
            "First token (sink)",
            "Attention to position 0, where heads rest when they have nothing to do.",
            first_mask,
            "Xiao et al. 2023, Efficient Streaming Language Models with Attention Sinks",
        ),
        Score(
            "current_token",
            "Current token",
            "Attention from each token to itself.",
            current_mask,
            "methods of this project",
        ),
        Score(
            "prefix_matching",
            "Prefix matching (Olsson)",
            "On 25 random tokens repeated 4 times: attention to all tokens that followed an earlier "
            "occurrence of the current one, summed over them.",
            induction_mask,
            "Olsson et al. 2022",
            reduction="row_sum",
            copies=4,
        ),
    )
}


def cells(score: Score, tokens: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
    """The cells of a score on one prompt and what to divide their sum by.

    Args:
        tokens: ids of one prompt ``[pos]``.

    Returns:
        ``(query [cell], key [cell], denominator)``; a head's score is the sum of its
        attention at the cells over the denominator. The denominator is 0 where the
        prompt has no such cell (no repeat in it): the score is then undefined.
    """
    query, key = np.nonzero(score.mask(np.asarray(tokens)))
    denominator = len(query) if score.reduction == "mean" else len(np.unique(query))
    return query, key, float(denominator)


def apply(score: Score, pattern: NDArray[np.floating], tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Score attention patterns on one prompt.

    Args:
        pattern: attention ``[..., query, key]``; rows sum to 1.
        tokens: ids of the prompt ``[pos]``.

    Returns:
        ``[...]`` in 0..1, NaN where the prompt has no cell of this score.
    """
    query, key, denominator = cells(score, tokens)
    if not denominator:
        return np.full(pattern.shape[:-2], np.nan)
    return pattern[..., query, key].sum(-1, dtype=np.float64) / denominator


def chance(score: Score, tokens: NDArray[np.int64]) -> float:
    """What a head scores that spreads its attention evenly over the positions it sees: 1/(q+1) each."""
    query, _, denominator = cells(score, tokens)
    return float((1 / (query + 1)).sum() / denominator) if denominator else float("nan")
