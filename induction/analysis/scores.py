"""What each attention score means: one declaration per score, one function that applies it.

A score is *(mask over (query, key), reduction)*. The mask is a function of the
token ids alone, so the same declaration serves a scan prompt
``[BOS] r1..rL r1..rL``, Olsson's four copies and a user's own text:

    induction       k follows an earlier copy of token q    offset -(L-1) on a scan prompt
    duplicate       k is an earlier copy of token q         offset -L
    previous token  k = q - 1                               offset -1

The induction target is the token *after* the earlier copy. Offset -L, which
many tools score instead, is the duplicate-token head.

What a score is read against follows from its cells alone too: chance, the
ceiling, and what simpler heads score (:class:`Cells`).

No torch here: labels and definitions are shown before any model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]  # [query, key], True only where key <= query
Reduction = Literal["mean", "row_sum"]


def duplicate_mask(tokens: NDArray[np.int64]) -> Mask:
    """Earlier positions that hold the same token as the query."""
    return np.tril(tokens[:, None] == tokens[None, :], -1)


def induction_mask(tokens: NDArray[np.int64]) -> Mask:
    """Positions that follow an earlier copy of the query's token (the query itself excluded)."""
    follows = np.zeros((len(tokens), len(tokens)), dtype=bool)
    follows[:, 1:] = duplicate_mask(tokens)[:, :-1]
    return np.tril(follows, -1)


def first_mask(tokens: NDArray[np.int64]) -> Mask:
    """Position 0, for all queries after it."""
    mask = np.zeros((len(tokens), len(tokens)), dtype=bool)
    mask[1:, 0] = True
    return mask


@dataclass(frozen=True)
class Score:
    """Declaration of one per-head attention score.

    ``reduction`` is ``"mean"`` (over all cells of the mask) or ``"row_sum"`` (sum
    over keys, then mean over the queries that have a cell). ``copies`` is the
    prompt it is defined on: 2 for the scan's varied-length repeats, 4 for
    Olsson's 25 tokens times 4. ``sequences``: how many sequences a prompt of a scan
    stands for, their mean being its score. ``by_position``: the mask is the same
    whatever the tokens are.
    """

    name: str
    title: str
    meaning: str
    mask: Callable[[NDArray[np.int64]], Mask]
    source: str
    reduction: Reduction = "mean"
    copies: int = 2
    sequences: int = 1
    by_position: bool = False

    @property
    def varied(self) -> bool:
        """Whether its prompts are a stratified sample: their lengths run evenly over a range, and the score looks a
        length back. What looks at a position whatever the length is does not vary with it."""
        return self.copies == 2 and not self.by_position


OLSSON_LENGTH = 25  # tokens, repeated four times
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
            lambda tokens: np.eye(len(tokens), k=-1, dtype=bool),
            "Elhage et al. 2021",
            by_position=True,
        ),
        Score(
            "first_token",
            "First token (sink)",
            "Attention to position 0, where heads rest when they have nothing to do.",
            first_mask,
            "Xiao et al. 2023, Efficient Streaming Language Models with Attention Sinks",
            by_position=True,
        ),
        Score(
            "current_token",
            "Current token",
            "Attention from each token to itself.",
            lambda tokens: np.eye(len(tokens), dtype=bool),
            "methods of this project",
            by_position=True,
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
            sequences=3,  # few heads do it at all: one sequence leaves the rest too skewed for an interval
        ),
    )
}


class Cells(NamedTuple):
    """The cells of a score on one prompt, and what to divide their sum by.

    A head's score is the sum of its attention at the cells over the denominator, which is 0 where the prompt has no
    such cell (no repeat in it): the score and all it could be read against are then undefined.
    """

    query: NDArray[np.int64]  # [cell]
    key: NDArray[np.int64]  # [cell]
    denominator: float

    @property
    def chance(self) -> float:
        """What a head scores that spreads its attention evenly over the positions it sees: 1/(q+1) each."""
        return self._divided((1 / (self.query + 1)).sum())

    @property
    def ceiling(self) -> float:
        """The most that a head can score: rows sum to 1, so each query with a cell gives 1 at most.

        Below 1 where the mean runs over several cells of one query: 1/2 on a text in which a run of tokens comes four
        times (1, 2 and 3 cells per query).
        """
        return self._divided(len(np.unique(self.query)))

    def overlap(self, other: Cells) -> float:
        """What a head scores that does something else perfectly: each row spread evenly over the other's cells."""
        n_cells = np.bincount(
            other.query, minlength=int(self.query.max(initial=0)) + 1
        )  # [query], of the other
        shared = np.isin(self._places, other._places)
        return self._divided((1 / n_cells[self.query[shared]]).sum())

    def by_distance(self) -> NDArray[np.float64]:
        """What a head scores that always looks ``d`` tokens back, whatever they are: ``[d]`` to the farthest cell."""
        counts = np.bincount(self.query - self.key, minlength=1)
        return counts / self.denominator if self.denominator else np.full(1, np.nan)

    @property
    def _places(self) -> NDArray[np.int64]:
        return (self.query << 32) + self.key

    def _divided(self, total: float) -> float:
        return float(total / self.denominator) if self.denominator else float("nan")


def cells(score: Score, tokens: NDArray[np.int64]) -> Cells:
    """The cells of a score on one prompt.

    Args:
        tokens: ids of the prompt ``[pos]``.
    """
    query, key = np.nonzero(score.mask(np.asarray(tokens)))
    denominator = len(query) if score.reduction == "mean" else len(np.unique(query))
    return Cells(query, key, float(denominator))


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
