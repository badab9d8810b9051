"""Patching, Circuit and Training without a browser: which result answers which settings, words, exports, refusals."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import words_of

from induction.base import InputError, finish
from induction.circuit.results import Circuit, signed
from induction.data_gen.pairs import pairs
from induction.experiment import experiments
from induction.model import load_model
from induction.patching.experiments import AblationSettings, HeadsSettings, TogetherSettings
from induction.patching.heads import patch_heads, patch_set
from induction.patching.interventions import DIRECTIONS, METRICS
from induction.patching.results import Effect, Intervention
from induction.results import ABLATIONS, CIRCUITS, HISTORIES, PATCHING, published_circuit
from induction.ui import runs
from induction.ui.tabs import about
from induction.ui.tabs import circuit as circuit_tab
from induction.ui.tabs import circuit_cards as paths
from induction.ui.tabs import patching as tab
from induction.ui.tabs import patching_cards as cards
from induction.ui.tabs import training as training_tab
from induction.ui.terms import explained

MINI, SMOLLM2 = "mini-2l", "HuggingFaceTB/SmolLM2-135M-Instruct"
HOSTILE = '<img src=x onerror="alert(1)"> ${alert(1)} مرحبا 🙂'


def run(name, settings):
    return finish(runs.steps(experiments()[name], MINI, settings))


IDLE = {"state": "idle", "text": ""}
DRAWN = (
    "headline",
    "grid",
    "meaning",
    "prompts",
    "bars",
    "export",
    "stands",
    "line",
    "status",
    "wish",
    "before",
)
OF_SETS = ("headline", "figure", "table", "export", "stands", "line", "status", "wish", "before")


def drawn(model, before="", state=IDLE, metric="logit_difference", sets=False, **changed):
    """What the tab shows of heads one by one, or together, by name."""
    function, names = (tab.draw_sets, OF_SETS) if sets else (tab.draw, DRAWN)
    shown = function(model, metric, *given_values(**changed), "", before, state)
    by_name = dict(zip(names, shown, strict=False))
    noted = by_name["status"]
    return by_name | {"status": json.loads(noted) if isinstance(noted, str) else noted}


def skipped(update):
    return isinstance(update, dict) and update.get("__type__") == "update" and "value" not in update


def given_values(**changed):
    """Values of the Patching tab's controls, in order."""
    return list((tab._defaults() | changed).values())


# Patching


def test_bundled_results_are_on_show_at_once():
    assert runs.shown("heads", MINI, HeadsSettings()) == PATCHING.get("mini-2l")
    assert runs.shown("heads", "gpt2", HeadsSettings(component="v")) == PATCHING.get("gpt2-ioi-v")
    curve = runs.shown("together", MINI, TogetherSettings(top_k=3))
    assert curve.sets == PATCHING.get("mini-2l-top-k").sets[:3]
    for other in ({"direction": "noise"}, {"component": "q"}, {"method": "estimate"}, {"form": "first_a"}):
        assert runs.shown("heads", MINI, HeadsSettings(**other)) is None
    assert runs.shown("heads", "gpt2-medium", HeadsSettings()) is None


def test_a_run_fills_the_map_layer_by_layer_and_equals_the_library():
    asked = HeadsSettings(form="target", n_pairs=2, seed=5, direction="noise", component="pattern")
    steps = list(runs.steps(experiments()["heads"], MINI, asked))
    first = tab._grid(steps[0].result, "probability", "")
    assert first["values"][0] == [None] * 8  # last layer first
    assert None not in first["values"][1]
    model = load_model(MINI)
    prompts = pairs(model, 2, form="target", seed=5)
    alone = patch_heads(model, prompts, direction="noise", component="pattern", seed=5)
    assert runs.shown("heads", MINI, asked).effects == alone.effects
    again = list(runs.steps(experiments()["heads"], MINI, asked))
    assert [step.label for step in again] == ["from the cache"]


def test_a_cancelled_run_leaves_nothing_behind():
    asked = HeadsSettings(form="first_a", n_pairs=3, seed=77)
    steps = runs.steps(experiments()["heads"], MINI, asked)
    next(steps)
    steps.close()
    assert runs.shown("heads", MINI, asked) is None


