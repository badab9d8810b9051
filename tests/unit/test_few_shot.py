"""Few-shot patterns: prompts hold the pattern and no word twice, accuracies equal hooks on the whole model."""

from __future__ import annotations

import models
import numpy as np
import pytest
import torch

from induction.base import InputError
from induction.behaviour.few_shot import few_shot, lines
from induction.behaviour.results import PATTERNS, Bound, FewShot
from induction.behaviour.variants import Variants
from induction.model.tokens import bos_id

HEADS = [(0, 1), (1, 2)]


def run(model, n_random=0, **asked) -> FewShot:
    variants = Variants.of(model, HEADS, n_random=n_random, seed=0)
    return few_shot(model, variants, **{"n_prompts": 4, "kind": "zero", "seed": 2} | asked)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_prompt_holds_the_pattern_and_no_word_comes_again(pattern):
    model = models.native()
    ids, right, wrong = lines(model, pattern, 3, "random", 5)
    assert ids[0] == bos_id(model)
    made = np.array([*ids[1:], -1, -1]).reshape(4, 4)  # the last line ends where its third word is due
    assert set(made[:3, 3]) == {model.tokenizer("\n")["input_ids"][-1]}
    assert (made[:3, 2] == made[:3, PATTERNS[pattern].repeats]).all()
    assert (made[:, PATTERNS[pattern].repeats] == right).all()
    assert len({*right, *wrong}) == 8


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_accuracies_equal_hooks_on_the_whole_model(kind):
    model = models.BUILDERS[kind]()
    found = run(model, n_examples=3)

    def zero(z, hook):
        for layer, head in HEADS:
            if hook.name.startswith(f"blocks.{layer}."):
                z[:, :, head] = 0
        return z

    hooks = [(f"blocks.{layer}.attn.hook_z", zero) for layer in (0, 1)]
    expected = {"intact": [], "without": []}
    for seed in range(2, 6):
        ids, right, wrong = lines(model, "aba", 3, "words", seed)
        for name, edits in (("intact", []), ("without", hooks)):
            with torch.no_grad():
                logits = model.run_with_hooks(torch.tensor([ids]), fwd_hooks=edits)[0]
            due = [2 + 4 * line for line in range(4)]  # the second word of each line, after BOS
            expected[name].append(
                [float(logits[at, a] > logits[at, b]) for at, a, b in zip(due, right, wrong, strict=True)]
            )
    for name, values in expected.items():
        assert getattr(found, name).mean == pytest.approx(np.mean(values, 0), abs=1e-4)
    change = np.subtract(expected["without"], expected["intact"])[:, 1:].mean()
    assert found.right.change.mean == pytest.approx(change, abs=1e-4)


def test_a_model_at_chance_is_said_to_have_nothing_to_lose():
    found = run(models.native(), n_examples=3)

    def made(overall):
        ends = Bound(mean=overall, low=overall - 0.1, high=overall + 0.1)
        return found.model_copy(update={"right": found.right.model_copy(update={"intact": ends})})

    assert "nothing can be lost" in made(0.55).verdict()
    assert "nothing can be lost" not in made(0.9).verdict()
    assert "90%" in made(0.9).verdict()


def test_too_few_words_or_prompts_are_refused():
    model = models.native()
    with pytest.raises(InputError, match="examples"):
        run(model, n_examples=600)
    with pytest.raises(InputError, match="prompts"):
        run(model, n_prompts=1)
