"""The Attention tab without a browser: what it ships, what it accepts from links and clients, its exports."""

import base64
import io
import json
import subprocess
import sys
from dataclasses import replace

import models
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from induction.analysis import attention
from induction.base import InputError
from induction.data_gen.prompts import DEFAULTS, EXAMPLES, TOKENS, Prompt, token_ids
from induction.model import CATALOGUE
from induction.model.tokens import encode, labels
from induction.ui import links
from induction.ui.components.attention_view import OVERVIEW_CELLS, tiles_value, view_value, written_value
from induction.ui.tabs import attention as tab

IDLE = {"state": "idle", "share": 0, "text": ""}
REQUEST = {"model": "mini-2l", "prompt": "repeat-31-random-0", "text": ""}


def first(steps):
    *_, last = steps
    return last


@pytest.fixture
def seen(mini):
    """The prompt of REQUEST (63 tokens), kept as a visit keeps it."""
    assert first(tab.run(*REQUEST.values()))[0]["state"] == "idle"
    return tab.kept.get(tuple(REQUEST.values()))[0]


def drawn(tiles):
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(tiles["png"]))))
    return pixels.reshape(-1, tiles["size"], tiles["size"]) / 255


def view_of(seen, **changes):
    options = {"name": "m", "head": "1.2", "row": -1, "hide_first": False, "notice": ""} | changes
    return view_value(seen, REQUEST, None, **options)


def test_the_view_carries_the_patterns_to_within_a_grey_level(seen):
    value = view_of(seen)
    np.testing.assert_allclose(drawn(value["tiles"]["1"]), seen.patterns[1], atol=0.5 / 255 + 1e-6)
    mask = drawn({"png": value["targets"], "size": seen.n_tokens})[0]
    assert (mask == seen.targets).all()
    hidden = view_of(seen, hide_first=True)["tiles"]["1"]
    np.testing.assert_allclose(
        drawn(hidden), attention.without_first(seen.patterns[1]), atol=0.5 / 255 + 1e-6
    )
    assert value["scores"][0]["values"][1][2] == round(float(seen.scores()["induction"][1, 2]), 3)
    assert value["scores"][0]["ceiling"] == round(seen.ceilings()["induction"], 3)


def test_64_tokens_of_mini_2l_cost_little(mini, seen):
    written = written_value(attention.written(mini, seen, 1, 2))
    assert len(json.dumps((view_of(seen), tiles_value(seen, None, False), written))) < 50_000


@pytest.mark.parametrize("card", CATALOGUE.values(), ids=list(CATALOGUE))
def test_64_tokens_cost_less_than_300_kb_in_every_model_even_if_attention_were_noise(seen, card):
    noise = np.tril(np.random.default_rng(0).random((card.n_layers, card.n_heads, 64, 64), np.float32))
    worst = replace(seen, ids=tuple(range(64)), labels=("·longtoken",) * 64, patterns=noise)
    rows = [[("·longtoken", -10.25)] * 5] * 64
    written = attention.Written(0, 0, 50_000, rows, rows, [(-10.25, 50_000)] * 64)
    shipped = view_of(worst, head="0.0"), tiles_value(worst, None, False), written_value(written)
    assert len(json.dumps(shipped)) < 300_000


def test_the_overview_of_all_heads_is_bounded_and_keeps_the_largest_weights(seen):
    whole = tiles_value(seen, None, False)
    assert whole["size"] == seen.n_tokens
    many = np.tril(np.random.default_rng(0).random((30, 9, 64, 64), np.float32))
    overview = drawn(tiles_value(replace(seen, ids=tuple(range(64)), patterns=many), None, False))
    assert overview.size <= OVERVIEW_CELLS
    np.testing.assert_allclose(overview.max((1, 2)), many.reshape(270, -1).max(-1), atol=0.01)


def test_parts_come_only_of_what_is_kept_and_exists(seen):
    of_layer = tab.parts({**REQUEST, "layer": 0})
    np.testing.assert_allclose(drawn(of_layer["tiles"]), seen.patterns[0], atol=0.003)
    assert "written" not in of_layer
    assert tab.parts({**REQUEST, "writes": "1.2"})["written"]["head"] == "1.2"
    assert "tiles" not in tab.parts({**REQUEST, "writes": "1.2"})
    assert "not head 9.9" in tab.parts({**REQUEST, "writes": "9.9"})["written"]["error"]
    wrong = (
        {},
        {**REQUEST, "layer": 9},
        {**REQUEST, "layer": "0"},
        {**REQUEST, "text": "x", "prompt": "own", "layer": 0},
    )
    for asked in wrong:
        assert tab.parts(asked) == {"gone": True}