def test_a_set_equals_the_library_and_its_table():
    found = run("together", TogetherSettings(heads="1.7,1.6", form="first_a", n_pairs=3, seed=2, n_random=7))
    model = load_model(MINI)
    alone = patch_set(model, pairs(model, 3, seed=2), [(1, 7), (1, 6)], n_random=7, seed=2)
    assert found.sets[0].measures == alone.sets[0].measures
    table = cards.sets_table(found)
    assert "1.7 1.6" in table
    assert all(f"{measure.effect:+.3f}" in table for measure in found.sets[0].measures.values())


def test_ablation_says_what_happens_to_both_copies():
    found = run("ablation", AblationSettings(heads="0.2", form="first_a", n_pairs=2, n_random=2))
    text = words_of(cards.sets_headline(MINI, found, "logit_difference"))
    second = found.sets[0].measures["second_copy_loss"]
    assert f"from {second.baseline:.2f} to {second.edited:.2f} nats" in text
    assert second.effect > 1  # the previous-token head is needed
    random = re.search(r"change the second by (\S+)", text)[1]  # of the loss that the sentence is about
    assert float(random) == pytest.approx(sum(second.random) / len(second.random), abs=0.005)
    assert "Loss, first copy" in cards.sets_table(found)


def test_the_curve_of_the_bundled_prompts_starts_like_the_bundled_one():
    found = run("together", TogetherSettings(top_k=2, n_random=0))
    for mine, theirs in zip(found.sets, PATCHING.get("mini-2l-top-k").sets, strict=False):
        for metric in METRICS:
            assert mine.measures[metric].effect == pytest.approx(theirs.measures[metric].effect, abs=1e-4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"form": "first_a", "n_pairs": 51}, "at most 50"),
        ({"form": "first_a", "n_pairs": 0}, "1 to 50"),
        ({"form": "nonsense"}, "no prompts"),
        ({"direction": "up"}, "no direction"),
        ({"form": "own"}, "empty"),
        ({"form": "own", "clean": "the", "corrupted": "the ship sails"}, "same number of tokens"),
        ({"form": "own", "clean": "a " * 600, "corrupted": "b " * 600}, "256 tokens"),
        ({"form": "own", "clean": "a" * 5000, "corrupted": "b"}, "4,000 characters"),
        ({"n_random": 101}, "at most 100"),
        ({"top_k": -1}, "0 to 20"),
        ({"action": "patch"}, "set is empty"),
        ({"action": "patch", "heads": "1.8"}, "heads from 0 to 7"),
        ({"action": "patch", "heads": "<b>"}, "is not a head"),
        ({"action": "ablate", "heads": "1.1", "ablation": "x"}, "no ablation"),
        ({"action": "dance"}, "no action"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_sentence(changed, message):
    *_, (state, _, _) = tab.run(tab.together, MINI, "probability", *given_values(**changed))
    assert state["state"] == "error"
    assert message in state["text"]
    assert "Traceback" not in state["text"]


def test_texts_of_visitors_are_escaped():
    values = given_values(form="own", clean=f"{HOSTILE} one", corrupted=f"{HOSTILE} two")
    *_, (state, _, _) = tab.run(tab.alone, MINI, "probability", *values)
    assert state["state"] in ("done", "error")
    drawn = tab.draw(MINI, "probability", *values, "", "", IDLE)
    rendered = [part for part in drawn if isinstance(part, str)]
    assert json.loads(rendered.pop())["asked"]["clean"] == f"{HOSTILE} one"  # remembered, and no HTML
    assert len(rendered) == 4
    assert not any("<img" in part for part in rendered)
    name, settings = tab.alone(dict(zip(tab.NAMES, values, strict=True)))
    assert "ip-differs" in cards.prompts(runs.shown(name, MINI, settings))


def test_what_a_reader_has_to_know_is_said_with_the_finding():
    ends = {"clean": [2.0, 0.5], "corrupted": [0.0, 0.45]}
    effect = Effect(**ends, mean=[[0.5]], floor=0.1, not_better=[1])
    shape = {"n_layers": 1, "n_heads": 1, "pairs": []}
    result = PATCHING.get("mini-2l").model_copy(update={**shape, "effects": {"logit_difference": effect}})
    text = result.verdict("logit_difference")
    assert "Largest effects: 0.0 (+0.50)" in text
    assert "In 1 of 2 pairs (2) the clean prompt is not better than the corrupted one by 0.1 logits" in text
    nothing = Effect(clean=[0.05, 0.5], corrupted=[0.0, 0.45], mean=[[None]], floor=0.1, not_better=[0, 1])
    text = result.model_copy(update={"effects": {"logit_difference": nothing}}).verdict("logit_difference")
    assert "undefined" in text
    assert "In all 2 pairs" in text


def test_the_meaning_comes_from_the_declarations():
    text = cards.meaning(tab._defaults() | {"direction": "noise"}, "probability")
    assert DIRECTIONS["noise"].meaning.split("?")[0] in text
    assert METRICS["probability"].meaning in text


def test_groups_of_heads_show_as_heads():
    """Grouped-query attention: keys are patched by group; a click on the map still names a head."""
    effect = Effect(clean=[1.0], corrupted=[0.0], mean=[[0.1, 0.2, 0.3, 0.4]] * 2, floor=0.1)
    grouped = {"n_heads": 4, "unit": "group", "group_size": 2, "effects": {"logit_difference": effect}}
    grid = tab._grid(PATCHING.get("mini-2l").model_copy(update=grouped), "logit_difference", "")
    assert grid["values"][0] == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4]
    assert grid["notes"]["1.3"] == "patched together: 1.2-3"


