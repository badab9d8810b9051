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

from induction.analysis import versions
from induction.effects import DIGITS, effects_of, measure, metrics, nested
from induction.interventions import (
    COMPONENTS,
    DIRECTIONS,
    METRICS,
    Component,
    Direction,
    PromptPair,
    check_choice,
)
from induction.model import name_of, origin
from induction.patching import columns, runs
from induction.prompt_pairs import check_pairs, described, in_words
from induction.results.patching import Attribution, Patching
from induction.statistics import mean_interval
from induction.sweep import Run, hook_name

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def direct_logit_attribution(
    model: TransformerBridge, pairs: Sequence[PromptPair], *, seed: int | None = None
) -> Attribution:
    """What each head's output at the scored position of the clean prompt adds to the logit difference.

    The output goes through the final norm with the scale that the norm has there (and is centred where the norm
    centres), then onto unembedding(answer) - unembedding(distractor). A head's share of the attention's output
    bias is nobody's: it counts under ``rest``, with the norm's and the unembedding's bias.

    Args:
        seed: that the pairs were drawn with, if any; stored with the result.

    Raises:
        InputError: no pairs, or a pair that does not fit the model.
    """
    check_pairs(model, pairs)
    shape = (len(pairs), model.cfg.n_layers, model.cfg.n_heads)
    written = np.empty(shape)
    total = np.empty(len(pairs))
    for index, pair in enumerate(pairs):
        written[index], total[index] = _attribute(model, pair)
    low = high = None
    if len(pairs) > 1:
        low, high = (nested(bound) for bound in mean_interval(written))
    mean = written.mean(0)
    return Attribution(
        model=name_of(model),
        n_layers=model.cfg.n_layers,
        n_heads=model.cfg.n_heads,
        kind="computed",
        origin=origin(model),
        protocol=f"clean prompts of {in_words(pairs)}; head output at the scored position, "
        "final norm's scale as in the run, onto unembedding of the answer minus that of the distractor",
        mean=nested(mean),
        low=low,
        high=high,
        total=round(float(total.mean()), DIGITS),
        rest=round(float(total.mean() - mean.sum()), DIGITS),
        pairs=[described(model, pair) for pair in pairs],
        seed=seed,
        versions=versions(),
    )


def _attribute(model: TransformerBridge, pair: PromptPair) -> tuple[NDArray[np.float64], float]:
    """``[layer, head]`` in logits, and the logit difference."""
    tokens = torch.tensor([pair.clean[: pair.scored + 1]], device=model.cfg.device)
    outputs: list[torch.Tensor] = []  # per layer, at the scored position [head, d_head]
    scale: list[torch.Tensor] = []  # [1], where the model has a final norm

    def keep(into: list[torch.Tensor]) -> Callable:
        return lambda activation, hook: into.append(activation[0, -1])

    def cut(resid: torch.Tensor, hook: Any) -> torch.Tensor:
        return resid[:, -1:]

    hooks = [(hook_name("z", layer), keep(outputs)) for layer in range(model.cfg.n_layers)]
    if "ln_final.hook_scale" in model.hook_dict:
        hooks.append(("ln_final.hook_scale", keep(scale)))
    with torch.no_grad():
        logits = model.run_with_hooks(tokens, fwd_hooks=[*hooks, ("unembed.hook_in", cut)])[0, -1]
        written = []
        for block, z in zip(model.blocks, outputs, strict=True):
            alone = torch.diag_embed(z.T).permute(1, 2, 0).flatten(1)  # row h holds head h's output alone
            written.append(block.attn.o(alone[:, None])[:, 0] - block.attn.o(torch.zeros_like(alone[:1])))
        heads = torch.stack(written)  # [layer, head, d_model]
        if scale:
            heads = through_final_norm(model, heads, scale[0])
        direction = model.W_U[:, pair.answer] - model.W_U[:, pair.distractor]  # [d_model]
    return (heads @ direction).double().cpu().numpy(), float(logits[pair.answer] - logits[pair.distractor])


def through_final_norm(model: TransformerBridge, written: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The final norm as the linear map it is at a fixed scale; ``written`` ``[..., d_model]``."""
    norm = model.ln_final
    if not norm.uses_rms_norm:
        written = written - written.mean(-1, keepdim=True)
    weight = getattr(norm.original_component, "weight", None)
    if weight is None:
        return written / scale
    return written / scale * (1 + weight if norm.uses_weight_offset else weight)


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
    """
    pairs = list(pairs)
    check_pairs(model, pairs)
    check_choice(direction, tuple(DIRECTIONS), "direction")
    check_choice(component, tuple(COMPONENTS), "component")
    started = time.perf_counter()
    n_layers, n_heads = model.cfg.n_layers, columns(model, component)
    patched = np.empty((len(pairs), n_layers, n_heads, len(METRICS)))
    plain = np.empty((2, len(pairs), len(METRICS)))  # clean, corrupted
    for index, pair in enumerate(pairs):
        base, source = runs(model, pair, direction, component)
        both = measure(torch.stack([base.logits, source.logits]), pair)
        plain[:, index] = both if direction == "noise" else both[::-1]
        patched[index] = both[0] + _first_order(model, base, source, pair, component)
    return Patching(
        model=name_of(model),
        n_layers=n_layers,
        n_heads=n_heads,
        kind="computed",
        origin=origin(model),
        protocol=f"{in_words(pairs)}; {COMPONENTS[component].title.lower()}, gradient "
        "times difference between the runs, summed over all positions",
        method="estimate",
        direction=direction,
        component=component,
        positions="all",
        effects=effects_of(plain, patched, direction, complete=True),
        unit="head" if n_heads == model.cfg.n_heads else "group",
        group_size=model.cfg.n_heads // n_heads,
        pairs=[described(model, pair) for pair in pairs],
        engine="gradient",
        seed=seed,
        seconds=round(time.perf_counter() - started, 2),
        versions=versions(),
    )


def _first_order(
    model: TransformerBridge, base: Run, source: Run, pair: PromptPair, component: Component
) -> NDArray[np.float64]:
    """Estimated change of each metric by copying each head's activation: ``[layer, head, metric]``."""
    activations: list[torch.Tensor] = []  # per layer

    def leaf(resid: torch.Tensor, hook: Any) -> torch.Tensor:
        return resid.detach().requires_grad_(True)  # the weights take no gradient: something has to

    def store(activation: torch.Tensor, hook: Any) -> torch.Tensor:
        activations.append(activation)
        return activation  # what is kept is what the rest of the model reads

    def cut(resid: torch.Tensor, hook: Any) -> torch.Tensor:
        return resid[:, -1:]

    hooks = [(hook_name(component, layer), store) for layer in range(model.cfg.n_layers)]
    hooks = [("blocks.0.hook_in", leaf), *hooks, ("unembed.hook_in", cut)]
    with torch.enable_grad():
        values = metrics(model.run_with_hooks(base.tokens, fwd_hooks=hooks)[:, -1], pair)[0]  # [metric]
        estimates = []
        for value in values:
            gradients = torch.autograd.grad(value, activations, retain_graph=True)
            layers = zip(gradients, source.activations, activations, strict=True)
            over = (0, 2, 3) if component == "pattern" else (0, 1, 3)  # all but the head
            estimates.append(torch.stack([(g * (there - here)).sum(over) for g, there, here in layers]))
    return torch.stack(estimates, -1).detach().double().cpu().numpy()
