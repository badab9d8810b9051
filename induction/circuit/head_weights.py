"""What the weights of a head do to the residual stream: norms folded in, and held against a run before use.

    queries, keys   x -> [norm] -> W_Q, W_K -> [norm of queries and keys] -> [turned by position] -> score
    values          x -> [norm] -> W_V
    output          z -> W_O -> [norm after attention] -> [factor]

Every norm is the linear map that it is at a fixed scale (:class:`induction.model.anatomy.Norm`); the scales are left
out, since they are one number per position. Whether a model does what its weights say is tried on two prompts: values,
head outputs and projections must come out as computed from them, and what queries and keys say must explain all that
differs between the two prompts' attention. What stands in both alike (masks, windows, biases by distance, sinks)
cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from induction.base import Refused
from induction.model import name_of
from induction.model.anatomy import Norm, entrance, exit_norm, factor_of, near, norm_of, normed, projected
from induction.patching.sweep import Rotary, hook_name, read_out, turn_halves, turn_neighbours

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

DISTANCES = 64  # of query and key, over which rotary attention is read
EXPLAINED = 1e-3  # of the largest difference in attention scores: what may be left unexplained
VISIBLE = 1e-12  # attention below which a logarithm says nothing


@dataclass(frozen=True)
class Weights:
    """One layer's weights per query head; float64. Heads of a group share their keys and values.

    ``centres`` tells whether the norm before the heads subtracts the mean. ``turns`` is what position does to a query
    relative to its key at distances 1, 2, ..., as rows that multiply a query: ``[distance, d_head, d_head]``; None in a
    layer without rotary positions, or where it was not asked for.
    """

    q: torch.Tensor  # [head, d_model, d_head]
    k: torch.Tensor  # [head, d_model, d_head]
    v: torch.Tensor  # [head, d_model, d_head]
    o: torch.Tensor  # [head, d_head, d_model]
    centres: bool = False
    turns: torch.Tensor | None = None


def weights(model: TransformerBridge, layers: range, *, scores_of: int | None = None) -> dict[int, Weights]:
    """The weights of some layers, by layer, checked on a run.

    Args:
        scores_of: the layer whose queries and keys are checked, and read with what position does to them; queries and
            keys of other layers are not to be used.

    Raises:
        Refused: the model does not compute what its weights say; the message names what.
    """
    for layer in layers:
        check_readable(model, layer)
    run = Sample(model, layers)
    found = {}
    for layer in layers:
        _check_values(model, layer, run)
        turns = _turns(model, layer, run) if layer == scores_of else None
        found[layer] = folded(model, layer, turns)
    return found


def folded(model: TransformerBridge, layer: int, turns: torch.Tensor | None) -> Weights:
    block = model.blocks[layer]
    attn = block.attn
    group = model.cfg.n_heads // attn.W_K.shape[0]
    before, after = norm_of(entrance(block), model.cfg.d_model, model.W_U), exit_norm(model, layer)

    def read(weight: torch.Tensor, name: str = "") -> torch.Tensor:
        weight = weight.double() if before is None else before.reading(weight.double())
        inner = inner_norm(model, layer, name, len(weight))
        if inner is None:
            return weight
        by_row = weight.transpose(0, 1)  # [d_model, head, d_head]
        return inner.norm.writing(inner.rows(by_row)).reshape(by_row.shape).transpose(0, 1)

    written = factor_of(block) * attn.W_O.double()
    return Weights(
        q=read(attn.W_Q, "q_norm"),
        k=read(attn.W_K, "k_norm").repeat_interleave(group, 0),
        v=read(attn.W_V).repeat_interleave(group, 0),
        o=written if after is None else after.writing(written),
        centres=before is not None and before.centres,
        turns=turns,
    )


@dataclass(frozen=True)
class _Inner:
    """The norm of queries or keys: how it is called on ``[row, pos, head, d_head]``, and what it is.

    ``flat`` is for a norm over all heads together.
    """

    call: Callable[[torch.Tensor], torch.Tensor]
    norm: Norm
    flat: bool

    def rows(self, heads: torch.Tensor) -> torch.Tensor:
        """``[..., head, d_head]`` as the rows that the norm is taken over."""
        return heads.flatten(-2) if self.flat else heads


def inner_norm(model: TransformerBridge, layer: int, name: str, n_heads: int) -> _Inner | None:
    """The norm of queries or keys, None where there is none: over each head, or over all of them.

    Raises:
        Refused: there is one, and it is called in no known way.
    """
    attn = model.blocks[layer].attn
    if name not in attn.submodules:
        return None
    module, d_head = getattr(attn, name), model.cfg.d_head
    calls = {
        "heads last": (lambda x: module(x), (n_heads,), d_head),
        "positions last": (lambda x: module(x.transpose(1, 2)).transpose(1, 2), (n_heads,), d_head),
        "flat": (lambda x: module(x.flatten(-2)).unflatten(-1, (n_heads, d_head)), (), n_heads * d_head),
    }
    for way, (call, lead, width) in calls.items():
        flat = way == "flat"
        trial = torch.ones(1, n_heads + 1, n_heads, d_head, dtype=model.W_U.dtype, device=model.W_U.device)
        try:
            if call(trial).shape != trial.shape:
                continue
            norm = norm_of(module if flat else call, width, model.W_U, lead=lead)
        except (Refused, RuntimeError, IndexError, ValueError):  # shapes that do not fit
            continue
        if norm is not None:
            return _Inner(call, norm, flat)
    raise Refused(untold(model, f"the norm of queries and keys in layer {layer} is no known norm"))


class Sample:
    """Prompts run once, and what the hooks of some layers saw; by default two prompts of random tokens.

    Args:
        ids: ``[row, pos]``.
        also: more hooks of the same run, ``(name, function)``.
    """

    def __init__(
        self,
        model: TransformerBridge,
        layers: range,
        ids: Any = None,
        *,
        also: Sequence[tuple[str, Any]] = (),
    ) -> None:
        if ids is None:
            length = min(DISTANCES + 1, model.cfg.n_ctx)
            ids = np.random.default_rng(0).integers(model.cfg.d_vocab, size=(2, length))
        self.seen: dict[str, torch.Tensor] = {}
        self.position: dict[int, Any] = {}  # what each layer is told of positions: cosines and sines
        self.names: dict[tuple[int, str], str] = {}
        listeners = []
        for layer in layers:
            attn = model.blocks[layer].attn
            listeners.append(attn.register_forward_pre_hook(self._listen(layer), with_kwargs=True))
            points = {
                **{part: hook_name(part, layer) for part in ("v", "z", "pattern")},
                "in": f"blocks.{layer}.hook_in",
                "projected": attn.o.hook_out.name,
            }
            if hasattr(attn, "hook_attn_scores"):
                points["scores"] = attn.hook_attn_scores.name
            self.names |= {(layer, part): name for part, name in points.items()}
        hooks = [(name, self._keep(key)) for key, name in self.names.items()]
        try:
            with torch.no_grad():
                model.run_with_hooks(
                    torch.as_tensor(ids, device=model.cfg.device),
                    fwd_hooks=[*also, *hooks],
                    stop_at_layer=layers.stop,
                    return_type=None,
                )
        finally:
            for listener in listeners:
                listener.remove()

    def _keep(self, key: tuple[int, str]):
        def keep(activation: torch.Tensor, hook: Any) -> None:
            self.seen[key] = activation.clone()

        return keep

    def _listen(self, layer: int):
        def listen(module: Any, arguments: Any, keywords: dict[str, Any]) -> None:
            self.position[layer] = keywords.get("position_embeddings")

        return listen

    def __call__(self, layer: int, part: str) -> torch.Tensor:
        return self.seen[layer, part]


def check_readable(model: TransformerBridge, layer: int) -> None:
    """Raises Refused where a layer has no queries, keys, values and output of each head."""
    try:
        attn = model.blocks[layer].attn
        shapes = [tuple(getattr(attn, f"W_{which}").shape) for which in "QKVO"]
    except (AttributeError, NotImplementedError, ValueError) as error:
        raise Refused(untold(model, f"those of layer {layer} cannot be read head by head")) from error
    d_model, d_head, n_heads = model.cfg.d_model, model.cfg.d_head, model.cfg.n_heads
    groups = shapes[1][0]
    expected = [(n, d_model, d_head) for n in (n_heads, groups, groups)] + [(n_heads, d_head, d_model)]
    if shapes != expected or n_heads % groups:
        raise Refused(untold(model, f"those of layer {layer} are not shaped head by head"))


def _check_values(model: TransformerBridge, layer: int, run: Sample) -> None:
    """Raises Refused unless values, head outputs and projection are what the weights say."""
    block = model.blocks[layer]
    x = normed(block, run(layer, "in"))
    z = run(layer, "z")
    bias = block.attn.o(torch.zeros_like(z.flatten(2)[:, :1]))
    claims = {
        "values": (project(block, x, "V"), run(layer, "v")),
        "head outputs": (read_out(run(layer, "pattern"), run(layer, "v")), z),
        "output projections": (projected(block, z) + bias, run(layer, "projected")),
        "output weights": (torch.einsum("bphd,hdm->bpm", z, block.attn.W_O), projected(block, z)),
    }
    for what, (computed, seen) in claims.items():
        if computed.shape != seen.shape or not near(computed, seen):
            raise Refused(untold(model, f"the {what} of layer {layer} do not follow from them alone"))


def project(block: Any, x: torch.Tensor, which: str) -> torch.Tensor:
    """Queries, keys or values ``[row, pos, head, d_head]`` of what the heads read ``[row, pos, d_model]``."""
    weight, bias = getattr(block.attn, f"W_{which}"), getattr(block.attn, f"b_{which}")
    heads = torch.einsum("bpm,hmd->bphd", x, weight)
    return heads if bias is None else heads + bias


def _turns(model: TransformerBridge, layer: int, run: Sample) -> torch.Tensor | None:
    """What position does to queries relative to keys, of all known ways the one that explains the attention seen."""
    block = model.blocks[layer]
    x = normed(block, run(layer, "in"))
    q, k = (normed_heads(model, layer, project(block, x, which), f"{which.lower()}_norm") for which in "QK")
    k = k.repeat_interleave(q.shape[2] // k.shape[2], 2)
    seen, visible = scores_seen(model, layer, run)
    for turn in _known_turns(model, layer, run):
        scores = _scores(q, k, turn)  # [row, head, query, key]
        if _explains(scores[0] - scores[1], seen[0] - seen[1], visible):
            return None if turn is None else turn[1:] @ turn[0].mT
    raise Refused(untold(model, f"its queries and keys do not explain the attention of layer {layer}"))


def normed_heads(model: TransformerBridge, layer: int, heads: torch.Tensor, name: str) -> torch.Tensor:
    """Queries or keys ``[row, pos, head, d_head]`` after their norm, if any; the norm held against its linear map."""
    inner = inner_norm(model, layer, name, heads.shape[2])
    if inner is None:
        return heads
    after = inner.call(heads)
    x, y = inner.rows(heads), inner.rows(after)
    if not near(inner.norm.at(x, inner.norm.scale(x, y)) + inner.norm.bias, y):
        raise Refused(untold(model, f"the norm of queries and keys in layer {layer} is no known norm"))
    return after


def _scores(q: torch.Tensor, k: torch.Tensor, turn: torch.Tensor | None) -> torch.Tensor:
    """Products of queries and keys ``[row, pos, head, d_head]``, turned by position: ``[row, head, query, key]``."""
    q, k = q.double().transpose(1, 2), k.double().transpose(1, 2)
    if turn is not None:
        q, k = (torch.einsum("bhpd,pde->bhpe", part, turn) for part in (q, k))
    return q @ k.mT


def scores_seen(model: TransformerBridge, layer: int, run: Sample) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention scores before a soft cap, up to a constant per query: ``[row, head, query, key]``; and where.

    Raises:
        Refused: a soft cap stands before a softmax whose input cannot be seen.
    """
    pattern = run(layer, "pattern").double()
    visible = (pattern > VISIBLE).all(0)
    cap = getattr(getattr(model.original_model, "config", None), "attn_logit_softcapping", None)
    if not cap:
        return pattern.clamp(min=VISIBLE).log(), visible
    scores = run.seen.get((layer, "scores"))
    if scores is None or not near(scores.softmax(-1), run(layer, "pattern")):
        raise Refused(untold(model, f"the scores of layer {layer} before their soft cap cannot be seen"))
    bounded = (scores.double() / cap).clamp(-1, 1)
    visible &= (bounded.abs() < 0.99).all(0)  # at the cap the score itself is lost
    return cap * torch.atanh(bounded.clamp(-0.99, 0.99)), visible


