"""Circuits that travel: dataclasses, JSON with a schema version, CSV, a text table, the bundled composition.

Imports neither torch nor transformer_lens. A value that is not defined is None, never zero and never NaN.
A grid over senders is ``[layer][head]`` of the layers before the receiving head.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from induction.analysis.kinds import KINDS, kinds_of
from induction.base import InputError, head_name
from induction.patching.interventions import METRICS, Declaration
from induction.patching.results import (
    NOT_BOUNDED,
    Attribution,
    Bounded,
    Pair,
    all_gaps,
    not_better_in_words,
    undefined_in_words,
)
from induction.patching.results import bundled as bundled_patching
from induction.results import document, read_folder, slug
from induction.results import published as published_scan

SCHEMA = "induction-circuit/2"
FOLDER = Path(__file__).parents[1] / "results" / "circuits"
COMPOSITION = Path(__file__).parents[1] / "results" / "composition"

Grid = list[list[float | None]]  # [layer][head]

INPUTS: dict[str, Declaration] = {
    entry.name: entry
    for entry in (
        Declaration("q", "Queries", "The sender changes what the head looks for."),
        Declaration(
            "k",
            "Keys",
            "The sender changes what the head can find: how a previous-token head feeds an induction head.",
        ),
        Declaration("v", "Values", "The sender changes what the head copies, not where it looks."),
    )
}
Mlps = Literal["frozen", "recomputed"]
MLPS: dict[str, Declaration] = {
    entry.name: entry
    for entry in (
        Declaration(
            "frozen",
            "MLPs frozen",
            "The MLPs between sender and receiver stay as they are: the direct path alone (Wang et al. 2022).",
        ),
        Declaration(
            "recomputed",
            "MLPs recomputed",
            "The MLPs between sender and receiver see the sender's change and pass on what they make of it; other "
            "heads stay as they are.",
        ),
    )
}
MEASURES: dict[str, Declaration] = {
    entry.name: entry
    for entry in (
        Declaration(
            "attention",
            "Attention to the target",
            "Change of the head's attention from the last token to the token after its earlier copy, 0 to 1; mean over "
            "all prompt pairs.",
        ),
        Declaration(
            "answer",
            "Answer",
            "Share of the logit difference (answer minus distractor) that comes back, or is lost: a ratio of the means "
            "over all prompt pairs.",
        ),
    )
}


QUANTITIES: dict[str, Declaration] = {
    entry.name: entry
    for entry in (
        Declaration("direct", "Direct effect", "What each head itself adds to answer minus distractor."),
        Declaration(
            "composition", "Composition", "How strongly an earlier head's output could enter a head."
        ),
        Declaration("copying", "Copying", "Whether a head raises the token that it reads."),
        Declaration(
            "paths", "Path patching", "What an earlier head's change does through one input of a head."
        ),
    )
}


@dataclass(frozen=True)
class Composition:
    """Composition of every earlier head with one head, from weights alone.

    Attributes:
        kind: ``"computed"`` by this project, or ``"published weights"``.
        measured: by input ``q``, ``k``, ``v``, a grid over senders; an input that was not computed is absent.
        baseline, baseline_deviation: what random heads of this shape score.
    """

    layer: int
    head: int
    kind: str
    origin: str
    definition: str
    measured: dict[str, Grid]
    baseline: float
    baseline_deviation: float
    seed: int | None = None


@dataclass(frozen=True)
class PathEffect(Bounded):
    """What each sender does through one input of the receiving head, on one measure of :data:`MEASURES`.

    Attributes:
        mean: grid over senders: of the attention the mean change over all pairs; of the answer the ratio of means
            (:class:`induction.patching.results.Effect`), None everywhere where it is undefined.
        low, high: 95 % interval over pairs, Student's t of the attention, Fieller's of the answer; None with fewer
            than two pairs, and None for a sender where no bounded interval holds.
        whole: the same as ``mean`` when everything that this input reads comes from the other run.
        not_better: of the answer, pairs counted from 0 whose clean prompt is not better; they count in the means.
    """

    mean: Grid
    low: Grid | None
    high: Grid | None
    whole: float | None
    not_better: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Paths:
    """Path patching into one head: ``effects[input][measure]``.

    Attributes:
        mlps: what the MLPs between sender and receiver did, a name of :data:`MLPS`.
        clean, corrupted: by measure, the mean over pairs in the plain runs (attention; logit difference).
    """

    layer: int
    head: int
    direction: str
    mlps: str
    protocol: str
    effects: dict[str, dict[str, PathEffect]]
    clean: dict[str, float]
    corrupted: dict[str, float]
    seed: int

    def ranked(self, through: str = "k", measure: str = "attention") -> list[tuple[int, int, float]]:
        """``(layer, head, effect)`` of all senders with a defined effect, strongest first.

        Raises:
            InputError: the input or measure was not computed.
        """
        if through not in self.effects or measure not in self.effects[through]:
            raise InputError(
                f"There are no paths through '{through}' to '{measure}' here; choose from "
                f"{', '.join(self.effects)} and {', '.join(MEASURES)}."
            )
        return _ranked(self.effects[through][measure].mean)

    def caveats(self) -> str:
        """What a reader of the effects on the answer has to know, as :meth:`Patching.caveats
        <induction.patching.results.Patching.caveats>`; the same for every input, which share the plain runs."""
        effect = next((measures["answer"] for measures in self.effects.values()), None)
        if effect is None:
            return ""
        metric, floor = "logit_difference", METRICS["logit_difference"].floor
        said = [not_better_in_words(effect.not_better, metric, floor)]
        if all_gaps(effect.mean):
            said.insert(0, undefined_in_words(self.clean["answer"], self.corrupted["answer"], metric, floor))
        elif effect.low is not None and all_gaps(effect.low):
            said.append(NOT_BOUNDED)
        return " ".join(filter(None, said))


@dataclass(frozen=True)
class Copying:
    """Whether a head raises the token it reads: its map from token read to logits written.

    Attributes:
        top1, top5: share of tokens whose own logit is the highest, among the five highest.
        eigenvalue: ``sum(lambda) / sum(|lambda|)`` of the map, -1 to 1 (Elhage et al. 2021).
        n_tokens: tokens behind top1 and top5; the eigenvalue takes the whole vocabulary.
        definition: which embedding is read and how norms are handled.
    """

    top1: float
    top5: float
    eigenvalue: float
    n_tokens: int
    definition: str


@dataclass(frozen=True)
class Receiver:
    """One head and what feeds it. What was not measured is None, as are composition and paths in the first layer,
    which nothing feeds."""

    layer: int
    head: int
    composition: Composition | None = None
    paths: Paths | None = None
    copying: Copying | None = None

    @property
    def name(self) -> str:
        return head_name((self.layer, self.head))


@dataclass(frozen=True)
class Example:
    """One clean prompt ``.. A B .. A`` and where every head looks in it.

    Attributes:
        tokens: readable, up to the second A.
        first_a, first_b: positions.
        step_back: each head's attention from the first B to the first A, ``[layer][head]``.
        step_on: each head's attention from the last token to the first B, ``[layer][head]``.
    """

    tokens: list[str]
    first_a: int
    first_b: int
    answer: str
    step_back: Grid
    step_on: Grid


@dataclass(frozen=True)
class Circuit:
    """The heads of a model, what they are, and what feeds the receiving heads.

    Attributes:
        scores: attention scores by name ``[layer][head]``, as in a scan.
        direct: logits that each head itself adds to answer minus distractor ``[layer][head]``; None where refused.
        kinds: names of :data:`induction.analysis.kinds.KINDS`, ``[layer][head]``.
        receivers: the heads whose feeders were measured, strongest induction score first.
        kind: ``"computed"`` by this project, or ``"published"``: put together from published figures.
        refused: by name of :data:`QUANTITIES`, why this model has no such figures.
    """

    model: str
    n_layers: int
    n_heads: int
    origin: str
    scan_protocol: str
    protocol: str
    scores: dict[str, Grid]
    direct: Grid | None
    kinds: list[list[str]]
    receivers: list[Receiver]
    example: Example | None
    pairs: list[Pair] = field(default_factory=list)
    kind: str = "computed"
    refused: dict[str, str] = field(default_factory=dict)
    seed: int | None = None
    seconds: float | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def refusals(self) -> list[str]:
        """What could not be verified on this model and is not given, a sentence each."""
        return [f"{QUANTITIES[name].title} is not given. {why}" for name, why in self.refused.items()]

    def receiver(self, layer: int, head: int) -> Receiver:
        """
        Raises:
            InputError: that head's feeders were not measured.
        """
        for receiver in self.receivers:
            if (receiver.layer, receiver.head) == (layer, head):
                return receiver
        raise InputError(
            f"What feeds head {layer}.{head} was not measured here; run the circuit of that head."
        )

    def of_kind(self, name: str) -> list[tuple[int, int]]:
        """Heads of one kind, in order of layer."""
        return [
            (layer, head)
            for layer, row in enumerate(self.kinds)
            for head, kind in enumerate(row)
            if kind == name
        ]


def _ranked(grid: Grid) -> list[tuple[int, int, float]]:
    heads = [
        (layer, head, value)
        for layer, row in enumerate(grid)
        for head, value in enumerate(row)
        if value is not None
    ]
    return sorted(heads, key=lambda item: -item[2])


def to_json(circuit: Circuit) -> str:
    """One JSON document that :func:`from_json` reads back to an equal object."""
    return json.dumps({"schema": SCHEMA, **asdict(circuit)}, allow_nan=False, separators=(",", ":"))


def from_json(text: str, name: str = "this file") -> Circuit:
    """Read a circuit.

    Raises:
        InputError: the text is damaged, of another schema, or its grids do not fit its shape.
    """
    return document.read(text, name, schema=SCHEMA, build=_build, check=_check)


def _build(data: dict[str, Any]) -> Circuit:
    data["receivers"] = [_receiver(item) for item in data["receivers"]]
    data["example"] = None if data["example"] is None else Example(**data["example"])
    data["pairs"] = [Pair(**pair) for pair in data["pairs"]]
    return Circuit(**data)


def _receiver(data: dict[str, Any]) -> Receiver:
    if data["copying"] is not None:
        data["copying"] = Copying(**data["copying"])
    if data["composition"] is not None:
        data["composition"] = Composition(**data["composition"])
    if data["paths"] is not None:
        paths = data["paths"]
        paths["effects"] = {
            through: {measure: PathEffect(**effect) for measure, effect in measures.items()}
            for through, measures in paths["effects"].items()
        }
        data["paths"] = Paths(**paths)
    return Receiver(**data)


def _check(circuit: Circuit) -> None:
    full = [*circuit.scores.values(), *([] if circuit.direct is None else [circuit.direct])]
    grids = [
        ("kinds", circuit.kinds, circuit.n_layers),
        *(("a score", grid, circuit.n_layers) for grid in full),
    ]
    if not QUANTITIES.keys() >= circuit.refused.keys():
        raise ValueError("an unknown quantity is refused")
    if "induction" not in circuit.scores:
        raise ValueError("no induction score")
    if circuit.example:
        grids.append(("step_back", circuit.example.step_back, circuit.n_layers))
        grids.append(("step_on", circuit.example.step_on, circuit.n_layers))
    for receiver in circuit.receivers:
        if not (0 <= receiver.layer < circuit.n_layers and 0 <= receiver.head < circuit.n_heads):
            raise ValueError(f"no head {receiver.name}")
        if receiver.composition:
            full += receiver.composition.measured.values()
            # Of published weights there are keys alone.
            inputs = INPUTS if receiver.composition.kind == "computed" else {"k": None}
            if receiver.composition.measured.keys() != inputs.keys():
                raise ValueError(f"composition with {receiver.name} lacks an input or has one too many")
            grids += [
                ("composition", grid, receiver.layer) for grid in receiver.composition.measured.values()
            ]
        if receiver.paths:
            paths = receiver.paths
            if paths.mlps not in MLPS:
                raise ValueError(f"paths into {receiver.name} treat MLPs in an unknown way")
            for measures in (paths.clean, paths.corrupted, *paths.effects.values()):
                if measures.keys() != MEASURES.keys():
                    raise ValueError(f"paths into {receiver.name} lack a measure")
            if not INPUTS.keys() >= paths.effects.keys():
                raise ValueError(f"paths into {receiver.name} through an unknown input")
            for measures in paths.effects.values():
                for effect in measures.values():
                    parts = (effect.mean, effect.low, effect.high)
                    grids += [("paths", part, receiver.layer) for part in parts if part is not None]
                    if not all(0 <= pair < len(circuit.pairs) for pair in effect.not_better):
                        raise ValueError(f"paths into {receiver.name} name a pair that there is not")
    for name, grid, n_layers in grids:
        if len(grid) != n_layers or any(len(row) != circuit.n_heads for row in grid):
            raise ValueError(f"{name} is not {n_layers} x {circuit.n_heads}")
    if any(cell is None for grid in full for row in grid for cell in row):
        raise ValueError("a score, direct effect or composition is missing")
    if any(kind not in KINDS for row in circuit.kinds for kind in row):
        raise ValueError("an unknown kind of head")


def to_csv(circuit: Circuit) -> str:
    """One row per sender and receiver: composition, and the effect on both measures through each input."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [(through, measure) for through in INPUTS for measure in MEASURES]
    compositions = [f"{through}_composition" for through in INPUTS]
    writer.writerow(
        ["receiver", "sender", "sender_kind", *compositions, *(f"{a}_to_{b}" for a, b in columns)]
    )
    for receiver in circuit.receivers:
        for layer in range(receiver.layer):
            for head in range(circuit.n_heads):
                cells: list[Any] = []
                for through in INPUTS:
                    measured = receiver.composition.measured if receiver.composition else {}
                    cells.append(measured[through][layer][head] if through in measured else None)
                for through, measure in columns:
                    effects = receiver.paths.effects if receiver.paths else {}
                    effect = effects.get(through, {}).get(measure)
                    cells.append(effect.mean[layer][head] if effect else None)
                writer.writerow([receiver.name, head_name((layer, head)), circuit.kinds[layer][head], *cells])
    return out.getvalue()


