"""Effects over several pairs: ratios of means over all of them, intervals by their definition, words that agree."""

from __future__ import annotations

import csv
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import models
import numpy as np
import pytest
import torch
from scipy import stats

from induction.base import InputError, Progress, finished, mean_interval
from induction.circuit.experiments import CircuitSettings
from induction.circuit.paths import path_patch
from induction.data_gen.pairs import PromptPair, pairs
from induction.patching.ablation import ablate_set, reference_set
from induction.patching.attribution import attribution_patching, direct_logit_attribution
from induction.patching.effects import effects_of, measure
from induction.patching.experiments import HeadsSettings
from induction.patching.heads import patch_heads, patch_set
from induction.patching.interventions import (
    ABLATIONS,
    METRICS,
    Ablation,
    Activation,
    Loss,
    Metric,
    RunOrder,
    random_sets,
)
from induction.patching.results import HeadSet, HeadSets, Measure, Pair, Patching
from induction.results import CIRCUITS
from induction.ui.tabs import circuit_cards, patching_cards
from induction.viz import patching as figures
from induction.viz import paths as senders

# By hand


def assert_is_ratio_of_means(effect, low, high, values, direction):
    """``values``: ``[clean, corrupted, patched]`` of each pair.

    The bounds are Fieller's by definition: the two ratios at which the mean of ``change - ratio * gap`` is as many
    standard errors from 0 as t allows.
    """
    clean, corrupted, patched = np.array(values).T
    change = patched - corrupted if direction == "denoise" else clean - patched
    gap, n = clean - corrupted, len(values)
    assert effect == pytest.approx(change.mean() / gap.mean(), abs=1e-4)
    assert low < effect < high
    for bound in (low, high):
        rest = change - bound * gap
        errors = rest.mean() / (rest.std(ddof=1) / np.sqrt(n))
        assert abs(errors) == pytest.approx(stats.t.ppf(0.975, n - 1), rel=1e-3)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_heads_and_sets_are_ratios_of_means_with_fiellers_interval(mini, direction):
    prompts, together = pairs(mini, 6), [(1, 2), (1, 6)]
    effect = patch_heads(mini, prompts, direction=direction).effect("logit_difference")
    for head in ((0, 2), (1, 2)):
        values = [models.plain_and_patched(mini, pair, [head], direction) for pair in prompts]
        assert_is_ratio_of_means(effect.mean[head[0]][head[1]], *effect.interval(*head), values, direction)
        np.testing.assert_allclose(
            np.array(values).T[:2], [effect.clean, effect.corrupted], atol=1e-4
        )  # nothing is left out
    found = patch_set(mini, prompts, together, direction=direction, n_random=4)
    part = found.sets[0].measures["logit_difference"]
    values = [models.plain_and_patched(mini, pair, together, direction) for pair in prompts]
    assert_is_ratio_of_means(part.effect, part.low, part.high, values, direction)
    clean, corrupted, patched = np.mean(values, axis=0)
    start, end = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    assert (part.baseline, part.other, part.edited) == pytest.approx((start, end, patched), abs=1e-4)
    control = random_sets(together, 4, seed=0, n_layers=2, n_heads=8)[0]
    patched = np.mean([models.plain_and_patched(mini, pair, control, direction)[2] for pair in prompts])
    assert part.random[0] == pytest.approx((patched - start) / (end - start), abs=1e-4)


def test_path_effects_on_the_answer_are_ratios_of_means(mini):
    prompts = pairs(mini, 5)
    found = path_patch(mini, (1, 2), prompts, through=["k"])
    alone = [path_patch(mini, (1, 2), [pair], through=["k"]) for pair in prompts]
    gaps = np.array([one.clean["answer"] - one.corrupted["answer"] for one in alone])
    shares = np.array([one.effects["k"]["answer"].mean[0][2] for one in alone])
    together = found.effects["k"]["answer"]
    assert together.mean[0][2] == pytest.approx((shares * gaps).sum() / gaps.sum(), abs=1e-4)
    values = [(gap, 0, share * gap) for gap, share in zip(gaps, shares, strict=True)]
    assert_is_ratio_of_means(together.mean[0][2], *together.interval(0, 2), values, "denoise")
    changes = [one.effects["k"]["attention"].mean[0][2] for one in alone]
    attention = found.effects["k"]["attention"]
    assert attention.mean[0][2] == pytest.approx(np.mean(changes), abs=1e-4)
    assert_is_t_interval(attention.interval(0, 2), changes)


