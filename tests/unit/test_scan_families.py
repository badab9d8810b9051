"""A scan of models whose layers cannot see far says so; that losses are the model's own, architectures.py checks."""

import models
import numpy as np
import pytest

from induction.analysis import scanning as analysis
from induction.analysis.reading import remarks
from induction.analysis.result import Scan
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


def saved(folder, family: str, **settings) -> str:
    """A folder with a random model of a family and the tests' tokenizer."""
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    return models.save(models.causal_lm(f"{family}ForCausalLM", **special, **settings), folder)


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
    size = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 128}
    window = {"attention_types": [[["global", "local"], 1]], "window_size": TOO_SHORT}
    neo = load_model(saved(tmp_path / "neo", "GPTNeo", **size, **window))
    scan = analysis.scan(neo, n_prompts=3, length=L)
    assert scan.scores["induction"].reach == [1, 0]
    (said,) = [text for text in remarks(scan, "induction") if "cannot see" in text]
    assert "layer 1 " in said
    assert "No induction head" in scan.verdict()  # layer 0 was able to
    seeing = scan.scores["induction"].model_copy(update={"reach": [1.0, 1.0]})
    healed = scan.model_copy(update={"scores": {"induction": seeing}})
    assert not any("cannot see" in text for text in remarks(healed))
