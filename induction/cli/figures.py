"""``figures``: every figure of a model, written to a folder."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from induction.cli.common import Commands, add_model, add_prompts, load, with_progress


def add(commands: Commands) -> None:
    figures = commands.add_parser("figures", help="write every figure of a model as SVG and PNG, with a page")
    add_model(figures)
    add_prompts(figures)
    figures.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the files go")
    figures.add_argument(
        "--live", action="store_true", help="measure now, also where bundled results could be drawn"
    )
    figures.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from induction.figures import attention_on_repetition, bundled_results, draw, iter_results, write
    from induction.model import availability, default_model, resolve

    name = resolve(options.model or default_model())
    found = bundled_results(name)
    if options.live or found.scan is None:
        steps = iter_results(load(options), n_prompts=options.prompts, vocab=options.vocab, seed=options.seed)
        found = with_progress(steps)
    elif availability(name) != "download":
        found = replace(
            found, attention=attention_on_repetition(load(options), vocab=options.vocab, seed=options.seed)
        )
    drawn, left_out = draw(found)
    if found.attention is None:
        left_out.append("Attention: the weights are not on this machine; --live downloads and measures them.")
    paths = write(drawn, options.out, heading=f"Induction heads of {name}")
    for sentence in left_out:
        print(f"left out: {sentence}", file=sys.stderr)
    print(f"{len(drawn)} figures, as SVG and PNG; open {paths[-1]}")
