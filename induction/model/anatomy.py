"""What lies between a head's output and the logits, read off the model and checked against its own run.

    z -> W_O -> [norm after attention] -> [factor] -> residual stream -> [final norm] -> unembedding -> [scale] -> [cap]

What stands in brackets is in some models and not in others. None of it is believed by a model's name: a plain run is
taken apart, and embedding + attention + MLPs must make each block's output, and sent this way at the scales that the
norms have there, the model's own logits. Where they do not, the quantity is refused in words
(:class:`induction.base.Refused`). A soft cap is not linear: what heads write is said of the logits before it.

A norm at a fixed scale is linear: subtract the mean (layer norm), divide by the scale, multiply by the weight. Its
weight, bias and centring are measured by what it does to probes, whatever class computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from induction.base import Refused
from induction.model import name_of

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TOLERANCE = 1e-4  # of the largest value, between what the parts make and what the model computes
PROBE = 1e3  # so large that a norm's epsilon does not count


@dataclass(frozen=True)
class Norm:
    """A norm as the linear map that it is at a fixed scale, measured by probes."""

    weight: torch.Tensor  # [..., d_model], offsets included
    bias: torch.Tensor  # [..., d_model]
    centres: bool  # layer norm subtracts the mean, RMS norm does not

    def centred(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(-1, keepdim=True) if self.centres else x

    def at(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """``x`` ``[..., pos, d_model]`` through the norm at ``scale`` ``[pos, 1]``, the bias left out."""
        return self.centred(x) / scale * self.weight

    def scale(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """By what the norm divided when it made ``y`` of ``x``, both ``[..., d_model]``: ``[..., 1]``."""
        before, after = (self.centred(x) * self.weight).double(), (y - self.bias).double()
        return ((before**2).sum(-1, keepdim=True) / (before * after).sum(-1, keepdim=True)).to(x.dtype)

    def reading(self, read: torch.Tensor) -> torch.Tensor:
        """What ``read`` ``[..., d_model, n]`` behind the norm does to what stands before it, up to the scale."""
        read = self.weight.to(read.dtype)[:, None] * read
        return read - read.mean(-2, keepdim=True) if self.centres else read

    def writing(self, write: torch.Tensor) -> torch.Tensor:
        """What ``write`` ``[..., n, d_model]`` before the norm becomes behind it, up to the scale."""
        return self.centred(write) * self.weight.to(write.dtype)


def norm_of(module: Any, width: int, like: torch.Tensor, *, lead: tuple[int, ...] = ()) -> Norm | None:
    """Measure a norm by probes; None for a module that changes nothing (or no module).

    Args:
        width: of what it norms.
        like: a tensor of the device and type to use.
        lead: axes before the last over which its weight may differ, ``(head,)`` for example.

    Raises:
        Refused: the module is no norm.
    """
    if module is None:
        return None
    flip = torch.ones(width, dtype=like.dtype, device=like.device)
    flip[1::2] = -1
    if width % 2:  # keep the mean 0
        flip[-3:] = torch.tensor([2.0, -1.0, -1.0], dtype=like.dtype, device=like.device)
    probes = torch.stack([0 * flip, PROBE * flip, 2 * PROBE * flip, PROBE * (flip + 1)])
    with torch.no_grad():
        shape = (1, len(probes), *lead, width)
        zero, once, twice, shifted = module(probes.reshape(1, -1, *[1] * len(lead), width).expand(shape))[0]
    if near(once, probes[1].expand_as(once)) and near(twice, probes[2].expand_as(twice)):
        return None
    if not near(once, twice):
        raise Refused("A part that should be a norm does not divide by its input's size.")
    size = flip.square().mean().sqrt()
    return Norm((once - zero) * size / flip, zero, centres=near(shifted, once))


@dataclass(frozen=True)
class Frozen:
    """A norm at the scales of one run and a factor: a linear map of what stands at its positions."""

    norm: Norm | None
    scale: torch.Tensor | None  # [pos, 1]
    factor: float = 1.0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., pos, d_model]``, biases left out."""
        if self.norm is not None and self.scale is not None:
            x = self.norm.at(x, self.scale)
        return self.factor * x

    @property
    def bias(self) -> torch.Tensor | float:
        """What it adds by itself."""
        return 0.0 if self.norm is None else self.factor * self.norm.bias


