"""One prompt, all heads: where each head looks, and what it would write there.

    Attention.patterns    [layer, head, query, key]     rows sum to 1, nothing above the diagonal
    Attention.way.z       [layer, pos, head, d_head]    head outputs before the output projection

What a head writes at a position is its direct logit attribution (Elhage et al. 2021): its output there, by the way
of :mod:`induction.model.anatomy` through norms with the scales that they had, onto the unembedding of every token,
minus the mean over the vocabulary. Only the direct path from the head to the logits counts, and a soft cap after it
does not.

Torch is imported when a model runs, not before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from induction.analysis import scores
from induction.analysis.result import DIGITS
from induction.analysis.scores import SCORES
from induction.base import Grid, InputError, Number, Refused, Result, check_shape

if TYPE_CHECKING:
    import torch
    from transformer_lens.model_bridge import TransformerBridge

    from induction.model.anatomy import Frozen

SHOWN_SCORES = tuple(name for name, score in SCORES.items() if score.reduction == "mean")
ROWS_AT_ONCE = 64  # positions unembedded together
NOTHING_LEFT = 1e-6  # attention outside the first column, below which a row is not renormalised


@dataclass(frozen=True, eq=False)
class Way:
    """The way from the head outputs of a run to the logits; no part of it holds the model.

    Attributes:
        z: head outputs, ``[layer, pos, head, d_head]``.
        exits: from each layer's output projection into the residual stream, at the run's scales.
        final: from there to the unembedding, the logits' factor included.
    """

    z: NDArray[np.float32]
    exits: list[Frozen]
    final: Frozen


@dataclass(frozen=True, eq=False)
class Attention:
    """Attention of every head of a model on one prompt, with everything needed to repeat it.

    ``way`` is how each layer's heads reach the logits; where that could not be verified it is None and ``refused``
    says why. ``rounded``: the weights come from pictures, in steps of 1/255, and the way was not kept.
    """

    model: str
    origin: str
    ids: tuple[int, ...]
    labels: tuple[str, ...]
    has_bos: bool
    patterns: NDArray[np.float32]
    way: Way | None
    refused: str = ""
    rounded: bool = False
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def n_layers(self) -> int:
        return self.patterns.shape[0]

    @property
    def n_heads(self) -> int:
        return self.patterns.shape[1]

    @property
    def n_tokens(self) -> int:
        return len(self.ids)

    @property
    def targets(self) -> scores.Mask:
        """Induction targets, bool ``[query, key]``: what followed an earlier copy of the query's token."""
        return SCORES["induction"].mask(np.asarray(self.ids))

    @property
    def protocol(self) -> str:
        bos = "the first one BOS" if self.has_bos else "no BOS in front"
        rounded = "; weights in steps of 1/255" if self.rounded else ""
        return f"One prompt of {self.n_tokens} tokens, {bos}{rounded}"

    def scores(self) -> dict[str, NDArray[np.float64]]:
        """The scores of every head on this prompt, ``[layer, head]`` each; NaN where nothing repeats."""
        ids = np.asarray(self.ids)
        return {name: scores.apply(SCORES[name], self.patterns, ids) for name in SHOWN_SCORES}

    def ceilings(self) -> dict[str, float]:
        """The most that a head can score on this prompt, below 1 where one query has several cells; NaN as above."""
        ids = np.asarray(self.ids)
        return {name: scores.cells(SCORES[name], ids).ceiling for name in SHOWN_SCORES}

    def pattern(self, layer: int, head: int) -> NDArray[np.float32]:
        """Attention of one head, ``[query, key]``.

        Raises:
            InputError: the model has no such head.
        """
        if not (0 <= layer < self.n_layers and 0 <= head < self.n_heads):
            raise InputError(
                f"{self.model} has layers 0..{self.n_layers - 1} and heads 0..{self.n_heads - 1}, "
                f"not head {layer}.{head}."
            )
        return self.patterns[layer, head]


