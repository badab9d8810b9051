"""Measure the tests of :data:`induction.evidence.results.TESTS` on one head or on all, and put them together.

What a head does in its set is measured against the set without it: the induction heads of the scan, with the head
added where it is none of them, and taken out where it is. The other heads of its layer are measured with it, as its
control. Plain runs are shared by all variants of a prompt, and variants are rows of one batch
(:mod:`induction.patching.table`).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from induction.analysis.reading import passing
from induction.analysis.real_text import iter_real_text
from induction.analysis.real_text_result import RealText
from induction.analysis.result import Scan
from induction.analysis.scanning import iter_scan
from induction.analysis.scores import induction_mask
from induction.base import (
    Gaps,
    Head,
    InputError,
    Progress,
    Refused,
    check_heads,
    finished,
    head_name,
    mean_interval,
    share,
)
from induction.circuit.paths import iter_path_patch
from induction.circuit.results import Circuit, Paths
from induction.data_gen.pairs import PromptPair, in_words
from induction.data_gen.sequences import repeated_batch
from induction.evidence.results import TESTS, Column, Evidence, others_of
from induction.model import provenance
from induction.patching.ablation import MEASURES, reference_set, repeats
from induction.patching.attribution import direct_logit_attribution
from induction.patching.bundled import SEED, prompts_of
from induction.patching.edges import EdgeTable, spared
from induction.patching.effects import moved, ratio_bounds, ratio_of_means
from induction.patching.heads import table_of
from induction.patching.interventions import METRICS
from induction.patching.sweep import MAX_BYTES
from induction.patching.table import Row, Table

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

ANSWER = list(METRICS).index("logit_difference")
LOSS = list(MEASURES).index("second_copy_loss")
PASSAGES = 13  # of prose
N_REPEATS = 5  # repeated sequences on which losses are measured, as in an ablation
DIGITS = 4
Bounds = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]  # value, low, high


@dataclass(frozen=True)
class _Asked:
    """Which heads are measured: those ``tested``, the others of their layers as controls, and the set."""

    model: TransformerBridge
    tested: list[Head]
    measured: list[Head]
    induction: list[Head]

    @property
    def rows(self) -> list[Row]:
        """Each head alone, the set, and the set with each head the other way round: in it, or not."""
        return [Row(heads) for heads in [*((head,) for head in self.measured), *self.sets] if heads]

    @property
    def sets(self) -> list[tuple[Head, ...]]:
        whole = set(self.induction)
        return [tuple(self.induction), *(tuple(sorted(whole ^ {head})) for head in self.measured)]

    def split(self, edited: NDArray[np.float64], plain: NDArray[np.float64]) -> tuple[Any, Any]:
        """``[head, prompt]`` twice of rows' values ``[row, prompt]``: each head alone, and in its set.

        In its set a head does what the set with it does beyond the set without it; nothing edited is the plain run.
        """
        rows = iter(edited)
        alone = np.stack([next(rows) for _ in self.measured])
        return alone, self.within(rows, plain)

    def within(self, rows: Iterator[NDArray[np.float64]], plain: NDArray[np.float64]) -> NDArray[np.float64]:
        """The second of these, of the rows of the sets alone."""
        whole, *others = [next(rows) if heads else plain for heads in self.sets]
        signs = [1 if head in self.induction else -1 for head in self.measured]
        return np.stack([sign * (whole - other) for sign, other in zip(signs, others, strict=True)])

    def column(self, bounds: Bounds, protocol: str) -> Column:
        """Value and interval of each head that was measured; those of the others in its layer are its control."""
        value, low, high = (self.grid(self.measured, part) for part in bounds)
        controls = self.grid(self.tested, [others_of(value, head, self.induction) for head in self.tested])
        return self.picked((value, low, high, controls), protocol)

    def picked(self, grids: Sequence[Gaps | None], protocol: str) -> Column:
        """Value, low, high and control of the heads that were asked about, from grids of more."""
        cells = [
            self.grid(self.tested, [None if grid is None else grid[a][b] for a, b in self.tested])
            for grid in grids
        ]
        return Column(**dict(zip(("value", "low", "high", "control"), cells, strict=True)), protocol=protocol)

    def grid(self, heads: Sequence[Head], values: Sequence[Any]) -> Gaps:
        """``[layer][head]`` of some heads' values, None elsewhere and for what is not a number."""
        cells: Gaps = [[None] * self.model.cfg.n_heads for _ in range(self.model.cfg.n_layers)]
        for (layer, head), value in zip(heads, values, strict=True):
            known = value is not None and np.isfinite(value)
            cells[layer][head] = round(float(value), DIGITS) if known else None
        return cells


