"""What can be changed in a model and how the change is measured: one declaration each.

Each carries the function that computes it, so that none can be declared without. The functions call methods of the
tensors they are given; no torch here, because pages and the command line show these names and meanings before any
model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from induction.base import Head, InputError, check_heads, check_seed

Component = Literal["z", "pattern", "q", "k", "v"]
Direction = Literal["denoise", "noise"]
AblationKind = Literal["zero", "mean", "resample"]
When = Literal["before", "after"]


@dataclass(frozen=True)
class Declaration:
    """A name for the library and the command line, a title for labels, a sentence for help."""

    name: str
    title: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Activation(Declaration):
    """What of a head can be copied from one run into another.

    Attributes:
        replace: of the activation, a mask (bool ``[row, pos or 1, head]``), what to put where it is true, and the
            positions that activation and mask hold, the new activation. Activation and values are
            ``[row or 1, pos, head, d_head]``, of the pattern, where pos is the query, ``[row or 1, head, query, key]``;
            the values are of all positions.
        head_axis: of the activation.
        shared: whether heads that share keys and values (grouped-query attention) have it in common.
    """

    replace: Callable[[Any, Any, Any, slice], Any]
    head_axis: int = 2
    shared: bool = False


@dataclass(frozen=True, kw_only=True)
class RunOrder(Declaration):
    """Which of the two runs is patched.

    Attributes:
        order: of what belongs to the clean and the corrupted run, first what belongs to the patched run, then to the
            other one; its own inverse.
        moved: of patched, clean and corrupted values, how far the patched ones are from where they started, towards the
            other run: positive where the clean value comes back (denoising) or is lost (noising).
    """

    order: Callable[[Any, Any], tuple[Any, Any]]
    moved: Callable[[Any, Any, Any], Any]


@dataclass(frozen=True)
class Scored:
    """What metrics are computed from: logits at the scored position, tensors ``[row]``.

    Attributes:
        answer, distractor: their logits.
        total: logarithm of the summed exponentials of all logits.
    """

    answer: Any
    distractor: Any
    total: Any


@dataclass(frozen=True, kw_only=True)
class Metric(Declaration):
    """How an answer is scored.

    Attributes:
        unit: of its values.
        floor: smallest clean - corrupted, in ``unit``, at which the clean prompt counts as better. On average over the
            pairs it must be, or there is no effect; single pairs where it is not are named and count in the means.
        of: the value ``[row]`` of a :class:`Scored`.
    """

    unit: str
    floor: float
    of: Callable[[Scored], Any]


@dataclass(frozen=True, kw_only=True)
class Loss(Declaration):
    """Mean loss on one copy of a repeated sequence.

    Attributes:
        of: the value ``[row]`` of the losses on all tokens but the first of two copies ``[row, pos - 1]``, and the
            length of a copy.
    """

    unit: str
    of: Callable[[Any, int], Any]


@dataclass(frozen=True, kw_only=True)
class Ablation(Declaration):
    """What replaces the output of a head.

    Attributes:
        values: of one layer's outputs on the reference set ``[sequence, pos, head, d_head]`` and the number of the
            prompt, the replacement ``[1, pos, head, d_head]``.
        uses_reference: whether the replacement depends on the reference set.
    """

    values: Callable[[Any, int], Any]
    uses_reference: bool = True


@dataclass(frozen=True, kw_only=True)
class Removal(Declaration):
    """How a cell of the attention pattern is removed.

    Attributes:
        cut: of attention scores ``[row or 1, head, query, key]``, which may be off by a constant for each query, and
            of a mask of what goes (bool ``[row, head, query, key]``), the pattern that is left.
    """

    cut: Callable[[Any, Any], Any]


def by_name(*declarations):
    return {declaration.name: declaration for declaration in declarations}


def _by_position(activation: Any, mask: Any, values: Any, at: slice) -> Any:
    return values[:, at].where(mask[..., None], activation)


def _by_query(pattern: Any, mask: Any, values: Any, at: slice) -> Any:
    return values[:, :, at].where(mask.transpose(1, 2)[..., None], pattern)


COMPONENTS: dict[str, Activation] = by_name(
    Activation(
        "z",
        "Head output",
        "What the head read, weighted by its attention, before it is written.",
        replace=_by_position,
    ),
    Activation(
        "pattern",
        "Attention pattern",
        "Where the head looks; what it finds there stays.",
        replace=_by_query,
        head_axis=1,
    ),
    Activation("q", "Queries", "What the head looks for.", replace=_by_position),
    Activation(
        "k",
        "Keys",
        "What the head can find. Heads that share keys (grouped-query attention) are patched together.",
        replace=_by_position,
        shared=True,
    ),
    Activation(
        "v",
        "Values",
        "What the head reads where it looks. Heads that share values (grouped-query attention) are patched together.",
        replace=_by_position,
        shared=True,
    ),
)

METRICS: dict[str, Metric] = by_name(
    Metric(
        "logit_difference",
        "Logit difference",
        "Logit of the answer minus logit of the distractor; linear in what heads write, so it shows heads "
        "that work against the answer too (Zhang & Nanda 2024).",
        unit="logits",
        floor=0.1,
        of=lambda logits: logits.answer - logits.distractor,
    ),
    Metric(
        "probability",
        "Probability",
        "Probability of the answer; blind to heads that matter only while the answer is unlikely.",
        unit="probability",
        floor=0.01,
        of=lambda logits: (logits.answer - logits.total).exp(),
    ),
    Metric(
        "log_probability",
        "Log-probability",
        "Natural logarithm of the answer's probability.",
        unit="nats",
        floor=0.1,
        of=lambda logits: logits.answer - logits.total,
    ),
)

LOSSES: dict[str, Loss] = by_name(
    Loss(
        "first_copy_loss",
        "Loss, first copy",
        "Mean loss on the first copy of a repeated sequence, its first token left out: nothing can be "
        "copied yet, so an increase is damage of another kind.",
        unit="nats",
        of=lambda nll, period: nll[:, 1 - 2 * period : -period].mean(1),
    ),
    Loss(
        "second_copy_loss",
        "Loss, second copy",
        "Mean loss on the second copy, its first token left out: what induction earns.",
        unit="nats",
        of=lambda nll, period: nll[:, 1 - period :].mean(1),
    ),
)

DIRECTIONS: dict[str, RunOrder] = by_name(
    RunOrder(
        "denoise",
        "Denoising",
        "The corrupted run with one activation from the clean run: is the head sufficient? "
        "Effect = (patched - corrupted) / (clean - corrupted), of the means over all prompt pairs: the share of the "
        "answer that comes back.",
        order=lambda clean, corrupted: (corrupted, clean),
        moved=lambda patched, clean, corrupted: patched - corrupted,
    ),
    RunOrder(
        "noise",
        "Noising",
        "The clean run with one activation from the corrupted run: is the head necessary? "
        "Effect = (clean - patched) / (clean - corrupted), of the means over all prompt pairs: the share of the answer "
        "that is lost.",
        order=lambda clean, corrupted: (clean, corrupted),
        moved=lambda patched, clean, corrupted: clean - patched,
    ),
)

ABLATIONS: dict[str, Ablation] = by_name(
    Ablation(
        "zero",
        "Zero",
        "The head's output is set to 0; far from anything the model ever sees.",
        values=lambda z, prompt: z.new_zeros(z[:1].shape),
        uses_reference=False,
    ),
    Ablation(
        "mean",
        "Mean",
        "The head's output is replaced, position by position, by its mean over a reference set; all prompts share "
        "the set, and intervals take it as given.",
        values=lambda z, prompt: z.mean(0, keepdim=True),
    ),
    Ablation(
        "resample",
        "Resample",
        "The head's output is replaced by that of one sequence of a reference set, prompt by prompt the next; "
        "intervals take the set as given.",
        values=lambda z, prompt: z[prompt % len(z)][None],
    ),
)

#: Attention knockout: Geva et al. 2023 (arXiv 2304.14767); of single heads, Crosbie & Shutova 2024 (arXiv 2407.07011).
WHEN: dict[str, Removal] = by_name(
    Removal(
        "before",
        "Before the softmax",
        "The score of the edge is minus infinity: what the head looked at there goes to the rest of the row. A row "
        "that would lose everything looks at the first token.",
        cut=lambda scores, mask: scores.masked_fill(mask, float("-inf")).softmax(-1),
    ),
    Removal(
        "after",
        "After the softmax",
        "The weight of the edge is 0 and the rest of the row stays: the head reads that much less.",
        cut=lambda scores, mask: scores.softmax(-1).masked_fill(mask, 0),
    ),
)


def random_sets(
    heads: Sequence[Head], n_sets: int, *, seed: int, n_layers: int, n_heads: int
) -> list[tuple[Head, ...]]:
    """Control sets: as many heads as the given set has, drawn from the *other* heads of the same layers.

    Its own heads are left out, because a set that shares heads with its control is compared with itself. Where
    a layer has too few other heads, the missing ones come from other heads anywhere in the model, and only
    where the whole model has too few, from the set itself.

    Args:
        n_sets: how many; sets are drawn independently, so that few heads give repeated sets.

    Raises:
        InputError: a head outside of the model, or ``n_sets`` or ``seed`` negative.
    """
    check_seed(seed)
    heads = check_heads(heads, n_layers, n_heads)
    if n_sets < 0:
        raise InputError(f"The number of random sets is 0 or more, not {n_sets}.")
    rng = np.random.default_rng(seed)
    others = [
        (layer, head) for layer in range(n_layers) for head in range(n_heads) if (layer, head) not in heads
    ]
    sets = []
    for _ in range(n_sets):
        shuffled = [others[at] for at in rng.permutation(len(others))]
        drawn: list[Head] = []
        for layer in {layer for layer, _ in heads}:
            wanted = sum(at == layer for at, _ in heads)
            drawn += [head for head in shuffled if head[0] == layer][:wanted]
        rest = [head for head in shuffled if head not in drawn]
        rest += [heads[at] for at in rng.permutation(len(heads))]
        drawn += rest[: len(heads) - len(drawn)]
        sets.append(tuple(sorted(drawn)))
    return sets