def verdict(circuit: Circuit) -> str:
    """The circuit in one or two sentences: the strongest path, and what goes through the other inputs."""
    strongest = None
    for receiver in circuit.receivers:
        if receiver.paths is None or "k" not in receiver.paths.effects:
            continue
        for layer, head, effect in receiver.paths.ranked("k")[:1]:
            if strongest is None or effect > strongest[3]:
                strongest = (receiver.paths, layer, head, effect)
    if strongest is None:
        return _composition_in_words(circuit)
    paths, layer, head, effect = strongest
    receiver, kind = head_name((paths.layer, paths.head)), KINDS[circuit.kinds[layer][head]]
    text = (
        f"{head_name((layer, head))} ({kind.title.lower()}) feeds {receiver} through its keys: its change alone moves "
        f"{receiver}'s attention to the target by {effect:+.2f} ({paths.corrupted['attention']:.2f} in the corrupted "
        f"runs, {paths.clean['attention']:.2f} in the clean ones)."
    )
    if "q" in paths.effects:
        most = max(abs(value) for _, _, value in _ranked(paths.effects["q"]["attention"].mean))
        text += f" Through its queries no head moves it by more than {most:.2f}."
    return text


def _composition_in_words(circuit: Circuit) -> str:
    composed = [
        (value, (layer, head), receiver.composition)
        for receiver in circuit.receivers
        if receiver.composition and "k" in receiver.composition.measured
        for layer, head, value in _ranked(receiver.composition.measured["k"])[:1]
    ]
    if not composed and "composition" in circuit.refused:
        return "What feeds the induction heads of this model cannot be said."
    if not composed:
        return "No circuit: no induction head, or none that an earlier head could feed through its keys."
    value, (layer, head), composition = max(composed, key=lambda item: item[0])
    kind = KINDS[circuit.kinds[layer][head]].title.lower()
    return (
        f"By its weights, {head_name((layer, head))} ({kind}) composes most with "
        f"{head_name((composition.layer, composition.head))} through keys: {value:.4f}, random heads "
        f"{composition.baseline:.4f}. Composition is a hint; path patching tests whether one feeds the other."
    )


