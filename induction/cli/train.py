"""``train`` makes a small model in which induction heads form."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from induction.cli.common import Commands, with_progress


def add(commands: Commands) -> None:
    train = commands.add_parser("train", help="train a small model in which induction heads form")
    train.add_argument("--corpus", type=Path, required=True, metavar="FOLDER", help="plain texts, *.txt")
    train.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where weights, history and card go"
    )
    train.add_argument("--layers", type=int, default=2, help="number of layers (default 2)")
    train.add_argument("--minutes", type=float, help="stop after this many (default: when the recipe ends)")
    train.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of weights and data (default 0)"
    )
    train.add_argument(
        "--prose", action="store_true", help="on prose alone, as the control (default: half of it repeats)"
    )
    train.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Ctrl-C ends the run and keeps the best state, like the end of the time."""
    from induction.training.train import PROSE, Recipe, iter_train

    recipe = PROSE if options.prose else Recipe()
    steps = iter_train(
        options.corpus,
        options.out,
        layers=options.layers,
        minutes=options.minutes,
        seed=options.seed,
        recipe=recipe,
    )
    try:
        trained = with_progress(steps)
    except KeyboardInterrupt:  # between two steps; closing the run has written the best state
        print(f"stopped; the best state is in {options.out}", file=sys.stderr)
        raise
    kept = trained.kept
    best = max(max(row) for row in kept.induction)
    print(
        f"{'stopped early' if trained.stopped_early else 'done'}: step {kept.step:,} is in {trained.folder}\n"
        f"best induction head {best:.3f}; loss on the first copy {kept.first_copy_loss:.2f}, on the second "
        f"{kept.second_copy_loss:.2f} nats\n"
        f"loss on held-out prose {kept.prose_loss:.2f} nats per token (unigram {trained.unigram_loss:.2f}, "
        f"bigram {trained.bigram_loss:.2f})"
    )