def after_attention(block: Any) -> Any:
    """The norm module between a block's attention and the residual stream, None where there is none."""
    return block.ln1_post if "ln1_post" in block.submodules else None


def factor_of(block: Any) -> float:
    """By what a block multiplies whatever it adds to the residual stream."""
    return float(getattr(block, "residual_contribution_scale", 1.0))


def added(block: Any, projected: torch.Tensor) -> torch.Tensor:
    """What an attention output ``[row, pos, d_model]`` adds to the residual stream, norms computed anew."""
    norm = after_attention(block)
    return factor_of(block) * (projected if norm is None else norm(projected))


def added_by_mlp(block: Any, x: torch.Tensor) -> torch.Tensor:
    """What the MLP adds to the residual stream when it reads ``x`` ``[row, pos, d_model]``."""
    out = block.mlp(x)
    out = out[0] if isinstance(out, tuple) else out  # a mixture of experts gives its routing too
    return factor_of(block) * (block.ln2_post(out) if "ln2_post" in block.submodules else out)


def entrance(block: Any) -> Any:
    """The norm module that a block's attention reads through, None where it reads the stream itself."""
    return block.ln1 if "ln1" in block.submodules else None


def normed(block: Any, resid: torch.Tensor) -> torch.Tensor:
    """What a block's attention reads of the residual stream ``[row, pos, d_model]``."""
    norm = entrance(block)
    return resid if norm is None else norm(resid)


def final_norm(model: TransformerBridge) -> Norm | None:
    """The norm before the unembedding.

    Raises:
        Refused: what stands there is no norm.
    """
    module = model.ln_final if "ln_final" in model._modules else None
    return norm_of(module, model.cfg.d_model, model.W_U)


def exit_norm(model: TransformerBridge, layer: int) -> Norm | None:
    """The norm between a layer's attention and the residual stream.

    Raises:
        Refused: what stands there is no norm.
    """
    return norm_of(after_attention(model.blocks[layer]), model.cfg.d_model, model.W_U)


@dataclass(frozen=True)
class Dissection:
    """One plain run of one prompt, taken apart; positions are those that were asked for.

    Attributes:
        z: per layer, head outputs ``[pos, head, d_head]``.
        exits: per layer, the way from the output projection into the residual stream.
        final: the way from the residual stream to the unembedding, the logits' scale as its factor.
        logits: what the parts sum to at the last position ``[d_vocab]``: the model's own, before a soft cap.
        cap: the soft cap that the model's logits went through after that, None where there is none.
    """

    model: TransformerBridge
    z: list[torch.Tensor]
    exits: list[Frozen]
    final: Frozen
    logits: torch.Tensor
    cap: float | None

    def heads(self, layer: int) -> torch.Tensor:
        """What each head of a layer adds to the residual stream: ``[head, pos, d_model]``."""
        return self.exits[layer](by_head(self.model.blocks[layer], self.z[layer]))


def by_head(block: Any, z: torch.Tensor) -> torch.Tensor:
    """What the output projection makes of each head of ``z`` ``[pos, head, d_head]``: ``[head, pos, d_model]``."""
    alone = torch.diag_embed(z.transpose(1, 2)).permute(3, 0, 2, 1)  # [head, pos, head, d_head]
    return projected(block, alone)


def projected(block: Any, z: torch.Tensor) -> torch.Tensor:
    """``[..., head, d_head]`` through the output projection without its bias: ``[..., d_model]``."""
    flat = z.flatten(-2)
    rows = flat.reshape(1, -1, flat.shape[-1])
    return (block.attn.o(rows) - block.attn.o(torch.zeros_like(rows[:, :1]))).reshape(*flat.shape[:-1], -1)


