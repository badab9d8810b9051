"""The sweep gives the numbers of TransformerLens's own, and the identities that define patching hold."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial

import models
import numpy as np
import pandas as pd
import pytest
import torch
from induction.results.ioi import ioi_pairs
from transformer_lens import patching as oracle

from induction import results as scans
from induction.base import InputError, finish, parse_heads
from induction.data_gen.pairs import PromptPair, pair_from_texts, pairs
from induction.patching import results, sweep
from induction.patching.heads import (
    NamedSet,
    iter_patch_heads,
    iter_patch_sets,
    patch_heads,
    patch_set,
    top_k_sets,
)
from induction.patching.interventions import METRICS, random_sets
from induction.patching.results import Measure
from induction.results import ioi

COMPONENTS = ("z", "q", "k", "v", "pattern")
ALL_POSITIONS = {name: getattr(oracle, f"get_act_patch_attn_head_{name}_all_pos") for name in COMPONENTS[1:]}
ALL_POSITIONS["z"] = oracle.get_act_patch_attn_head_out_all_pos
BY_POSITION = {name: getattr(oracle, f"get_act_patch_attn_head_{name}_by_pos") for name in COMPONENTS[1:]}
BY_POSITION["z"] = oracle.get_act_patch_attn_head_out_by_pos


def test_random_sets_that_are_all_the_same_are_said_to_be():
    unit = "share of the answer"
    measure = Measure(baseline=0.0, edited=1.0, effect=1.0, unit=unit, random=[0.25, 0.25], percentile=100.0)
    assert measure.random_in_words() == "+0.250 (all alike)"
    assert replace(measure, random=[0.25, 0.75]).random_in_words(2) == "+0.50"
    assert replace(measure, random=[0.25]).random_in_words() == "+0.250"
    assert replace(measure, random=[], percentile=None).random_in_words() == "–"


def from_oracle(model, pair, function, direction="denoise"):
    clean, corrupted = torch.tensor([pair.clean]), torch.tensor([pair.corrupted])
    target, source = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    with torch.no_grad():
        _, cache = model.run_with_cache(source)

        def metric(logits):
            return logits[0, -1, pair.answer] - logits[0, -1, pair.distractor]

        return function(model, target, cache, metric).numpy(), metric(model(clean)), metric(model(corrupted))


# Parity


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_every_head_equals_transformer_lens(model, component, direction):
    pair = models.a_pair(model)
    expected, clean, corrupted = from_oracle(model, pair, ALL_POSITIONS[component], direction)
    found = patch_heads(model, [pair], component=component, direction=direction)
    effect = found.effects["logit_difference"]
    assert found.engine == "direct"
    assert np.abs(expected - float(corrupted)).max() > 1e-2  # the patches do something
    np.testing.assert_allclose(effect.patched[0], expected, atol=1e-4)
    np.testing.assert_allclose([effect.clean[0], effect.corrupted[0]], [clean, corrupted], atol=1e-4)


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_position_equals_transformer_lens(model, component):
    pair = models.a_pair(model, n=8, at=3)
    expected, _, _ = from_oracle(model, pair, BY_POSITION[component])
    if component != "pattern":
        expected = expected.swapaxes(1, 2)  # [layer, pos, head] there
    found = patch_heads(model, [pair], component=component, positions="each")
    np.testing.assert_allclose(found.effects["logit_difference"].patched[0], expected, atol=1e-4)


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_fallback_gives_the_same_numbers(model, component, monkeypatch):
    pair = models.a_pair(model)
    direct = patch_heads(model, [pair], component=component)
    monkeypatch.setattr(sweep, "AGREEMENT", -1.0)  # nothing agrees: no model fits
    hooked = patch_heads(model, [pair], component=component)
    assert (direct.engine, hooked.engine) == ("direct", "hooked")
    for metric in METRICS:
        np.testing.assert_allclose(direct.effects[metric].patched, hooked.effects[metric].patched, atol=1e-4)


@models.needs_smollm2
@pytest.mark.parametrize("component", COMPONENTS)
def test_heads_of_a_real_model_equal_transformer_lens(smollm2, component):
    """Early and late layers of SmolLM2-135M (30 layers, 9 heads in 3 groups) on a natural prompt."""
    pair = ioi_pairs(smollm2)[0]
    columns = sweep.columns(smollm2, component)
    heads = [(layer, head) for layer in (3, 28) for head in (0, columns - 1)]
    axis = "head_index" if component == "pattern" else "head"
    table = pd.DataFrame(heads, columns=["layer", axis])
    expected, _, corrupted = from_oracle(
        smollm2, pair, partial(ALL_POSITIONS[component], index_axis_names=None, index_df=table)
    )
    group = smollm2.cfg.n_heads // columns
    sets = [NamedSet("one", ((layer, head * group),)) for layer, head in heads]
    together = finish(iter_patch_sets(smollm2, [pair], sets, component=component))
    assert together.engine == "direct"
    found = [item.measures["logit_difference"].edited for item in together.sets]
    assert np.abs(expected - float(corrupted)).max() > 1e-2
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_model_of_another_shape_falls_back():
    model = models.native(
        attn_scores_soft_cap=2.0
    )  # squashes attention scores, which the sweep knows nothing of
    pair = models.a_pair(model)
    found = patch_heads(model, [pair])
    expected, _, _ = from_oracle(model, pair, ALL_POSITIONS["z"])
    assert found.engine == "hooked"
    np.testing.assert_allclose(found.effects["logit_difference"].patched[0], expected, atol=1e-4)


def test_splitting_the_batch_changes_nothing(model):
    pair = models.a_pair(model)
    whole, split = (patch_heads(model, [pair], max_bytes=size) for size in (sweep.MAX_BYTES, 1))
    for metric in METRICS:
        np.testing.assert_allclose(whole.effects[metric].patched, split.effects[metric].patched, atol=1e-5)


def test_what_follows_the_scored_position_does_not_count(model):
    pair = models.a_pair(model)
    longer = PromptPair(
        (*pair.clean, 3, 4), (*pair.corrupted, 5, 6), pair.answer, pair.distractor, position=11
    )
    one, other = (patch_heads(model, [p]).effects["logit_difference"].patched for p in (pair, longer))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_probability_and_log_probability_are_those_of_the_answer(model):
    pair = models.a_pair(model)
    effects = patch_heads(model, [pair]).effects
    with torch.no_grad():
        expected = model(torch.tensor([pair.clean]))[0, -1].log_softmax(-1)[pair.answer]
    assert effects["log_probability"].clean[0] == pytest.approx(float(expected), abs=1e-4)
    for layer in range(model.cfg.n_layers):
        np.testing.assert_allclose(
            effects["probability"].patched[0][layer],
            np.exp(effects["log_probability"].patched[0][layer]),
            atol=1e-6,
        )


# Identities


def test_clean_into_clean_changes_nothing(model):
    pair = models.a_pair(model)
    same = PromptPair(pair.clean, pair.clean, pair.answer, pair.distractor)
    for component in COMPONENTS:
        effect = patch_heads(model, [same], component=component).effects["logit_difference"]
        np.testing.assert_allclose(np.array(effect.patched) - effect.clean[0], 0, atol=1e-5)
        assert effect.not_better == [0]
        assert all(cell is None for row in effect.mean for cell in row)


def test_every_head_restores_the_clean_run_when_the_scored_token_is_the_same():
    """Without MLPs the last residual stream is the token there plus what heads wrote: all of z is enough."""
    model = models.native()
    found = patch_set(model, [models.a_pair(model)], all_heads(model))
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


def test_a_set_equals_hooks_on_all_its_heads(model):
    pair, heads = models.a_pair(model), [(0, 1), (1, 0), (1, 3)]
    found = patch_set(model, [pair], heads).sets[0].measures["logit_difference"]
    assert found.edited == pytest.approx(models.plain_and_patched(model, pair, heads)[2], abs=1e-4)


def all_heads(model):
    return [(layer, head) for layer in range(model.cfg.n_layers) for head in range(model.cfg.n_heads)]


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
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_only_the_planted_heads_matter(planted, form, component, heads, direction):
    found = patch_heads(planted, pairs(planted, 3, form=form), component=component, direction=direction)
    for layer, head, effect in found.ranked("logit_difference"):
        assert effect == pytest.approx(1.0 if (layer, head) in heads else 0.0, abs=1e-3)


def test_the_planted_keys_matter_at_one_position(planted):
    (pair,) = pairs(planted, 1)
    found = patch_heads(planted, [pair], component="k", positions="each")
    layer, head = models.INDUCTION_HEAD
    by_position = found.effects["logit_difference"].mean[layer][head]
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
    with pytest.raises(InputError, match="at most 3"):
        top_k_sets(ranked, 4)


# Several pairs


def test_every_pair_counts_in_the_ratio_of_means(model):
    """On every architecture, with a pair among them that has no gap at all."""
    several = [models.a_pair(model, seed=seed) for seed in range(4)]
    same = PromptPair(several[0].clean, several[0].clean, several[0].answer, several[0].distractor)
    alone = [patch_heads(model, [pair]).effects["logit_difference"] for pair in [*several, same]]
    together = patch_heads(model, [*several, same]).effects["logit_difference"]
    assert together.not_better == [number for number, effect in enumerate(alone) if effect.not_better]
    assert 4 in together.not_better
    patched = np.mean([effect.patched[0] for effect in alone], axis=0)
    clean, corrupted = np.mean([effect.plain for effect in alone], axis=0)
    np.testing.assert_allclose(together.mean, (patched - corrupted) / (clean - corrupted), atol=1e-4)
    assert all(effect.low is None for effect in alone)


def test_the_generator_fills_the_map_and_can_be_closed(model):
    steps = iter_patch_heads(model, [models.a_pair(model)])
    first = next(steps)
    mean = first.result.effects["logit_difference"].mean
    assert first.done / first.total == 1 / model.cfg.n_layers
    assert all(cell is not None for cell in mean[-1])
    assert all(cell is None for row in mean[:-1] for cell in row)
    steps.close()
    assert not any(point.fwd_hooks for point in model.hook_dict.values())


def test_grouped_keys_and_values_are_named_by_group():
    model = models.llama()
    found = patch_heads(model, [models.a_pair(model)], component="k")
    assert (found.unit, found.n_heads, found.group_size) == ("group", 2, 3)
    assert found.name(1, 1) == "1.3-5"
    heads = (
        patch_set(model, [models.a_pair(model)], [(1, 4)], component="k").sets[0].measures["logit_difference"]
    )
    assert heads.effect == pytest.approx(found.effects["logit_difference"].mean[1][1], abs=1e-5)


# Prompt pairs from texts


def test_texts_of_different_length_show_both_tokenizations(planted):
    with pytest.raises(
        InputError, match=r"4 tokens .*·cat\|·dog\|·sun, the corrupted one 3 tokens .*·cat\|·dog"
    ):
        pair_from_texts(planted, " cat dog sun", " cat dog")


@pytest.mark.parametrize(
    ("clean", "corrupted", "message"),
    [
        ("", " cat", "clean prompt is empty"),
        (" cat", " cat", "are the same"),
        (" cat" * 400, " cat", "context is 256"),
    ],
)
def test_unusable_texts_are_refused(planted, clean, corrupted, message):
    with pytest.raises(InputError, match=message):
        pair_from_texts(planted, clean, corrupted)


def test_a_pair_from_texts_finds_its_answer(planted):
    pair = pair_from_texts(planted, " red cat dog sun red", " blue cat dog sun red", distractor=" moon")
    assert (pair.answer_label, pair.distractor_label) == ("·cat", "·moon")
    effect = patch_heads(planted, [pair]).effects["probability"]
    layer, head = models.INDUCTION_HEAD
    assert effect.mean[layer][head] == pytest.approx(1, abs=0.02)


def test_pairs_differ_in_one_token_before_the_scored_one(model):
    for form, offset in (("first_a", 0), ("target", 1)):
        for pair in pairs(model, 3, form=form, prefix_length=4):
            changed = np.flatnonzero(np.array(pair.clean) != pair.corrupted)
            assert changed.tolist() == [1 + 4 + offset]
            assert pair.clean[pair.clean.index(pair.clean[-1]) + 1] == pair.answer


# Head lists and requests


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5.12", "no head 5.12: layers go from 0 to 11, heads from 0 to 11"),
        ("12.0", "no head 12.0"),
        ("5", "'5' is not a head"),
        ("5.1.2", "is not a head"),
        ("-1.2", "is not a head"),
        ("٣.1", "is not a head"),
        ("", "at least one head"),
        (" , ", "at least one head"),
    ],
)
def test_wrong_head_lists_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_heads(text, 12, 12)


def test_head_lists_are_read_in_order_each_once():
    assert parse_heads("5.1, 5.5;0.0 5.1", 12, 12) == ((5, 1), (5, 5), (0, 0))


def test_random_sets_have_the_same_layers_and_none_of_the_heads():
    heads = [(1, 0), (1, 2), (3, 3)]
    sets = random_sets(heads, 50, seed=1, n_layers=4, n_heads=6)
    assert sets == random_sets(heads, 50, seed=1, n_layers=4, n_heads=6)
    assert sets != random_sets(heads, 50, seed=2, n_layers=4, n_heads=6)
    for drawn in sets:
        assert sorted(layer for layer, _ in drawn) == [1, 1, 3]
        assert len(set(drawn)) == 3
        assert not set(drawn) & set(heads)


def test_random_sets_of_a_crowded_layer_take_what_else_there_is():
    heads = [(0, 0), (0, 1), (0, 2)]
    for drawn in random_sets(heads, 20, seed=0, n_layers=2, n_heads=4):
        assert len(set(drawn)) == 3
        assert (0, 3) in drawn  # the only other head of the layer
        assert not set(drawn) & set(heads)
    for drawn in random_sets(heads, 20, seed=0, n_layers=1, n_heads=4):
        assert len(set(drawn)) == 3
        assert (0, 3) in drawn


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"direction": "both"}, "denoise, noise"),
        ({"component": "mlp"}, "z, pattern, q, k, v"),
        ({"positions": "some"}, "all, each"),
    ],
)
def test_unknown_requests_name_the_choices(planted, arguments, message):
    with pytest.raises(InputError, match=message):
        patch_heads(planted, pairs(planted, 1), **arguments)


def test_requests_without_work_are_refused(planted):
    with pytest.raises(InputError, match="at least one prompt pair"):
        patch_heads(planted, [])
    with pytest.raises(InputError, match="at least 1 prompt pair"):
        pairs(planted, 0)
    with pytest.raises(InputError, match="at least one set"):
        finish(iter_patch_sets(planted, pairs(planted, 1), []))
    with pytest.raises(InputError, match=r"no head 2\.0"):
        patch_set(planted, pairs(planted, 1), [(2, 0)])
    with pytest.raises(InputError, match="same length"):
        patch_heads(planted, [models.a_pair(planted), models.a_pair(planted, n=9)], positions="each")
    with pytest.raises(InputError, match="same number"):
        PromptPair((1, 2), (1,), 3, 4)
    with pytest.raises(InputError, match="context is 256"):
        patch_heads(planted, [PromptPair((1,) * 300, (2,) * 300, 3, 4)])
    with pytest.raises(InputError, match=f"0 to {planted.cfg.d_vocab - 1}"):
        patch_heads(planted, [PromptPair((1, 2), (1, 3), 4, planted.cfg.d_vocab)])
    with pytest.raises(InputError, match="outside"):
        PromptPair((1, 2), (1, 3), 3, 4, position=2)


# Files


@pytest.fixture(scope="module")
def stored(planted):
    prompts = pairs(planted, 2)
    return {
        "sweep": patch_heads(planted, prompts),
        "positions": patch_heads(planted, prompts, positions="each", component="k"),
        "sets": finish(iter_patch_sets(planted, prompts, [NamedSet("both", ((0, 2), (1, 1)))], n_random=3)),
    }


@pytest.mark.parametrize(("name", "rows"), [("sweep", 8), ("positions", 8 * 14), ("sets", 3)])
def test_results_survive_the_trip(stored, name, rows):
    result = stored[name]
    assert results.from_json(results.to_json(result)) == result
    assert len(results.to_csv(result).splitlines()) == 1 + rows
    assert "1.1" in results.to_text(result)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d.update(schema=scans.SCHEMA), "not a result of schema"),
        (lambda d: d.update(type="other"), "type other"),
        (lambda d: d.pop("pairs"), "pairs"),
        (lambda d: d.update(n_heads=5), "misshapen"),
        (lambda d: d["effects"]["probability"]["mean"].pop(), "misshapen"),
        (lambda d: d["effects"]["probability"]["mean"][0].__setitem__(0, "high"), "no finite number"),
        (lambda d: d["effects"]["probability"]["mean"][0].__setitem__(0, float("nan")), "no finite number"),
        (lambda d: d["effects"]["probability"]["clean"].pop(), "misshapen"),
        (lambda d: d.update(extra=1), "extra"),
        (lambda d: d.update(effects=None), "misshapen"),
    ],
)
def test_damaged_files_say_so(stored, damage, message):
    data = json.loads(results.to_json(stored["sweep"]))
    damage(data)
    with pytest.raises(InputError, match=message):
        results.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "[" * 10000, "[]", "null"])
def test_what_is_no_result_says_so(text):
    with pytest.raises(InputError, match=r"not valid JSON|not a result of schema"):
        results.from_json(text)


def test_results_and_declarations_import_no_torch():
    code = (
        "import sys; from induction.patching import interventions, results as patching; "
        "[patching.bundled(n) for n in patching.bundled_names()]; "
        "sys.exit('torch' in sys.modules or 'transformer_lens' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", results.bundled_names())
def test_bundled_results_say_where_they_come_from(name):
    result = results.bundled(name)
    assert results.from_json(results.to_json(result)) == result
    assert result.protocol
    assert result.origin
    if name.startswith("gpt2-ioi"):
        assert result.kind == "published"
        assert "Not computed by this project" in result.origin


def test_the_published_patching_of_gpt2_leads_with_the_heads_of_the_literature():
    found = results.bundled("gpt2-ioi-z").ranked("logit_difference")
    assert {head[:2] for head in found[:4]} == {
        (5, 5),
        (8, 6),
        (8, 10),
        (9, 9),
    }  # S-inhibition, name movers, induction
    written = results.bundled("gpt2-ioi-attribution").mean
    assert written[9][9] > 2.9  # name mover
    assert written[10][7] < -1.8  # negative name mover


def test_verify_ioi_compares_with_transformer_lens(monkeypatch):
    """Published values made by TransformerLens's own sweep over the same prompts pass; others fail."""
    model = models.gpt2(n_layers=2, seed=6)  # random, and yet better at the clean prompts on average
    prompts = ioi_pairs(model)
    published = {}
    for component in ioi.PUBLISHED_COMPONENTS:
        runs = [from_oracle(model, pair, ALL_POSITIONS[component]) for pair in prompts]
        patched, clean, corrupted = (np.mean([run[part] for run in runs], axis=0) for part in range(3))
        sweep_of_theirs = patch_heads(model, prompts[:1], component=component)
        effect = sweep_of_theirs.effect("logit_difference")
        recovery = ((patched - corrupted) / (clean - corrupted)).tolist()
        effects = {"logit_difference": replace(effect, mean=recovery)}
        published[f"gpt2-ioi-{component}"] = replace(sweep_of_theirs, effects=effects)
    monkeypatch.setattr(ioi, "bundled", published.__getitem__)
    assert [check.passed for check in ioi.verify_ioi(model)] == [True] * 3
    checks = list(ioi.verify_ioi(models.gpt2(n_layers=2, seed=0)))  # one that is not better at them
    assert [check.passed for check in checks] == [False] * 3
    assert all("undefined" in check.measured for check in checks)