def test_what_is_kept_is_shown_once_and_the_rest_is_asked_for_once(seen):
    key = tuple(REQUEST.values())
    view, _, on_show, files = tab.ask(*key, "", "1.2", 5, True)
    assert (view["head"], view["row"], view["hide_first"]) == ("1.2", 5, True)
    assert files == {**REQUEST, "hide_first": True}
    again = tab.ask(*key, on_show, "1.2", 5, True)
    assert not any(isinstance(part, dict) and "tokens" in part for part in again)
    other = ("mini-2l", "natural-1", "")
    view, _, on_show, files = tab.ask(*other, on_show, "1.2", -1, False)
    assert view["run"]
    assert files is None
    assert not isinstance(tab.ask(*other, on_show, "1.2", -1, False)[0].get("run"), int)


def test_a_head_that_the_model_lacks_is_replaced_in_words(seen):
    value = tab.ask(*REQUEST.values(), "", "9.9", -1, False)[0]
    layer, head = np.unravel_index(seen.scores()["induction"].argmax(), (2, 8))
    assert value["head"] == f"{layer}.{head}"
    assert value["notice"] == f"This model has no head 9.9; {layer}.{head} is shown."


@pytest.fixture
def unread():
    """The usual prompt of mini-2l, which nobody has read here."""
    key = tab.Key.of("mini-2l", str(DEFAULTS["repeat"]), "")
    before = tab.kept.get(key)
    tab.kept._kept.pop(key, None)
    yield key
    if before:
        tab.kept.put(key, before)


def test_the_usual_prompt_is_shown_from_the_bundled_example_as_the_model_reads_it(mini, unread):
    value = tab.ask(*unread, "", "1.6", -1, False)[0]
    live = attention.attend(mini, token_ids(mini, DEFAULTS["repeat"], "")[0])
    assert value["tokens"] == live.labels
    np.testing.assert_allclose(drawn(value["tiles"]["1"]), live.patterns[1], atol=1 / 255)
    written = attention.written(mini, live, 1, 6)
    assert value["written"]["following"][30] == pytest.approx(written.following[30], abs=0.011)
    assert "in steps of 1/255" in value["caption"]
    name, text = tab.export("json", {**unread._asdict(), "head": "1.6", "hide_first": False})
    assert name == "attention-mini-2l-1.6-repeat-24-random-0.json"
    assert "in steps of 1/255" in json.loads(text)["protocol"]


def test_what_the_example_lacks_is_said_not_computed(monkeypatch, unread):
    monkeypatch.setattr(tab, "known", lambda key, place: None)
    monkeypatch.setattr(tab.models, "load_model", lambda *_: pytest.fail("a model was loaded"))
    assert tab.parts({**unread._asdict(), "writes": "0.1"})["written"] == {"head": "0.1", "unread": True}