def centred(values: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Scores ``[..., query, key]`` less their mean over the keys that each query sees; 0 where it sees nothing."""
    kept = torch.where(visible, values, 0.0)
    mean = kept.sum(-1, keepdim=True) / visible.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(visible, kept - mean, 0.0)


def _explains(computed: torch.Tensor, seen: torch.Tensor, visible: torch.Tensor) -> bool:
    """Whether computed score differences are the seen ones, up to one factor and a constant per query.

    Args:
        computed, seen: ``[head, query, key]``.
    """
    computed, seen = centred(computed, visible), centred(seen, visible)
    size = (computed**2).sum()
    factor = (computed * seen).sum() / size if size > 0 else size
    left = (seen - factor * computed).abs().max()
    return bool(factor >= 0 and left <= EXPLAINED * max(float(seen.abs().max()), EXPLAINED))


def _known_turns(model: TransformerBridge, layer: int, run: Sample) -> Iterator[torch.Tensor | None]:
    """Ways in which position may turn queries and keys, as rows ``[pos, d_head, d_head]``; None: not at all."""
    length, d_head = run(layer, "in").shape[1], model.cfg.d_head
    for rotary in rotaries(model, layer, run):
        if rotary is None:
            yield None
            continue
        eye = torch.eye(d_head, dtype=torch.float64, device=rotary.cos.device)
        yield rotary(eye.expand(1, length, d_head, d_head), 0)[0]


def rotaries(model: TransformerBridge, layer: int, run: Sample) -> Iterator[Rotary | None]:
    """The same as turns of whatever they are given (float64), always in the same order; None: not at all."""
    yield None
    for angles in _angles(model, layer, run, run(layer, "in").shape[1]):
        for quarter_turn, spread in _PAIRINGS:
            cos, sin = (spread(part)[None, :, None] for part in angles)  # [1, pos, 1, width]
            if cos.shape[-1] <= model.cfg.d_head:
                yield Rotary(cos, sin, quarter_turn)


def _angles(
    model: TransformerBridge, layer: int, run: Sample, length: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Cosines and sines ``[pos, rotary width]`` that the model may use in a layer."""
    told = run.position.get(layer)
    if isinstance(told, tuple):
        yield tuple(part[0, :length].double() for part in told)
    table = getattr(model.blocks[layer].attn.original_component, "embed_positions", None)
    if isinstance(table, torch.Tensor):  # GPT-J and CodeGen: sines, then cosines, one per pair
        sin, cos = table[:length].to(model.W_U.device).double().chunk(2, -1)
        yield cos.repeat_interleave(2, -1), sin.repeat_interleave(2, -1)
    native = getattr(model.original_model, "rotary", None)
    if native is not None:  # TransformerLens's own models
        yield native.cos_cached[:length].double(), native.sin_cached[:length].double()


# Which coordinates turn together, and how their angles are written: once for each coordinate or once for each pair.
_PAIRINGS = (
    (turn_halves, lambda angle: angle),
    (turn_neighbours, lambda angle: angle),
    (turn_neighbours, lambda angle: angle.chunk(2, -1)[0].repeat_interleave(2, -1)),
    (turn_halves, lambda angle: torch.cat([angle, angle], -1)),
)


def untold(model: TransformerBridge, what: str) -> str:
    return (
        f"The weights of {name_of(model)} do not tell what its heads do: {what}; the scan does not need them."
    )
