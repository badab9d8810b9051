"""What heads write themselves, and a fast estimate of what patching them would do.

Direct logit attribution (Elhage et al. 2021) is exact but sees only the direct path from a head to the logits.
Attribution patching (Nanda 2023; Syed et al. 2023, arXiv 2310.10348) replaces the patched runs by a first-order
expansion: two forward passes and one backward pass per metric for all heads. It is an estimate, and its result says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from induction.base import Refused, mean_interval
from induction.data_gen.pairs import PromptPair, check_pairs, in_words
from induction.model import name_of, provenance
from induction.model.anatomy import dissect, near
from induction.patching.effects import DIGITS, described, effects_of, measure, metrics, nested
from induction.patching.heads import about_sweep, check_patching, runs
from induction.patching.interventions import COMPONENTS, METRICS, Component, Direction
from induction.patching.results import Attribution, Patching
from induction.patching.sweep import Run, columns, hook_name, logits_from, read_out

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def direct_logit_attribution(
    model: TransformerBridge, pairs: Sequence[PromptPair], *, seed: int | None = None
) -> Attribution:
    """What each head's output at the scored position of the clean prompt adds to the logit difference.

    The output goes the way of :mod:`induction.model.anatomy`, through the norms with the scales that they have there,
    onto unembedding(answer) - unembedding(distractor). A head's share of the attention's output bias is nobody's: it
    counts under ``rest``, with the norms' and the unembedding's bias.

    Args:
        seed: that the pairs were drawn with, if any; stored with the result.

    Raises:
        InputError: no pairs, or a pair that does not fit the model.
        Refused: the parts of this model do not sum to its logits.
    """
    check_pairs(model, pairs)
    shape = (len(pairs), model.cfg.n_layers, model.cfg.n_heads)
    written = np.empty(shape)
    total = np.empty(len(pairs))
    capped = False
    for index, pair in enumerate(pairs):
        written[index], total[index], capped = _attribute(model, pair)
    low = high = None
    if len(pairs) > 1:
        low, high = (nested(bound) for bound in mean_interval(written))
    mean = written.mean(0)
    return Attribution(
        **provenance(model),
        kind="computed",
        protocol=f"clean prompts of {in_words(pairs)}; head output at the scored position, "
        "norms at their scales in the run, onto unembedding of the answer minus that of the distractor"
        + (", before the model's soft cap" if capped else ""),
        mean=nested(mean),
        low=low,
        high=high,
        total=round(float(total.mean()), DIGITS),
        rest=round(float(total.mean() - mean.sum()), DIGITS),
        pairs=[described(model, pair) for pair in pairs],
        seed=seed,
    )


def _attribute(model: TransformerBridge, pair: PromptPair) -> tuple[NDArray[np.float64], float, bool]:
    """``[layer, head]`` in logits and the logit difference, both before a soft cap, and whether there is one."""
    run = dissect(model, pair.clean[: pair.scored + 1], start=-1)
    with torch.no_grad():
        direction = model.W_U[:, pair.answer] - model.W_U[:, pair.distractor]  # [d_model]
        heads = torch.stack([run.final(run.heads(layer))[:, 0] for layer in range(model.cfg.n_layers)])
        written = heads @ direction  # [layer, head]
    difference = float(run.logits[pair.answer] - run.logits[pair.distractor])
    return written.double().cpu().numpy(), difference, run.cap is not None


def attribution_patching(
    model: TransformerBridge,
    pairs: Sequence[PromptPair],
    *,
    direction: Direction = "denoise",
    component: Component = "z",
    seed: int | None = None,
) -> Patching:
    """Estimate :func:`induction.patching.patch_heads` for every head at once: gradient times activation difference.

    Returns:
        As ``patch_heads`` with ``method="estimate"``; it is a first-order expansion around the run that is patched
        and can be far off where the model is saturated. ``patched`` holds the estimated values.

    Raises:
        InputError: no pairs, or an unknown name.
        Refused: the pattern of heads that do not give out pattern times values.
    """
    pairs = check_patching(model, pairs, direction, component)
    started = time.perf_counter()
    patched = np.empty((len(pairs), model.cfg.n_layers, columns(model, component), len(METRICS)))
    plain = np.empty((2, len(pairs), len(METRICS)))  # clean, corrupted
    for index, pair in enumerate(pairs):
        base, source, plain[:, index] = runs(model, pair, direction, component)
        patched[index] = measure(base.logits[None], pair) + _first_order(model, base, source, pair, component)
    return Patching(
        **about_sweep(model, pairs, direction, component),
        protocol=f"{in_words(pairs)}; {COMPONENTS[component].title.lower()}, gradient "
        "times difference between the runs, summed over all positions",
        method="estimate",
        positions="all",
        effects=effects_of(plain, patched, direction, complete=True),
        engine="gradient",
        seed=seed,
        seconds=round(time.perf_counter() - started, 2),
    )


def _first_order(
    model: TransformerBridge, base: Run, source: Run, pair: PromptPair, component: Component
) -> NDArray[np.float64]:
    """Estimated change of each metric by copying each head's activation: ``[layer, head, metric]``."""
    # The pattern acts through the head outputs alone: z = pattern @ v. Not every model reads its pattern hook.
    shown: dict[str, list[torch.Tensor]] = {}  # component -> per layer
    entry = "z" if component == "pattern" else component

    def leaf(resid: torch.Tensor, hook: Any) -> torch.Tensor:
        return resid.detach().requires_grad_(True)  # the weights take no gradient: something has to

    def store(name: str) -> Callable:
        def keep(activation: torch.Tensor, hook: Any) -> torch.Tensor:
            shown.setdefault(name, []).append(activation)
            return activation  # what is kept is what the rest of the model reads

        return keep

    names = ("pattern", "v", "z") if component == "pattern" else (component,)
    layers = range(model.cfg.n_layers)
    hooks = [(hook_name(name, layer), store(name)) for layer in layers for name in names]
    with torch.enable_grad():
        logits = logits_from(model, base.tokens, [("blocks.0.hook_in", leaf), *hooks], -1)
        values = metrics(logits[:, -1], pair)[0]  # [metric]
        changes = [there - here for there, here in zip(source.activations, shown[component], strict=True)]
        if component == "pattern":
            _check_read(model, shown)
            changes = [read_out(change, v) for change, v in zip(changes, shown["v"], strict=True)]
        estimates = []
        for value in values:
            gradients = torch.autograd.grad(value, shown[entry], retain_graph=True)
            steps = zip(gradients, changes, strict=True)  # [1, pos, head, d_head] each
            estimates.append(torch.stack([(gradient * change).sum((0, 1, 3)) for gradient, change in steps]))
    return torch.stack(estimates, -1).detach().double().cpu().numpy()


def _check_read(model: TransformerBridge, shown: dict[str, list[torch.Tensor]]) -> None:
    """Raises Refused unless every layer's heads give out pattern times values."""
    for pattern, v, z in zip(shown["pattern"], shown["v"], shown["z"], strict=True):
        if not near(read_out(pattern, v), z):
            raise Refused(
                f"The heads of {name_of(model)} do not simply give out attention times values, so patching the "
                "pattern has no estimate here; patch it exactly, or estimate another component."
            )
