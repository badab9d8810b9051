"""What can be asked about circuits. No torch until it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from induction.analysis.result import Scan
from induction.base import InputError, Progress, parse_heads
from induction.circuit.results import MLPS, Circuit
from induction.data_gen.sequences import TOKEN_SETS
from induction.experiment import Experiment, Settings, seed_setting, setting
from induction.patching.experiments import SHARE, TOKENS_OF_PAIR
from induction.patching.interventions import DIRECTIONS

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

AUTO = "auto"  # the strongest induction heads


class CircuitSettings(Settings):
    n_pairs: int = setting(
        10, "Prompt pairs", "Clean prompts and their twins", low=1, high=20, flag="prompts", said="{} pairs"
    )
    vocab: str = setting(
        "random", "Token set", "Words suit a language model", choices=TOKEN_SETS, said="token set {}"
    )
    seed: int = seed_setting()
    head: str = setting(
        AUTO,
        "Head",
        "layer.head of the head that is fed; auto: the strongest induction heads",
        said="fed head: {}",
    )
    mlps: str = setting(
        "frozen",
        "Between sender and receiver",
        "What MLPs there do; frozen: the direct path alone",
        choices=MLPS,
    )
    direction: str = setting("denoise", "Direction", "Of the path patching", choices=DIRECTIONS)

    def check(self) -> None:
        if self.head != AUTO and len(parse_heads(self.head, 1000, 1000)) > 1:
            raise InputError("A circuit is traced into one head; ask once for each.")


def run_circuit(
    model: TransformerBridge, settings: CircuitSettings, scan: Scan | None = None
) -> Iterator[Progress[Circuit]]:
    from induction.circuit.trace import iter_circuit

    asked = settings.model_dump(exclude={"head"})
    head = None
    if settings.head != AUTO:
        (head,) = parse_heads(settings.head, model.cfg.n_layers, model.cfg.n_heads)
    yield from iter_circuit(model, head, scan=scan if scan and scan.kind == "computed" else None, **asked)


def work(n_layers: int, n_heads: int, settings: CircuitSettings) -> float:
    receivers = 3 if settings.head == AUTO else 1
    rows = receivers * 3 * n_layers * n_heads / 2  # each earlier head into each of three inputs
    return settings.n_pairs * TOKENS_OF_PAIR * (4 + rows * SHARE)


EXPERIMENTS = (
    Experiment(
        name="circuit",
        title="Circuit",
        help="Trace which earlier head feeds an induction head: kinds of heads, composition and path patching.",
        settings=CircuitSettings,
        result=Circuit,
        run=run_circuit,
        work=work,
        known=("scan",),
    ),
)
