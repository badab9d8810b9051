"""What can be asked about a model's behaviour without a set of heads. No torch until it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from induction.analysis.result import Scan
from induction.base import InputError, Progress
from induction.behaviour.results import (
    PATTERNS,
    PERIOD,
    STRETCH,
    FewShot,
    Loops,
    NextTokens,
    ProseLosses,
    Recall,
)
from induction.experiment import LONGEST_TEXT, Experiment, seed_setting, setting
from induction.patching.experiments import SHARE, SetSettings
from induction.patching.interventions import ABLATIONS

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

PROMPT = (
    "Captain Ambrose Winter came down to the harbour at noon. The children ran to meet him and cried: "
    "Captain Ambrose"
)
N_REFERENCE, OPENING, PASSAGE = 16, 24, 512  # sequences and tokens, for estimates of work


def n_random_setting(default: int) -> Any:
    return setting(
        default,
        "Random sets",
        "The control: other heads of the same layers",
        low=0,
        high=50,
        flag="random-sets",
        said="{} random sets",
    )


class WithoutSettings(SetSettings):
    """Which heads the model does without, and how."""

    heads: str = setting("", "Without", "layer.head, …; empty: the induction heads", said="without {}")
    n_random: int = n_random_setting(10)
    ablation: str = setting(
        "mean", "Ablation", "What replaces the heads' outputs", choices=ABLATIONS, said="{} ablation"
    )
    seed: int = seed_setting("Same seed, same prompts and sets")

    def chosen(self, model: TransformerBridge, scan: Scan | None) -> Any:
        """A generator of steps that returns the :class:`induction.behaviour.variants.Variants`."""
        from induction.behaviour.variants import iter_chosen

        named = self.named(model.cfg.n_layers, model.cfg.n_heads)
        return iter_chosen(model, named, self.n_random, self.seed, scan)

    def how(self) -> dict[str, Any]:
        return {"kind": self.ablation, "seed": self.seed}


class NextSettings(WithoutSettings):
    prompt: str = setting(PROMPT, "Prompt", "What the model continues", high=LONGEST_TEXT, said="")
    n_new: int = setting(12, "New tokens", "Length of the continuation", low=1, high=40, flag="new")


class RecallSettings(WithoutSettings):
    n_prompts: int = setting(
        10, "Lists", "Of each length", low=2, high=30, flag="prompts", said="{} lists of each length"
    )
    longest: int = setting(
        64, "Longest list", "Lists of 4, 8, 16, … tokens", low=4, high=256, said="up to {} tokens"
    )


class LoopsSettings(WithoutSettings):
    n_random: int = n_random_setting(5)
    n_prompts: int = setting(20, "Openings", "Of bundled prose", low=2, high=52, flag="prompts")
    n_new: int = setting(
        40, "New tokens", "Length of the continuation", low=PERIOD + STRETCH, high=80, flag="new"
    )


class ProseSettings(WithoutSettings):
    n_random: int = n_random_setting(5)
    n_matched: int = setting(
        5,
        "Matched sets",
        "A second control: other heads with the nearest attention entropy",
        low=0,
        high=20,
        flag="matched-sets",
        said="{} matched sets",
    )
    n_passages: int = setting(8, "Passages", "Of bundled prose", low=2, high=30, flag="passages")


class FewShotSettings(WithoutSettings):
    n_random: int = n_random_setting(5)
    pattern: str = setting("aba", "Pattern", "Of the three words of a line", choices=PATTERNS)
    n_examples: int = setting(10, "Examples", "Lines before the last one", low=1, high=20, flag="examples")
    n_prompts: int = setting(
        20, "Prompts", "Number of prompts", low=2, high=50, flag="prompts", said="{} prompts"
    )


def run_next(
    model: TransformerBridge, settings: NextSettings, scan: Scan | None = None
) -> Iterator[Progress[NextTokens]]:
    from induction.behaviour.next_tokens import iter_next
    from induction.model.tokens import check_ids, encode

    if not settings.prompt.strip():
        raise InputError("The prompt is empty; write a text that the model shall continue.")
    ids = encode(model, settings.prompt)
    check_ids(model, ids)
    variants = yield from settings.chosen(model, scan)
    yield from iter_next(model, ids, variants, n_new=settings.n_new, **settings.how())


def run_recall(
    model: TransformerBridge, settings: RecallSettings, scan: Scan | None = None
) -> Iterator[Progress[Recall]]:
    from induction.behaviour.recall import iter_recall

    variants = yield from settings.chosen(model, scan)
    lists = {"longest": settings.longest, "n_prompts": settings.n_prompts}
    yield from iter_recall(model, variants, **lists, **settings.how())


def run_loops(
    model: TransformerBridge, settings: LoopsSettings, scan: Scan | None = None
) -> Iterator[Progress[Loops]]:
    from induction.behaviour.loops import iter_loops

    variants = yield from settings.chosen(model, scan)
    continued = {"n_prompts": settings.n_prompts, "n_new": settings.n_new}
    yield from iter_loops(model, variants, **continued, **settings.how())


def run_prose(
    model: TransformerBridge, settings: ProseSettings, scan: Scan | None = None
) -> Iterator[Progress[ProseLosses]]:
    from induction.behaviour.prose import iter_prose

    variants = yield from settings.chosen(model, scan)
    read = {"n_passages": settings.n_passages, "n_matched": settings.n_matched}
    yield from iter_prose(model, variants, **read, **settings.how())


def run_few_shot(
    model: TransformerBridge, settings: FewShotSettings, scan: Scan | None = None
) -> Iterator[Progress[FewShot]]:
    from induction.behaviour.few_shot import iter_few_shot

    variants = yield from settings.chosen(model, scan)
    asked = settings.model_dump(include={"pattern", "n_examples", "n_prompts"})
    yield from iter_few_shot(model, variants, **asked, **settings.how())


def next_work(n_layers: int, n_heads: int, settings: NextSettings) -> float:
    length = len(settings.prompt) / 4 + settings.n_new
    return length * (N_REFERENCE + 2 + settings.n_random)


def recall_work(n_layers: int, n_heads: int, settings: RecallSettings) -> float:
    tokens = 4 * settings.longest * settings.n_prompts  # 2 x (4 + 8 + … + longest) for each
    return tokens * (3 + (1 + settings.n_random) * SHARE) + 2 * settings.longest * N_REFERENCE


def loops_work(n_layers: int, n_heads: int, settings: LoopsSettings) -> float:
    length = OPENING + settings.n_new
    return length * (N_REFERENCE + settings.n_prompts * (2 + settings.n_random))


def prose_work(n_layers: int, n_heads: int, settings: ProseSettings) -> float:
    sets = 1 + settings.n_random + settings.n_matched
    return PASSAGE * (N_REFERENCE + settings.n_passages * (4 + sets * SHARE))


def few_shot_work(n_layers: int, n_heads: int, settings: FewShotSettings) -> float:
    length = 4 * (settings.n_examples + 1)
    return length * (N_REFERENCE + settings.n_prompts * (3 + (1 + settings.n_random) * SHARE))


EXPERIMENTS = (
    Experiment(
        name="next",
        title="Next tokens",
        help="What the model says next, with and without a set of heads.",
        settings=NextSettings,
        result=NextTokens,
        run=run_next,
        work=next_work,
        known=("scan",),
    ),
    Experiment(
        name="recall",
        title="Recall",
        help="How well a repeated list is said again, by how far back it was, with and without a set of heads.",
        settings=RecallSettings,
        result=Recall,
        run=run_recall,
        work=recall_work,
        known=("scan",),
    ),
    Experiment(
        name="loops",
        title="Loops",
        help="How often continuations of prose fall into repetition, with and without a set of heads.",
        settings=LoopsSettings,
        result=Loops,
        run=run_loops,
        work=loops_work,
        known=("scan",),
    ),
    Experiment(
        name="prose",
        title="Prose",
        help="Loss on prose by position, and on what induction could predict, with and without a set of heads.",
        settings=ProseSettings,
        result=ProseLosses,
        run=run_prose,
        work=prose_work,
        known=("scan",),
    ),
    Experiment(
        name="few_shot",
        title="Few-shot patterns",
        help="Whether a pattern is taken up from examples in new words, with and without a set of heads.",
        settings=FewShotSettings,
        result=FewShot,
        run=run_few_shot,
        work=few_shot_work,
        known=("scan",),
    ),
)
