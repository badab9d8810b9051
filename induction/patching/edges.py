"""Attention knockout: what is lost when heads may not look from certain positions to certain others?

An ablation takes everything that a head does; here it loses single edges, attention from a query to a key, and goes
on with the rest. If what induction heads are needed for is their induction, removing the edges where induction would
look costs as much as removing the heads. Two controls: other heads that lose the same edges, and the same heads that
lose as many other edges of the same queries.

Crosbie & Shutova 2024 (arXiv 2407.07011); Geva et al. 2023 (arXiv 2304.14767).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from induction.analysis.scores import Mask, induction_mask
from induction.base import InputError, Progress, check_choice, check_seed, finished, ratio_interval
from induction.data_gen.pairs import PromptPair, check_pairs, in_words
from induction.data_gen.pairs import pairs as make_pairs
from induction.data_gen.sequences import Batch, repeated_batch
from induction.patching.ablation import MEASURES, answers, reference_set, repeats
from induction.patching.edge_results import INDUCTION, Edge, EdgeKnockout, EdgeMeasure, EdgeSet
from induction.patching.effects import DIGITS, changes
from induction.patching.heads import NamedSet, about_sets, controls_in_words, rows_of
from induction.patching.interventions import METRICS, WHEN, When
from induction.patching.results import Measure
from induction.patching.sweep import MAX_BYTES, Cut, check_component, run_rows
from induction.patching.table import Prompt, Row, Table

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Edges = str | Collection[Edge]
Ids = NDArray[np.int64]


def cells_of(edges: Edges, ids: Ids) -> Mask:
    """The edges of a prompt ``[query, key]``: marked ones, or where induction would look.

    Raises:
        InputError: an edge outside of the prompt, or one that looks ahead.
    """
    if isinstance(edges, str):
        check_choice(edges, (INDUCTION,), "choice of edges")
        return induction_mask(ids)
    cells = np.zeros((len(ids), len(ids)), dtype=bool)
    for query, key in edges:
        if not 0 <= key <= query < len(ids):
            raise InputError(
                f"There is no edge {query}>{key}: the prompt has positions 0 to {len(ids) - 1}, and each looks back."
            )
        cells[query, key] = True
    return cells


def random_cells(cells: Mask, rng: np.random.Generator) -> Mask:
    """As many cells of each query, drawn from the other keys that it sees, the first token left alone.

    Where a query sees too few others, all of them.
    """
    free = np.tri(len(cells), dtype=bool) & ~cells
    free[:, 0] = False
    rank = (
        np.where(free, rng.random(cells.shape), 2).argsort(1).argsort(1)
    )  # of each key among those of its query
    return free & (rank < cells.sum(1, keepdims=True))


def spared(cells: Mask) -> Mask:
    """The same cells, but a query that would lose all that it sees keeps the first token."""
    left = cells.copy()
    left[(cells | ~np.tri(len(cells), dtype=bool)).all(1), 0] = False
    return left


@dataclass(kw_only=True)
class EdgeTable(Table):
    """Measures of heads without some edges, and without all that they write.

    Attributes:
        when: a name of :data:`induction.patching.interventions.WHEN`.
        variants: by row, which of the cells of a prompt the heads lose; None: they are ablated.
        cells: of the ids of a prompt, bool ``[variant, query, key]``.
    """

    when: When
    variants: Sequence[int | None]
    cells: Callable[[Ids], NDArray[np.bool_]]

    def _measured(
        self, prompt: Prompt, indices: list[int], position: int
    ) -> Iterator[tuple[list[int], NDArray[np.float64]]]:
        whole = [index for index in indices if self.variants[index] is None]
        if whole:
            yield from super()._measured(prompt, whole, position)
        cut = [index for index in indices if self.variants[index] is not None]
        cells = self.cells(prompt.run.tokens[0].cpu().numpy())
        queries = np.nonzero(cells.any((0, 2)))[0]
        if not len(queries):  # nothing is removed
            yield cut, np.repeat(prompt.plain, len(cut), 0)
            return
        cuts, start, done = self._cuts(cut, cells, prompt), int(queries[0]), 0
        limits = {"start": start, "every_position": prompt.every_position, "max_bytes": self.max_bytes}
        for logits in run_rows(self.model, prompt.run, cuts, n_rows=len(cut), **limits):
            yield cut[done : done + len(logits)], prompt.measure(logits)
            done += len(logits)

    def _cuts(self, indices: list[int], cells: NDArray[np.bool_], prompt: Prompt) -> dict[int, Cut]:
        """By layer, what the heads of each row lose."""
        device = prompt.run.tokens.device
        chosen = torch.as_tensor(cells[[self.variants[index] for index in indices]], device=device)
        heads: dict[int, NDArray[np.bool_]] = {}  # [row, head]
        for number, index in enumerate(indices):
            for layer, head in self.rows[index].heads:
                empty = np.zeros((len(indices), self.model.cfg.n_heads), dtype=bool)
                heads.setdefault(layer, empty)[number, head] = True
        return {
            layer: Cut(self.when, torch.as_tensor(which, device=device), chosen)
            for layer, which in heads.items()
        }


def iter_knock_out(
    model: TransformerBridge,
    heads_sets: Sequence[NamedSet],
    *,
    edges: Edges = INDUCTION,
    when: When = "before",
    pairs: Sequence[PromptPair] | None = None,
    n_prompts: int = 5,
    length: int | None = None,
    n_random: int = 0,
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
) -> Generator[Progress[EdgeKnockout], None, None]:
    """Remove edges of each set of heads, all its heads together, and of both controls.

    Args:
        edges: ``induction``, where induction would look, prompt by prompt
            (:func:`induction.analysis.scores.induction_mask`), or ``(query, key)`` positions of every clean prompt.
        when: a name of :data:`induction.patching.interventions.WHEN`.
        pairs: whose clean prompts are answered; default ``n_prompts`` of :func:`induction.data_gen.pairs.pairs`.
        n_prompts: repeated sequences for the losses; none are run for marked edges, which are of the clean prompts.
        length: their mean period (default as in the scan).
        n_random: of each control of each set: other heads of the same layers without the same edges, and the same
            heads without other edges (:func:`random_cells`).
        seed: of prompts, reference set and controls.

    Yields:
        Progress; the last step carries the result. Beside each set stands its mean ablation
        (:func:`induction.patching.ablation.iter_ablate`), over the same prompts. Closing cancels.

    Raises:
        InputError: no sets, pairs or edges, an unknown name, a head or an edge that there is not, or a count out of
            range.
        Refused: the model's attention cannot be set.
    """
    check_choice(when, tuple(WHEN), "time of removal")
    check_seed(seed)
    if pairs is not None:
        check_pairs(model, pairs)
    if not edges:
        raise InputError("Name at least one edge as (query, key), for example (5, 2).")
    check_component(model, "pattern")
    started = time.perf_counter()
    named, rows = rows_of(model, heads_sets, n_random, seed)
    asked = make_pairs(model, n_prompts, seed=seed) if pairs is None else list(pairs)
    n_edges = [int(cells_of(edges, _ids(pair)).sum()) for pair in asked]
    batch = repeated_batch(model, n_prompts=n_prompts, length=length, seed=seed)
    table = _table(model, named, rows, edges, when, asked, batch, n_random, seed, max_bytes)
    for label, _, _ in table.fill():
        yield Progress(table.done, table.total, label)
    found = _measures(table, len(named), len(asked), n_random)
    about = about_sets(model, named, {}, asked, n_random, seed)
    sets = [
        EdgeSet(label=item.label, heads=item.heads, measures={name: of[at] for name, of in found.items()})
        for at, item in enumerate(about["sets"])
    ]
    result = EdgeKnockout(
        **about | {"sets": sets},
        protocol=_protocol(edges, when, asked, batch, n_random),
        intervention=when,
        component="pattern",
        edges=[] if isinstance(edges, str) else sorted([int(q), int(k)] for q, k in edges),
        n_edges=n_edges,
        engine=table.engine,
        seconds=round(time.perf_counter() - started, 2),
    )
    yield Progress(table.total, table.total, "done", result)


knock_out = finished(iter_knock_out)


def _ids(pair: PromptPair) -> Ids:
    return np.array(pair.clean[: pair.scored + 1])


def _protocol(edges: Edges, when: When, pairs: Sequence[PromptPair], batch: Batch, n_random: int) -> str:
    where = "where induction looks" if isinstance(edges, str) else "as marked"
    losses = f"losses: {batch}; " if isinstance(edges, str) else ""
    removed = f"edges {where}, removed {WHEN[when].title[0].lower()}{WHEN[when].title[1:]}"
    others = f", and {n_random} draws of as many other edges" if n_random else ""
    return f"{removed}; answer: clean prompts of {in_words(pairs)}; {losses}{controls_in_words(n_random)}{others}"


def _table(
    model: TransformerBridge,
    named: Sequence[NamedSet],
    rows: Sequence[Row],
    edges: Edges,
    when: When,
    pairs: Sequence[PromptPair],
    batch: Batch,
    n_random: int,
    seed: int,
    max_bytes: int,
) -> EdgeTable:
    """Rows: the sets, random heads of each in turn, random edges of each in turn, the sets ablated."""
    losses = isinstance(edges, str)
    longest = max(*(batch.lengths if losses else ()), 1, *(pair.scored + 1 for pair in pairs))
    top = max(layer for item in named for layer, _ in item.heads)  # whose heads are ablated
    values = partial(reference_set(model, longest, seed=seed, stop=top + 1).values, "mean")
    whole = [Row(item.heads) for item in named]
    draws = range(1, n_random + 1)
    table_rows = [*rows, *(row for row in whole for _ in draws), *whole]
    variants = [*(0 for _ in rows), *(draw for _ in whole for draw in draws), *(None for _ in whole)]

    def cells(ids: Ids) -> NDArray[np.bool_]:
        own = cells_of(edges, ids)
        rng = np.random.default_rng([seed, *ids.tolist()])
        every = [own, *(random_cells(own, rng) for _ in draws)]
        return np.stack([spared(one) for one in every] if when == "before" else every)

    prompts = [*answers(model, pairs, values), *(repeats(model, batch, values) if losses else [])]
    about = {"n_plain": 1, "n_measures": len(MEASURES), "max_bytes": max_bytes}
    return EdgeTable(
        model=model,
        component="z",
        rows=table_rows,
        prompts=prompts,
        when=when,
        variants=variants,
        cells=cells,
        **about,
    )


def _measures(table: EdgeTable, n_sets: int, n_pairs: int, n_random: int) -> dict[str, list[EdgeMeasure]]:
    """By measure, one of each set."""
    heads_end = n_sets * (1 + n_random)
    found = {}
    for at, (name, measured) in enumerate(MEASURES.items()):
        on = slice(n_pairs) if name in METRICS else slice(n_pairs, None)  # prompts
        edited, intact = table.edited[:, on, at], table.plain[0, on, at]
        if not len(intact):
            continue
        by_heads = changes(edited[:heads_end], intact, n_sets, n_random, measured.unit)
        by_edges = np.concatenate([edited[:n_sets], edited[heads_end:-n_sets]])
        edges = changes(by_edges, intact, n_sets, n_random, measured.unit)
        whole = changes(edited[-n_sets:], intact, n_sets, 0, measured.unit)
        shares = [_share(edited[s] - intact, edited[s - n_sets] - intact) for s in range(n_sets)]
        found[name] = [_joined(*parts) for parts in zip(by_heads, edges, whole, shares, strict=True)]
    return found


def _joined(own: Measure, edges: Measure, whole: Measure, share: dict[str, float]) -> EdgeMeasure:
    about = dict(own) | {"edges": edges.random, "above_edges": edges.percentile, "removed": whole}
    return EdgeMeasure(**about, **share)


def _share(change: NDArray[np.float64], whole: NDArray[np.float64]) -> dict[str, float]:
    """What the edges do of what the heads do, both ``[prompt]``; nothing where the prompts do not tell that from 0."""
    if len(whole) < 2:
        return {}
    low, high = ratio_interval(change, whole)
    if np.isnan(low):
        return {}
    ends = {"share": change.mean() / whole.mean(), "share_low": low, "share_high": high}
    return {name: round(float(value), DIGITS) for name, value in ends.items()}