def attend(model: TransformerBridge, ids: Sequence[int]) -> Attention:
    """Run a prompt once and keep every head's attention and output.

    Args:
        ids: token ids ``[pos]``, the model's BOS in front where it shall be there.

    Raises:
        InputError: no tokens, ids outside the vocabulary, or more tokens than the model's context.
    """
    from induction.base import versions
    from induction.model import name_of, origin
    from induction.model.anatomy import dissect
    from induction.model.tokens import bos_id, check_ids, labels

    ids = [int(token) for token in ids]
    check_ids(model, ids)
    patterns: list[NDArray[np.float32]] = []

    def keep(activation: torch.Tensor, hook: Any) -> None:
        patterns.append(activation[0].float().cpu().numpy().copy())

    hooks = [(f"blocks.{layer}.attn.hook_pattern", keep) for layer in range(model.cfg.n_layers)]
    way, refused = None, ""
    try:
        run = dissect(model, ids, also=hooks)
        way = Way(np.stack([part.float().cpu().numpy() for part in run.z]), run.exits, run.final)
    except Refused as error:
        if len(patterns) < model.cfg.n_layers:
            raise
        refused = str(error)
    start = bos_id(model)
    return Attention(
        model=name_of(model),
        origin=origin(model),
        ids=tuple(ids),
        labels=tuple(labels(model, ids)),
        has_bos=start is not None and ids[0] == start,
        patterns=np.stack(patterns),
        way=way,
        refused=refused,
        versions=versions(),
    )


