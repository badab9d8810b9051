"""Many edited runs of one prompt, computing only what the edits can change.

An edited run equals the plain run below the edited layer and before the edited position. So a row
of a sweep starts from the residual stream that the plain run had at that layer and position:

    layers below the edit         not computed, the plain run's residual stream is taken
    positions before the edit     not computed, the plain run's keys and values are attended to
    the edited layer              one row until the edit, then one row per edit (broadcasting)
    last layer                    queries, MLP and unembedding of the scored position alone

The modules of the model itself are called (norms, projections, MLP); only the attention between them is written out
here, and how its parts enter the residual stream is :mod:`induction.model.anatomy`'s. Whether that fits a model is not
guessed from its name: the plain run is computed both ways, and where they disagree, or a module is missing, the rows
are run through the whole model with hooks instead (:func:`hooked_rows`): the same numbers, slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

import torch

from induction.base import InputError, Refused, is_out_of_memory
from induction.model import name_of
from induction.model.anatomy import Readout, added, added_by_mlp, near, normed, readout
from induction.patching.interventions import COMPONENTS, WHEN, Component, When

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MAX_BYTES = 512 * 2**20  # of activations that one batch of rows may hold
LEAST_LEFT = 1e-30  # of a row of attention; fp32 cannot tell what is less than that apart
AGREEMENT = 1e-5  # of the largest logit, between the plain run computed both ways; fp32 rounding is 10x less

Rows = slice


@dataclass(frozen=True)
class Edit:
    """Which activations of one layer are replaced, in which rows, by what. Positions are the prompt's.

    ``mask`` is bool ``[row, pos or 1, head]`` (for the pattern, pos is the query). ``values`` is
    ``[row or 1, pos, head, d_head]``, for the pattern ``[row or 1, head, query, key]``. With
    grouped-query attention, k and v have one head per group.
    """

    component: Component
    mask: torch.Tensor
    values: torch.Tensor

    def of_rows(self, rows: Rows) -> Edit:
        values = self.values if len(self.values) == 1 else self.values[rows]
        return Edit(self.component, self.mask[rows], values)

    def apply(self, activation: torch.Tensor, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Replace in an activation that holds the positions ``start:stop`` of the prompt.

        Args:
            activation: ``[row or 1, pos, head, d_head]``, or the pattern ``[row or 1, head, query, key]``.
        """
        at = slice(start, stop)
        mask = self.mask if self.mask.shape[1] == 1 else self.mask[:, at]
        return COMPONENTS[self.component].replace(activation, mask, self.values, at)


@dataclass(frozen=True)
class Cut:
    """Which cells of the attention pattern of one layer are removed, in which rows; the rest is the run's own.

    ``heads`` is bool ``[row, head]``, ``cells`` bool ``[row, query, key]`` of all positions of the prompt: the heads of
    a row lose all its cells. With :data:`WHEN` ``before``, some cell that a query can see has to be left.
    """

    when: When
    heads: torch.Tensor
    cells: torch.Tensor
    component: ClassVar[Component] = "pattern"

    @property
    def mask(self) -> torch.Tensor:
        """What is removed, bool ``[row, head, query, key]``."""
        return self.heads[:, :, None, None] & self.cells[:, None]

    def of_rows(self, rows: Rows) -> Cut:
        return Cut(self.when, self.heads[rows], self.cells[rows])

    def of_scores(self, scores: torch.Tensor, start: int = 0) -> torch.Tensor:
        """The pattern that is left of scores ``[row or 1, head, query, key]``, whose first query is ``start``."""
        return WHEN[self.when].cut(scores, self.mask[:, :, start:])

    def apply(self, pattern: torch.Tensor) -> torch.Tensor:
        """What is left of a pattern ``[row, head, query, key]`` that the model itself computed.

        Its logarithm is the scores, up to a constant for each query.

        Raises:
            Refused: rows do not sum to 1, or so little is left of one that it cannot be scaled up again.
        """
        mask = self.mask
        if ((pattern.sum(-1) - 1).abs() > 1e-3).any():
            raise Refused(
                "The attention of this model does not sum to 1, so what is left without an edge cannot be told; choose "
                "another model."
            )
        if self.when == "before" and (pattern.masked_fill(mask, 0).sum(-1) < LEAST_LEFT).any():
            raise Refused(
                "A head looks nowhere else than at the removed edges, so the rest of its attention cannot be "
                "scaled up to 1; remove the edges after the softmax."
            )
        return self.of_scores(pattern.log()).where(mask.any(-1, keepdim=True), pattern)

    def on(self, pattern: torch.Tensor) -> Edit:
        """The same as a replacement of the pattern ``[row, head, query, key]`` that the layer has in this run."""
        queries = self.mask.any(-1).transpose(1, 2)  # [row, query, head]
        return Edit("pattern", queries, self.apply(pattern))


