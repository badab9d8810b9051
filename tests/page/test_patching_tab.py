"""The Patching tab without a browser: which result answers which settings, what is said, what is refused."""

import json
from dataclasses import replace

import pytest
from induction.ui.patching_runs import sets_steps, sweep_steps
from induction.ui.patching_settings import Sweep, Together, shown_sets, shown_sweep
from plotly.graph_objects import Figure

from induction.base import InputError, finish
from induction.data_gen.pairs import pairs
from induction.model import load_model
from induction.patching import results
from induction.patching.heads import patch_heads, patch_set
from induction.patching.interventions import DIRECTIONS, METRICS
from induction.ui import patching_settings as settings
from induction.ui.tabs import patching as tab
from induction.ui.tabs import patching_cards as cards

MINI = "mini-2l"


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(settings, "sweeps", tab.jobs.Cache(4))
    monkeypatch.setattr(settings, "sets", tab.jobs.Cache(4))


def values(sweep=None, together=None):
    return [*vars(sweep or Sweep()).values(), *vars(together or Together()).values()]


def test_bundled_results_are_on_show_at_once():
    assert shown_sweep(MINI, Sweep()) == results.bundled("mini-2l")
    assert shown_sweep("gpt2", Sweep(component="v")) == results.bundled("gpt2-ioi-v")
    assert shown_sets(MINI, Sweep(), Together(top_k=3)).sets == results.bundled("mini-2l-top-k").sets[:3]
    for other in (Sweep(direction="noise"), Sweep(component="q"), Sweep(method="estimate"), Sweep("first_a")):
        assert shown_sweep(MINI, other) is None
    assert shown_sweep("gpt2-medium", Sweep()) is None


def test_settings_that_do_not_count_share_a_result():
    assert Sweep("first_a", clean="x").key() == Sweep("first_a").key()
    assert Sweep("own", clean="x", n_pairs=3).key() == Sweep("own", clean="x").key() != Sweep("own").key()
    assert Together("curve", "1.1").key() == Together("curve").key()
    assert Together("patch", "1.1", ablation="zero").key() == Together("patch", "1.1").key()
    assert Together("ablate", "1.1", ablation="zero").key() != Together("ablate", "1.1").key()


def test_a_run_fills_the_map_layer_by_layer_and_equals_the_library():
    sweep = Sweep("target", n_pairs=2, seed=5, direction="noise", component="pattern")
    steps = list(sweep_steps(MINI, sweep))
    first = tab._grid(steps[0].result, "probability", "1.7", "")
    assert first["values"][0] == [None] * 8  # last layer first
    assert None not in first["values"][1]
    model = load_model(MINI)
    alone = patch_heads(
        model, pairs(model, 2, form="target", seed=5), direction="noise", component="pattern", seed=5
    )
    assert shown_sweep(MINI, sweep).effects == alone.effects
    again = list(sweep_steps(MINI, sweep))
    assert [step.label for step in again] == ["from the cache"]


def test_a_cancelled_run_leaves_nothing_behind():
    steps = sweep_steps(MINI, Sweep("first_a", n_pairs=3))
    next(steps)
    steps.close()
    assert shown_sweep(MINI, Sweep("first_a", n_pairs=3)) is None


def test_a_set_equals_the_library():
    sweep, together = Sweep("first_a", n_pairs=3, seed=2), Together("patch", "1.7,1.6", n_random=7)
    found = finish(sets_steps(MINI, sweep, together))
    model = load_model(MINI)
    alone = patch_set(model, pairs(model, 3, seed=2), [(1, 7), (1, 6)], n_random=7, seed=2)
    assert found.sets[0].measures == alone.sets[0].measures
    assert shown_sets(MINI, sweep, together) == found
    assert "1.7 1.6" in cards.sets_table(found)
    assert f"{found.sets[0].measures['probability'].effect:+.3f}" in cards.sets_table(found)


def test_ablation_says_what_happens_to_both_copies():
    together = Together("ablate", "0.2", n_random=2)
    found = finish(sets_steps(MINI, Sweep("first_a", n_pairs=2), together))
    text = cards.sets_headline(found, together, "logit_difference")
    second = found.sets[0].measures["second_copy_loss"]
    assert f"from {second.baseline:.2f} to {second.edited:.2f} nats" in text
    assert second.effect > 1  # the previous-token head is needed
    assert "Loss, first copy" in cards.sets_table(found)


def test_the_curve_of_the_bundled_prompts_starts_like_the_bundled_one():
    found = finish(sets_steps(MINI, Sweep(), Together(top_k=2, n_random=0)))
    bundled = results.bundled("mini-2l-top-k")
    for mine, theirs in zip(found.sets, bundled.sets, strict=False):
        for metric in METRICS:
            assert mine.measures[metric].effect == pytest.approx(theirs.measures[metric].effect, abs=1e-4)