def assert_is_t_interval(interval, values):
    """Hall's by definition: at the bounds the cubic in t, from which the skewness is gone, lies at t's quantiles; with
    fewer than ten samples t itself does."""
    n, skewness = len(values), stats.skew(values, bias=False) if len(values) >= 10 else 0.0
    for bound, sign in zip(interval, (1, -1), strict=True):
        t = (np.mean(values) - bound) / stats.sem(values)
        bent = skewness / np.sqrt(n)
        cubic = t + bent * t**2 / 3 + bent**2 * t**3 / 27 + bent / 6
        assert cubic == pytest.approx(sign * stats.t.ppf(0.975, n - 1), rel=0.01)


@pytest.mark.parametrize("n", [2, 5, 10, 30])
def test_a_mean_has_halls_interval(n):
    values = np.random.default_rng(n).exponential(1, n)
    assert_is_t_interval(mean_interval(values), values)


def test_differences_have_t_intervals(mini):
    prompts, head = pairs(mini, 4), (1, 2)
    written = direct_logit_attribution(mini, prompts)
    alone = [direct_logit_attribution(mini, [pair]).mean[1][2] for pair in prompts]
    assert_is_t_interval((written.low[1][2], written.high[1][2]), alone)
    off = ablate_set(mini, [head], kind="zero", pairs=prompts, n_prompts=2).sets[0].measures
    alone = [
        ablate_set(mini, [head], kind="zero", pairs=[pair], n_prompts=1).sets[0].measures for pair in prompts
    ]
    for metric in METRICS:
        changes = [one[metric].effect for one in alone]
        assert off[metric].effect == pytest.approx(np.mean(changes), abs=1e-5)
        assert_is_t_interval((off[metric].low, off[metric].high), changes)


def test_estimates_are_ratios_of_means_too(mini):
    prompts = pairs(mini, 8)
    effect = attribution_patching(mini, prompts).effect("logit_difference")
    patched, (clean, corrupted) = np.mean(effect.patched, axis=0), effect.plain
    np.testing.assert_allclose(effect.mean, (patched - corrupted) / (clean - corrupted), atol=1e-4)
    assert effect.interval(0, 2)


# Pairs without an answer to bring back


ABOUT = {"model": "made-up", "n_layers": 1, "n_heads": 2, "origin": "made up", "protocol": "made up"}
PAIR = Pair(clean=["a", "b"], corrupted=["a", "c"], answer="d", distractor="e", position=1)


def made_up(clean, corrupted, patched):
    """A sweep of two heads over pairs with these values of every metric; ``patched``: ``[pair, head]``."""
    plain = np.repeat(np.array([clean, corrupted], dtype=float)[..., None], len(METRICS), -1)
    values = np.repeat(np.array(patched, dtype=float)[:, None, :, None], len(METRICS), -1)
    effects = effects_of(plain, values, "denoise", complete=True)
    how = {
        "kind": "computed",
        "method": "exact",
        "direction": "denoise",
        "component": "z",
        "positions": "all",
    }
    return Patching(**ABOUT, **how, effects=effects, pairs=[PAIR] * len(clean))


def text(result, metric=""):
    """All that the command line says below its table."""
    return " ".join(result.words(metric))


@pytest.mark.parametrize(
    ("clean", "corrupted", "known"),
    [
        ([3.0, 0.0], [0.0, 2.0], True),  # one pair the wrong way round, better on average
        ([0.0, 2.0], [3.0, 0.0], False),
        ([1.0, 1.05], [1.0, 1.0], False),
    ],
)
def test_an_effect_is_undefined_where_clean_is_not_better_on_average(clean, corrupted, known):
    found = made_up(clean, corrupted, [[1.0, 2.0], [3.0, 4.0]])
    effect = found.effect("logit_difference")
    assert [cell is not None for cell in effect.mean[0]] == [known] * 2
    assert ("undefined" in found.caveats("logit_difference")) != known
    assert Patching.from_json(found.to_json()) == found
    if not known:
        assert f"({np.mean(clean):.3g})" in found.caveats("logit_difference")
        assert effect.interval(0, 0) is None
        assert found.verdict() == found.caveats("logit_difference")
        with pytest.raises(InputError, match="undefined"):
            figures.bars(found, "logit_difference")


def named(text):
    """The pairs that a sentence names."""
    listed = re.search(r"of \d+ pairs \(([\d, ]+)\) the clean prompt is not better", text)
    return [] if listed is None else [int(number) - 1 for number in listed[1].split(", ")]


