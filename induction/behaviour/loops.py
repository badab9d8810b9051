"""How often greedy continuations of prose fall into repetition."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from induction.base import Head, InputError, Progress, finished, wilson_interval
from induction.behaviour.greedy import iter_greedy
from induction.behaviour.results import PERIOD, STRETCH, Bound, Loops, Measured
from induction.behaviour.variants import DIGITS, Variants, about, edits_of, iter_reference, measured
from induction.data_gen.prose import prose_ids, spread_out
from induction.model.tokens import labels
from induction.patching.ablation import Reference
from induction.patching.interventions import AblationKind
from induction.patching.sweep import Edit

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

OPENING = 24  # tokens that are continued
N_GRAM = 3
TOKENS_AT_ONCE = 512  # of openings in a batch, so that a run can be cancelled


def loops_at_end(tokens: Sequence[int]) -> bool:
    """Whether the last 12 tokens repeat with a period of at most 12: each equals the one that many tokens earlier."""
    n = len(tokens)
    return any(
        n >= STRETCH + period and all(tokens[at] == tokens[at - period] for at in range(n - STRETCH, n))
        for period in range(1, PERIOD + 1)
    )


def distinct_share(tokens: Sequence[int]) -> float:
    """Distinct 3-grams among all 3-grams."""
    grams = [tuple(tokens[at : at + N_GRAM]) for at in range(len(tokens) - N_GRAM + 1)]
    return len(set(grams)) / len(grams)


def iter_loops(
    model: TransformerBridge,
    variants: Variants,
    *,
    n_prompts: int = 20,
    n_new: int = 40,
    kind: AblationKind = "mean",
    seed: int = 0,
) -> Generator[Progress[Loops], None, None]:
    """Continue bundled openings of prose and count loops (:func:`loops_at_end`) and distinct 3-grams.

    Args:
        n_prompts: openings of 24 tokens, from as many books as there are.
        n_new: tokens that are said.
        seed: of the reference set; stored with the result.

    Yields:
        Progress; the last step carries the result. Closing cancels.

    Raises:
        InputError: a continuation too short for a loop, a count out of range, or no room in the context.
    """
    if n_new < PERIOD + STRETCH:
        raise InputError(f"A loop shows in {PERIOD + STRETCH} tokens or more; continue by more than {n_new}.")
    started = time.perf_counter()
    openings = [prose_ids(model, passage, OPENING) for passage in spread_out(n_prompts)]
    length = OPENING + n_new
    if length > model.cfg.n_ctx:
        raise InputError(f"The model's context is {model.cfg.n_ctx} tokens; continue by fewer than {n_new}.")
    reference = yield from iter_reference(model, length, kind, seed=seed)
    sets = [(), *variants.sets]
    at_once = max(1, TOKENS_AT_ONCE // (OPENING * len(sets)))
    said: list[NDArray[np.int64]] = []  # [prompt, set, new pos] of each batch
    direct, total = True, n_prompts * n_new
    for begin in range(0, n_prompts, at_once):
        which = range(begin, min(begin + at_once, n_prompts))
        tokens, edits = _batch(model, [openings[at] for at in which], which, sets, reference, kind, length)
        steps = iter_greedy(model, tokens, edits, n_new)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                said.append(end.value.tokens.cpu().numpy().reshape(len(which), len(sets), n_new))
                direct = direct and end.value.direct
                break
            done = min(total - 1, begin * n_new + step * len(which))
            yield Progress(done, total, f"opening {which[-1] + 1} of {n_prompts}")
    found = np.concatenate(said)  # [prompt, set, new pos]
    result = Loops(
        **about(model, variants, kind, reference, seed),
        protocol=f"greedy continuations by {n_new} tokens of {n_prompts} openings of {OPENING} tokens of bundled "
        f"prose; a loop: the last {STRETCH} tokens repeat with a period of at most {PERIOD}; {variants.words()}",
        engine="direct" if direct else "hooked",
        n_prompts=n_prompts,
        n_prompt=OPENING,
        n_new=n_new,
        looped=_looped(found, variants),
        distinct=_measured("distinct", distinct_share, found, variants),
        examples=["".join(labels(model, found[0, row].tolist())) for row in (0, 1)],
        seconds=round(time.perf_counter() - started, 2),
    )
    yield Progress(total, total, "done", result)


loops = finished(iter_loops)


def _batch(
    model: TransformerBridge,
    openings: list[list[int]],
    which: range,
    sets: Sequence[Sequence[Head]],
    reference: Reference,
    kind: AblationKind,
    length: int,
) -> tuple[torch.Tensor, dict[int, Edit]]:
    """Every opening once for each set: tokens ``[row, pos]``, and edits."""
    tokens = torch.tensor(openings, device=model.cfg.device or "cpu").repeat_interleave(len(sets), 0)
    own = [reference.values(kind, prompt, length) for prompt in which]
    if kind == "resample":  # each prompt has its own: [row, pos, head, d_head]
        values = [torch.cat(layer).repeat_interleave(len(sets), 0) for layer in zip(*own, strict=True)]
    else:
        values = own[0]
    return tokens, edits_of([*sets] * len(which), values, model.cfg.n_heads, tokens.device)


def _measured(name: str, of: Any, found: NDArray[np.int64], variants: Variants) -> Measured:
    values = np.array([[float(of(one.tolist())) for one in prompt] for prompt in found])  # [prompt, set]
    return measured(name, values[:, 0], values[:, 1:].T, variants)


def _looped(found: NDArray[np.int64], variants: Variants) -> Measured:
    """Shares of continuations, with Wilson's intervals; of their difference, Student's over prompts."""
    one, n = _measured("looped", loops_at_end, found, variants), len(found)

    def counted(bound: Bound) -> Bound:
        low, high = wilson_interval(round(bound.mean * n), n)
        return Bound(mean=bound.mean, low=round(low, DIGITS), high=round(high, DIGITS))

    return one.model_copy(update={"intact": counted(one.intact), "without": counted(one.without)})
