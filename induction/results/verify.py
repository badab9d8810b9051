"""Hold a live scan against figures that were measured before, by others or by this project."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from induction.base import InputError
from induction.results import Scan, bundled, bundled_names


@dataclass(frozen=True)
class Check:
    """One line of a verification."""

    passed: bool
    claim: str
    measured: str


@dataclass(frozen=True)
class Leaders:
    """The heads that lead a published induction ranking: which set, how high, and how far ahead."""

    heads: frozenset[tuple[int, int]]
    at_least: float
    next_at_most: float
    source: str


# The set is tested, not its order: the order changes from seed to seed. Margins leave room for the protocol
# (ours has BOS and varied L).
LEADERS: dict[str, Leaders] = {
    "gpt2": Leaders(
        frozenset({(5, 1), (5, 5), (6, 9), (7, 2), (7, 10)}), 0.78, 0.60, "TransformerLens Main Demo, 94 runs"
    ),
    "distilgpt2": Leaders(
        frozenset({(3, 10), (3, 2), (4, 9), (4, 6)}), 0.50, 0.60, "TransformerLens documentation, 93 runs"
    ),
}
SAME_WITHIN = 0.05  # how far a score of this project's own may move from one machine or seed to another


def verifiable() -> list[str]:
    """Models whose figures are known."""
    return sorted({*LEADERS, *(name for name in bundled_names() if bundled(name).kind == "computed")})


def verify(scan: Scan) -> Iterator[Check]:
    """Compare a scan with what is known of its model.

    Raises:
        InputError: nothing is known of this model.
    """
    if scan.model in LEADERS:
        yield from _against_leaders(scan, LEADERS[scan.model])
    elif scan.model in bundled_names():
        yield from _against_bundled(scan, bundled(scan.model))
    else:
        raise InputError(f"No figures of {scan.model} are known here; choose from {', '.join(verifiable())}.")


def _against_leaders(scan: Scan, known: Leaders) -> Iterator[Check]:
    ranked = scan.ranked("induction")
    n = len(known.heads)
    top = ranked[:n]
    yield Check(
        {head[:2] for head in top} == known.heads,
        f"the top {n} induction heads are {_names(sorted(known.heads))} ({known.source})",
        _names([head[:2] for head in top]),
    )
    for layer, head, value in top:
        yield Check(
            value >= known.at_least, f"{layer}.{head} scores at least {known.at_least}", f"{value:.3f}"
        )
    layer, head, value = ranked[n]
    yield Check(
        value <= known.next_at_most,
        f"the next ({layer}.{head}) scores at most {known.next_at_most}",
        f"{value:.3f}",
    )


def _against_bundled(scan: Scan, known: Scan) -> Iterator[Check]:
    for name in ("induction", "previous_token"):
        if name not in known.scores or name not in scan.scores:
            continue
        now, then = scan.scores[name].mean, known.scores[name].mean
        gap, layer, head = max(
            (abs(a - b), layer, head)
            for layer, (row_now, row_then) in enumerate(zip(now, then, strict=True))
            for head, (a, b) in enumerate(zip(row_now, row_then, strict=True))
        )
        yield Check(
            gap <= SAME_WITHIN,
            f"every {name} score is within {SAME_WITHIN} of the bundled scan",
            f"largest difference {gap:.3f} at {layer}.{head}",
        )


def _names(heads: list[tuple[int, int]]) -> str:
    return ", ".join(f"{layer}.{head}" for layer, head in heads)
