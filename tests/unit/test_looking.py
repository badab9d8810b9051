"""Why a head looks where it looks: the split score against the softmax's own input in plain transformers models."""

from __future__ import annotations

import families
import models
import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from induction.base import InputError, Refused, finish
from induction.circuit.experiments import WhySettings, run_why
from induction.circuit.looking import Reader, cell_of, explain, explain_score, explain_text
from induction.circuit.sources import REST, Looking
from induction.data_gen.sequences import repeated_batch
from induction.model import load_model
from induction.viz.looking import source_map

IDS = [0, *np.random.default_rng(0).permutation(np.arange(1, 300))[:18].tolist()]
QUERY, KEY = 18, 15
#: What each family adds: learned positions, a partial turn, groups, norms on queries and keys, windows, caps, ALiBi.
SUMMED = ("GPT-2", "GPT-NeoX", "Llama", "Gemma-3", "OLMo-2", "Gemma-2", "BLOOM")
CAPS = {"Gemma-2": 3.0}


class Softmaxes(TorchFunctionMode):
    """What goes into every softmax meanwhile: in eager attention a layer's scores ``[row, head, query, key]``."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") == "softmax":
            self.seen.append(args[0].detach().clone().double())
        return func(*args, **(kwargs or {}))


def softmaxed(plain, ids) -> list[torch.Tensor]:
    """What each layer's softmax is given, from a plain run, ``[head, query, key]``."""
    with torch.no_grad(), Softmaxes() as mode:
        plain(torch.tensor([ids]))
    return [one.reshape(-1, *one.shape[-2:]) for one in mode.seen if one.shape[-1] == len(ids)]


@pytest.mark.parametrize("name", SUMMED)
def test_terms_sum_to_what_the_softmax_is_given(name, tmp_path):
    folder = families.build(families.FAMILIES[name], tmp_path / "m")
    model, given = load_model(str(folder)), softmaxed(families.reference(folder), IDS)
    for layer, head in ((0, 1), (model.cfg.n_layers - 1, 2)):
        look = Reader(model, (layer, head))(IDS)
        total, expected = look.q.sum(0) @ look.k.sum(0).T, given[layer][head]
        if name in CAPS:
            assert look.cap == CAPS[name]
            total = CAPS[name] * torch.tanh(total / CAPS[name])
        seen = expected > -1e4  # the rest is masked
        assert torch.equal(seen, look.visible)
        if (
            name == "BLOOM"
        ):  # whose bias counts from the prompt's start: the same but for one number per query
            total, expected = (
                torch.stack([row - row[at].mean() for row, at in zip(part, seen, strict=True)])
                for part in (total, expected)
            )
            assert "distance" in look.sources
        scale = float(expected[seen].abs().max())
        assert float((total - expected)[seen].abs().max()) < 1e-4 * scale
        if name in CAPS:
            continue
        row = expected[QUERY][seen[QUERY]]
        found = explain_score(model, IDS, (layer, head), QUERY, KEY)
        assert found.relative_total == pytest.approx(
            float(expected[QUERY, KEY] - row.mean()), abs=1e-4 * scale
        )
        assert found.matrix.sum() == pytest.approx(found.total)
        assert found.relative.sum() == pytest.approx(found.relative_total, abs=1e-9)


