"""Whether a head copies: does reading a token raise that token's own logit?

The head's map from tokens to logits is ``E W_V W_O W_U`` (Elhage et al. 2021). ``E`` is the effective embedding of
each token: its embedding, plus what the first MLP makes of it alone where there is one. It passes
through the norm before the head with the scale that it has there by itself, biases left out; the final
norm's weight is folded into the unembedding, which is centred over the vocabulary (logits mean nothing but
their differences).

The map is vocabulary x vocabulary but of rank ``d_head``: its eigenvalues other than 0 are those of a
``d_head`` x ``d_head`` product, and its rows are formed a slice at a time.

Copying alone makes no induction head: many heads that never attend to a repeat pass this test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from induction.composition import fold
from induction.interventions import Head, check_heads
from induction.results.circuit import Copying

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

N_TOKENS = 4096  # read for top-1 and top-5; the eigenvalues take all
SLICE_BYTES = 1 << 27
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
    """
    (head,) = check_heads([head], model.cfg.n_layers, model.cfg.n_heads)
    with torch.no_grad():
        read = _read(model, head, slice_bytes)  # [token, d_head]
        write = _write(model, head)  # [d_head, d_vocab]
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
        definition=f"{'W_E + MLP0(W_E)' if _has_mlp(model) else 'W_E'} to logits; norms handled, biases left out",
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
    first, block = model.blocks[0], model.blocks[layer]
    n_groups = block.attn.W_V.shape[0]
    w_v = block.attn.W_V[index * n_groups // model.cfg.n_heads]  # [d_model, d_head]
    bias = getattr(getattr(block.ln1, "original_component", None), "bias", None)
    per_token = 4 * (8 * model.cfg.d_model + 3 * (model.cfg.d_mlp or 0))
    parts = []
    for tokens in torch.arange(model.cfg.d_vocab, device=w_v.device).split(max(1, slice_bytes // per_token)):
        embedded = model.embed(tokens[None])  # [1, token, d_model]
        if _has_mlp(model):
            embedded = embedded + first.mlp(first.ln2(embedded))
        normed = block.ln1(embedded)[0]
        parts.append((normed if bias is None else normed - bias) @ w_v)
    return torch.cat(parts)


def _write(model: TransformerBridge, head: Head) -> torch.Tensor:
    """What the head's output does to the logits, less their mean: ``[d_head, d_vocab]``."""
    layer, index = head
    logits = model.blocks[layer].attn.W_O[index] @ fold(model.ln_final, model.W_U)
    return logits - logits.mean(-1, keepdim=True)
