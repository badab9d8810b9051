"""Composition: how strongly what one head writes could enter another, read off the weights alone.

Elhage et al. 2021, A Mathematical Framework for Transformer Circuits. With ``W_OV`` of the earlier head A and
``W_QK`` of the later head B (``W_QK = W_Q W_K^T``), norms Frobenius:

    Q    ||W_OV^A W_QK^B||   / (||W_OV^A|| ||W_QK^B||)      A changes what B looks for
    K    ||W_OV^A W_QK^B^T|| / (||W_OV^A|| ||W_QK^B||)      A changes what B can find
    V    ||W_OV^A W_OV^B||   / (||W_OV^A|| ||W_OV^B||)      A changes what B copies

Every product goes through ``d_head`` x ``d_head`` matrices: with M = O_A K_B, for example,
``||V_A O_A K_B Q_B^T||^2 = tr(V_A^T V_A  M  Q_B^T Q_B  M^T)``. No d_model x d_model matrix is formed.

Composition is a hint, not a proof: :mod:`induction.path_patching` tests the link.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from induction.errors import InputError
from induction.interventions import Head, check_heads
from induction.model import origin
from induction.results.circuit import Composition
from induction.sweep import record

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

DISTANCES = 64  # of query and key, over which rotary W_QK is averaged
SAMPLES = 40  # random head pairs behind the baseline
DIGITS = 6


@dataclass(frozen=True)
class Weights:
    """One layer's weights per query head, the norm before it folded in; float64."""

    q: torch.Tensor  # [head, d_model, d_head]
    k: torch.Tensor  # [head, d_model, d_head]; heads of a group share theirs
    v: torch.Tensor  # [head, d_model, d_head]
    o: torch.Tensor  # [head, d_head, d_model]


def composition(model: TransformerBridge, head: Head, *, seed: int = 0) -> Composition:
    """Q-, K- and V-composition of every head of the earlier layers with ``head``.

    The norm's weight is folded into what reads; where the norm centres (layer norm), so are reading and
    writing weights. With grouped-query attention a head's keys and values are those of its group. Rotary
    attention has one ``W_QK`` per distance of query and key: both norms are then root mean squares
    over distances 1 to :data:`DISTANCES`.

    Args:
        seed: of the random baseline.

    Raises:
        InputError: a head outside of the model, or one in the first layer.
    """
    ((layer, index),) = check_heads([head], model.cfg.n_layers, model.cfg.n_heads)
    if layer == 0:
        raise InputError(
            f"Head {layer}.{index} is in the first layer, which no earlier head feeds; choose a later layer."
        )
    receiver = weights(model, layer)
    q, k, v, o = (getattr(receiver, name)[index] for name in "qkvo")
    turns = _turns(model)
    gram_q, gram_k = q.T @ q, k.T @ k  # [d_head, d_head]
    if turns is None:
        seen_by_queries, seen_by_keys = gram_k, gram_q
    else:
        seen_by_queries = (turns @ gram_k @ turns.mT).mean(0)
        seen_by_keys = (turns.mT @ gram_q @ turns).mean(0)
    qk = _trace(gram_q, seen_by_queries)  # ||W_QK||^2
    gram_o = o @ o.T
    ov = _trace(v.T @ v, gram_o)  # ||W_OV||^2

    measured: dict[str, list[list[float]]] = {"q": [], "k": [], "v": []}
    for earlier in range(layer):
        sender = weights(model, earlier)
        gram_v = sender.v.mT @ sender.v  # [head, d_head, d_head]
        size = _trace(gram_v, sender.o @ sender.o.mT)  # [head]
        for name, read, seen, whole in (
            ("q", q, seen_by_queries, qk),
            ("k", k, seen_by_keys, qk),
            ("v", v, gram_o, ov),
        ):
            through = sender.o @ read  # [head, d_head, d_head]
            joint = _trace(gram_v, through @ seen @ through.mT)
            # A head that reads or writes nothing composes with nothing.
            ratio = torch.where(size * whole > 0, joint / (size * whole), 0.0).clamp(min=0).sqrt()
            measured[name].append([round(value, DIGITS) for value in ratio.tolist()])
    mean, deviation = random_baseline(model.cfg.d_model, model.cfg.d_head, seed=seed)
    return Composition(
        layer=layer,
        head=index,
        kind="computed",
        origin=origin(model),
        definition=_definition(model, rotary=turns is not None),
        measured=measured,
        baseline=round(mean, DIGITS),
        baseline_deviation=round(deviation, DIGITS),
        seed=seed,
    )


