"""``circuit``: what each head is, and which earlier head feeds an induction head."""

from __future__ import annotations

import argparse

from induction.base import parse_heads
from induction.circuit.results import MLPS, to_csv, to_json, to_text
from induction.cli.common import Commands, add_model, add_output, add_prompts, deliver, load, with_progress
from induction.patching.interventions import DIRECTIONS


def add(commands: Commands) -> None:
    circuit = commands.add_parser("circuit", help="trace which earlier head feeds an induction head")
    add_model(circuit)
    add_prompts(circuit)
    circuit.add_argument(
        "--head", metavar="L.H", help="the head that is fed (default: the strongest induction heads)"
    )
    circuit.add_argument(
        "--direction", choices=list(DIRECTIONS), default="denoise", help="of the path patching"
    )
    circuit.add_argument(
        "--mlps", choices=list(MLPS), default="frozen", help="what MLPs between sender and receiver do"
    )
    add_output(circuit)
    circuit.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from induction.base import InputError
    from induction.circuit.trace import iter_circuit

    model = load(options)
    head = None
    if options.head is not None:
        heads = parse_heads(options.head, model.cfg.n_layers, model.cfg.n_heads)
        if len(heads) > 1:
            raise InputError(f"--head names one head, not {len(heads)}; run the command once for each.")
        (head,) = heads
    steps = iter_circuit(
        model,
        head,
        n_pairs=options.prompts,
        vocab=options.vocab,
        direction=options.direction,
        mlps=options.mlps,
        seed=options.seed,
    )
    result = with_progress(steps)
    deliver(options, text=to_text(result), json=to_json(result), csv=to_csv(result))
