"""Path patching: one earlier head's change, sent into one input of one later head and nowhere else.

Two runs differ in context. Of the run that is patched, everything stays as it is except that the receiving
head's queries, keys *or* values are computed from a residual stream to which the sender's change
(what it adds with its output of the other run, minus what it adds here) was added. Heads in between see nothing of
it. MLPs in between neither (``frozen``, the direct path of Wang et al. 2022, arXiv 2211.00593; the numbers are those of
``transformer_lens.patching.get_act_patch_direct_path``), or they see it and pass on what they make of it
(``recomputed``): :data:`induction.circuit.results.MLPS`. From the receiving head on the model runs on freely.

Where heads share keys and values (grouped-query attention), the change is seen by the receiving head alone.
Each sender is one row: its keys, for example, are computed for all rows at once, then only the layers from
the receiving head on (:mod:`induction.patching.sweep`). A model whose attention is not written out there is run whole,
with hooks, for the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from induction.analysis.scores import induction_mask
from induction.base import Head, InputError, Interval, Progress, check_choice, finished, mean_interval
from induction.circuit.composition import receiving
from induction.circuit.results import INPUTS, MEASURES, MLPS, Mlps, PathEffect, Paths
from induction.data_gen.pairs import PromptPair, check_pairs, in_words
from induction.model.anatomy import added, check_stream, normed
from induction.patching.effects import measure, moved, nested, ratio_bounds, ratio_of_means
from induction.patching.interventions import DIRECTIONS, METRICS, Direction
from induction.patching.results import not_better
from induction.patching.sweep import MAX_BYTES, Edit, Run, check_component, hook_name, record, run_rows, watch

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

DIGITS = 5
ANSWER = list(METRICS).index("logit_difference")


def iter_path_patch(
    model: TransformerBridge,
    head: Head,
    pairs: Sequence[PromptPair],
    *,
    direction: Direction = "denoise",
    through: Sequence[str] = tuple(INPUTS),
    mlps: Mlps = "frozen",
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
) -> Generator[Progress[Paths], None, None]:
    """Send every earlier head's change into each input of ``head``, one at a time.

    The effect on attention is the change of the head's attention from the scored position to the induction
    target: all positions that follow an earlier copy of the clean prompt's last token. Both effects count
    towards the other run: positive where the clean value comes back (denoising) or is lost (noising).

    Args:
        direction: a name of :data:`induction.patching.interventions.DIRECTIONS`.
        through: names of :data:`induction.circuit.results.INPUTS`.
        mlps: what the MLPs between sender and receiver do, a name of :data:`induction.circuit.results.MLPS`.
        seed: that the pairs were drawn with; stored with the result.
        max_bytes: activations that a batch of patched runs may hold; changes nothing but time.

    Yields:
        Progress; the last step carries the result. Closing cancels.

    Raises:
        InputError: a head outside of the model or in the first layer, no pairs, or a pair whose clean prompt does
            not end on a repeated token.
        Refused: with frozen MLPs, a model whose parts do not sum to what it computes.
    """
    pairs = list(pairs)
    layer, index = _checked(model, head, pairs, direction, through, mlps)
    n_rows = layer * model.cfg.n_heads + 1  # the senders in order of layer and head, and last the whole input
    patched = np.empty((len(through), len(pairs), n_rows, len(MEASURES)))
    plain = np.empty((2, len(pairs), len(MEASURES)))  # clean, corrupted
    total = len(pairs) * len(through) * n_rows
    done = 0
    for number, pair in enumerate(pairs):
        label = f"paths into {layer}.{index}, pair {number + 1} of {len(pairs)}"
        yield Progress(done, total, label)
        paths = _PairPaths(model, pair, direction, (layer, index), mlps)
        plain[:, number] = paths.plain
        for at, name in enumerate(through):
            for rows, measured in paths.patched(name, n_rows, max_bytes):
                patched[at, number, rows] = measured
                done += len(measured)
                if done < total:
                    yield Progress(done, total, f"{label}, {INPUTS[name].title.lower()}")
    clean, corrupted = (
        dict(zip(MEASURES, ends.round(DIGITS).tolist(), strict=True)) for ends in plain.mean(1)
    )
    result = Paths(
        layer=layer,
        head=index,
        direction=direction,
        protocol=f"{in_words(pairs)}; {direction}: each earlier head's change sent into one input of the head alone; "
        f"{MLPS[mlps].title} between them",
        mlps=mlps,
        effects={name: _effects(plain, patched[at], layer, direction) for at, name in enumerate(through)},
        clean=clean,
        corrupted=corrupted,
        seed=seed,
    )
    yield Progress(total, total, "done", result)


path_patch = finished(iter_path_patch)


def check_path_settings(direction: str, through: Sequence[str], mlps: str) -> None:
    """Raises InputError where a name is none of those that are declared."""
    check_choice(direction, tuple(DIRECTIONS), "direction")
    for name in through:
        check_choice(name, tuple(INPUTS), "input of a head")
    check_choice(mlps, tuple(MLPS), "treatment of the MLPs")


def _checked(
    model: TransformerBridge,
    head: Head,
    pairs: Sequence[PromptPair],
    direction: Direction,
    through: Sequence[str],
    mlps: Mlps,
) -> Head:
    """The receiving head, after all arguments were checked against the model and each other."""
    check_pairs(model, pairs)
    for pair in pairs:
        targets(pair)
    check_path_settings(direction, through, mlps)
    receiver = receiving(model, head)
    for component in {"z", "pattern", *through}:
        check_component(model, component)
    return receiver


def targets(pair: PromptPair) -> NDArray[np.int64]:
    """Positions that follow an earlier copy of the token at the scored position."""
    tokens = np.array(pair.clean[: pair.scored + 1])
    found = np.flatnonzero(induction_mask(tokens)[-1])
    if not len(found):
        raise InputError(
            "The clean prompt's last token does not occur before, so there is nothing to attend to; "
            "choose a prompt of the form A B ... A."
        )
    return found


class _PairPaths:
    """Both runs of a pair, and what the rows of one receiving head measure in them.

    Attributes:
        start: the first position that can differ.
        base_z, source_z: head outputs of either run, per layer before the receiver's ``[1, pos, head, d_head]``.
        plain: both measures in the plain runs ``[clean or corrupted, measure]``.
    """

    def __init__(
        self, model: TransformerBridge, pair: PromptPair, direction: Direction, head: Head, mlps: Mlps
    ) -> None:
        self.model, self.pair, self.mlps = model, pair, mlps
        self.layer, self.head = head
        self.start = pair.first_difference or 0
        self.target = targets(pair)
        order, stop = DIRECTIONS[direction].order, pair.scored + 1
        base, source = order(pair.clean[:stop], pair.corrupted[:stop])
        if mlps == "frozen":
            check_stream(
                model, base, range(self.layer)
            )  # refuses where a head's change cannot simply be added
        self.base, self.source = record(model, base), record(model, source)
        self.base_z, here = self._observed(self.base)
        self.source_z, there = self._observed(self.source)
        self.plain = np.stack(order(here, there))

    def _observed(self, run: Run) -> tuple[list[torch.Tensor], NDArray[np.float64]]:
        """Head outputs of the layers before the receiver's, and both measures, of a plain run."""
        names = [hook_name("z", earlier) for earlier in range(self.layer)]
        names.append(hook_name("pattern", self.layer))
        *outputs, pattern = watch(self.model, run.tokens, names, stop=self.layer + 1)
        looks = float(pattern[0, self.head, -1][self.target].sum())
        return outputs, np.array([looks, measure(run.logits[None], self.pair)[0, ANSWER]])

    def patched(
        self, through: str, n_rows: int, max_bytes: int
    ) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Measures with the path from each sender patched, and from all: ``(rows, [row, measure])``, by batches."""
        size = max(1, max_bytes // _row_bytes(self.model, self.base.n_pos))
        for begin in range(0, n_rows, size):
            rows = slice(begin, min(begin + size, n_rows))
            with torch.no_grad():
                z, looks = self._receive(self._changes(rows, n_rows), through)
                before = z.new_zeros(len(z), self.start, self.model.cfg.d_head)
                values = torch.cat([before, z], 1)[:, :, None]  # [row, pos, 1, d_head]
                mask = torch.zeros(len(z), 1, self.model.cfg.n_heads, dtype=torch.bool, device=z.device)
                mask[:, :, self.head] = True
            edits = {self.layer: Edit("z", mask, values)}
            logits = run_rows(
                self.model, self.base, edits, n_rows=len(z), start=self.start, max_bytes=max_bytes
            )
            answers = np.concatenate([measure(part, self.pair)[:, ANSWER] for part in logits])
            attention = looks[:, self.target].sum(-1).double().cpu().numpy()
            yield rows, np.stack([attention, answers], -1)

    def _changes(self, rows: slice, n_rows: int) -> torch.Tensor:
        """What arrives at the receiving head: ``[row, pos from start, d_model]``; the last row is the whole change."""
        parts = []
        senders = slice(rows.start, min(rows.stop, n_rows - 1))
        if senders.start < senders.stop:
            parts.append(self._added(senders) if self.mlps == "frozen" else self._passed_on(senders))
        if rows.stop == n_rows:
            parts.append(self.source.resid[self.layer] - self.base.resid[self.layer])
        return torch.cat(parts)[:, self.start :]

    def _sent(self, rows: slice, layer: int) -> torch.Tensor:
        """Head outputs of one layer, per row its sender's of the other run: ``[row, pos, head, d_head]``."""
        base, source = self.base_z[layer], self.source_z[layer]
        n_heads = base.shape[2]
        senders = torch.arange(rows.start, rows.stop, device=base.device)[:, None]  # [row, 1]
        mask = senders == layer * n_heads + torch.arange(n_heads, device=base.device)  # [row, head]
        return torch.where(mask[:, None, :, None], source, base)

    def _added(self, rows: slice) -> torch.Tensor:
        """The senders' own changes of the residual stream: ``[row, pos, d_model]``."""
        n_heads = self.model.cfg.n_heads
        parts = []
        for layer in range(rows.start // n_heads, (rows.stop - 1) // n_heads + 1):
            block = self.model.blocks[layer]
            first, last = max(rows.start, layer * n_heads), min(rows.stop, (layer + 1) * n_heads)
            there, here = self._sent(slice(first, last), layer), self.base_z[layer]
            written, before = (added(block, block.attn.o(z.flatten(2))) for z in (there, here))
            parts.append(written - before)
        return torch.cat(parts)

    def _passed_on(self, rows: slice) -> torch.Tensor:
        """The senders' changes and what the MLPs up to the receiver make of them: ``[row, pos, d_model]``."""

        def hold(layer: int) -> Callable:
            return lambda z, hook: self._sent(rows, layer)  # every other head stays as it was

        resid = self.model.run_with_hooks(
            self.base.tokens.expand(rows.stop - rows.start, -1),
            fwd_hooks=[(hook_name("z", layer), hold(layer)) for layer in range(self.layer)],
            stop_at_layer=self.layer,
            return_type=None,
        )
        return resid - self.base.resid[self.layer]

    def _receive(self, change: torch.Tensor, through: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The receiving head alone, one of its inputs computed from the changed residual stream.

        Args:
            change: ``[row, pos from start, d_model]``.

        Returns:
            its output ``[row, pos from start, d_head]`` and where it looks at last ``[row, key]``.
        """
        if not self.base.direct:
            return self._receive_hooked(change, through)
        run, start, head, cfg = self.base, self.start, self.head, self.model.cfg
        block = self.model.blocks[self.layer]
        keys, values = run.keys[self.layer], run.values[self.layer]  # [1, kv head, pos, d_head]
        shared = head * keys.shape[1] // cfg.n_heads  # the group's keys and values

        def projected(name: str, resid: torch.Tensor) -> torch.Tensor:
            heads = getattr(block.attn, name)(normed(block, resid)).unflatten(-1, (-1, cfg.d_head))
            one = heads[:, :, head if name == "q" else shared, None]  # [row, pos, 1, d_head]
            return (run.rotary(one, start) if run.rotary and name != "v" else one)[:, :, 0]

        resid = run.resid[self.layer][:, start:]
        changed = projected(through, resid + change)
        q = changed if through == "q" else projected("q", resid)
        k, v = keys[:, shared], values[:, shared]  # [1, pos, d_head]
        if through != "q":
            rest = (k if through == "k" else v)[:, :start].expand(len(changed), -1, -1)
            whole = torch.cat([rest, changed], 1)
            k, v = (whole, v) if through == "k" else (k, whole)
        scores = q @ k.mT * cfg.d_head**-0.5  # [row or 1, query, key]
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(start + 1)
        pattern = scores.masked_fill(ahead, float("-inf")).softmax(-1)
        rows = len(change)
        return (pattern @ v).expand(rows, -1, -1), pattern[:, -1].expand(rows, -1)

    def _receive_hooked(self, change: torch.Tensor, through: str) -> tuple[torch.Tensor, torch.Tensor]:
        """As :meth:`_receive` from whole runs: the changed input is computed in one, and set in another."""
        layer, head, rows = self.layer, self.head, len(change)
        before = change.new_zeros(rows, self.start, change.shape[-1])
        resid = self.base.resid[layer] + torch.cat([before, change], 1)  # [row, pos, d_model]
        seen: dict[str, torch.Tensor] = {}

        def keep(name: str) -> Callable:
            def store(activation: torch.Tensor, hook: Any) -> None:
                seen[name] = activation.clone()

            return store

        def put(activation: torch.Tensor, hook: Any) -> torch.Tensor:
            shared = head * activation.shape[2] // self.model.cfg.n_heads  # the group's keys and values
            changed = activation.clone()
            changed[:, :, shared] = seen["changed"][:, :, shared]
            return changed

        def run(*hooks: tuple[str, Callable]) -> None:
            tokens = self.base.tokens.expand(rows, -1)
            self.model.run_with_hooks(tokens, fwd_hooks=[*hooks], stop_at_layer=layer + 1, return_type=None)

        run(
            (f"blocks.{layer}.hook_in", lambda old, hook: resid), (hook_name(through, layer), keep("changed"))
        )
        read = [(hook_name(name, layer), keep(name)) for name in ("pattern", "z")]
        run((hook_name(through, layer), put), *read)
        return seen["z"][:, self.start :, head], seen["pattern"][:, head, -1]


def _row_bytes(model: TransformerBridge, n_pos: int) -> int:
    """What one row needs on its way into the receiving head, generously."""
    cfg = model.cfg
    return 4 * n_pos * (4 * cfg.d_model + 2 * cfg.n_heads * cfg.d_head + 3 * n_pos)


def _effects(
    plain: NDArray[np.float64], patched: NDArray[np.float64], layer: int, direction: Direction
) -> dict[str, PathEffect]:
    """Effects on both measures: a mean change of attention, and a share of the answer as a ratio of means.

    Args:
        plain: ``[clean or corrupted, pair, measure]``.
        patched: ``[pair, row, measure]``.
    """
    effects = {}
    for at, name in enumerate(MEASURES):
        clean, corrupted = plain[..., at]
        change = moved(patched[..., at], clean, corrupted, direction)  # [pair, row]
        if name == "answer":
            floor, gap = METRICS["logit_difference"].floor, clean - corrupted
            mean, bounds = ratio_of_means(change, gap, floor), ratio_bounds(change, gap, floor)
            effects[name] = _summary(mean, bounds, layer, not_better(nested(clean), nested(corrupted), floor))
        else:
            bounds = mean_interval(change) if len(change) > 1 else None
            effects[name] = _summary(change.mean(0), bounds, layer, [])
    return effects


def _summary(
    mean: NDArray[np.float64], bounds: Interval | None, layer: int, pairs_not_better: list[int]
) -> PathEffect:
    """Of means and bounds ``[row]``, whose last row is the whole input."""

    def grid(row: NDArray[np.float64]) -> list[list[float | None]]:
        return nested(row[:-1].reshape(layer, -1), DIGITS)

    low, high = (None, None) if bounds is None else map(grid, bounds)
    (whole,) = nested(mean[-1:], DIGITS)
    return PathEffect(mean=grid(mean), low=low, high=high, whole=whole, not_better=pairs_not_better)
