"""A scan of models of other families: losses are the model's own, and layers that cannot see far say so."""

import models
import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from induction.analysis import scanning as analysis
from induction.analysis.reading import remarks
from induction.analysis.result import Scan
from induction.data_gen import sequences as data_gen
from induction.model import load_model

L = 30  # tokens per copy
TOO_SHORT, LONG_ENOUGH = 8, 2 * L  # windows
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
}
# What each does to the logits after the unembedding, strong enough to be seen in a tiny model.
AFTER_THE_UNEMBEDDING = {
    "Gemma2": {"final_logit_softcapping": 1.0, "query_pre_attn_scalar": 8},
    "Cohere": {"logit_scale": 0.25},
    "Granite": {"logits_scaling": 4.0, "attention_multiplier": 0.3},
}


def saved(folder, family: str, **settings) -> str:
    """A folder with a random model of a family and the tests' tokenizer."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(models.tokenizer()), bos_token_id=0, eos_token_id=0, pad_token_id=0, **settings
    )
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():  # logits far from uniform
        parameter.data.normal_(0, 0.3)
    model.save_pretrained(folder)
    models.tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("family", AFTER_THE_UNEMBEDDING)
def test_the_loss_is_that_of_the_models_own_logits(family, tmp_path):
    folder = saved(tmp_path / family, family, **SHAPE, **AFTER_THE_UNEMBEDDING[family])
    bridge, original = load_model(folder), AutoModelForCausalLM.from_pretrained(folder)
    batch = data_gen.repeated_batch(bridge, n_prompts=2, length=12)
    loss = analysis.scan(bridge, n_prompts=2, length=12).loss
    second = []
    for row, period in enumerate(batch.periods):
        ids = torch.as_tensor(batch.prompt(row))
        with torch.no_grad():
            nll = torch.nn.functional.cross_entropy(
                original(ids[None]).logits[0, :-1], ids[1:], reduction="none"
            )
            bare = original.lm_head(original.model(ids[None]).last_hidden_state)[0, :-1]
        assert not torch.allclose(
            bare, original(ids[None]).logits[0, :-1], atol=0.1
        )  # there is something to miss
        second.append(nll[period : period + min(batch.periods)].numpy())
    assert np.allclose(loss.second, np.mean(second, 0), atol=1e-4)


@pytest.fixture(scope="module")
def windowed(tmp_path_factory):
    """A Mistral whose window is shorter than the repeat."""
    return load_model(saved(tmp_path_factory.mktemp("mistral"), "Mistral", **SHAPE, sliding_window=TOO_SHORT))


def test_a_window_shorter_than_the_repeat_is_said_and_not_taken_for_zero(windowed):
    scan = analysis.scan(windowed, n_prompts=3, length=L)
    induction = scan.scores["induction"]
    assert induction.reach == [0, 0]
    assert np.array(induction.mean).max() == 0
    said = " ".join(remarks(scan, "induction"))
    assert "all layers" in said
    assert "cannot see" in said
    assert "chance" not in scan.verdict()
    assert "sees" in scan.verdict()
    assert scan.scores["previous_token"].reach == [1, 1]
    assert not remarks(scan, "previous_token")
    partly = scan.scores["first_token"].reach[0]  # the first queries still see position 0
    assert 0 < partly < 0.3
    assert f"{partly:.2f}" in " ".join(remarks(scan, "first_token"))
    assert Scan.from_json(scan.to_json()) == scan


def test_a_window_is_said_of_a_single_text_too(windowed):
    copy = list(range(20, 20 + L))
    assert any("cannot see" in text for text in remarks(analysis.analyze_induction_heads(windowed, copy * 2)))


def test_a_window_longer_than_the_repeat_is_no_matter(tmp_path):
    wide = load_model(saved(tmp_path / "wide", "Mistral", **SHAPE, sliding_window=LONG_ENOUGH))
    assert not remarks(analysis.scan(wide, n_prompts=5, length=L, loss=False), "induction")


def test_only_the_local_layer_of_a_gpt_neo_is_named(tmp_path):
    settings = {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": TOO_SHORT,
        "max_position_embeddings": 128,
    }
    neo = load_model(saved(tmp_path / "neo", "GPTNeo", **settings))
    scan = analysis.scan(neo, n_prompts=3, length=L)
    assert scan.scores["induction"].reach == [1, 0]
    (said,) = [text for text in remarks(scan, "induction") if "cannot see" in text]
    assert "layer 1 " in said
    assert "No induction head" in scan.verdict()  # layer 0 was able to
    seeing = scan.scores["induction"].model_copy(update={"reach": [1.0, 1.0]})
    healed = scan.model_copy(update={"scores": {"induction": seeing}})
    assert not any("cannot see" in text for text in remarks(healed))