def test_exports_are_what_is_on_show():
    request = {"model": MINI, "metric": "logit_difference", "head": "1.7", "what": "heads"}
    name, text = tab.export("json", request)
    assert (name, Intervention.from_json(text)) == ("patching-mini-2l-heads.json", PATCHING.get("mini-2l"))
    assert tab.export("csv", request)[1].startswith("layer,head,")
    assert tab.export("svg", request)[1].data
    sets = {**request, "what": "sets", "top_k": 4}
    assert len(json.loads(tab.export("json", sets)[1])["sets"]) == 4
    for damaged in ({"n_pairs": "many"}, {"form": "x"}, {"component": "q"}):
        with pytest.raises(InputError):
            tab.export("json", {**request, **damaged})


def test_the_set_begins_with_the_induction_heads():
    assert tab._induction_heads(MINI, "") == "1.7,1.2,1.6,1.4"
    assert tab._first_set("ablate", MINI, "", "") == "1.7,1.2,1.6,1.4"
    assert skipped(tab._first_set("ablate", MINI, "", "0.2"))
    assert skipped(tab._first_set("curve", MINI, "", ""))
    assert skipped(tab._first_set("patch", "gpt2-medium", "", ""))
    with pytest.raises(InputError, match="scan"):
        tab._induction_heads("gpt2-medium", "")


def test_sentence_figure_and_table_of_an_ablated_set_have_the_same_numbers():
    shown = drawn(MINI, sets=True, action="ablate", heads="1.7,1.2,1.6,1.4")
    shown["headline"] = words_of(shown["headline"])
    loss = ABLATIONS.get(MINI).of([(1, 2), (1, 4), (1, 6), (1, 7)]).sets[0].measures["second_copy_loss"]
    assert f"from {loss.baseline:.2f} to {loss.edited:.2f} nats" in shown["headline"]
    assert f"change the second by {loss.random_in_words(2)} on average" in shown["headline"]
    assert f"lies above {loss.percentile:.0f} % of them" in shown["headline"]
    bars, line = shown["figure"]["figure"]["data"]
    assert line["x"] == [loss.effect] * 2
    assert f"percentile {loss.percentile:.0f}" in line["hovertemplate"]
    assert f"mean {sum(loss.random) / len(loss.random):.2f}" in bars["name"]
    assert loss.shown in shown["table"]
    one = drawn(MINI, sets=True, action="ablate", heads="0.2")["headline"]
    assert "Without head 0.2 the loss" in one


def test_redundancy_stands_beside_a_head_that_does_little_alone():
    known = ABLATIONS.get(MINI)
    alone, all_four = known.of([(1, 7)]), known.together
    card = words_of(cards.head_card(MINI, "1.7", PATCHING.get(MINI), "logit_difference"))
    measure = "second_copy_loss"
    assert f"without 1.7 alone the loss changes by {alone.sets[0].measures[measure].effect:+.2f}" in card
    assert f"without all 4 induction heads by {all_four.measures[measure].effect:+.2f}" in card
    assert "Patched on its own: +0.23 of the logit difference comes back" in card
    assert "Redundancy" not in cards.head_card(MINI, "0.2", PATCHING.get(MINI), "logit_difference")
    assert cards.head_card("gpt2", "5.5", PATCHING.get("gpt2-ioi-z"), "logit_difference").count("<p>") == 1
    assert cards.head_card(MINI, "<b>", None, "probability") == ""


