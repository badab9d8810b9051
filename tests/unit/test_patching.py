"""The sweep gives the numbers of TransformerLens's own, and the identities that define patching hold."""

import json
from functools import partial
from types import SimpleNamespace

import models
import numpy as np
import pandas as pd
import pytest
import torch
from transformer_lens import patching as oracle

from induction.base import InputError, finish, parse_heads
from induction.data_gen.pairs import PromptPair, pair_from_texts, pairs
from induction.patching import sweep
from induction.patching.bundled import ioi_pairs
from induction.patching.heads import (
    NamedSet,
    iter_patch_heads,
    iter_patch_sets,
    patch_heads,
    patch_set,
    top_k_sets,
)
from induction.patching.interventions import METRICS, random_sets
from induction.patching.results import Measure, Patching
from induction.results import PATCHING, verify

COMPONENTS = ("z", "q", "k", "v", "pattern")
component_in_turn = pytest.mark.parametrize("component", COMPONENTS)
direction_in_turn = pytest.mark.parametrize("direction", ["denoise", "noise"])


def theirs(component, over):
    """TransformerLens's patching function of a component, over ``all_pos`` or ``by_pos``."""
    return getattr(oracle, f"get_act_patch_attn_head_{'out' if component == 'z' else component}_{over}")


def from_oracle(model, pair, function, direction="denoise"):
    """Their logit differences with each head patched, and those of the clean and the corrupted run."""
    clean, corrupted = torch.tensor([pair.clean]), torch.tensor([pair.corrupted])
    target, source = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    with torch.no_grad():
        _, cache = model.run_with_cache(source)

        def metric(logits):
            return logits[0, -1, pair.answer] - logits[0, -1, pair.distractor]

        return function(model, target, cache, metric).numpy(), metric(model(clean)), metric(model(corrupted))


def logit_difference(model, pair, **settings):
    return patch_heads(model, [pair], **settings).effect("logit_difference")


# Parity


@component_in_turn
@direction_in_turn
def test_every_head_equals_transformer_lens(model, component, direction):
    pair = models.a_pair(model)
    expected, clean, corrupted = from_oracle(model, pair, theirs(component, "all_pos"), direction)
    found = patch_heads(model, [pair], component=component, direction=direction)
    effect = found.effect("logit_difference")
    assert found.engine == "direct"
    assert np.abs(expected - float(corrupted)).max() > 1e-2  # the patches do something
    np.testing.assert_allclose(effect.patched[0], expected, atol=1e-4)
    np.testing.assert_allclose([effect.clean[0], effect.corrupted[0]], [clean, corrupted], atol=1e-4)


@component_in_turn
def test_every_position_equals_transformer_lens(model, component):
    pair = models.a_pair(model, n=8, at=3)
    expected, _, _ = from_oracle(model, pair, theirs(component, "by_pos"))
    if component != "pattern":
        expected = expected.swapaxes(1, 2)  # [layer, pos, head] there
    effect = logit_difference(model, pair, component=component, positions="each")
    np.testing.assert_allclose(effect.patched[0], expected, atol=1e-4)


@models.needs_smollm2
@pytest.mark.parametrize("component", ["z", "k"])  # k is shared by groups; all five on random models
def test_heads_of_a_real_model_equal_transformer_lens(smollm2, component):
    """Early and late layers of SmolLM2-135M (30 layers, 9 heads in 3 groups) on a natural prompt."""
    pair = ioi_pairs(smollm2)[0]
    columns = sweep.columns(smollm2, component)
    heads = [(layer, head) for layer in (3, 28) for head in (0, columns - 1)]
    table = pd.DataFrame(heads, columns=["layer", "head_index" if component == "pattern" else "head"])
    those = partial(theirs(component, "all_pos"), index_axis_names=None, index_df=table)
    expected, _, corrupted = from_oracle(smollm2, pair, those)
    group = smollm2.cfg.n_heads // columns
    sets = [NamedSet("one", ((layer, head * group),)) for layer, head in heads]
    together = finish(iter_patch_sets(smollm2, [pair], sets, component=component))
    assert together.engine == "direct"
    found = [item.measures["logit_difference"].edited for item in together.sets]
    assert np.abs(expected - float(corrupted)).max() > 1e-2
    np.testing.assert_allclose(found, expected, atol=1e-4)


