"""What a circuit is made of: kinds of heads, composition, copying, paths. No torch.

A value that is not defined is None, never zero and never NaN.
A grid over senders is ``[layer][head]`` of the layers before the receiving head.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field

from induction.analysis.kinds import KINDS
from induction.base import Gaps, Grid, Head, InputError, Number, Part, Result, check_shape, head_name
from induction.patching.interventions import METRICS, Declaration
from induction.patching.results import Bounded, Pair, all_gaps, caveats

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
FEEDING = 0.01  # an effect below it counts as none
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


class Composition(Part):
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
    baseline: Number
    baseline_deviation: Number
    seed: int | None = None


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

    mean: Gaps
    whole: Number | None
    not_better: list[int] = Field(default_factory=list)


class Paths(Part):
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
    clean: dict[str, Number]
    corrupted: dict[str, Number]
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
        return caveats(
            "logit_difference",
            METRICS["logit_difference"].floor,
            (self.clean["answer"], self.corrupted["answer"]),
            effect.not_better,
            undefined=all_gaps(effect.mean),
            unbounded=effect.low is not None and all_gaps(effect.low),
        )


class Copying(Part):
    """Whether a head raises the token it reads: its map from token read to logits written.

    Attributes:
        top1, top5: share of tokens whose own logit is the highest, among the five highest.
        eigenvalue: ``sum(lambda) / sum(|lambda|)`` of the map, -1 to 1 (Elhage et al. 2021).
        n_tokens: tokens behind top1 and top5; the eigenvalue takes the whole vocabulary.
        definition: which embedding is read and how norms are handled.
    """

    top1: Number
    top5: Number
    eigenvalue: Number
    n_tokens: int
    definition: str


class Receiver(Part):
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


class Example(Part):
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


class Circuit(Result):
    """The heads of a model, what they are, and what feeds the receiving heads.

    Attributes:
        scores: attention scores by name ``[layer][head]``, as in a scan.
        direct: logits that each head itself adds to answer minus distractor ``[layer][head]``; None where refused.
        kinds: names of :data:`induction.analysis.kinds.KINDS`, ``[layer][head]``.
        receivers: the heads whose feeders were measured, strongest induction score first.
        kind: ``"computed"`` by this project, or ``"published"``: put together from published figures.
        refused: by name of :data:`QUANTITIES`, why this model has no such figures.
    """

    SCHEMA: ClassVar[str] = "induction-circuit/2"

    scan_protocol: str
    protocol: str
    scores: dict[str, Grid]
    direct: Grid | None
    kinds: list[list[str]]
    receivers: list[Receiver]
    example: Example | None
    pairs: list[Pair] = Field(default_factory=list)
    kind: Literal["computed", "published"] = "computed"
    refused: dict[str, str] = Field(default_factory=dict)

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

    def verdict(self) -> str:
        """The circuit through keys, in one or two sentences."""
        return self.finding()

    def finding(self, through: str = "k", measure: str = "attention") -> str:
        """The strongest path through one input on one measure, in one or two sentences.

        Args:
            through: of :data:`INPUTS`.
            measure: of :data:`MEASURES`.
        """
        strongest: tuple[Paths, Head, float] | None = None
        for receiver in self.receivers:
            if receiver.paths is None or through not in receiver.paths.effects:
                continue
            ranked = receiver.paths.ranked(through, measure)
            for layer, head, effect in sorted(ranked, key=lambda found: -abs(found[2]))[:1]:
                if strongest is None or abs(effect) > abs(strongest[2]):
                    strongest = (receiver.paths, (layer, head), effect)
        if strongest is None:
            return _composition_in_words(self, through)
        paths, sender, effect = strongest
        fed, inputs = head_name((paths.layer, paths.head)), INPUTS[through].title.lower()
        on_answer = measure == "answer"
        if abs(effect) < FEEDING:
            unmoved = "the answer" if on_answer else "attention to the target"
            return (
                f"Through {inputs} nothing arrives: no earlier head moves {unmoved} by {FEEDING:g} or more "
                f"(at most {signed(effect)}, {head_name(sender)} into {fed})."
            )
        kind = KINDS[self.kinds[sender[0]][sender[1]]].title.lower()
        moved = f"{fed}'s attention to the target by {effect:+.2f}"
        if on_answer:
            moved = f"the answer, by way of {fed}, by {effect:+.2f} of the logit difference"
        text = (
            f"{head_name(sender)} ({kind}) feeds {fed} through its {inputs}: its change alone moves {moved} "
            f"({paths.corrupted[measure]:.2f} in the corrupted runs, "
            f"{paths.clean[measure]:.2f} in the clean ones)."
        )
        others = paths.effects["q"][measure].mean if through == "k" and "q" in paths.effects else []
        most = max((abs(value) for _, _, value in _ranked(others)), default=None)
        return (
            text if most is None else f"{text} Through its queries no head moves it by more than {most:.2f}."
        )

    def heading(self) -> list[str]:
        return [f"{self.model}: {self.origin}", self.protocol]

    def listing(self, by: str = "", top: int = 5) -> Iterator[dict[str, Any]]:
        """The strongest feeders of each receiver, through its keys first of all; values move the answer alone."""
        for receiver in self.receivers:
            for through, effects in receiver.paths.effects.items() if receiver.paths else ():
                ranked = _ranked(effects["answer" if through == "v" else "attention"].mean)
                ranked.sort(key=lambda item: -abs(item[2]))
                for layer, head, _ in ranked[: top if through == "k" else 2]:
                    cells = {measure: effects[measure].mean[layer][head] for measure in MEASURES}
                    composed = (
                        receiver.composition.measured[through][layer][head] if receiver.composition else None
                    )
                    yield {
                        "receiver": receiver.name,
                        "through": INPUTS[through].title.lower(),
                        "sender": head_name((layer, head)),
                        **{name: "–" if value is None else signed(value) for name, value in cells.items()},
                        "composition": "–" if composed is None else f"{composed:.3f}",
                        "sender is": KINDS[self.kinds[layer][head]].title.lower(),
                    }

    def words(self, by: str = "") -> list[str]:
        """The verdict, what is not given, the heads by kind, and each receiver."""
        kinds = [
            f"{kind.title} ({kind.rule}): {' '.join(map(head_name, heads))}"
            for kind in KINDS.values()
            if kind.score and (heads := self.of_kind(kind.name))
        ]
        return [self.verdict(), *self.refusals(), *kinds, *map(self._receiver_in_words, self.receivers)]

    def _receiver_in_words(self, receiver: Receiver) -> str:
        layer, head = receiver.layer, receiver.head
        parts = [
            f"{receiver.name}: {KINDS[self.kinds[layer][head]].title.lower()}",
            f"induction score {self.scores['induction'][layer][head]:.2f}",
        ]
        if self.direct is not None:
            parts.append(f"direct effect {self.direct[layer][head]:+.2f} logits")
        if copied := receiver.copying:
            parts.append(f"copying: top-1 {copied.top1:.2f}, top-5 {copied.top5:.2f}")
            parts.append(f"eigenvalue score {copied.eigenvalue:+.2f}")
        if not layer:
            parts.append("first layer: nothing feeds it")
        if receiver.paths:
            clean, corrupted = (
                ends["attention"] for ends in (receiver.paths.clean, receiver.paths.corrupted)
            )
            parts.append(f"attention to the target: clean {clean:.2f}, corrupted {corrupted:.2f}")
        if base := receiver.composition:
            parts.append(f"random composition {base.baseline:.3f} ± {base.baseline_deviation:.3f}")
        caveats = receiver.paths.caveats() if receiver.paths else ""
        return f"{', '.join(parts)}. {caveats}".strip()

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per sender and receiver: composition, and the effect on both measures through each input."""
        for receiver in self.receivers:
            measured = receiver.composition.measured if receiver.composition else {}
            effects = receiver.paths.effects if receiver.paths else {}
            grids = {f"{through}_composition": measured.get(through) for through in INPUTS}
            for through in INPUTS:
                for measure in MEASURES:
                    effect = effects.get(through, {}).get(measure)
                    grids[f"{through}_to_{measure}"] = effect.mean if effect else None
            for layer in range(receiver.layer):
                for head in range(self.n_heads):
                    sender = {"sender": head_name((layer, head)), "sender_kind": self.kinds[layer][head]}
                    cells = {
                        name: None if grid is None else grid[layer][head] for name, grid in grids.items()
                    }
                    yield {"receiver": receiver.name, **sender, **cells}

    def check(self) -> None:
        if not QUANTITIES.keys() >= self.refused.keys():
            raise ValueError("an unknown quantity is refused")
        if "induction" not in self.scores:
            raise ValueError("no induction score")
        shape = (self.n_layers, self.n_heads)
        for grid in (self.kinds, self.direct, *self.scores.values()):
            check_shape("a score, direct effect or kind", grid, *shape)
        if any(kind not in KINDS for row in self.kinds for kind in row):
            raise ValueError("an unknown kind of head")
        if self.example:
            check_shape("step_back", self.example.step_back, *shape)
            check_shape("step_on", self.example.step_on, *shape)
        for receiver in self.receivers:
            if not (0 <= receiver.layer < self.n_layers and 0 <= receiver.head < self.n_heads):
                raise ValueError(f"no head {receiver.name}")
            _check_composition(receiver, self.n_heads)
            _check_paths(receiver, self.n_heads, len(self.pairs))