def test_each_source_holds_what_it_wrote(tmp_path):
    """GPT-2 written out: the layer norm at the scale of its run, one source after the other through W_Q and W_K."""
    folder = families.build(families.FAMILIES["GPT-2"], tmp_path / "m")
    plain, seen = families.reference(folder), {}
    block = plain.transformer.h[1]
    keep = lambda name: lambda module, given, out: seen.update({name: (given[0][0], out[0])})  # noqa: E731
    parts = {"z": plain.transformer.h[0].attn.c_proj, "mlp": plain.transformer.h[0].mlp, "ln": block.ln_1}
    parts |= {"wte": plain.transformer.wte, "wpe": plain.transformer.wpe}
    for name, module in parts.items():
        module.register_forward_hook(keep(name))
    with torch.no_grad():
        plain(torch.tensor([IDS]))
    head, d = 2, 8
    projection, attn = plain.transformer.h[0].attn.c_proj, block.attn.c_attn
    sources = {"embedding": seen["wte"][1], "positions": seen["wpe"][1], "MLP 0": seen["mlp"][1]}
    for one in range(4):
        at = slice(one * d, (one + 1) * d)
        sources[f"0.{one}"] = seen["z"][0][:, at] @ projection.weight[at]
    x = seen["ln"][0]
    scale = (x.var(-1, unbiased=False, keepdim=True) + block.ln_1.eps).sqrt()

    def side(part, columns):
        return ((part - part.mean(-1, keepdim=True)) / scale * block.ln_1.weight) @ attn.weight[:, columns]

    queries, keys = slice(head * d, (head + 1) * d), slice(32 + head * d, 32 + (head + 1) * d)
    found = explain_score(load_model(str(folder)), IDS, (1, head), QUERY, KEY)
    assert set(found.sources) == {*sources, "biases"}
    size = np.abs(found.matrix).max()
    for at_query, one in sources.items():
        for at_key, other in sources.items():
            expected = float(side(one, queries)[QUERY] @ side(other, keys)[KEY]) / d**0.5
            cell = found.matrix[found.sources.index(at_query), found.sources.index(at_key)]
            assert cell == pytest.approx(expected, abs=1e-4 * size), (at_query, at_key)


def test_on_the_planted_circuit_exactly_the_planted_term_is_large(planted):
    found = explain(planted, models.INDUCTION_HEAD, 3, length=8)
    first = found.ranked()[0]
    assert first[:2] == ("embedding", "0.2")
    assert first[2] > 50  # 60 less its mean over the keys
    assert abs(first[3]) < 0.2 * first[2]  # and not at the duplicate token
    raw = np.array(found.raw)
    raw[found.query_sources.index("embedding"), found.key_sources.index("0.2")] -= 60
    assert np.abs(raw).max() < 0.6
    assert "because the key holds what head 0.2 wrote" in found.verdict()
    assert "with the embedding at the query" in found.verdict()


def test_on_the_bundled_model_the_previous_token_head_leads_at_the_key(mini):
    found = finish(run_why(mini, WhySettings(head="1.7", n_prompts=3)))
    lead = max(found.by_key, key=lambda margin: margin.value)
    assert lead.source == "0.2"
    assert lead.low > 0.5 * found.total
    assert lead.control < 0.1 * lead.value
    assert found.error < 1e-4 * abs(found.score)
    assert np.sum(found.terms) == pytest.approx(found.total, abs=1e-4)
    assert np.sum(found.control) == pytest.approx(found.control_total, abs=1e-4)
    assert np.all(np.array(found.low) <= found.terms)
    assert np.all(np.array(found.high) >= found.terms)
    assert Looking.from_json(found.to_json()) == found
    assert len(found.to_csv().splitlines()) == 1 + len(found.query_sources) * len(found.key_sources)


def test_a_mean_over_cells_is_the_mean_of_the_cells(mini):
    batch = repeated_batch(mini, n_prompts=1, length=6, seed=3)
    ids, period = batch.prompt(0).tolist(), batch.periods[0]
    found = explain(mini, (1, 0), 1, 3, length=6)
    queries = range(len(ids) - period, len(ids))
    cells = [explain_score(mini, ids, (1, 0), query, query - period + 1).relative for query in queries]
    assert found.low is None
    np.testing.assert_allclose(found.terms, np.mean(cells, 0), atol=1e-5)