@pytest.mark.parametrize(
    ("sweep", "together", "message"),
    [
        (Sweep("first_a", n_pairs=51), Together(), "1 to 50"),
        (Sweep("first_a", n_pairs=0), Together(), "1 to 50"),
        (Sweep("nonsense"), Together(), "no kind of prompts"),
        (Sweep(direction="up"), Together(), "no direction"),
        (Sweep("own"), Together(), "empty"),
        (Sweep("own", clean="the", corrupted="the ship sails"), Together(), "same number of tokens"),
        (Sweep("own", clean="a " * 600, corrupted="b " * 600), Together(), "256 tokens"),
        (Sweep("own", clean="a" * 5000, corrupted="b"), Together(), "4000 characters"),
        (Sweep(), Together(n_random=101), "0 to 100"),
        (Sweep(), Together(top_k=0), "1 to 20"),
        (Sweep(), Together("patch"), "set is empty"),
        (Sweep(), Together("patch", "1.8"), "heads from 0 to 7"),
        (Sweep(), Together("patch", "<b>"), "is not a head"),
        (Sweep(), Together("ablate", "1.1", ablation="x"), "no ablation"),
        (Sweep(), Together("dance"), "no action"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_sentence(sweep, together, message):
    run = tab.run_sets(MINI, *values(sweep, together))
    last = list(run)[-1][0]
    assert last["state"] == "error"
    assert message in last["text"]
    assert "Traceback" not in last["text"]


def test_texts_of_visitors_are_escaped():
    hostile = '<img src=x onerror="alert(1)"> ${alert(1)} مرحبا 🙂'
    sweep = Sweep("own", clean=f"{hostile} one", corrupted=f"{hostile} two")
    shown = [*tab.run_sweep(MINI, "1.7", "probability", *values(sweep))][-1]
    assert shown[0]["state"] in ("done", "error")
    drawn = tab.draw(MINI, "1.7", "probability", *values(sweep), "")
    rendered = [part for part in drawn if isinstance(part, str)]
    rendered += [json.dumps(part["figure"]) for part in drawn if isinstance(part, dict) and "figure" in part]
    assert len(rendered) > 4
    assert not any("<img" in part for part in rendered)
    assert "ip-differs" in cards.prompts(shown_sweep(MINI, sweep))


def test_what_a_reader_has_to_know_is_said_with_the_finding():
    effect = results.Effect(clean=[2.0, 0.5], corrupted=[0.0, 0.45], mean=[[0.5]], floor=0.1, not_better=[1])
    result = replace(
        results.bundled("mini-2l"), n_layers=1, n_heads=1, effects={"logit_difference": effect}, pairs=[]
    )
    text = cards.verdict(result, "logit_difference")
    assert "Largest effects: 0.0 (+0.50)" in text
    assert "In 1 of 2 pairs (2) the clean prompt is not better than the corrupted one by 0.1 logits" in text
    nothing = replace(effect, clean=[0.05, 0.5], mean=[[None]], not_better=[0, 1])
    text = cards.verdict(replace(result, effects={"logit_difference": nothing}), "logit_difference")
    assert "undefined" in text
    assert "In all 2 pairs" in text


def test_the_meaning_comes_from_the_declarations():
    text = cards.meaning(Sweep(direction="noise"), "probability")
    assert DIRECTIONS["noise"].meaning.split("?")[0] in text
    assert METRICS["probability"].meaning in text


def test_groups_of_heads_show_as_heads():
    """Grouped-query attention: keys are patched by group; a click on the map still names a head."""
    result = results.bundled("mini-2l")
    grouped = replace(
        result,
        n_heads=4,
        unit="group",
        group_size=2,
        effects={"logit_difference": results.Effect([1], [0], [[0.1, 0.2, 0.3, 0.4]] * 2, 0.1)},
    )
    grid = tab._grid(grouped, "logit_difference", "1.7", "")
    assert grid["values"][0] == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4]
    assert grid["notes"]["1.3"] == "patched together: 1.2-3"


def test_exports_are_what_is_on_show():
    asked = {"model": MINI, "metric": "logit_difference", "head": "1.7", "what": "heads"}
    name, text = tab.export("json", asked)
    assert (name, results.from_json(text)) == ("patching-mini-2l-heads.json", results.bundled("mini-2l"))
    assert tab.export("csv", asked)[1].startswith("layer,head,")
    assert isinstance(tab.export("svg", asked)[1], Figure)
    sets = {**asked, "what": "sets", "top_k": 4}
    assert len(json.loads(tab.export("json", sets)[1])["sets"]) == 4
    assert isinstance(tab.export("svg", sets)[1], Figure)
    for damaged in ({"n_pairs": "many"}, {"form": "x"}, {"component": "q"}):
        with pytest.raises(InputError):
            tab.export("json", {**asked, **damaged})


def test_a_click_puts_a_head_into_the_set_and_takes_it_out():
    assert tab._toggled("", "1.2") == "1.2"
    assert tab._toggled("1.2, 0.2", "1.3") == "1.2,0.2,1.3"
    assert tab._toggled("1.2,0.2", "1.2") == "0.2"
    assert tab._first_heads(MINI, "", 2) == "1.7,1.2"
    with pytest.raises(InputError, match="scan"):
        tab._first_heads("gpt2-medium", "", 2)
