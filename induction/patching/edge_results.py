"""What attention knockout found: edges of heads removed, beside the heads themselves, without torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Annotated, Any, ClassVar

from pydantic import Field

from induction.base import InputError, Number, check_shape
from induction.patching.interventions import LOSSES, METRICS, WHEN, Declaration
from induction.patching.results import HeadSet, HeadSets, Measure, average_in_words

Edge = tuple[int, int]  # (query, key), positions of a prompt counted from 0
LOSS = "second_copy_loss"
INDUCTION = "induction"  # the edges where induction would look


def parse_edges(text: str) -> frozenset[Edge]:
    """Read ``5>2, 7>3``: position 5 does not look at position 2, nor 7 at 3.

    Raises:
        InputError: no edge, not of this form, or one that looks ahead.
    """
    parts = [part for part in re.split(r"[,;\s]+", re.sub(r"\s*>\s*", ">", text.strip())) if part]
    if not parts:
        raise InputError("Name at least one edge as query>key, for example 5>2.")
    found = set()
    for part in parts:
        match = re.fullmatch(r"(?a:(\d{1,6})>(\d{1,6}))", part)
        if not match:
            raise InputError(f"'{part}' is not an edge; write query>key by position, for example 5>2.")
        query, key = int(match[1]), int(match[2])
        if key > query:
            raise InputError(
                f"Position {query} cannot look ahead at {key}; write the later position first, {key}>{query}."
            )
        found.add((query, key))
    return frozenset(found)


class EdgeMeasure(Measure):
    """One measure of one set of heads without their edges; its random sets are other heads without the same edges.

    Attributes:
        edges: effect of each random choice of as many edges of the same heads.
        above_edges: share of those with a smaller effect, 0..100, ties counted half; None where there are none.
        removed: the heads removed altogether (mean ablation), over the same prompts.
        share: effect as a share of that, with its 95 % interval (Fieller) over prompts; None where the prompts do not
            tell that from 0.
    """

    edges: list[Number] = Field(default_factory=list)
    above_edges: Number | None = None
    removed: Measure | None = None
    share: Number | None = None
    share_low: Number | None = None
    share_high: Number | None = None


class EdgeSet(HeadSet):
    measures: dict[str, EdgeMeasure]


class EdgeKnockout(HeadSets):
    """Heads that lost some of their attention edges together, all else unchanged.

    Attributes:
        intervention: a name of :data:`induction.patching.interventions.WHEN`.
        edges: those a reader marked, as ``[query, key]``; none: where induction would look.
        n_edges: how many edges each head loses, by prompt of :attr:`pairs`.
    """

    TYPE: ClassVar[str] = "edge_knockout"
    KNOWN: ClassVar[Mapping[str, Declaration]] = WHEN

    sets: Annotated[list[EdgeSet], Field(min_length=1)]
    edges: list[list[int]] = Field(default_factory=list)
    n_edges: list[int] = Field(default_factory=list)

    @property
    def which(self) -> str:
        """The edges in words."""
        if not self.edges:
            return "the attention to where induction looks"
        named = [f"{query}>{key}" for query, key in self.edges[:8]]
        return f"the attention {', '.join(named)}{', …' if len(self.edges) > len(named) else ''}"

    def heading(self) -> list[str]:
        first = f"{self.model}: attention knockout {WHEN[self.intervention].title.lower()}, {self.which}"
        lines = [first, self.protocol]
        return lines if len(self.sets) > 1 else [*lines, f"{self.sets[0].label}: {self.sets[0].names}"]

    def listing(self, by: str = "", top: int = 10) -> Iterator[dict[str, Any]]:
        """As of other sets; of one set also random edges and the heads removed."""
        listed = list(super().listing(by, top))
        if len(self.sets) > 1:
            yield from listed
            return
        for row, one in zip(listed, self.sets[0].measures.values(), strict=True):
            removed = one.removed.shown if one.removed else "–"
            edges = {"random edges": average_in_words(one.edges)} if one.edges else {}
            yield {**row, **edges, "heads removed": removed}

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per set and measure."""
        measures = [one for head_set in self.sets for one in head_set.measures.values()]
        for row, one in zip(super().rows(), measures, strict=True):
            yield {
                **row,
                "random_heads": _mean(one.random),
                "random_edges": _mean(one.edges),
                "percentile_edges": one.above_edges,
                "removed": one.removed and one.removed.effect,
                "removed_low": one.removed and one.removed.low,
                "removed_high": one.removed and one.removed.high,
                "share": one.share,
                "share_low": one.share_low,
                "share_high": one.share_high,
            }

    def leading(self, metric: str = "logit_difference") -> str:
        """The measure that is spoken of and drawn: the loss on the second copy, or a metric where there is none."""
        return LOSS if LOSS in self.sets[-1].measures else metric

    def verdict(self, metric: str = "logit_difference") -> str:
        """What the last set loses with its edges, beside both controls and beside what removing its heads does."""
        last, name = self.sets[-1], self.leading(metric)
        if name not in last.measures:
            return super().verdict(metric)
        one, unit = last.measures[name], (METRICS | LOSSES)[name].unit
        heads = f"these {len(last.heads)} heads" if len(last.heads) > 1 else f"head {last.names}"
        text = f"Without {self.which} in {heads}, {_phrase(name)} goes from {one.baseline:.2f} to {one.edited:.2f}"
        if name == LOSS:
            first = last.measures["first_copy_loss"]
            text += f" {unit}, on the first from {first.baseline:.2f} to {first.edited:.2f}"
        said = [f"{text}.", self._beside(one), _against(one)]
        if self.n_edges and not any(self.n_edges):
            said.append("No prompt has such an edge, so its answer stays as it is.")
        return self._of_the_task(" ".join(part for part in said if part))

    def _beside(self, one: EdgeMeasure) -> str:
        if one.removed is None:
            return ""
        whole = f"Removing the heads altogether: {one.removed.edited:.2f}"
        if one.share is None:
            return f"{whole}."
        ends = (
            ""
            if one.share_low is None
            else f" (95 % interval {100 * one.share_low:.0f} to {100 * one.share_high:.0f} %)"
        )
        return f"{whole}; the edges do {100 * one.share:.0f} % of that{ends}."

    def check(self) -> None:
        super().check()
        check_shape("edges", self.edges, len(self.edges), 2)
        if any(not 0 <= key <= query for query, key in self.edges):
            raise ValueError("an edge that looks ahead")
        if len(self.n_edges) != len(self.pairs) or any(count < 0 for count in self.n_edges):
            raise ValueError("edges are counted once for each pair")
        for head_set in self.sets:
            for name, one in head_set.measures.items():
                if bool(one.edges) != (one.above_edges is not None):
                    raise ValueError(f"{name}: a percentile comes with random edges")
                if (one.share_low is None) != (one.share_high is None):
                    raise ValueError(f"{name}: an interval has two ends")
                if one.share is not None and one.removed is None:
                    raise ValueError(f"{name}: a share of nothing")


def _mean(values: list[float]) -> float | None:
    return fmean(values) if values else None


def _phrase(name: str) -> str:
    return "the loss on the second copy" if name == LOSS else f"the {METRICS[name].title.lower()}"


def _against(one: EdgeMeasure) -> str:
    """Both controls."""
    controls = (
        ("The same edges of random heads of the same layers, as many,", one.random, one.percentile),
        ("As many random edges of the same heads", one.edges, one.above_edges),
    )
    said = [
        f"{what} change it by {average_in_words(random, 2)} on average; this set lies above {above:.0f} % of them"
        for what, random, above in controls
        if random and above is not None
    ]
    return " ".join(f"{one}." for one in said)