@pytest.mark.parametrize("metric", METRICS)
def test_every_surface_names_exactly_the_pairs_whose_clean_prompt_is_not_better(mini, metric):
    prompts = pairs(mini, 7)
    prompts[2:4] = [turned(pair) for pair in prompts[2:4]]
    found = patch_heads(mini, prompts)
    effect = found.effect(metric)
    gaps = np.subtract(effect.clean, effect.corrupted)
    expected = np.flatnonzero(gaps < METRICS[metric].floor).tolist()
    assert {2, 3} <= set(expected) < set(range(7))
    assert effect.not_better == expected
    sets = patch_set(mini, prompts, [(1, 2), (1, 6)], n_random=3)
    figure = [
        figures.head_map(found, metric),
        figures.curve(sets, metric),
        figures.distribution(sets, metric),
    ]
    texts = [found.caveats(metric), found.verdict(metric), sets.verdict(metric), *map(caption, figure)]
    texts += [text(found, metric), patching_cards.sets_headline("mini-2l", sets, metric)]
    assert [named(said) for said in texts] == [expected] * len(texts)
    others = {name: said for name in METRICS for said in sets.words() if said.startswith(f"{name}: ")}
    assert metric == "logit_difference" or named(others[metric]) == expected


def turned(pair):
    return replace(pair, clean=pair.corrupted, corrupted=pair.clean)


def caption(figure):
    return figure.layout.meta["protocol"]


def test_paths_name_the_pairs_whose_clean_prompt_is_not_better(mini):
    prompts = pairs(mini, 4)
    prompts[1] = turned(prompts[1])
    prompts[1] = replace(prompts[1], clean=(*prompts[1].clean[:-1], prompts[1].clean[-3]))  # ends on a repeat
    prompts[1] = replace(prompts[1], corrupted=(*prompts[1].corrupted[:-1], prompts[1].clean[-1]))
    found = path_patch(mini, (1, 2), prompts, through=["k"])
    gaps = [
        one.clean["answer"] - one.corrupted["answer"]
        for one in (path_patch(mini, (1, 2), [pair], through=["k"]) for pair in prompts)
    ]
    expected = np.flatnonzero(np.array(gaps) < METRICS["logit_difference"].floor).tolist()
    assert found.effects["k"]["answer"].not_better == expected
    assert found.effects["k"]["attention"].not_better == []
    sentence = "".join(f"({', '.join(str(pair + 1) for pair in expected)})" for _ in expected[:1])
    assert sentence in caption(senders.path_bars(found, "mini-2l", measure="answer"))
    assert "not better" not in caption(senders.path_bars(found, "mini-2l"))


def test_intervals_without_bounds_are_said_to_be():
    """Gaps of 1, -1, 2: better on average, but not so that the pairs would tell the mean from 0."""
    found = made_up([1.0, -1.0, 2.0], [0.0] * 3, [[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    effect = found.effect("logit_difference")
    assert effect.mean[0] == pytest.approx([1, 0.5])
    assert effect.low == effect.high == [[None, None]]
    assert Patching.from_json(found.to_json()) == found
    assert "not bounded" in found.verdict()
    rows = list(csv.DictReader(found.to_csv().splitlines()))
    cells = [(row["logit_difference_effect"], row["logit_difference_low"]) for row in rows]
    assert cells == [("1.0", ""), ("0.5", "")]
    measure = Measure(baseline=0.0, edited=1.0, effect=0.5, unit="share of the answer", other=2.0)
    one = HeadSet(label="set", heads=[[0, 0]], measures={"logit_difference": measure})
    for n_pairs, unbounded in ((3, True), (1, False)):
        sets = HeadSets(**ABOUT, intervention="denoise", component="z", sets=[one], pairs=[PAIR] * n_pairs)
        for said in (patching_cards.sets_table(sets), sets.verdict()):
            assert ("not bounded" in said) == unbounded


def test_circuits_show_paths_without_bounds():
    circuit = CIRCUITS.get("mini-2l")
    receiver = circuit.receivers[0]
    keys = receiver.paths.effects["k"]
    nothing = [[None] * circuit.n_heads for _ in keys["answer"].mean]
    unbounded = keys["answer"].model_copy(update={"low": nothing, "high": nothing})
    paths = receiver.paths.model_copy(update={"effects": {"k": {**keys, "answer": unbounded}}})
    receiver = receiver.model_copy(update={"paths": paths})
    circuit = circuit.model_copy(update={"receivers": [receiver]})
    layer, head, _ = paths.ranked("k")[0]
    assert "not bounded" in circuit_cards.edge_card(circuit, f"{layer}.{head}>{receiver.name}", "k")
    assert "not bounded" in caption(senders.path_bars(paths, "mini-2l", measure="answer"))
    assert "not bounded" in text(circuit)


def test_what_is_not_computed_yet_takes_no_part():
    """Of the second pair one head is there and the other is not: each takes both its means from its own pairs."""
    plain = np.repeat(np.array([[4.0, 2.0, np.nan], [0.0, 0.0, np.nan]])[..., None], len(METRICS), -1)
    patched = np.array([[2.0, 2.0], [2.0, np.nan], [np.nan, np.nan]])[:, None, :, None]
    effect = effects_of(plain, np.repeat(patched, len(METRICS), -1), "denoise", complete=False)["probability"]
    assert effect.mean[0] == pytest.approx([4 / 6, 2 / 4], abs=1e-6)
    assert (effect.clean, effect.low, effect.patched) == ([4.0, 2.0], None, None)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda effect: effect.update(not_better=[0]), "not those whose clean prompt"),
        (lambda effect: effect.update(low=None), "two ends"),
        (lambda effect: effect["low"][0].__setitem__(0, None), "of different heads"),
        (lambda effect: effect["mean"][0].__setitem__(0, None), "of different heads"),
        (lambda effect: effect.update(undefined=1), "undefined"),
    ],
)
def test_effects_that_contradict_themselves_are_refused(damage, message):
    data = json.loads(made_up([3.0, 3.0], [0.0, 0.1], [[1.0, 2.0], [1.0, 2.0]]).to_json())
    damage(data["effects"]["logit_difference"])
    with pytest.raises(InputError, match=message):
        Patching.from_json(json.dumps(data))


