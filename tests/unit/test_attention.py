"""Attention of one prompt: numbers against TransformerLens's cache, writing against the model's own logits."""

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
from induction.base import InputError
from induction.data_gen.sequences import repeated_batch
from induction.model import load_model
from induction.model.tokens import labels
from induction.ui.components.attention_view import as_png, pooled

IDS = [0, 31, 67, 112, 305, 240, 31, 67, 112, 305, 240, 31]


def read_tiles(png: str, n: int) -> np.ndarray:
    image = Image.open(io.BytesIO(base64.b64decode(png)))
    assert image.mode == "L"
    return np.asarray(image).reshape(-1, n, n)  # [head, query, key]


def test_patterns_are_those_of_the_cache_and_the_image_holds_them(model):
    seen = attention.attend(model, IDS)
    _, cache = model.run_with_cache(torch.tensor([IDS]))
    for layer in range(model.cfg.n_layers):
        expected = cache["pattern", layer][0].numpy()
        np.testing.assert_allclose(seen.patterns[layer], expected, atol=1e-6)
        tiles = read_tiles(as_png(seen.patterns[layer]), len(IDS))
        np.testing.assert_allclose(tiles / 255, expected, atol=0.5 / 255 + 1e-6)
    assert seen.has_bos


def test_what_a_head_writes_is_what_the_logits_lose_without_it_at_a_frozen_norm(model):
    """Independent: take the head's output out of the residual stream; final norm written out, its scale frozen."""
    layer, head, k = model.cfg.n_layers - 1, 1, 4
    seen = attention.attend(model, IDS)
    written = attention.written(model, seen, layer, head, k=k)
    _, cache = model.run_with_cache(torch.tensor([IDS]))
    resid = cache["ln_final.hook_in"][0]  # [pos, d_model]
    z = cache[f"blocks.{layer}.attn.hook_z"][0, :, head]  # [pos, d_head]
    output = z @ model.W_O[layer, head]  # [pos, d_model]
    norm = model.ln_final.original_component
    centre = 0 if model.ln_final.uses_rms_norm else 1

    def frozen(stream):  # the norm with the statistics of the unchanged stream
        spread = (resid - centre * resid.mean(-1, keepdim=True)).pow(2).mean(-1, keepdim=True)
        scaled = (stream - centre * stream.mean(-1, keepdim=True)) / (spread + model.cfg.eps).sqrt()
        bias = getattr(norm, "bias", None)
        return scaled * norm.weight + (0 if bias is None else bias)

    torch.testing.assert_close(frozen(resid), norm(resid), atol=1e-4, rtol=1e-4)
    lost = model.unembed(frozen(resid)[None])[0] - model.unembed(frozen(resid - output)[None])[0]
    lost = lost - lost.mean(-1, keepdim=True)  # [pos, vocab]
    for position in range(len(IDS)):
        order = lost[position].argsort(descending=True).tolist()
        for found, expected in (
            (written.promoted[position], order[:k]),
            (written.suppressed[position], order[::-1][:k]),
        ):
            assert [label for label, _ in found] == labels(model, expected)
            np.testing.assert_allclose([value for _, value in found], lost[position, expected], atol=2e-4)
        following = [*IDS, 67][position + 1]  # the prompt ends with 31; after its latest copy came 67
        value, rank = written.following[position]
        assert value == pytest.approx(float(lost[position, following]), abs=2e-4)
        assert rank == order.index(following) + 1


def test_the_planted_induction_head_looks_at_its_targets_and_writes_the_token_it_finds():
    model = models.planted_circuit()
    seen = attention.attend(model, IDS)
    layer, head = models.INDUCTION_HEAD
    repeated = np.flatnonzero(seen.targets.any(-1))
    assert repeated.tolist() == [6, 7, 8, 9, 10, 11]
    # Position 11 repeats a token for the second time: two targets share its attention.
    on_targets = np.where(seen.targets, seen.pattern(layer, head), 0).sum(-1)
    np.testing.assert_allclose(on_targets[repeated], 1, atol=1e-2)
    assert seen.scores()["previous_token"][models.PREVIOUS_TOKEN_HEAD] > 0.99
    written = attention.written(model, seen, layer, head)
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


def test_the_ceiling_of_four_copies_is_half():
    seen = attention.attend(models.planted_circuit(), [0, *list(range(20, 60)) * 4])
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
    assert (kept[..., 0, :] == 0).all()  # the first row held nothing else
    share = kept[0, 0, 5, 1:6] / seen.patterns[0, 0, 5, 1:6]
    np.testing.assert_allclose(share, 1 / (1 - seen.patterns[0, 0, 5, 0]), rtol=1e-5)


def test_a_row_that_looks_at_the_first_token_alone_has_nothing_left():
    sink = np.zeros((3, 3), np.float32)
    sink[:, 0] = 1
    assert (attention.without_first(sink) == 0).all()


def test_pooling_keeps_the_largest_weight_of_each_block():
    pattern = np.arange(25, dtype=np.float32).reshape(5, 5)
    assert pooled(pattern, 2).tolist() == [[6, 8, 9], [16, 18, 19], [21, 23, 24]]
    assert (pooled(pattern, 1) == pattern).all()


def test_all_heads_of_mini_2l_on_64_tokens_are_small():
    model = load_model("mini-2l")
    ids = repeated_batch(model, n_prompts=1, length=31).prompt(0).tolist()
    seen = attention.attend(model, [*ids, ids[1]])
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
