"""``models``: what can be loaded, and where its weights would come from."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from induction.cli.common import Commands
from induction.model import CATALOGUE, ModelCard, availability

HEADER = ("model", "layers x heads", "parameters", "weights", "licence", "good for")


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
        (
            name,
            f"{card.n_layers} x {card.n_heads}",
            f"{card.parameters / 1e6:.1f} M",
            _weights(card),
            card.licence,
            card.good_for,
        )
        for name, card in CATALOGUE.items()
    ]
    widths = [max(len(row[i]) for row in [HEADER, *rows]) for i in range(len(HEADER))]
    for row in [HEADER, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _weights(card: ModelCard) -> str:
    where = availability(card.name)
    if where != "download":
        return where
    return f"{card.download_mb} MB to download" if card.download_mb else "missing: install again"
