"""What a model is compared with: itself without a set of heads, and without random sets of other heads."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from induction.analysis.reading import passing
from induction.analysis.result import Scan
from induction.base import Head, Progress, check_choice, check_heads, check_seed, head_name, mean_interval
from induction.behaviour.results import Bound, Curve, Measured
from induction.model import provenance
from induction.patching.ablation import N_REFERENCE, Reference, reference_set
from induction.patching.experiments import LONGEST_CURVE, WITHOUT_INDUCTION
from induction.patching.interventions import ABLATIONS, AblationKind, random_sets
from induction.patching.sweep import Edit, check_component

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TOKENS_AT_ONCE = (
    512  # that go through the model in one step of the reference set, so that a run can be cancelled
)
DIGITS = 5


@dataclass(frozen=True)
class Variants:
    """A set of heads to do without, and its controls.

    Attributes:
        label: of the set, as a sentence has it.
        random: distinct random sets of other heads in the same layers.
        matched: distinct sets of other heads that attend as widely.
        n_random: random sets that were drawn; where few heads are left they coincide.
    """

    label: str
    heads: tuple[Head, ...]
    random: tuple[tuple[Head, ...], ...] = ()
    matched: tuple[tuple[Head, ...], ...] = ()
    n_random: int = 0

    @classmethod
    def of(
        cls, model: TransformerBridge, heads: Sequence[Head], *, n_random: int, seed: int, label: str = ""
    ) -> Variants:
        """
        Raises:
            InputError: no head, one outside of the model, or a negative number or seed.
        """
        shape = {"n_layers": model.cfg.n_layers, "n_heads": model.cfg.n_heads}
        checked = check_heads(heads, **shape)
        drawn = random_sets(checked, n_random, seed=seed, **shape)
        names = label or ", ".join(map(head_name, checked))
        return cls(names, checked, tuple(dict.fromkeys(drawn)), n_random=n_random)

    @property
    def sets(self) -> tuple[tuple[Head, ...], ...]:
        """All sets that are taken away: the set, the random ones, the matched ones."""
        return (self.heads, *self.random, *self.matched)

    @property
    def of_random(self) -> slice:
        """Which of :attr:`sets` are the random ones."""
        return slice(1, 1 + len(self.random))

    @property
    def of_matched(self) -> slice:
        return slice(1 + len(self.random), len(self.sets))

    def words(self) -> str:
        """How the random sets were drawn."""
        if not self.n_random:
            return "no random sets"
        there = len(self.random)
        distinct = "" if there == self.n_random else f", {there} of them distinct"
        return f"{self.n_random} random sets of as many other heads in the same layers{distinct}"


def iter_chosen(
    model: TransformerBridge, heads: Sequence[Head], n_random: int, seed: int, scan: Scan | None = None
) -> Generator[Progress[Any], None, Variants]:
    """The set that is asked for, by default the induction heads of a scan; a model without a scan is scanned first."""
    if heads:
        return Variants.of(model, heads, n_random=n_random, seed=seed)
    from induction.analysis.scanning import iter_scan

    if scan is None or "induction" not in scan.scores:
        for step in iter_scan(model, scores=("induction",), loss=False):
            scan = step.result
            yield Progress(step.done, step.total, f"induction scores: {step.label}")
    assert scan is not None  # the last step carries it
    found, ranked = passing(scan), [(layer, head) for layer, head, _ in scan.ranked("induction")]
    if not found:
        first = ranked[: max(1, min(WITHOUT_INDUCTION, len(ranked) // 2))]
        label = f"the {len(first)} heads that come closest to induction heads"
        return Variants.of(model, first, n_random=n_random, seed=seed, label=label)
    kept = found[:LONGEST_CURVE]
    which = "" if len(kept) == len(found) else f"strongest {len(kept)} of the "
    label = f"the {which}{len(found)} induction head{'s' * (len(found) > 1)}"
    return Variants.of(model, kept, n_random=n_random, seed=seed, label=label)


def iter_reference(
    model: TransformerBridge, length: int, kind: AblationKind, *, seed: int = 0, n: int = N_REFERENCE
) -> Generator[Progress[Any], None, Reference]:
    """The reference set of :func:`induction.patching.ablation.reference_set`, a few of its sequences per step.

    Where heads are replaced by their mean, only that is kept, which is what lets 512 positions fit.
    """
    check_choice(kind, tuple(ABLATIONS), "ablation")
    check_seed(seed)
    check_component(model, "z")
    wanted = n if ABLATIONS[kind].uses_reference else 1
    at_once = max(1, TOKENS_AT_ONCE // length)
    kept: list[list[torch.Tensor]] = []
    total = 0
    while total < wanted:
        some = min(at_once, wanted - total)
        part = reference_set(model, length, n=some, seed=seed + total)
        total += some
        if kind == "resample":
            kept.append(part.z)
        else:  # sums of as many sequences each: [1, pos, head, d_head]
            sums = [z.sum(0, keepdim=True) for z in part.z]
            kept = [[old + new for old, new in zip(kept[0], sums, strict=True)] if kept else sums]
        yield Progress(total, wanted, "reference set")
    name = f"{total} sequences of up to {length} distinct random tokens, seed {seed}"
    if kind == "resample":
        return Reference(name, [torch.cat(layer) for layer in zip(*kept, strict=True)])
    return Reference(name, [z / total for z in kept[0]])


def edits_of(
    sets: Sequence[Sequence[Head]], values: Sequence[torch.Tensor], n_heads: int, device: Any
) -> dict[int, Edit]:
    """Edits by layer that take away in each row one set of heads, which may be empty, at all positions.

    Args:
        values: per layer ``[row or 1, pos, head, d_head]``.
    """
    masks: dict[int, NDArray[np.bool_]] = {}  # [row, 1, head]
    for row, heads in enumerate(sets):
        for layer, head in heads:
            masks.setdefault(layer, np.zeros((len(sets), 1, n_heads), dtype=bool))[row, 0, head] = True
    return {
        layer: Edit("z", torch.as_tensor(mask, device=device), values[layer]) for layer, mask in masks.items()
    }


def about(
    model: TransformerBridge, variants: Variants, kind: AblationKind, reference: Reference, seed: int
) -> dict[str, Any]:
    """The fields that all results of this room have."""
    return {
        **provenance(model),
        "label": variants.label,
        "heads": [list(head) for head in variants.heads],
        "random_sets": [[list(head) for head in heads] for heads in variants.random],
        "ablation": kind,
        "reference": reference.name if ABLATIONS[kind].uses_reference else None,
        "seed": seed,
    }


def bound(values: NDArray[np.float64]) -> Bound:
    """Mean and 95 % interval over prompts ``[prompt]``; no interval for a single one."""
    (curve,) = [curve_of(values[:, None])]
    return Bound(mean=curve.mean[0], low=curve.low[0], high=curve.high[0])


def curve_of(values: NDArray[np.float64]) -> Curve:
    """Means and 95 % intervals over prompts ``[prompt, point]``."""
    mean = np.round(values.mean(0), DIGITS).tolist()
    if len(values) < 2:
        return Curve(mean=mean, low=[None] * len(mean), high=[None] * len(mean))
    low, high = mean_interval(values)
    return Curve(mean=mean, low=np.round(low, DIGITS).tolist(), high=np.round(high, DIGITS).tolist())


def measured(
    name: str, intact: NDArray[np.float64], edited: NDArray[np.float64], variants: Variants
) -> Measured:
    """One number of every prompt with the whole model ``[prompt]`` and without each set ``[set, prompt]``."""
    means = np.round(edited.mean(1), DIGITS).tolist()
    return Measured(
        name=name,
        intact=bound(intact),
        without=bound(edited[0]),
        change=bound(edited[0] - intact),
        random=means[variants.of_random],
        matched=means[variants.of_matched],
    )
