"""Evidence: the tests find what is planted, hold to their rule, and equal hooks on the whole model."""

from __future__ import annotations

from statistics import NormalDist, median

import models
import numpy as np
import pytest
import torch

from induction.base import InputError, finish
from induction.data_gen.sequences import repeated_batch
from induction.evidence.measure import N_REPEATS, evidence, measure_evidence
from induction.evidence.results import TESTS, Column, Evidence
from induction.experiment import experiments
from induction.model import load_model
from induction.patching.ablation import reference_set
from induction.results import EVIDENCE
from induction.ui.tabs.cards import evidence_card
from induction.viz.evidence import matrix

PREVIOUS, INDUCTION = models.PREVIOUS_TOKEN_HEAD, models.INDUCTION_HEAD


def outcomes(found: Evidence, head) -> dict[str, str]:
    return {line.test.name: line.outcome for line in found.lines(head)}


@pytest.fixture(scope="module")
def planted() -> Evidence:
    return measure_evidence(models.planted_circuit())


def test_the_planted_induction_head_passes_and_no_other_does(planted):
    assert planted.induction == [list(INDUCTION)]
    found = outcomes(planted, INDUCTION)
    measured = {name for name, outcome in found.items() if outcome != "not measured"}
    assert {"attends", "copies", "works_alone", "works_in_set", "needed_alone", "fed_by"} <= measured
    assert {found[name] for name in measured} == {"pass"}
    (fed,) = (line for line in planted.lines(INDUCTION) if line.test.name == "fed_by")
    assert fed.note.endswith(f"{PREVIOUS[0]}.{PREVIOUS[1]}")
    idle = [head for head in map(tuple, planted.tested) if head not in (INDUCTION, PREVIOUS)]
    assert len(idle) == 6
    assert all(planted.passed(head) == 0 for head in idle)
    assert planted.passed(PREVIOUS) > 0  # the circuit needs it, which attends elsewhere
    assert outcomes(planted, PREVIOUS)["attends"] == "fail"
    assert planted.ranked()[0][:2] == INDUCTION


def test_what_a_head_adds_to_its_set_equals_hooks_on_the_whole_model():
    model = load_model("mini-2l")
    found = evidence(model, (1, 7))
    heads = [tuple(head) for head in found.induction]
    assert (1, 7) in heads
    assert len(heads) > 1
    batch = repeated_batch(model, n_prompts=N_REPEATS, seed=0)
    reference = reference_set(model, max(batch.lengths), seed=0)
    lost = []
    for row, period in enumerate(batch.periods):
        tokens = torch.as_tensor(batch.prompt(row))

        def loss(removed, tokens=tokens, period=period):
            def replace(z, hook):
                for layer, head in removed:
                    if hook.name.startswith(f"blocks.{layer}."):
                        z[:, :, head] = reference.z[layer][:, : z.shape[1], head].mean(0)
                return z

            hooks = [(f"blocks.{layer}.attn.hook_z", replace) for layer in range(2)]
            with torch.no_grad():
                logits = model.run_with_hooks(tokens[None], fwd_hooks=hooks)[0]
            nll = -logits.log_softmax(-1)[:-1].gather(-1, tokens[1:, None])[:, 0]
            return float(nll[1 - period :].mean())

        lost.append(loss(heads) - loss([head for head in heads if head != (1, 7)]))
    assert found.columns["needed_in_set"].value[1][7] == pytest.approx(np.mean(lost), abs=1e-3)


def grids(value, low, high, control) -> Column:
    parts = {
        name: [[part]]
        for name, part in zip(("value", "low", "high", "control"), (value, low, high, control), strict=True)
    }
    return Column(**parts, protocol="made by hand")


def made(column: Column) -> Evidence:
    about = {"model": "m", "n_layers": 1, "n_heads": 1, "origin": "hand", "protocol": "made by hand"}
    return Evidence(**about, induction=[], tested=[[0, 0]], columns={"attends": column})


@pytest.mark.parametrize(
    ("value", "low", "high", "control", "outcome"),
    [
        (0.5, 0.45, 0.55, 0.1, "pass"),
        (0.39, 0.38, 0.4, 0.1, "fail"),  # below the threshold
        (0.6, 0.05, 1.0, 0.1, "fail"),  # not told from the control
        (0.5, None, None, 0.1, "pass"),  # published, without an interval
        (None, None, None, None, "not measured"),
    ],
)
def test_the_rule(value, low, high, control, outcome):
    assert outcomes(made(grids(value, low, high, control)), (0, 0))["attends"] == outcome


def test_chance_is_what_heads_that_are_their_control_would_pass():
    low, high, control = 0.2, 0.6, 0.3
    error = (high - low) / (2 * NormalDist().inv_cdf(0.975))
    rng = np.random.default_rng(0)
    drawn = rng.normal(control, error, 200_000)
    half = (high - low) / 2
    passes = (drawn >= TESTS["attends"].threshold) & (drawn - half > control)
    assert made(grids(0.4, low, high, control)).expected("attends") == pytest.approx(passes.mean(), abs=3e-3)
    assert made(grids(0.4, None, None, control)).expected("attends") is None


def test_controls_are_the_other_heads_of_the_layer_outside_of_the_set(planted):
    values = planted.columns["needed_alone"]
    layer, index = INDUCTION
    others = [value for head, value in enumerate(values.value[layer]) if head != index]
    assert values.control[layer][index] == pytest.approx(median(others))


def test_one_head_is_a_part_of_all(planted):
    alone = evidence(models.planted_circuit(), INDUCTION)
    assert alone.tested == [list(INDUCTION)]
    assert outcomes(alone, INDUCTION) == outcomes(planted, INDUCTION)
    assert planted.of([INDUCTION]).verdict() == alone.verdict()
    assert planted.of([(7, 7)]) is None
    with pytest.raises(InputError, match="7"):
        evidence(models.planted_circuit(), (7, 7))


def test_card_and_matrix_say_what_the_result_says():
    found = EVIDENCE.get("mini-2l")
    assert set(found.columns) == set(TESTS)  # none is declared that nothing measures
    head = found.ranked()[0][:2]
    card = evidence_card(found, "mini-2l", f"{head[0]}.{head[1]}")
    assert found.verdict(head) in card
    for line in found.lines(head):
        assert line.test.title in card
    assert "Not measured" in evidence_card(found, "mini-2l", "9.9")
    figure = matrix(found)
    drawn = figure.data[0]
    assert [names[0][0] for names in drawn.customdata] == [f"{a}.{b}" for a, b, _ in found.ranked()]
    passed = [sum(value == 1 for value in row) for row in drawn.z]
    assert passed == [count for _, _, count in found.ranked()]


def test_a_closed_run_ends_and_steps_grow():
    model = models.planted_circuit()
    steps = experiments()["evidence"].run(model, experiments()["evidence"].settings(head="1.1"))
    done = [next(steps).done for _ in range(5)]
    assert done == sorted(done)
    steps.close()
    assert finish(experiments()["evidence"].run(model, experiments()["evidence"].settings(head="1.1")))