# Declarations and seeds


@pytest.mark.parametrize(
    ("kind", "rest", "missing"),
    [
        (Ablation, {}, "values"),
        (Metric, {"unit": "", "floor": 1.0}, "of"),
        (Loss, {"unit": "nats"}, "of"),
        (Activation, {}, "replace"),
        (RunOrder, {}, "order.*moved"),
    ],
)
def test_nothing_is_declared_without_what_it_does(kind, rest, missing):
    with pytest.raises(TypeError, match=missing):
        kind("name", "Title", "Meaning.", **rest)


def test_the_twin_of_a_generator_has_its_arguments_and_returns_its_result():
    def iter_count(n: int, *, step: int = 1) -> Iterator[Progress[Fraction]]:
        """Count.

        Args:
            n: how far.

        Yields:
            Progress.

        Raises:
            InputError: never.
        """
        yield Progress(0, n, "begun")
        yield Progress(n, n, "done", Fraction(n, step))

    count = finished(iter_count)
    assert count(3, step=2) == Fraction(3, 2)
    assert count.__name__ == "count"
    expected = inspect.signature(iter_count).replace(return_annotation="Fraction")
    assert inspect.signature(count) == expected
    said = [part in count.__doc__ for part in ("n: how far.", "InputError: never.", "Yields")]
    assert said == [True, True, False]
    with pytest.raises(TypeError):
        count(3, steps=2)


def test_a_declared_ablation_is_what_is_run(planted, monkeypatch):
    def first(z, prompt):
        return z[:1]

    monkeypatch.setitem(ABLATIONS, "first", Ablation("first", "First", "The first one's.", values=first))
    reference = reference_set(planted, 9, n=3)
    for layer, replaced in enumerate(reference.values("first", 2, 7)):
        torch.testing.assert_close(replaced, reference.z[layer][:1, :7])
    found = [reference.values(kind, 2, 7)[0] for kind in ABLATIONS]
    assert {tuple(values.shape) for values in found} == {(1, 7, planted.cfg.n_heads, planted.cfg.d_head)}
    assert not any(torch.equal(one, other) for one, other in combinations(found, 2))


def test_a_declared_metric_is_what_is_measured(monkeypatch):
    declared = Metric(
        "sum", "Sum", "Both.", unit="logits", floor=0.1, of=lambda at: at.answer + at.distractor
    )
    monkeypatch.setitem(METRICS, "sum", declared)
    values = measure(torch.tensor([[1.0, 2.0, 4.0]]), PromptPair((0, 1), (0, 2), 2, 1))[0]
    everything = np.exp([1, 2, 4]).sum()
    assert values == pytest.approx([2, np.exp(4) / everything, 4 - np.log(everything), 6])


@pytest.mark.parametrize(
    "use",
    [
        lambda model: pairs(model, 2, seed=-1),
        lambda model: random_sets([(0, 0)], 2, seed=-1, n_layers=2, n_heads=2),
        lambda model: reference_set(model, 8, seed=-1),
        lambda model: ablate_set(model, [(0, 0)], seed=-1),
        lambda model: patch_set(model, pairs(model, 1), [(0, 0)], n_random=1, seed=-1),
        lambda model: HeadsSettings(seed=-1),
        lambda model: CircuitSettings(seed=-1),
    ],
)
def test_negative_seeds_are_refused_in_a_sentence(planted, use):
    with pytest.raises(InputError, match=r"(A seed is 0 or more|Seed: give .* 0 to .*), not -1"):
        use(planted)
