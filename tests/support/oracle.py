"""The quantities of this project computed a second time, on the plain Hugging Face model and nothing else.

No line of the ``induction`` package and none of TransformerLens is used. Edits are torch forward hooks on the
model's own modules, one whole forward pass per edit; :class:`Layout` says where a family keeps its parts.
What a norm does is found out by probing it, so that no table of norm classes can be wrong here
and there alike.

Shapes: tokens ``[pos]`` throughout (one prompt at a time), activations without a batch axis.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

Split = Literal["separate", "thirds", "grouped", "codegen", "mla"]
Head = tuple[int, int]
DISTANCES = 64  # of query and key, over which composition is averaged


@dataclass(frozen=True)
class Layout:
    """Where a family keeps its parts; paths below ``layers`` are relative to one layer. The defaults are Llama's.

    Attributes:
        out: the projection whose input is z.
        q, k, v: projections; the same path three times where they are fused, in the order that ``split`` names:
            ``thirds`` all queries, all keys, all values; ``grouped`` the heads of a group, their key, their value;
            ``codegen`` four blocks of queries, values, keys; ``mla`` per head part of the key and the value.
        norm_in: the norm that the heads read through; None where they read the residual stream itself.
        norm_out: the norm on what attention writes.
        mlp_out: the module whose output the MLP block writes; ``norm_mlp_out`` the norm on it.
        residual_norms: norms on the residual stream itself, after attention and after the MLP (post-norm families).
        mixed: the module whose input is pattern @ v where that is not ``out``.
        q_norm, k_norm: norms on queries and keys, ``qk_norm`` their shape.
        rotary: how the modelling file's own function that turns queries and keys is called; None without rotary.
        rotates: whether a layer's attention is rotary.
        positions: the embedding of position 0, where positions are added to the residual stream.
        residual_multiplier: what attention and MLP are multiplied with before they are added, by configuration.
        logit_scale: what the logits are multiplied with after the unembedding, by configuration.
    """

    layers: str = "model.layers"
    attn: str = "self_attn"
    out: str = "self_attn.o_proj"
    q: str = "self_attn.q_proj"
    k: str = "self_attn.k_proj"
    v: str = "self_attn.v_proj"
    split: Split = "separate"
    norm_in: str | None = "input_layernorm"
    norm_out: str | None = None
    mlp_out: str = "mlp"
    norm_mlp_out: str | None = None
    residual_norms: tuple[str, str] | None = None
    mixed: str | None = None
    q_norm: str | None = None
    k_norm: str | None = None
    qk_norm: Literal["head", "flat", "by_head", "list"] = "head"
    qk_norm_after_rotary: bool = False
    final_norm: str | None = "model.norm"
    head: tuple[str, ...] = ("lm_head",)
    rotary: Literal["halves", "half_width", "complex", "gptj"] | None = "halves"
    rotates: Callable[[nn.Module], bool] = lambda attn: True
    positions: Callable[[nn.Module], Tensor] | None = None
    residual_multiplier: Callable[[Any], float] = lambda config: 1.0
    logit_scale: Callable[[Any], float] = lambda config: 1.0


# -- small parts ----------------------------------------------------------------------------------------------


def matrix(module: nn.Module) -> Tensor:
    """A linear map as ``[in, out]``, whichever way round it is stored."""
    return module.weight if type(module).__name__ == "Conv1D" else module.weight.T


class Norm:
    """What a norm does, by probing: ``norm(x) = weight * (x - mean if it centres) / scale(x) + bias``."""

    def __init__(self, module: nn.Module | None, shape: tuple[int, ...]):
        self.module = module if module is not None else nn.Identity()
        flat = torch.ones(shape).flatten()
        flat[1::2] = -1  # mean 0 and mean square 1 over any even number of coordinates
        probe = 1e3 * flat.reshape(1, 1, *shape)
        x = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(0))
        self.identity = bool(torch.equal(self.module(x), x))
        self.centres = not self.identity and bool(
            torch.allclose(self.module(x + 3), self.module(x), atol=1e-4)
        )
        self.bias = torch.zeros(shape) if self.identity else self.module(torch.zeros_like(x))[0, 0]
        ones = torch.ones(shape)
        self.weight = ones if self.identity else (self.module(probe)[0, 0] - self.bias) / probe[0, 0] * 1e3

    def centred(self, x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True) if self.centres else x

    def scale(self, x: Tensor) -> Tensor:
        """What ``x`` is divided by: ``[..., 1]``."""
        if self.identity:
            return torch.ones_like(x[..., :1])
        through = self.weight * self.centred(x)
        normed = self.module(x) - self.bias
        return (through * through).sum(-1, keepdim=True) / (through * normed).sum(-1, keepdim=True)

    def linear(self, part: Tensor, whole: Tensor) -> Tensor:
        """A part of ``whole`` through the norm at the scale that ``whole`` gives it, without the bias."""
        return part if self.identity else self.weight * self.centred(part) / self.scale(whole)

    def fold_read(self, read: Tensor) -> Tensor:
        """What a matrix ``[d, n]`` behind the norm does to what stands before it, up to the scale."""
        read = self.weight[:, None] * read
        return read - read.mean(0, keepdim=True) if self.centres else read

    def fold_write(self, write: Tensor) -> Tensor:
        """What a matrix ``[n, d]`` before the norm writes behind it, up to the scale."""
        return self.centred(write) * self.weight


@dataclass
class Trace:
    """One forward pass: ``logits [pos, vocab]``, and by point what was seen in every layer."""

    logits: Tensor
    seen: dict[str, list[Tensor]]
    final: Tensor | None
    patterns: list[Tensor]  # per layer [head, query, key]


# Layer, point, and what becomes of the activation [pos, width] there.
Edit = tuple[int, str, Callable[[Tensor], Tensor]]


# -- the model with hooks -------------------------------------------------------------------------------------


class Oracle:
    """A plain Hugging Face model and where its parts are."""

    def __init__(self, model: nn.Module, layout: Layout):
        self.model, self.layout, self.config = model, layout, model.config
        self.layers = list(model.get_submodule(layout.layers))
        self.n_layers, self.n_heads = len(self.layers), model.config.num_attention_heads
        outs = [
            matrix(self.part(layer, layout.out)) for layer in range(self.n_layers)
        ]  # [head * d_head, d_model]
        self.d_model = outs[0].shape[1]
        self.d_head = [
            w_o.shape[0] // self.n_heads for w_o in outs
        ]  # per layer: not the same in all families
        self.n_kv = self._n_kv()
        self.residual_multiplier = layout.residual_multiplier(self.config)
        self.cap = getattr(self.config, "final_logit_softcapping", None)

    def part(self, layer: int, path: str) -> nn.Module:
        return self.layers[layer].get_submodule(path)

    def norm(self, layer: int, path: str | None) -> Norm:
        return Norm(self.part(layer, path) if path else None, (self.d_model,))

    def final_norm(self) -> Norm:
        path = self.layout.final_norm
        return Norm(self.model.get_submodule(path) if path else None, (self.d_model,))

    def unembedding(self) -> Tensor:
        """From the normed residual stream to the logits before any cap, ``[d_model, vocab]``."""
        maps = [matrix(self.model.get_submodule(path)) for path in self.layout.head]
        return reduce(torch.matmul, maps) * self.layout.logit_scale(self.config)

    def every(self, n: int, of: Callable[[int, int], Tensor]) -> Tensor:
        """A tensor of each of ``n`` heads (or groups) of each layer, ``[layer, head, ...]``."""
        found = [of(layer, head) for layer in range(self.n_layers) for head in range(n)]
        return torch.stack(found).unflatten(0, (self.n_layers, n))

    def count(self, component: str) -> int:
        """How many heads (or groups) have z, a pattern, queries, keys or values."""
        return self.n_kv if component in ("k", "v") else self.n_heads

    def _n_kv(self) -> int:
        if self.layout.split == "mla":
            return self.n_heads
        width = matrix(self.part(0, self.layout.k)).shape[1] // self.d_head[0]  # in heads
        return width if self.layout.split == "separate" else (width - self.n_heads) // 2

    def columns(self, layer: int, name: str, head: int) -> slice:
        """Where an activation holds a head's z or queries, or a group's keys or values."""
        d, n, n_kv, split = self.d_head[layer], self.n_heads, self.n_kv, self.layout.split
        if split == "separate" or name == "z":
            start = head
        elif split == "thirds":
            start = {"q": 0, "k": n, "v": n + n_kv}[name] + head
        elif split == "grouped":
            size = n // n_kv
            group, within = divmod(head, size) if name == "q" else (head, size + (name == "v"))
            start = group * (size + 2) + within
        elif split == "codegen":  # four blocks, one per TPU core of the time
            block, within = divmod(head, n // 4)
            start = block * 3 * (n // 4) + {"q": 0, "v": 1, "k": 2}[name] * (n // 4) + within
        else:
            assert name == "v", "queries and keys are made of parts of different kinds"
            stop = (head + 1) * (self.config.qk_nope_head_dim + d)
            return slice(stop - d, stop)
        return slice(start * d, (start + 1) * d)

    def group(self, head: int) -> int:
        return head * self.n_kv // self.n_heads

    def _point(self, layer: int, point: str) -> tuple[nn.Module, bool] | None:
        """The module of a point, and whether it is its input."""
        at = self.layout
        if point == "resid":
            return self.layers[layer], True
        if point == "z":
            return self.part(layer, at.out), True
        if point == "mixed":
            return self.part(layer, at.mixed or at.out), True
        paths = {"q": at.q, "k": at.k, "v": at.v, "o_out": at.out}
        paths |= {"attn": at.norm_out or at.out, "mlp": at.norm_mlp_out or at.mlp_out}
        return (self.part(layer, paths[point]), False) if paths[point] else None

    def run(
        self,
        tokens: Sequence[int] | Tensor,
        edits: Iterable[Edit] = (),
        *,
        see: Sequence[str] = ("resid", "z"),
        gradient: bool = False,
    ) -> Trace:
        """One forward pass, edited at some points.

        Args:
            tokens: ``[pos]``; or ``[batch, pos]``, then activations keep their batch axis.
            see: points whose (edited) activations are returned.
        """
        ids = torch.as_tensor(tokens)
        single = ids.ndim == 1
        seen: dict[str, list[Tensor]] = {point: [] for point in see}
        by_module: dict[tuple[nn.Module, bool], list[Callable[[Tensor], Tensor]]] = {}
        for layer, point, change in edits:
            by_module.setdefault(self._point(layer, point), []).append(change)
        for layer, point in product(range(self.n_layers), see):
            where = self._point(layer, point)
            if where is not None:
                by_module.setdefault(where, []).append(_keeper(seen[point]))
        final: list[Tensor] = []
        if self.layout.final_norm:
            module = self.model.get_submodule(self.layout.final_norm)
            by_module.setdefault((module, True), []).append(_keeper(final))
        handles = [_hook(module, is_input, fs, single) for (module, is_input), fs in by_module.items()]
        try:
            with torch.set_grad_enabled(gradient):
                out = self.model(ids[None] if single else ids, output_attentions=True, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        patterns = [pattern[0].clone() for pattern in out.attentions]
        logits = out.logits[0] if single else out.logits
        return Trace(logits.clone(), seen, final[-1] if final else None, patterns)

    # -- a: patterns, scores, loss

    def values(self, trace: Trace, layer: int) -> Tensor:
        """What the heads read, ``[kv head, pos, d_head]``; ``trace`` has seen ``v``."""
        v = trace.seen["v"][layer]
        heads = torch.stack([v[:, self.columns(layer, "v", head)] for head in range(self.n_kv)])
        clip = getattr(self.config, "clip_qkv", None)
        return heads.clamp(-clip, clip) if clip else heads

    def z(self, trace: Trace, layer: int, point: str = "z") -> Tensor:
        """Head outputs ``[pos, head, d_head]``."""
        return trace.seen[point][layer].unflatten(-1, (self.n_heads, -1))

    # -- b, c: one edited activation

    def replaced(self, layer: int, point: str, name: str, head: int, values: Tensor) -> Edit:
        """An edit that gives one head's (or group's) columns of a point the ``values`` ``[pos, d_head]``."""
        columns = self.columns(layer, name, head)

        def change(x: Tensor) -> Tensor:
            x = x.clone()
            x[..., columns] = values
            return x

        return layer, point, change

    def patched(self, here: Sequence[int], there: Sequence[int], component: str) -> Tensor:
        """Last logits of ``here`` with a head's (or group's) component from ``there``, ``[layer, head, vocab]``."""
        points = ("mixed", "v") if component == "pattern" else (component,)
        base, source = self.run(here, see=points), self.run(there, see=points)

        def replacement(layer: int, head: int) -> Edit:
            if component == "z":
                return self.replaced(layer, "z", "z", head, self.z(source, layer)[:, head])
            if component == "pattern":
                read = self.values(base, layer)[self.group(head)]  # [pos, d_head]
                gate = self.z(base, layer, "mixed")[:, head] / (base.patterns[layer][head] @ read)
                gate = torch.where((gate - 1).abs() < 1e-3, 1.0, gate)  # 1 in all families but the gated
                mixed = source.patterns[layer][head] @ read * gate
                return self.replaced(layer, "mixed", "z", head, mixed)
            values = source.seen[component][layer][:, self.columns(layer, component, head)]
            return self.replaced(layer, component, component, head, values)

        def last(layer: int, head: int) -> Tensor:
            return self.run(here, [replacement(layer, head)], see=()).logits[-1]

        return self.every(self.count(component), last)

    def first_order(
        self, here: Sequence[int], there: Sequence[int], component: str, metric: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Gradient times difference for z, q, k or v of every head (or group), ``[layer, head]``.

        Args:
            metric: of the last logits ``[vocab]``.
        """
        base, source = self.run(here, see=(component,)), self.run(there, see=(component,))
        added = [torch.zeros_like(x, requires_grad=True) for x in base.seen[component]]
        edits = [(layer, component, lambda x, zero=zero: x + zero) for layer, zero in enumerate(added)]
        with torch.enable_grad():
            value = metric(self.run(here, edits, see=(), gradient=True).logits[-1])
            gradients = torch.autograd.grad(value, added)

        def estimate(layer: int, head: int) -> Tensor:
            difference = source.seen[component][layer] - base.seen[component][layer]
            columns = self.columns(layer, component, head)
            return (gradients[layer] * difference)[:, columns].sum()

        return self.every(self.count(component), estimate)

    def ablated(self, tokens: Sequence[int], values: list[Tensor] | None) -> Tensor:
        """Logits with each head's z replaced by ``values``, per layer ``[pos, head, d_head]`` (None: zeros).

        Returns:
            ``[layer, head, pos, vocab]``.
        """

        def without(layer: int, head: int) -> Tensor:
            value = torch.zeros(()) if values is None else values[layer][: len(tokens), head]
            return self.run(tokens, [self.replaced(layer, "z", "z", head, value)], see=()).logits

        return self.every(self.n_heads, without)

    def mean_z(self, batch: Tensor) -> list[Tensor]:
        """Mean of z over prompts ``[prompt, pos]``, per layer ``[pos, head, d_head]``."""
        runs = [self.run(row) for row in batch]
        return [torch.stack([self.z(run, layer) for run in runs]).mean(0) for layer in range(self.n_layers)]

    # -- d: what a part adds to the logits directly

    def written(self, tokens: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Everything that is added up to the logits before a final cap.

        Returns:
            heads ``[layer, head, pos, vocab]``; the rest (embedding, MLPs, biases) ``[pos, vocab]``; and HF's
            logits ``[pos, vocab]``, which the sum of all must give when :meth:`capped`.
        """
        at = self.layout
        trace = self.run(tokens, see=("resid", "z", "o_out", "attn", "mlp"))
        route = _Route(self, trace)
        rest = route.to_logits(trace.seen["resid"][0], -1) + route.bias()
        heads = []
        for layer in range(self.n_layers):
            w_o = matrix(self.part(layer, at.out)).unflatten(0, (self.n_heads, -1))
            raw = trace.seen["o_out"][layer]  # [pos, d_model]
            norm = self.norm(layer, at.norm_out)
            of_heads = torch.einsum("phd,hdm->hpm", self.z(trace, layer), w_o)
            bias = getattr(self.part(layer, at.out), "bias", None)
            of_bias = torch.zeros_like(raw) if bias is None else bias.expand_as(raw)
            gain = self.residual_multiplier
            heads.append(route.to_logits(gain * norm.linear(of_heads, raw), 2 * layer))
            rest = rest + route.to_logits(gain * (norm.linear(of_bias, raw) + norm.bias), 2 * layer)
            mlp = trace.seen["mlp"][layer].reshape(raw.shape)
            rest = rest + route.to_logits(gain * mlp, 2 * layer + 1)
        return torch.stack(heads), rest, trace.logits

    def capped(self, logits: Tensor) -> Tensor:
        return self.cap * torch.tanh(logits / self.cap) if self.cap else logits

    # -- e: copying

    def effective_embedding(self) -> Tensor:
        """Embedding of every token plus what the first MLP makes of it alone, ``[token, d_model]``.

        Every token runs by itself through the first layer, without its position and without what attention writes.
        """
        at = self.layout
        tokens = torch.arange(self.config.vocab_size)[:, None]
        here = at.positions(self.model) if at.positions else 0  # [d_model]
        silent = [(0, "resid", lambda x: x - here), (0, "attn", torch.zeros_like)]
        return self.run(tokens, silent, see=("resid",)).seen["resid"][1][:, 0]

    def copying(self, head: Head) -> tuple[float, float]:
        """Eigenvalue score of the head's map from tokens to logits, and its top-1 share."""
        at, (layer, index) = self.layout, head
        norm_in, norm_out = (self.norm(layer, path) for path in (at.norm_in, at.norm_out))
        embedded = self.effective_embedding()
        normed = norm_in.module(embedded[:, None])[:, 0] - norm_in.bias
        w_v = matrix(self.part(layer, at.v))[:, self.columns(layer, "v", self.group(index))]
        w_o = matrix(self.part(layer, at.out))[self.columns(layer, "z", index)]
        write = norm_out.fold_write(w_o) @ self.final_norm().fold_read(self.unembedding())  # [d_head, vocab]
        read, write = (normed @ w_v).double(), (write - write.mean(-1, keepdim=True)).double()
        full = read @ write  # [token, vocab]
        eigenvalues = torch.linalg.eigvals(write @ read)
        score = float(full.trace() / eigenvalues.abs().sum())
        return score, float((full.argmax(-1) == torch.arange(len(full))).double().mean())

    # -- f: composition

    def turns(self, layer: int) -> Tensor:
        """The rotations of positions 0, 1, ... in a layer as matrices on row vectors, ``[pos, d_head, d_head]``."""
        at, attn = self.layout, self.part(layer, self.layout.attn)
        n = DISTANCES + 1
        eye = torch.eye(self.d_head[layer])
        if at.rotary is None or not at.rotates(attn):
            return eye.expand(2, -1, -1)  # one distance stands for all
        given: dict[str, Any] = {}
        keep = attn.register_forward_pre_hook(lambda _, args, kwargs: given.update(kwargs), with_kwargs=True)
        with torch.no_grad():
            self.model(torch.zeros(1, n, dtype=torch.long), use_cache=False)
        keep.remove()
        turn = sys.modules[type(attn).__module__]
        vectors = eye[None, :, None].expand(1, -1, n, -1)  # [1, coordinate, pos, d_head]
        if at.rotary == "complex":
            moved = vectors.transpose(1, 2)
            return turn.apply_rotary_emb(moved, moved, given["position_embeddings"])[0][0]
        if at.rotary == "gptj":
            sin, cos = attn.embed_positions[:n].chunk(2, -1)
            width = 2 * sin.shape[-1]
            moved = vectors[..., :width].transpose(1, 2)
            turned = turn.apply_rotary_pos_emb(moved, sin[None], cos[None]).transpose(1, 2)
        else:
            cos, sin = given["position_embeddings"]
            width = cos.shape[-1] * (2 if at.rotary == "half_width" else 1)
            turned, _ = turn.apply_rotary_pos_emb(vectors[..., :width], vectors[..., :width], cos, sin)
        return torch.cat([turned, vectors[..., width:]], -1)[0].transpose(0, 1)

    def _qk_norm(self, layer: int, name: str, head: int) -> Norm:
        """The norm on one head's queries or keys; for a norm over all heads, the head's part of its weight."""
        path = getattr(self.layout, f"{name}_norm")
        d, kind = self.d_head[layer], self.layout.qk_norm
        if path is None:
            return Norm(None, (d,))
        module = self.part(layer, path)
        if kind == "list":
            return Norm(module.norms[head], (d,))
        if kind == "head":
            return Norm(module, (d,))
        heads = self.n_heads if name == "q" else self.n_kv
        norm = Norm(module, (heads * d,) if kind == "flat" else (heads, d))
        norm.weight = norm.weight.reshape(heads, d)[head]
        return norm

    def read_and_write(self, layer: int, head: int) -> dict[str, Tensor]:
        """``q``, ``k``, ``v`` ``[d_model, d_head]`` and ``o`` ``[d_head, d_model]`` of a head, norms folded in."""
        at = self.layout
        norm = self.norm(layer, at.norm_in)
        group = self.group(head)
        found = {}
        for name, path, index in (("q", at.q, head), ("k", at.k, group), ("v", at.v, group)):
            found[name] = norm.fold_read(matrix(self.part(layer, path))[:, self.columns(layer, name, index)])
        if not at.qk_norm_after_rotary:
            for name, index in (("q", head), ("k", group)):
                found[name] = self._qk_norm(layer, name, index).fold_write(found[name])
        w_o = matrix(self.part(layer, at.out))[self.columns(layer, "z", head)]
        found["o"] = norm.centred(self.norm(layer, at.norm_out).fold_write(w_o))
        return {name: weight.double() for name, weight in found.items()}

    def composition(self, head: Head) -> dict[str, Tensor]:
        """Q-, K- and V-composition of all heads of earlier layers with ``head``, ``[layer, head]`` each."""
        layer, index = head
        receiver = self.read_and_write(layer, index)
        turns = self.turns(layer).double()
        between = torch.eye(self.d_head[layer], dtype=torch.float64)
        if self.layout.qk_norm_after_rotary:
            norms = self._qk_norm(layer, "q", index), self._qk_norm(layer, "k", self.group(index))
            between = (norms[0].weight * norms[1].weight).double().diag()
        middle = [turn @ between @ turns[0].T for turn in turns[1:]]
        w_qk = [receiver["q"] @ turn @ receiver["k"].T for turn in middle]  # [d_model, d_model] per distance
        w_ov = receiver["v"] @ receiver["o"]
        reads = {"q": w_qk, "k": [w.T for w in w_qk], "v": [w_ov]}
        found = {name: torch.zeros(layer, self.n_heads, dtype=torch.float64) for name in reads}
        for earlier in range(layer):
            for sender in range(self.n_heads):
                weights = self.read_and_write(earlier, sender)
                written = weights["v"] @ weights["o"]
                for name, maps in reads.items():
                    joint = sum(float((written @ w).norm()) ** 2 for w in maps)
                    whole = sum(float(w.norm()) ** 2 for w in maps)
                    found[name][earlier, sender] = (joint / whole) ** 0.5 / float(written.norm())
        return found

    # -- g: path patching

    def path_patched(
        self, here: Sequence[int], there: Sequence[int], receiver: Head, mlps: str
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Each sender's change (``here`` to ``there``) sent into one input of the receiver.

        Args:
            mlps: ``frozen`` or ``recomputed``, between sender and receiver.

        Returns:
            by input, the last logits ``[layer, head, vocab]`` and where the receiver looks at last
            ``[layer, head, key]``.
        """
        layer, _ = receiver
        base, source = self.run(here, see=("resid", "z", "mlp")), self.run(there, see=("z",))
        found: dict[str, list[tuple[Tensor, Tensor]]] = {"q": [], "k": [], "v": []}
        points = ("z", "mlp") if mlps == "frozen" else ("z",)
        still = [(at, point, _constant(base.seen[point][at])) for point in points for at in range(layer)]
        for earlier, sender in product(range(layer), range(self.n_heads)):
            sent = self.replaced(earlier, "z", "z", sender, self.z(source, earlier)[:, sender])
            arriving = self.run(here, [*still, sent], see=("resid",)).seen["resid"][layer]  # [pos, d_model]
            for name, results in found.items():
                results.append(self._received(here, receiver, name, arriving))
        shape = (layer, self.n_heads)
        return {
            name: tuple(torch.stack(column).unflatten(0, shape) for column in zip(*results, strict=True))
            for name, results in found.items()
        }

    def _received(
        self, here: Sequence[int], receiver: Head, name: str, arriving: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The model run on from a receiver, one of whose inputs was computed from another residual stream."""
        layer, head = receiver
        index = head if name == "q" else self.group(head)
        changed = self.run(here, [(layer, "resid", _constant(arriving))], see=(name,)).seen[name][layer]
        edit = self.replaced(layer, name, name, index, changed[:, self.columns(layer, name, index)])
        alone = self.run(here, [edit], see=("z",))
        z = self.replaced(layer, "z", "z", head, self.z(alone, layer)[:, head])
        return self.run(here, [z], see=()).logits[-1], alone.patterns[layer][head, -1]


class _Route:
    """From the residual stream to the logits, every norm at the scale that it has in one run."""

    def __init__(self, oracle: Oracle, trace: Trace):
        self.oracle, self.trace = oracle, trace
        self.norms: list[tuple[Norm, Tensor]] = []  # in the order of passing: module and what it saw
        for layer in range(oracle.n_layers if oracle.layout.residual_norms else 0):
            after_attention, after_mlp = (oracle.norm(layer, path) for path in oracle.layout.residual_norms)
            stream = trace.seen["resid"][layer] + trace.seen["o_out"][layer]
            self.norms.append((after_attention, stream))
            self.norms.append((after_mlp, after_attention.module(stream) + trace.seen["mlp"][layer]))
        final = oracle.final_norm()
        self.final = (final, trace.final if trace.final is not None else torch.zeros(1, oracle.d_model))
        self.unembedding = oracle.unembedding()

    def to_logits(self, part: Tensor, after: int) -> Tensor:
        """A part written at block half ``after`` (-1: the embedding) on its way to the logits."""
        for norm, whole in self.norms[max(after, 0) :]:
            part = norm.linear(part, whole)
        return self.final[0].linear(part, self.final[1]) @ self.unembedding

    def bias(self) -> Tensor:
        """What the norms on the way and the unembedding add by themselves."""
        total = self.final[0].bias @ self.unembedding
        for half, (norm, _) in enumerate(self.norms):
            total = total + self.to_logits(norm.bias.expand(len(self.trace.logits), -1), half + 1)
        for at, path in enumerate(self.oracle.layout.head):
            bias = getattr(self.oracle.model.get_submodule(path), "bias", None)
            if bias is not None:
                assert at == len(self.oracle.layout.head) - 1, "only the last map may have a bias"
                total = total + bias * self.oracle.layout.logit_scale(self.oracle.config)
        return total


def _constant(value: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: value.reshape(x.shape)


def _keeper(into: list[Tensor]) -> Callable[[Tensor], Tensor]:
    def keep(x: Tensor) -> Tensor:
        into.append(x.clone())
        return x

    return keep


def _hook(module: nn.Module, is_input: bool, changes: list[Callable[[Tensor], Tensor]], single: bool):
    """Register the changes on a module's first input or first output."""

    def changed(x: Tensor) -> Tensor:
        original, shape = x, x.shape
        x = x.reshape(-1, shape[-1]) if single else x
        for change in changes:
            x = change(x)
        # Some models add to their activations in place: what was kept must not change with them.
        return original if x is original else x.clone().reshape(shape)

    def before(module: nn.Module, args: tuple, kwargs: dict):
        if args:
            return (changed(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": changed(kwargs["hidden_states"])}

    def after(module: nn.Module, args: tuple, output: Any):
        return (changed(output[0]), *output[1:]) if isinstance(output, tuple) else changed(output)

    if is_input:
        return module.register_forward_pre_hook(before, with_kwargs=True)
    return module.register_forward_hook(after)


# -- measures -------------------------------------------------------------------------------------------------


def scores(pattern: np.ndarray, tokens: Sequence[int]) -> dict[str, float]:
    """One head's attention scores on one prompt; ``pattern`` ``[query, key]``."""
    cells: dict[str, list[float]] = {}
    for q in range(len(tokens)):
        for k in range(q + 1):
            kinds = {
                "induction": k and k < q and tokens[k - 1] == tokens[q],
                "duplicate_token": k < q and tokens[k] == tokens[q],
                "previous_token": k == q - 1,
                "first_token": k == 0 and q > 0,
                "current_token": k == q,
            }
            for kind in (kind for kind, holds in kinds.items() if holds):
                cells.setdefault(kind, []).append(float(pattern[q, k]))
    return {kind: float(np.mean(values)) for kind, values in cells.items()}


def losses(logits: Tensor, tokens: Sequence[int]) -> np.ndarray:
    """Loss on every token but the first, in nats, ``[pos - 1]``."""
    log_probabilities = logits[:-1].double().log_softmax(-1)
    return -log_probabilities[torch.arange(len(tokens) - 1), torch.tensor(tokens[1:])].numpy()
