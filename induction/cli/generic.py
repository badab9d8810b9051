"""A command for every experiment, made from its settings."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from induction.analysis.scores import SCORES
from induction.base import InputError
from induction.cli.common import Commands, add_model, add_output, add_settings, asked, deliver, run
from induction.experiment import Experiment, experiments
from induction.patching.interventions import METRICS

#: What heads are ranked by, where there is a choice: flag, choices, default.
METRIC = ("--metric", METRICS, "logit_difference")
BY = {
    "scan": ("--score", SCORES, "induction"),
    **dict.fromkeys(("heads", "together", "ablation", "knockout"), METRIC),
}


def add(commands: Commands) -> None:
    for name, experiment in experiments().items():
        parser = commands.add_parser(name, help=experiment.help)
        add_model(parser)
        add_settings(parser, experiment.settings)
        if name in BY:
            add_by(parser, *BY[name])
        if name == "scan":
            parser.add_argument("--top", type=int, default=10, metavar="K", help="heads to list (default 10)")
        add_output(parser)
        parser.set_defaults(run=partial(_run, experiment))


def add_by(parser: argparse.ArgumentParser, flag: str, choices: Iterable[str], default: str) -> None:
    ranked = f"what heads are ranked by (default {default})"
    parser.add_argument(flag, dest="by", choices=list(choices), default=default, help=ranked)


def _run(experiment: Experiment, options: argparse.Namespace) -> None:
    settings, view = asked(options, experiment.settings), {"by": getattr(options, "by", "")}
    if experiment.name == "scan":
        if options.top < 1:
            raise InputError(f"--top counts heads: give 1 or more, not {options.top}.")
        view["top"] = options.top
        experiment = measuring(experiment, options.by)
    deliver(options, run(options, experiment, settings), **view)


def measuring(scan: Experiment, *scores: str) -> Experiment:
    """A scan of these scores and of those that two copies give, which share their prompts."""
    from induction.analysis.scanning import DEFAULT_SCORES

    return replace(scan, run=partial(scan.run, scores=tuple(dict.fromkeys((*DEFAULT_SCORES, *scores)))))