@component_in_turn
def test_splitting_and_the_fallback_give_the_same_numbers(model, component, monkeypatch):
    pair = models.a_pair(model)
    runs = [patch_heads(model, [pair], component=component, max_bytes=size) for size in (sweep.MAX_BYTES, 1)]
    monkeypatch.setattr(sweep, "AGREEMENT", -1.0)  # nothing agrees: no model fits
    runs.append(patch_heads(model, [pair], component=component))
    assert [found.engine for found in runs] == ["direct", "direct", "hooked"]
    for metric in METRICS:
        for other in runs[1:]:
            np.testing.assert_allclose(
                other.effects[metric].patched, runs[0].effects[metric].patched, atol=1e-4
            )


def test_a_model_of_another_shape_falls_back():
    """It squashes attention scores, which the sweep knows nothing of."""
    model = models.native(attn_scores_soft_cap=2.0)
    pair = models.a_pair(model)
    found = patch_heads(model, [pair])
    expected, _, _ = from_oracle(model, pair, theirs("z", "all_pos"))
    assert found.engine == "hooked"
    np.testing.assert_allclose(found.effect("logit_difference").patched[0], expected, atol=1e-4)


# Identities


def test_clean_into_clean_changes_nothing(model):
    pair = models.a_pair(model)
    same = PromptPair(pair.clean, pair.clean, pair.answer, pair.distractor)
    for component in COMPONENTS:
        effect = logit_difference(model, same, component=component)
        np.testing.assert_allclose(np.array(effect.patched) - effect.clean[0], 0, atol=1e-5)
        assert effect.not_better == [0]
        assert effect.low is None  # one pair has no interval
        assert all(cell is None for row in effect.mean for cell in row)


def test_what_follows_the_scored_position_does_not_count(model):
    pair = models.a_pair(model)
    longer = PromptPair(
        (*pair.clean, 3, 4), (*pair.corrupted, 5, 6), pair.answer, pair.distractor, position=11
    )
    one, other = (logit_difference(model, p).patched for p in (pair, longer))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_every_head_restores_the_clean_run_when_the_scored_token_is_the_same():
    """Without MLPs the last residual stream is the token there plus what heads wrote: all of z is enough."""
    model = models.native()
    every = [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]
    found = patch_set(model, [models.a_pair(model)], every)
    assert found.sets[0].measures["logit_difference"].effect == pytest.approx(1, abs=1e-4)


def test_with_mlps_every_head_and_the_embeddings_restore_the_clean_run(model):
    """MLPs read what heads wrote and the embedding: all of z plus the clean embedding is the clean run, exactly."""
    pair = models.a_pair(model)
    source, base = sweep.record(model, pair.clean, component="z"), sweep.record(model, pair.corrupted)
    clean = sweep.record(model, pair.clean)
    base.resid[0] = clean.resid[0]
    heads = torch.ones(1, 1, model.cfg.n_heads, dtype=torch.bool)
    edits = {layer: sweep.Edit("z", heads, source.activations[layer]) for layer in range(model.cfg.n_layers)}
    (restored,) = sweep.run_rows(model, base, edits, n_rows=1)
    torch.testing.assert_close(restored[0], clean.logits, atol=1e-4, rtol=0)


# The planted circuit


