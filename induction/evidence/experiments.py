"""The evidence of one head or of all. No torch until it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from induction.analysis.real_text_result import RealText
from induction.analysis.result import Scan
from induction.base import InputError, Progress, parse_heads
from induction.circuit.results import Circuit
from induction.evidence.results import Evidence
from induction.experiment import Experiment, Settings, seed_setting, setting
from induction.patching.bundled import N_PAIRS
from induction.patching.experiments import REPEATS, SHARE, TOKENS_OF_PAIR, TOKENS_OF_REPEAT

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


class EvidenceSettings(Settings):
    head: str = setting("", "Head", "layer.head; empty: all heads of the model", said="head {}")
    seed: int = seed_setting()

    def check(self) -> None:
        if self.head and len(parse_heads(self.head, 1000, 1000)) > 1:
            raise InputError(
                "Evidence is of one head, or of all: ask once for each, or leave the head empty."
            )

    def words(self) -> str:
        return super().words() or "all heads"


def run_evidence(
    model: TransformerBridge,
    settings: EvidenceSettings,
    scan: Scan | None = None,
    circuit: Circuit | None = None,
    real_text: RealText | None = None,
) -> Iterator[Progress[Evidence]]:
    from induction.evidence.measure import iter_evidence

    heads = parse_heads(settings.head, model.cfg.n_layers, model.cfg.n_heads) if settings.head else None
    known = {"scan": scan, "circuit": circuit}
    computed = {name: one for name, one in known.items() if one is not None and one.kind == "computed"}
    yield from iter_evidence(model, heads, prose=real_text, seed=settings.seed, **computed)


def work(n_layers: int, n_heads: int, settings: EvidenceSettings) -> float:
    """Each head and each set, on pairs and on repeats; of one head, with the others of its layer."""
    rows = 2 * n_heads * (1 if settings.head else n_layers)
    once = N_PAIRS * TOKENS_OF_PAIR + REPEATS * TOKENS_OF_REPEAT
    return once * (2 + rows * SHARE)


EXPERIMENTS = (
    Experiment(
        name="evidence",
        title="Evidence",
        help="Everything known of a head, test by test: attends, copies, works, is needed, is fed, against controls.",
        settings=EvidenceSettings,
        result=Evidence,
        run=run_evidence,
        known=("scan", "circuit", "real_text"),
        work=work,
        link="proof",
    ),
)
