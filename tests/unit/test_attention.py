"""Attention of one prompt: images, exports and words hold its numbers, which test_architectures holds to an oracle."""

import base64
import csv
import io
import json

import models
import numpy as np
import pytest
import torch
from PIL import Image

from induction.analysis import attention
from induction.analysis.example import WRITING, as_png, example, from_png
from induction.base import InputError
from induction.data_gen.sequences import repeated_batch
from induction.model import SMOLLM2, offline_models
from induction.model.tokens import labels
from induction.results import EXAMPLES
from induction.ui.components.attention_view import pooled
from induction.viz.attention import picture

IDS = [0, 31, 67, 112, 305, 240, 31, 67, 112, 305, 240, 31]


def test_the_image_of_a_layer_holds_the_patterns_of_the_cache():
    """Of a native model; test_architectures has the patterns of all others."""
    model = models.native()
    seen = attention.attend(model, IDS)
    _, cache = model.run_with_cache(torch.tensor([IDS]))
    for layer in range(model.cfg.n_layers):
        expected = cache["pattern", layer][0].numpy()
        np.testing.assert_allclose(seen.patterns[layer], expected, atol=1e-6)
        image = Image.open(io.BytesIO(base64.b64decode(as_png(seen.patterns[layer]))))
        assert image.mode == "L"
        tiles = np.asarray(image).reshape(-1, len(IDS), len(IDS))  # [head, query, key]
        np.testing.assert_allclose(tiles / 255, expected, atol=0.5 / 255 + 1e-6)
    assert seen.has_bos


def test_the_rank_of_the_following_token_is_its_place_among_all(model):
    """Their values are held to an oracle by test_architectures; here the labels and the order."""
    written = attention.written(model, attention.attend(model, IDS), 1, 1, k=model.cfg.d_vocab)
    following = [*IDS[1:], 67]  # the prompt ends with 31; after its latest copy came 67
    for position, (label, (value, rank)) in enumerate(
        zip(labels(model, following), written.following, strict=True)
    ):
        assert written.promoted[position][rank - 1] == (label, pytest.approx(value, abs=1e-5))
        assert written.suppressed[position] == written.promoted[position][::-1]


def test_the_planted_induction_head_looks_at_its_targets_and_writes_the_token_it_finds(planted):
    seen = attention.attend(planted, IDS)
    layer, head = models.INDUCTION_HEAD
    repeated = np.flatnonzero(seen.targets.any(-1))
    assert repeated.tolist() == [6, 7, 8, 9, 10, 11]
    # Position 11 repeats a token for the second time: two targets share its attention.
    on_targets = np.where(seen.targets, seen.pattern(layer, head), 0).sum(-1)
    np.testing.assert_allclose(on_targets[repeated], 1, atol=1e-2)
    assert seen.scores()["previous_token"][models.PREVIOUS_TOKEN_HEAD] > 0.99
    written = attention.written(planted, seen, layer, head)
    for query in repeated:
        assert written.promoted[query][0][0] == [*seen.labels, seen.labels[2]][query + 1]
        assert written.following[query][1] == 1


def test_nothing_follows_the_last_token_of_a_prompt_that_does_not_repeat_it():
    model = models.native()
    assert attention.written(model, attention.attend(model, IDS[:6]), 0, 0).following[-1] is None


def test_scores_are_undefined_where_nothing_repeats():
    seen = attention.attend(models.native(), [0, 31, 67])
    assert np.isnan(seen.scores()["induction"]).all()
    assert not np.isnan(seen.scores()["previous_token"]).any()
    exported = attention.of_head(seen, 0, 0)
    assert exported.scores["induction"] is exported.ceilings["induction"] is None
    assert "induction" not in exported.verdict()


def test_the_ceiling_of_four_copies_is_half(planted):
    seen = attention.attend(planted, [0, *list(range(20, 60)) * 4])
    layer, head = models.INDUCTION_HEAD
    assert seen.ceilings()["induction"] == pytest.approx(0.5, abs=0.01)
    assert seen.scores()["induction"][layer, head] == pytest.approx(seen.ceilings()["induction"], abs=0.01)
    exported = attention.of_head(seen, layer, head)
    assert exported.ceilings["induction"] == pytest.approx(seen.ceilings()["induction"], abs=1e-5)


def test_rows_without_the_first_column_sum_to_one():
    seen = attention.attend(models.gpt2(), IDS)
    kept = attention.without_first(seen.patterns)
    assert (kept[..., 0] == 0).all()
    np.testing.assert_allclose(kept[..., 1:, :].sum(-1), 1, atol=1e-5)
    share = kept[0, 0, 5, 1:6] / seen.patterns[0, 0, 5, 1:6]
    np.testing.assert_allclose(share, 1 / (1 - seen.patterns[0, 0, 5, 0]), rtol=1e-5)
    # Rows that look at the first token alone have nothing left.
    assert (kept[..., 0, :] == 0).all()
    assert (attention.without_first(np.eye(1, 3, dtype=np.float32).repeat(3, 0)) == 0).all()


