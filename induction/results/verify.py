"""Hold a live scan, and patching of GPT-2 small, against figures that were measured before, by others or by us."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from induction.analysis.result import Scan
from induction.base import InputError, head_name
from induction.patching.bundled import ioi_pairs
from induction.patching.interventions import COMPONENTS
from induction.patching.results import Patching
from induction.results.shelf import PATCHING, SCANS

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


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
    return sorted({*LEADERS, *(name for name in SCANS.names() if SCANS.get(name).kind == "computed")})


def verify(scan: Scan) -> Iterator[Check]:
    """Compare a scan with what is known of its model.

    Raises:
        InputError: nothing is known of this model.
    """
    if scan.model in LEADERS:
        yield from _against_leaders(scan, LEADERS[scan.model])
    elif scan.model in SCANS.names():
        yield from _against_bundled(scan, SCANS.get(scan.model))
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


# Indirect-object identification. Published and computed here alike, recovery is the ratio of means over all prompts.
PUBLISHED_COMPONENTS = ("z", "v", "pattern")
TOP = 10
WITHIN = 0.02


def verify_ioi(model: TransformerBridge) -> Iterator[Check]:
    """Patch GPT-2 small and compare the strongest heads with the published recovery.

    Raises:
        InputError: a name is not one token in this model.
    """
    from induction.patching.heads import patch_heads

    prompts = ioi_pairs(model)
    for component in PUBLISHED_COMPONENTS:
        published = PATCHING.get(f"gpt2-ioi-{component}")
        assert isinstance(published, Patching)
        then = np.array(published.effect("logit_difference").mean, dtype=float)
        found = patch_heads(model, prompts, component=component)
        now = np.array(found.effect("logit_difference").mean, dtype=float)
        strongest = np.argsort(-np.abs(then), axis=None)[:TOP]
        layer, head = np.unravel_index(max(strongest, key=lambda at: abs(now - then).flat[at]), then.shape)
        gap = abs(now - then)[layer, head]
        worst = f"largest difference {gap:.3f} at {head_name((int(layer), int(head)))}"
        yield Check(
            bool(gap <= WITHIN),
            f"{COMPONENTS[component].title}: the {TOP} strongest heads recover what is published, within {WITHIN}",
            worst if np.isfinite(gap) else found.caveats("logit_difference"),
        )
