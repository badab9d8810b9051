"""The live runs of the Patching tab: steps with a status, results kept by their settings."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

from induction.base import InputError, Progress, parse_heads
from induction.data_gen.pairs import PromptPair
from induction.patching.results import HeadSets, Patching
from induction.results import bundled, bundled_names
from induction.ui import patching_settings as settings
from induction.ui import zero_gpu
from induction.ui.patching_settings import Sweep, Together

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from induction.patching.heads import NamedSet


def sweep_steps(model: str, sweep: Sweep) -> Iterator[Progress[Patching]]:
    """Every head on its own; each step carries the result so far.

    Raises:
        InputError: the settings, the texts or the model are refused.
    """
    sweep.check()
    kept = settings.sweeps.get((model, sweep.key()))
    if kept is not None:
        yield Progress(1, 1, "from the cache", kept)
        return
    for step in _sweep(model, sweep):
        if step.done == step.total and step.result is not None:  # what is there before is in part
            settings.sweeps.put((model, sweep.key()), step.result)
        yield step


@zero_gpu.borrowed
def _sweep(model: str, sweep: Sweep) -> Iterator[Progress[Patching]]:
    from induction.model import load_model
    from induction.patching.attribution import attribution_patching
    from induction.patching.heads import iter_patch_heads

    loaded = load_model(model, zero_gpu.DEVICE)
    pairs = prompt_pairs(loaded, model, sweep)
    drawn_with = None if sweep.form == "own" else sweep.seed
    copied = {"direction": sweep.direction, "component": sweep.component, "seed": drawn_with}
    if sweep.method == "estimate":
        yield Progress(1, 1, "done", attribution_patching(loaded, pairs, **copied))
    else:
        yield from iter_patch_heads(loaded, pairs, **copied)


def sets_steps(model: str, sweep: Sweep, together: Together) -> Iterator[Progress[HeadSets]]:
    """Heads together, against random sets.

    Raises:
        InputError: the settings, the heads, the texts or the model are refused.
    """
    sweep.check()
    together.check()
    key = (model, sweep.key(), together.key())
    yield from settings.sets.run(key, lambda: _sets(model, sweep, together))


@zero_gpu.borrowed
def _sets(model: str, sweep: Sweep, together: Together) -> Iterator[Progress[HeadSets]]:
    from induction.model import load_model
    from induction.patching.ablation import iter_ablate
    from induction.patching.heads import iter_patch_sets

    loaded = load_model(model, zero_gpu.DEVICE)
    named = yield from _named_sets(loaded, model, together)
    pairs = prompt_pairs(loaded, model, sweep)
    random = {"n_random": together.n_random, "seed": sweep.seed}
    if together.action == "ablate":
        yield from iter_ablate(loaded, named, kind=together.ablation, pairs=pairs, **random)
    else:
        copied = {"direction": sweep.direction, "component": sweep.component}
        yield from iter_patch_sets(loaded, pairs, named, **copied, **random)


def prompt_pairs(model: TransformerBridge, name: str, sweep: Sweep) -> list[PromptPair]:
    """The prompts that the settings name.

    Raises:
        InputError: texts that do not make a pair, or a token set that does not suit the model.
    """
    from induction.data_gen.pairs import pair_from_texts, pairs
    from induction.model.tokens import encode
    from induction.results.bundle import prompts_of

    if sweep.form == "bundled":
        return prompts_of(model, name)
    if sweep.form != "own":
        return pairs(model, sweep.n_pairs, form=sweep.form, vocab=sweep.vocab, seed=sweep.seed)
    for text in (sweep.clean, sweep.corrupted):
        if len(encode(model, text)) > settings.TOKENS:
            raise InputError(
                f"A text may have {settings.TOKENS} tokens here, not {len(encode(model, text))}; shorten it."
            )
    return [
        pair_from_texts(model, sweep.clean, sweep.corrupted, sweep.answer or None, sweep.distractor or None)
    ]


def _named_sets(
    model: TransformerBridge, name: str, together: Together
) -> Generator[Progress[Any], None, list[NamedSet]]:
    """The sets to edit; the bundled scan ranks the heads, and a model without one is scanned first."""
    from induction.analysis.scanning import iter_scan
    from induction.patching.heads import NamedSet, top_k_sets

    if together.action != "curve":
        return [NamedSet("the set", parse_heads(together.heads, model.cfg.n_layers, model.cfg.n_heads))]
    scan = bundled(name) if name in bundled_names() else None
    if scan is None or "induction" not in scan.scores:
        for step in iter_scan(model, scores=("induction",), loss=False):
            scan = step.result
            yield Progress(step.done, step.total, f"induction scores: {step.label}")
    assert scan is not None  # the last step carries it
    ranked = scan.ranked("induction")
    return top_k_sets(ranked, min(together.top_k, len(ranked)))
