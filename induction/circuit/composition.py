"""Composition: how strongly what one head writes could enter another, read off the weights alone.

Elhage et al. 2021, A Mathematical Framework for Transformer Circuits. With ``W_OV`` of the earlier head A and
``W_QK`` of the later head B (``W_QK = W_Q W_K^T``), norms Frobenius:

    Q    ||W_OV^A W_QK^B||   / (||W_OV^A|| ||W_QK^B||)      A changes what B looks for
    K    ||W_OV^A W_QK^B^T|| / (||W_OV^A|| ||W_QK^B||)      A changes what B can find
    V    ||W_OV^A W_OV^B||   / (||W_OV^A|| ||W_OV^B||)      A changes what B copies

Every product goes through ``d_head`` x ``d_head`` matrices: with M = O_A K_B, for example,
``||V_A O_A K_B Q_B^T||^2 = tr(V_A^T V_A  M  Q_B^T Q_B  M^T)``. No d_model x d_model matrix is formed.

Composition is a hint, not a proof: :mod:`induction.circuit.paths` tests the link.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from induction.base import Head, InputError, check_heads, head_name
from induction.circuit.head_weights import DISTANCES, Weights, weights
from induction.circuit.results import Composition
from induction.model import origin
from induction.model.anatomy import after_attention, entrance

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

SAMPLES = 40  # random head pairs behind the baseline
DIGITS = 6


def composition(model: TransformerBridge, head: Head, *, seed: int = 0) -> Composition:
    """Q-, K- and V-composition of every head of the earlier layers with ``head``.

    The weights of all norms on the way are folded in (:mod:`induction.circuit.head_weights`); where the norm before the
    receiver centres (layer norm), so are reading and writing weights. With grouped-query attention a head's keys and
    values are those of its group. In a layer with rotary positions ``W_QK`` is another one at each distance of query
    and key: both norms are then root mean squares over distances 1 to :data:`DISTANCES`.

    Args:
        seed: of the random baseline.

    Raises:
        InputError: a head outside of the model, or one in the first layer.
        Refused: the model does not compute what its weights say.
    """
    layer, index = receiving(model, head)
    of_layer = weights(model, range(layer + 1), scores_of=layer)
    receiver = of_layer[layer]
    q, k, v, o = receiver.q[index], receiver.k[index], receiver.v[index], _written(receiver)[index]
    turns = receiver.turns
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
        sender = of_layer[earlier]
        gram_v = sender.v.mT @ sender.v  # [head, d_head, d_head]
        written = _written(sender)
        size = _trace(gram_v, written @ written.mT)  # [head]
        for name, read, seen, whole in (
            ("q", q, seen_by_queries, qk),
            ("k", k, seen_by_keys, qk),
            ("v", v, gram_o, ov),
        ):
            through = written @ read  # [head, d_head, d_head]
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
        definition=_definition(model, layer, receiver),
        measured=measured,
        baseline=round(mean, DIGITS),
        baseline_deviation=round(deviation, DIGITS),
        seed=seed,
    )


def receiving(model: TransformerBridge, head: Head) -> Head:
    """The same head; raises InputError where it is outside of the model, or in the first layer, which nothing feeds."""
    (head,) = check_heads([head], model.cfg.n_layers, model.cfg.n_heads)
    if head[0] == 0:
        raise InputError(
            f"Head {head_name(head)} is in the first layer, which no earlier head feeds; choose a later layer."
        )
    return head


def _trace(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Trace of ``a b`` for symmetric matrices ``[..., n, n]``."""
    return (a * b).sum((-2, -1))


def _written(found: Weights) -> torch.Tensor:
    """What the heads write, ``[head, d_head, d_model]``; centred where layer norms let nothing else through."""
    return found.o - found.o.mean(-1, keepdim=True) if found.centres else found.o


def _definition(model: TransformerBridge, layer: int, found: Weights) -> str:
    """In words, what was computed for a receiving head of this layer."""
    blocks, norms = model.blocks, []
    if entrance(blocks[layer]) is not None:
        norms.append("before attention")
    if {"q_norm", "k_norm"} & {*blocks[layer].attn.submodules}:
        norms.append("of queries and keys")
    if any(after_attention(blocks[earlier]) is not None for earlier in range(layer)):
        norms.append("after the sender's attention")
    parts = ["Elhage et al. 2021: Frobenius norm of the product over the product of the norms"]
    if norms:
        parts.append(f"norm weights {', '.join(norms)} folded in" + (" and centred" if found.centres else ""))
    if found.turns is not None:
        parts.append(f"W_QK turns with distance: root mean square over distances 1 to {DISTANCES}")
    groups = model.blocks[layer].attn.W_K.shape[0]
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
