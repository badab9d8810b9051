"""Loss on prose by position, and on what induction could predict, with and without a set of heads.

In-context-learning score: Olsson et al. 2022 (arXiv 2209.11895). Controls matched by attention entropy, and the
question whether what is lost is what induction could predict: Yin & Steinhardt 2025 (arXiv 2502.14010).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from induction.base import Head, InputError, Progress, finished
from induction.behaviour.results import AROUND, EARLY, LATE, Measured, ProseLosses
from induction.behaviour.variants import Variants, about, curve_of, iter_reference, measured
from induction.data_gen.prose import prose_ids, spread_out
from induction.model import BUNDLED, origin
from induction.model.tokens import encode
from induction.patching.ablation import Reference
from induction.patching.interventions import AblationKind
from induction.patching.sweep import MAX_BYTES, check_component, hook_name, record
from induction.patching.table import Prompt, Row, Table

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

LONGEST, WIDTH = 512, 16  # tokens of a passage, and of a stretch of the curve
NEAREST = 5  # other heads among which a matched one is drawn


def predictable(ids: Sequence[int]) -> NDArray[np.bool_]:
    """Which tokens from the second on equal what followed the latest earlier occurrence of the token before them.

    Returns:
        bool ``[pos - 1]``.
    """
    after: dict[int, int] = {}  # by token, what followed it last
    found = np.zeros(len(ids) - 1, dtype=bool)
    for at, (now, then) in enumerate(pairwise(ids)):
        found[at] = after.get(now) == then
        after[now] = then
    return found


def attention_entropy(model: TransformerBridge, ids: Sequence[int]) -> NDArray[np.float64]:
    """Entropy in nats of the attention of every head ``[layer, head]``, averaged over the queries of a text.

    Raises:
        Refused: the model does not show its attention.
    """
    check_component(model, "pattern")
    found = np.zeros((model.cfg.n_layers, model.cfg.n_heads))

    def look(pattern: torch.Tensor, hook: Any, layer: int) -> None:
        entropy = torch.special.entr(pattern).sum(-1).mean((0, 2))  # [1, head, query, key] to [head]
        found[layer] = entropy.double().cpu().numpy()

    hooks = [(hook_name("pattern", layer), partial(look, layer=layer)) for layer in range(len(found))]
    tokens = torch.tensor([list(ids)], device=model.cfg.device or "cpu")
    with torch.no_grad():
        model.run_with_hooks(tokens, fwd_hooks=hooks, stop_at_layer=len(found), return_type=None)
    return found


def matched_sets(
    heads: Sequence[Head], entropy: NDArray[np.float64], n_sets: int, *, seed: int
) -> tuple[tuple[Head, ...], ...]:
    """Distinct sets of heads outside a set, each head in place of one whose attention entropy is among the nearest.

    Args:
        entropy: ``[layer, head]``.
        n_sets: drawn at most; none where fewer heads are left than the set has.
    """
    others = [head for head in np.ndindex(entropy.shape) if head not in heads]
    if len(others) < len(heads):
        return ()
    rng, sets = np.random.default_rng(seed), []
    for _ in range(n_sets):
        left, drawn = list(others), []
        for at in rng.permutation(len(heads)):
            near = sorted(left, key=lambda head, own=heads[at]: abs(entropy[head] - entropy[own]))[:NEAREST]
            drawn.append(near[rng.integers(len(near))])
            left.remove(drawn[-1])
        sets.append(tuple(sorted((int(layer), int(head)) for layer, head in drawn)))
    return tuple(dict.fromkeys(sets))


def iter_prose(
    model: TransformerBridge,
    variants: Variants,
    *,
    n_passages: int = 8,
    n_matched: int = 5,
    kind: AblationKind = "mean",
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
) -> Generator[Progress[ProseLosses], None, None]:
    """Losses on the first 512 tokens of bundled passages, fewer where the context, a passage or the texts of a bundled
    model's training are shorter.

    Args:
        n_matched: control sets with the nearest attention entropy, beside the random ones of ``variants``.
        seed: of matched sets and reference set; stored with the result.

    Yields:
        Progress; the last step carries the result. Closing cancels.

    Raises:
        InputError: a count out of range, or a context too short for early and late positions.
        Refused: matched sets are asked for and the model does not show its attention.
    """
    started = time.perf_counter()
    passages = spread_out(n_passages)
    shortest = min(len(encode(model, passage.text)) for passage in passages)
    length = min(LONGEST, model.cfg.n_ctx, shortest, trained_on(model))
    early, late = EARLY, min(LATE, length - 1 - AROUND)
    if late - AROUND <= early + AROUND:
        raise InputError(
            f"Passages have {length} tokens here, which is too few to tell early from late; "
            "choose a model with a longer context."
        )
    texts = [prose_ids(model, passage, length) for passage in passages]
    entropy = None
    if n_matched:
        seen = []
        for at, ids in enumerate(texts):
            seen.append(attention_entropy(model, ids))
            yield Progress(at + 1, n_passages, f"attention entropy, passage {at + 1} of {n_passages}")
        entropy = np.mean(seen, 0)
        variants = replace(variants, matched=matched_sets(variants.heads, entropy, n_matched, seed=seed))
    reference = yield from iter_reference(model, length, kind, seed=seed)
    prompts = [partial(_prompt, model, ids, at, n_passages, reference, kind) for at, ids in enumerate(texts)]
    rows = [Row(heads) for heads in variants.sets]
    table = Table(model, "z", rows, prompts, n_plain=1, n_measures=length - 1, max_bytes=max_bytes)
    for label, _, _ in table.fill():
        yield Progress(table.done, table.total, label)
    hits = np.stack([predictable(ids) for ids in texts])  # [passage, pos - 1]
    result = ProseLosses(
        **about(model, variants, kind, reference, seed),
        protocol=f"first {length} tokens of {n_passages} bundled passages of prose{_why_short(model, length)}; "
        f"early and late: tokens {early} and {late}, each with {AROUND} to both sides; {variants.words()}; "
        f"{_matched_in_words(variants, n_matched)}",
        engine=table.engine,
        n_passages=n_passages,
        length=length,
        early=early,
        late=late,
        matched_sets=[[list(head) for head in heads] for heads in variants.matched],
        n_predictable=int(hits.sum()),
        n_tokens=hits.size,
        entropy=None if entropy is None else entropy.round(3).tolist(),
        measures=_measures(table.plain[0], table.edited, hits, early, late, variants),
        **_curves(table.plain[0], table.edited, variants),
        seconds=round(time.perf_counter() - started, 2),
    )
    yield Progress(table.total, table.total, "done", result)


prose_losses = finished(iter_prose)


def _prompt(
    model: TransformerBridge,
    ids: list[int],
    index: int,
    of: int,
    reference: Reference,
    kind: AblationKind,
) -> Prompt:
    run = record(model, tuple(ids))
    measure = partial(_losses, tokens=run.tokens[0])
    with torch.no_grad():
        plain = measure(model(run.tokens))
    values = reference.values(kind, index, run.n_pos)
    return Prompt(f"passage {index + 1} of {of}", run, values, measure, plain, every_position=True)


def _losses(logits: torch.Tensor, tokens: torch.Tensor) -> NDArray[np.float64]:
    """Loss in nats on every token from the second on ``[row, pos - 1]``, of logits ``[row, pos, d_vocab]``."""
    nll = [torch.nn.functional.cross_entropy(row[:-1], tokens[1:], reduction="none") for row in logits]
    return torch.stack(nll).double().cpu().numpy()


def _measures(
    plain: NDArray[np.float64],
    edited: NDArray[np.float64],
    hits: NDArray[np.bool_],
    early: int,
    late: int,
    variants: Variants,
) -> list[Measured]:
    """All measures of losses ``[passage, pos - 1]`` and ``[set, passage, pos - 1]``."""
    some = hits.any(1) & ~hits.all(1)  # passages without any such token say nothing of them

    def around(at: int) -> slice:
        return slice(at - AROUND - 1, at + AROUND)  # the loss on token p is at p - 1

    def share(nll: NDArray[np.float64], which: NDArray[np.bool_]) -> NDArray[np.float64]:
        return (nll * which).sum(-1)[..., some] / which.sum(-1)[some]  # [..., passage]

    of = {
        "loss": lambda nll: nll.mean(-1),
        "early": lambda nll: nll[..., around(early)].mean(-1),
        "late": lambda nll: nll[..., around(late)].mean(-1),
        "learning": lambda nll: nll[..., around(late)].mean(-1) - nll[..., around(early)].mean(-1),
        "predictable": lambda nll: share(nll, hits),
        "other": lambda nll: share(nll, ~hits),
        "excess": lambda nll: share(nll, hits) - share(nll, ~hits),
    }
    if not some.any():
        raise InputError("No passage has a token that induction could predict; ask for more passages.")
    return [measured(name, value(plain), value(edited), variants) for name, value in of.items()]


def _curves(plain: NDArray[np.float64], edited: NDArray[np.float64], variants: Variants) -> dict[str, Any]:
    """Mean losses in stretches of :data:`WIDTH` tokens, the last one left out where it is shorter."""
    n = plain.shape[-1] // WIDTH

    def smooth(nll: NDArray[np.float64]) -> Any:
        return curve_of(nll[:, : n * WIDTH].reshape(len(nll), n, WIDTH).mean(-1))

    controls = {"random": edited[variants.of_random], "matched": edited[variants.of_matched]}
    return {
        "windows": [1 + WIDTH * at for at in range(n)],
        "width": WIDTH,
        "intact": smooth(plain),
        "without": smooth(edited[0]),
        **{name: smooth(nll.mean(0)) if len(nll) else None for name, nll in controls.items()},
    }


def trained_on(model: TransformerBridge) -> int:
    """The longest text that a bundled model was trained on, behind which its loss rises; no limit for others."""
    if origin(model) != BUNDLED:
        return LONGEST
    from induction.training.train import Recipe

    return max(batch.length for batch in Recipe().batches)


def _why_short(model: TransformerBridge, length: int) -> str:
    if length == LONGEST:
        return ""
    if length == trained_on(model):
        return " (as long as the texts it was trained on)"
    return f" (all that {'the context has' if length == model.cfg.n_ctx else 'the shortest of them has'})"


def _matched_in_words(variants: Variants, n_matched: int) -> str:
    if variants.matched:
        return f"{len(variants.matched)} sets of other heads with the nearest attention entropy on these passages"
    return "no matched sets" + (", too few other heads" if n_matched else "")
