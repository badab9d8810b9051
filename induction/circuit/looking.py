"""Why a head looks where it looks: the score of a cell (query, key), before the softmax, split by what stands there.

    score(q, k) = factor * sum over sources i, j of  c_i(q) W_Q R(k - q) W_K^T c_j(k)

``c_i`` are the parts of the residual stream that the head reads (embedding, positions where they are added, each
earlier head, each MLP, biases), sent through the norms at the scales that they have in this run; ``R`` is the rotary
turn for the distance (Elhage et al. 2021, A Mathematical Framework for Transformer Circuits). Biases of queries and
keys, and of the norms on the way, count as the source *biases*; a bias by distance (ALiBi) is a source of its own.

What position does to queries and keys, the factor and the slope of such a bias are not taken from a model's name: of
the known ways the one is taken under which weights explain the head's attention on two prompts of random tokens. Then,
on each prompt that is explained, the terms of every cell must sum to the model's own score, or the head is refused in
words. A soft cap is not linear: what is split is the score before it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from induction.base import (
    Head,
    InputError,
    Progress,
    Refused,
    check_heads,
    finished,
    head_name,
    mean_interval,
)
from induction.circuit.head_weights import (
    Sample,
    Weights,
    centred,
    check_readable,
    folded,
    inner_norm,
    normed_heads,
    project,
    rotaries,
    scores_seen,
    untold,
)
from induction.circuit.sources import (
    BIASES,
    BOTH,
    DISTANCE,
    EMBEDDING,
    POSITIONS,
    REST,
    Looking,
    Margin,
    mlp_source,
)
from induction.data_gen.sequences import repeated_batch
from induction.model import name_of, provenance
from induction.model.anatomy import Taken, by_head, entering, entrance, near, norm_of, normed, projected
from induction.model.tokens import check_ids, labels

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TOLERANCE = 1e-4  # of the largest difference between scores: what the terms may miss the model's own score by
SHOWN = 12  # sources of each side that are told apart, where there are more
DIGITS = 6
RELATIVE = "each term is less its mean over the keys that the query sees"
SMALLEST = 1e-2  # scale of scores below which rounding alone decides


@dataclass(frozen=True)
class Look:
    """One prompt as one head sees it, taken apart; float64.

    Attributes:
        sources: names of what stands at a position.
        q, k: what each source puts into queries (factor and turn included) and keys, ``[source, pos, width]``.
        visible: which keys a query sees, ``[query, key]``.
        own: the model's own scores before the softmax (and before a soft cap), ``[query, key]``, 0 where not visible.
        up_to_row: whether the model shows them only up to one number per query, which is then taken from the terms.
        cap: the soft cap that its scores go through after that, None where there is none.
        pattern: the head's attention, ``[query, key]``.
    """

    sources: tuple[str, ...]
    q: torch.Tensor
    k: torch.Tensor
    visible: torch.Tensor
    pattern: torch.Tensor
    own: torch.Tensor
    up_to_row: bool
    cap: float | None

    def terms(self, queries: Sequence[int], keys: Sequence[int]) -> torch.Tensor:
        """The score split, mean over the cells ``(queries[n], keys[n])``: ``[query source, key source]``."""
        return self._of(queries, self.k[:, list(keys)])

    def relative(self, queries: Sequence[int], keys: Sequence[int]) -> torch.Tensor:
        """The same, each term less its mean over the keys that the query sees: all that moves the softmax."""
        seen = self.visible[list(queries)].double()
        mean = torch.einsum("nk,jkd->jnd", seen / seen.sum(-1, keepdim=True), self.k)
        return self._of(queries, self.k[:, list(keys)] - mean)

    def _of(self, queries: Sequence[int], keys: torch.Tensor) -> torch.Tensor:
        return torch.einsum("ind,jnd->ij", self.q[:, list(queries)], keys) / len(queries)


@dataclass(frozen=True)
class Explained:
    """The split score of one cell.

    Attributes:
        sources: names, at the query as at the key.
        matrix: ``[query source][key source]``; sums to ``total``. float64, in units of the score before the softmax.
        relative: the same, each term less its mean over the keys that the query sees; sums to ``relative_total``.
        score: the model's own, before a soft cap ``cap``; ``up_to_row``: shown by the model only up to one number per
            query, which is then taken from the terms.
    """

    head: Head
    query: int
    key: int
    sources: tuple[str, ...]
    matrix: Any
    relative: Any
    total: float
    relative_total: float
    score: float
    up_to_row: bool
    cap: float | None


def explain_score(
    model: TransformerBridge, ids: Sequence[int], head: Head, query: int, key: int
) -> Explained:
    """Why a head looks from one position to another: its score there, split by what stands at both.

    Args:
        ids: the prompt, BOS included.
        query, key: positions.

    Raises:
        InputError: a head, a position or ids outside of the model or the prompt, or a key that the query does not see.
        Refused: the terms do not sum to the model's own score.
    """
    look = Reader(model, head)(ids)
    check_cell(look, query, key)
    matrix, relative = look.terms([query], [key]), look.relative([query], [key])
    totals = {"total": float(matrix.sum()), "relative_total": float(relative.sum())}
    own = {"score": float(look.own[query, key]), "up_to_row": look.up_to_row, "cap": look.cap}
    return Explained(
        head, query, key, look.sources, matrix.cpu().numpy(), relative.cpu().numpy(), **totals, **own
    )


def check_cell(look: Look, query: int, key: int) -> None:
    """Raises InputError unless both are positions of the prompt and the query sees the key."""
    n = len(look.visible)
    for what, position in (("query", query), ("key", key)):
        if not 0 <= position < n:
            raise InputError(f"There is no {what} {position}: positions of this prompt go from 0 to {n - 1}.")
    if not look.visible[query, key]:
        raise InputError(
            f"Position {query} does not see position {key} in this layer; choose a key at or before the query, "
            "within the window if there is one."
        )


@dataclass(frozen=True)
class _Way:
    """How products of queries and keys become scores: which of :func:`rotaries`, what factor, what bias by distance."""

    turn: int
    factor: float
    slope: float  # of the score per token of distance; 0 where there is none


class Reader:
    """Takes prompts apart for one head: ``Reader(model, head)(ids)``.

    Raises:
        InputError: a head outside of the model.
        Refused: the model does not do what the weights of this head say.
    """

    def __init__(self, model: TransformerBridge, head: Head) -> None:
        ((self.layer, self.head),) = check_heads([head], model.cfg.n_layers, model.cfg.n_heads)
        self.model = model
        with torch.no_grad():
            check_readable(model, self.layer)
            self.weights: Weights = folded(model, self.layer, None)
            self.way = self._way()

    def __call__(self, ids: Sequence[int]) -> Look:
        """One prompt.

        Raises:
            InputError: no ids, too many, or outside of the vocabulary.
            Refused: the terms of some cell do not sum to the model's own score.
        """
        model, layer = self.model, self.layer
        ids = [int(token) for token in ids]
        check_ids(model, ids)
        with torch.no_grad():
            taken = Taken(model, range(layer), start=0)
            tokens = torch.tensor([ids], device=model.cfg.device)
            run = Sample(model, range(layer, layer + 1), tokens, also=taken.hooks() if layer else ())
            parts = [*self._parts(taken, run, tokens), self._biases(run)]
            names = tuple(name for part in parts for name in part[0])
            q, k = (torch.cat([part[side] for part in parts], 1) for side in (1, 2))
            return self._checked(run, *self._merged(names, q[0], k[0]))

    # -- what stands there

    def _parts(self, taken: Taken, run: Sample, tokens: torch.Tensor) -> Iterator[tuple[list[str], Any, Any]]:
        """Names of sources, and what they put into queries and keys, ``[1, source, pos, d_head]``, layer by layer."""
        stream = run(self.layer, "in")[0]  # [pos, d_model]
        read = self._read(run)
        first = taken.of(0, "in") if self.layer else stream
        left = stream.clone()
        for names, parts in self._written(taken, tokens, first):
            left -= parts.sum(0)
            yield names, *(side(parts)[None] for side in read)
        if not near(stream - left, stream):
            raise Refused(
                untold(self.model, f"the parts before layer {self.layer} do not make what it reads")
            )

    def _written(
        self, taken: Taken, tokens: torch.Tensor, first: torch.Tensor
    ) -> Iterator[tuple[list[str], torch.Tensor]]:
        """Names and what each adds to the residual stream, ``[source, pos, d_model]``."""
        yield _entered(self.model, tokens, first)
        for layer in range(self.layer):
            block, way, z = self.model.blocks[layer], taken.exit(layer), taken.z(layer)
            yield [head_name((layer, head)) for head in range(z.shape[1])], way(_apart(block, z))
            if "mlp" in block.submodules:
                yield [mlp_source(layer)], taken.mlp(layer)[None]
            bias = way(block.attn.o(torch.zeros_like(z.flatten(1)[None, :1]))[0]) + way.bias
            yield [BIASES], bias.expand_as(first)[None]

    def _read(self, run: Sample):
        """Two functions: what parts of the stream ``[source, pos, d_model]`` put into queries, into keys."""
        scale = self._entrance(run)[1]  # [pos, 1]

        def side(which: str, weight: torch.Tensor):
            inner = self._inner(run, which)[1]
            return lambda parts: (parts.double() @ weight) / (scale * inner)

        return side("Q", self.weights.q[self.head]), side("K", self.weights.k[self.head])

    def _biases(self, run: Sample) -> tuple[list[str], torch.Tensor, torch.Tensor]:
        """What norms and projections put into queries and keys by themselves."""
        block = self.model.blocks[self.layer]
        norm, _ = self._entrance(run)
        n_pos = run(self.layer, "in").shape[1]
        found = []
        for which in "QK":
            inner, scale = self._inner(run, which)
            weight, bias = getattr(block.attn, f"W_{which}"), getattr(block.attn, f"b_{which}")
            rows = torch.zeros(weight.shape[0], weight.shape[2], dtype=torch.float64, device=weight.device)
            if norm is not None:
                rows += torch.einsum("m,hmd->hd", norm.bias.double(), weight.double())
            if bias is not None:
                rows += bias.double().reshape(rows.shape)
            index = self.head * len(rows) // self.model.cfg.n_heads
            if inner is None:
                found.append(rows[index].expand(n_pos, -1))
                continue
            through = inner.norm.writing(inner.rows(rows)).reshape(rows.shape)[index]
            found.append(through / scale + inner.norm.bias.double().reshape(rows.shape)[index])
        return [BIASES], found[0][None, None], found[1][None, None]

    def _entrance(self, run: Sample):
        """The norm before the head and what it divided by, ``[pos, 1]``; None and 1 where there is none."""
        block, x = self.model.blocks[self.layer], run(self.layer, "in")[0]
        norm = norm_of(entrance(block), self.model.cfg.d_model, self.model.W_U)
        return norm, 1.0 if norm is None else norm.scale(x, normed(block, x[None])[0]).double()

    def _inner(self, run: Sample, which: str):
        """The norm of this head's queries or keys and what it divided by, ``[pos, 1]``."""
        block = self.model.blocks[self.layer]
        before = project(block, normed(block, run(self.layer, "in")), which)  # [1, pos, head, d_head]
        n = before.shape[2]
        inner = inner_norm(self.model, self.layer, f"{which.lower()}_norm", n)
        if inner is None:
            return None, 1.0
        scale = inner.norm.scale(inner.rows(before), inner.rows(inner.call(before)))[0].double()
        return inner, scale if inner.flat else scale[:, self.head * n // self.model.cfg.n_heads]

    # -- from products to scores

    def _merged(self, names: tuple[str, ...], q: torch.Tensor, k: torch.Tensor):
        """All of one name together, in order of their first appearance, biases last."""
        kept = [name for name in dict.fromkeys(names) if name != BIASES]
        order = {name: at for at, name in enumerate([*kept, BIASES])}
        index = torch.tensor([order[name] for name in names], device=q.device)
        sides = (
            torch.zeros(len(order), *part.shape[1:], dtype=part.dtype, device=part.device) for part in (q, k)
        )
        return tuple(order), *(
            side.index_add_(0, index, part) for side, part in zip(sides, (q, k), strict=True)
        )

    def _checked(self, run: Sample, names: tuple[str, ...], q: torch.Tensor, k: torch.Tensor) -> Look:
        """Turned, scaled, and held against the model's own scores."""
        turn = list(rotaries(self.model, self.layer, run))[self.way.turn]
        if turn is not None:
            q, k = (turn(part[:, :, None], 0)[:, :, 0] for part in (q, k))
        q = self.way.factor * q
        if self.way.slope:
            names, q, k = _with_distance(names, q, k, self.way.slope)
        total = q.sum(0) @ k.sum(0).T  # [query, key]
        (seen,), certain, (visible,) = self._seen(run)
        if not _fits(total - seen, seen, certain):
            raise self._refused()
        own = torch.where(visible, seen, 0.0)
        shown = self._shown(run)
        up_to_row = shown is None or not near(total[certain], shown[certain])
        if up_to_row:  # no more than differences are known
            gap = torch.where(certain, total - seen, 0.0).sum(-1) / certain.sum(-1).clamp(min=1)
            own = torch.where(visible, seen + gap[:, None], 0.0)
            own = torch.where(visible & ~certain, total, own)  # attention too small to tell its logarithm
        else:
            own = torch.where(visible, shown, 0.0)
        pattern = run(self.layer, "pattern")[0, self.head]
        return Look(names, q, k, visible, pattern, own, up_to_row, _cap(self.model))

    def _seen(self, run: Sample):
        """Scores up to a constant per query ``[row, query, key]``, where they are certain, and what is visible."""
        scores, certain = scores_seen(self.model, self.layer, run)
        pattern = run(self.layer, "pattern")
        visible = (pattern > 0).any(1)  # a head may attend so little that it reads 0; not all of them
        return scores[:, self.head], certain[self.head], visible

    def _shown(self, run: Sample) -> torch.Tensor | None:
        """The head's scores as a hook shows them ``[query, key]``, None unless they are what the softmax takes."""
        scores, pattern = run.seen.get((self.layer, "scores")), run(self.layer, "pattern")
        if _cap(self.model) is not None or scores is None or scores.shape != pattern.shape:
            return None
        return scores[0, self.head].double() if near(scores.softmax(-1), pattern) else None

    def _way(self) -> _Way:
        """Of the known ways the one that explains the head's attention on two prompts of random tokens."""
        run = Sample(self.model, range(self.layer, self.layer + 1))
        block = self.model.blocks[self.layer]
        x = normed(block, run(self.layer, "in"))
        sides = []
        for which in "QK":
            heads = normed_heads(
                self.model, self.layer, project(block, x, which), f"{which.lower()}_norm"
            ).double()
            sides.append(heads[:, :, [self.head * heads.shape[2] // self.model.cfg.n_heads]])
        seen, certain, _ = self._seen(run)
        for biased in (False, True):
            for index, turn in enumerate(rotaries(self.model, self.layer, run)):
                q, k = (side if turn is None else turn(side, 0) for side in sides)
                scores = q[:, :, 0] @ k[:, :, 0].mT  # [row, query, key]
                factor, slope = _fitted(scores, seen, certain, biased)
                computed = factor * scores + slope * _distances(scores)
                if factor > 0 and _fits(computed - seen, seen, certain):
                    return _Way(index, factor, slope)
        raise self._refused()

    def _refused(self) -> Refused:
        name = head_name((self.layer, self.head))
        return Refused(
            f"Why {name} of {name_of(self.model)} looks where it looks cannot be said: the products of its queries and "
            "keys do not sum to its attention scores in a known way; path patching does not need that."
        )


def _entered(
    model: TransformerBridge, tokens: torch.Tensor, first: torch.Tensor
) -> tuple[list[str], torch.Tensor]:
    """What enters the first block ``[pos, d_model]``, split into embedding and positions where both are added.

    Positions are told from tokens by what changes when tokens do: no part of a model is believed by its name.
    """
    same = entering(model, tokens[:, -1:].expand_as(tokens))[0]
    if near(same, same[:1].expand_as(same)):
        return [EMBEDDING], first[None]
    plain, other = model.embed(tokens)[0], tokens.flip(1)
    if plain.shape == first.shape:
        spread, moved = plain - model.embed(other)[0], first - entering(model, other)[0]
        size = (spread**2).sum()
        factor = (spread * moved).sum() / size if size > 0 else size + 1
        if near(factor * spread, moved):
            return [EMBEDDING, POSITIONS], torch.stack([factor * plain, first - factor * plain])
    return [BOTH], first[None]


def _apart(block: Any, z: torch.Tensor) -> torch.Tensor:
    """What the output projection makes of each head of ``z`` ``[pos, head, d_head]``: ``[head, pos, d_model]``.

    By the weights, which takes one product where :func:`by_head` takes one for each head; by it where they say other.
    """
    try:
        heads = torch.einsum("phd,hdm->hpm", z, block.attn.W_O)
    except (
        AttributeError,
        NotImplementedError,
        ValueError,
        RuntimeError,
    ):  # not to be read, or in other shapes
        return by_head(block, z)
    return heads if near(heads.sum(0), projected(block, z)) else by_head(block, z)


def _cap(model: TransformerBridge) -> float | None:
    cap = getattr(getattr(model.original_model, "config", None), "attn_logit_softcapping", None)
    return float(cap) if cap else None


def _distances(scores: torch.Tensor) -> torch.Tensor:
    """Tokens from key to query, negative: ``[query, key]``."""
    at = torch.arange(scores.shape[-1], dtype=scores.dtype, device=scores.device)
    return at[None] - at[:, None]


def _fitted(
    scores: torch.Tensor, seen: torch.Tensor, certain: torch.Tensor, biased: bool
) -> tuple[float, float]:
    """Factor on products, and slope of a bias by distance, that explain differences between keys best."""
    columns = [scores, *([_distances(scores).expand_as(scores)] if biased else [])]
    basis = torch.stack([centred(part, certain).flatten() for part in columns], 1)
    if not basis[:, 0].any():  # all keys alike: any factor explains that
        return 1.0, 0.0
    solved = torch.linalg.lstsq(basis, centred(seen, certain).flatten()[:, None]).solution[:, 0].tolist()
    return solved[0], solved[1] if biased else 0.0


def _fits(gap: torch.Tensor, seen: torch.Tensor, certain: torch.Tensor) -> bool:
    """Whether computed scores are those seen up to a constant per query, within :data:`TOLERANCE`."""
    scale = max(float(centred(seen, certain).abs().max()), SMALLEST)
    return float(centred(gap, certain).abs().max()) <= TOLERANCE * scale


def _with_distance(names: tuple[str, ...], q: torch.Tensor, k: torch.Tensor, slope: float):
    """A source more, whose one term is the bias by distance, ``slope * (key - query)``."""
    at = torch.arange(q.shape[1], dtype=q.dtype, device=q.device)
    ones = torch.ones_like(at)

    def grown(part: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        wide = torch.nn.functional.pad(part, (0, 2))
        return torch.cat([wide, torch.nn.functional.pad(own, (part.shape[-1], 0))[None]])

    at_query, at_key = torch.stack([slope * ones, -slope * at], 1), torch.stack([at, ones], 1)
    return (*names, DISTANCE), grown(q, at_query), grown(k, at_key)


# -- one cell of a text, or the induction targets of many prompts


def iter_explain(
    model: TransformerBridge,
    head: Head,
    n_prompts: int = 10,
    seed: int = 0,
    *,
    length: int | None = None,
    n_shown: int = SHOWN,
) -> Iterator[Progress[Looking]]:
    """Why a head looks at the induction target, mean over the second copy of repeated random tokens.

    Each prompt gives one value per term, the mean over its queries; intervals are over prompts. Control: the same
    terms at the duplicate token, one position before the target.

    Args:
        length: mean tokens per copy, by default as a scan's.
        n_shown: sources of each side that are told apart; the others are put together.

    Yields:
        A step per prompt; the last one carries the result.

    Raises:
        InputError: a head outside of the model, or a number out of range.
        Refused: the terms do not sum to the model's own score.
    """
    started = time.perf_counter()
    batch = repeated_batch(model, n_prompts=n_prompts, length=length, seed=seed)
    yield Progress(0, n_prompts, "how the head's weights make its scores")
    reader, found = Reader(model, head), []
    for row in range(n_prompts):
        yield Progress(row, n_prompts, f"prompt {row + 1} of {n_prompts}")
        look, period = reader(batch.prompt(row).tolist()), batch.periods[row]
        queries = range(batch.lengths[row] - period, batch.lengths[row])
        found.append(_Cells(look, queries, [q - period + 1 for q in queries], [q - period for q in queries]))
    words = {
        "query": "a token of the second copy",
        "key": "the token after its first copy",
        "control_is": "the first copy itself",
        "protocol": f"{batch}; mean over all queries of the second copy; {RELATIVE}",
    }
    result = _result(model, head, found, n_shown, words, seed, started)
    yield Progress(n_prompts, n_prompts, "done", result)


explain = finished(iter_explain)


def iter_explain_text(
    model: TransformerBridge,
    head: Head,
    ids: Sequence[int],
    query: int = -1,
    key: int = -1,
    *,
    seed: int = 0,
    n_shown: int = SHOWN,
) -> Iterator[Progress[Looking]]:
    """Why a head looks from one position of a prompt to another.

    Args:
        query: -1: the last one whose token came before (with a key given, the last one).
        key: -1: the token after the latest earlier copy of the query's token.
        seed: draws the control key, where the query's token does not stand before the key.

    Yields:
        Steps; the last one carries the result.

    Raises:
        InputError: positions that the prompt does not have, or no induction target where one is asked for.
        Refused: the terms do not sum to the model's own score.
    """
    started = time.perf_counter()
    ids = [int(token) for token in ids]
    check_ids(model, ids)
    query, key = cell_of(ids, query, key)
    yield Progress(0, 1, "taking the prompt apart")
    look = Reader(model, head)(ids)
    check_cell(look, query, key)
    names = labels(model, ids)
    other = _control_key(look, ids, query, key, seed)
    same = ids[other] == ids[query] and other == key - 1
    words = {
        "query": f"{query} '{names[query]}'",
        "key": f"{key} '{names[key]}'",
        "control_is": f"{'its own earlier copy' if same else 'another key'}, {other} '{names[other]}',",
        "protocol": f"Own prompt of {len(ids)} tokens; {RELATIVE}",
    }
    result = _result(model, head, [_Cells(look, [query], [key], [other])], n_shown, words, seed, started)
    yield Progress(1, 1, "done", result)


explain_text = finished(iter_explain_text)


def cell_of(ids: Sequence[int], query: int, key: int) -> tuple[int, int]:
    """The cell that is meant, -1 resolved.

    Raises:
        InputError: there is no induction target.
    """
    if query < 0 and key >= 0:
        return len(ids) - 1, key
    if key >= 0 or query >= len(ids):  # whoever uses the cell says which positions there are
        return query, max(key, 0)
    for at in range(len(ids) - 1, 0, -1) if query < 0 else [query]:
        earlier = [before for before in range(at) if ids[before] == ids[at]]
        if earlier:
            return (at if query < 0 else query), earlier[-1] + 1
    where = "in this text no token comes twice" if query < 0 else f"the token at {query} did not come before"
    raise InputError(f"There is no induction target: {where}; name query and key, or repeat a word.")


def _control_key(look: Look, ids: Sequence[int], query: int, key: int, seed: int) -> int:
    """The query's own token before the key, or any other key that the query sees; the key itself where it is alone."""
    if key and ids[key - 1] == ids[query] and look.visible[query, key - 1]:
        return key - 1
    others = [at for at in torch.nonzero(look.visible[query])[:, 0].tolist() if at != key]
    return int(np.random.default_rng(seed).choice(others)) if others else key


class _Cells:
    """What is kept of one prompt: means over its cells, ``[query source, key source]``."""

    def __init__(
        self, look: Look, queries: Sequence[int], keys: Sequence[int], others: Sequence[int]
    ) -> None:
        at = (list(queries), list(keys))
        self.sources, self.up_to_row, self.cap = look.sources, look.up_to_row, look.cap
        self.terms, self.control, self.raw = (
            part.cpu().numpy()
            for part in (
                look.relative(queries, keys),
                look.relative(queries, others),
                look.terms(queries, keys),
            )
        )
        totals = (look.q.sum(0)[at[0]] * look.k.sum(0)[at[1]]).sum(-1)
        self.score = float(look.own[at].mean())
        self.error = float((totals - look.own[at]).abs().max())
        self.attention = float(look.pattern[at].mean())


def _result(
    model: TransformerBridge,
    head: Head,
    found: Sequence[_Cells],
    n_shown: int,
    words: dict[str, str],
    seed: int,
    started: float,
) -> Looking:
    one, n = found[0], len(found)
    terms, control, raw = (
        np.stack([getattr(cells, part) for cells in found]) for part in ("terms", "control", "raw")
    )  # [prompt, query source, key source]
    groups = [_shown(terms.mean(0), axis, one.sources, n_shown) for axis in (0, 1)]
    names = [[name for name, _ in group] for group in groups]
    terms, control, raw = (_grouped(part, groups) for part in (terms, control, raw))
    low, high = mean_interval(terms, stratified=True) if n > 1 else (None, None)
    return Looking(
        **provenance(model),
        layer=head[0],
        head=head[1],
        query_sources=names[0],
        key_sources=names[1],
        terms=rounded(terms.mean(0)),
        low=None if low is None else rounded(low),
        high=None if high is None else rounded(high),
        control=rounded(control.mean(0)),
        total=float(terms.sum((1, 2)).mean()),
        control_total=float(control.sum((1, 2)).mean()),
        raw=rounded(raw.mean(0)),
        raw_total=float(raw.sum((1, 2)).mean()),
        score=float(np.mean([cells.score for cells in found])),
        error=max(cells.error for cells in found),
        by_query=_margins(names[0], terms.sum(2), control.sum(2)),
        by_key=_margins(names[1], terms.sum(1), control.sum(1)),
        attention=float(np.mean([cells.attention for cells in found])),
        n_prompts=n,
        n_sources=len(one.sources),
        up_to_row=any(cells.up_to_row for cells in found),
        cap=one.cap,
        seed=seed,
        seconds=round(time.perf_counter() - started, 2),
        **words,
    )


def _shown(terms: np.ndarray, axis: int, sources: Sequence[str], n_shown: int) -> list[tuple[str, list[int]]]:
    """Which sources of one side are told apart, in the model's order, and the rest of them together."""
    if len(sources) <= n_shown + 1:
        return [(name, [at]) for at, name in enumerate(sources)]
    weight = np.maximum(np.abs(terms).max(1 - axis), np.abs(terms.sum(1 - axis)))
    kept = sorted(np.argsort(-weight, kind="stable")[:n_shown].tolist())
    rest = [at for at in range(len(sources)) if at not in set(kept)]
    return [*((sources[at], [at]) for at in kept), (REST, rest)]


def _grouped(terms: np.ndarray, groups: Sequence[list[tuple[str, list[int]]]]) -> np.ndarray:
    """``[prompt, query source, key source]`` summed within groups."""
    rows = np.stack([terms[:, at].sum(1) for _, at in groups[0]], 1)
    return np.stack([rows[:, :, at].sum(2) for _, at in groups[1]], 2)


def _margins(names: Sequence[str], values: np.ndarray, control: np.ndarray) -> list[Margin]:
    """Sums of each source, ``[prompt, source]``."""
    bounds = mean_interval(values, stratified=True) if len(values) > 1 else None
    low, high = ([None] * len(names),) * 2 if bounds is None else map(rounded, bounds)
    parts = zip(names, rounded(values.mean(0)), low, high, rounded(control.mean(0)), strict=True)
    return [Margin(source=s, value=v, low=lo, high=hi, control=c) for s, v, lo, hi, c in parts]


def rounded(values: np.ndarray) -> Any:
    return np.round(values, DIGITS).tolist()
