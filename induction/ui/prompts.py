"""The prompt on show in Attention: a generated one, an example or the visitor's own text.

Written ``repeat-24-random-0``, ``ab-5-letters-42``, ``natural-0`` or ``own`` in links; own text is a parameter of
its own. No torch here: ids are made when a model is there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from induction.base import InputError, check_choice
from induction.data_gen.sequences import TOKEN_SETS
from induction.ui import links
from induction.ui.received import SEED, accepted, check_limits

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TOKENS = 256  # shown at most; longer texts are cut, and the page says so
LENGTH = (2, 120)

KINDS = {
    "repeat": "Repeated tokens",
    "ab": "A B … A",
    "natural": "Natural text",
    "own": "Own text",
}
#: Written for this page, except the poem (Alfred Tennyson, 1854).
EXAMPLES = (
    (
        "A name that comes back",
        "Old Mrs Penhallow kept the lighthouse. When the storm came, the harbour master sent word to "
        "Mrs Penhallow, and at dawn Mrs Penhallow put out the lamp.",
    ),
    (
        "A poem with refrains",
        "Half a league, half a league,\nHalf a league onward,\nAll in the valley of Death\n"
        "Rode the six hundred.",
    ),
    (
        "Program code",
        "def area(width, height):\n    return width * height\n\nprint(area(width=3, height=4))\n"
        "print(area(width=5, height=6))\n",
    ),
    (
        "A list with a pattern",
        "red: apple, green: pear, yellow: lemon, red: apple, green: pear, yellow:",
    ),
)


@dataclass(frozen=True)
class Prompt:
    """What a prompt is made of. ``length`` counts tokens per copy, or words before A B and again before A."""

    kind: str = "repeat"
    length: int = 24
    vocab: str = "random"
    seed: int = 0
    example: int = 0

    def __str__(self) -> str:
        if self.kind == "own":
            return "own"
        if self.kind == "natural":
            return f"natural-{self.example}"
        return f"{self.kind}-{self.length}-{self.vocab}-{self.seed}"

    @classmethod
    def parse(cls, text: str) -> Prompt | None:
        """The prompt of a text as :meth:`__str__` writes it, None for anything else."""
        if text == "own":
            return cls("own")
        match = re.fullmatch(r"natural-(\d{1,3})", text, re.ASCII)
        if match:
            example = int(match[1])
            return cls("natural", example=example) if example < len(EXAMPLES) else None
        match = re.fullmatch(r"(repeat|ab)-(\d{1,9})-([a-z]{1,20})-(\d{1,10})", text, re.ASCII)
        if match is None:
            return None
        return accepted(cls(match[1], int(match[2]), match[3], int(match[4])))

    def check(self) -> None:
        """Raises InputError where a limit is exceeded."""
        check_limits(("length", self.length, LENGTH), ("seed", self.seed, SEED))
        check_choice(self.vocab, tuple(TOKEN_SETS), "token set")


DEFAULTS = {
    "repeat": Prompt(),
    "ab": Prompt("ab", 5, "letters", 42),
    "natural": Prompt("natural"),
    "own": Prompt("own"),
}


def parameter() -> links.Parameter:
    """``prompt=repeat-24-random-0``: which prompt is on show."""
    default = str(DEFAULTS["repeat"])

    def read(text: str) -> tuple[str, str | None]:
        prompt = Prompt.parse(text)
        if prompt is None:
            return default, f"The link's prompt is not written as in {default}; showing that one instead."
        return str(prompt), None

    return links.Parameter("prompt", default, read)


def token_ids(model: TransformerBridge, prompt: Prompt, text: str) -> tuple[list[int], str]:
    """Ids of a prompt, BOS in front where the model has one, and a notice where the text had to be cut.

    Raises:
        InputError: nothing to show, or settings that this model's vocabulary or context does not allow.
    """
    from induction.data_gen.sequences import repeated_batch
    from induction.model.tokens import encode

    if prompt.kind in ("repeat", "ab"):
        prompt.check()
    if prompt.kind == "repeat":
        batch = repeated_batch(
            model, n_prompts=1, length=prompt.length, vocab=prompt.vocab, seed=prompt.seed, spread=0
        )
        return batch.prompt(0).tolist(), ""
    if prompt.kind == "ab":
        return _ab_ids(model, prompt), ""
    if prompt.kind == "natural":
        text = EXAMPLES[prompt.example][1]
    if not text.strip():
        raise InputError("Write or paste a text, then press Show attention.")
    ids = encode(model, text)
    limit = min(TOKENS, model.cfg.n_ctx)
    if len(ids) <= limit:
        return ids, ""
    return ids[
        :limit
    ], f"The text has {len(ids):,} tokens; shown are the first {limit}, the limit of this view."


def _ab_ids(model: TransformerBridge, prompt: Prompt) -> list[int]:
    from induction.data_gen.sequences import generate_repeated_sequence, get_token_set, random_ids

    if prompt.vocab == "random":
        rng = np.random.default_rng(prompt.seed)
        pool = random_ids(model, rng, at_least=2 * prompt.length + 3)
        words = [model.tokenizer.decode([token]) for token in pool]
    else:
        words = get_token_set(prompt.vocab, model)
    made = generate_repeated_sequence(words, prompt.length, prompt.seed, filler_length=prompt.length)
    return made.ids(model)