def test_pooling_keeps_the_largest_weight_of_each_block():
    pattern = np.arange(25, dtype=np.float32).reshape(5, 5)
    assert pooled(pattern, 2).tolist() == [[6, 8, 9], [16, 18, 19], [21, 23, 24]]
    assert (pooled(pattern, 1) == pattern).all()


def test_all_heads_of_mini_2l_on_64_tokens_are_small(mini):
    ids = repeated_batch(mini, n_prompts=1, length=31).prompt(0).tolist()
    seen = attention.attend(mini, [*ids, ids[1]])
    assert seen.n_tokens == 64
    assert sum(len(as_png(layer)) for layer in seen.patterns) < 80_000  # base64


@pytest.mark.parametrize(
    ("ids", "words"), [([], "no tokens"), ([0] * 257, "context is 256"), ([0, -1], "ids"), ([9999], "ids")]
)
def test_prompts_that_cannot_run_are_refused(ids, words):
    with pytest.raises(InputError, match=words):
        attention.attend(models.native(), ids)


@pytest.mark.parametrize("head", [(2, 0), (0, 4), (-1, 0)])
def test_heads_that_do_not_exist_are_refused(head):
    model = models.native()
    seen = attention.attend(model, IDS)
    for use in (seen.pattern, lambda *place: attention.written(model, seen, *place)):
        with pytest.raises(InputError, match=r"heads 0\.\.3"):
            use(*head)


def test_exports_hold_the_matrix():
    seen = attention.attend(models.native(), IDS)
    found = attention.of_head(seen, 1, 2)
    assert attention.HeadAttention.from_json(found.to_json()) == found
    data = json.loads(found.to_json())
    np.testing.assert_allclose(data["attention"], seen.patterns[1, 2], atol=1e-5)
    assert data["induction_targets"] == [[6, 2], [7, 3], [8, 4], [9, 5], [10, 6], [11, 2], [11, 7]]
    rows = list(csv.reader(io.StringIO(attention.of_head(seen, 1, 2, hide_first=True).to_csv())))
    assert rows[0] == ["query", *(f"{i} {label}" for i, label in enumerate(seen.labels))]
    values = np.array([[float(value) for value in row[1:]] for row in rows[1:]])
    np.testing.assert_allclose(values, attention.without_first(seen.patterns[1, 2]), atol=1e-5)


def test_a_picture_gives_its_weights_back_to_within_half_a_level():
    patterns = np.tril(np.random.default_rng(0).random((3, 20, 20), np.float32))
    np.testing.assert_allclose(from_png(as_png(patterns)), patterns, atol=0.5 / 255 + 1e-6)
    assert as_png(from_png(as_png(patterns))) == as_png(patterns)
    with pytest.raises(ValueError, match="cannot be read"):
        from_png(base64.b64encode(b"no picture").decode())


def test_the_bundled_example_is_what_the_model_computes(mini):
    bundled, now = EXAMPLES.get("mini-2l"), example(mini)
    same = {"pictures", "labels", "writing", "versions"}
    assert bundled.model_dump(exclude=same) == now.model_dump(exclude=same)
    # Another machine may round a weight at the border of two levels, or a logit at that of two digits, the other way.
    then, here = bundled.attention(), now.attention()
    np.testing.assert_allclose(then.patterns, here.patterns, atol=1 / 255 + 1e-6)
    known, computed = bundled.written(), now.written()
    assert known.keys() == computed.keys()
    assert len(known) == min(WRITING, bundled.n_layers * bundled.n_heads)
    for head, written in known.items():
        assert written.n_vocab == computed[head].n_vocab == mini.cfg.d_vocab
        for (value, rank), (value_now, rank_now) in zip(
            written.following, computed[head].following, strict=True
        ):
            assert value == pytest.approx(value_now, abs=0.011)
            assert abs(rank - rank_now) <= 2
        for row, row_now in zip(written.promoted, computed[head].promoted, strict=True):
            assert [value for _, value in row] == pytest.approx([value for _, value in row_now], abs=0.011)


def test_every_bundled_model_has_an_example_and_none_is_large():
    sizes = {name: len(found.to_json()) for name, found in EXAMPLES.all().items()}
    assert set(sizes) == set(offline_models())
    assert all(size < (600_000 if name == SMOLLM2 else 150_000) for name, size in sizes.items())


@pytest.mark.parametrize(
    ("name", "damage"),
    [("pictures", lambda old: old[:-1]), ("tokens", lambda old: old[:-1]), ("labels", lambda old: old[:3])],
)
def test_a_damaged_example_is_refused(name, damage):
    document = json.loads(EXAMPLES.get("mini-2l").to_json())
    document[name] = damage(document[name])
    with pytest.raises(InputError, match="missing, unknown or misshapen"):
        type(EXAMPLES.get("mini-2l")).from_json(json.dumps(document))


def test_the_picture_of_a_head_is_its_pattern_on_clear_ground():
    pattern = EXAMPLES.get("mini-2l").attention().pattern(1, 7)
    kind, data = picture(pattern).split(",")
    assert kind == "data:image/png;base64"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert (pixels[..., 3] == np.rint(pattern * 255)).all()
    assert (pixels[..., :3] == pixels[0, 0, :3]).all()
