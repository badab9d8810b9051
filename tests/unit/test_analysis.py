"""The scan finds a planted circuit exactly, agrees with TransformerLens, and finds nothing where nothing is."""

import models
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformer_lens.head_detector import detect_head

from induction.analysis import scanning as analysis
from induction.analysis.result import Scan
from induction.analysis.scores import SCORES
from induction.base import InputError
from induction.data_gen import sequences as data_gen

NATIVE = models.native()


def test_the_planted_circuit_is_found_exactly(planted):
    scan = analysis.scan(planted, n_prompts=6, scores=tuple(SCORES))
    assert scan.ranked("induction")[0] == (*models.INDUCTION_HEAD, pytest.approx(1, abs=0.01))
    assert scan.ranked("prefix_matching")[0][:2] == models.INDUCTION_HEAD
    assert scan.ranked("previous_token")[0] == (*models.PREVIOUS_TOKEN_HEAD, pytest.approx(1, abs=0.01))
    for name in ("induction", "previous_token"):
        assert scan.ranked(name)[1][2] < 0.1
    assert scan.loss.first_mean > 5
    assert scan.loss.second_mean < 0.1
    assert scan.loss.gain == pytest.approx(np.mean(scan.loss.first[1:]) - np.mean(scan.loss.second[1:]))
    assert "1 head above 0.4, led by 1.1" in scan.verdict()


def test_a_random_model_has_none(model):
    scan = analysis.scan(model, n_prompts=6)
    assert scan.ranked("induction")[0][2] < 0.1
    assert abs(scan.loss.gain) < 0.5
    assert scan.verdict().startswith("No induction head")


def test_detect_head_agrees_up_to_its_denominator(planted):
    """detect_head divides by all rows; we divide by the rows that can score. The numerators are equal."""
    batch = data_gen.repeated_batch(planted, n_prompts=3, vocab="letters", seed=1)
    scan = analysis.scan(planted, n_prompts=3, vocab="letters", seed=1)
    for name in ("induction", "duplicate_token", "previous_token"):
        for row, period in enumerate(batch.periods):
            ids = batch.prompt(row)
            text = planted.tokenizer.decode(ids[1:])
            assert (planted.to_tokens(text)[0].numpy() == ids).all()
            detected = detect_head(planted, text, f"{name}_head").numpy()  # [layer, head]
            rows = len(ids) - 1 if name == "previous_token" else period
            assert np.allclose(detected * len(ids) / rows, scan.scores[name].per_prompt[row], atol=1e-4)
            assert name != "induction" or detected.max() < 0.5  # though one head is perfect


def test_splitting_the_batch_changes_nothing(monkeypatch):
    model = models.gpt2()
    whole = analysis.scan(model, n_prompts=5, scores=tuple(SCORES))
    monkeypatch.setattr(analysis, "BATCH_BYTES", 1)
    steps = list(analysis.iter_scan(model, n_prompts=5, scores=tuple(SCORES)))
    assert len(steps) == 5 * (1 + SCORES["prefix_matching"].sequences) + 1
    for name, scores in whole.scores.items():
        split = steps[-1].result.scores[name].per_prompt
        assert np.allclose(split, scores.per_prompt, atol=2e-5)
        assert steps[-1].result.scores[name].reach == scores.reach
    assert np.allclose(steps[-1].result.loss.second, whole.loss.second, atol=1e-4)


def test_the_logits_count_only_where_they_are_made(monkeypatch):
    model = models.gpt2()
    batch = data_gen.repeated_batch(model, n_prompts=8)
    attention = 16 * model.cfg.n_heads * max(batch.lengths) ** 2
    monkeypatch.setattr(analysis, "BATCH_BYTES", 8 * attention)
    assert len(analysis._batches(model, batch, loss=False)) == 1
    assert len(analysis._batches(model, batch, loss=True)) > 1


@pytest.mark.parametrize("loss", [True, False])
def test_a_score_of_four_copies_can_be_asked_for_alone(planted, loss):
    alone = analysis.scan(planted, n_prompts=3, scores=("prefix_matching",), loss=loss)
    whole = analysis.scan(planted, n_prompts=3, scores=tuple(SCORES))
    assert alone.scores["prefix_matching"] == whole.scores["prefix_matching"]
    assert alone.loss == (whole.loss if loss else None)
    assert alone.verdict()


def test_closing_the_generator_cancels_and_leaves_the_model_clean(monkeypatch):
    monkeypatch.setattr(analysis, "BATCH_BYTES", 1)
    model = models.gpt2()
    steps = analysis.iter_scan(model, n_prompts=5)
    next(steps)
    next(steps)
    steps.close()
    assert not any(point.fwd_hooks for point in model.hook_dict.values())


def test_a_tokenizer_without_bos(monkeypatch):
    model = models.gpt2()
    monkeypatch.setattr("induction.model.tokens.bos_id", lambda model: None)
    scan = analysis.scan(model, n_prompts=2, length=10)
    assert scan.loss.first[0] is None
    assert len(scan.loss.first) == len(scan.loss.second) == 8
    assert "without BOS" in scan.scores["induction"].protocol
    assert Scan.from_json(scan.to_json()) == scan


def test_intervals_hold_the_mean_and_the_json_round_trip_is_exact():
    scan = analysis.scan(models.llama(), n_prompts=4, length=10)
    score = scan.scores["induction"]
    low, mean, high = (np.array(grid) for grid in (score.low, score.mean, score.high))
    assert (low <= mean).all()
    assert (mean <= high).all()
    assert (low < high).any()
    assert Scan.from_json(scan.to_json()) == scan
    assert analysis.scan(models.llama(), n_prompts=1, length=10).scores["induction"].low is None


def test_the_promised_functions(planted):
    top = analysis.get_top_induction_heads(planted, vocab_name="letters", n_prompts=3)
    assert top[0][:2] == models.INDUCTION_HEAD
    prompt = data_gen.generate_repeated_sequence(data_gen.get_token_set("letters", planted))
    by_prompt = analysis.analyze_induction_heads(planted, prompt)
    by_text = analysis.analyze_induction_heads(planted, prompt.text)
    assert by_prompt.scores == by_text.scores
    assert by_text.ranked("induction")[0] == (*models.INDUCTION_HEAD, pytest.approx(1, abs=0.01))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: analysis.scan(m, scores=("inductoin",)), "choose one of induction"),
        (lambda m: analysis.scan(m, scores=()), "at least one score; choose one of induction"),
        (lambda m: analysis.get_top_induction_heads(m, top_k=-1), "give 1 or more"),
        (lambda m: analysis.get_top_induction_heads(m, top_k=0), "give 1 or more"),
        (lambda m: analysis.scan(m, length=1000), "context of 256"),
        (lambda m: analysis.analyze_induction_heads(m, " one two three"), "Nothing repeats"),
        (lambda m: analysis.analyze_induction_heads(m, ""), "text is empty"),
        (lambda m: analysis.analyze_induction_heads(m, [1, 2, 1, 99999]), "Token ids run from 0 to"),
        (lambda m: analysis.analyze_induction_heads(m, [1] * 300), "context is 256"),
    ],
)
def test_bad_input_is_answered_in_one_sentence(planted, call, message):
    with pytest.raises(InputError, match=message):
        call(planted)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=2, max_size=40))
def test_any_prompt_is_scored_or_refused(ids):
    try:
        scan = analysis.analyze_induction_heads(NATIVE, ids)
    except InputError:
        return
    values = np.array([score.mean for score in scan.scores.values()])
    assert ((values >= 0) & (values <= 1.0001)).all()