def test_small_sources_are_put_together_and_nothing_is_lost(mini):
    whole, few = explain(mini, (1, 7), 2, length=8), explain(mini, (1, 7), 2, length=8, n_shown=3)
    assert len(few.key_sources) == len(few.query_sources) == 4
    assert few.key_sources[-1] == REST
    assert np.sum(few.terms) == pytest.approx(np.sum(whole.terms), abs=1e-4)
    for margin in few.by_key[:-1]:
        assert margin.value == pytest.approx(whole.margin("key", margin.source).value, abs=1e-5)
    assert "the others together as the rest" in " ".join(few.words())


def test_a_text_is_explained_at_the_last_token_that_came_before(mini):
    ids = repeated_batch(mini, n_prompts=1, length=6, seed=0).prompt(0).tolist()
    found = explain_text(mini, (1, 7), ids)
    last = len(ids) - 1
    key = ids.index(ids[last]) + 1
    assert found.query.startswith(f"{last} '")
    assert found.key.startswith(f"{key} '")
    assert "its own earlier copy" in found.control_is
    np.testing.assert_allclose(found.terms, explain_score(mini, ids, (1, 7), last, key).relative, atol=1e-5)
    np.testing.assert_allclose(
        found.control, explain_score(mini, ids, (1, 7), last, key - 1).relative, atol=1e-5
    )
    assert found.verdict().startswith("Head 1.7 looks from")


def test_which_cell_is_meant():
    ids = [7, 1, 2, 3, 1, 9]
    assert cell_of(ids, -1, -1) == (4, 2)
    assert cell_of(ids, 4, -1) == (4, 2)
    assert cell_of(ids, -1, 3) == (5, 3)
    assert cell_of(ids, 5, 0) == (5, 0)
    for query, message in ((3, "the token at 3 did not come before"), (-1, "no token comes twice")):
        with pytest.raises(InputError, match=message):
            cell_of(ids[:4], query, -1)


def test_bad_input_is_named(mini):
    for ask, message in (
        (lambda: explain_score(mini, [1, 2, 3], (2, 0), 2, 1), "no head 2.0"),
        (lambda: explain_score(mini, [], (1, 0), 0, 0), "no tokens"),
        (lambda: explain_score(mini, [1, 2, 3], (1, 0), 3, 1), "no query 3"),
        (lambda: explain_score(mini, [1, 2, 3], (1, 0), 2, -1), "no key -1"),
        (lambda: explain_score(mini, [1, 2, 3], (1, 0), 1, 2), "does not see"),
        (lambda: WhySettings(head="1.0,1.1"), "one head|One head"),
        (lambda: finish(run_why(mini, WhySettings(head="1.0", text="a b c d"))), "no induction target"),
        (lambda: finish(run_why(mini, WhySettings(head="1.0", text="a b a", query_at=90))), "no query 90"),
        (lambda: finish(run_why(mini, WhySettings(head="1.0", text="a " * 400))), "at most|may have"),
    ):
        with pytest.raises(InputError, match=message):
            ask()


def test_scores_that_its_products_do_not_make_are_refused(monkeypatch):
    model = models.llama()
    attn = type(model.blocks[0].attn)
    weights = attn.W_Q.fget
    monkeypatch.setattr(attn, "W_Q", property(lambda self: 1.1 * weights(self) + 0.1))
    with pytest.raises(Refused, match=r"2\.1 of .* cannot be said"):
        explain_score(model, IDS, (2, 1), QUERY, KEY)


def test_the_map_shows_every_term_around_zero(mini):
    found = explain(mini, (1, 7), 2, length=8, n_shown=3)
    figure = source_map(found)
    (trace,) = figure.data
    assert np.array_equal(np.array(trace.z), found.terms)
    assert trace.zmin == -trace.zmax == -np.abs(found.terms).max()
    assert list(trace.y) == found.query_sources
    assert list(trace.x) == found.key_sources
    assert "key" in figure.layout.xaxis.title.text
    assert "query" in figure.layout.yaxis.title.text
    assert "mini-2l" in figure.layout.meta["protocol"]
    assert "1.7" in figure.layout.meta["title"]