def test_the_example_needs_no_torch():
    code = (
        "import sys; from induction.ui.tabs import attention as tab; "
        "view = tab.ask('mini-2l', 'repeat-24-random-0', '', '', '1.6', -1, False)[0]; "
        "sys.exit('torch' in sys.modules or 'tokens' not in view)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_prompts_say_themselves():
    assert DEFAULTS["repeat"].words() == "random tokens · 24 twice · seed 0"
    assert DEFAULTS["ab"].words() == "letters · A B … A, 5 before each A · seed 42"
    assert Prompt(kind="natural", example=1).words() == "natural text · A poem with refrains"
    assert DEFAULTS["own"].words() == "own text"
    assert tab.refill("ab-5-letters-42", "")[0]["label"] == DEFAULTS["ab"].words()


def test_a_model_out_of_reach_says_what_it_needs():
    view, _, on_show, files = tab.ask("gpt2-medium", "natural-0", "", "", "0.0", -1, False)
    assert files is None  # nothing to export
    assert "1520 MB" in view["missing"]
    assert "mini-2l" in view["missing"]
    assert not view["run"]
    assert on_show == ""
    *_, wish, _ = tab.commit(True, "natural", 24, "random", 0, 0, "", "natural-0", "", IDLE)
    assert tab.ask("gpt2-medium", "natural-0", "", wish, "0.0", -1, False)[0]["run"]


def test_errors_are_one_sentence_in_the_status():
    state, *_ = first(tab.run("mini-2l", "own", "  "))
    assert state == {
        "state": "error",
        "share": 0,
        "text": "Write or paste a text, then press Show attention.",
    }


@given(
    st.one_of(
        st.text(max_size=60),
        st.from_regex(r"(repeat|ab|natural)-\d{1,12}(-[a-z]+-\d{1,12})?", fullmatch=True),
    )
)
def test_hostile_prompts_fall_back_to_the_default(text):
    value, notice = tab._read_prompt(text)
    assert (Prompt.parse(text) is None) == (notice is not None)
    assert str(Prompt.parse(value)) == value
    assert text not in (notice or "") or len(text) < 5


@pytest.mark.parametrize("kind", DEFAULTS)
def test_generated_prompts_repeat_something(mini, kind):
    ids, notice = token_ids(mini, DEFAULTS[kind], "one two three, one two three")
    assert notice == ""
    assert attention.attend(mini, ids).targets.any()
    assert ids == token_ids(mini, DEFAULTS[kind], "one two three, one two three")[0]


def test_every_example_has_something_to_find(mini):
    for index in range(len(EXAMPLES)):
        ids, notice = token_ids(mini, Prompt(kind="natural", example=index), "")
        assert notice == ""
        assert attention.attend(mini, ids).targets.sum() > 5


def test_long_texts_are_cut_and_say_so():
    model = models.gpt2()
    text = " the cat" * 200
    ids, notice = token_ids(model, Prompt(kind="own"), text)
    assert ids == encode(model, text)[:TOKENS]
    assert notice == "The text has 401 tokens; shown are the first 256, the limit of this view."


def test_settings_out_of_range_are_refused():
    *_, state = tab.commit(True, "repeat", 500, "random", 0, 0, "", "own", "", IDLE)
    assert state["state"] == "error"
    assert "Length: at most 120" in state["text"]


def test_the_client_cannot_send_a_row_or_head_of_its_own_making():
    class Event:
        def __init__(self, data):
            self._data = data

    assert tab._state(Event({"row": 5, "hide_first": True})) == (5, True)
    for row in (-3, 256, "5", None, 1.5, [1]):
        assert tab._state(Event({"row": row, "hide_first": "yes"})) == (-1, False)


def test_own_text_is_cleaned_like_that_of_a_link():
    prompt, text, *_ = tab.commit(True, "own", 24, "random", 0, 0, "a\x00b\ud800c", "own", "", IDLE)
    assert (prompt, text) == ("own", "abc")
    assert links.text("text").read(text) == (text, None)


def test_exports_hold_the_head_on_show(seen):
    asked = {**REQUEST, "head": "1.2", "hide_first": False}
    name, text = tab.export("json", asked)
    assert name == "attention-mini-2l-1.2-repeat-31-random-0.json"
    np.testing.assert_allclose(json.loads(text)["attention"], seen.patterns[1, 2], atol=1e-5)
    assert len(tab.export("csv", asked)[1].splitlines()) == seen.n_tokens + 1
    for wrong in ({}, {**asked, "head": "9.9"}, {**asked, "head": "x"}, {**asked, "prompt": "natural-0"}):
        with pytest.raises(InputError):
            tab.export("svg", wrong)


def test_what_a_head_of_mini_2l_writes_names_real_tokens(mini, seen):
    written = attention.written(mini, seen, 1, 2)
    everything = set(labels(mini, range(mini.cfg.d_vocab)))
    assert {label for row in written.promoted for label, _ in row} <= everything


def test_what_a_head_writes_is_refused_in_its_place(seen):
    """Of a model whose way to the logits could not be verified, the view shows attention and one sentence."""
    key = tab.Key(*REQUEST.values())
    strange = replace(
        seen, way=None, refused="Its way to the logits is not known; the scan does not need it."
    )
    assert tab.writing(key, strange, (1, 3)) == {"head": "1.3", "error": strange.refused}
    assert view_of(strange)["tiles"] == view_of(seen)["tiles"]