def iter_evidence(
    model: TransformerBridge,
    heads: Sequence[Head] | None = None,
    *,
    scan: Scan | None = None,
    circuit: Circuit | None = None,
    prose: RealText | None = None,
    seed: int = SEED,
    max_bytes: int = MAX_BYTES,
) -> Generator[Progress[Evidence], None, None]:
    """Every test of :data:`induction.evidence.results.TESTS` on some heads, default all of them.

    What feeds a head is measured where it attends to the target at all, or where it is the only one asked about.

    Args:
        scan: scores of this model, to save measuring them again.
        circuit: paths of this model, to save measuring those again that it has.
        prose: what its heads do in prose, to save measuring it again.
        seed: of all prompts.

    Yields:
        Progress in per cent; the last step carries the result. Closing cancels. What cannot be verified on the model
        is absent from it, with the reason in its place.

    Raises:
        InputError: a head outside of the model.
    """
    started = time.perf_counter()
    shape = (model.cfg.n_layers, model.cfg.n_heads)
    everywhere = [(layer, head) for layer in range(shape[0]) for head in range(shape[1])]
    tested = everywhere if heads is None else list(check_heads(heads, *shape))
    if scan is None or not scan.scores["induction"].per_prompt:
        scan = yield from share(iter_scan(model, scores=("induction",), loss=False, seed=seed), 0, 5)
    layers = {layer for layer, _ in tested}
    asked = _Asked(model, tested, [head for head in everywhere if head[0] in layers], passing(scan))
    pairs = prompts_of(model)
    columns, refused = {"attends": _attends(asked, scan)}, {}
    if prose is None:
        try:
            prose = yield from share(iter_real_text(model, n_passages=PASSAGES, scan=scan), 5, 9)
        except InputError as error:  # Refused among them, and a context too short for prose
            refused["attends_text"] = str(error)
    if prose is not None:
        columns["attends_text"] = _in_prose(asked, prose)
    yield Progress(9, 100, "direct effect of every head")
    try:
        columns["copies"] = _copies(asked, pairs)
    except Refused as error:
        refused["copies"] = str(error)
    columns |= yield from share(_works(asked, pairs, max_bytes), 10, 40)
    columns |= yield from share(_needed(asked, seed, max_bytes), 40, 65)
    if asked.induction:
        try:
            columns |= yield from share(_edges(asked, seed, max_bytes), 65, 80)
        except Refused as error:
            refused["edge_needed"] = str(error)
    try:
        fed = yield from share(_fed(asked, pairs, columns["attends"], circuit, seed), 80, 100)
        columns |= fed
    except Refused as error:
        refused["fed_by"] = str(error)
    result = Evidence(
        **provenance(model),
        induction=[list(head) for head in asked.induction],
        tested=[list(head) for head in tested],
        columns={name: columns[name] for name in TESTS if name in columns},
        refused=refused,
        protocol=f"{in_words(pairs)}; {N_REPEATS} repeated sequences, mean ablation; each test has its own protocol",
        seed=seed,
        seconds=round(time.perf_counter() - started, 2),
    )
    yield Progress(100, 100, "done", result)


measure_evidence = finished(iter_evidence)


def evidence(model: TransformerBridge, head: Head, **known: Any) -> Evidence:
    """Everything known of one head; ``known`` as of :func:`iter_evidence`."""
    return measure_evidence(model, [head], **known)


def _in_prose(asked: _Asked, found: RealText) -> Column:
    latest, control = found.measures["latest"], found.measures["control"]
    return asked.picked((latest.mean, latest.low, latest.high, control.mean), found.protocol)


def _attends(asked: _Asked, scan: Scan) -> Column:
    score = scan.scores["induction"]
    chance = [[score.chance] * scan.n_heads for _ in range(scan.n_layers)]
    return asked.picked((score.mean, score.low, score.high, chance), score.protocol)


def _copies(asked: _Asked, pairs: Sequence[PromptPair]) -> Column:
    found = direct_logit_attribution(asked.model, pairs)
    bounds = [
        [None if grid is None else grid[a][b] for a, b in asked.measured]
        for grid in (found.mean, found.low, found.high)
    ]
    return asked.column(tuple(bounds), found.protocol)  # type: ignore[arg-type]


def _works(
    asked: _Asked, pairs: Sequence[PromptPair], max_bytes: int
) -> Iterator[Progress[dict[str, Column]]]:
    """Denoising of head outputs: each head alone, and beyond the rest of the set."""
    table = table_of(asked.model, pairs, asked.rows, "denoise", "z", max_bytes)
    for filled in table.fill():
        yield Progress(table.done, table.total, f"patching, {filled.label}")
    clean, corrupted = table.plain[..., ANSWER]  # [pair]
    gap, floor = clean - corrupted, METRICS["logit_difference"].floor
    alone, within = asked.split(table.edited[..., ANSWER], corrupted)  # [head, pair]
    changes = {"works_alone": moved(alone.T, clean, corrupted, "denoise"), "works_in_set": within.T}
    protocol = f"{in_words(pairs)}; denoising of head outputs at all positions"
    columns = {}
    for name, change in changes.items():  # [pair, head]
        bounds = ratio_bounds(change, gap, floor)
        value = ratio_of_means(change, gap, floor)
        low, high = (np.full_like(value, np.nan),) * 2 if bounds is None else bounds
        columns[name] = asked.column((value, low, high), protocol)
    yield Progress(1, 1, "done", _with_a_set(columns, asked))


