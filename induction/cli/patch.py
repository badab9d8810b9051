"""``patch``: the experiments on heads one by one, together and by ablation in one command, and direct attribution."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from induction.base import InputError, Progress, parse_heads
from induction.cli.common import Commands, add_model, add_output, add_settings, asked, deliver, run
from induction.cli.generic import METRIC, add_by
from induction.experiment import experiments
from induction.patching.experiments import METHODS, OWN, PairSettings, TogetherSettings
from induction.patching.interventions import ABLATIONS

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

METHODS_HELP = (
    "exact: one forward pass per head, or the same numbers faster; estimate: attribution patching, a first-order "
    "estimate of all heads at once; direct: direct logit attribution, what each head itself writes towards the answer"
)


def add(commands: Commands) -> None:
    patch = commands.add_parser("patch", help="test by patching or ablation which heads carry the answer")
    add_model(patch)
    unsaid = dict.fromkeys(("direction", "component", "clean", "corrupted", "heads", "top_k"))
    add_settings(patch, TogetherSettings, form="first_a", n_random=0, **unsaid)
    patch.add_argument("--ablate", choices=list(ABLATIONS), help="remove heads instead of patching them")
    add_by(patch, *METRIC)
    patch.add_argument("--method", choices=[*METHODS, "direct"], default="exact", help=METHODS_HELP)
    add_output(patch)
    patch.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    _check(options)
    name = "ablation" if options.ablate else "heads" if options.heads is options.top is None else "together"
    experiment, given = experiments()[name], {"ablation": options.ablate} if options.ablate else {}
    if options.clean is not None:
        given["form"] = OWN
    if options.method == "direct":
        experiment, given["method"] = replace(experiment, run=_direct), "exact"
    elif name != "heads":
        experiment = replace(experiment, run=partial(_sets, options), known=())
    settings = asked(options, experiment.settings, **given)
    deliver(options, run(options, experiment, settings), by=options.by)


def _check(options: argparse.Namespace) -> None:
    """
    Raises:
        InputError: options that contradict each other.
    """
    copied = options.direction or options.component
    together = options.heads is not None or options.top is not None
    own, token = options.clean is not None, options.answer or options.distractor
    alone = f"--method {options.method} works on every head alone; leave out sets and --ablate."
    contradictions = {
        "A prompt of your own needs both --clean and --corrupt.": own != (options.corrupt is not None),
        "--answer and --distractor go with --clean and --corrupt.": token and not own,
        "Give either --heads or --top, not both.": options.heads is not None and options.top is not None,
        "A set of heads is written as layer.head, for example 1.6,1.7.": options.heads == "",
        "Random sets are compared with a set of heads; name one with --heads or --top.": (
            options.random_sets and not together
        ),
        alone: options.method != "exact" and (together or options.ablate),
        "Direct logit attribution patches nothing; leave out --direction and --component.": (
            options.method == "direct" and copied
        ),
        "Ablation replaces head outputs; leave out --direction and --component.": options.ablate and copied,
    }
    for sentence, contradict in contradictions.items():
        if contradict:
            raise InputError(sentence)


def _direct(model: TransformerBridge, settings: PairSettings) -> Iterator[Progress[Any]]:
    from induction.patching.attribution import direct_logit_attribution

    drawn_with = None if settings.form == OWN else settings.seed
    result = direct_logit_attribution(model, settings.prompts(model), seed=drawn_with)
    yield Progress(1, 1, "done", result)


def _sets(options: argparse.Namespace, model: TransformerBridge, settings: Any) -> Iterator[Progress[Any]]:
    """As the experiments, but the first heads are those of a scan with the seed that was asked for, they can be ablated
    too, and the losses of an ablation are of as many sequences as there are prompts."""
    from induction.analysis.scanning import iter_scan
    from induction.patching.ablation import iter_ablate
    from induction.patching.heads import NamedSet, iter_patch_sets, top_k_sets

    n_layers, n_heads = model.cfg.n_layers, model.cfg.n_heads
    sets = None
    if options.heads is not None:
        sets = [NamedSet("heads", parse_heads(options.heads, n_layers, n_heads))]
    elif options.top is not None:
        if not 1 <= options.top <= n_layers * n_heads:
            raise InputError(
                f"--top counts heads of this model: give 1 to {n_layers * n_heads}, not {options.top}."
            )
        for step in iter_scan(model, scores=("induction",), loss=False, seed=options.seed):
            yield Progress(step.done, step.total, f"induction scores: {step.label}")
        sets = top_k_sets(step.result.ranked(), options.top)
    pairs, random = settings.prompts(model), {"n_random": settings.n_random, "seed": settings.seed}
    if options.ablate:
        yield from iter_ablate(
            model, sets, kind=options.ablate, pairs=pairs, n_prompts=options.prompts, **random
        )
    else:
        copied = {"direction": settings.direction, "component": settings.component}
        yield from iter_patch_sets(model, pairs, sets, **copied, **random)
