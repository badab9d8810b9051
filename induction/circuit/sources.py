"""The split of a head's score by what stands at the query and at the key, as a result. No torch.

Every term is in units of the score before the softmax, and relative: less its mean over the keys that the query sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from induction.base import Gaps, Grid, InputError, Number, Part, Result, check_shape, head_name
from induction.circuit.results import signed

EMBEDDING, POSITIONS, BIASES, DISTANCE = "embedding", "positions", "biases", "distance"
BOTH, REST = "embedding and positions", "the rest"
NAMED = 0.05  # share of the whole from which on a term is worth a sentence


def mlp_source(layer: int) -> str:
    return f"MLP {layer}"


def said(source: str) -> str:
    """A source in a sentence: ``what 0.2 wrote``."""
    if source.replace(".", "").isdigit():
        return f"what head {source} wrote"
    return f"what {source} wrote" if source.startswith("MLP") else f"the {source.removeprefix('the ')}"


class Margin(Part):
    """All terms of one source at one side together.

    Attributes:
        low, high: 95 % interval over prompts, None with one prompt.
        control: the same at the control cell.
    """

    source: str
    value: Number
    low: Number | None = None
    high: Number | None = None
    control: Number


class Looking(Result):
    """Why a head looks from a query to a key.

    Attributes:
        query, key: the cell in words, as ``12 '·A'``.
        query_sources, key_sources: names in the model's order; the largest, and "the rest" where there are more.
        terms: mean over prompts ``[query source][key source]``, relative; sums to ``total``. ``low``, ``high``: 95 %
            interval over prompts, None with one prompt.
        control: the same at the control cell, which ``control_is`` says in words; sums to ``control_total``.
        by_query, by_key: sums of the rows and columns of ``terms``.
        raw: the terms themselves, not relative, ``[query source][key source]``.
        score: the model's own score of the cell, of which ``raw`` sums to ``raw_total``.
        error: the largest difference between a sum of terms and the model's own score.
        up_to_row: whether the model shows its scores only up to one number per query.
        cap: soft cap that scores pass after what is split here.
        n_sources: before the small ones were put together.
    """

    SCHEMA: ClassVar[str] = "induction-looking/1"

    protocol: str
    layer: int
    head: int
    query: str
    key: str
    query_sources: list[str]
    key_sources: list[str]
    terms: Grid
    low: Gaps | None
    high: Gaps | None
    control: Grid
    control_is: str
    total: Number
    control_total: Number
    raw: Grid
    raw_total: Number
    score: Number
    error: Number
    by_query: list[Margin]
    by_key: list[Margin]
    attention: Number
    n_prompts: int
    n_sources: int
    up_to_row: bool
    cap: Number | None

    @property
    def name(self) -> str:
        return head_name((self.layer, self.head))

    def check(self) -> None:
        shape = (len(self.query_sources), len(self.key_sources))
        if not all(shape):
            raise ValueError("no sources")
        for grid in (self.terms, self.control, self.raw):
            check_shape("terms", grid, *shape)
        for bound in (self.low, self.high):
            check_shape("an interval", bound, *shape)
        for sources, margins in ((self.query_sources, self.by_query), (self.key_sources, self.by_key)):
            if [margin.source for margin in margins] != sources:
                raise ValueError("sums are not of the sources")

    def ranked(self) -> list[tuple[str, str, float, float]]:
        """Query source, key source, term and the same at the control; largest first, "the rest" left out."""
        cells = [
            (by_query, by_key, self.terms[i][j], self.control[i][j])
            for i, by_query in enumerate(self.query_sources)
            for j, by_key in enumerate(self.key_sources)
            if REST not in (by_query, by_key)
        ]
        return sorted(cells, key=lambda cell: -abs(cell[2]))

    def margin(self, side: str, source: str) -> Margin:
        """
        Raises:
            InputError: no such source stands there, or it is among the rest.
        """
        margins = self.by_query if side == "query" else self.by_key
        for margin in margins:
            if margin.source == source:
                return margin
        raise InputError(
            f"There is no source '{source}' here; choose one of {', '.join(m.source for m in margins)}."
        )

    def verdict(self) -> str:
        """The strongest source at the key, what at the query meets it, and the control."""
        opening = f"Head {self.name} looks from {self.query} to {self.key}"
        if self.total <= 0:
            return (
                f"Head {self.name} does not favour {self.key} at {self.query}: its score there is "
                f"{signed(self.total, 2)} against the mean key."
            )
        key = _largest(self.by_key)
        if key is None or key.value < NAMED * self.total:
            return (
                f"{opening}, and no single source explains it: {signed(self.total, 2)} against the mean key."
            )
        met = self._meeting(key.source)
        second = _largest([one for one in self.by_key if one is not key])
        more = ""
        if second is not None and second.value >= NAMED * self.total:
            more = f" Next at the key: {said(second.source)}, {signed(second.value, 2)}."
        return (
            f"{opening} because the key holds {said(key.source)}: {signed(key.value, 2)}{_between(key)} of "
            f"{signed(self.total, 2)} against the mean key{met}.{more} At {self.control_is} the same source makes "
            f"{signed(key.control, 2)} of {signed(self.control_total, 2)}."
        )

    def _meeting(self, source: str) -> str:
        """What at the query meets a source at the key, where one thing does."""
        at = self.key_sources.index(source)
        cells = [
            (row[at], name) for row, name in zip(self.terms, self.query_sources, strict=True) if name != REST
        ]
        value, name = max(cells)
        return f", {signed(value, 2)} of it with {said(name)} at the query" if value > 0 else ""

    def heading(self) -> list[str]:
        return [f"{self.model}: {self.origin}", self.protocol]

    def words(self, by: str = "") -> list[str]:
        whole = "all sources are shown"
        if REST in (*self.query_sources, *self.key_sources):
            whole = f"the largest of {self.n_sources} sources are shown, the others together as the rest"
        known = "shown by the model only up to one number per query" if self.up_to_row else "the model's own"
        checked = (
            f"Terms sum to {signed(self.raw_total, 4)}; the score is {signed(self.score, 4)}, {known}; they differ by "
            f"at most {self.error:.0e}; {whole}."
        )
        capped = [] if self.cap is None else [f"The scores are those before the soft cap of {self.cap:g}."]
        picked = (
            []
            if self.low is None
            else ["The largest terms were picked after the fact: intervals are of each alone."]
        )
        return [self.verdict(), checked, *capped, *picked]

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row per query source and key source."""
        for i, at_query in enumerate(self.query_sources):
            for j, at_key in enumerate(self.key_sources):
                yield {
                    "query_source": at_query,
                    "key_source": at_key,
                    "term": self.terms[i][j],
                    "low": None if self.low is None else self.low[i][j],
                    "high": None if self.high is None else self.high[i][j],
                    "control": self.control[i][j],
                    "not_relative": self.raw[i][j],
                }

    def listing(self, by: str = "", top: int = 10) -> Iterator[dict[str, Any]]:
        """The largest terms."""
        for at_query, at_key, value, control in self.ranked()[:top]:
            i, j = self.query_sources.index(at_query), self.key_sources.index(at_key)
            interval = "–"
            if self.low is not None and self.high is not None:
                interval = f"[{signed(self.low[i][j], 2)}, {signed(self.high[i][j], 2)}]"
            yield {
                "at the query": at_query,
                "at the key": at_key,
                "score": signed(value, 2),
                "95 %": interval,
                "control": signed(control, 2),
            }


def _largest(margins: list[Margin]) -> Margin | None:
    return max((one for one in margins if one.source != REST), key=lambda one: one.value, default=None)


def _between(margin: Margin) -> str:
    if margin.low is None or margin.high is None:
        return ""
    return f" [{signed(margin.low, 2)}, {signed(margin.high, 2)}]"