def _check_composition(receiver: Receiver, n_heads: int) -> None:
    composition = receiver.composition
    if composition is None:
        return
    inputs = (
        INPUTS if composition.kind == "computed" else {"k": None}
    )  # of published weights there are keys alone
    if composition.measured.keys() != inputs.keys():
        raise ValueError(f"composition with {receiver.name} lacks an input or has one too many")
    for grid in composition.measured.values():
        check_shape("composition", grid, receiver.layer, n_heads)


def _check_paths(receiver: Receiver, n_heads: int, n_pairs: int) -> None:
    paths = receiver.paths
    if paths is None:
        return
    if paths.mlps not in MLPS or not INPUTS.keys() >= paths.effects.keys():
        raise ValueError(
            f"paths into {receiver.name} treat MLPs in an unknown way or pass through an unknown input"
        )
    for measures in (paths.clean, paths.corrupted, *paths.effects.values()):
        if measures.keys() != MEASURES.keys():
            raise ValueError(f"paths into {receiver.name} lack a measure")
    for effect in (effect for measures in paths.effects.values() for effect in measures.values()):
        for grid in (effect.mean, effect.low, effect.high):
            check_shape("paths", grid, receiver.layer, n_heads)
        if not all(0 <= pair < n_pairs for pair in effect.not_better):
            raise ValueError(f"paths into {receiver.name} name a pair that there is not")


