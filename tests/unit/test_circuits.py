"""Composition equals dense matrices and published figures; paths equal TransformerLens's; planted links are found."""

import csv
import json

import models
import numpy as np
import pytest
import torch
from transformer_lens import patching as oracle

from induction.analysis.kinds import head_kind, kinds_of
from induction.base import InputError
from induction.circuit.composition import composition, random_baseline
from induction.circuit.copying import copying
from induction.circuit.paths import iter_path_patch, path_patch
from induction.circuit.results import INPUTS, MEASURES, Circuit
from induction.circuit.trace import circuit, iter_circuit
from induction.data_gen.pairs import PromptPair, pairs
from induction.patching.heads import patch_heads
from induction.results import CIRCUITS, PATCHING, SCANS, published_composition

# Composition, of a native model; the table of architectures (test_architectures.py) has all that is not native


def dense(model, sender, receiver, distance):
    """Q-, K- and V-composition by their definition, with matrices of d_model x d_model, and the size of W_QK.

    Args:
        distance: of query and key, by which the model's own rotation turns W_QK.
    """
    centre = torch.eye(model.cfg.d_model) - 1 / model.cfg.d_model
    eye = torch.eye(model.cfg.d_head)[None, :, None]
    rows = eye.expand(-1, -1, distance + 1, -1)  # [1, row, pos, d_head]
    turn = model.original_model.rotary.apply_rope(rows, rows)[0][0, :, distance]

    def maps(layer, head):
        block = model.blocks[layer]
        read = centre @ torch.diag(block.ln1.original_component.weight)
        q, k, v = (read @ getattr(block.attn, f"W_{which}")[head] for which in "QKV")
        return q @ turn @ k.T, v @ block.attn.W_O[head] @ centre

    size = torch.linalg.matrix_norm
    with torch.no_grad():
        ov, (qk, ov_after) = maps(*sender)[1], maps(*receiver)
        return [size(ov @ m) / size(m) / size(ov) for m in (qk, qk.T, ov_after)], size(qk)


def test_composition_is_that_of_dense_matrices():
    model = models.native(n_layers=3)
    receiver, distances = (2, 1), range(1, 65)
    found = composition(model, receiver).measured
    for sender in [(0, 0), (0, 3), (1, 2)]:
        per_distance = [dense(model, sender, receiver, distance) for distance in distances]
        sizes = torch.stack([size for _, size in per_distance])
        for at, name in enumerate("qkv"):
            ratios = torch.stack([ratio[at] for ratio, _ in per_distance])
            # Root mean square of the products over root mean square of the norms; W_OV has one value.
            weight = torch.ones(len(distances)) if name == "v" else sizes**2
            expected = ((ratios**2 * weight).sum() / weight.sum()).sqrt()
            assert found[name][sender[0]][sender[1]] == pytest.approx(float(expected), abs=2e-6)


def test_a_random_head_of_gpt2s_shape_composes_as_published():
    mean, deviation = random_baseline(768, 64)
    assert mean == pytest.approx(0.0361, abs=0.0002)
    assert deviation == pytest.approx(0.0004, abs=0.0002)


def test_published_composition_of_gpt2():
    heads = [(5, 1), (5, 5), (6, 9), (7, 2), (7, 10)]
    feeding = [published_composition("gpt2", *head) for head in heads]
    published = [0.102, 0.097, 0.104, 0.087, 0.090]
    assert [found.measured["k"][4][11] for found in feeding] == pytest.approx(published, abs=6e-4)
    for found in feeding:
        assert "published" in found.kind
        assert max(found.measured["k"][4]) == found.measured["k"][4][11] > 2 * found.baseline


def test_the_planted_link_composes_through_keys_alone(planted):
    found = composition(planted, models.INDUCTION_HEAD)
    layer, head = models.PREVIOUS_TOKEN_HEAD
    assert found.measured["k"][layer][head] > 2 * found.baseline
    assert found.measured["q"][layer][head] == found.measured["v"][layer][head] == 0
    others = [value for index, value in enumerate(found.measured["k"][layer]) if index != head]
    assert max(others) == 0


# Path patching; TransformerLens has none of shared keys, which the table of architectures has


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("through", INPUTS)
@pytest.mark.parametrize("build", [models.gpt2, models.neox])
def test_paths_are_those_of_transformer_lens(build, through, direction):
    model = build()
    pair = models.a_pair(model, at=3, copied=3)
    receiver = (model.cfg.n_layers - 1, 2)
    clean, corrupted = torch.tensor([pair.clean]), torch.tensor([pair.corrupted])
    here, there = (corrupted, clean) if direction == "denoise" else (clean, corrupted)

    def metric(logits):
        return logits[0, -1, pair.answer] - logits[0, -1, pair.distractor]

    found = path_patch(model, receiver, [pair], direction=direction, through=[through])
    effect = found.effects[through]["answer"].mean
    with torch.no_grad():
        (_, here_cache), (_, there_cache) = model.run_with_cache(here), model.run_with_cache(there)
        start, end = metric(model(here)), metric(model(there))
        for layer, head in [(0, 1), (receiver[0] - 1, model.cfg.n_heads - 1)]:
            expected = oracle.get_act_patch_direct_path(
                model, here, there_cache, here_cache, metric, layer, head, through, verbose=False
            )[receiver]
            patched = start + effect[layer][head] * (end - start)
            assert float(patched) == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("through", INPUTS)
