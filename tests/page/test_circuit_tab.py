"""Circuit and Training tabs without a browser: settings of links, words and tables, exports, published figures."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from induction.base import InputError
from induction.circuit import results
from induction.training import history as histories
from induction.ui.live_circuit import PAIRS, Settings, parameter, shown_circuit
from induction.ui.tabs import circuit as circuit_tab
from induction.ui.tabs import circuit_cards as cards
from induction.ui.tabs import training as training_tab

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"


@given(
    st.integers(*PAIRS),
    st.sampled_from(["random", "words"]),
    st.integers(0, 2**31 - 1),
    st.one_of(st.just("auto"), st.tuples(st.integers(0, 99), st.integers(0, 99)).map("{0[0]}.{0[1]}".format)),
)
def test_settings_survive_a_link(n_pairs, vocab, seed, head):
    settings = Settings(n_pairs, vocab, seed, head)
    assert Settings.parse(str(settings)) == settings


@given(st.text(max_size=60))
def test_a_link_names_a_circuit_that_may_be_run_or_none(text):
    value, notice = parameter().read(text)
    assert (value == "") == (notice is not None)
    if value:
        Settings.parse(value).check()


@pytest.mark.parametrize(
    "text", ["99-random-0-auto", "5-secret-0-auto", "5-words-99999999999-auto", "5-words-0-x.1"]
)
def test_settings_out_of_range_are_no_settings(text):
    assert Settings.parse(text) is None


@pytest.mark.parametrize("model", ["mini-2l", SMOLLM2, "gpt2"])
def test_every_model_with_a_circuit_draws_for_every_input(model):
    circuit = shown_circuit(model, "")
    head = circuit.receivers[0].name
    for through in "kqv":
        shown = circuit_tab.draw(model, "", "", head, "", through, "attention")
        assert "svg" in shown[1]
    assert f"Head {head}" in shown[3]


def test_the_card_of_a_path_has_the_numbers_of_the_result():
    circuit = results.bundled("mini-2l")
    receiver = circuit.receivers[0]
    layer, head, effect = receiver.paths.ranked("k")[0]
    card = cards.edge_card(circuit, f"{layer}.{head}>{receiver.name}", "k")
    assert f"<td>{results.signed(effect)} " in card
    assert f"<td>{receiver.composition.measured['k'][layer][head]:.3f}</td>" in card


@pytest.mark.parametrize("edge", ["", "0.2", "0.2>0.1", "9.9>1.2", "1.2>0.2", "0.6>99.0", "<b>>1.2"])
def test_what_is_no_path_has_no_card(edge):
    assert cards.edge_card(results.bundled("mini-2l"), edge, "k") == ""


@given(st.text(max_size=40), st.text(max_size=40))
def test_text_from_outside_is_escaped(model, head):
    shown = circuit_tab.draw(f"<i>{model}", "", "", head, head, "k", "attention")
    assert not any("<i>" in part for part in shown if isinstance(part, str))


def test_published_figures_of_gpt2_make_a_circuit_without_paths():
    circuit = results.published_circuit("gpt2")
    assert circuit.kind == "published"
    assert all(receiver.paths is None and receiver.copying is None for receiver in circuit.receivers)
    assert {(5, 1), (5, 5), (6, 9), (7, 2), (7, 10)} <= {(r.layer, r.head) for r in circuit.receivers}
    assert "4.11 (previous-token head) composes most with 6.9" in results.verdict(circuit)
    assert results.from_json(results.to_json(circuit)) == circuit
    assert "4.11" in results.to_csv(circuit)


def test_exports_answer_or_say_why_not():
    asked = {"model": "mini-2l", "traced": "", "through": "k", "measure": "attention", "selected": "1.2"}
    name, text = circuit_tab.export("json", asked)
    assert (name, json.loads(text)["model"]) == ("circuit-mini-2l.json", "mini-2l")
    assert circuit_tab.export("svg", asked)[1].startswith("<svg")
    with pytest.raises(InputError, match="choose from q, k, v"):
        circuit_tab.export("svg", {**asked, "through": "../x"})
    with pytest.raises(InputError, match="not measured yet"):
        circuit_tab.export("csv", {"model": "distilgpt2"})


def test_a_checkpoint_outside_of_the_run_is_clamped():
    history, index = training_tab.chosen("mini-2l", 10_000)
    assert index == len(history.checkpoints) - 1
    assert training_tab.chosen("mini-2l", -3)[1] == 0
    with pytest.raises(InputError, match="choose from"):
        training_tab.chosen("../etc", 1)


def test_a_history_as_csv_has_every_figure():
    history = histories.bundled_histories()["mini-2l"]
    rows = list(csv.DictReader(io.StringIO(histories.to_csv(history))))
    assert len(rows) == len(history.checkpoints)
    assert float(rows[-1]["induction_1.6"]) == history.checkpoints[-1].induction[1][6]
    assert float(rows[0]["second_copy_loss"]) == history.checkpoints[0].second_copy_loss
    assert len(rows[0]) == 5 + 2 * history.n_layers * history.n_heads


def test_the_training_tab_tells_the_order():
    words = training_tab.headline(histories.bundled_histories()["mini-2l"])
    assert words.index("first previous-token head") < words.index("first induction head")
