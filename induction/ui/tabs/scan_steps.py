"""Scan's evidence in three steps, found, looks and needed, and what removing one head does.

HTML of the project's own words and numbers; whatever else goes into it has passed ``html.escape``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean
from urllib.parse import urlencode

from induction.analysis import reading
from induction.analysis.result import Scan
from induction.base import head_name
from induction.patching.experiments import AblationSettings
from induction.patching.results import HeadSets, Measure
from induction.ui import runs
from induction.ui.names import has, short_name

AFTER = "second_copy_loss"
NAMED = 4  # heads of a set that are named
SMALL = 0.1  # share of what a set does up to which a head of it seems to do nothing
TITLES = ("Found", "Looks", "Needed")


# -- what removing heads does --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Removal:
    """Heads that were removed together, and what came of the loss on the second copy."""

    heads: tuple[str, ...]
    measure: Measure

    @property
    def random(self) -> float | None:
        """The loss without random heads of the same layers, mean over the sets; None without any."""
        return self.measure.baseline + fmean(self.measure.random) if self.measure.random else None

    def hides(self, alone: Removal) -> bool:
        """Whether the heads together do what one of them alone does not show."""
        together, one = self.measure.effect or 0.0, alone.measure.effect or 0.0
        return len(self.heads) > 1 and together > reading.FALLS and one < SMALL * together

    def bars(self, label: str) -> list[tuple[str, float]]:
        """Of the heads and of their controls: words and loss."""
        control = (
            [] if self.random is None else [(f"{_count(len(self.heads))} of the same layers", self.random)]
        )
        return [(f"without {label}", self.measure.edited), *control]


def removal(model: str, heads: Sequence[str]) -> Removal | None:
    """What is known of a model without these heads, from a live run that is kept or from what is bundled."""
    found = runs.shown("ablation", model, AblationSettings(heads=",".join(heads))) if heads else None
    if not isinstance(found, HeadSets) or AFTER not in found.sets[0].measures:
        return None
    return Removal(tuple(heads), found.sets[0].measures[AFTER])


def _count(n: int) -> str:
    return f"{n} random head{'s' * (n > 1)}"


def in_words(heads: Sequence[str]) -> str:
    """``1.7``, or ``1.7, 1.2 and 1.6``, or how many."""
    if len(heads) > NAMED:
        return f"these {len(heads)} heads"
    return " and ".join(filter(None, [", ".join(heads[:-1]), heads[-1]]))


def needed(scan: Scan, together: Removal | None, alone: Removal | None) -> str:
    """The third step in words: the loss without the induction heads, against random heads and one of them alone."""
    heads = reading.induction_heads(scan)
    if not heads:
        return f"There is no induction head to remove. {reading.used(scan)}".strip()
    if together is None:
        return (
            f"Not measured for {short_name(scan.model)}: Patching removes {in_words(heads)} together, and as many "
            f"random heads of the same layers ({has(scan.model)})."
        )
    one = together.measure
    text = f"Without {in_words(heads)} the loss on the second copy goes from {one.baseline:.2f} to {one.edited:.2f} nats"
    if together.random is not None:
        text += f", without {_count(len(heads))} of the same layers to {together.random:.2f}"
    if alone is not None and len(heads) > 1:
        text += f"; without {heads[0]} alone to {alone.measure.edited:.2f}"
        text += ", as the others do its work" * together.hides(alone)
    return f"{text}."


def knocked_out(scan: Scan | None, model: str, head: str) -> str:
    """What the head card says of a model without the head, alone and with the other induction heads."""
    others = [] if scan is None else [name for name in reading.induction_heads(scan) if name != head]
    alone, together = removal(model, [head]), removal(model, [head, *others])
    if alone is None and together is None:
        said = f"Not measured for this head; Patching measures it ({has(model)})."
        return _knocked_out(f"<p>{escape(said)}</p>", model, [head])
    rows = [("intact", (alone or together).measure.baseline)]  # type: ignore[union-attr]
    rows += alone.bars(head) if alone else []
    if together and others:
        rows += together.bars(f"it and {_others(len(others))}")
    said = ""
    if alone and together and together.hides(alone):
        said = f"Alone, {head} seems useless: the other induction heads do its work until they are gone too."
    table = bars(rows, f"Loss on the second copy, in nats, without head {head}")
    return _knocked_out(f"{table}<p>{escape(said)}</p>", model, [head, *others])


def _others(n: int) -> str:
    return f"{n} other induction head{'s' * (n > 1)}" if n > 1 else "the other induction head"


def _knocked_out(body: str, model: str, heads: Sequence[str]) -> str:
    link = go("In Patching", model, tab="patching", together="ablate", heads=",".join(heads), head=heads[0])
    return f"<div class='ih-knock'><div class='ih-bar-line'><h3>Knock it out</h3>{link}</div>{body}</div>"


# -- the three steps -----------------------------------------------------------------------------------------


def steps(scan: Scan) -> str:
    """Found, looks, needed: each a sentence with its number and what it is held against, and the way to its proof."""
    heads, model = reading.induction_heads(scan), scan.model
    together, alone = removal(model, heads), removal(model, heads[:1])
    layer, head, _ = scan.ranked(next(iter(scan.scores)) if "induction" not in scan.scores else "induction")[
        0
    ]
    leader = head_name((layer, head))
    proof = "In Patching" if together else "Measure it"
    ways = (
        "<a class='ih-go' href='#ranking'>Ranking</a>",
        go("In Attention", model, tab="attention", head=leader),
        go(proof, model, tab="patching", together="ablate", heads=",".join(heads), head=leader)
        if heads
        else "",
    )
    texts = (reading.found(scan), reading.looks(scan), needed(scan, together, alone))
    figures = ("", "", _needed_bars(together, alone))
    found = "".join(
        f"<section class='ih-step'><div class='ih-bar-line'><h3>{number}. {title}</h3>{way}</div>"
        f"<p>{escape(text)}</p>{figure}</section>"
        for number, (title, way, text, figure) in enumerate(zip(TITLES, ways, texts, figures, strict=True), 1)
    )
    return (
        f"<div class='ih-steps ih-rove' role='toolbar' aria-label='The evidence in three steps'>{found}</div>"
    )


def _needed_bars(together: Removal | None, alone: Removal | None) -> str:
    if together is None:
        return ""
    rows = [("intact", together.measure.baseline)]
    if alone is not None and len(together.heads) > 1:
        rows.append((f"without {alone.heads[0]}", alone.measure.edited))
    label = f"all {len(together.heads)}" if len(together.heads) > 1 else together.heads[0]
    return bars([*rows, *together.bars(label)], "Loss on the second copy, in nats")


def bars(rows: Sequence[tuple[str, float]], caption: str) -> str:
    """Numbers as bars from 0 to the largest, in a table."""
    most = max(value for _, value in rows) or 1.0
    lines = "".join(
        f"<tr><th scope='row'>{escape(label)}</th><td class='ih-bar-cell'><span class='ih-track'>"
        f"<span class='ih-bar' style='width:{max(value, 0) / most:.1%}'></span></span></td><td>{value:.2f}</td></tr>"
        for label, value in rows
    )
    return (
        f"<table class='ih-table ih-card-table ih-bars'><caption>{escape(caption)}</caption>{lines}</table>"
    )


def go(text: str, model: str, **view: str) -> str:
    """A link to a view of the page."""
    return f"<a class='ih-go' href='?{escape(urlencode({'model': model, **view}, safe=',/'))}'>{escape(text)}</a>"