@dataclass(frozen=True)
class Rotary:
    """Rotary position embedding of the first ``cos.shape[-1]`` coordinates of each head."""

    cos: torch.Tensor  # [1, pos, 1, rotary_dim]
    sin: torch.Tensor
    quarter_turn: Callable[[torch.Tensor], torch.Tensor]

    def __call__(self, x: torch.Tensor, start: int) -> torch.Tensor:
        """Rotate ``x`` [row, pos, head, d_head], whose first position is ``start``."""
        cos, sin = self.cos[:, start : start + x.shape[1]], self.sin[:, start : start + x.shape[1]]
        turned, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
        turned = turned * cos + self.quarter_turn(turned) * sin
        return torch.cat([turned, rest], -1) if rest.shape[-1] else turned


@dataclass
class Run:
    """A plain run of one prompt up to the scored position, and what a sweep reuses of it."""

    tokens: torch.Tensor  # [1, pos]
    logits: torch.Tensor  # [d_vocab], at the last position
    resid: list[torch.Tensor]  # per layer, what enters the block [1, pos, d_model]
    activations: list[torch.Tensor]  # per layer, the component that is to be copied out of this run
    rotary: Rotary | None = None
    keys: list[torch.Tensor] = field(default_factory=list)  # per layer, rotated [1, kv head, pos, d_head]
    values: list[torch.Tensor] = field(default_factory=list)
    readout: Readout = field(default_factory=Readout)
    direct: bool = False  # the rows of this run can be computed from the parts of the model

    @property
    def n_pos(self) -> int:
        return self.tokens.shape[1]


def hook_name(component: Component, layer: int) -> str:
    return f"blocks.{layer}.attn.hook_{component}"


def record(model: TransformerBridge, tokens: tuple[int, ...], *, component: Component | None = None) -> Run:
    """Run a prompt and keep what a sweep needs.

    Args:
        tokens: ids up to and with the scored position.
        component: which activation to keep for copying into other runs; without one, the run is
            prepared to have rows computed from it.

    Raises:
        InputError: memory ran out.
        Refused: the model does not show this component head by head.
    """
    if component:
        check_component(model, component)
    ids = torch.tensor([tokens], device=model.cfg.device or "cpu")
    layers = range(model.cfg.n_layers)
    names = [hook_name(component, layer) if component else f"blocks.{layer}.hook_in" for layer in layers]
    found, store = _keeper()
    with torch.no_grad():
        logits = logits_from(model, ids, [(name, store) for name in names], -1)[0, -1]
        run = Run(ids, logits, [] if component else found, found if component else [])
        if not component:
            run.direct = _fits(model, run)
    return run


def watch(
    model: TransformerBridge, tokens: torch.Tensor, names: Sequence[str], *, stop: int | None = None
) -> list[torch.Tensor]:
    """What some hooks see in a plain run of ``tokens`` [row, pos], in the order in which they fire.

    Args:
        stop: the first layer that is not run.
    """
    found, store = _keeper()
    hooks = [(name, store) for name in names]
    layers = model.cfg.n_layers if stop is None else stop
    with torch.no_grad():
        model.run_with_hooks(tokens, fwd_hooks=hooks, stop_at_layer=layers, return_type=None)
    return found


def _keeper() -> tuple[list[torch.Tensor], Callable]:
    """A list, and a hook that appends what it sees: hooks may be named by an alias, but fire in order of layer."""
    found: list[torch.Tensor] = []

    def store(activation: torch.Tensor, hook: Any) -> None:
        found.append(activation)

    return found, store


