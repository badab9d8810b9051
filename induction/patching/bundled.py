"""The prompt pairs behind a model's bundled patching results.

Induction for every model, and beside it, where figures of it were published, indirect-object identification
(:func:`ioi_pairs`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from induction.data_gen.pairs import PromptPair, pair_from_texts, pairs
from induction.model import name_of

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

N_PAIRS, SEED = 20, 0
# A language model hardly believes a sequence of arbitrary tokens; the bundled toy knows little else.
VOCAB = {"mini-2l": "random", "mini-1l": "random"}
# Models that have the task beside induction among their bundled results.
WITH_IOI = ("gpt2", "distilgpt2", "EleutherAI/pythia-70m")
IOI = "Indirect-object identification"
# The sentences and names of TransformerLens's Exploratory Analysis demo (MIT).
SENTENCES = {
    "When John and Mary went to the shops,{} gave the bag to": (" Mary", " John"),
    "When Tom and James went to the park,{} gave the ball to": (" Tom", " James"),
    "When Dan and Sid went to the shops,{} gave an apple to": (" Dan", " Sid"),
    "After Martin and Amy went to the park,{} gave a drink to": (" Martin", " Amy"),
}
SOURCE = "4 indirect-object sentences, each with both orders of names: no independent draws"


def vocab_of(name: str) -> str:
    """Token set of a model's bundled prompts."""
    return VOCAB.get(name, "words")


def prompts_of(model: TransformerBridge) -> list[PromptPair]:
    """Prompt pairs of a model's bundled patching: ``prefix A B filler A``."""
    return pairs(model, N_PAIRS, vocab=vocab_of(name_of(model)), seed=SEED)


def ioi_pairs(model: TransformerBridge) -> list[PromptPair]:
    """Indirect-object identification, Wang et al. 2022 (arXiv 2211.00593), as TransformerLens's documentation has it.

    Eight prompts; corrupted is the same sentence with the giver and the receiver swapped.
    They are four sentences with both orders of names, no independent draws: intervals over them hold for these
    sentences at best.

    Raises:
        InputError: a name is not one token in this model.
    """
    found = []
    for sentence, names in SENTENCES.items():
        for receiver, giver in (names, names[::-1]):
            clean, corrupted = sentence.format(giver), sentence.format(receiver)
            pair = pair_from_texts(model, clean, corrupted, receiver, giver)
            found.append(replace(pair, source=SOURCE, task=IOI))
    return found
