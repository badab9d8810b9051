"""Numbers under stress: double precision, long prompts, large vocabularies, extreme shapes, batch splitting."""

from __future__ import annotations

import models
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from induction.analysis.scanning import scan
from induction.data_gen.pairs import pairs
from induction.data_gen.sequences import repeated_batch
from induction.model import WEIGHTS
from induction.model.native import load_native
from induction.patching.heads import patch_heads


def word_tokenizer(folder, n_words: int):
    """One token per word ``w0``, ``w1`` ..., as many as asked for."""
    vocabulary = {models.BOS: 0} | {f"w{i}": i for i in range(1, n_words)}
    words = Tokenizer(WordLevel(vocabulary, unk_token=models.BOS))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token=models.BOS, eos_token=models.BOS, unk_token=models.BOS
    ).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def stripe(model: TransformerBridge, ids: np.ndarray, period: int) -> np.ndarray:
    """The induction score read off the pattern with a loop: ``[layer, head]``."""
    _, cache = model.run_with_cache(torch.as_tensor(ids)[None])
    patterns = np.stack([cache["pattern", layer][0].numpy() for layer in range(model.cfg.n_layers)])
    stripes = range(len(ids) - period, len(ids))
    return np.mean([patterns[:, :, q, q - period + 1] for q in stripes], axis=0)


def test_numbers_in_single_precision_are_those_in_double():
    model, exact = load_native(WEIGHTS / "mini-2l"), load_native(WEIGHTS / "mini-2l").double()
    scans = [scan(which, n_prompts=4, length=20, seed=3) for which in (model, exact)]
    for name, scores in scans[0].scores.items():
        np.testing.assert_allclose(scores.mean, scans[1].scores[name].mean, atol=2e-5)
    assert scans[0].loss.gain == pytest.approx(scans[1].loss.gain, abs=1e-4)
    sweeps = [patch_heads(which, pairs(which, 3, seed=5)) for which in (model, exact)]
    for metric, effect in sweeps[0].effects.items():
        other = sweeps[1].effects[metric]
        np.testing.assert_allclose(effect.patched, other.patched, atol=2e-4)
        np.testing.assert_allclose(effect.clean, other.clean, atol=2e-4)


def test_a_prompt_of_2000_tokens(tmp_path):
    model = models.native(words=word_tokenizer(tmp_path, 6_000), n_ctx=2_500, n_heads=2)
    batch = repeated_batch(model, n_prompts=1, length=1_000, seed=1)
    assert batch.lengths[0] == 2_001
    result = scan(model, n_prompts=1, length=1_000, seed=1)
    np.testing.assert_allclose(
        result.scores["induction"].mean, stripe(model, batch.prompt(0), 1_000), atol=1e-5
    )
    assert np.isfinite(result.loss.second).all()


def test_a_vocabulary_of_150000(tmp_path):
    model = models.native(words=word_tokenizer(tmp_path, 150_000))
    result = scan(model, n_prompts=2, length=10, seed=2)
    batch = repeated_batch(model, n_prompts=2, length=10, seed=2)
    first = []
    for row in range(2):
        ids = torch.as_tensor(batch.prompt(row))
        logits = model(ids[None])[0].double()
        loss = torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="none")
        first.append(loss[: min(batch.periods)].numpy())
    np.testing.assert_allclose(result.loss.first, np.mean(first, axis=0), atol=2e-5)


@pytest.mark.parametrize(("n_layers", "n_heads"), [(2, 1), (1, 4), (1, 1), (100, 2)])
def test_extreme_shapes(n_layers, n_heads):
    """Scores, and a head of the last layer patched by a hook."""
    model = models.native(n_layers=n_layers, n_heads=n_heads)
    batch = repeated_batch(model, n_prompts=2, length=12, seed=4)
    expected = np.mean([stripe(model, batch.prompt(row), batch.periods[row]) for row in range(2)], axis=0)
    result = scan(model, n_prompts=2, length=12, seed=4)
    np.testing.assert_allclose(result.scores["induction"].mean, expected, atol=1e-5)
    [pair] = pairs(model, 1, seed=0)
    _, _, expected = models.plain_and_patched(model, pair, [(n_layers - 1, 0)])
    patched = patch_heads(model, [pair]).effect("logit_difference").patched[0][n_layers - 1][0]
    assert patched == pytest.approx(expected, rel=1e-4, abs=2e-5)