def test_other_settings_never_blank_the_page_and_say_what_is_still_shown():
    first = drawn(SMOLLM2)
    assert (first["status"]["state"], first["stands"]["elem_classes"]) == ("idle", ["ip-results"])
    other = drawn(SMOLLM2, first["before"], direction="noise")
    assert other["grid"] == first["grid"]
    assert "ip-old" in other["stands"]["elem_classes"]
    assert other["line"]["label"].endswith("noising · head output · exact")
    assert re.fullmatch(
        r"Shown is still: prompts: as bundled · denoising · head output · exact\. "
        r"Patch every head \(about .*\) measures what is set here\.",
        other["status"]["text"],
    )
    assert skipped(other["wish"]), "minutes do not start by themselves"
    refused = drawn(SMOLLM2, first["before"], form="first_a", n_pairs=99)
    assert refused["grid"] == first["grid"]
    assert "at most 50" in refused["status"]["text"]
    back = drawn(SMOLLM2, other["before"])
    assert back["stands"]["elem_classes"] == ["ip-results"]
    assert back["status"]["text"] == ""


def test_a_moment_of_work_starts_by_itself_once():
    asked = {"form": "first_a", "n_pairs": 2, "seed": 31}
    other = drawn(MINI, **asked)
    assert other["wish"].isdigit()
    assert skipped(drawn(MINI, other["before"], **asked)["wish"]), (
        "a run that was refused is not asked for again"
    )
    typed = drawn(MINI, form="own", clean="the ship", corrupted="the moon")
    assert skipped(typed["wish"]), "nobody has finished typing"


def test_what_is_told_of_one_model_does_not_stay_under_another():
    told = {"state": "error", "text": "gpt2 cannot be loaded"}
    asked = {"direction": "noise"}
    before = drawn("gpt2", **asked)["before"]
    assert skipped(drawn("gpt2", before, told, **asked)["status"])
    assert drawn(SMOLLM2, before, told, **asked)["status"]["text"].startswith("Shown is still")
    assert drawn(SMOLLM2, before, told)["status"]["text"] == ""
    done = {"state": "done", "text": "Done in 1 s. The figures are from this run."}
    assert drawn(SMOLLM2, drawn(SMOLLM2)["before"], done, direction="noise")["status"]["state"] == "stale"
    assert skipped(
        drawn(SMOLLM2, drawn(SMOLLM2)["before"], {**done, "state": "running"}, direction="noise")["status"]
    )


def test_nothing_is_offered_where_nothing_is_and_it_is_said_once():
    for sets in (False, True):
        shown = drawn("distilgpt2", sets=sets)
        assert shown["export"] is None
        assert shown["stands"]["visible"] is False
        assert shown["status"]["text"].startswith("Not measured yet: press")
        assert "easured yet" not in json.dumps({**shown, "status": ""})
    assert drawn(MINI)["status"]["text"] == ""  # a plain visit has nothing to be told


@pytest.mark.parametrize(
    "before", ["{", "[]", '{"model":"mini-2l","values":[]}', '{"model":"mini-2l","values":{"form":5}}']
)
def test_what_a_browser_remembers_is_not_believed(before):
    assert drawn(MINI, before)["grid"] == drawn(MINI)["grid"]
    other = drawn(MINI, before, direction="noise", n_pairs=99)
    assert other["grid"]["n_layers"] == 2


# Circuit


@pytest.mark.parametrize("model", [MINI, SMOLLM2, "gpt2"])
def test_every_model_with_a_circuit_draws_for_every_input(model):
    head = runs.shown("circuit", model).receivers[0].name
    for through in "kqv":
        title, drawing, *_ = circuit_tab.draw(model, "", through, "attention", "", "")
        assert "svg" in drawing
        assert explained(runs.shown("circuit", model).finding(through, "attention")) in title
    assert f"Head {head}" in circuit_tab.draw_head(model, "", "k", "attention", head, "", "")[0]