def logits_from(model: TransformerBridge, tokens: torch.Tensor, hooks: list, start: int) -> torch.Tensor:
    """Logits from position ``start`` on ``[row, pos, d_vocab]``; the others are not unembedded."""

    def cut(resid: torch.Tensor, hook: Any) -> torch.Tensor:
        return resid[:, start:]

    return model.run_with_hooks(tokens, fwd_hooks=[*hooks, ("unembed.hook_in", cut)])


def _fits(model: TransformerBridge, run: Run) -> bool:
    """Compute the plain run from the model's parts, keep its keys and values, and compare.

    Raises:
        InputError: memory ran out, which says nothing about the model.
    """
    try:
        run.rotary = _rotary(model, run)
        resid = run.resid[0]
        for layer in range(model.cfg.n_layers):
            last = layer == model.cfg.n_layers - 1
            resid = _block(model, run, layer, resid, start=0, last_only=last, keep_keys=True)
        raw = model.unembed(model.ln_final(resid))[0, -1]
        run.readout = readout(model, raw, run.logits)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise InputError(
                f"{name_of(model)} and a prompt of {run.n_pos} tokens do not fit into memory together; "
                "choose a shorter prompt or a smaller model."
            ) from error
        return False  # Refused among them: no direct rows
    gap = (run.readout(raw) - run.logits).abs().max()
    return bool(gap <= AGREEMENT * max(1.0, float(run.logits.abs().max())))


def _rotary(model: TransformerBridge, run: Run) -> Rotary | None:
    if "rotary_emb" in model._modules:  # Hugging Face: halves of a head rotate together
        positions = torch.arange(run.n_pos, device=run.tokens.device)[None]
        cos, sin = model.rotary_emb(run.resid[0], positions)  # [1, pos, rotary_dim]
        return Rotary(cos[:, :, None], sin[:, :, None], turn_halves)
    native = getattr(model.original_model, "rotary", None)
    if native is not None:  # TransformerLens's own models: neighbours rotate together
        cos, sin = native.cos_cached[: run.n_pos], native.sin_cached[: run.n_pos]
        return Rotary(cos[None, :, None], sin[None, :, None], turn_neighbours)
    return None


def turn_halves(x: torch.Tensor) -> torch.Tensor:
    """A quarter turn of the pairs (i, i + half) of the last axis."""
    low, high = x.chunk(2, -1)
    return torch.cat([-high, low], -1)


def turn_neighbours(x: torch.Tensor) -> torch.Tensor:
    """A quarter turn of the pairs (0, 1), (2, 3), ... of the last axis."""
    return torch.stack([-x[..., 1::2], x[..., 0::2]], -1).flatten(-2)


def _block(
    model: TransformerBridge,
    run: Run,
    layer: int,
    resid: torch.Tensor,
    *,
    start: int,
    edit: Edit | Cut | None = None,
    last_only: bool = False,
    keep_keys: bool = False,
) -> torch.Tensor:
    """One block for the positions from ``start`` on.

    Args:
        resid: what enters it ``[row or 1, pos, d_model]``.
        last_only: compute the last position alone (keys and values of all), which is all the last block owes.

    Returns:
        What leaves it ``[row or 1, pos, d_model]``.
    """
    block = model.blocks[layer]
    x = normed(block, resid)
    projected = _attention(model, run, layer, x, start=start, edit=edit, last=last_only, keep_keys=keep_keys)
    attention = added(block, projected)
    if last_only:
        resid, x = resid[:, -1:], x[:, -1:]
    if "mlp" not in block.submodules:
        return resid + attention
    before = resid + attention
    if getattr(model.cfg, "parallel_attn_mlp", False):
        return before + added_by_mlp(block, block.ln2(resid) if "ln2" in block.submodules else x)
    return before + added_by_mlp(block, block.ln2(before) if "ln2" in block.submodules else before)