def test_a_path_of_a_native_model_is_the_change_of_one_input_in_a_whole_run(through):
    """By hooks, since TransformerLens has no such path there: of the answer and of the attention to the target."""
    model, (layer, head) = models.native(), (1, 2)
    pair, block = models.a_pair(model, at=3, copied=3), model.blocks[layer]
    (_, clean), (logits, corrupted) = (
        model.run_with_cache(torch.tensor([p])) for p in (pair.clean, pair.corrupted)
    )
    found = path_patch(model, (layer, head), [pair], through=[through])
    z = "blocks.0.attn.hook_z"
    change = (clean[z] - corrupted[z])[:, :, 1] @ model.blocks[0].attn.W_O[1]
    stream = block.ln1(corrupted[f"blocks.{layer}.hook_in"] + change)
    read = getattr(block.attn, through)(stream).unflatten(-1, (-1, model.cfg.d_head))
    looks = []

    def replace(activation, hook):
        activation[:, :, head] = read[:, :, head]
        return activation

    hooks = [
        (f"blocks.{layer}.attn.hook_{through}", replace),
        (f"blocks.{layer}.attn.hook_pattern", lambda pattern, hook: looks.append(pattern[0, head, -1, 4])),
    ]
    moved = (model.run_with_hooks(torch.tensor([pair.corrupted]), fwd_hooks=hooks) - logits)[0, -1]
    effects, gap = found.effects[through], found.clean["answer"] - found.corrupted["answer"]
    answer = float(moved[pair.answer] - moved[pair.distractor])
    assert effects["answer"].mean[0][1] * gap == pytest.approx(answer, abs=1e-4)
    attention = float(looks[0] - corrupted["pattern", layer][0, head, -1, 4])
    assert effects["attention"].mean[0][1] == pytest.approx(attention, abs=1e-5)


@pytest.mark.parametrize("build", [models.gpt2, models.neox, models.native])
def test_the_whole_input_through_keys_is_the_patch_of_the_keys(build):
    """Everything the keys read from the other run: the same as copying the head's keys from there."""
    model, receiver = build(), (1, 2)
    pair = models.a_pair(model, at=3, copied=3)
    whole = path_patch(model, receiver, [pair], through=["k"]).effects["k"]["answer"].whole
    effect = patch_heads(model, [pair], component="k").effect("logit_difference")
    assert whole == pytest.approx(effect.mean[1][2], abs=1e-4)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_the_planted_previous_token_head_feeds_keys_and_nothing_else(planted, direction):
    found = path_patch(planted, models.INDUCTION_HEAD, pairs(planted, 4), direction=direction)
    layer, head = models.PREVIOUS_TOKEN_HEAD
    moves = np.zeros((1, 4))
    moves[layer, head] = 1
    assert found.clean["attention"] > 0.99
    assert found.corrupted["attention"] < 0.01
    assert found.ranked("k", "answer")[0][:2] == models.PREVIOUS_TOKEN_HEAD
    keys = found.effects["k"]
    np.testing.assert_allclose(keys["attention"].mean, moves, atol=0.02)
    assert keys["attention"].whole == pytest.approx(keys["attention"].mean[layer][head], abs=1e-4)
    np.testing.assert_allclose(keys["answer"].mean, moves, atol=0.02)
    for through in ("q", "v"):
        for effect in found.effects[through].values():
            assert np.abs(effect.mean).max() < 1e-4


def test_batches_change_nothing_and_closing_cancels(model):
    pair, receiver = models.a_pair(model, at=3, copied=3), (model.cfg.n_layers - 1, 0)
    whole, parts = (path_patch(model, receiver, [pair], max_bytes=size) for size in (2**29, 2**16))
    for through in INPUTS:
        for name in MEASURES:
            a, b = whole.effects[through][name].mean, parts.effects[through][name].mean
            assert np.allclose(a, b, atol=1e-5)
    steps = iter_path_patch(model, receiver, [pair], max_bytes=2**16)
    seen = [next(steps) for _ in range(3)]
    assert [step.result for step in seen] == [None] * 3
    assert seen[0].done == 0 < seen[2].done < seen[2].total
    steps.close()
    assert not any(hook.has_hooks() for hook in model.hook_dict.values())