@pytest.mark.parametrize(
    ("form", "component", "heads"),
    [
        ("first_a", "z", {models.PREVIOUS_TOKEN_HEAD, models.INDUCTION_HEAD}),
        ("first_a", "pattern", {models.INDUCTION_HEAD}),
        ("first_a", "k", {models.INDUCTION_HEAD}),
        ("first_a", "v", {models.PREVIOUS_TOKEN_HEAD}),
        ("first_a", "q", set()),  # the last token, which asks, is the same in both prompts
        ("target", "z", {models.INDUCTION_HEAD}),
        ("target", "v", {models.INDUCTION_HEAD}),
        ("target", "pattern", set()),
    ],
)
@direction_in_turn
def test_only_the_planted_heads_matter(planted, form, component, heads, direction):
    found = patch_heads(planted, pairs(planted, 3, form=form), component=component, direction=direction)
    for layer, head, effect in found.ranked("logit_difference"):
        assert effect == pytest.approx(1.0 if (layer, head) in heads else 0.0, abs=1e-3)


def test_the_planted_keys_matter_at_one_position(planted):
    (pair,) = pairs(planted, 1)
    layer, head = models.INDUCTION_HEAD
    by_position = logit_difference(planted, pair, component="k", positions="each").mean[layer][head]
    b = pair.clean.index(pair.answer)
    assert by_position[b] == pytest.approx(1, abs=1e-3)
    assert np.delete(by_position, b) == pytest.approx(0, abs=1e-3)


def test_a_set_stands_out_from_random_sets(planted):
    found = patch_set(planted, pairs(planted, 3), [models.INDUCTION_HEAD], n_random=20)
    measure = found.sets[0].measures["probability"]
    assert measure.effect == pytest.approx(1, abs=0.02)
    assert len(measure.random) == 20
    assert max(measure.random) == pytest.approx(0, abs=1e-3)
    assert measure.percentile == 100


def test_the_top_k_curve_rises_where_the_head_joins(planted):
    ranked = [(1, 0, 0.9), (*models.INDUCTION_HEAD, 0.8), (0, 0, 0.7)]
    steps = iter_patch_sets(planted, pairs(planted, 2), top_k_sets(ranked, 3))
    curve = [item.measures["logit_difference"].effect for item in finish(steps).sets]
    assert curve == pytest.approx([0, 1, 1], abs=1e-3)


# Steps and groups


def test_the_generator_fills_the_map_and_can_be_closed(model):
    steps = iter_patch_heads(model, [models.a_pair(model)])
    first = next(steps)
    mean = first.result.effect("logit_difference").mean
    assert first.done / first.total == 1 / model.cfg.n_layers
    assert all(cell is not None for cell in mean[-1])
    assert all(cell is None for row in mean[:-1] for cell in row)
    steps.close()
    assert not any(point.fwd_hooks for point in model.hook_dict.values())


def test_grouped_keys_and_values_are_named_by_group():
    model = models.llama()
    pair = models.a_pair(model)
    found = patch_heads(model, [pair], component="k")
    assert (found.unit, found.n_heads, found.group_size) == ("group", 2, 3)
    assert found.name(1, 1) == "1.3-5"
    heads = patch_set(model, [pair], [(1, 4)], component="k").sets[0].measures["logit_difference"]
    assert heads.effect == pytest.approx(found.effect("logit_difference").mean[1][1], abs=1e-5)


# Prompt pairs and sets of heads


def test_a_pair_from_texts_finds_its_answer(planted):
    pair = pair_from_texts(planted, " red cat dog sun red", " blue cat dog sun red", distractor=" moon")
    assert (pair.answer_label, pair.distractor_label) == ("·cat", "·moon")
    layer, head = models.INDUCTION_HEAD
    effect = patch_heads(planted, [pair]).effect("probability")
    assert effect.mean[layer][head] == pytest.approx(1, abs=0.02)


def test_pairs_differ_in_one_token_before_the_scored_one(model):
    for form, offset in (("first_a", 0), ("target", 1)):
        for pair in pairs(model, 3, form=form, prefix_length=4):
            changed = np.flatnonzero(np.array(pair.clean) != pair.corrupted)
            assert changed.tolist() == [1 + 4 + offset]
            assert pair.clean[pair.clean.index(pair.clean[-1]) + 1] == pair.answer


