"""The results that come with the package, and which of them answers what is asked."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from induction.analysis.example import Example
from induction.analysis.experiments import RealTextSettings
from induction.analysis.kinds import kinds_of
from induction.analysis.real_text_result import RealText
from induction.analysis.result import Scan
from induction.base import InputError, Result, parse_heads
from induction.behaviour.experiments import EXPERIMENTS as BEHAVIOURS
from induction.behaviour.results import Behaviour
from induction.circuit.experiments import WhySettings
from induction.circuit.results import Circuit, Composition, Receiver
from induction.circuit.sources import Looking
from induction.evidence.experiments import EvidenceSettings
from induction.evidence.results import Evidence
from induction.experiment import Experiment, Settings
from induction.patching.edge_results import EdgeKnockout
from induction.patching.experiments import (
    BUNDLED,
    IOI,
    AblationSettings,
    HeadsSettings,
    KnockoutSettings,
    TogetherSettings,
    curve_length,
)
from induction.patching.knockouts import Knockouts
from induction.patching.results import Attribution, HeadSets, Intervention, Patching
from induction.training.history import History

R = TypeVar("R", bound=Result)
FOLDER = Path(__file__).parent
PUBLISHED_RECEIVERS = 6


@dataclass(frozen=True)
class Shelf(Generic[R]):
    """Results of one kind, by model, or by file where a model has several; a damaged file is left out and logged.

    Attributes:
        folders: later ones replace what earlier ones have.
    """

    kind: type[R]
    what: str
    folders: tuple[Path, ...]
    by_file: bool = False

    def all(self) -> dict[str, R]:
        return _read(self)

    def names(self) -> list[str]:
        return list(self.all())

    def find(self, name: str) -> R | None:
        return self.all().get(name)

    def get(self, name: str) -> R:
        """
        Raises:
            InputError: no such result comes with the package.
        """
        found = self.find(name)
        if found is None:
            known = ", ".join(self.names()) or "none"
            raise InputError(f"No {self.what} for '{name}' comes with the package; there are {known}.")
        return found


@cache
def _read(shelf: Shelf[R]) -> dict[str, R]:
    found = {}
    for path in (path for folder in shelf.folders for path in sorted(folder.glob("*.json"))):
        try:
            result = shelf.kind.from_json(path.read_text(encoding="utf-8"), path.name)
        except (InputError, UnicodeDecodeError) as error:
            logging.getLogger(__name__).warning("left out: %s", error)
            continue
        found[path.stem if shelf.by_file else result.model] = result
    return found


PUBLISHED = Shelf(Scan, "published scan", (FOLDER / "published",))
SCANS = Shelf(Scan, "bundled scan", (FOLDER / "published", FOLDER))  # computed here replaces published
PATCHING = Shelf(Intervention, "bundled patching result", (FOLDER / "patching",), by_file=True)
ABLATIONS = Shelf(Knockouts, "bundled ablation", (FOLDER / "ablations",))
CIRCUITS = Shelf(Circuit, "bundled circuit", (FOLDER / "circuits",))
EXAMPLES = Shelf(Example, "bundled example of attention", (FOLDER / "examples",))
EDGES = Shelf(EdgeKnockout, "bundled knockout of edges", (FOLDER / "edges",))
WHY = Shelf(Looking, "bundled explanation of a head's scores", (FOLDER / "why",))
EVIDENCE = Shelf(Evidence, "bundled evidence", (FOLDER / "evidence",))
REAL_TEXT = Shelf(RealText, "bundled result in real text", (FOLDER / "real_text",))
BEHAVIOUR = Shelf(Behaviour, "bundled result on behaviour", (FOLDER / "behaviour",), by_file=True)
HISTORIES = Shelf(History, "training history", (FOLDER / "histories",))


def slug(model: str) -> str:
    """The file name of a model's results: ``HuggingFaceTB/SmolLM2-135M`` becomes ``SmolLM2-135M``."""
    return model.rsplit("/", 1)[-1]


# What is bundled for what is asked


def bundled(experiment: str, model: str, settings: Settings | None = None) -> Result | None:
    """What an experiment's surfaces show of a model before anything is run; None where there is nothing.

    Args:
        settings: where results depend on them (patching).
    """
    find = _FINDERS.get(experiment)
    return find(model, settings) if find else None


def _heads(model: str, asked: HeadsSettings | None) -> Patching | None:
    asked = asked or HeadsSettings()
    if asked.form not in (BUNDLED, IOI) or asked.method != "exact":
        return None
    ioi = [f"{slug(model)}-ioi", f"{slug(model)}-ioi-{asked.component}"]  # computed here, else published
    # What comes with a model is induction, and of GPT-2 what was published, which says what it is.
    for name in ioi if asked.form == IOI else [slug(model), *ioi]:
        result = PATCHING.find(name)
        if isinstance(result, Patching) and (result.direction, result.component) == (
            asked.direction,
            asked.component,
        ):
            return result
    return None


