"""The prompt of which attention is shown: a generated one, an example or a text of one's own.

No torch here: ids are made when a model is there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Self

import numpy as np

from induction.base import InputError
from induction.data_gen.sequences import (
    TOKEN_SETS,
    generate_repeated_sequence,
    get_token_set,
    random_ids,
    repeated_batch,
)
from induction.experiment import Settings, seed_setting, setting

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TOKENS = 256  # shown at most; longer texts are cut, and the page says so
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


class Prompt(Settings):
    """What a prompt is made of; written ``repeat-24-random-0``, ``ab-5-letters-42``, ``natural-0`` or ``own``.

    ``length`` counts tokens per copy, or words before A B and again before A.
    """

    kind: str = setting("repeat", "Prompt", "Generated, an example or your own text", choices=KINDS)
    length: int = setting(
        24, "Length", "Tokens per copy, or words before A B and again before A", low=2, high=120
    )
    vocab: str = setting("random", "Token set", "What is drawn from", choices=TOKEN_SETS)
    seed: int = seed_setting("Same seed, same prompt")
    example: int = setting(0, "Example", "Number of the natural text", low=0, high=len(EXAMPLES) - 1)

    def __str__(self) -> str:
        if self.kind in ("own", "natural"):
            return self.kind if self.kind == "own" else f"natural-{self.example}"
        return f"{self.kind}-{self.length}-{self.vocab}-{self.seed}"

    def words(self) -> str:
        if self.kind == "own":
            return "own text"
        if self.kind == "natural":
            return f"natural text · {EXAMPLES[self.example][0]}"
        drawn = "random tokens" if self.vocab == "random" else self.vocab
        times = f"{self.length} twice" if self.kind == "repeat" else f"A B … A, {self.length} before each A"
        return f"{drawn} · {times} · seed {self.seed}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        return super().parse(
            re.sub(r"^natural-", f"natural-{DEFAULTS['repeat']}-".replace("repeat-", ""), text)
        )


DEFAULTS = {
    "repeat": Prompt(),
    "ab": Prompt(kind="ab", length=5, vocab="letters", seed=42),
    "natural": Prompt(kind="natural"),
    "own": Prompt(kind="own"),
}


def token_ids(model: TransformerBridge, prompt: Prompt, text: str) -> tuple[list[int], str]:
    """Ids of a prompt, BOS in front where the model has one, and a notice where the text had to be cut.

    Raises:
        InputError: nothing to show, or settings that this model's vocabulary or context does not allow.
    """
    from induction.model.tokens import encode

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
    if prompt.vocab == "random":
        rng = np.random.default_rng(prompt.seed)
        pool = random_ids(model, rng, at_least=2 * prompt.length + 3)
        words = [model.tokenizer.decode([token]) for token in pool]
    else:
        words = get_token_set(prompt.vocab, model)
    made = generate_repeated_sequence(words, prompt.length, prompt.seed, filler_length=prompt.length)
    return made.ids(model)
