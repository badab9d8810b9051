"""What a scan says: its verdict, its leader as the pick of many heads, and what a score must not be mistaken for.

Every sentence is made from stored numbers, so a page, the command line and whoever reads a result later say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from induction.analysis.kinds import STRIPE
from induction.analysis.scores import SCORES
from induction.base import Head, expected_passes, head_name, mean_interval

if TYPE_CHECKING:
    from induction.analysis.result import HeadScores, Scan

FALLS = 0.5  # nats of in-context gain from which on the loss is said to fall
#: Where a head looks, by the score that measures it.
TARGETS = {
    "induction": "token after the copy",
    "duplicate_token": "the copy itself",
    "previous_token": "token before",
}
SHOWN = 0.005  # what two decimals show: less than that is no difference worth a sentence


@dataclass(frozen=True)
class Selection:
    """The leader of a ranking as what it is, the highest of many.

    ``threshold`` is in units of the score: :data:`induction.analysis.kinds.STRIPE` of the prompts' ceiling. ``low`` and
    ``high`` are the leader's 95 % interval with the pick allowed for (Bonferroni among ``n_heads``), ``expected`` is
    how many heads would reach the threshold by chance, each with its own spread between prompts. These three are None
    where fewer than two prompts are on hand.
    """

    score: str
    layer: int
    head: int
    mean: float
    n_heads: int
    threshold: float
    passed: int
    low: float | None = None
    high: float | None = None
    expected: float | None = None

    @property
    def leader(self) -> str:
        return f"{self.layer}.{self.head}"

    def __str__(self) -> str:
        picked = f"{self.leader} was picked as the highest of {self.n_heads} heads"
        if self.low is None or self.high is None:
            return f"{picked}; an interval that allows for the pick is not known."
        text = f"{picked}; allowing for the pick, its 95 % interval is {self.low:.2f} to {self.high:.2f}."
        if self.expected is None:
            return text
        expected = "fewer than 0.01" if self.expected < 0.01 else f"{self.expected:.2f}"
        reach = "head reaches" if self.passed == 1 else "heads reach"
        return f"{text} {self.passed} {reach} {self.threshold:.2g} (expected by chance: {expected})."


def selection(scan: Scan, score: str = "induction", threshold: float = STRIPE) -> Selection:
    """The leader of a score, read as the pick of many.

    Args:
        threshold: share of the ceiling.

    Raises:
        InputError: the score was not measured.
    """
    ranked = scan.ranked(score)
    layer, head, mean = ranked[0]
    measured = scan.scores[score]
    mark = threshold * (1.0 if measured.ceiling is None else measured.ceiling)
    low = high = expected = None
    if measured.per_prompt and len(measured.per_prompt) > 1:
        values = np.array(measured.per_prompt)  # [prompt, layer, head]
        most = np.inf if measured.ceiling is None else measured.ceiling
        stratified = SCORES[score].varied
        bounds = mean_interval(values[:, layer, head], among=len(ranked), stratified=stratified)
        low, high = (float(np.clip(bound, 0, most)) for bound in bounds)
        if measured.chance is not None:
            expected = expected_passes(values, measured.chance, mark)
    passed = sum(value >= mark for _, _, value in ranked)
    return Selection(score, layer, head, mean, len(ranked), mark, passed, low, high, expected)


def passing(scan: Scan, score: str = "induction") -> list[Head]:
    """The heads that reach the threshold of a score, highest first; none where it was not measured."""
    if score not in scan.scores:
        return []
    return [(layer, head) for layer, head, _ in scan.ranked(score)[: selection(scan, score).passed]]


def verdict(scan: Scan, threshold: float = STRIPE) -> str:
    """The scan in one sentence: how many heads do it, against which chance, and whether the model uses it.

    Args:
        threshold: share of the ceiling from which on a head counts.
    """
    parts = _found(scan, selection(scan, "induction", threshold)) if "induction" in scan.scores else []
    return _sentence([*parts, *_used(scan)] or _measured(scan))


def found(scan: Scan) -> str:
    """Only how many heads do it, against which chance."""
    return _sentence(_found(scan, selection(scan)) if "induction" in scan.scores else _measured(scan))


def used(scan: Scan) -> str:
    """Only whether the model uses it; empty where no loss was measured."""
    return _sentence(_used(scan))


def looks(scan: Scan) -> str:
    """Where the strongest induction head looks, against attention that is spread evenly; empty without scores."""
    if "induction" not in scan.scores:
        return ""
    layer, head, value = scan.ranked()[0]
    chance = scan.scores["induction"].chance
    even = "" if chance is None else f"; chance {chance:.3f}"
    text = f"head {head_name((layer, head))} puts {value:.2f} of its attention on the token after the earlier copy"
    return _sentence([f"{text}{even}"])


def targets(scan: Scan) -> list[tuple[str, float]]:
    """Where the strongest induction head looks and could look instead: the place and the share of its attention."""
    if "induction" not in scan.scores:
        return []
    layer, head, _ = scan.ranked()[0]
    there = {name: place for name, place in TARGETS.items() if name in scan.scores}
    return [(place, scan.scores[name].mean[layer][head]) for name, place in there.items()]


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _measured(scan: Scan) -> list[str]:
    return [f"measured: {', '.join(SCORES[name].title for name in scan.scores)}"]


def _used(scan: Scan) -> list[str]:
    if scan.loss is None:
        return []
    change = "falls" if scan.loss.gain > FALLS else "goes"
    return [
        f"loss {change} from {scan.loss.first_mean:.2f} nats on the first copy "
        f"to {scan.loss.second_mean:.2f} on the second"
    ]


def _found(scan: Scan, picked: Selection) -> list[str]:
    measured = scan.scores[picked.score]
    if measured.reach and max(measured.reach) == 0:
        return ["no layer sees far enough back for induction on these prompts"]
    if picked.passed:
        heads = f"{picked.passed} head{'s' * (picked.passed > 1)} above {picked.threshold:.2g}"
        parts = [f"{heads}, led by {picked.leader} ({picked.mean:.2f})"]
    else:
        parts = [f"no induction head: the highest score is {picked.mean:.2f} ({picked.leader})"]
    if measured.capped:
        parts.append(
            f"ceiling {measured.capped:.2f}, of which {picked.leader} has {picked.mean / measured.capped:.2f}"
        )
    if measured.chance is not None:
        parts.append(f"chance {measured.chance:.3f}")
    return parts


def remarks(scan: Scan, *scores: str) -> list[str]:
    """What has to be known before a score of this scan is believed, a sentence each; empty where there is nothing.

    Args:
        scores: only the remarks on these; default all that were measured.
    """
    names = [name for name in dict.fromkeys(scores or scan.scores) if name in scan.scores]
    return [text for name in names for text in _remarks(SCORES[name].title, scan.scores[name])]


def _remarks(title: str, measured: HeadScores) -> list[str]:
    ceiling = 1.0 if measured.ceiling is None else measured.ceiling
    found = []
    if measured.capped:
        found.append(
            f"{title}: several cells share a row here, and a row sums to 1, so no head can score above "
            f"{measured.capped:.2f}; read scores as shares of that."
        )
    reach = measured.reach or []
    blind = [layer for layer, most in enumerate(reach) if most < SHOWN]
    short = [layer for layer, most in enumerate(reach) if SHOWN <= most < ceiling - SHOWN]
    if blind:
        found.append(
            f"{title}: {_layers(blind, len(reach))} cannot see these cells (every head gives them exactly 0, as behind "
            "a sliding window), so a 0 there says nothing, and chance and ceiling do not apply."
        )
    if short:
        most = max(reach[layer] for layer in short)
        found.append(
            f"{title}: {_layers(short, len(reach))} cannot see all of these cells (every head gives the others exactly "
            f"0, as behind a sliding window), so no head there can score above {most:.2f}."
        )
    mimics = dict(measured.mimics or {})
    if "previous_token" in mimics:
        mimics.pop("1 back", None)  # the same head
    for what, value in mimics.items():
        if value >= STRIPE * ceiling:
            found.append(
                f"{title}: a {_mimic(what)} would score {value:.2f} here as well; longer repeats of several "
                "lengths tell the two apart."
            )
    return found


def _mimic(what: str) -> str:
    if what in SCORES:
        return f"perfect {SCORES[what].title.lower()} head"
    return f"head that always looks {what.removesuffix(' back')} tokens back"


def _layers(layers: Sequence[int], of: int) -> str:
    if len(layers) == of:
        return "all layers" if of > 1 else "the only layer"
    return f"layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}"