def dissect(
    model: TransformerBridge, ids: Sequence[int], *, start: int = 0, also: Sequence[tuple[str, Any]] = ()
) -> Dissection:
    """Run a prompt once and take the run apart, from position ``start`` on (negative: from the end).

    Args:
        also: more hooks of the same run, ``(name, function)``.

    Raises:
        Refused: the parts do not make what the model computes; the message names which.
    """
    taken = Taken(model, range(model.cfg.n_layers), start)
    tokens = torch.tensor([list(ids)], device=model.cfg.device)
    with torch.no_grad():
        logits = model.run_with_hooks(tokens, fwd_hooks=[*also, *taken.hooks()])[0, -1]
        exits = [taken.exit(layer) for layer in range(model.cfg.n_layers)]
        final, cap = taken.end(exits, logits)
    z = [taken.z(layer) for layer in range(model.cfg.n_layers)]
    return Dissection(model, z, exits, final, final.factor * taken.seen["raw"], cap)


def entering(model: TransformerBridge, tokens: torch.Tensor) -> torch.Tensor:
    """What enters the first block for tokens ``[row, pos]``: ``[row, pos, d_model]``."""
    return model.run_with_hooks(tokens, return_type=None, stop_at_layer=0)


def check_stream(model: TransformerBridge, ids: Sequence[int], layers: range) -> None:
    """Whether some layers, in a run of this prompt, add their attention to the residual stream in a known way.

    Raises:
        Refused: one does not.
    """
    taken = Taken(model, layers, start=0)
    with torch.no_grad():
        model.run_with_hooks(
            torch.tensor([list(ids)], device=model.cfg.device),
            fwd_hooks=taken.hooks(),
            stop_at_layer=layers.stop,
            return_type=None,
        )
        for layer in layers:
            taken.exit(layer)