def _attention(
    model: TransformerBridge,
    run: Run,
    layer: int,
    x: torch.Tensor,
    *,
    start: int,
    edit: Edit | Cut | None,
    last: bool,
    keep_keys: bool,
) -> torch.Tensor:
    attn = model.blocks[layer].attn
    d_head = model.cfg.d_head
    first_query = run.n_pos - 1 if last else start

    def edited(name: Component, activation: torch.Tensor, at: int) -> torch.Tensor:
        fits = isinstance(edit, Edit) and edit.component == name
        return edit.apply(activation, at, run.n_pos) if fits else activation

    q = edited("q", attn.q(x[:, -1:] if last else x).unflatten(-1, (-1, d_head)), first_query)
    k = edited("k", attn.k(x).unflatten(-1, (-1, d_head)), start)  # [row, pos, head, d_head]
    v = edited("v", attn.v(x).unflatten(-1, (-1, d_head)), start)
    if run.rotary:
        q, k = run.rotary(q, first_query), run.rotary(k, start)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # [row, head, pos, d_head]
    if keep_keys:
        run.keys.append(k)
        run.values.append(v)
    if start:
        k = torch.cat([run.keys[layer][:, :, :start].expand(len(k), -1, -1, -1), k], 2)
        v = torch.cat([run.values[layer][:, :, :start].expand(len(v), -1, -1, -1), v], 2)

    group = q.shape[1] // k.shape[1]
    k, v = k[:, :, None], v[:, :, None]  # [row, kv head, 1, key, d_head]
    scores = q.unflatten(1, (-1, group)) @ k.transpose(-1, -2) * d_head**-0.5  # [row, kv, group, query, key]
    if not last:
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(start + 1)
        scores = scores.masked_fill(ahead, float("-inf"))
    scores = scores.flatten(1, 2)  # [row, head, query, key]
    if isinstance(edit, Cut):
        pattern = edit.of_scores(scores, first_query)
    else:
        pattern = edited("pattern", scores.softmax(-1), first_query)
    z = (pattern.unflatten(1, (-1, group)) @ v).flatten(1, 2).transpose(1, 2)  # [row, query, head, d_head]
    return attn.o(edited("z", z, first_query).flatten(2))


