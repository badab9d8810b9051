"""What can be asked about attention: the scan of all heads, and one head on one prompt. No torch until it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

from induction.analysis.attention import HeadAttention
from induction.analysis.real_text_result import RealText
from induction.analysis.result import Scan
from induction.analysis.scores import OLSSON_LENGTH, SCORES
from induction.base import InputError, Progress, parse_heads
from induction.data_gen.prompts import DEFAULTS, Prompt
from induction.data_gen.prose import prose
from induction.data_gen.sequences import DEFAULT_LENGTH, TOKEN_SETS
from induction.experiment import LONGEST_TEXT, Experiment, Settings, seed_setting, setting

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


class ScanSettings(Settings):
    n_prompts: int = setting(
        10, "Prompts", "Number of prompts", low=1, high=64, flag="prompts", said="{} prompts"
    )
    length: int = setting(
        DEFAULT_LENGTH,
        "Tokens per copy",
        "Mean length of one copy, varied by a fifth; the default is less where token set or context are small",
        low=2,
        high=256,
        said="about {} tokens per copy",
    )
    vocab: str = setting(
        "random",
        "Token set",
        "What the repeated tokens are drawn from",
        choices=TOKEN_SETS,
        said="token set {}",
    )
    seed: int = seed_setting()

    @classmethod
    def parse(cls, text: str) -> Self | None:
        return super().parse(
            re.sub(r"^(\d+)x", r"\1-", text, flags=re.ASCII)
        )  # as links were written at first


def run_scan(
    model: TransformerBridge, settings: ScanSettings, scores: Sequence[str] = tuple(SCORES)
) -> Iterator[Progress[Scan]]:
    from induction.analysis.scanning import iter_scan

    asked = settings.model_dump(exclude={"length"})
    length = None if settings.length == DEFAULT_LENGTH else settings.length  # None: as much of it as fits
    yield from iter_scan(model, scores=scores, length=length, **asked)


def scan_work(n_layers: int, n_heads: int, settings: ScanSettings) -> float:
    repeats = 2 * settings.length
    olsson = sum({score.sequences for score in SCORES.values() if score.copies == 4}) * 4 * OLSSON_LENGTH
    return settings.n_prompts * (repeats + olsson)


class AttentionSettings(Settings):
    """One head on one prompt: a text, or where that is empty a generated one."""

    text: str = setting(
        "",
        "Text",
        "A prompt of your own, the model's BOS put in front; empty: one is made",
        high=LONGEST_TEXT,
    )
    head: str = setting("0.0", "Head", "layer.head, for example 1.7")
    hide_first: bool = setting(
        False, "Hide the first key", "Leave out the first column and renormalise the rows"
    )
    prompt: str = setting(
        "repeat-24-random-0", "Made prompt", "As links write it: repeat-24-random-0, ab-5-letters-42"
    )

    def check(self) -> None:
        if Prompt.parse(self.prompt) is None:
            raise InputError(
                f"There is no prompt '{self.prompt}'; write it as in repeat-24-random-0 or natural-0."
            )


def run_attention(model: TransformerBridge, settings: AttentionSettings) -> Iterator[Progress[HeadAttention]]:
    from induction.analysis.attention import attend, of_head
    from induction.data_gen.prompts import token_ids

    head, *more = parse_heads(settings.head, model.cfg.n_layers, model.cfg.n_heads)
    if more:
        raise InputError("Attention is of one head; ask once for each.")
    prompt = DEFAULTS["own"] if settings.text else Prompt.parse(settings.prompt)
    ids, too_long = token_ids(model, prompt, settings.text)
    if too_long:
        raise InputError(f"{too_long} Please shorten it.")
    yield Progress(1, 1, "done", of_head(attend(model, ids), *head, hide_first=settings.hide_first))


PROSE_LENGTH = 512  # tokens of a passage


class RealTextSettings(Settings):
    n_passages: int = setting(
        len(prose()),
        "Passages",
        "Bundled prose, from as many books as there are",
        low=1,
        high=len(prose()),
        flag="passages",
        said="{} passages",
    )
    length: int = setting(
        PROSE_LENGTH,
        "Tokens per passage",
        "The first tokens of each passage; the default is less where context or passages are shorter",
        low=32,
        high=PROSE_LENGTH,
        said="{} tokens of each",
    )


def run_real_text(
    model: TransformerBridge, settings: RealTextSettings, scan: Scan | None = None
) -> Iterator[Progress[RealText]]:
    from induction.analysis.real_text import iter_real_text
    from induction.analysis.scanning import iter_scan

    if scan is None or "induction" not in scan.scores:
        for step in iter_scan(model, scores=("induction",), loss=False):
            scan = step.result
            yield Progress(step.done, step.total, f"induction scores: {step.label}")
    length = None if settings.length == PROSE_LENGTH else settings.length  # None: as much of it as fits
    yield from iter_real_text(model, n_passages=settings.n_passages, length=length, scan=scan)


def real_text_work(n_layers: int, n_heads: int, settings: RealTextSettings) -> float:
    return settings.n_passages * settings.length


EXPERIMENTS = (
    Experiment(
        name="scan",
        title="Scan",
        help="Score every head on repeated random tokens: induction, previous token and more, with intervals.",
        settings=ScanSettings,
        result=Scan,
        run=run_scan,
        link="live",
        work=scan_work,
    ),
    Experiment(
        name="attention",
        title="Attention",
        help="Attention of one head on one prompt: tokens, weights [query][key], induction targets and scores there.",
        settings=AttentionSettings,
        result=HeadAttention,
        run=run_attention,
        link="seen",
    ),
    Experiment(
        name="real_text",
        title="In real text",
        help="Score every head on bundled prose: does it attend after an earlier occurrence there too, against chance, "
        "the same distances elsewhere and the ranking on random repeats?",
        settings=RealTextSettings,
        result=RealText,
        run=run_real_text,
        known=("scan",),
        work=real_text_work,
    ),
)
