"""``history``: how the heads of a public model formed, from its training checkpoints."""

from __future__ import annotations

import argparse
import sys

from induction.base import InputError
from induction.cli.common import Commands, add_model, add_output, add_prompts, text, with_progress, write


def add(commands: Commands) -> None:
    history = commands.add_parser("history", help="measure a public model at its training checkpoints")
    add_model(history, "a Pythia model, for example EleutherAI/pythia-70m")
    add_prompts(history)
    history.add_argument(
        "--steps", metavar="N,N,…", help="training steps (default: 18 of them, denser where heads form)"
    )
    where = "the history, continued where it exists (default: among the bundled ones, for the Training tab)"
    add_output(history, where)
    history.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from induction.model import resolve
    from induction.results.shelf import HISTORIES, slug
    from induction.training.checkpoints import STEPS, iter_history

    file = options.out or HISTORIES.folders[0] / f"{slug(resolve(options.model))}.json"
    steps = iter_history(
        options.model,
        file,
        steps=_steps(options.steps) if options.steps else STEPS,
        n_prompts=options.prompts,
        vocab=options.vocab,
        device=options.device,
        seed=options.seed,
    )
    try:
        history = with_progress(steps)
    except KeyboardInterrupt:
        print(f"stopped; run the same command again to continue {file}", file=sys.stderr)
        raise
    if options.csv:
        write(options.csv, history.to_csv())
    print(history.to_json() if options.json else f"{text(history)}\n\n{file}")


def _steps(text: str) -> list[int]:
    """
    Raises:
        InputError: not whole numbers separated by commas.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
        raise InputError(f"'{text}' is not a list of training steps; write them as 0,512,1000.")
    return [int(part) for part in parts]