def test_head_lists_are_read_in_order_each_once():
    assert parse_heads("5.1, 5.5;0.0 5.1", 12, 12) == ((5, 1), (5, 5), (0, 0))


@pytest.mark.parametrize(
    ("heads", "shape", "layers"),
    [
        ([(1, 0), (1, 2), (3, 3)], (4, 6), [1, 1, 3]),
        ([(0, 0), (0, 1), (0, 2)], (2, 4), None),  # crowded: there is one other head in the layer
        ([(0, 0), (0, 1), (0, 2)], (1, 4), None),  # and no other layer to draw from
    ],
)
def test_random_sets_have_the_same_layers_and_none_of_the_heads(heads, shape, layers):
    """Where a layer has too few other heads, those are taken and the rest is drawn from what else there is."""
    draw = partial(random_sets, heads, 50, n_layers=shape[0], n_heads=shape[1])
    assert draw(seed=1) == draw(seed=1)
    for drawn in draw(seed=1):
        assert len(set(drawn)) == 3
        assert sorted(layer for layer, _ in drawn) == layers if layers else (0, 3) in drawn
        assert shape == (1, 4) or not set(drawn) & set(heads)
    assert shape == (1, 4) or draw(seed=1) != draw(seed=2)


def test_random_sets_that_are_all_the_same_are_said_to_be():
    def said(*random, **digits):
        about = {"baseline": 0.0, "edited": 1.0, "effect": 1.0, "unit": "share of the answer"}
        return Measure(**about, random=list(random)).random_in_words(**digits)

    assert said(0.25, 0.25) == "+0.250 (all alike)"
    assert said(0.25, 0.75, digits=2) == "+0.50"
    assert said(0.25) == "+0.250"
    assert said() == "–"


# What cannot be done


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5.12", "no head 5.12: layers go from 0 to 11, heads from 0 to 11"), ("12.0", "no head 12.0"),
        ("5", "'5' is not a head"), ("5.1.2", "is not a head"), ("-1.2", "is not a head"),
        ("٣.1", "is not a head"), ("", "at least one head"), (" , ", "at least one head"),
    ],
)  # fmt: skip
def test_wrong_head_lists_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_heads(text, 12, 12)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda m, ps: patch_heads(m, ps, direction="both"), "denoise, noise"),
        (lambda m, ps: patch_heads(m, ps, component="mlp"), "z, pattern, q, k, v"),
        (lambda m, ps: patch_heads(m, ps, positions="some"), "all, each"),
        (lambda m, ps: patch_heads(m, [*ps, models.a_pair(m, n=9)], positions="each"), "same length"),
        (lambda m, ps: patch_heads(m, []), "at least one prompt pair"),
        (lambda m, ps: pairs(m, 0), "at least 1 prompt pair"),
        (lambda m, ps: finish(iter_patch_sets(m, ps, [])), "at least one set"),
        (lambda m, ps: patch_set(m, ps, [(2, 0)]), r"no head 2\.0"),
        (lambda m, ps: top_k_sets([(0, 0, 0.7)] * 3, 4), "at most 3"),
        (lambda m, ps: patch_heads(m, [PromptPair((1,) * 300, (2,) * 300, 3, 4)]), "context is 256"),
        (lambda m, ps: patch_heads(m, [PromptPair((1, 2), (1, 3), 4, m.cfg.d_vocab)]), r"0 to \d+"),
        (lambda m, ps: PromptPair((1, 2), (1,), 3, 4), "same number"),
        (lambda m, ps: PromptPair((1, 2), (1, 3), 3, 4, position=2), "outside"),
        (lambda m, ps: pair_from_texts(m, "", " cat"), "clean prompt is empty"),
        (lambda m, ps: pair_from_texts(m, " cat", " cat"), "are the same"),
        (lambda m, ps: pair_from_texts(m, " cat" * 400, " cat"), "context is 256"),
        # Texts of different lengths are shown token by token.
        (lambda m, ps: pair_from_texts(m, " cat dog sun", " cat dog"),
         r"4 tokens .*·cat\|·dog\|·sun, the corrupted one 3 tokens .*·cat\|·dog"),
    ],
)  # fmt: skip
def test_what_cannot_be_patched_is_refused_in_a_sentence(planted, use, message):
    with pytest.raises(InputError, match=message):
        use(planted, pairs(planted, 1))


