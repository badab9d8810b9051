"""Scan's evidence in three steps, found, looks and needed, and what removing one head does.

HTML of the project's own words and numbers; whatever else goes into it has passed ``html.escape``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from statistics import fmean
from urllib.parse import urlencode

from induction.analysis import reading
from induction.analysis.reading import selection
from induction.analysis.result import Scan
from induction.base import Head, head_name
from induction.patching.experiments import AblationSettings
from induction.patching.results import HeadSets, Measure
from induction.results import EXAMPLES
from induction.ui import runs
from induction.ui.names import needs
from induction.ui.terms import explained
from induction.viz.attention import largest, picture

AFTER = "second_copy_loss"
PIXELS = 40  # of the picture of an attention pattern, at most
LOSS = "Loss on the second copy, in nats"
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
        control = [] if self.random is None else [(f"without {_count(len(self.heads))}", self.random)]
        return [(f"without {label}", self.measure.edited), *control]


def removal(model: str, heads: Sequence[str]) -> Removal | None:
    """What is known of a model without these heads, from a live run that is kept or from what is bundled."""
    found = runs.shown("ablation", model, AblationSettings(heads=",".join(heads))) if heads else None
    if not isinstance(found, HeadSets) or AFTER not in found.sets[0].measures:
        return None
    return Removal(tuple(heads), found.sets[0].measures[AFTER])


def names(heads: Sequence[Head]) -> list[str]:
    return [head_name(head) for head in heads]


def _count(n: int) -> str:
    return f"{n} random head{'s' * (n > 1)}"


def needed(scan: Scan, together: Removal | None, alone: Removal | None) -> str:
    """The third step in words: the loss without the induction heads, against random heads and one of them alone."""
    n = selection(scan).passed if "induction" in scan.scores else 0
    if not n:
        return f"There is no induction head to remove. {reading.used(scan)}".strip()
    these = "this head" if n == 1 else f"these {n} heads"
    if together is None:
        controls = f"against {_count(n)} of the same layer{'s' * (n > 1)}"
        return f"Not measured yet ({needs(scan.model)}): Patching removes {these}, {controls}."
    one = together.measure
    text = f"Without {these}, loss on the second copy goes from {one.baseline:.2f} to {one.edited:.2f} nats"
    others = [] if together.random is None else [f"without {_count(n)} to {together.random:.2f}"]
    if alone is not None and n > 1:
        others.append(f"without {alone.heads[0]} alone to {alone.measure.edited:.2f}")
    told = f"{text}; {', '.join(others)}" if others else text
    return f"{told}: the others do its work." if alone and together.hides(alone) else f"{told}."


def knocked_out(scan: Scan | None, model: str, head: str) -> str:
    """What the head card says of a model without the head, alone and with the other induction heads."""
    heads = [] if scan is None else names(reading.passing(scan))
    alone = removal(model, [head])
    wanted = [*heads, head] if head not in heads else heads
    together = removal(model, wanted)
    rows = [("intact", one.measure.baseline) for one in (alone, together) if one][:1]
    if alone:
        rows += alone.bars(f"{head} alone")
    if together and len(together.heads) > 1:
        rows += _beside(model, head, heads, together)
    said = ""
    if not rows:
        said = f"Not measured yet ({needs(model)}): Patching removes it, alone or in a set, against random heads."
    elif alone and together and head in heads and together.hides(alone):
        said = f"Alone, {head} seems useless: the other induction heads do its work until they are gone too."
    table = bars(rows, LOSS)
    link = go(
        "Test it in Patching",
        model,
        tab="patching",
        together="ablate",
        heads=",".join(wanted),
        head=head,
    )
    return (
        f"<div class='ih-knock'><div class='ih-bar-line'><h3>Knock it out</h3>{link}</div>"
        f"{table}<p>{escape(said)}</p></div>"
    )


def _beside(model: str, head: str, heads: list[str], together: Removal) -> list[tuple[str, float]]:
    """The rows of a head that is removed with all induction heads; one that is none is held against these alone."""
    if head in heads:
        return together.bars(f"all {len(heads)} induction heads")
    without = removal(model, heads)
    all_heads = f"{len(heads)} induction head{'s' * (len(heads) > 1)}"
    return [*(without.bars(all_heads)[:1] if without else []), *together.bars(f"these and {head}")]


# -- the three steps -----------------------------------------------------------------------------------------


def steps(scan: Scan) -> str:
    """Found, looks, needed: each a sentence with its number and what it is held against, and the way to its proof."""
    heads, model = names(reading.passing(scan)), scan.model
    together, alone = removal(model, heads), removal(model, heads[:1])
    leader = names(
        [scan.ranked("induction" if "induction" in scan.scores else next(iter(scan.scores)))[0][:2]]
    )[0]
    proof = "Test it in Patching" if together else "Measure it in Patching"
    ways = (
        "<a class='ih-go' href='#ranking'>See the ranking</a>",
        go("See it in Attention", model, tab="attention", head=leader),
        go(proof, model, tab="patching", together="ablate", heads=",".join(heads), head=leader)
        if heads
        else "",
    )
    texts = (reading.found(scan), reading.looks(scan), needed(scan, together, alone))
    drawn = (
        _strip(scan),
        _seen(scan, *scan.ranked()[0][:2]) if "induction" in scan.scores else "",
        _needed(together, alone),
    )
    found = "".join(
        f"<section class='ih-step'><div class='ih-bar-line'><h3>{number}. {title}</h3>{way}</div>"
        f"<p>{explained(text)}</p>{figure}</section>"
        for number, (title, way, text, figure) in enumerate(zip(TITLES, ways, texts, drawn, strict=True), 1)
    )
    return (
        f"<div class='ih-steps ih-rove' role='toolbar' aria-label='The evidence in three steps'>{found}</div>"
    )


def _needed(together: Removal | None, alone: Removal | None) -> str:
    if together is None:
        return ""
    rows = [("intact", together.measure.baseline)]
    if alone is not None and len(together.heads) > 1:
        rows += alone.bars(f"{alone.heads[0]} alone")[:1]
    n = len(together.heads)
    return bars([*rows, *together.bars(f"all {n}" if n > 1 else together.heads[0])], LOSS)


def _strip(scan: Scan) -> str:
    """All heads on one line from 0 to 1, with the threshold and chance."""
    if "induction" not in scan.scores:
        return ""
    picked, chance = selection(scan), scan.scores["induction"].chance
    places = sorted({round(100 * min(max(value, 0), 1)) for _, _, value in scan.ranked()})
    heads = "".join(f"<i style='left:{place}%'></i>" for place in places)
    marks = f"<b style='left:{picked.threshold:.1%}'></b>" + (
        "" if chance is None else f"<b style='left:{chance:.1%}'></b>"
    )
    words = f"All {picked.n_heads} heads from 0 to 1; lines: {picked.threshold:.2g}"
    words += "" if chance is None else " and chance"
    return (
        f"<div class='ih-caption'>{words}</div><div class='ih-strip' aria-hidden='true'>{heads}{marks}</div>"
    )


def _seen(scan: Scan, layer: int, head: int) -> str:
    """The stripe of a head where an example is bundled, and where else it looks."""
    image = ""
    if EXAMPLES.find(scan.model) is not None:
        source, words = _stripe(scan.model, layer, head)
        image = f"<img src='{source}' alt='{escape(words)}' title='{escape(words)}'>"
    return f"<div class='ih-seen'>{image}{bars(reading.targets(scan), 'Share of attention', most=1.0)}</div>"


@cache
def _stripe(model: str, layer: int, head: int) -> tuple[str, str]:
    """The picture of a bundled pattern, small and yet visible, and what it shows."""
    seen = EXAMPLES.get(model).attention()
    size = math.ceil(seen.n_tokens / PIXELS)
    words = f"Attention of head {layer}.{head}: {seen.protocol}; queries down, keys across"
    if size > 1:
        words += f", each pixel the largest of {size} × {size} weights"
    return picture(largest(seen.pattern(layer, head), size)), f"{words}."


def bars(rows: Sequence[tuple[str, float]], caption: str, most: float = 0.0) -> str:
    """Numbers as bars from 0 to ``most``, by default the largest, in a table; nothing for none."""
    if not rows:
        return ""
    most = most or max(value for _, value in rows) or 1.0
    lines = "".join(
        f"<tr><th scope='row'>{escape(label)}</th><td class='ih-bar-cell'><span class='ih-track'>"
        f"<span class='ih-bar' style='width:{max(value, 0) / most:.1%}'></span></span></td><td>{value:.2f}</td></tr>"
        for label, value in rows
    )
    return (
        f"<table class='ih-table ih-card-table ih-bars'><caption>{escape(caption)}</caption>{lines}</table>"
    )


def go(text: str, model: str, tab: str, head: str, **view: str) -> str:
    """A link to a view of the page, written as the page writes its address."""
    query = urlencode({"model": model, "tab": tab, "head": head, **view})
    return f"<a class='ih-go' href='?{escape(query)}'>{escape(text)}</a>"
