"""Which scan is on show: a live one, named by its settings and kept for a while, or the bundled one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from induction import results
from induction.analysis.scores import SCORES
from induction.base import Progress, check_choice
from induction.data_gen.sequences import TOKEN_SETS
from induction.results import Scan
from induction.ui import jobs, links, zero_gpu
from induction.ui.received import SEED, accepted, check_limits

PROMPTS = (1, 64)  # limits of a live scan: shown beside the controls, enforced in Settings.check
LENGTH = (4, 256)

kept: jobs.Cache[Scan] = jobs.Cache(32)  # by (model, str(settings))


@dataclass(frozen=True)
class Settings:
    """What a live scan is asked to do; written ``10x50-random-0`` in links and as the key of kept results."""

    n_prompts: int = 10
    length: int = 50
    vocab: str = "random"
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.n_prompts}x{self.length}-{self.vocab}-{self.seed}"

    @classmethod
    def parse(cls, text: str) -> Settings | None:
        """The settings of a text like ``10x50-random-0``, None for anything else."""
        match = re.fullmatch(r"(\d{1,9})x(\d{1,9})-([a-z]{1,20})-(\d{1,10})", text, re.ASCII)
        if match is None:
            return None
        settings = cls(int(match[1]), int(match[2]), match[3], int(match[4]))
        return accepted(settings)

    def check(self) -> None:
        """Raises InputError where a limit is exceeded."""
        check_limits(
            ("number of prompts", self.n_prompts, PROMPTS),
            ("number of tokens per copy", self.length, LENGTH),
            ("seed", self.seed, SEED),
        )
        check_choice(self.vocab, tuple(TOKEN_SETS), "token set")


def measure(model: str, settings: Settings) -> Iterator[Progress[Scan]]:
    """The scan of these settings, kept or step by step.

    Raises:
        InputError: the model or the settings are refused.
    """
    return kept.run((model, str(settings)), lambda: _scan(model, settings))


@zero_gpu.borrowed
def _scan(model: str, settings: Settings) -> Iterator[Progress[Scan]]:
    from induction.analysis.scanning import iter_scan
    from induction.model import load_model

    yield from iter_scan(
        load_model(model, zero_gpu.DEVICE),
        n_prompts=settings.n_prompts,
        vocab=settings.vocab,
        length=settings.length,
        seed=settings.seed,
        scores=tuple(SCORES),
    )


def parameter() -> links.Parameter:
    """``live=10x50-random-0``: which live scan is on show."""
    return links.live_result("live", "scan", Settings.parse, str(Settings()))


def is_live(model: str, live: str) -> bool:
    """Whether the live scan that ``live`` names is still kept, and so on show."""
    return bool(live) and kept.get((model, live)) is not None


def shown_scan(model: str, live: str) -> Scan | None:
    """The live scan that ``live`` names while it is kept, else the bundled one, else None."""
    scan = kept.get((model, live)) if live else None
    if scan is None and model in results.bundled_names():
        scan = results.bundled(model)
    return scan
