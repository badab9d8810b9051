"""Which circuit is on show: a live one, named by its settings and kept for a while, or the bundled one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from induction import results as scans
from induction.base import InputError, Progress, check_choice
from induction.circuit import results
from induction.circuit.results import MLPS, Circuit
from induction.data_gen.sequences import TOKEN_SETS
from induction.ui import jobs, links, zero_gpu
from induction.ui.received import SEED, accepted, check_limits

PAIRS = (1, 20)  # limits of a live run: shown beside the controls, enforced in Settings.check
AUTO = "auto"  # the strongest induction heads
FROZEN = next(iter(MLPS))  # the default

kept: jobs.Cache[Circuit] = jobs.Cache(16)  # by (model, str(settings))


@dataclass(frozen=True)
class Settings:
    """What a live run is asked to do; written ``10-random-0-auto`` in links and as the key of kept results.

    What MLPs do is written behind it where it is not the default, so that older links stay as they were.
    """

    n_pairs: int = 10
    vocab: str = "random"
    seed: int = 0
    head: str = AUTO
    mlps: str = FROZEN

    def __str__(self) -> str:
        text = f"{self.n_pairs}-{self.vocab}-{self.seed}-{self.head}"
        return text if self.mlps == FROZEN else f"{text}-{self.mlps}"

    @classmethod
    def parse(cls, text: str) -> Settings | None:
        """The settings of a text like ``10-random-0-5.1``, None for anything else."""
        match = re.fullmatch(
            r"(\d{1,9})-([a-z]{1,20})-(\d{1,10})-([a-z\d.]{1,9})(?:-([a-z]{1,20}))?", text, re.ASCII
        )
        if match is None:
            return None
        settings = cls(int(match[1]), match[2], int(match[3]), match[4], match[5] or FROZEN)
        return accepted(settings)

    def check(self) -> None:
        """Raises InputError where a limit is exceeded."""
        check_limits(
            ("number of prompt pairs", self.n_pairs, PAIRS),
            ("seed", self.seed, SEED),
        )
        check_choice(self.vocab, tuple(TOKEN_SETS), "token set")
        check_choice(self.mlps, tuple(MLPS), "treatment of the MLPs")
        if self.head != AUTO and links.parse_head(self.head) is None:
            raise InputError("Write the head as layer.head, for example 5.1.")


def trace(model: str, settings: Settings) -> Iterator[Progress[Circuit]]:
    """The circuit of these settings, kept or step by step.

    Raises:
        InputError: the model or the settings are refused.
    """
    return kept.run((model, str(settings)), lambda: _trace(model, settings))


@zero_gpu.borrowed
def _trace(model: str, settings: Settings) -> Iterator[Progress[Circuit]]:
    from induction.circuit.trace import iter_circuit
    from induction.model import load_model

    scan = scans.bundled(model) if model in scans.bundled_names() else None
    yield from iter_circuit(
        load_model(model, zero_gpu.DEVICE),
        None if settings.head == AUTO else links.parse_head(settings.head),
        scan=scan if scan is not None and scan.kind == "computed" else None,
        n_pairs=settings.n_pairs,
        vocab=settings.vocab,
        mlps=settings.mlps,
        seed=settings.seed,
    )


def parameter() -> links.Parameter:
    """``circuit=10-random-0-auto``: which live circuit is on show."""
    return links.live_result("circuit", "circuit", Settings.parse, str(Settings()))


def is_live(model: str, traced: str) -> bool:
    """Whether the live circuit that ``traced`` names is still kept, and so on show."""
    return bool(traced) and kept.get((model, traced)) is not None


def shown_circuit(model: str, traced: str) -> Circuit | None:
    """The live circuit that ``traced`` names while it is kept, else the bundled one, else what published figures tell,
    else None."""
    circuit = kept.get((model, traced)) if traced else None
    if circuit is None and model in results.bundled_names():
        circuit = results.bundled(model)
    if circuit is None and model in results.published_names():
        circuit = results.published_circuit(model)
    return circuit
