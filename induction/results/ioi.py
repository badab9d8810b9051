"""Indirect-object identification in GPT-2 small, patched as TransformerLens's documentation does it.

Wang et al. 2022 (arXiv 2211.00593). The published recovery of every head is bundled, so that the patching code can
be held against the real GPT-2 small wherever its weights can be had. Published and computed here alike, it is the
ratio of means over all prompts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from induction.base import head_name
from induction.data_gen.pairs import PromptPair
from induction.patching.interventions import COMPONENTS
from induction.patching.results import Patching, bundled
from induction.results.verify import Check

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

# The sentences and names of TransformerLens's Exploratory Analysis demo (MIT).
SENTENCES = {
    "When John and Mary went to the shops,{} gave the bag to": (" Mary", " John"),
    "When Tom and James went to the park,{} gave the ball to": (" Tom", " James"),
    "When Dan and Sid went to the shops,{} gave an apple to": (" Dan", " Sid"),
    "After Martin and Amy went to the park,{} gave a drink to": (" Martin", " Amy"),
}
SOURCE = "4 indirect-object sentences, each with both orders of names: no independent draws"
PUBLISHED_COMPONENTS = ("z", "v", "pattern")
TOP = 10
WITHIN = 0.02


def ioi_pairs(model: TransformerBridge) -> list[PromptPair]:
    """The eight prompts; corrupted is the same sentence with the giver and the receiver swapped.

    They are four sentences with both orders of names, no independent draws: intervals over them hold for these
    sentences at best.

    Raises:
        InputError: a name is not one token in this model.
    """
    from induction.data_gen.pairs import pair_from_texts

    found = []
    for sentence, names in SENTENCES.items():
        for receiver, giver in (names, names[::-1]):
            clean, corrupted = sentence.format(giver), sentence.format(receiver)
            pair = pair_from_texts(model, clean, corrupted, receiver, giver)
            found.append(replace(pair, source=SOURCE))
    return found


def verify_ioi(model: TransformerBridge) -> Iterator[Check]:
    """Patch GPT-2 small and compare the strongest heads with the published recovery.

    Raises:
        InputError: a name is not one token in this model.
    """
    from induction.patching.heads import patch_heads

    prompts = ioi_pairs(model)
    for component in PUBLISHED_COMPONENTS:
        published = bundled(f"gpt2-ioi-{component}")
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
