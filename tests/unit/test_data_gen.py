"""Prompts hold what they promise: positions, answers, twins, one token a word, seeds, limits."""

import itertools

import models
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from induction.base import InputError
from induction.data_gen import sequences as data_gen
from induction.model import tokens

LETTERS = data_gen.get_token_set("letters")


@pytest.fixture(scope="module")
def model():
    return models.gpt2()


def test_the_promised_prompt():
    prompt = data_gen.generate_repeated_sequence(LETTERS, prefix_length=5, seed=42)
    a, b = prompt.words[5], prompt.words[6]
    assert (prompt.first_a, prompt.first_b, prompt.second_a) == (5, 6, len(prompt.words) - 1)
    assert prompt.words[-1] == a
    assert prompt.answer == b
    assert prompt.words.count(a) == 2
    assert len(set(prompt.words)) == len(prompt.words) - 1
    assert prompt == data_gen.generate_repeated_sequence(LETTERS, prefix_length=5, seed=42)
    assert prompt != data_gen.generate_repeated_sequence(LETTERS, prefix_length=5, seed=43)
    assert f"-> {b}" in str(prompt)


@pytest.mark.parametrize(("corruption", "changed"), [("first_a", 5), ("target", 6)])
def test_the_corrupted_twin_differs_in_one_earlier_word(corruption, changed):
    prompt = data_gen.generate_repeated_sequence(LETTERS, corruption=corruption)
    pairs = zip(prompt.words, prompt.corrupted_words, strict=True)
    assert [i for i, (clean, corrupted) in enumerate(pairs) if clean != corrupted] == [changed]
    assert prompt.corrupted_words[changed] == prompt.distractor
    assert prompt.distractor not in prompt.words


def test_every_word_is_one_ordinary_token_in_the_model(model):
    for name in ("letters", "random"):
        words = data_gen.get_token_set(name, model)
        assert len(words) > 20
        assert all(tokens.single_token(model, word) is not None for word in words)
        assert not any(mark in word for word in words for mark in (models.BOS, "\ufffd"))
        prompt = data_gen.generate_repeated_sequence(words)
        assert len(prompt.ids(model)) == len(prompt.words) + 1  # BOS
        assert tokens.encode(model, prompt.text) == prompt.ids(model) or name == "random"
    with pytest.warns(UserWarning, match=r"of 100 entries of 'numbers' are not one token"):
        assert 5 < len(data_gen.get_token_set("numbers", model)) < 100


def test_a_batch_repeats_distinct_tokens_with_varied_length(model):
    batch = data_gen.repeated_batch(model, n_prompts=5, length=20, seed=3)
    assert batch.periods == (16, 18, 20, 22, 24)
    for index, period in enumerate(batch.periods):
        ids = batch.prompt(index)
        assert ids[0] == tokens.bos_id(model)
        copy = ids[1 : 1 + period]
        assert len(set(copy)) == period
        assert (ids[1 + period :] == copy).all()
    again = data_gen.repeated_batch(model, n_prompts=5, length=20, seed=3)
    assert (again.tokens == batch.tokens).all()
    assert (data_gen.repeated_batch(model, n_prompts=5, length=20, seed=4).tokens != batch.tokens).any()


@pytest.mark.parametrize("checked_whole", [True, False])
def test_every_prompt_draws_from_the_whole_set(model, checked_whole, monkeypatch):
    """What two prompts share is what two draws from all ordinary tokens share, not more."""
    if not checked_whole:
        monkeypatch.setattr(data_gen, "CHECKED_WHOLE", 0)
    whole = set(data_gen.random_ids(model, None).tolist())
    batch = data_gen.repeated_batch(model, n_prompts=60, length=20)
    copies = [set(batch.prompt(row)[1 : 1 + period].tolist()) for row, period in enumerate(batch.periods)]
    assert set().union(*copies) <= whole
    shared = np.mean([len(a & b) / len(a) for a, b in itertools.pairwise(copies)])
    assert shared == pytest.approx(np.mean(batch.periods) / len(whole), rel=0.35)
    assert len(set().union(*copies)) > 0.9 * len(whole)