def run_rows(
    model: TransformerBridge,
    run: Run,
    edits: dict[int, Edit] | dict[int, Cut],
    *,
    n_rows: int,
    start: int = 0,
    max_bytes: int = MAX_BYTES,
    every_position: bool = False,
) -> Iterator[torch.Tensor]:
    """Edited runs, one per row, in batches that hold at most ``max_bytes``.

    Args:
        run: the plain run that is edited (:func:`record` without a component).
        edits: by layer.
        start: the first position that any edit can change.
        every_position: logits of all positions from ``start`` on, not of the scored one alone.

    Yields:
        logits at the scored position ``[rows of the batch, d_vocab]``, or ``[rows, pos, d_vocab]``.
    """
    size = max(1, max_bytes // _row_bytes(model, run, start, every_position))
    with torch.no_grad():
        for begin in range(0, n_rows, size):
            rows = slice(begin, min(begin + size, n_rows))
            of_rows = {layer: edit.of_rows(rows) for layer, edit in edits.items()}
            compute = direct_rows if run.direct else hooked_rows
            yield compute(model, run, of_rows, start=start, every_position=every_position)


def _row_bytes(model: TransformerBridge, run: Run, start: int, every_position: bool) -> int:
    """What one row needs at its peak, generously: residual, projections, attention, MLP, logits."""
    cfg = model.cfg
    n = run.n_pos - (start if run.direct else 0)
    attention = 4 * cfg.n_heads * n * run.n_pos + 6 * run.n_pos * cfg.n_heads * cfg.d_head
    unembedded = n if every_position else 1
    return 4 * (n * (6 * cfg.d_model + 5 * (cfg.d_mlp or 0)) + attention + 3 * unembedded * cfg.d_vocab)


def direct_rows(
    model: TransformerBridge,
    run: Run,
    edits: dict[int, Edit] | dict[int, Cut],
    *,
    start: int,
    every_position: bool = False,
) -> torch.Tensor:
    """Edited runs from the residual stream at the first edited layer on: logits as of :func:`run_rows`."""
    first = min(edits)
    resid = run.resid[first][:, start:]
    for layer in range(first, model.cfg.n_layers):
        last_only = not every_position and layer == model.cfg.n_layers - 1
        resid = _block(model, run, layer, resid, start=start, edit=edits.get(layer), last_only=last_only)
    logits = run.readout(model.unembed(model.ln_final(resid)))
    return logits if every_position else logits[:, -1]


def hooked_rows(
    model: TransformerBridge,
    run: Run,
    edits: dict[int, Edit] | dict[int, Cut],
    *,
    start: int,
    every_position: bool = False,
) -> torch.Tensor:
    """The same numbers as :func:`direct_rows` from whole forward passes with hooks."""
    n_rows = len(next(iter(edits.values())).mask)
    tokens, hooks = run.tokens.expand(n_rows, -1), []
    for layer, edit in sorted(edits.items()):
        if isinstance(edit, Cut) and not _pattern_is_read(model)[layer]:
            # Such models show their pattern after z: it is known from a run with the edits of the layers below.
            found, store = _keeper()
            shown = [*hooks, (hook_name("pattern", layer), store)]
            model.run_with_hooks(tokens, fwd_hooks=shown, stop_at_layer=layer + 1, return_type=None)
            edit = edit.on(found[0])
        hooks += edit_hooks(model, layer, edit)
    logits = logits_from(model, tokens, hooks, start if every_position else -1)
    return logits if every_position else logits[:, -1]


def edit_hooks(model: TransformerBridge, layer: int, edit: Edit | Cut) -> list[tuple[str, Callable]]:
    """Hooks that make an edit in a run of the whole model.

    Some models show their attention pattern and do not read it again. There the new pattern times the values is
    written where it counts, into the head's output.

    Raises:
        Refused: the pattern can be set in neither way.
    """
    if edit.component != "pattern" or _pattern_is_read(model)[layer]:
        return [(hook_name(edit.component, layer), lambda activation, hook: edit.apply(activation))]
    assert isinstance(edit, Edit)  # of a cut, hooked_rows has made one
    values: list[torch.Tensor] = []

    def keep(v: torch.Tensor, hook: Any) -> None:
        values[:] = [v]

    def write(z: torch.Tensor, hook: Any) -> torch.Tensor:
        new = read_out(edit.values, values[0])
        return torch.where(edit.mask[..., None], new, z)

    return [(hook_name("v", layer), keep), (hook_name("z", layer), write)]


def read_out(pattern: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """What heads read where they look.

    Args:
        pattern: ``[row or 1, head, query, key]``.
        values: ``[row, key, kv head, d_head]``, shared by the heads of a group.

    Returns:
        head outputs ``[row, query, head, d_head]``.
    """
    values = values.repeat_interleave(pattern.shape[1] // values.shape[2], 2)
    return (pattern @ values.transpose(1, 2)).transpose(1, 2)


_shown: WeakKeyDictionary[Any, dict[str, bool]] = WeakKeyDictionary()  # by model and component
_read: WeakKeyDictionary[Any, tuple[bool, ...]] = WeakKeyDictionary()
PROBE_TOKENS = 6


def columns(model: TransformerBridge, component: Component) -> int:
    """How many heads of a layer can be patched apart: k and v are one per group of heads that share them."""
    groups = getattr(model.cfg, "n_key_value_heads", None)
    return groups if groups and COMPONENTS[component].shared else model.cfg.n_heads


def check_component(model: TransformerBridge, component: Component) -> None:
    """Whether every layer shows a component, apart for each head; looked at once per model.

    Raises:
        Refused: a layer does not. Some architectures have layers without attention, or mix their heads.
    """
    if not _shows(model, component):
        raise Refused(
            f"{name_of(model)} does not show the {COMPONENTS[component].title.lower()} of every layer apart for each "
            "head, so this cannot be changed here; choose another component or another model."
        )


def _shows(model: TransformerBridge, component: Component) -> bool:
    known = _shown.setdefault(model, {})
    if component not in known:
        names = [hook_name(component, layer) for layer in range(model.cfg.n_layers)]
        try:
            seen = watch(model, _probe_tokens(model)[None], names)
        except (KeyError, AttributeError):  # no such hook
            seen = []
        axis = COMPONENTS[component].head_axis
        heads = {activation.shape[axis] if activation.ndim == 4 else 0 for activation in seen}
        known[component] = len(seen) == model.cfg.n_layers and heads == {columns(model, component)}
    return known[component]


def _probe_tokens(model: TransformerBridge) -> torch.Tensor:
    n_pos = min(PROBE_TOKENS, model.cfg.n_ctx)
    return torch.arange(n_pos, device=model.cfg.device) % model.cfg.d_vocab


def _pattern_is_read(model: TransformerBridge) -> tuple[bool, ...]:
    """Per layer, whether a pattern that is set there changes the head outputs; tried once per model.

    Two rows with the same input to each layer, one of them with a pattern of its own.

    Raises:
        Refused: in some layer it does not, and pattern times values is not what the heads give out either.
    """
    if model not in _read:
        parts = ["z", "v"] if _shows(model, "v") else ["z"]
        tokens = _probe_tokens(model).expand(2, -1)
        shown: dict[str, list[torch.Tensor]] = {"pattern": [], "v": [], "z": []}

        def same(resid: torch.Tensor, hook: Any) -> torch.Tensor:
            return resid[:1].expand(2, -1, -1).clone()

        def keep(into: list[torch.Tensor]) -> Callable:
            return lambda activation, hook: into.append(activation.clone())

        def swap(pattern: torch.Tensor, hook: Any) -> torch.Tensor:
            shown["pattern"].append(pattern[:1].clone())
            alone = torch.eye(pattern.shape[-1], dtype=pattern.dtype, device=pattern.device)
            return torch.stack([pattern[0], alone.expand_as(pattern[0])])

        hooks = []
        for layer in range(model.cfg.n_layers):
            hooks += [(f"blocks.{layer}.hook_in", same), (hook_name("pattern", layer), swap)]
            hooks += [(hook_name(part, layer), keep(shown[part])) for part in parts]
        with torch.no_grad():
            logits_from(model, tokens, hooks, -1)
        found = []
        for layer, (pattern, z) in enumerate(zip(shown["pattern"], shown["z"], strict=True)):
            found.append(not near(z[1], z[0]))
            v = shown["v"][layer][:1] if shown["v"] else None
            if not found[-1] and (v is None or not near(read_out(pattern, v), z[:1])):
                raise Refused(
                    f"The attention pattern of {name_of(model)} can be seen and not set; patch head outputs, "
                    "queries or keys instead."
                )
        _read[model] = tuple(found)
    return _read[model]


@dataclass
class Texts:
    """Texts of one length that are edited, a row each, and grow at their ends; keys and values are kept.

    Attributes:
        tokens: ``[row, pos]``; at first one row where all texts begin alike.
        edits: by layer; their values are of as many positions as the texts will have.
        readout: of a :class:`Run` of this model whose rows are computed directly.
        keys, values: per layer, of the positions that were run ``[row or 1, kv head, pos, d_head]``.
    """

    tokens: torch.Tensor
    edits: dict[int, Edit]
    readout: Readout
    keys: list[torch.Tensor] = field(default_factory=list)
    values: list[torch.Tensor] = field(default_factory=list)

    def next_logits(self, model: TransformerBridge) -> torch.Tensor:
        """Logits at the ends ``[row, d_vocab]``; runs the positions that are new since the last call."""
        layers = model.cfg.n_layers
        start = self.keys[0].shape[2] if self.keys else 0
        with torch.no_grad():
            resid = model(self.tokens, stop_at_layer=0)[:, start:]  # [row, new pos, d_model]
            past = {"keys": [*self.keys], "values": [*self.values]}
            run = Run(self.tokens[:1], resid[0, 0], [resid], [], **past)
            run.rotary = _rotary(model, run)
            for layer in range(layers):
                edit = self.edits.get(layer)
                resid = _block(model, run, layer, resid, start=start, edit=edit, keep_keys=True)
            self.keys = _joined(self.keys, run.keys[len(self.keys) :])
            self.values = _joined(self.values, run.values[len(self.values) :])
            return self.readout(model.unembed(model.ln_final(resid[:, -1:])))[:, -1]


def _joined(old: list[torch.Tensor], new: list[torch.Tensor]) -> list[torch.Tensor]:
    """Keys or values of earlier positions and of later ones, ``[row, kv head, pos, d_head]`` per layer."""
    if not old:
        return new
    pairs = zip(old, new, strict=True)
    return [torch.cat([a.expand(len(b), -1, -1, -1), b], 2) for a, b in pairs]
