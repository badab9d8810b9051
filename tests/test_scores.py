"""Each stub head scores its ceiling on its own score and its chance level or zero elsewhere."""

import numpy as np
import pytest

from induction.scores import SCORES, apply, cells, chance

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
    assert chance(score, TOKENS) < 0.06


def test_a_prompt_without_repeats_is_undefined():
    assert np.isnan(apply(SCORES["induction"], np.eye(5), np.arange(5)))
