"""Attention knockout equals hooks and attention written out by hand, and finds what is planted and what is trained."""

from functools import partial

import families
import models
import numpy as np
import pytest
import torch

from induction.base import InputError, Refused
from induction.data_gen.pairs import pairs
from induction.data_gen.sequences import repeated_batch
from induction.model import load_model
from induction.patching import sweep
from induction.patching.ablation import ablate
from induction.patching.edge_results import EdgeKnockout, parse_edges
from induction.patching.edges import cells_of, knock_out, random_cells
from induction.patching.experiments import KnockoutSettings
from induction.patching.heads import NamedSet
from induction.patching.interventions import LOSSES, WHEN

HEADS = ((0, 1), (1, 0), (1, 3))
SETS = [NamedSet("these", HEADS)]
SMALL = {"n_prompts": 1, "seed": 3, "length": 8}


def where_induction_looks(ids):
    """Written out: key k of query q, where token k - 1 is token q and k < q."""
    cells = torch.zeros(len(ids), len(ids), dtype=torch.bool)
    for query in range(len(ids)):
        for key in range(1, query):
            cells[query, key] = bool(ids[key - 1] == ids[query])
    return cells


def without(pattern, cells, when):
    """A head's pattern [query, key] with these cells gone."""
    left = pattern.masked_fill(cells, 0)
    return left / left.sum(-1, keepdim=True) if when == "before" else left


def hooks_of(ids, when, heads=HEADS):
    cells = where_induction_looks(ids)

    def cut(layer, pattern, hook):
        for at, head in heads:
            if at == layer:
                pattern[0, head] = without(pattern[0, head], cells, when)
        return pattern

    return [(f"blocks.{layer}.attn.hook_pattern", partial(cut, layer)) for layer in {at for at, _ in heads}]


def measured(pair, tokens, run):
    """Logit difference of a pair and loss on both copies of a prompt, of a function from ids to logits."""
    with torch.no_grad():
        answers, logits = run(torch.tensor(pair.clean)), run(tokens)
    nll = -logits.log_softmax(-1)[:-1].gather(-1, tokens[1:, None])[:, 0]
    period = len(tokens) // 2  # BOS in front
    copies = [nll[1:period].mean(), nll[period + 1 :].mean()]
    return [float(number) for number in (answers[-1, pair.answer] - answers[-1, pair.distractor], *copies)]


def assert_equal(found, expected, value):
    got = [getattr(found.sets[0].measures[name], value) for name in ("logit_difference", *LOSSES)]
    assert got == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("name", models.BUILDERS)
def test_knocking_out_equals_hooks_on_the_pattern(name, when, monkeypatch):
    model = models.BUILDERS[name]()
    (pair,) = pairs(model, 1, seed=3)
    tokens = torch.as_tensor(repeated_batch(model, **SMALL).prompt(0))

    def hooked(hooks, ids):
        return model.run_with_hooks(ids[None], fwd_hooks=hooks(ids))[0]

    expected = measured(pair, tokens, partial(hooked, lambda ids: hooks_of(ids, when)))
    plain = measured(pair, tokens, partial(hooked, lambda ids: []))
    assert not np.allclose(expected, plain, atol=1e-3)
    direct = knock_out(model, SETS, when=when, **SMALL)
    monkeypatch.setattr(sweep, "AGREEMENT", -1.0)  # nothing agrees: no model fits
    fallback = knock_out(model, SETS, when=when, **SMALL)
    assert (direct.engine, fallback.engine) == ("direct", "hooked")
    for found in (direct, fallback):
        assert_equal(found, expected, "edited")
        assert_equal(found, plain, "baseline")


@pytest.mark.parametrize("when", WHEN)
def test_a_pattern_that_is_only_shown_is_cut_in_the_head_outputs(when, tmp_path, monkeypatch):
    """OPT shows its pattern after it was used; the oracle is its attention written out."""
    from transformers.models.opt import modeling_opt

    model = load_model(str(families.build(families.FAMILIES["OPT"], tmp_path)))
    (pair,) = pairs(model, 1, seed=3)
    tokens = torch.as_tensor(repeated_batch(model, **SMALL).prompt(0))
    found = knock_out(model, SETS, when=when, **SMALL)
    assert found.engine == "hooked"

    def run(heads, ids):
        cells = where_induction_looks(ids)
        ahead = torch.ones(cells.shape, dtype=torch.bool).triu(1)

        def attention(module, query, key, value, mask, scaling, **settings):
            scores = (query @ key.transpose(2, 3) * scaling).masked_fill(ahead, float("-inf"))
            pattern = scores.softmax(-1)
            for layer, head in heads:
                if layer == module.layer_idx:
                    pattern[0, head] = without(pattern[0, head], cells, when)
            return (pattern @ value).transpose(1, 2), pattern

        monkeypatch.setattr(modeling_opt, "eager_attention_forward", attention)
        return model(ids[None])[0]

    assert_equal(found, measured(pair, tokens, partial(run, HEADS)), "edited")
    assert_equal(found, measured(pair, tokens, partial(run, ())), "baseline")