def to_text(circuit: Circuit, *, top: int = 5) -> str:
    """A table for the terminal: the heads by kind, and the strongest feeders of each receiver."""
    lines = [
        f"{circuit.model}: {circuit.origin}",
        circuit.protocol,
        verdict(circuit),
        *circuit.refusals(),
        "",
    ]
    for kind in KINDS.values():
        heads = circuit.of_kind(kind.name)
        if heads and kind.score:
            lines.append(f"{kind.title} ({kind.rule}): {' '.join(map(head_name, heads))}")
    for receiver in circuit.receivers:
        layer, head = receiver.layer, receiver.head
        lines += [
            "",
            f"{receiver.name}  {KINDS[circuit.kinds[layer][head]].title}, induction score "
            f"{circuit.scores['induction'][layer][head]:.2f}"
            + (
                "" if circuit.direct is None else f", direct effect {circuit.direct[layer][head]:+.2f} logits"
            ),
        ]
        if receiver.copying:
            lines.append(
                f"  copying: top-1 {receiver.copying.top1:.2f}, top-5 {receiver.copying.top5:.2f}, "
                f"eigenvalue score {receiver.copying.eigenvalue:+.2f}"
            )
        if receiver.paths is None or receiver.composition is None:
            lines.append("  first layer: nothing feeds it")
            continue
        clean, corrupted = receiver.paths.clean["attention"], receiver.paths.corrupted["attention"]
        lines.append(f"  attention to the target: clean {clean:.2f}, corrupted {corrupted:.2f}")
        if caveats := receiver.paths.caveats():
            lines.append(f"  answer: {caveats}")
        lines.append("  through  sender  attention  answer  composition  sender is")
        for through, effects in receiver.paths.effects.items():
            shown = sorted(_ranked(effects["attention"].mean), key=lambda item: -abs(item[2]))
            if through == "v":  # values move the answer alone
                shown = sorted(_ranked(effects["answer"].mean), key=lambda item: -abs(item[2]))
            for sender, index, _ in shown[: top if through == "k" else 2]:
                attention, answer = (effects[measure].mean[sender][index] for measure in MEASURES)
                lines.append(
                    f"  {INPUTS[through].title.lower():7}  {head_name((sender, index)):6}"
                    f"  {'-' if attention is None else signed(attention):>9}"
                    f"  {'-' if answer is None else signed(answer):>6}"
                    f"  {receiver.composition.measured[through][sender][index]:11.3f}"
                    f"  {KINDS[circuit.kinds[sender][index]].title.lower()}"
                )
        base = receiver.composition
        lines.append(f"  random composition {base.baseline:.3f} ± {base.baseline_deviation:.3f}")
    return "\n".join(lines)


