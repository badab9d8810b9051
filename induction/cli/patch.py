"""``patch``: the experiments on heads one by one, together and by ablation in one command, and direct attribution."""

from __future__ import annotations

import argparse
from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from induction.base import InputError, Progress, parse_heads
from induction.cli.common import Commands, add_model, add_output, add_settings, asked, deliver, run
from induction.experiment import experiments
from induction.patching.experiments import METHODS, OWN, PairSettings, TogetherSettings
from induction.patching.interventions import ABLATIONS, METRICS

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from induction.analysis.result import Scan

METRIC = "logit_difference"
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
    patch.add_argument("--metric", choices=list(METRICS), default=METRIC, help="what heads are ranked by")
    patch.add_argument("--method", choices=[*METHODS, "direct"], default="exact", help=METHODS_HELP)
    add_output(patch)
    patch.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    _check(options)
    own = {} if options.clean is None else {"form": OWN}
    if options.ablate:
        experiment, own["ablation"] = experiments()["ablation"], options.ablate
        experiment = replace(experiment, run=partial(_ablate, options))
    elif options.top is not None:
        experiment = experiments()["together"]
        experiment = replace(experiment, run=partial(_top, options, experiment.run), known=())
    elif options.heads is not None:
        experiment = experiments()["together"]
    else:
        experiment = experiments()["heads"]
        if options.method == "direct":
            experiment, options.method = replace(experiment, run=_direct), None
    deliver(options, run(options, experiment, asked(options, experiment.settings, **own)), by=options.metric)


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


def _ablate(options: argparse.Namespace, model: TransformerBridge, settings: Any) -> Iterator[Progress[Any]]:
    """As the experiment, with as many sequences for the losses as prompts, and the first heads where they are asked."""
    from induction.patching.ablation import iter_ablate
    from induction.patching.heads import NamedSet, top_k_sets

    sets = None
    if options.heads is not None:
        sets = [NamedSet("heads", parse_heads(options.heads, model.cfg.n_layers, model.cfg.n_heads))]
    elif options.top is not None:
        scan = yield from _scanned(options, model)
        sets = top_k_sets(scan.ranked(), options.top)
    asked = {"n_random": settings.n_random, "seed": settings.seed, "n_prompts": options.prompts}
    yield from iter_ablate(model, sets, kind=settings.ablation, pairs=settings.prompts(model), **asked)


def _top(
    options: argparse.Namespace, together: Any, model: TransformerBridge, settings: Any
) -> Iterator[Progress[Any]]:
    scan = yield from _scanned(options, model)
    yield from together(model, settings, scan=scan)


def _scanned(options: argparse.Namespace, model: TransformerBridge) -> Generator[Progress[Any], None, Scan]:
    """Induction scores with the seed that was asked for, as many heads as shall be edited being there."""
    from induction.analysis.scanning import iter_scan

    n_heads = model.cfg.n_layers * model.cfg.n_heads
    if not 1 <= options.top <= n_heads:
        raise InputError(f"--top counts heads of this model: give 1 to {n_heads}, not {options.top}.")
    for step in iter_scan(model, scores=("induction",), loss=False, seed=options.seed):
        yield Progress(step.done, step.total, step.label)
    assert step.result is not None  # the last step carries it
    return step.result