def cut_of(when, n, edges, heads, n_heads=4):
    which = torch.zeros(1, n_heads, dtype=torch.bool)
    which[0, heads] = True
    cells = torch.zeros(1, n, n, dtype=torch.bool)
    for edge in edges:
        cells[0, *edge] = True
    return sweep.Cut(when, which, cells)


@pytest.mark.parametrize("when", WHEN)
def test_the_removed_cells_are_zero_and_the_rest_is_as_said(model, when):
    ids, edges, seen = torch.arange(1, 10)[None], [(5, 2), (5, 5), (8, 0)], {}
    hooks = sweep.edit_hooks(model, 1, cut_of(when, 9, edges, [0, 2], model.cfg.n_heads))
    with torch.no_grad():
        for name, before in (("plain", []), ("cut", hooks)):
            keep = (
                "blocks.1.attn.hook_pattern",
                lambda x, hook, name=name: seen.update({name: x[0].clone()}),
            )
            model.run_with_hooks(ids, fwd_hooks=[*before, keep])
    plain, cut = seen["plain"], seen["cut"]  # [head, query, key]
    others = [head for head in range(model.cfg.n_heads) if head not in (0, 2)]
    assert torch.equal(cut[others], plain[others])
    for head in (0, 2):
        assert all(float(plain[head, *edge]) > 0 == float(cut[head, *edge]) for edge in edges)
        expected = without(plain[head], cut_of(when, 9, edges, []).cells[0], when)
        torch.testing.assert_close(cut[head], expected)
        lost = 1 - cut[head].sum(-1)
        if when == "before":
            torch.testing.assert_close(lost, torch.zeros(9), atol=1e-6, rtol=0)
        else:
            assert lost[5] == pytest.approx(float(plain[head, 5, [2, 5]].sum()), abs=1e-6)


def test_a_row_that_would_lose_everything_keeps_the_first_token():
    model = models.planted_circuit()
    (pair,) = pairs(model, 1)
    last = pair.scored
    head, every = [NamedSet("it", (models.INDUCTION_HEAD,))], {(last, key) for key in range(last + 1)}
    most = knock_out(model, head, edges=every - {(last, 0)}, pairs=[pair])
    whole = knock_out(model, head, edges=every, pairs=[pair])
    assert whole.sets[0].measures["probability"].edited == pytest.approx(
        most.sets[0].measures["probability"].edited, abs=1e-6
    )
    # Nothing is read from position 0 by this head, nor from nothing: the prediction is even.
    after = knock_out(model, head, edges=every, when="after", pairs=[pair])
    for found in (whole, after):
        assert found.sets[0].measures["probability"].baseline > 0.9
        assert found.sets[0].measures["probability"].edited == pytest.approx(1 / model.cfg.d_vocab, rel=0.01)


def test_what_cannot_be_scaled_up_is_refused():
    cut = cut_of("before", 2, [(1, 1)], [0], n_heads=1)
    nowhere_else = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    with pytest.raises(Refused, match="nowhere else"):
        cut.apply(nowhere_else)
    with pytest.raises(Refused, match="sum to 1"):
        cut.apply(nowhere_else / 2)
    assert cut_of("after", 2, [(1, 1)], [0], n_heads=1).apply(nowhere_else)[0, 0, 1].tolist() == [0, 0]


def test_random_edges_are_as_many_others_of_the_same_queries():
    ids = np.array([9, 1, 2, 3, 4, 1, 2, 3, 1, 2, 1])
    cells = cells_of("induction", ids)
    assert torch.equal(torch.as_tensor(cells), where_induction_looks(ids))
    draws = [random_cells(cells, np.random.default_rng(seed)) for seed in range(20)]
    for drawn in draws:
        assert (drawn.sum(1) == cells.sum(1)).all()
        assert not (drawn & cells).any()
        assert not drawn[:, 0].any()
        assert not np.triu(drawn, 1).any()
    assert len({drawn.tobytes() for drawn in draws}) > 10


