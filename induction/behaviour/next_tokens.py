"""The next token of a prompt and the greedy continuation, with and without a set of heads."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import torch

from induction.base import InputError, Progress, finished
from induction.behaviour.greedy import Said, iter_greedy
from induction.behaviour.results import Candidate, Continuation, NextTokens
from induction.behaviour.variants import DIGITS, Variants, about, edits_of, iter_reference
from induction.model.tokens import check_ids, labels
from induction.patching.interventions import AblationKind

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TOP = 10


def iter_next(
    model: TransformerBridge,
    ids: Sequence[int],
    variants: Variants,
    *,
    n_new: int = 12,
    kind: AblationKind = "mean",
    seed: int = 0,
) -> Generator[Progress[NextTokens], None, None]:
    """The most likely next tokens of a prompt and what the model says next.

    Args:
        ids: of the prompt.
        n_new: tokens to say.
        seed: of the reference set; stored with the result.

    Yields:
        Progress; the last step carries the result. Closing cancels.

    Raises:
        InputError: no tokens to say or to start from, or more than the context has.
    """
    check_ids(model, ids)
    if n_new < 1:
        raise InputError(f"A continuation has 1 token or more, not {n_new}.")
    started = time.perf_counter()
    length, total = len(ids) + n_new, n_new + 2
    if length > model.cfg.n_ctx:
        raise InputError(
            f"Prompt and continuation have {length} tokens and the model's context is {model.cfg.n_ctx}; shorten them."
        )
    reference = yield from iter_reference(model, length, kind, seed=seed)
    tokens = torch.tensor([list(ids)], device=model.cfg.device or "cpu")
    values = reference.values(kind, 0, length)
    rows = [(), *variants.sets]  # the whole model first
    edits = edits_of(rows, values, model.cfg.n_heads, tokens.device)
    steps = iter_greedy(model, tokens, edits, n_new)
    while True:
        try:
            done = next(steps)
        except StopIteration as end:
            said = end.value
            break
        yield Progress(done, total, f"token {done} of {n_new}")
    n_random = len(variants.random)
    result = NextTokens(
        **about(model, variants, kind, reference, seed),
        protocol=f"a prompt of {len(ids)} tokens, continued greedily; {variants.words()}",
        engine="direct" if said.direct else "hooked",
        prompt=labels(model, list(ids)),
        candidates=_candidates(model, said, n_random),
        intact=_continuation(model, said, 0),
        without=_continuation(model, said, 1),
        random=_continuation(model, said, 2) if n_random else None,
        seconds=round(time.perf_counter() - started, 2),
    )
    yield Progress(total, total, "done", result)


next_tokens = finished(iter_next)


def _candidates(model: TransformerBridge, said: Said, n_random: int) -> list[Candidate]:
    probabilities = said.first.softmax(-1)  # [row, d_vocab]
    top = probabilities[:2].topk(min(TOP, probabilities.shape[1])).indices
    ids = list(dict.fromkeys(top.flatten().tolist()))
    of_top = probabilities[: 2 + n_random, ids].double().cpu().numpy().round(DIGITS + 1).T.tolist()
    named = zip(labels(model, ids), of_top, strict=True)
    return [Candidate(token=name, intact=p[0], without=p[1], random=p[2:]) for name, p in named]


def _continuation(model: TransformerBridge, said: Said, row: int) -> Continuation:
    likely = said.probabilities[row].double().cpu().numpy().round(DIGITS).tolist()
    return Continuation(tokens=labels(model, said.tokens[row].tolist()), probabilities=likely)