def _together(model: str, asked: TogetherSettings | None) -> HeadSets | None:
    asked = asked or TogetherSettings()
    result = PATCHING.find(f"{slug(model)}-top-k")
    if asked.form != BUNDLED or asked.heads or not isinstance(result, HeadSets):
        return None
    k = curve_length(asked.top_k, SCANS.find(model))
    if k > len(result.sets) or (result.intervention, result.component) != (asked.direction, asked.component):
        return None
    return result.model_copy(update={"sets": result.sets[:k]})


def _ablation(model: str, asked: AblationSettings | None) -> HeadSets | None:
    asked = asked or AblationSettings()
    found = ABLATIONS.find(model)
    if found is None or asked.form != BUNDLED or asked.ablation != found.intervention:
        return None
    return found.of(asked.named(1000, 1000)) if asked.heads.strip() else found.each()


def _circuit(model: str, asked: Settings | None) -> Circuit | None:
    return CIRCUITS.find(model) or (
        published_circuit(model) if model in published_composition_names() else None
    )


def _usual(shelf: Shelf[R], settings: type[Settings], model: str, asked: Settings | None) -> R | None:
    """A result with the usual settings, and only those."""
    return shelf.find(model) if asked in (None, settings()) else None


def _evidence(model: str, asked: EvidenceSettings | None) -> Evidence | None:
    found = EVIDENCE.find(model)
    return found and found.of(
        parse_heads(asked.head, found.n_layers, found.n_heads) if asked and asked.head else None
    )


def _behaviour(one: Experiment, model: str, asked: Settings | None) -> Behaviour | None:
    """A result with the usual settings, and only those."""
    return BEHAVIOUR.find(f"{slug(model)}-{one.name}") if asked in (None, one.settings()) else None


_FINDERS: dict[str, Callable[[str, Any], Result | None]] = {
    "scan": lambda model, asked: SCANS.find(model),
    "heads": _heads,
    "together": _together,
    "ablation": _ablation,
    "circuit": _circuit,
    "knockout": lambda model, asked: _usual(EDGES, KnockoutSettings, model, asked),
    "why": lambda model, asked: _usual(WHY, WhySettings, model, asked),
    "evidence": _evidence,
    "real_text": lambda model, asked: _usual(REAL_TEXT, RealTextSettings, model, asked),
    **{one.name: partial(_behaviour, one) for one in BEHAVIOURS},
    "training": lambda model, asked: HISTORIES.find(model),
}


# What published weights tell


@cache
def _published(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / "composition" / f"{name}.json").read_text(encoding="utf-8"))


def published_composition_names() -> list[str]:
    """Models whose composition comes with the package, from published weights."""
    return sorted(path.stem for path in (FOLDER / "composition").glob("*.json"))


def published_composition(name: str, layer: int, head: int) -> Composition:
    """K-composition into one head from published weights, as it comes with the package (``gpt2``).

    Raises:
        InputError: nothing is bundled for that model, or the head is in the first layer or does not exist.
    """
    if name not in published_composition_names():
        known = ", ".join(published_composition_names())
        raise InputError(f"No published composition of '{name}' comes with the package; there is {known}.")
    data = _published(name)
    n_layers, n_heads = data["n_layers"], data["n_heads"]
    if not (0 < layer < n_layers and 0 <= head < n_heads):
        raise InputError(
            f"Earlier heads feed the heads 1.0 to {n_layers - 1}.{n_heads - 1} of {name}, not {layer}.{head}."
        )
    grid = data["k"][layer - 1][head]
    return Composition(
        layer=layer,
        head=head,
        kind="published weights",
        origin=data["origin"],
        definition=data["definition"],
        measured={"k": [[round(value * data["unit"], 4) for value in row] for row in grid]},
        baseline=data["baseline"],
        baseline_deviation=data["baseline_deviation"],
    )


@cache
def published_circuit(name: str) -> Circuit:
    """What published figures alone tell of a model's circuit: kinds of heads and K-composition, no paths.

    Raises:
        InputError: no composition of that model comes with the package.
    """
    published_composition(name, 1, 0)  # says what there is
    scan, direct = PUBLISHED.get(name), PATCHING.get(f"{slug(name)}-ioi-attribution")
    assert isinstance(direct, Attribution)
    scores = {key: score.mean for key, score in scan.scores.items()}
    kinds = kinds_of(scores, direct.mean)
    heads = [(layer, head) for layer, head, _ in scan.ranked() if kinds[layer][head] == "induction"]
    return Circuit(
        model=name,
        n_layers=scan.n_layers,
        n_heads=scan.n_heads,
        origin="published by others",
        scan_protocol=scan.scores["induction"].protocol,
        protocol=f"K-composition from the published weights; direct effect: {direct.protocol.rstrip('.')}",
        scores=scores,
        direct=direct.mean,
        kinds=kinds,
        receivers=[
            Receiver(layer=layer, head=head, composition=published_composition(name, layer, head))
            for layer, head in heads[:PUBLISHED_RECEIVERS]
        ],
        example=None,
        kind="published",
    )