def signed(value: float, digits: int = 3) -> str:
    """A number with its sign, never -0.000."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def bundled_names() -> list[str]:
    """Models whose circuit comes with the package."""
    return list(_all_bundled())


@cache
def _all_bundled() -> dict[str, Circuit]:
    return {circuit.model: circuit for circuit in read_folder(FOLDER, from_json)}


def bundled(name: str) -> Circuit:
    """A circuit that comes with the package.

    Raises:
        InputError: no such bundled circuit.
    """
    if name not in _all_bundled():
        raise InputError(
            f"No bundled circuit for '{name}'; there are {', '.join(bundled_names()) or 'none'}."
        )
    return _all_bundled()[name]


@cache
def _published(name: str) -> dict[str, Any]:
    return json.loads((COMPOSITION / f"{name}.json").read_text(encoding="utf-8"))


def published_names() -> list[str]:
    """Models whose composition comes with the package, from published weights."""
    return sorted(path.stem for path in COMPOSITION.glob("*.json"))


def published_composition(name: str, layer: int, head: int) -> Composition:
    """K-composition into one head from published weights, as it comes with the package (``gpt2``).

    Raises:
        InputError: nothing is bundled for that model, or the head is in the first layer or does not exist.
    """
    if name not in published_names():
        known = ", ".join(published_names())
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


PUBLISHED_RECEIVERS = 6


@cache
def published_circuit(name: str) -> Circuit:
    """What published figures alone tell of a model's circuit: kinds of heads and K-composition, no paths.

    Raises:
        InputError: no composition of that model comes with the package.
    """
    published_composition(name, 1, 0)  # says what there is
    scan = published_scan(name)
    direct = bundled_patching(f"{slug(name)}-ioi-attribution")
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
            Receiver(*head, composition=published_composition(name, *head))
            for head in heads[:PUBLISHED_RECEIVERS]
        ],
        example=None,
        kind="published",
    )
