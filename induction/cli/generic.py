"""A command for every experiment, made from its settings."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from typing import Any

from induction.analysis.scores import SCORES
from induction.base import InputError
from induction.cli.common import Commands, add_model, add_output, add_settings, asked, deliver, run
from induction.experiment import Experiment, experiments
from induction.patching.interventions import METRICS

_METRIC = {"flag": "--metric", "choices": list(METRICS), "default": "logit_difference"}
#: What heads are ranked by, where there is a choice.
BY: dict[str, dict[str, Any]] = {
    "scan": {"flag": "--score", "choices": list(SCORES), "default": "induction"},
    "heads": _METRIC,
    "together": _METRIC,
    "ablation": _METRIC,
}


def add(commands: Commands) -> None:
    for name, experiment in experiments().items():
        parser = commands.add_parser(name, help=experiment.help)
        add_model(parser)
        add_settings(parser, experiment.settings)
        if more := dict(BY.get(name, {})):
            parser.add_argument(more.pop("flag"), dest="by", help="what heads are ranked by", **more)
        if name == "scan":
            parser.add_argument("--top", type=int, default=10, metavar="K", help="heads to list (default 10)")
        add_output(parser)
        parser.set_defaults(run=partial(_run, experiment))


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
