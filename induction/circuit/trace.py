"""The circuit behind an induction head: what each head is, what feeds it, and whether the link is causal.

scan, direct effect on the answer   ->  the kind of every head        (:mod:`induction.analysis.kinds`)
weights                             ->  composition and copying       (:mod:`induction.circuit.composition`, `.copying`)
path patching                       ->  which earlier head feeds it, through which input
                                                                      (:mod:`induction.circuit.paths`)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from induction.analysis.kinds import KINDS, kinds_of
from induction.analysis.result import Scan
from induction.analysis.scanning import iter_scan
from induction.base import Head, InputError, Progress, Refused, check_heads, finished, head_name, share
from induction.circuit.composition import composition
from induction.circuit.copying import copying
from induction.circuit.paths import check_path_settings, iter_path_patch, targets
from induction.circuit.results import INPUTS, MLPS, Circuit, Example, Mlps, Receiver
from induction.data_gen.pairs import PromptPair, check_pairs, in_words, pairs
from induction.model import provenance
from induction.patching.attribution import direct_logit_attribution
from induction.patching.effects import described
from induction.patching.interventions import Direction
from induction.patching.sweep import MAX_BYTES, hook_name, watch

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Result = TypeVar("Result")
SCORES = tuple(kind.score for kind in KINDS.values() if kind.score and not kind.against)
SCAN_SHARE, DIRECT_SHARE = 25, 30  # per cent of the progress bar done after each


def iter_circuit(
    model: TransformerBridge,
    head: Head | None = None,
    *,
    scan: Scan | None = None,
    prompts: Sequence[PromptPair] | None = None,
    n_receivers: int = 3,
    n_pairs: int = 10,
    vocab: str = "random",
    direction: Direction = "denoise",
    through: Sequence[str] = tuple(INPUTS),
    mlps: Mlps = "frozen",
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
) -> Generator[Progress[Circuit], None, None]:
    """Name the kind of every head, and measure what feeds one of them or the strongest induction heads.

    Args:
        head: the receiving head; default the strongest heads of the kind induction, none where there is
            none.
        n_receivers: how many of them.
        scan: scores of this model, to save measuring them again; measured anew where it lacks one.
        prompts: prompt pairs ``.. A B .. A``; default ``n_pairs`` of :func:`induction.data_gen.pairs.pairs` from the
            token set ``vocab``.
        direction: of the path patching, a name of :data:`induction.patching.interventions.DIRECTIONS`.
        through: inputs that are patched, names of :data:`induction.circuit.results.INPUTS`.
        mlps: what MLPs between sender and receiver do, a name of :data:`induction.circuit.results.MLPS`.
        seed: of prompts, random baseline and token draw.

    Yields:
        Progress in per cent; the last step carries the result. Closing cancels. What cannot be verified on the model
        is absent from it, with the reason in its place.

    Raises:
        InputError: a head outside of the model, an unknown name, prompts that do not end on a repeated token, or a
            scan of another model.
    """
    started = time.perf_counter()
    check_path_settings(direction, through, mlps)
    chosen = list(prompts) if prompts is not None else pairs(model, n_pairs, vocab=vocab, seed=seed)
    head = _checked(model, head, scan, chosen)
    example = _example(model, chosen[0])
    refused: dict[str, str] = {}
    if scan is None or not set(SCORES) <= scan.scores.keys():
        steps = iter_scan(model, scores=SCORES, loss=False, seed=seed)
        scan = yield from share(steps, 0, SCAN_SHARE)
    yield Progress(SCAN_SHARE, 100, "direct effect of every head")
    attribution = _unless_refused(
        refused, "direct", lambda: direct_logit_attribution(model, chosen, seed=seed)
    )
    direct = attribution.mean if attribution else None
    scores = {name: scan.scores[name].mean for name in SCORES}
    kinds = kinds_of(scores, direct)
    strongest = [(layer, index) for layer, index, _ in scan.ranked() if kinds[layer][index] == "induction"]
    settings = {"direction": direction, "through": through, "mlps": mlps, "max_bytes": max_bytes}
    fed = partial(_fed, model, prompts=chosen, refused=refused, seed=seed, **settings)
    receivers = yield from _each(strongest[:n_receivers] if head is None else [head], fed)
    result = Circuit(
        **provenance(model),
        scan_protocol=scan.scores["induction"].protocol,
        protocol=f"{in_words(chosen)}; {direction}, {MLPS[mlps].title}",
        scores=scores,
        direct=direct,
        kinds=kinds,
        receivers=receivers,
        example=example,
        pairs=[described(model, pair) for pair in chosen],
        refused=refused,
        seed=seed,
        seconds=round(time.perf_counter() - started, 2),
    )
    yield Progress(100, 100, "done", result)


circuit = finished(iter_circuit)


def _checked(
    model: TransformerBridge, head: Head | None, scan: Scan | None, prompts: Sequence[PromptPair]
) -> Head | None:
    """The receiving head, if one is named; raises InputError where head, scan or prompts do not fit the model."""
    shape = (model.cfg.n_layers, model.cfg.n_heads)
    if scan is not None and (scan.n_layers, scan.n_heads) != shape:
        raise InputError(f"The scan is of {scan.model} and does not fit this model; scan it again.")
    check_pairs(model, prompts)
    return None if head is None else check_heads([head], *shape)[0]


def _each(
    heads: Sequence[Head], fed: Callable[[Head], Iterator[Progress[Receiver]]]
) -> Generator[Progress[Any], None, list[Receiver]]:
    """Everything about all receiving heads, as the rest of the whole work."""
    receivers = []
    for number, head in enumerate(heads):
        width = (100 - DIRECT_SHARE) / len(heads)
        low = DIRECT_SHARE + number * width
        yield Progress(round(low), 100, f"composition and copying of {head_name(head)}")
        receivers.append((yield from share(fed(head), low, low + width)))
    return receivers


def _fed(
    model: TransformerBridge,
    head: Head,
    prompts: Sequence[PromptPair],
    refused: dict[str, str],
    *,
    seed: int,
    **settings: Any,
) -> Iterator[Progress[Receiver]]:
    """Everything about one receiving head; what cannot be verified goes with its reason into ``refused``."""
    copies = _unless_refused(refused, "copying", partial(copying, model, head, seed=seed))
    composed = paths = None
    if head[0] > 0:
        composed = _unless_refused(refused, "composition", partial(composition, model, head, seed=seed))
        try:
            for step in iter_path_patch(model, head, prompts, seed=seed, **settings):
                paths = step.result
                yield Progress(step.done, step.total, step.label)
        except Refused as error:
            refused.setdefault("paths", str(error))
    yield Progress(
        1, 1, "done", Receiver(layer=head[0], head=head[1], composition=composed, paths=paths, copying=copies)
    )


def _unless_refused(refused: dict[str, str], quantity: str, compute: Callable[[], Result]) -> Result | None:
    """A quantity, or None and its reason under its name where it cannot be verified on this model."""
    try:
        return compute()
    except Refused as error:
        refused.setdefault(quantity, str(error))
        return None


def _example(model: TransformerBridge, pair: PromptPair) -> Example:
    """Where every head looks in one clean prompt: back from B to A, and on from the second A to B."""
    first_b = int(targets(pair)[-1])
    last = pair.scored
    tokens = torch.tensor([pair.clean[: last + 1]], device=model.cfg.device)
    names = [hook_name("pattern", layer) for layer in range(model.cfg.n_layers)]
    patterns = watch(model, tokens, names)  # per layer [1, head, query, key]

    def attention(query: int, key: int) -> list[list[float]]:
        return [[round(value, 6) for value in pattern[0, :, query, key].tolist()] for pattern in patterns]

    shown = described(model, pair)

    return Example(
        tokens=shown.clean[: last + 1],
        first_a=first_b - 1,
        first_b=first_b,
        answer=shown.answer,
        step_back=attention(first_b, first_b - 1),
        step_on=attention(last, first_b),
    )
