"""Which models the page offers and accepts, and what it says about them."""

from __future__ import annotations

import os

from induction import model as models
from induction import results
from induction.base import InputError


def hosted() -> bool:
    """On a Space: only catalogue models load there."""
    return bool(os.environ.get("SPACE_ID"))


def known_models() -> list[str]:
    """Names the model picker offers: the catalogue and whatever has a bundled result."""
    return list(dict.fromkeys([*models.CATALOGUE, *results.SCANS.names()]))


def short_name(model: str) -> str:
    """A model's name without its owner, for headings and file names."""
    return model.split("/")[-1]


def default_model() -> str:
    """GPT-2 where its weights are at hand, else the bundled model; GPT-2's published scan without either."""
    name = models.default_model()
    return name if name in results.SCANS.names() else "gpt2"


def checked_model(name: str) -> str:
    """The model's name as it may be used here.

    Raises:
        InputError: on a Space, a name outside the catalogue.
    """
    name = models.resolve(name or "")
    if name in known_models():
        return name
    if hosted():
        raise InputError(
            f"This hosted page loads only {', '.join(known_models())}; run it at home for others."
        )
    if not name or len(name) > 200:
        raise InputError("Give the model a name of 1 to 200 characters.")
    return name


def has(model: str) -> str:
    """What there is of a model before anything is run, and what a run needs, in a few words."""
    scan = results.SCANS.find(model)
    there = [] if scan is None else ["published" if scan.kind == "published" else "bundled"]
    return ", ".join([*there, needs(model)])


def needs(model: str) -> str:
    """What a run needs, in a few words."""
    return _weights(model, "works offline", "needs{}")


def labelled(model: str) -> str:
    """A model's name with what it has, for choosing."""
    return f"{short_name(model)} · {has(model)}"


def facts(model: str, live: bool = False) -> str:
    """What the model is, where the figures on show come from, and what a live run needs. Plain text."""
    card, scan = models.CATALOGUE.get(model), results.SCANS.find(model)
    parts = []
    if card:
        million = card.parameters >= 1_000_000
        count = f"{card.parameters / 1e6:.0f} million" if million else f"{card.parameters:,}"
        shape = f"{card.n_layers} layers × {card.n_heads} heads, {count} parameters ({card.licence})"
        parts.append(f"{shape}; {card.good_for}.")
    if live:
        parts.append("Scores: measured live.")
    elif scan is None:
        parts.append("No bundled scores.")
    elif scan.kind == "published":
        runs = max((score.n_runs or 1) for score in scan.scores.values())
        parts.append(f"Scores: published by others, up to {runs} runs.")
    else:
        parts.append("Scores: computed by this project, bundled.")
    return " ".join([*parts, _weights(model, "Works offline.", "Live runs download{}.")])


def _weights(model: str, here: str, fetched: str) -> str:
    """``here`` where the weights are on this machine, else ``fetched`` with what they weigh."""
    if models.availability(model) != "download":
        return here
    card = models.CATALOGUE.get(model)
    return fetched.format(f" {card.download_mb} MB" if card else " its weights")