@pytest.mark.parametrize("when", WHEN)
def test_only_the_planted_edges_are_needed(planted, when):
    """The induction head alone looks there; its edges are all that it is for."""
    heads = [NamedSet("induction", (models.INDUCTION_HEAD,)), NamedSet("other", ((1, 0), (0, 0)))]
    found = knock_out(planted, heads, when=when, n_prompts=2, length=10, n_random=2)
    needed, other = (one.measures["second_copy_loss"] for one in found.sets)
    assert needed.edited == pytest.approx(np.log(planted.cfg.d_vocab), abs=0.01)
    assert needed.share == pytest.approx(1, abs=0.01)
    assert needed.percentile == needed.above_edges == 100
    for control in (
        *needed.random,
        *needed.edges,
        other.effect,
        found.sets[0].measures["first_copy_loss"].effect,
    ):
        assert control == pytest.approx(0, abs=1e-3)
    assert found.sets[0].measures["probability"].effect < -0.9
    assert other.share is None  # there is nothing that the edges could be a share of
    again = EdgeKnockout.from_json(found.to_json())
    assert again == found
    assert "look" in found.verdict()


def test_in_a_trained_model_the_edges_do_what_the_heads_do(mini):
    induction = [NamedSet("these", ((1, 7), (1, 2), (1, 6), (1, 4)))]
    found = knock_out(mini, induction, n_prompts=3, length=20, n_random=2)
    loss = found.sets[0].measures["second_copy_loss"]
    assert loss.baseline < 1 < 8 < loss.edited
    assert 0.7 < loss.share < 1.5
    assert loss.share_low < loss.share < loss.share_high
    assert loss.share == pytest.approx(loss.effect / loss.removed.effect, abs=1e-5)
    assert max(map(abs, loss.edges)) < 0.05 * loss.effect
    ablated = ablate(mini, induction, n_prompts=3, length=20).sets[0].measures["second_copy_loss"]
    assert loss.removed.effect == pytest.approx(ablated.effect, abs=1e-5)
    verdict = found.verdict()
    for number in (f"{loss.baseline:.2f}", f"{loss.edited:.2f}", f"{100 * loss.share:.0f} % of that"):
        assert number in verdict
    (pair,) = pairs(mini, 1)
    marked, (a, *_) = {}, [at for at, token in enumerate(pair.clean) if token == pair.clean[pair.scored]]
    for key in (a + 1, a - 1):
        marked[key] = knock_out(mini, induction, edges={(pair.scored, key)}, pairs=[pair]).sets[0].measures
    assert marked[a + 1]["logit_difference"].effect < -5
    assert abs(marked[a - 1]["logit_difference"].effect) < 0.5
    assert "second_copy_loss" not in marked[a + 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"when": "never"}, "before, after"),
        ({"edges": "all"}, "induction"),
        ({"edges": set()}, "at least one edge"),
        ({"edges": {(2, 5)}}, r"no edge 2>5"),
        ({"edges": {(99, 5)}}, r"positions 0 to \d+"),
        ({"heads_sets": []}, "at least one set"),
        ({"heads_sets": [NamedSet("far", ((0, 9),))]}, r"no head 0\.9"),
        ({"pairs": []}, "at least one prompt pair"),
        ({"n_random": -1}, "0 or more"),
        ({"seed": -1}, "[Ss]eed"),
    ],
)
def test_requests_that_cannot_be_carried_out_say_so(planted, arguments, message):
    with pytest.raises(InputError, match=message):
        knock_out(planted, **{"heads_sets": SETS, "n_prompts": 1} | arguments)


def test_edges_are_read_as_they_are_written():
    assert parse_edges(" 5>2, 7 > 3;7>3") == {(5, 2), (7, 3)}
    for text, message in (("", "at least one"), ("5", "query>key"), ("2>5", "5>2"), ("-1>0", "not an edge")):
        with pytest.raises(InputError, match=message):
            parse_edges(text)
    assert KnockoutSettings(form="own", edges="5>2").asked_edges() == {(5, 2)}
    assert KnockoutSettings().asked_edges() == "induction"
    with pytest.raises(InputError, match="At most 100"):
        KnockoutSettings(form="own", edges=",".join(f"{query}>0" for query in range(101))).served()
    for wrong, message in (
        ({"edges": "5>2"}, "text of your own"),
        ({"edges": "x", "form": "own"}, "not an edge"),
        ({"when": "later"}, "before, after"),
        ({"heads": "one"}, "not a head"),
    ):
        with pytest.raises(InputError, match=message):
            KnockoutSettings(**wrong)
