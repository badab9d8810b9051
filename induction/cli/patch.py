"""``patch``: which heads matter, one by one or together, against random sets."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from induction.base import InputError, check_seed, parse_heads
from induction.cli.common import Commands, add_model, add_output, add_prompts, deliver, load, with_progress
from induction.data_gen.pairs import PromptPair
from induction.patching.interventions import ABLATIONS, COMPONENTS, DIRECTIONS, METRICS

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from induction.patching.heads import NamedSet
    from induction.patching.results import Result

METHODS = {
    "exact": "one forward pass per head, or the same numbers faster",
    "estimate": "attribution patching, a first-order estimate of all heads at once",
    "direct": "direct logit attribution: what each head itself writes towards the answer",
}


def add(commands: Commands) -> None:
    patch = commands.add_parser("patch", help="test by patching or ablation which heads carry the answer")
    add_model(patch)
    add_prompts(patch)
    prompts = patch.add_argument_group("prompts of your own, with the same number of tokens")
    prompts.add_argument("--clean", metavar="TEXT", help="prompt that the model answers")
    prompts.add_argument("--corrupt", metavar="TEXT", help="the same prompt without what the answer needs")
    prompts.add_argument("--answer", metavar="TOKEN", help="default: what the model says to the clean prompt")
    prompts.add_argument("--distractor", metavar="TOKEN", help="default: what it says to the corrupted one")
    prompts.add_argument(
        "--form",
        choices=["first_a", "target"],
        default="first_a",
        help="of generated prompts: what the corrupted twin replaces, the first A or the first B",
    )
    patch.add_argument("--direction", choices=list(DIRECTIONS), help="default denoise")
    patch.add_argument("--component", choices=list(COMPONENTS), help="what is copied (default z)")
    patch.add_argument(
        "--metric", choices=list(METRICS), default="logit_difference", help="what heads are ranked by"
    )
    patch.add_argument(
        "--method",
        choices=list(METHODS),
        default="exact",
        help="; ".join(f"{name}: {meaning}" for name, meaning in METHODS.items()),
    )
    which = patch.add_mutually_exclusive_group()
    which.add_argument("--heads", metavar="L.H,...", help="edit these heads together")
    which.add_argument(
        "--top", type=int, metavar="K", help="edit the first 1, 2, ... K heads by induction score together"
    )
    patch.add_argument(
        "--random-sets", type=int, default=0, metavar="N", help="compare each set with N random ones"
    )
    patch.add_argument("--ablate", choices=list(ABLATIONS), help="remove heads instead of patching them")
    add_output(patch)
    patch.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from induction.patching.results import to_csv, to_json, to_text

    _check(options)
    model = load(options)
    result = _result(options, model, _sets(options, model), _pairs(options, model))
    deliver(options, text=to_text(result, metric=options.metric), json=to_json(result), csv=to_csv(result))


def _check(options: argparse.Namespace) -> None:
    """
    Raises:
        InputError: options that contradict each other.
    """
    check_seed(options.seed)
    together = options.heads is not None or options.top is not None
    if (options.clean is None) != (options.corrupt is None):
        raise InputError("A prompt of your own needs both --clean and --corrupt.")
    if (options.answer or options.distractor) and options.clean is None:
        raise InputError("--answer and --distractor go with --clean and --corrupt.")
    if options.random_sets and not together:
        raise InputError("Random sets are compared with a set of heads; name one with --heads or --top.")
    if options.method != "exact" and (together or options.ablate):
        raise InputError(f"--method {options.method} works on every head alone; leave out sets and --ablate.")
    if options.method == "direct" and (options.direction or options.component):
        raise InputError("Direct logit attribution patches nothing; leave out --direction and --component.")
    if options.ablate and (options.direction or options.component):
        raise InputError("Ablation replaces head outputs; leave out --direction and --component.")


def _sets(options: argparse.Namespace, model: TransformerBridge) -> list[NamedSet] | None:
    """The heads to edit together; None for every head on its own."""
    from induction.analysis.scanning import iter_scan
    from induction.patching.heads import NamedSet, top_k_sets

    if options.heads is not None:
        heads = parse_heads(options.heads, model.cfg.n_layers, model.cfg.n_heads)
        return [NamedSet("heads", heads)]
    if options.top is not None:
        n_heads = model.cfg.n_layers * model.cfg.n_heads
        if not 1 <= options.top <= n_heads:
            raise InputError(f"--top counts heads of this model: give 1 to {n_heads}, not {options.top}.")
        scan = with_progress(iter_scan(model, scores=("induction",), loss=False, seed=options.seed))
        return top_k_sets(scan.ranked(), options.top)
    return None


def _pairs(options: argparse.Namespace, model: TransformerBridge) -> list[PromptPair]:
    from induction.data_gen.pairs import pair_from_texts, pairs

    if options.clean is not None:
        return [pair_from_texts(model, options.clean, options.corrupt, options.answer, options.distractor)]
    return pairs(model, options.prompts, form=options.form, vocab=options.vocab, seed=options.seed)


def _result(
    options: argparse.Namespace,
    model: TransformerBridge,
    sets: list[NamedSet] | None,
    pairs: list[PromptPair],
) -> Result:
    from induction.patching.ablation import iter_ablate
    from induction.patching.attribution import attribution_patching, direct_logit_attribution
    from induction.patching.heads import iter_patch_heads, iter_patch_sets

    patching = {"direction": options.direction or "denoise", "component": options.component or "z"}
    random = {"n_random": options.random_sets, "seed": options.seed}
    drawn_with = options.seed if options.clean is None else None
    if options.method == "direct":
        return direct_logit_attribution(model, pairs, seed=drawn_with)
    if options.method == "estimate":
        return attribution_patching(model, pairs, **patching, seed=drawn_with)
    if options.ablate:
        steps = iter_ablate(
            model, sets, kind=options.ablate, pairs=pairs, n_prompts=options.prompts, **random
        )
        return with_progress(steps)
    if sets is None:
        return with_progress(iter_patch_heads(model, pairs, **patching, seed=drawn_with))
    return with_progress(iter_patch_sets(model, pairs, sets, **patching, **random))