class Taken:
    """What the hooks of one run saw of some layers, and the checks that put it together again."""

    def __init__(self, model: TransformerBridge, layers: range, start: int) -> None:
        self.model, self.start = model, start
        self.seen: dict[str, torch.Tensor] = {}
        if any("attn" not in model.blocks[layer].submodules for layer in layers):
            raise _untraced(model, "it has layers without attention")
        self.names = {layer: self._names(model.blocks[layer]) for layer in layers}

    @staticmethod
    def _names(block: Any) -> dict[str, str]:
        """Hook points of a block: what enters, head outputs, projected, added by attention and MLP, what leaves."""
        points = {
            "in": block.hook_in,
            "z": block.attn.o.hook_in,
            "projected": block.attn.o.hook_out,
            "attention": getattr(block, "hook_attn_out", block.attn.hook_out),
            "out": block.hook_out,
        }
        mlp = getattr(block, "hook_mlp_out", None) if "mlp" in block.submodules else None
        if mlp is not None:
            points["mlp"] = mlp
        return {part: point.name for part, point in points.items()}

    def hooks(self) -> list[tuple[str, Any]]:
        def keep(activation: Any, hook: Any) -> None:
            tensor = activation[0] if isinstance(activation, tuple | list) else activation
            # Clones: some models add in place to what a hook was shown.
            self.seen[hook.name] = tensor[:, self.start :].clone()

        def cut(resid: torch.Tensor, hook: Any) -> torch.Tensor:
            self.seen["normed"] = resid[:, self.start :]
            return resid[:, -1:]  # one position of the unembedding is all that is needed

        def raw(logits: torch.Tensor, hook: Any) -> None:
            self.seen["raw"] = logits[0, -1]

        points = [(name, keep) for names in self.names.values() for name in dict.fromkeys(names.values())]
        return [*points, ("unembed.hook_in", cut), ("unembed.hook_out", raw)]

    def of(self, layer: int, part: str) -> torch.Tensor:
        """One part of a layer, ``[pos, ...]``."""
        if self.names[layer][part] not in self.seen:
            raise _untraced(self.model, f"layer {layer} does not show its parts")
        return self.seen[self.names[layer][part]][0]

    def mlp(self, layer: int) -> torch.Tensor:
        """What a layer's MLP adds, ``[pos, d_model]``; nothing where there is none."""
        return self.of(layer, "mlp") if "mlp" in self.names[layer] else torch.zeros_like(self.of(layer, "in"))

    def exit(self, layer: int) -> Frozen:
        """How one layer's attention enters the stream, and that nothing but attention and MLP does."""
        model, block = self.model, self.model.blocks[layer]
        before, projection, attention, after = (
            self.of(layer, part) for part in ("in", "projected", "attention", "out")
        )
        norm = exit_norm(model, layer)
        factor = factor_of(block)
        scale = None
        if norm is not None:
            scale = norm.scale(projection, attention / factor)
        found = Frozen(norm, scale, factor)
        if not near(found(projection) + found.bias, attention):
            raise _untraced(model, f"what layer {layer} does to its attention's output is not known")
        if not near(before + attention + self.mlp(layer), after):
            raise _untraced(
                model, f"layer {layer} does not simply add its attention and its MLP to its input"
            )
        return found

    def end(self, exits: list[Frozen], logits: torch.Tensor) -> tuple[Frozen, float | None]:
        """The way from the stream to the logits, and that all parts sent that way make them."""
        model = self.model
        stream, out, raw = self.of(model.cfg.n_layers - 1, "out"), self.seen["normed"][0], self.seen["raw"]
        if out.shape != stream.shape:
            raise _untraced(model, "more than a norm stands between its last layer and its unembedding")
        norm = final_norm(model)
        scale = None if norm is None else norm.scale(stream, out)
        head = readout(model, raw, logits)
        final = Frozen(norm, scale, head.factor)
        parts = self.of(0, "in")  # [pos, d_model]
        for layer, exit_ in enumerate(exits):
            z, block = self.z(layer), model.blocks[layer]
            nothing = torch.zeros_like(z.flatten(1)[None, :1])
            parts = (
                parts + exit_(projected(block, z) + block.attn.o(nothing)[0]) + exit_.bias + self.mlp(layer)
            )
        bias = getattr(model, "b_U", None)
        total = (final(parts) + final.bias)[-1] @ model.W_U
        if bias is not None:
            total = total + head.factor * bias
        if not near(Readout(cap=head.cap)(total), logits):
            raise _untraced(
                model, "embedding, heads, MLPs and biases do not sum to the logits that it computes"
            )
        return final, head.cap

    def z(self, layer: int) -> torch.Tensor:
        """Head outputs ``[pos, head, d_head]``."""
        z, n_heads = self.of(layer, "z"), self.model.cfg.n_heads
        if z.ndim == 2:
            z = z.unflatten(-1, (n_heads, -1))
        if z.shape[1] != n_heads:
            raise _untraced(self.model, f"layer {layer} does not show its heads apart")
        return z


@dataclass(frozen=True)
class Readout:
    """What stands between the unembedding and the logits: a factor, then the soft cap if there is one."""

    factor: float = 1.0
    cap: float | None = None

    def __call__(self, raw: torch.Tensor) -> torch.Tensor:
        scaled = raw if self.factor == 1 else self.factor * raw
        return scaled if self.cap is None else self.cap * torch.tanh(scaled / self.cap)


def readout(model: TransformerBridge, raw: torch.Tensor, logits: torch.Tensor) -> Readout:
    """What made ``logits`` of the unembedding's output ``raw``, both ``[d_vocab]``.

    Raises:
        Refused: neither a factor nor the soft cap that the configuration declares.
    """
    factor = float((raw.double() @ logits.double()) / (raw.double() @ raw.double()))
    cap = getattr(getattr(model.original_model, "config", None), "final_logit_softcapping", None)
    choices = [Readout(), Readout(factor), *([Readout(cap=cap)] if cap else [])]
    for choice in choices:
        if near(choice(raw), logits):
            return choice
    raise _untraced(model, "what it does to the logits after the unembedding is not known")


def _untraced(model: TransformerBridge, what: str) -> Refused:
    return Refused(
        f"What heads write cannot be traced to the logits of {name_of(model)}: {what}; "
        "the scan does not need it."
    )


def near(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Equal up to rounding, on the scale of the largest value."""
    apart, largest = (float(values.detach().abs().max()) for values in (found - expected, expected))
    return apart <= TOLERANCE * max(largest, 1e-6)