def without_repeat(model):
    pair = models.a_pair(model, at=3, copied=3)
    return PromptPair(pair.clean[:-1], pair.corrupted[:-1], 1, 2)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda m, pair: composition(m, (0, 0)), "which no earlier head feeds"),
        (lambda m, pair: composition(m, (7, 0)), "no head 7"),
        (lambda m, pair: published_composition("distilgpt2", 3, 0), "there is gpt2"),
        (lambda m, pair: published_composition("gpt2", 0, 3), r"feed the heads 1\.0 to 11\.11"),
        (lambda m, pair: path_patch(m, (0, 1), [pair]), "which no earlier head feeds"),
        (lambda m, pair: path_patch(m, (1, 1), [pair], through=["z"]), "choose one of q, k, v"),
        (lambda m, pair: path_patch(m, (1, 1), [pair], mlps="thawed"), "frozen, recomputed"),
        (lambda m, pair: path_patch(m, (1, 1), [without_repeat(m)]), "does not occur before"),
        (lambda m, pair: path_patch(m, (1, 1), []), "at least one prompt pair"),
        (lambda m, pair: circuit(m, scan=SCANS.get("gpt2"), n_pairs=1), "does not fit this model"),
    ],
)
def test_what_cannot_be_traced_is_refused_in_a_sentence(planted, use, message):
    with pytest.raises(InputError, match=message):
        use(planted, models.a_pair(planted, at=3, copied=3))


# Copying


def test_copying_is_that_of_the_dense_map():
    """Of a native model, as above."""
    model, (layer, head) = models.native(), (1, 2)
    block, vocabulary = model.blocks[layer], torch.arange(model.cfg.d_vocab)
    norm = block.ln1.original_component
    with torch.no_grad():
        read = norm(model.embed(vocabulary[None])[0]) - norm.bias
        out = block.attn.W_V[head] @ block.attn.W_O[head]
        out = out - out.mean(-1, keepdim=True)
        dense = read @ out @ torch.diag(model.ln_final.original_component.weight) @ model.W_U
        dense = (dense - dense.mean(1, keepdim=True)).double()
    eigenvalues = np.linalg.eigvals(dense.numpy())
    ranks = (dense >= dense.diagonal()[:, None]).sum(1) - 1
    found = copying(model, (layer, head), slice_bytes=2**16)
    expected = float(eigenvalues.sum().real / np.abs(eigenvalues).sum())
    assert found.eigenvalue == pytest.approx(expected, abs=1e-4)
    assert found.top1 == pytest.approx(float((ranks < 1).double().mean()), abs=1e-6)
    assert found.top5 == pytest.approx(float((ranks < 5).double().mean()), abs=1e-6)
    assert found.n_tokens == model.cfg.d_vocab


def test_the_planted_induction_head_copies_and_other_heads_write_nothing(planted):
    found = copying(planted, models.INDUCTION_HEAD, n_tokens=100)
    assert found.n_tokens == 100
    assert found.top1 > 0.95
    assert found.eigenvalue > 0.95
    idle = copying(planted, (1, 0))
    assert (idle.top1, idle.top5, idle.eigenvalue) == (0, 0, 0)


# Kinds of heads


@pytest.mark.parametrize(
    ("scores", "direct", "kind"),
    [
        ({"induction": 0.93, "previous_token": 0.02, "first_token": 0.5}, 3.1, "induction"),
        ({"induction": 0.93}, None, "induction"),
        ({"induction": 0.47}, -0.9, "copy_suppression"),
        ({"induction": 0.39}, -0.9, "none"),
        ({"previous_token": 0.99}, -0.9, "previous_token"),
        ({"duplicate_token": 0.7, "induction": 0.01}, 0.0, "duplicate_token"),
        ({"first_token": 0.95, "previous_token": 0.05}, 0.0, "sink"),
        ({"first_token": 0.5, "induction": 0.3}, 0.0, "none"),
        ({}, None, "none"),
    ],
)
def test_a_head_is_named_by_the_first_rule_that_holds(scores, direct, kind):
    assert head_kind(scores, direct) == kind


def test_published_figures_of_gpt2_give_its_known_heads():
    """Scores on random repeats, and direct effect on indirect-object prompts: names as in the literature."""
    scores = {name: score.mean for name, score in SCANS.get("gpt2").scores.items()}
    kinds = kinds_of(scores, PATCHING.get("gpt2-ioi-attribution").mean)
    assert all(kinds[layer][head] == "induction" for layer, head in [(5, 1), (5, 5), (6, 9), (7, 2), (7, 10)])
    assert kinds[10][7] == kinds[11][10] == "copy_suppression"  # McDougall et al. 2023
    assert kinds[4][11] == "previous_token"
    assert kinds[0][5] == kinds[3][0] == "duplicate_token"
    assert kinds_of(scores)[10][7] == "induction"  # the stripe alone does not tell