def test_a_large_vocabulary_that_is_hardly_ordinary_is_searched_or_refused(model, monkeypatch):
    monkeypatch.setattr(data_gen, "CHECKED_WHOLE", 0)
    few = data_gen.random_ids(model, None)[:12]
    monkeypatch.setattr(tokens, "ordinary", lambda model, ids: np.isin(ids, few))
    batch = data_gen.repeated_batch(model, n_prompts=2, length=10)
    assert set(batch.prompt(1)[1:]) <= set(few.tolist())
    with pytest.raises(InputError, match="choose a length of at most 12"):
        data_gen.repeated_batch(model, n_prompts=2, length=13)


def test_four_copies_of_one_length_and_small_sets(model):
    """As in Olsson et al. 2022; the default length is less where there are fewer tokens."""
    batch = data_gen.repeated_batch(model, n_prompts=2, length=25, copies=4, spread=0)
    assert batch.lengths == (101, 101)
    assert (batch.tokens[:, 1:26] == batch.tokens[:, 76:101]).all()
    assert max(data_gen.repeated_batch(model, vocab="letters").periods) <= 26


def test_repeats_in_a_text_are_found(model):
    text = " the cat and the dog"
    passage = data_gen.passage(model, text, times=2)
    n = len(tokens.encode(model, text, bos=False))
    assert passage.repeats[0] == data_gen.Repeat(1, 1 + n, n)
    assert not data_gen.passage(model, " one two three").repeats


@given(st.lists(st.integers(0, 5), max_size=40))
def test_every_repeat_found_is_one(ids):
    for repeat in data_gen.find_repeats(ids):
        assert repeat.first + repeat.length <= repeat.second
        first = ids[repeat.first : repeat.first + repeat.length]
        assert first == ids[repeat.second : repeat.second + repeat.length]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: data_gen.get_token_set("runes"), "choose one of random, letters"),
        (lambda m: data_gen.get_token_set("random"), "pass model="),
        (lambda m: data_gen.generate_repeated_sequence(["a", "b"]), "needs 13 distinct words"),
        (lambda m: data_gen.generate_repeated_sequence(LETTERS, prefix_length=-1), "0 or more"),
        (lambda m: data_gen.generate_repeated_sequence(LETTERS, corruption="x"), "first_a, target"),
        (lambda m: data_gen.repeated_batch(m, n_prompts=0), "at least 1 prompt"),
        (lambda m: data_gen.repeated_batch(m, length=1), "at least 2 tokens"),
        (lambda m: data_gen.repeated_batch(m, seed=-1), "seed is 0 or more"),
        (lambda m: data_gen.repeated_batch(m, copies=1), "at least 2 copies"),
        (lambda m: data_gen.repeated_batch(m, vocab="letters", length=40), "a length of at most 21"),
        (lambda m: data_gen.repeated_batch(m, length=200), "context of 256; choose a length of at most 106"),
        (lambda m: data_gen.passage(m, "  "), "text is empty"),
        (lambda m: data_gen.passage(m, " cat" * 300), "context is 256; shorten it"),
        (lambda m: data_gen.token_of(m, "several tokens"), "not one token"),
    ],
)
def test_bad_input_is_answered_in_one_sentence(model, call, message):
    with pytest.raises(InputError, match=message):
        call(model)


def test_labels_show_spaces_newlines_and_lone_bytes(model):
    shown = tokens.labels(model, tokens.encode(model, " cat\né", bos=False))
    assert shown == ["·cat", "⏎", "<0xC3>", "<0xA9>"]
    assert np.all([label.isprintable() for label in tokens.labels(model, list(range(model.cfg.d_vocab)))])
