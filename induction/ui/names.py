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


def facts(model: str, live: bool = False) -> str:
    """What the model is, where the figures on show come from, and what a live run needs. Plain text."""
    card = models.CATALOGUE.get(model)
    parts = []
    if card:
        million = card.parameters >= 1_000_000
        count = f"{card.parameters / 1e6:.0f} million" if million else f"{card.parameters:,}"
        size = f", {count} parameters"
        parts.append(
            f"{card.n_layers} layers × {card.n_heads} heads{size} ({card.licence}); {card.good_for}."
        )
    if live:
        parts.append("Scores on show: measured live.")
    elif model in results.SCANS.names():
        scan = results.SCANS.get(model)
        if scan.kind == "published":
            runs = max((score.n_runs or 1) for score in scan.scores.values())
            parts.append(f"Scores on show: published by others, up to {runs} runs.")
        else:
            parts.append("Scores on show: computed by this project, bundled.")
    else:
        parts.append("No bundled scores.")
    where = models.availability(model)
    if where == "download":
        size = f" of {card.download_mb} MB" if card else ""
        parts.append(f"Live runs need a download{size} from the Hugging Face Hub.")
    else:
        parts.append("Live runs work without a download.")
    return " ".join(parts)
