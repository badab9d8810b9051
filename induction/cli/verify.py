"""``verify`` holds a live scan, and patching of GPT-2 small, against known figures."""

from __future__ import annotations

import argparse

from induction.analysis.experiments import ScanSettings
from induction.base import InputError
from induction.cli.common import Commands, add_model, add_prompts, asked, load, named, run
from induction.cli.generic import measuring
from induction.experiment import experiments


def add(commands: Commands) -> None:
    parser = commands.add_parser("verify", help="scan live and compare with the known figures of a model")
    add_model(parser, "a model with known figures")
    add_prompts(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    """Exit code 0 where every line passes."""
    from induction.results.verify import verifiable, verify, verify_ioi

    name = named(options)
    if name not in verifiable():
        raise InputError(
            f"No figures of {options.model} are known here; choose from {', '.join(verifiable())}."
        )
    scan = run(options, measuring(experiments()["scan"]), asked(options, ScanSettings))
    checks = list(verify(scan))
    if name == "gpt2":
        checks += verify_ioi(load(options))
    for check in checks:
        print(f"{'pass' if check.passed else 'FAIL'}  {check.claim}: {check.measured}")
    return 0 if all(check.passed for check in checks) else 1
