"""Whether a head copies: does reading a token raise that token's own logit?

The head's map from tokens to logits is ``E W_V W_O W_U`` (Elhage et al. 2021). ``E`` is the effective embedding of
each token: its embedding as it enters the first block, without positions, plus what the first MLP makes of it alone
where there is one. It passes through the norm before the head with the scale that it has there by itself, biases left
out. The weights of the norms behind the head are folded in (:mod:`induction.circuit.head_weights`), and the
unembedding is centred over the vocabulary (logits mean nothing but their differences).

The map is vocabulary x vocabulary but of rank ``d_head``: its eigenvalues other than 0 are those of a
``d_head`` x ``d_head`` product, and its rows are formed a slice at a time.

Copying alone makes no induction head: many heads that never attend to a repeat pass this test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from induction.base import Head, Refused, check_heads
from induction.circuit.head_weights import Weights, weights
from induction.circuit.results import Copying
from induction.model import name_of
from induction.model.anatomy import dissect, entering, entrance, final_norm, near, norm_of, normed

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

N_TOKENS = 4096  # read for top-1 and top-5; the eigenvalues take all
SLICE_BYTES = 1 << 27
SAMPLE = 16  # tokens on which the model is held against its weights
DIGITS = 6


def copying(
    model: TransformerBridge,
    head: Head,
    *,
    n_tokens: int = N_TOKENS,
    seed: int = 0,
    slice_bytes: int = SLICE_BYTES,
) -> Copying:
    """How well one head copies the token that it reads.

    Args:
        n_tokens: tokens drawn for top-1 and top-5, all of them where the vocabulary is smaller.
        seed: of the draw.
        slice_bytes: what a slice of the map may hold; changes nothing but time.

    Raises:
        InputError: a head outside of the model.
        Refused: the model does not compute what its weights say.
    """
    (head,) = check_heads([head], model.cfg.n_layers, model.cfg.n_heads)
    layer, index = head
    with torch.no_grad():
        found = weights(model, range(layer, layer + 1))[layer]
        sample = range(min(SAMPLE, model.cfg.n_ctx, model.cfg.d_vocab))
        factor = dissect(model, sample).final.factor  # refuses where the way to the logits is not known
        read = _read(model, head, slice_bytes)  # [token, d_head]
        write = _write(model, found, index, factor)  # [d_head, d_vocab]
        eigenvalues = torch.linalg.eigvals((write @ read).double())  # [d_head]
        n_all = len(read)
        chosen = torch.randperm(n_all, generator=torch.Generator().manual_seed(seed))[:n_tokens]
        chosen = chosen.to(read.device)
        ranks = torch.cat(
            [
                _rank(read[tokens] @ write, tokens)
                for tokens in chosen.split(max(1, slice_bytes // (4 * n_all)))
            ]
        )
    magnitude = eigenvalues.abs().sum()
    return Copying(
        top1=round(float((ranks < 1).double().mean()), DIGITS),
        top5=round(float((ranks < 5).double().mean()), DIGITS),
        eigenvalue=round(float(eigenvalues.sum().real / magnitude), DIGITS) if magnitude > 0 else 0.0,
        n_tokens=len(chosen),
        definition=f"{'W_E + MLP0(W_E)' if _has_mlp(model) else 'W_E'} to logits; weights of all norms on the way "
        "folded in, biases left out",
    )


def _rank(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """How many other tokens get at least the logit of the token itself: ``[row]`` from ``[row, d_vocab]``."""
    own = logits.gather(1, tokens[:, None])
    return (logits >= own).sum(1) - 1


def _has_mlp(model: TransformerBridge) -> bool:
    return "mlp" in model.blocks[0].submodules


def _read(model: TransformerBridge, head: Head, slice_bytes: int) -> torch.Tensor:
    """What the head reads of every token: effective embedding, norm and W_V, ``[token, d_head]``."""
    layer, index = head
    block = model.blocks[layer]
    n_groups = block.attn.W_V.shape[0]
    w_v = block.attn.W_V[index * n_groups // model.cfg.n_heads]  # [d_model, d_head]
    norm = norm_of(entrance(block), model.cfg.d_model, model.W_U)
    per_token = 4 * (12 * model.cfg.d_model + 4 * (model.cfg.d_mlp or 0))
    parts = []
    embed = _embedding(model)
    for tokens in torch.arange(model.cfg.d_vocab, device=w_v.device).split(max(1, slice_bytes // per_token)):
        x = normed(block, _after_first_mlp(model, embed(tokens)))[:, 0]  # [token, d_model]
        parts.append((x if norm is None else x - norm.bias) @ w_v)
    return torch.cat(parts)


def _embedding(model: TransformerBridge) -> Callable[[torch.Tensor], torch.Tensor]:
    """What enters the first block for a token ``[token]``, without its position: ``[token, 1, d_model]``.

    Models scale their embeddings, norm them, or add a position to them. What stands at two positions tells which.

    Raises:
        Refused: the positions cannot be told from the tokens.
    """
    sample = torch.arange(min(SAMPLE, model.cfg.d_vocab), device=model.W_U.device)
    here, there = entering(model, sample[:, None].expand(-1, 2)).unbind(1)  # [token, d_model] each
    if near(here, there):
        return lambda tokens: entering(model, tokens[:, None])
    plain = model.embed(sample[:, None])[:, 0]
    if plain.shape == here.shape:
        spread, enters = plain - plain.mean(0), here - here.mean(0)
        factor = float((spread * enters).sum() / (spread**2).sum())
        if near(factor * spread, enters):
            return lambda tokens: factor * model.embed(tokens[:, None])
    raise Refused(
        f"What {name_of(model)} makes of a token before its first layer cannot be told from what it makes of "
        "positions, so its heads' copying is not defined here; patching shows what they copy."
    )


def _after_first_mlp(model: TransformerBridge, embedded: torch.Tensor) -> torch.Tensor:
    """The embedding plus what the first MLP makes of it alone: the first block with its attention switched off.

    Args:
        embedded: ``[token, 1, d_model]``, each a prompt of its own.
    """
    if not _has_mlp(model):
        return embedded
    block = model.blocks[0]
    hooks = [
        (block.hook_in.name, lambda resid, hook: embedded),
        (block.hook_attn_out.name, lambda attention, hook: torch.zeros_like(attention)),
    ]
    tokens = torch.zeros(len(embedded), 1, dtype=torch.long, device=embedded.device)
    return model.run_with_hooks(tokens, fwd_hooks=hooks, return_type=None, stop_at_layer=1)


def _write(model: TransformerBridge, found: Weights, index: int, factor: float) -> torch.Tensor:
    """What the head's output does to the logits, less their mean: ``[d_head, d_vocab]``.

    Args:
        factor: of the logits; its sign counts.
    """
    norm = final_norm(model)
    unembedding = factor * (model.W_U if norm is None else norm.reading(model.W_U))
    logits = found.o[index].to(unembedding.dtype) @ unembedding
    return logits - logits.mean(-1, keepdim=True)