def _trace(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Trace of ``a b`` for symmetric matrices ``[..., n, n]``."""
    return (a * b).sum((-2, -1))


def weights(model: TransformerBridge, layer: int) -> Weights:
    """The weights of one layer's heads with the norm before it folded in."""
    attn = model.blocks[layer].attn
    norm = model.blocks[layer].ln1
    group = model.cfg.n_heads // attn.W_K.shape[0]
    written = attn.W_O.double()
    return Weights(
        q=fold(norm, attn.W_Q.double()),
        k=fold(norm, attn.W_K.double()).repeat_interleave(group, 0),
        v=fold(norm, attn.W_V.double()).repeat_interleave(group, 0),
        o=written - written.mean(-1, keepdim=True) if centres(norm) else written,
    )


def fold(norm: Any, read: torch.Tensor) -> torch.Tensor:
    """What ``read`` ``[..., d_model, n]`` does to the residual stream itself, up to the norm's scale."""
    part = getattr(norm, "original_component", None)
    weight = getattr(part, "weight", None)
    if weight is not None:
        weight = 1 + weight if getattr(norm, "uses_weight_offset", False) else weight
        read = weight.to(read.dtype)[:, None] * read
    return read - read.mean(-2, keepdim=True) if centres(norm) else read


def centres(norm: Any) -> bool:
    """Whether a norm subtracts the mean: layer norm does, RMS norm and no norm do not."""
    return getattr(norm, "uses_rms_norm", None) is False


def _turns(model: TransformerBridge) -> torch.Tensor | None:
    """Rotations of a query relative to its key at distances 1, 2, ...: ``[distance, d_head, d_head]``."""
    if getattr(model.cfg, "positional_embedding_type", None) != "rotary":
        return None
    length = min(DISTANCES + 1, model.cfg.n_ctx)
    rotary = record(model, (0,) * length).rotary
    if rotary is None:
        raise InputError(
            "The rotary embedding of this model cannot be read, so its heads' composition is not defined here."
        )
    eye = torch.eye(model.cfg.d_head, device=rotary.cos.device)
    turned = rotary(eye.expand(1, length, -1, -1), 0)[0].double()  # row vectors: x turned is x @ turned[pos]
    return turned[1:] @ turned[0].mT


def _definition(model: TransformerBridge, *, rotary: bool) -> str:
    norm = model.blocks[0].ln1
    parts = ["Elhage et al. 2021: Frobenius norm of the product over the product of the norms"]
    if getattr(getattr(norm, "original_component", None), "weight", None) is not None:
        parts.append("norm weights folded in" + (" and centred" if centres(norm) else ""))
    if rotary:
        parts.append(f"W_QK turns with distance: root mean square over distances 1 to {DISTANCES}")
    groups = model.blocks[0].attn.W_K.shape[0]
    if groups != model.cfg.n_heads:
        parts.append(f"keys and values are shared by {model.cfg.n_heads // groups} heads")
    return "; ".join(parts)


@lru_cache(maxsize=32)
def random_baseline(
    d_model: int, d_head: int, *, samples: int = SAMPLES, seed: int = 0
) -> tuple[float, float]:
    """K-composition of heads with independent Gaussian weights: mean and standard deviation over ``samples``.

    Q- and V-composition of such heads have the same distribution.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw() -> torch.Tensor:
        return torch.randn(d_model, d_head, generator=generator, dtype=torch.float64)

    values = []
    for _ in range(samples):
        v, o, q, k = draw(), draw(), draw(), draw()
        gram_v, gram_q, through = v.T @ v, q.T @ q, o.T @ k
        whole = _trace(gram_v, o.T @ o) * _trace(gram_q, k.T @ k)
        values.append((_trace(gram_v, through @ gram_q @ through.T) / whole).sqrt())
    drawn = torch.stack(values)
    return float(drawn.mean()), float(drawn.std())
