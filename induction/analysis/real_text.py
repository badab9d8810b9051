"""Heads in prose: does what looks like induction on random repeats also happen where text repeats by itself?

A query counts whose token came before, unless the repeat would be predicted from the token alone: a bigram model of all
other passages gives the token that followed the latest earlier occurrence a probability of :data:`PREDICTED` or more.
Tokens of which the text is full (:data:`FREQUENT`, such as a comma) do not count as queries: some occurrence is always
near. Prefix matching on text: Olsson et al. 2022.

Each attention pattern is reduced inside the hook that sees it, passages run in batches that fit the memory, and one
position is unembedded.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from induction.analysis.kinds import STRIPE
from induction.analysis.reading import passing
from induction.analysis.real_text_result import (
    MEASURES,
    STRONGEST,
    Agreement,
    Excerpt,
    HeadMeasure,
    RealText,
)
from induction.analysis.result import Scan
from induction.analysis.scores import induction_mask
from induction.base import Head, InputError, Progress, Refused, finished, mean_interval
from induction.data_gen.prose import SOURCE, Prose, prose, prose_ids, spread_out

if TYPE_CHECKING:
    import torch
    from transformer_lens.model_bridge import TransformerBridge

N_PASSAGES, LENGTH = 26, 512  # passages, and tokens of each
PREDICTED = 0.1  # probability from which on the bigram model predicts a token
FREQUENT = 0.01  # share of all tokens from which on a token is no query
SMOOTHING = (
    1.0  # tokens drawn from the frequencies of all tokens, added to the counts of each pair's first token
)
SHOWN_HEADS, MOST_HEADS = 12, 24  # with excerpts: of the ranking, and with the induction heads
MOST, DECILES = 4, (9, 7, 5)  # excerpts of a head: where it fires most, and one at each of these
BEFORE_TARGET, AFTER_TARGET, BEFORE_QUERY, AFTER_QUERY = 8, 4, 22, 4  # tokens of an excerpt
DRAWS = 1000  # of the bootstrap
DIGITS = 4
OFF_BY = 1e-3  # from 1, of the sum of a row of attention

Values = NDArray[np.float64]


# Which queries count


class Bigrams:
    """Counts of tokens and of pairs of tokens in passages, any one of which can be left out."""

    def __init__(self, passages: Sequence[NDArray[np.int64]], d_vocab: int) -> None:
        self._passages, self._d_vocab = passages, d_vocab
        self._singles = np.bincount(np.concatenate(passages), minlength=d_vocab)
        self._pairs = _counted(np.concatenate([self._codes(ids) for ids in passages]))

    def share(self, left_out: int, tokens: NDArray[np.int64]) -> Values:
        """The frequency of tokens among those of all passages but one; same shape."""
        counts = self._without(left_out)
        return counts[tokens] / max(counts.sum(), 1)

    def probability(self, left_out: int, first: NDArray[np.int64], then: NDArray[np.int64]) -> Values:
        """Of ``then`` right after ``first`` in all passages but one, smoothed towards the frequency of ``then``."""
        own = _counted(self._codes(self._passages[left_out]))
        codes = first * self._d_vocab + then
        pairs = _looked_up(self._pairs, codes) - _looked_up(own, codes)
        begun = self._without(left_out)[first]
        return (pairs + SMOOTHING * self.share(left_out, then)) / (begun + SMOOTHING)

    def _codes(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return ids[:-1] * self._d_vocab + ids[1:]

    def _without(self, left_out: int) -> NDArray[np.int64]:
        return self._singles - np.bincount(self._passages[left_out], minlength=self._d_vocab)


Counts = tuple[NDArray[np.int64], NDArray[np.int64]]  # codes in order, and how often each comes


def _counted(codes: NDArray[np.int64]) -> Counts:
    return np.unique(codes, return_counts=True)


def _looked_up(counts: Counts, codes: NDArray[np.int64]) -> NDArray[np.int64]:
    known, times = counts
    if not len(known):
        return np.zeros_like(codes)
    at = np.searchsorted(known, codes).clip(0, len(known) - 1)
    return np.where(known[at] == codes, times[at], 0)


@dataclass(frozen=True)
class Queries:
    """The queries of one passage that count, and their cells.

    Attributes:
        length: of the passage in tokens.
        query: positions ``[query]``; ``latest``: the key of each that follows the latest earlier occurrence.
        after: all positions after an earlier occurrence, bool ``[query, pos]``.
        row, key: those of these cells that are not predicted, ``[cell]``; ``row`` counts queries.
        n_repeated: positions whose token came before, with a token between.
    """

    length: int
    query: NDArray[np.int64]
    latest: NDArray[np.int64]
    after: NDArray[np.bool_]
    row: NDArray[np.int64]
    key: NDArray[np.int64]
    n_repeated: int

    @classmethod
    def of(
        cls, ids: NDArray[np.int64], bigrams: Bigrams, left_out: int, special: Sequence[int] = ()
    ) -> Queries:
        """Of a passage ``[pos]`` that is left out of the bigram model, without ``special`` tokens."""
        mask = induction_mask(ids)
        some, key = np.nonzero(mask)  # sorted by query, then key
        predicted = bigrams.probability(left_out, ids[some], ids[key]) >= PREDICTED
        latest = len(ids) - 1 - mask[:, ::-1].argmax(1)  # [pos], of those with a cell
        dropped = (bigrams.share(left_out, ids) >= FREQUENT) | np.isin(ids, list(special)) | ~mask.any(1)
        dropped[some[(key == latest[some]) & predicted]] = True
        query = np.flatnonzero(~dropped)
        kept = ~predicted & ~dropped[some]
        row = np.searchsorted(query, some[kept])
        return cls(len(ids), query, latest[query], mask[query], row, key[kept], int(mask.any(1).sum()))

    @cached_property
    def elsewhere(self) -> NDArray[np.float64]:
        """The control: per query the weights of its keys ``[query, pos]``, evenly over all cells that lie as far back
        as the target of another query and follow no earlier occurrence; a row of zeros where there is none."""
        weights = np.zeros((len(self.query), self.length))
        key = self.query[:, None] - (self.query - self.latest)[None]  # [query, query whose distance it is]
        rows = np.broadcast_to(np.arange(len(self.query))[:, None], key.shape)
        there = key >= 1
        np.add.at(weights, (rows[there], key[there]), 1.0)
        weights[self.after] = 0
        return weights / np.maximum(weights.sum(1, keepdims=True), 1)

    def picked(self, weight: Values) -> NDArray[np.int64]:
        """Queries where a head fires most and at its deciles, as indices ``[1 + deciles, head]``, by ``weight``
        ``[query, head]``."""
        n = len(self.query)
        places = [0, *(round((STRONGEST - decile) / STRONGEST * (n - 1)) for decile in DECILES)]
        return np.argsort(-weight, axis=0, kind="stable")[places]

    def window(self, picked: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions that an excerpt of these queries shows, ``[..., position]``: some come twice."""
        query, target = self.query[picked][..., None], self.latest[picked][..., None]
        around = target + np.arange(-BEFORE_TARGET, AFTER_TARGET + 1)
        before = query + np.arange(-BEFORE_QUERY, 1)
        first = np.zeros_like(query)
        return np.minimum(np.concatenate([first, around, before], -1).clip(0), query)


