"""What a scan says in words is what its numbers are: verdict, the leader as the pick of many, remarks, windows."""

import re

import models
import numpy as np
import pytest

from induction.analysis import scanning as analysis
from induction.analysis.kinds import STRIPE
from induction.analysis.reading import found, remarks, selection, used
from induction.analysis.result import HeadScores, Scan
from induction.analysis.scores import SCORES
from induction.base import expected_passes, mean_interval
from induction.data_gen import sequences as data_gen
from induction.model import load_model
from induction.results import SCANS


def scan_of(values: np.ndarray, **levels) -> Scan:
    """A scan of one score with these figures, ``[prompt, layer, head]``."""
    _, n_layers, n_heads = values.shape
    score = HeadScores(mean=values.mean(0).tolist(), protocol="made up", per_prompt=values.tolist(), **levels)
    made_up = {"model": "made up", "origin": "made up", "n_layers": n_layers, "n_heads": n_heads}
    return Scan(kind="computed", scores={"induction": score}, **made_up)


def test_the_leader_of_noise_is_not_told_from_chance_once_the_pick_counts():
    rng = np.random.default_rng(0)
    plain = allowed = 0
    for _ in range(200):
        values = rng.normal(0.2, 0.05, (10, 4, 8))
        picked = selection(scan_of(values, chance=0.2, ceiling=1.0))
        low, _ = mean_interval(values[:, picked.layer, picked.head])
        plain += low > 0.2
        allowed += picked.low > 0.2
    assert plain > 60  # of 32 heads one is nearly always too high
    assert allowed < 12


def test_selection_holds_the_figures_of_the_scan():
    rng = np.random.default_rng(1)
    values = rng.normal(0.3, 0.2, (5, 2, 3)).clip(0, 1)
    picked = selection(scan_of(values, chance=0.3, ceiling=0.8))
    assert (picked.layer, picked.head) == np.unravel_index(values.mean(0).argmax(), (2, 3))
    assert picked.threshold == pytest.approx(STRIPE * 0.8)
    assert picked.passed == (values.mean(0) >= STRIPE * 0.8).sum()
    assert picked.expected == pytest.approx(expected_passes(values, 0.3, STRIPE * 0.8))
    for figure in (picked.leader, str(picked.n_heads), f"{picked.low:.2f}", f"{picked.expected:.2f}"):
        assert figure in str(picked)


def test_the_page_says_what_the_scan_says():
    from induction.ui.tabs import scan as scan_tab

    for name in ("mini-2l", "gpt2"):
        scan = SCANS.get(name)
        shown = scan_tab.draw(name, "", "induction", "")
        assert str(selection(scan)) in shown
        assert found(scan) in re.sub("</?dfn.*?>", "", shown[0])  # words are explained
        assert used(scan) in shown
        assert scan.verdict().lower() == f"{found(scan)[:-1]}; {used(scan)}".lower()
    scan = SCANS.get("mini-2l")
    measured = scan.scores["prefix_matching"]
    assert f"{measured.chance:.3f}" in scan_tab.definition(scan, "prefix_matching")
    assert remarks(scan, "prefix_matching")[0] in scan_tab.draw("mini-2l", "", "prefix_matching", "")


def test_without_prompts_to_compare_no_interval_is_claimed():
    for scan in (SCANS.get("gpt2"), scan_of(np.full((1, 2, 2), 0.5), chance=0.01, ceiling=1.0)):
        picked = selection(scan)
        assert (picked.low, picked.high, picked.expected) == (None, None, None)
        assert f"highest of {scan.n_layers * scan.n_heads} heads" in str(picked)
        assert "not known" in str(picked)


def test_a_perfect_head_on_many_copies_counts_as_one():
    copies = [list(range(20, 40)) * n for n in (3, 4, 6)]
    for ids in copies:
        scan = analysis.analyze_induction_heads(models.planted_circuit(), [0, *ids])
        measured = scan.scores["induction"]
        best = scan.ranked()[0]
        assert best[:2] == models.INDUCTION_HEAD
        assert best[2] == pytest.approx(measured.ceiling, abs=0.01)
        assert best[2] < 0.7
        verdict = scan.verdict()
        assert verdict.startswith("1 head above")
        assert f"ceiling {measured.ceiling:.2f}" in verdict
        assert any(f"above {measured.ceiling:.2f}" in text for text in remarks(scan, "induction"))
        header, *rows = scan.to_csv().splitlines()
        share = dict(zip(header.split(","), rows[5].split(","), strict=True))["induction_of_ceiling"]
        assert float(share) == pytest.approx(1, abs=0.01)
    assert "of_ceiling" not in SCANS.get("mini-2l").to_csv()


def test_one_period_lets_a_fixed_distance_pass():
    model = models.gpt2()
    for scan in (
        analysis.scan(model, n_prompts=1, length=20, loss=False),
        analysis.analyze_induction_heads(model, list(range(20, 40)) * 2),
    ):
        assert scan.scores["induction"].mimics["19 back"] == 1
        assert any("19 tokens back would score 1.00" in text for text in remarks(scan, "induction"))
    varied = analysis.scan(model, n_prompts=10, length=20, loss=False, scores=tuple(SCORES))
    assert not remarks(varied, "induction")
    assert remarks(varied, "prefix_matching")  # Olsson's prompts have one length


def test_two_tokens_again_make_a_previous_token_head_an_induction_head():
    scan = analysis.scan(models.planted_circuit(), n_prompts=5, length=2, loss=False)
    layer, head = models.PREVIOUS_TOKEN_HEAD
    assert scan.scores["induction"].mean[layer][head] > 0.95
    assert scan.scores["induction"].mimics["previous_token"] == 1
    (said,) = remarks(scan, "induction")
    assert "previous token head would score 1.00" in said


def test_a_generated_prompt_has_a_single_cell_and_says_so():
    model = models.planted_circuit()
    prompt = data_gen.generate_repeated_sequence(data_gen.get_token_set("letters", model))
    said = remarks(analysis.analyze_induction_heads(model, prompt), "induction")
    assert any(f"{prompt.second_a - prompt.first_b} tokens back" in text for text in said)


# -- layers that cannot see far

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