def test_the_card_of_a_path_has_the_numbers_of_the_result():
    circuit = CIRCUITS.get(MINI)
    receiver = circuit.receivers[0]
    layer, head, effect = receiver.paths.ranked("k")[0]
    card = paths.edge_card(circuit, f"{layer}.{head}>{receiver.name}", "k")
    assert f"<td>{signed(effect)} " in card
    assert f"<td>{receiver.composition.measured['k'][layer][head]:.3f}</td>" in card


@pytest.mark.parametrize("edge", ["", "0.2", "0.2>0.1", "9.9>1.2", "1.2>0.2", "0.6>99.0", "<b>>1.2"])
def test_what_is_no_path_has_no_card(edge):
    assert paths.edge_card(CIRCUITS.get(MINI), edge, "k") == ""


@given(st.text(max_size=40), st.text(max_size=40))
def test_text_from_outside_is_escaped(model, head):
    shown = circuit_tab.draw(f"<i>{model}", "", "k", "attention", head, "")
    shown += circuit_tab.draw_head(f"<i>{model}", "", "k", "attention", head, head, "")
    assert not any("<i>" in part for part in shown if isinstance(part, str))


def test_published_figures_of_gpt2_make_a_circuit_without_paths():
    circuit = published_circuit("gpt2")
    assert all(receiver.paths is None and receiver.copying is None for receiver in circuit.receivers)
    assert {(5, 1), (5, 5), (6, 9), (7, 2), (7, 10)} <= {(r.layer, r.head) for r in circuit.receivers}
    assert "4.11 (previous-token head) composes most with 6.9" in circuit.verdict()
    assert Circuit.from_json(circuit.to_json()) == circuit
    assert "4.11" in circuit.to_csv()


def test_exports_answer_or_say_why_not():
    request = {"model": MINI, "traced": "", "through": "k", "measure": "attention", "selected": "1.2"}
    name, text = circuit_tab.export("json", request)
    assert (name, json.loads(text)["model"]) == ("circuit-mini-2l.json", MINI)
    assert circuit_tab.export("svg", request)[1].startswith("<svg")
    with pytest.raises(InputError, match="q, k, v"):
        circuit_tab.export("svg", {**request, "through": "../x"})
    with pytest.raises(InputError, match="q, k, v"):
        circuit_tab.export("svg", {**request, "model": "gpt2", "through": "../x"})  # published: no paths
    with pytest.raises(InputError, match="not measured yet"):
        circuit_tab.export("csv", {"model": "distilgpt2"})


# Training


def test_a_checkpoint_outside_of_the_run_is_clamped():
    history, index = training_tab.chosen(MINI, "", 10_000)
    assert index == len(history.checkpoints) - 1
    assert training_tab.chosen(MINI, "", -3)[1] == 0
    with pytest.raises(InputError, match="there are"):
        training_tab.chosen(MINI, "../etc", 1)


def test_the_training_tab_tells_the_order():
    words = training_tab.title(HISTORIES.get(MINI))
    assert words.index("first previous-token head") < words.index("first induction head")


def test_a_model_without_a_history_is_told_so():
    history, _ = training_tab.chosen("gpt2", "", 0)
    assert "No training history comes with gpt2" in training_tab.missing("gpt2", "", history)
    assert training_tab.missing(history.model, "", history) == ""
    assert training_tab.missing("gpt2", history.model, history) == ""  # asked for


def test_all_checkpoints_are_sent_at_once():
    history, index = training_tab.chosen(MINI, "", 5)
    sent = training_tab.frames(history, index)
    assert (sent["at"], len(sent["grids"])) == (4, len(history.checkpoints))
    assert sent["grids"][7][1]["values"] == history.checkpoints[7].induction
    assert sent["said"][7].startswith("Checkpoint 8 of")


def test_sources_are_plain_links():
    text = about.sources()
    assert text.count("<a href='https://") == len(about.SOURCES)
    assert text.count("rel='noopener noreferrer'") == text.count("target='_blank'") == len(about.SOURCES)


@pytest.mark.parametrize(
    "word",
    [
        "denoising",
        "noising",
        "A replaced",
        "B replaced",
        "estimate",
        "distractor",
        "sink",
        "composition",
        "BOS",
        "nats",
        "recovery",
        "logits above the mean",
        "induction target",
    ],
)
def test_words_of_the_field_are_explained_where_they_stand(word):
    said = explained(f"{word} <b>")
    assert f">{word}</dfn>" in said
    assert "<b>" not in said