def counted_queries(
    model: TransformerBridge, passages: Sequence[Prose], ids: NDArray[np.int64]
) -> list[Queries]:
    """The queries that count of each passage, its ids ``[passage, pos]``; the bigram model is of whole passages."""
    from induction.model.tokens import encode

    whole = [np.asarray(encode(model, one.text, bos=False), dtype=np.int64) for one in prose()]
    bigrams = Bigrams(whole, model.cfg.d_vocab)
    special = model.tokenizer.all_special_ids
    places = [prose().index(one) for one in passages]
    return [Queries.of(row, bigrams, at, special) for row, at in zip(ids, places, strict=True)]


# What a pattern says


@dataclass(frozen=True)
class Reduced:
    """What is kept of the attention of one layer on one passage.

    Attributes:
        values: of each measure but the lead ``[head]``; NaN where no query has a cell.
        weight: at the latest targets, ``[query, head]``.
        seen: share of the targets at which some head looks at all.
        picked: queries that excerpts may show, ``[pick, head]``; ``shown``: attention of their rows at the window,
            ``[pick, head, position]``.
    """

    values: dict[str, Values]
    weight: NDArray[np.float32]
    seen: float
    picked: NDArray[np.int64]
    shown: NDArray[np.float16]


def reduce_pattern(pattern: torch.Tensor, queries: Queries) -> Reduced:
    """Reduce the attention of one layer on one passage.

    Args:
        pattern: ``[head, query, key]``, rows sum to 1.

    Raises:
        Refused: rows do not sum to 1, so that entropy and distance are not defined.
    """
    import torch

    values = _of_rows(pattern)

    def index(places: NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(places, device=pattern.device)

    n_heads, n = len(pattern), len(queries.query)
    if not n:
        nothing = np.full(n_heads, np.nan)
        values |= dict.fromkeys(("latest", "any", "control", "often", "often_any"), nothing)
        shape = (0, n_heads)
        return Reduced(
            values, np.zeros(shape, np.float32), np.nan, np.zeros(shape, int), np.zeros((0, n_heads, 0), "f2")
        )
    rows = pattern[:, index(queries.query)].double()  # [head, query, key]
    latest = rows[:, torch.arange(n), index(queries.latest)].T  # [query, head]
    cells = rows[:, index(queries.row), index(queries.key)].T  # [cell, head]
    total = torch.zeros_like(latest).index_add_(0, index(queries.row), cells)
    elsewhere = index(queries.elsewhere)  # [query, key]
    there = elsewhere.sum(1) > 0
    control = torch.einsum("hqk,qk->qh", rows, elsewhere)[there]
    weight = latest.cpu().numpy()
    picked = queries.picked(weight)  # [pick, head]
    window = index(queries.window(picked))
    head = torch.arange(n_heads, device=pattern.device)[None, :, None]
    shown = rows[head, index(picked)[..., None], window]
    means = {
        "latest": latest.mean(0),
        "any": total.mean(0),
        "control": control.mean(0),  # NaN of none
        "often": (latest >= STRIPE).double().mean(0),
        "often_any": (total >= STRIPE).double().mean(0),
    }
    values |= {name: mean.cpu().numpy() for name, mean in means.items()}
    seen = float((latest > 0).any(1).double().mean())
    return Reduced(values, weight.astype(np.float32), seen, picked, shown.cpu().numpy().astype(np.float16))


def _of_rows(pattern: torch.Tensor) -> dict[str, Values]:
    """Entropy in nats, distance in tokens and attention to position 0, ``[head]``, means over all queries but the
    first, which sees one position."""
    import torch

    later = pattern[:, 1:]  # [head, query, key]
    sums = later.sum(-1, dtype=torch.float64)  # [head, query]
    if not bool(((sums - 1).abs() < OFF_BY).all()):
        raise Refused(
            "Rows of attention do not sum to 1 in this model, so its entropy and distance are not defined; the scan "
            "does without them."
        )
    by_key = later.sum(1, dtype=torch.float64)  # [head, key]
    n = later.shape[1]
    position = torch.arange(n + 1, dtype=torch.float64, device=pattern.device)
    distance = (sums @ position[1:] - by_key @ position) / n
    entropy = torch.special.entr(later).sum((1, 2), dtype=torch.float64) / n
    found = {"entropy": entropy, "distance": distance, "first_token": by_key[:, 0] / n}
    return {name: value.cpu().numpy() for name, value in found.items()}


def levels(queries: Queries) -> dict[str, tuple[float, float]]:
    """Of each measure what uniform attention gives on a passage, and the most that is possible; NaN without queries."""
    seen = np.arange(2, queries.length + 1)  # positions that each query but the first sees
    query, n = queries.query, len(queries.query)
    found = {
        "entropy": (np.log(seen).mean(), np.log(seen).mean()),
        "distance": ((seen - 1).mean() / 2, (seen - 1).mean()),
        "first_token": ((1 / seen).mean(), 1.0),
    }
    if not n:
        return dict.fromkeys(MEASURES, (np.nan, np.nan)) | found
    each = 1 / (query + 1)
    total = np.bincount(queries.row, minlength=n) * each
    there = queries.elsewhere.sum(1) > 0
    control = each[there].mean() if there.any() else np.nan
    return found | {
        "latest": (each.mean(), 1.0),
        "any": (total.mean(), 1.0),
        "control": (control, 1.0),
        "lead": (each.mean() - control, 1.0),
        "often": ((each >= STRIPE).mean(), 1.0),
        "often_any": ((total >= STRIPE).mean(), 1.0),
    }


# The run


def iter_real_text(
    model: TransformerBridge,
    *,
    n_passages: int = N_PASSAGES,
    length: int | None = None,
    scan: Scan | None = None,
) -> Generator[Progress[RealText], None, None]:
    """Measure every head of a model on bundled prose, a batch of passages per step.

    Args:
        n_passages: from as many books as there are.
        length: tokens of each, BOS among them; default 512, less where context or passages are shorter.
        scan: what the ranking is compared with, and whose induction heads get excerpts too.

    Yields:
        Progress; the last step carries the :class:`~induction.analysis.real_text_result.RealText`. Closing cancels.

    Raises:
        InputError: too many passages, more tokens than a passage or the context has, or nothing repeats in them.
        Refused: rows of attention do not sum to 1.
    """
    from induction.analysis.scanning import rows_at_once
    from induction.model import provenance
    from induction.model.tokens import encode

    start = time.perf_counter()
    passages = spread_out(n_passages)
    if length is None:
        length = min(LENGTH, model.cfg.n_ctx, *(len(encode(model, one.text)) for one in passages))
    ids = np.array([prose_ids(model, one, length) for one in passages], dtype=np.int64)  # [passage, pos]
    queries = counted_queries(model, passages, ids)
    if not any(one.elsewhere.any() for one in queries):
        raise InputError(
            f"Too little comes again unpredicted within {length} tokens of these passages; ask for more of either."
        )
    reduced: list[list[Reduced]] = []  # [passage][layer]
    at_once = rows_at_once(model, length, loss=False)
    for first in range(0, n_passages, at_once):
        rows = slice(first, min(first + at_once, n_passages))
        yield Progress(first, n_passages, f"passages {rows.start + 1} to {rows.stop} of {n_passages}")
        reduced += _measure(model, ids[rows], queries[rows])
    books = [one.book for one in passages]
    samples, beside = by_book(reduced, books), levels_by_book(queries, books)
    found = RealText(
        **provenance(model),
        protocol=_protocol(n_passages, len({*books}), length),
        passages=books,
        length=length,
        n_queries=sum(len(one.query) for one in queries),
        n_repeated=sum(one.n_repeated for one in queries),
        measures={name: _head_measure(name, samples[name], beside[name]) for name in MEASURES},
        reach=np.round(np.nanmean([[one.seen for one in layers] for layers in reduced], 0), DIGITS).tolist(),
        agreement=_agreement(samples["latest"], scan, model),
        excerpts=_excerpts(model, ids, queries, reduced, samples["latest"].mean(0), scan),
        seconds=round(time.perf_counter() - start, 2),
    )
    yield Progress(n_passages, n_passages, "done", found)


real_text = finished(iter_real_text)


def _protocol(n_passages: int, n_books: int, length: int) -> str:
    return (
        f"{n_passages} passages of {length} tokens from {n_books} books: {SOURCE}. Queries: their token came before, "
        f"makes up less than {FREQUENT:.0%} of all tokens, and a bigram model of all other bundled passages gives "
        f"what followed it a probability below {PREDICTED:g}. Means over books, each the mean of its passages; 95 % "
        "intervals over books"
    )


def _measure(
    model: TransformerBridge, ids: NDArray[np.int64], queries: Sequence[Queries]
) -> list[list[Reduced]]:
    """One forward pass over passages ``[passage, pos]``: ``[passage][layer]``."""
    import torch

    found: list[list[Reduced]] = [[] for _ in queries]

    def reduce(pattern: torch.Tensor, hook: Any) -> None:  # [passage, head, query, key]
        for kept, own, asked in zip(found, pattern, queries, strict=True):
            kept.append(reduce_pattern(own, asked))

    hooks = [(f"blocks.{layer}.attn.hook_pattern", reduce) for layer in range(model.cfg.n_layers)]
    hooks.append(("unembed.hook_in", lambda normed, hook: normed[:, :1]))  # its logits are not asked for
    with torch.inference_mode():
        model.run_with_hooks(torch.as_tensor(ids, device=model.cfg.device), fwd_hooks=hooks, return_type=None)
    return found


def by_book(reduced: Sequence[Sequence[Reduced]], books: Sequence[str]) -> dict[str, Values]:
    """Every measure ``[book, layer, head]``, the mean of a book's passages, which share its words and are no
    independent samples; books without a query are left out of what needs one."""
    of_passages = {
        name: np.array([[one.values[name] for one in layers] for layers in reduced])  # [passage, layer, head]
        for name in MEASURES
        if name != "lead"
    }
    of_passages["lead"] = of_passages["latest"] - of_passages["control"]
    return {name: _means(of_passages[name], books) for name in MEASURES}


def levels_by_book(queries: Sequence[Queries], books: Sequence[str]) -> dict[str, Values]:
    """Chance and ceiling of every measure, ``[book, 1, 2]``, over the passages that :func:`by_book` takes."""
    of_passages = [levels(one) for one in queries]
    return {name: _means(np.array([[one[name]] for one in of_passages]), books) for name in MEASURES}


def _means(values: Values, books: Sequence[str]) -> Values:
    """``[book, layer, head]`` of ``[passage, layer, head]``."""
    names, there = np.asarray(books), ~np.isnan(values).any((1, 2))
    return np.array([values[there & (names == book)].mean(0) for book in dict.fromkeys(names[there])])


def _head_measure(name: str, values: Values, levels: Values) -> HeadMeasure:
    """Of samples ``[book, layer, head]`` and their levels ``[book, 1, (chance, ceiling)]``."""
    most = {"lead": (-1.0, 1.0), "entropy": (0, np.inf), "distance": (0, np.inf)}.get(name, (0.0, 1.0))
    low = high = None
    if len(values) > 1:
        among = values[0].size if name == "lead" else 1
        low, high = (_rounded(end.clip(*most)) for end in mean_interval(values, among=among))
    chance, ceiling = levels.mean((0, 1))
    return HeadMeasure(
        mean=_rounded(values.mean(0)),
        low=low,
        high=high,
        chance=round(float(chance), DIGITS),
        ceiling=round(float(ceiling), DIGITS),
    )


def _rounded(values: Values) -> list[Any]:
    return np.round(values, DIGITS).tolist()


# Against random repeats


def ranks(values: Values) -> Values:
    """Of each value among its row ``[..., n]``, from 1; equal values share the mean of their ranks."""
    rows = values.reshape(-1, values.shape[-1])
    ordered = np.sort(rows, axis=1)
    sides = ("left", "right")
    found = [
        sum(np.searchsorted(order, row, side) for side in sides)
        for order, row in zip(ordered, rows, strict=True)
    ]
    return (np.array(found) + 1).reshape(values.shape) / 2


def spearman(values: Values, others: Values) -> Values:
    """Rank correlation of each row ``[..., n]`` with ``others`` ``[n]``; NaN where all values are equal."""
    mine, theirs = (ranks(one) - (one.shape[-1] + 1) / 2 for one in (values, others))
    norm = np.sqrt((mine**2).sum(-1) * (theirs**2).sum())
    return np.divide(mine @ theirs, norm, out=np.full(norm.shape, np.nan), where=norm > 0)


def _agreement(values: Values, scan: Scan | None, model: TransformerBridge) -> Agreement | None:
    """Of scores in prose ``[book, layer, head]``; the interval is of the books alone, at these heads and this scan."""
    shape = (model.cfg.n_layers, model.cfg.n_heads)
    if scan is None or "induction" not in scan.scores or (scan.n_layers, scan.n_heads) != shape:
        return None
    repeat = np.array(scan.scores["induction"].mean)
    flat = values.reshape(len(values), -1)  # [book, head]
    found = float(spearman(flat.mean(0), repeat.ravel()))
    if np.isnan(found):
        return None
    low = high = None
    if len(flat) > 1:
        drawn = np.random.default_rng(0).integers(len(flat), size=(DRAWS, len(flat)))
        resampled = spearman(np.stack([flat[rows].mean(0) for rows in drawn]), repeat.ravel())
        low, high = (round(float(end), DIGITS) for end in np.nanquantile(resampled, (0.025, 0.975)))
    return Agreement(
        repeat=scan.scores["induction"].mean,
        spearman=round(found, DIGITS),
        low=low,
        high=high,
        protocol=scan.scores["induction"].protocol,
    )


# Excerpts


class _Candidate(NamedTuple):
    weight: float
    passage: int
    pick: int


def _excerpts(
    model: TransformerBridge,
    ids: NDArray[np.int64],
    queries: Sequence[Queries],
    reduced: Sequence[Sequence[Reduced]],
    mean: Values,
    scan: Scan | None,
) -> list[Excerpt]:
    """Of the heads with the highest scores ``[layer, head]`` and of the scan's induction heads."""
    strongest = [divmod(int(at), mean.shape[1]) for at in np.argsort(-mean, axis=None)[:SHOWN_HEADS]]
    known = passing(scan) if scan and (scan.n_layers, scan.n_heads) == mean.shape else []
    heads = dict.fromkeys([*strongest, *known])
    return [
        _excerpt(model, ids[one.passage], queries[one.passage], reduced[one.passage], head, one, decile)
        for head in list(heads)[:MOST_HEADS]
        for one, decile in _chosen(queries, reduced, head)
    ]


def _chosen(
    queries: Sequence[Queries], reduced: Sequence[Sequence[Reduced]], head: Head
) -> list[tuple[_Candidate, int]]:
    """Which excerpts show a head, with their deciles: the strongest query of the strongest passages, and of what was
    kept what comes nearest to each decile of all its queries."""
    layer, index = head
    with_queries = [at for at, asked in enumerate(queries) if len(asked.query)]

    def kept(pick: int) -> list[_Candidate]:
        found = []
        for at in with_queries:
            one = reduced[at][layer]
            found.append(_Candidate(float(one.weight[one.picked[pick, index], index]), at, pick))
        return found

    chosen = [(one, STRONGEST) for one in sorted(kept(0), reverse=True)[:MOST]]
    weights = np.concatenate([reduced[at][layer].weight[:, index] for at in with_queries])
    for pick, decile in enumerate(DECILES, 1):
        value = np.quantile(weights, decile / STRONGEST)
        chosen.append((min(kept(pick), key=lambda one: abs(one.weight - value)), decile))
    return chosen


def _excerpt(
    model: TransformerBridge,
    ids: NDArray[np.int64],
    queries: Queries,
    reduced: Sequence[Reduced],
    head: Head,
    candidate: _Candidate,
    decile: int,
) -> Excerpt:
    from induction.model.tokens import labels

    layer, index = head
    which = reduced[layer].picked[candidate.pick, index]
    query, target = int(queries.query[which]), int(queries.latest[which])
    window = queries.window(which).tolist()
    weights = dict(zip(window, reduced[layer].shown[candidate.pick, index].tolist(), strict=True))
    weights |= dict.fromkeys(range(query + 1, min(query + AFTER_QUERY + 1, queries.length)), 0.0)
    places = sorted(weights)
    return Excerpt(
        layer=layer,
        head=index,
        passage=candidate.passage,
        query=query,
        target=target,
        weight=round(candidate.weight, 2),
        decile=decile,
        spans=_spans(places),
        tokens=labels(model, ids[places].tolist()),
        weights=[round(weights[at], 2) for at in places],
        elsewhere=round(min(max(1 - sum(weights.values()), 0.0), 1.0), 2),
    )


def _spans(places: list[int]) -> list[list[int]]:
    """Sorted positions as ``[first, end)`` of their runs."""
    breaks = np.flatnonzero(np.diff(places) > 1) + 1
    return [[int(run[0]), int(run[-1]) + 1] for run in np.split(np.array(places), breaks)]
