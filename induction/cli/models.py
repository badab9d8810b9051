"""``models``: what can be loaded, and where its weights would come from."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from induction.cli.common import Commands, aligned
from induction.model import CATALOGUE, ModelCard, availability


def add(commands: Commands) -> None:
    models = commands.add_parser("models", help="list the models and where their weights would come from")
    models.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    models.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    if options.json:
        cards = [{**asdict(card), "availability": availability(name)} for name, card in CATALOGUE.items()]
        print(json.dumps(cards))
        return
    rows = [
        {
            "model": name,
            "layers x heads": f"{card.n_layers} x {card.n_heads}",
            "parameters": f"{card.parameters / 1e6:.1f} M",
            "weights": _weights(card),
            "licence": card.licence,
            "good for": card.good_for,
        }
        for name, card in CATALOGUE.items()
    ]
    print("\n".join(aligned(rows)))


def _weights(card: ModelCard) -> str:
    where = availability(card.name)
    if where != "download":
        return where
    return f"{card.download_mb} MB to download" if card.download_mb else "missing: install again"