def _needed(asked: _Asked, seed: int, max_bytes: int) -> Iterator[Progress[dict[str, Column]]]:
    """Mean ablation on repeated sequences: each head alone, and beyond the rest of the set."""
    batch = repeated_batch(asked.model, n_prompts=N_REPEATS, seed=seed)
    reference = reference_set(asked.model, max(batch.lengths), seed=seed)
    prompts = repeats(asked.model, batch, partial(reference.values, "mean"))
    table = Table(
        asked.model, "z", asked.rows, prompts, n_plain=1, n_measures=len(MEASURES), max_bytes=max_bytes
    )
    for filled in table.fill():
        yield Progress(table.done, table.total, f"ablation, {filled.label}")
    intact = table.plain[0, :, LOSS]  # [prompt]
    alone, within = asked.split(table.edited[..., LOSS], intact)  # [head, prompt]
    protocol = f"{batch}; mean ablation, reference: {reference.name}"
    columns = {}
    for name, change in {"needed_alone": (alone - intact).T, "needed_in_set": within.T}.items():
        columns[name] = asked.column((change.mean(0), *mean_interval(change)), protocol)
    yield Progress(1, 1, "done", _with_a_set(columns, asked))


def _edges(asked: _Asked, seed: int, max_bytes: int) -> Iterator[Progress[dict[str, Column]]]:
    """Attention knockout on repeated sequences: the set's edges, and those of the set with each head or without."""
    batch = repeated_batch(asked.model, n_prompts=N_REPEATS, seed=seed)
    values = partial(reference_set(asked.model, max(batch.lengths), seed=seed).values, "mean")
    rows = [Row(heads) for heads in asked.sets if heads]
    table = EdgeTable(
        model=asked.model,
        component="z",
        rows=rows,
        prompts=repeats(asked.model, batch, values),
        n_plain=1,
        n_measures=len(MEASURES),
        max_bytes=max_bytes,
        when="before",
        variants=[0] * len(rows),
        cells=lambda ids: spared(induction_mask(ids))[None],
    )
    for filled in table.fill():
        yield Progress(table.done, table.total, f"edges, {filled.label}")
    change = asked.within(iter(table.edited[..., LOSS]), table.plain[0, :, LOSS]).T  # [prompt, head]
    protocol = f"{batch}; attention to where induction looks removed before the softmax"
    column = asked.column((change.mean(0), *mean_interval(change)), protocol)
    yield Progress(1, 1, "done", {"edge_needed": column})


def _with_a_set(columns: dict[str, Column], asked: _Asked) -> dict[str, Column]:
    """Without induction heads there is no set that a head could do anything in."""
    return {name: column for name, column in columns.items() if asked.induction or not name.endswith("set")}


def _fed(
    asked: _Asked, pairs: Sequence[PromptPair], attends: Column, circuit: Circuit | None, seed: int
) -> Iterator[Progress[dict[str, Column]]]:
    """Path patching into the keys of each head that has attention to the target to lose."""
    only = len(asked.tested) == 1
    receivers = [
        (layer, head)
        for layer, head in asked.tested
        if layer > 0 and (only or (attends.value[layer][head] or 0) >= TESTS["attends"].threshold)
    ]
    found: dict[Head, Paths] = {}
    for number, head in enumerate(receivers):
        known = circuit and next((r.paths for r in circuit.receivers if (r.layer, r.head) == head), None)
        steps = iter_path_patch(asked.model, head, pairs, through=("k",), seed=seed)
        for step in [] if known else steps:
            known = step.result
            yield Progress(number * step.total + step.done, len(receivers) * step.total, step.label)
        if known:
            found[head] = known
    columns = {"fed_by": _feeders(asked, found)} if found else {}
    yield Progress(1, 1, "done", columns)


def _feeders(asked: _Asked, found: dict[Head, Paths]) -> Column:
    """The strongest sender of each head, the median of the others as its control."""
    values, lows, highs, controls, notes = [], [], [], [], {}
    for head, paths in found.items():
        (layer, index, value), *others = paths.ranked("k", "attention")
        low, high = paths.effects["k"]["attention"].interval(layer, index) or (None, None)
        for part, end in ((values, value), (lows, low), (highs, high)):
            part.append(end)
        controls.append(float(np.median([effect for _, _, effect in others])) if others else None)
        notes[head_name(head)] = f"from {head_name((layer, index))}"
    grids = [asked.grid(list(found), part) for part in (values, lows, highs, controls)]
    protocol = next(iter(found.values())).protocol
    return Column(
        **dict(zip(("value", "low", "high", "control"), grids, strict=True)), protocol=protocol, notes=notes
    )