def _ranked(grid: Grid) -> list[tuple[int, int, float]]:
    heads = [
        (layer, head, value)
        for layer, row in enumerate(grid)
        for head, value in enumerate(row)
        if value is not None
    ]
    return sorted(heads, key=lambda item: -item[2])


def _composition_in_words(circuit: Circuit, through: str) -> str:
    there = [one.composition for one in circuit.receivers if one.composition]
    known, inputs = [one for one in there if through in one.measured], INPUTS[through].title.lower()
    if not there and "composition" in circuit.refused:
        return "What feeds the induction heads of this model cannot be said."
    if not there:
        return "No circuit: no induction head, or none that an earlier head could feed through its keys."
    if not known:
        return f"What reaches these heads through {inputs} was not measured here; choose another input."
    composed = [(_ranked(one.measured[through])[0], one) for one in known]
    (layer, head, value), composition = max(composed, key=lambda item: item[0][2])
    kind = KINDS[circuit.kinds[layer][head]].title.lower()
    return (
        f"By its weights, {head_name((layer, head))} ({kind}) composes most with "
        f"{head_name((composition.layer, composition.head))} through {inputs}: {value:.4f}, random heads "
        f"{composition.baseline:.4f}. Composition is a hint; path patching tests whether one feeds the other."
    )


def signed(value: float, digits: int = 3) -> str:
    """A number with its sign, never -0.000."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"
