"""Heads in prose: stub heads score what they must, a slow loop over plain runs agrees, and so does scipy."""

import json
import re
from collections import Counter
from html import unescape
from itertools import pairwise
from math import lgamma

import models
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from induction.analysis import real_text as module
from induction.analysis.experiments import RealTextSettings, run_real_text
from induction.analysis.kinds import STRIPE
from induction.analysis.real_text import Bigrams, Queries, iter_real_text, levels, real_text, reduce_pattern
from induction.analysis.real_text_result import MEASURES, RealText
from induction.analysis.scanning import scan
from induction.base import InputError, Refused, finish
from induction.data_gen.prose import prose, spread_out
from induction.ui.tabs.real_text_cards import SHADE, passages_html
from induction.viz.theme import DARK, LIGHT

N = 60
SHAPE = {"n_passages": 3, "length": 96}  # of runs on small models
PLANTED = {"n_passages": 6, "length": 96}


@pytest.fixture(scope="module")
def found(planted) -> RealText:
    return finish(run_real_text(planted, RealTextSettings(**PLANTED)))


def passage() -> np.ndarray:
    """Token 1 after every other token but at the end, where 2 comes after 3; each of 20 others comes three times."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.permutation(np.arange(10, 30)) for _ in range(3)])


def asked(ids: np.ndarray, others: tuple = ()) -> Queries:
    """The queries of a passage beside others in which none of its tokens comes, so that nothing is predicted."""
    return Queries.of(ids, Bigrams([ids, *others, np.arange(200, 400)], 400), 0)


def repeats(ids: np.ndarray) -> dict[int, list[int]]:
    """By query, the positions after earlier occurrences of its token, written out."""
    found = {q: [k for k in range(1, q) if ids[k - 1] == ids[q]] for q in range(len(ids))}
    return {q: keys for q, keys in found.items() if keys}


def stub(look, n: int = N) -> np.ndarray:
    """A head that spreads a row evenly over ``look(query)``, and rests on position 0 where that is nothing."""
    pattern = np.zeros((n, n))
    for q in range(n):
        keys = look(q) or [0]
        pattern[q, keys] = 1 / len(keys)
    return pattern


def measured(*heads: np.ndarray, ids: np.ndarray | None = None) -> dict[str, np.ndarray]:
    queries = asked(passage() if ids is None else ids)
    return reduce_pattern(torch.tensor(np.stack(heads), dtype=torch.float32), queries).values


# Which queries count


def test_the_queries_of_a_text_are_those_whose_token_came_before():
    ids = passage()
    queries, expected = asked(ids), repeats(ids)
    assert queries.query.tolist() == list(expected)
    assert queries.latest.tolist() == [max(keys) for keys in expected.values()]
    cells = {(int(queries.query[row]), int(key)) for row, key in zip(queries.row, queries.key, strict=True)}
    assert cells == {(q, k) for q, keys in expected.items() for k in keys}
    assert queries.n_repeated == len(expected)


def test_bigrams_are_counted_without_the_passage_on_hand():
    # 5 is followed by 6 three times of four in the first two passages, and by 7 in the third, which is left out.
    passages = [np.array([5, 6, 5, 6, 9]), np.array([5, 6, 5, 8]), np.array([5, 7, 5, 7, 5, 7])]
    bigrams = Bigrams(passages, 10)
    first, then = np.array([5, 5, 5, 4]), np.array([6, 7, 8, 6])
    shares = np.array([3, 0, 1, 3]) / 9
    expected = (np.array([3, 0, 1, 0]) + shares) / (np.array([4, 4, 4, 0]) + 1)
    np.testing.assert_allclose(bigrams.probability(2, first, then), expected)
    np.testing.assert_allclose(bigrams.share(2, np.array([5, 7])), [4 / 9, 0])
    with_it = Bigrams([*passages, np.array([1])], 10).probability(3, first[1:2], then[1:2])
    np.testing.assert_allclose(with_it, (3 + 3 / 15) / (7 + 1))


def test_what_a_bigram_model_predicts_is_no_induction():
    text = np.array(
        [50, 51, 52, 60, 61, 62, 50, 70, 60, 71, 72, 73]
    )  # 50 and 60 come again, then 51 and 61 would
    others = (np.tile([50, 51, *range(100, 198)], 3), np.arange(200, 400))
    kept = Queries.of(text, Bigrams([text, *others], 400), 0)
    assert kept.query.tolist() == [8], "50 is followed by 51 elsewhere"
    assert kept.latest.tolist() == [4]
    assert asked(text).query.tolist() == [6, 8]
    assert Queries.of(text, Bigrams([text, *others], 400), 0, special=[60]).query.tolist() == []


def test_a_token_of_which_the_text_is_full_is_no_query():
    text = np.array([50, 51, 52, 60, 61, 62, 50, 70, 60, 71])
    often = np.concatenate([[50, 100 + at] for at in range(50)])  # half of all tokens, never before 51
    assert Queries.of(text, Bigrams([text, often], 400), 0).query.tolist() == [8]


# What a pattern says


def test_stub_heads_score_what_they_must():
    ids = passage()
    targets = repeats(ids)
    found = measured(
        stub(lambda q: [max(targets[q])] if q in targets else []),
        stub(lambda q: targets.get(q, [])),
        stub(lambda q: []),
        stub(lambda q: list(range(q + 1))),
        stub(lambda q: [max(0, q - 1)]),
    )
    after = np.mean([1 / len(keys) for keys in targets.values()])
    uniform = np.mean([1 / (q + 1) for q in targets])
    latest, every, sink, even, previous = np.arange(5)
    assert found["latest"][[latest, every, sink, even]] == pytest.approx([1, after, 0, uniform])
    assert found["any"][[latest, every, sink]] == pytest.approx([1, 1, 0])
    assert found["any"][even] == pytest.approx(np.mean([len(keys) / (q + 1) for q, keys in targets.items()]))
    assert found["often"][[latest, every, sink, even]] == pytest.approx(
        [1, np.mean([1 / len(keys) >= STRIPE for keys in targets.values()]), 0, 0]
    )
    assert found["often_any"][[latest, every]] == pytest.approx([1, 1])
    assert found["control"][[latest, every, sink]] == pytest.approx([0, 0, 0])
    assert found["control"][even] == pytest.approx(uniform, rel=0.15)
    assert found["first_token"][[sink, previous]] == pytest.approx([1, 1 / (N - 1)])
    said = levels(asked(ids))
    for name in ("latest", "any", "control", "often", "often_any", "entropy", "distance", "first_token"):
        assert found[name][even] == pytest.approx(said[name][0], abs=1e-6), name
        assert found[name].max() <= said[name][1] + 1e-6, name


def test_entropy_and_distance_have_their_closed_forms():
    found = measured(stub(lambda q: list(range(q + 1))), stub(lambda q: []), stub(lambda q: [max(0, q - 3)]))
    assert found["entropy"] == pytest.approx([lgamma(N + 1) / (N - 1), 0, 0], abs=1e-6)
    assert found["distance"] == pytest.approx([N / 4, N / 2, (1 + 2 + 3 * (N - 3)) / (N - 1)], abs=1e-6)
    assert found["first_token"][0] == pytest.approx(np.mean([1 / (q + 1) for q in range(1, N)]))


def test_a_head_that_looks_a_distance_back_is_told_by_its_control():
    """Where a text comes again and again at one distance, the distance alone gives the score; the control says so."""
    ids = passage()
    ids = np.concatenate([ids[:20], ids[20:40], np.arange(60, 80)])  # the last 20 do not repeat
    queries = asked(ids)
    lag = int(np.bincount(queries.query - queries.latest).argmax())
    by_distance, induction = measured(
        stub(lambda q: [max(0, q - lag)]), stub(lambda q: [max(repeats(ids).get(q, [0]))]), ids=ids
    )["control"]
    assert by_distance > 3 * induction == 0


def test_attention_that_does_not_sum_to_one_is_refused():
    pattern = torch.full((1, N, N), 0.5 / N)
    with pytest.raises(Refused, match="do not sum to 1"):
        reduce_pattern(pattern, asked(passage()))


# A slow loop over a plain run


def slowly(model, n_passages: int, length: int) -> dict[str, np.ndarray]:
    """Every measure ``[layer, head]``, from a cache and loops; one book a passage."""
    tokenizer, books = model.tokenizer, []
    whole = [tokenizer(one.text, add_special_tokens=False)["input_ids"] for one in prose()]
    for one in spread_out(n_passages):
        own = prose().index(one)
        others = [ids for at, ids in enumerate(whole) if at != own]
        single, pairs = Counter(), Counter()
        for ids in others:
            single.update(ids)
            pairs.update(pairwise(ids))
        total = sum(single.values())
        ids = [tokenizer.bos_token_id, *whole[own]][:length]

        def predicted(a, b, single=single, pairs=pairs, total=total):
            return (pairs[a, b] + single[b] / total) / (single[a] + 1) >= 0.1

        after = {q: [k for k in range(1, q) if ids[k - 1] == ids[q]] for q in range(length)}
        asked = [
            q
            for q, keys in after.items()
            if keys and single[ids[q]] < 0.01 * total and not predicted(ids[q], ids[max(keys)])
        ]
        with torch.no_grad():
            _, cache = model.run_with_cache(torch.tensor([ids]))
        a = np.stack([cache["pattern", layer][0].double().numpy() for layer in range(model.cfg.n_layers)])
        sums = [a[..., q, [k for k in after[q] if not predicted(ids[q], ids[k])]].sum(-1) for q in asked]
        control = []
        for q in asked:
            keys = [q - (other - max(after[other])) for other in asked]
            cells = [a[..., q, key] for key in keys if key >= 1 and key not in after[q]]
            control += [np.mean(cells, axis=0)] if cells else []
        latest = np.stack([a[..., q, max(after[q])] for q in asked])
        later = range(1, length)
        book = {
            "latest": latest.mean(0),
            "any": np.mean(sums, axis=0),
            "control": np.mean(control, axis=0),
            "often": (latest >= 0.4).mean(0),
            "often_any": (np.stack(sums) >= 0.4).mean(0),
            "entropy": np.mean(
                [-(a[..., q, :] * np.log(a[..., q, :] + 1e-300)).sum(-1) for q in later], axis=0
            ),
            "distance": np.mean([sum(a[..., q, k] * (q - k) for k in range(q + 1)) for q in later], axis=0),
            "first_token": np.mean([a[..., q, 0] for q in later], axis=0),
        }
        books.append(book | {"lead": book["latest"] - book["control"]})
    return {name: np.mean([book[name] for book in books], axis=0) for name in MEASURES}


@pytest.mark.parametrize("build", [models.gpt2, models.native])
def test_a_slow_loop_over_plain_runs_agrees(build, monkeypatch):
    model = build()
    monkeypatch.setattr(module, "DIGITS", 12)
    monkeypatch.setattr("induction.analysis.scanning.BATCH_BYTES", 1)  # passage by passage
    found, expected = real_text(model, **SHAPE), slowly(model, *SHAPE.values())
    assert len({*found.passages}) == 3
    for name in MEASURES:
        np.testing.assert_allclose(found.measures[name].mean, expected[name], atol=1e-6, err_msg=name)
    assert found.reach == [1] * model.cfg.n_layers
    weights = np.array(found.measures["latest"].mean)
    assert weights.max() > 1.5 * weights.min()  # or nothing would be compared


def test_batches_of_passages_change_nothing_and_a_run_can_be_cancelled(planted, found, monkeypatch):
    monkeypatch.setattr("induction.analysis.scanning.BATCH_BYTES", 1)
    steps = list(iter_real_text(planted, **PLANTED))
    assert [step.done for step in steps] == list(range(7))
    assert steps[-1].result.agreement is None
    for name, measure in found.measures.items():
        np.testing.assert_allclose(steps[-1].result.measures[name].mean, measure.mean, atol=2e-4)
    running = iter_real_text(planted, **PLANTED)
    next(running)
    next(running)
    running.close()
    assert not any(point.fwd_hooks for point in planted.hook_dict.values())


# Against random repeats


def test_rank_correlation_is_scipys():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 30)).round(1)  # with ties
    other = (rows[0] + rng.normal(size=30)).round(1)
    expected = [spearmanr(row, other).statistic for row in rows]
    np.testing.assert_allclose(module.spearman(rows, other), expected, atol=1e-12)
    assert np.isnan(module.spearman(np.ones(30), other))


def test_the_planted_head_leads_in_prose_as_on_random_repeats(planted, found):
    layer, head, score = found.ranked()[0]
    assert (layer, head) == models.INDUCTION_HEAD
    assert score > 10 * found.measures["control"].mean[layer][head]
    assert found.measures["any"].mean[layer][head] > 0.9
    assert found.leading() == [models.INDUCTION_HEAD]
    one = found.agreement
    prose, repeats = np.ravel(found.measures["latest"].mean), np.ravel(one.repeat)
    assert one.spearman == pytest.approx(spearmanr(prose, repeats).statistic, abs=1e-3)
    assert one.low <= one.high
    assert one.repeat == scan(planted, scores=("induction",), loss=False).scores["induction"].mean


# What is kept and said


def test_excerpts_are_rows_of_the_pattern(planted, found):
    ids = [module.prose_ids(planted, one, PLANTED["length"]) for one in spread_out(PLANTED["n_passages"])]
    with torch.no_grad():
        patterns = [planted.run_with_cache(torch.tensor([row]))[1]["pattern", 1][0].numpy() for row in ids]
    own = found.excerpts_of(models.INDUCTION_HEAD)
    assert [one.decile for one in own] == [10, 10, 10, 10, 9, 7, 5]
    assert own[0].weight > 0.9
    for one in found.excerpts:
        row = patterns[one.passage][one.head, one.query] if one.layer else None
        if row is not None:
            np.testing.assert_allclose(one.weights, row[one.positions], atol=6e-3)
            assert one.weight == pytest.approx(row[one.target], abs=6e-3)
            assert one.elsewhere == pytest.approx(1 - row[one.positions].sum(), abs=6e-3)
        passage = ids[one.passage]
        earlier = [at for at in range(one.query - 1) if passage[at] == passage[one.query]]
        assert one.target == earlier[-1] + 1
        assert {0, one.query, one.target} <= {*one.positions}
    assert len({(one.layer, one.head) for one in found.excerpts}) == 8  # all that there are


def test_a_result_reads_back_and_says_what_does_not_fit(found):
    assert RealText.from_json(found.to_json()) == found
    rows = list(found.rows())
    assert len(rows) == 8
    assert rows[5]["latest"] == found.measures["latest"].mean[1][1]
    good = json.loads(found.to_json())
    excerpt = good["excerpts"][0]
    for change in (
        {"measures": {"latest": good["measures"]["latest"]}},
        {"reach": [1.0]},
        {"excerpts": [excerpt | {"passage": 6}]},
        {"excerpts": [excerpt | {"spans": [[0, 500]]}]},
        {"excerpts": [excerpt | {"weights": []}]},
        {"agreement": good["agreement"] | {"repeat": [[0.1]]}},
    ):
        with pytest.raises(InputError, match="misshapen"):
            RealText.from_json(json.dumps(good | change))


def test_the_verdict_counts_heads_that_lead_over_both_controls(planted, found):
    assert "1 of 8 heads attends" in found.verdict()
    assert "head 1.1 has" in found.verdict()
    assert "rank correlation" in found.verdict()
    assert any("resamples the 6 books alone" in line for line in found.words())
    windowed = found.model_copy(update={"reach": [1.0, 0.5]})
    assert windowed.words()[-1].endswith("within sight of layer 1: no head there can score over 0.50.")
    alone = real_text(planted, n_passages=1, length=96)
    assert alone.measures["latest"].low is None
    assert alone.verdict().startswith("One book gives no interval")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"n_passages": 53}, "52 passages of prose; ask for 1 to 52"),
        ({"length": 300}, "context is 256"),
        ({"length": 2}, "Too little comes again"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(planted, asked, message):
    with pytest.raises(InputError, match=message):
        real_text(planted, **SHAPE | asked)


# Excerpts as text

HOSTILE = "<img src=x onerror=alert(1)>'\" & <b>"


def test_excerpts_are_text_with_shades_and_words(found):
    excerpt = found.excerpts_of(models.INDUCTION_HEAD)[0]
    tokens = [HOSTILE] * len(excerpt.tokens)
    shown = found.model_copy(
        update={
            "excerpts": [excerpt.model_copy(update={"tokens": tokens})],
            "passages": [HOSTILE] * len(found.passages),
        }
    )
    page = passages_html(shown, models.INDUCTION_HEAD)
    assert "<img" not in page
    assert "<b>" not in page
    read = unescape(re.sub("<[^>]*>", "", page))
    assert read.count(HOSTILE) == len(tokens) + 1 + len(excerpt.largest())
    query, target = (re.findall(f"style='([^']*)' title='{role}, ", page) for role in ("query", "target"))
    assert len(query) == len(target) == 1
    assert query[0] != target[0]
    assert "outline" in query[0]
    assert "outline" in target[0]
    assert f"Largest weights: “{HOSTILE}” {max(excerpt.weights):.2f}" in read
    assert f"On the target: {excerpt.weight:.2f}" in read
    assert page.count("title='after the query'") == sum(at > excerpt.query for at in excerpt.positions)
    assert not re.search(r"#[0-9a-f]{3,6}", page)  # colours are the page's own, light or dark
    assert "only of those" in passages_html(shown, (0, 0))


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_ink_can_be_read_on_every_shade(palette):
    def channels(colour: str) -> np.ndarray:
        return np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])

    def light(colour: np.ndarray) -> float:
        linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    share = SHADE / 100
    darkest = share * channels(palette.accent) + (1 - share) * channels(palette.sequential[0])
    ends = sorted((light(channels(palette.ink)), light(darkest)))
    assert (ends[1] + 0.05) / (ends[0] + 0.05) >= 4.5