def without_first(patterns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Attention without the first column, every row made to sum to 1 again.

    Heads rest on the first token when they have nothing to do, which drowns the rest of the scale. A row
    with nothing left (the first, and rows that look at the first token alone) becomes zeros.

    Args:
        patterns: ``[..., query, key]``.
    """
    kept = patterns.copy()
    kept[..., 0] = 0
    left = kept.sum(-1, keepdims=True)
    return np.divide(kept, left, out=np.zeros_like(kept), where=left > NOTHING_LEFT)


# -- what a head writes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """What one head adds to the logits at every position, in logits above the mean over the vocabulary.

    ``n_vocab`` is how many tokens there are. ``promoted`` and ``suppressed`` are ``[pos][rank]`` pairs of token label
    and logits, strongest first. ``following`` is, per position, what the head adds to the token that does come next
    and that token's rank among all (1 = most promoted). At the last position it is the token that induction would
    continue with, the one after the latest earlier copy, and None where there is no earlier copy.
    """

    layer: int
    head: int
    n_vocab: int
    promoted: list[list[tuple[str, float]]]
    suppressed: list[list[tuple[str, float]]]
    following: list[tuple[float, int] | None]


def written(model: TransformerBridge, seen: Attention, layer: int, head: int, *, k: int = 5) -> Written:
    """Direct logit attribution of one head at every position of a prompt.

    Args:
        model: the model that ``seen`` came from.
        k: tokens named on either side.

    Raises:
        InputError: the model has no such head.
        Refused: the way from its heads to its logits could not be verified.
    """
    import torch

    from induction.model.anatomy import projected
    from induction.model.tokens import labels

    seen.pattern(layer, head)  # checks the head
    if seen.way is None:
        raise Refused(seen.refused)
    n_vocab = min(model.cfg.d_vocab, len(model.tokenizer))  # embeddings may be padded
    completed = np.flatnonzero(seen.targets[-1])[-1:]  # position of the token that induction continues with
    following = [*seen.ids[1:], *(seen.ids[key] for key in completed)]
    found = Written(layer, head, n_vocab, [], [], [])
    z = torch.from_numpy(seen.way.z[layer]).to(model.cfg.device)  # [pos, head, d_head]
    alone = torch.zeros_like(z)
    alone[:, head] = z[:, head]
    with torch.no_grad():
        output = seen.way.final(
            seen.way.exits[layer](projected(model.blocks[layer], alone))
        )  # [pos, d_model]
        unembedding = model.W_U[:, :n_vocab]
        for start in range(0, len(output), ROWS_AT_ONCE):
            logits = output[start : start + ROWS_AT_ONCE] @ unembedding  # [pos, vocab]
            logits = logits - logits.mean(-1, keepdim=True)
            for named, largest in ((found.promoted, True), (found.suppressed, False)):
                values, tokens = logits.topk(min(k, n_vocab), largest=largest)
                for row, ids in zip(values.tolist(), tokens.tolist(), strict=True):
                    rounded = [round(value, DIGITS) for value in row]
                    named.append(list(zip(labels(model, ids), rounded, strict=True)))
            for row, token in zip(logits, following[start : start + ROWS_AT_ONCE], strict=False):
                rank = int((row > row[token]).sum()) + 1
                found.following.append((round(float(row[token]), DIGITS), rank))
    if not len(completed):
        found.following.append(None)
    return found


# -- results that travel --------------------------------------------------------------------------------------


class HeadAttention(Result):
    """One head's attention on one prompt.

    Attributes:
        attention: ``[query][key]``; with the first column left out where ``first_column`` says so.
        induction_targets: cells ``[query, key]`` at which induction would look.
        scores, ceilings: on this prompt; None where nothing repeats.
    """

    SCHEMA: ClassVar[str] = "induction-attention/1"

    layer: int
    head: int
    protocol: str
    first_column: Literal["kept", "left out, rows renormalised"]
    ids: list[int]
    tokens: list[str]
    attention: Grid
    induction_targets: list[list[int]]
    scores: dict[str, Number | None]
    ceilings: dict[str, Number | None]

    @property
    def names(self) -> list[str]:
        """Of queries and keys: ``position token``."""
        return [f"{position} {token}" for position, token in enumerate(self.tokens)]

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row per query, a column per key."""
        for name, row in zip(self.names, self.attention, strict=True):
            yield {"query": name, **dict(zip(self.names, row, strict=True))}

    def listing(self, by: str = "", top: int = 10) -> Iterator[dict[str, Any]]:
        """A row per query: the keys that it looks at most."""
        for query, row in zip(self.names, self.attention, strict=True):
            most = sorted(zip(row, self.names, strict=True), key=lambda cell: -cell[0])[:3]
            yield {"query": query, "looks most at": ", ".join(f"{name} ({v:.2f})" for v, name in most if v)}

    def verdict(self) -> str:
        shown = ", ".join(
            f"{SCORES[name].title.lower()} {value:.2f}"
            for name, value in self.scores.items()
            if value is not None
        )
        return f"Head {self.layer}.{self.head} on this prompt: {shown}."

    def check(self) -> None:
        n = len(self.ids)
        check_shape("the tokens", self.tokens, n)
        check_shape("the attention", self.attention, n, n)
        if not (0 <= self.layer < self.n_layers and 0 <= self.head < self.n_heads):
            raise ValueError(f"no head {self.layer}.{self.head}")


def of_head(seen: Attention, layer: int, head: int, *, hide_first: bool = False) -> HeadAttention:
    """One head of an :class:`Attention`.

    Raises:
        InputError: the model has no such head.
    """
    pattern = seen.pattern(layer, head)

    def defined(figures: dict[str, float]) -> dict[str, float | None]:
        return {name: None if np.isnan(value) else round(value, DIGITS) for name, value in figures.items()}

    return HeadAttention(
        model=seen.model,
        n_layers=seen.n_layers,
        n_heads=seen.n_heads,
        origin=seen.origin,
        versions=seen.versions,
        layer=layer,
        head=head,
        protocol=seen.protocol,
        first_column="left out, rows renormalised" if hide_first else "kept",
        ids=list(seen.ids),
        tokens=list(seen.labels),
        attention=np.round(
            (without_first(pattern) if hide_first else pattern).astype(float), DIGITS
        ).tolist(),
        induction_targets=np.argwhere(seen.targets).tolist(),
        scores=defined({name: float(values[layer, head]) for name, values in seen.scores().items()}),
        ceilings=defined(seen.ceilings()),
    )
