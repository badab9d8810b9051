"""How long an experiment is likely to take here: its declared work, at the speed that this machine has shown."""

from __future__ import annotations

from induction.experiment import Experiment, Settings
from induction.model import CATALOGUE

SPEED = 8e10  # multiplications and additions per second of two common cores
PER_LAYER = 1.5e-4  # seconds that a layer takes for a row of any size
TYPICAL_ROW = 60  # tokens

_shown: dict[tuple[str, str], float] = {}  # by experiment and model: measured over expected


def expected(experiment: Experiment, model: str, settings: Settings) -> float | None:
    """Seconds, with the model at hand; None where its size is not known."""
    card = CATALOGUE.get(model)
    if card is None or experiment.work is None:
        return None
    tokens = experiment.work(card.n_layers, card.n_heads, settings)
    plain = tokens * 2 * card.parameters / SPEED + tokens / TYPICAL_ROW * card.n_layers * PER_LAYER
    return plain * _shown.get((experiment.name, model), 1.0)


def learn(experiment: Experiment, model: str, settings: Settings, seconds: float) -> None:
    """Take note of how long a run has taken."""
    guess = expected(experiment, model, settings)
    if guess and seconds > 0:
        was = _shown.get((experiment.name, model), 1.0)
        _shown[experiment.name, model] = min(max(was * seconds / guess, 0.05), 20.0)


def in_words(seconds: float | None) -> str:
    """``about 4 s``; nothing where it is not known."""
    if seconds is None:
        return ""
    if seconds < 1:
        return "under a second"
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"
