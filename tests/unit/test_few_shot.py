"""Few-shot patterns: prompts hold the pattern and no word twice, accuracies equal hooks on the whole model."""

from __future__ import annotations

import models
import numpy as np
import pytest
import torch

from induction.base import InputError
from induction.behaviour.few_shot import _prompt, few_shot
from induction.behaviour.few_shot_result import PATTERNS, Curve, FewShot, Lost
from induction.model.tokens import bos_id

HEADS = [(0, 1), (1, 2)]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_prompt_holds_the_pattern_and_no_word_comes_again(pattern):
    model = models.native()
    ids, right, wrong = _prompt(model, pattern, 3, "random", 5)
    assert ids[0] == bos_id(model)
    lines = np.array([*ids[1:], -1, -1]).reshape(4, 4)  # the last line ends where its third word is due
    assert set(lines[:3, 3]) == {model.tokenizer("\n")["input_ids"][-1]}
    assert (lines[:3, 2] == lines[:3, PATTERNS[pattern].answer]).all()
    assert (lines[:, PATTERNS[pattern].answer] == right).all()
    assert len({*right, *wrong}) == 8


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_accuracies_equal_hooks_on_the_whole_model(kind):
    model = models.BUILDERS[kind]()
    found = few_shot(model, HEADS, n_examples=3, n_prompts=4, vocab="random", n_random=0, kind="zero", seed=2)

    def zero(z, hook):
        for layer, head in HEADS:
            if hook.name.startswith(f"blocks.{layer}."):
                z[:, :, head] = 0
        return z

    hooks = [(f"blocks.{layer}.attn.hook_z", zero) for layer in (0, 1)]
    expected = {"intact": [], "without": []}
    for seed in range(2, 6):
        ids, right, wrong = _prompt(model, "aba", 3, "random", seed)
        for name, edits in (("intact", []), ("without", hooks)):
            with torch.no_grad():
                logits = model.run_with_hooks(torch.tensor([ids]), fwd_hooks=edits)[0]
            due = [2 + 4 * line for line in range(4)]  # the second word of each line, after BOS
            expected[name].append(
                [float(logits[at, a] > logits[at, b]) for at, a, b in zip(due, right, wrong, strict=True)]
            )
    for name, values in expected.items():
        assert getattr(found, name).mean == pytest.approx(np.mean(values, 0), abs=1e-4)
    lost = np.subtract(expected["intact"], expected["without"])[:, 1:].mean()
    assert found.lost.mean == pytest.approx(lost, abs=1e-4)


def test_a_model_at_chance_is_said_to_have_nothing_to_lose():
    def curve(overall):
        ends = {"overall": overall, "overall_low": overall - 0.1, "overall_high": overall + 0.1}
        return Curve(mean=[0.5, overall], low=[0.4, 0.4], high=[0.6, 0.6], **ends)

    def made(overall):
        about = {"model": "m", "n_layers": 2, "n_heads": 4, "origin": "hand", "protocol": "by hand"}
        lost = Lost(mean=0.3, low=0.2, high=0.4, random=[])
        sets = {"heads": [[1, 1]], "ablation": "mean", "random_mean": None, "random": []}
        return FewShot(**about, **sets, pattern="aba", intact=curve(overall), without=curve(0.5), lost=lost)

    assert "nothing can be lost" in made(0.55).verdict()
    assert "0.30" in made(0.9).verdict()
    assert "1.1" in made(0.9).verdict()


def test_too_few_words_or_heads_are_refused():
    model = models.native()
    with pytest.raises(InputError, match="random"):
        few_shot(model, HEADS, n_examples=60, n_prompts=2, vocab="digits")
    with pytest.raises(InputError, match="head"):
        few_shot(model, [], n_prompts=2)