# The whole


@pytest.fixture(scope="module")
def found(planted):
    return circuit(planted, n_pairs=3)


def test_the_planted_circuit_is_found_without_being_told(found):
    assert found.of_kind("induction") == [models.INDUCTION_HEAD]
    assert found.of_kind("previous_token") == [models.PREVIOUS_TOKEN_HEAD]
    (receiver,) = found.receivers
    assert (receiver.layer, receiver.head) == models.INDUCTION_HEAD
    assert receiver.paths.ranked("k")[0][:2] == models.PREVIOUS_TOKEN_HEAD
    example = found.example
    layer, head = models.PREVIOUS_TOKEN_HEAD
    assert example.tokens[example.first_a] == example.tokens[-1]
    assert example.tokens[example.first_b] == example.answer
    assert example.step_back[layer][head] > 0.99
    assert example.step_on[models.INDUCTION_HEAD[0]][models.INDUCTION_HEAD[1]] > 0.99
    assert next(row["sender"] for row in found.listing() if row["through"] == "keys") == "0.2"
    sentence = found.verdict()
    assert sentence.startswith("0.2 (previous-token head) feeds 1.1 through its keys")
    assert "by +1.00 (0.00 in the corrupted runs, 1.00 in the clean ones)" in sentence
    assert sentence.endswith("Through its queries no head moves it by more than 0.00.")


def test_a_circuit_survives_the_trip_through_json_and_csv(found):
    assert Circuit.from_json(found.to_json()) == found
    rows = list(csv.DictReader(found.to_csv().splitlines()))
    assert len(rows) == models.INDUCTION_HEAD[0] * found.n_heads
    fed = next(row for row in rows if row["sender"] == "0.2")
    assert float(fed["k_to_attention"]) > 0.98
    assert fed["sender_kind"] == "previous_token"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["direct"].pop(), "kind is not 2 x 4"),
        (lambda data: data["kinds"][0].__setitem__(0, "<b>"), "unknown kind"),
        (lambda data: data["receivers"][0].update(layer=5), "no head 5.1"),
        (lambda data: data["receivers"][0]["paths"]["effects"]["k"].update(attention=3), "misshapen"),
    ],
)
def test_damaged_circuits_say_so(found, change, message):
    data = json.loads(found.to_json())
    change(data)
    with pytest.raises(InputError, match=message):
        Circuit.from_json(json.dumps(data))


def test_the_circuit_of_any_head_on_every_architecture(model):
    steps = list(iter_circuit(model, (1, 0), n_pairs=2))
    shares = [step.done for step in steps]
    assert shares == sorted(shares)
    assert shares[-1] == 100
    (receiver,) = steps[-1].result.receivers
    assert set(receiver.composition.measured) == set(receiver.paths.effects) == set(INPUTS)
    assert "MLP0" in receiver.copying.definition or "mlp" not in model.blocks[0].submodules


def test_a_head_of_the_first_layer_has_copying_but_no_feeders(planted):
    (receiver,) = circuit(planted, (0, 2), n_pairs=1).receivers
    assert receiver.composition is receiver.paths is None
    assert receiver.copying.top1 >= 0


def test_without_induction_heads_there_is_no_circuit():
    found = circuit(models.native(), n_pairs=1)
    assert found.receivers == []
    assert found.verdict().startswith("No circuit")
    with pytest.raises(InputError, match="run the circuit of that head"):
        found.receiver(1, 0)


def test_in_mini_2l_previous_token_heads_feed_keys_and_queries_carry_nothing(mini):
    """And the bundled circuit is what is measured."""
    found, bundle = circuit(mini), CIRCUITS.get("mini-2l")
    assert found.kinds == bundle.kinds
    assert found.receivers
    for receiver in found.receivers:
        keys = receiver.paths.effects["k"]["attention"]
        feeders = receiver.paths.ranked("k")
        layer, head, strongest = feeders[0]
        assert found.kinds[layer][head] == "previous_token"
        assert strongest > 0.05
        others = [effect for at, index, effect in feeders if found.kinds[at][index] != "previous_token"]
        assert strongest > 10 * max(map(abs, others))
        assert keys.whole > 0.5 * (receiver.paths.clean["attention"] - receiver.paths.corrupted["attention"])
        for effect in receiver.paths.effects["q"].values():
            assert np.abs(effect.mean).max() < strongest / 20
        assert receiver.composition.measured["k"][layer][head] > 1.5 * receiver.composition.baseline
        for name, effects in bundle.receiver(receiver.layer, receiver.head).paths.effects.items():
            measured = receiver.paths.effects[name]["attention"].mean
            np.testing.assert_allclose(measured, effects["attention"].mean, atol=1e-3)
