"""Each stub head scores its ceiling on its own score and its chance level or zero elsewhere."""

import numpy as np
import pytest

from induction.analysis.scores import SCORES, apply, cells

L = 50
TOKENS = np.concatenate([[999], np.arange(L), np.arange(L)])  # [BOS] r1..rL r1..rL


def stub(offset: int) -> np.ndarray:
    """A head that attends ``offset`` positions back where it can and to BOS elsewhere."""
    n = len(TOKENS)
    pattern = np.zeros((n, n))
    for q in range(n):
        pattern[q, q - offset if q - offset >= 1 else 0] = 1
    return pattern


def test_induction_cells_are_the_stripe_after_the_first_copy():
    query, key, denominator = cells(SCORES["induction"], TOKENS)
    assert list(query) == list(range(L + 1, 2 * L + 1))
    assert (key == query - L + 1).all()
    assert denominator == L


@pytest.mark.parametrize(
    ("name", "offset"), [("induction", L - 1), ("duplicate_token", L), ("previous_token", 1)]
)
def test_a_stub_head_scores_only_what_it_is(name, offset):
    pattern = stub(offset)
    three = ("induction", "duplicate_token", "previous_token")
    scored = {other: apply(SCORES[other], pattern, TOKENS) for other in three}
    assert scored.pop(name) == pytest.approx(1.0)
    assert max(scored.values()) <= 1 / L


@pytest.mark.parametrize("score", SCORES.values(), ids=list(SCORES))
def test_a_uniform_head_scores_chance(score):
    n = len(TOKENS)
    uniform = np.tril(np.ones((n, n))) / np.arange(1, n + 1)[:, None]
    query, _, _ = cells(score, TOKENS)
    assert apply(score, uniform, TOKENS) == pytest.approx(np.mean(1 / (query + 1)))
    assert cells(score, TOKENS).chance == pytest.approx(np.mean(1 / (query + 1)))


@pytest.mark.parametrize(("copies", "expected"), [(2, 1), (3, 2 / 3), (4, 1 / 2), (6, 1 / 3)])
def test_a_perfect_head_reaches_the_ceiling_of_its_text_and_no_more(copies, expected):
    tokens = np.tile(np.arange(L), copies)
    found = cells(SCORES["induction"], tokens)
    pattern = np.zeros((len(tokens), len(tokens)))
    pattern[found.query, found.key] = 1
    pattern /= np.maximum(pattern.sum(1, keepdims=True), 1)
    # The first token of a copy follows itself nowhere but in the copies before the last one.
    assert found.ceiling == pytest.approx(expected, abs=0.01)
    assert apply(SCORES["induction"], pattern, tokens) == pytest.approx(found.ceiling)
    assert apply(SCORES["prefix_matching"], pattern, tokens) == pytest.approx(1)
    assert cells(SCORES["prefix_matching"], tokens).ceiling == 1


@pytest.mark.parametrize("name", ["induction", "duplicate_token", "prefix_matching"])
def test_what_a_head_of_another_kind_scores_is_what_its_pattern_scores(name):
    tokens = np.array([9, 1, 2, 1, 2, 3, 1, 1, 2, 3])
    own = cells(SCORES[name], tokens)
    for other in ("previous_token", "first_token", "duplicate_token", "induction"):
        theirs = cells(SCORES[other], tokens)
        pattern = np.zeros((len(tokens), len(tokens)))
        pattern[theirs.query, theirs.key] = 1
        pattern /= np.maximum(pattern.sum(1, keepdims=True), 1)
        assert own.overlap(theirs) == pytest.approx(apply(SCORES[name], pattern, tokens))
    by_distance = own.by_distance()
    assert by_distance.sum() > 0.9
    for distance, scored in enumerate(by_distance):
        assert scored == pytest.approx(apply(SCORES[name], np.eye(len(tokens), k=-distance), tokens))


def test_a_prompt_without_repeats_is_undefined():
    found = cells(SCORES["induction"], np.arange(5))
    assert np.isnan([found.chance, found.ceiling, found.overlap(found), *found.by_distance()]).all()
    assert np.isnan(apply(SCORES["induction"], np.eye(5), np.arange(5)))
