"""What is drawn is what the model computed: patterns, images, renormalised rows, tokens written."""

import base64
import io

import models
import numpy as np
import pytest
import torch
from PIL import Image

from induction import attention, data_gen
from induction.errors import InputError
from induction.model import load_model
from induction.tokens import encode, labels

BUILDERS = pytest.mark.parametrize("build", models.BUILDERS.values(), ids=list(models.BUILDERS))
TEXT = " the cat and the dog and the cat and the sun"


def _pixels(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))


@BUILDERS
def test_patterns_are_the_cached_ones_and_the_image_holds_them(build):
    model = build()
    ids = encode(model, TEXT)
    seen = attention.look(model, ids)
    _, cache = model.run_with_cache(torch.tensor([ids]))
    for layer in range(model.cfg.n_layers):
        expected = cache["pattern", layer][0].detach().numpy()
        assert np.allclose(seen.patterns[layer], expected, atol=1e-6)
        pixels = _pixels(attention.atlas(seen.patterns[layer]))
        n = len(ids)
        assert pixels.shape == (n, n * model.cfg.n_heads)
        for head in range(model.cfg.n_heads):
            assert (
                np.abs(pixels[:, head * n : (head + 1) * n] / 255 - expected[head]).max() <= 0.5 / 255 + 1e-6
            )


@BUILDERS
def test_what_all_heads_write_and_the_rest_make_the_logits(build):
    """The direct contributions of heads are linear: for one head alone they equal an independent product."""
    model = build()
    ids = encode(model, TEXT)
    seen = attention.look(model, ids)
    layer, head, query = model.cfg.n_layers - 1, 1, len(ids) - 1
    _, cache = model.run_with_cache(torch.tensor([ids]))
    with torch.no_grad():
        z = cache["z", layer][0, query, head].double()  # [d_head]
        out = z @ model.W_O[layer, head].double()  # [d_model]
        stream = cache["resid_post", layer][0, query].double()
        norm = model.ln_final
        weight = norm.original_component.weight.double()
        if norm.uses_rms_norm:
            scaled = out * weight / (stream.pow(2).mean() + norm.original_component.variance_epsilon).sqrt()
        else:
            centred = stream - stream.mean()
            scaled = (out - out.mean()) * weight / (centred.pow(2).mean() + 1e-5).sqrt()
        logits = scaled @ model.W_U.double()
        logits = logits - logits.mean()
    written = attention.written(model, seen, layer, head, query, k=3)
    best = logits.topk(3)
    assert [token for token, _ in written.promoted] == labels(model, best.indices.tolist())
    assert np.allclose([value for _, value in written.promoted], best.values, atol=2e-3)
    assert written.suppressed[0][1] == pytest.approx(float(logits.min()), abs=2e-3)


def test_the_planted_induction_head_promotes_the_answer():
    model = models.planted_circuit()
    prompt = data_gen.generate_repeated_sequence(data_gen.get_token_set("letters", model))
    ids = prompt.ids(model)
    seen = attention.look(model, ids)
    written = attention.written(model, seen, *models.INDUCTION_HEAD, len(ids) - 1)
    assert written.promoted[0][0] == labels(model, [ids[prompt.first_b + 1]])[0]
    assert [len(ids) - 1, prompt.first_b + 1] in attention.targets(seen.ids)


def test_rows_without_the_first_column_sum_to_one():
    pattern = attention.look(models.llama(), encode(models.llama(), TEXT)).patterns
    rest = attention.without_first(pattern)
    assert (rest[..., 0] == 0).all()
    assert np.allclose(rest[..., 1:, :].sum(-1), 1, atol=1e-5)
    assert (rest[..., 0, :] == 0).all()  # the first row held nothing else
    assert np.allclose(rest[..., 5, 1] * pattern[..., 5, 1:].sum(-1), pattern[..., 5, 1], atol=1e-6)


def test_a_layer_of_64_tokens_is_small():
    model = load_model("mini-2l")
    ids = data_gen.repeated_batch(model, n_prompts=1, length=31).prompt(0).tolist()
    seen = attention.look(model, [*ids, ids[0]])
    assert len(seen.ids) == 64
    assert sum(len(attention.atlas(layer)) for layer in seen.patterns) < 150_000


def test_csv_has_a_row_per_query():
    model = models.gpt2()
    seen = attention.look(model, encode(model, TEXT))
    rows = attention.to_csv(seen, 1, 2).splitlines()
    assert len(rows) == len(seen.ids) + 1
    assert float(rows[3].split(",")[1]) == pytest.approx(seen.patterns[1, 2, 2, 0], abs=1e-5)


@pytest.mark.parametrize("length", [0, 1, 300])
def test_prompts_out_of_range_are_refused(length):
    with pytest.raises(InputError, match="2 to 256 tokens"):
        attention.look(models.gpt2(), [1] * length)


@pytest.mark.parametrize("place", [(9, 0, 0), (0, 9, 0), (0, 0, 99), (-1, 0, 0)])
def test_places_out_of_range_are_refused(place):
    model = models.gpt2()
    seen = attention.look(model, encode(model, TEXT))
    with pytest.raises(InputError, match="choose layers 0 to 2, heads 0 to 3"):
        attention.written(model, seen, *place)