# Files


@pytest.fixture(scope="module")
def stored(planted):
    prompts = pairs(planted, 2)
    return {
        "sweep": patch_heads(planted, prompts),
        "positions": patch_heads(planted, prompts, positions="each", component="k"),
        "sets": finish(iter_patch_sets(planted, prompts, [NamedSet("both", ((0, 2), (1, 1)))], n_random=3)),
    }


@pytest.mark.parametrize(
    ("name", "rows", "shown"), [("sweep", 8, "1.1"), ("positions", 8 * 14, "1.1"), ("sets", 3, "probability")]
)
def test_results_survive_the_trip(stored, name, rows, shown):
    result = stored[name]
    assert type(result).from_json(result.to_json()) == result
    assert len(result.to_csv().splitlines()) == 1 + rows
    assert any(shown in row.values() for row in result.listing())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d.update(n_heads=5), "misshapen"),
        (lambda d: d.update(component="mlp"), "'mlp' is none of"),
        (lambda d: d["effects"]["probability"]["mean"].pop(), "misshapen"),
        (lambda d: d["effects"]["probability"]["mean"][0].__setitem__(0, "high"), "valid number"),
        (lambda d: d["effects"]["probability"]["mean"][0].__setitem__(0, float("nan")), "finite number"),
        (lambda d: d["effects"]["probability"]["clean"].pop(), "misshapen"),
    ],
)
def test_damaged_files_say_so(stored, damage, message):
    data = json.loads(stored["sweep"].to_json())
    damage(data)
    with pytest.raises(InputError, match=message):
        Patching.from_json(json.dumps(data))


def test_the_published_patching_of_gpt2_leads_with_the_heads_of_the_literature():
    published = PATCHING.get("gpt2-ioi-z")
    assert published.kind == "published"
    assert "Not computed by this project" in published.origin
    leaders = {head[:2] for head in published.ranked("logit_difference")[:4]}
    assert leaders == {(5, 5), (8, 6), (8, 10), (9, 9)}  # induction, S-inhibition, name mover
    written = PATCHING.get("gpt2-ioi-attribution").mean
    assert written[9][9] > 2.9  # name mover
    assert written[10][7] < -1.8  # negative name mover


def test_verify_ioi_compares_with_transformer_lens(monkeypatch):
    """Published values made by TransformerLens's own sweep over the same prompts pass; others fail."""
    model = models.gpt2(n_layers=2, seed=6)  # random, and yet better at the clean prompts on average
    prompts = ioi_pairs(model)
    published = {}
    for component in verify.PUBLISHED_COMPONENTS:
        runs = [from_oracle(model, pair, theirs(component, "all_pos")) for pair in prompts]
        patched, clean, corrupted = (np.mean([run[part] for run in runs], axis=0) for part in range(3))
        ours = patch_heads(model, prompts[:1], component=component)
        recovery = ((patched - corrupted) / (clean - corrupted)).tolist()
        effect = ours.effect("logit_difference").model_copy(update={"mean": recovery})
        effects = {"logit_difference": effect}
        published[f"gpt2-ioi-{component}"] = ours.model_copy(update={"effects": effects})
    monkeypatch.setattr(verify, "PATCHING", SimpleNamespace(get=published.__getitem__))
    assert [check.passed for check in verify.verify_ioi(model)] == [True] * 3
    checks = list(verify.verify_ioi(models.gpt2(n_layers=2, seed=0)))  # one that is not better at them
    assert [check.passed for check in checks] == [False] * 3
    assert all("undefined" in check.measured for check in checks)
