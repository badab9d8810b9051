"""What can be changed in a model and how the change is measured: one declaration each.

A metric and an ablation carry the function that computes them, so that none can be declared without. The functions
call methods of the tensors they are given; no torch here, because pages and the command line show these names and
meanings before any model is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from induction.base import InputError

Component = Literal["z", "pattern", "q", "k", "v"]
Direction = Literal["denoise", "noise"]
AblationKind = Literal["zero", "mean", "resample"]
Head = tuple[int, int]  # (layer, head)


@dataclass(frozen=True)
class Declaration:
    """A name for the library and the command line, a title for labels, a sentence for help."""

    name: str
    title: str
    meaning: str


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
    """Mean loss on one copy of a repeated sequence; ``copy`` counts from 0."""

    unit: str
    copy: int


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


def by_name(*declarations):
    return {declaration.name: declaration for declaration in declarations}


COMPONENTS: dict[str, Declaration] = by_name(
    Declaration("z", "Head output", "What the head read, weighted by its attention, before it is written."),
    Declaration("pattern", "Attention pattern", "Where the head looks; what it finds there stays."),
    Declaration("q", "Queries", "What the head looks for."),
    Declaration(
        "k",
        "Keys",
        "What the head can find. Heads that share keys (grouped-query attention) are patched together.",
    ),
    Declaration(
        "v",
        "Values",
        "What the head reads where it looks. Heads that share values (grouped-query attention) are patched together.",
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
        copy=0,
    ),
    Loss(
        "second_copy_loss",
        "Loss, second copy",
        "Mean loss on the second copy, its first token left out: what induction earns.",
        unit="nats",
        copy=1,
    ),
)

DIRECTIONS: dict[str, Declaration] = by_name(
    Declaration(
        "denoise",
        "Denoising",
        "The corrupted run with one activation from the clean run: is the head sufficient? "
        "Effect = (patched - corrupted) / (clean - corrupted), of the means over all prompt pairs: the share of the "
        "answer that comes back.",
    ),
    Declaration(
        "noise",
        "Noising",
        "The clean run with one activation from the corrupted run: is the head necessary? "
        "Effect = (clean - patched) / (clean - corrupted), of the means over all prompt pairs: the share of the answer "
        "that is lost.",
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


@dataclass(frozen=True)
class PromptPair:
    """Two prompts of the same length that differ in context and share the scored position.

    Attributes:
        clean, corrupted: token ids, as long as each other.
        answer, distractor: token ids; the logit difference is answer minus distractor.
        position: where the next token is scored, -1 for the last.
        clean_labels, corrupted_labels, answer_label, distractor_label: readable tokens.
        source: how the pair was made, in words; part of a result's protocol.

    Raises:
        InputError: different lengths, or a position outside of the prompt.
    """

    clean: tuple[int, ...]
    corrupted: tuple[int, ...]
    answer: int
    distractor: int
    position: int = -1
    clean_labels: tuple[str, ...] = ()
    corrupted_labels: tuple[str, ...] = ()
    answer_label: str = ""
    distractor_label: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if len(self.clean) != len(self.corrupted):
            raise InputError(
                f"The clean prompt has {len(self.clean)} tokens and the corrupted one {len(self.corrupted)}; "
                "patching needs the same number, so change one of them."
            )
        if not -len(self.clean) <= self.position < len(self.clean):
            raise InputError(
                f"Position {self.position} is outside of a prompt of {len(self.clean)} tokens; "
                f"choose 0 to {len(self.clean) - 1}, or -1 for the last."
            )

    @property
    def scored(self) -> int:
        """The scored position counted from 0."""
        return self.position % len(self.clean)

    @property
    def first_difference(self) -> int | None:
        """First position where the prompts differ, None where they are equal up to the scored one."""
        for position in range(self.scored + 1):
            if self.clean[position] != self.corrupted[position]:
                return position
        return None


def check_choice(value: str, choices: Sequence[str], what: str) -> None:
    """Raises InputError unless the value is one of the choices."""
    if value not in choices:
        raise InputError(f"There is no {what} '{value}'; choose one of {', '.join(choices)}.")


def check_seed(seed: int) -> None:
    """Raises InputError where numpy's generator would refuse the seed."""
    if seed < 0:
        raise InputError(f"A seed is 0 or more, not {seed}.")


def head_name(head: Head) -> str:
    """``(5, 1)`` as ``5.1``."""
    return f"{head[0]}.{head[1]}"


def parse_heads(text: str, n_layers: int, n_heads: int) -> tuple[Head, ...]:
    """Read ``5.1, 5.5`` as heads, in the order given, each once.

    Raises:
        InputError: no head, not of the form layer.head, or outside of the model.
    """
    parts = [part for part in re.split(r"[,;\s]+", text.strip()) if part]
    if not parts:
        raise InputError(
            f"Name at least one head as layer.head, for example 0.0,{n_layers - 1}.{n_heads - 1}."
        )
    heads = []
    for part in parts:
        match = re.fullmatch(r"(?a:(\d+)\.(\d+))", part)
        if not match:
            raise InputError(f"'{part}' is not a head; write layer.head, for example {n_layers - 1}.0.")
        heads.append((int(match[1]), int(match[2])))
    return check_heads(heads, n_layers, n_heads)


def check_heads(heads: Sequence[Head], n_layers: int, n_heads: int) -> tuple[Head, ...]:
    """The same heads, each once.

    Raises:
        InputError: none, or one outside of the model.
    """
    if not heads:
        raise InputError("A set of heads needs at least one head, for example 0.0.")
    for layer, head in heads:
        if not (0 <= layer < n_layers and 0 <= head < n_heads):
            raise InputError(
                f"There is no head {layer}.{head}: layers go from 0 to {n_layers - 1}, heads from 0 to {n_heads - 1}."
            )
    return tuple(dict.fromkeys((int(layer), int(head)) for layer, head in heads))


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
