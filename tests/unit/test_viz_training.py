"""Figures of training: the change and the order are where the history has them."""

import xml.etree.ElementTree as ET

import pytest

from induction.base import InputError
from induction.training.history import Checkpoint, History, bundled_histories
from induction.viz import training as viz
from induction.viz.theme import LIGHT, PAGE

SVG = "{http://www.w3.org/2000/svg}"
TOKENS = [0, 1000, 10_000, 100_000, 1_000_000]


def history(
    second=(8.0, 8.0, 7.0, 1.0, 0.5), previous=(0, 0.1, 0.5, 0.9, 0.9), induction=(0, 0, 0.1, 0.8, 0.9)
):
    """Head 0.1 looks back from 10,000 tokens on, head 1.0 does induction from 100,000 on."""
    checkpoints = [
        Checkpoint(
            step,
            tokens,
            None if step == 0 else 8.0 - step,
            8.0,
            second[step],
            [[0.0, 0.0], [induction[step], 0.05]],
            [[0.0, previous[step]], [0.05, 0.0]],
        )
        for step, tokens in enumerate(TOKENS)
    ]
    return History("made-up", 2, 2, "made up", "two prompts", 0, checkpoints, {})


def elements(text, kind, **attributes):
    wanted = {key.replace("_", "-"): value for key, value in attributes.items()}
    found = ET.fromstring(text).iter(f"{SVG}{kind}")
    return [e for e in found if all(e.get(key) == value for key, value in wanted.items())]


def texts(text):
    return " ".join(e.text or "" for e in ET.fromstring(text).iter(f"{SVG}text"))


def test_the_change_is_the_band_where_the_second_copy_falls_fastest():
    text = viz.losses(history())
    (band,) = elements(text, "rect", fill=LIGHT.selected)
    # Four checkpoints lie evenly on a log axis of 46 to 426: the fall is between the second and the third.
    assert float(band.get("x")) == pytest.approx(46 + 380 / 3, abs=0.1)
    assert float(band.get("width")) == pytest.approx(380 / 3, abs=0.1)
    assert "10 k to 100 k tokens" in texts(text)


def test_without_a_fall_nothing_is_marked():
    text = viz.losses(history(second=(8, 8, 7.9, 7.8, 7.8)))
    assert elements(text, "rect", fill=LIGHT.selected) == []
    assert "no change to mark" in texts(text)


def test_three_losses_and_the_other_run_are_lines_with_names():
    text = viz.losses(history(), compare=history(second=(8, 8, 8, 8, 8)))
    assert len(elements(text, "path", fill="none")) == 4
    (dashed,) = elements(text, "path", stroke_dasharray="5 3")
    heights = {part.split()[1] for part in dashed.get("d")[1:].split(" L")}
    assert len(heights) == 1  # its loss never changes
    for name in ("prose", "first copy", "second copy", "second copy, made-up"):
        assert name in [e.text for e in elements(text, "text")]


def test_the_order_is_told_and_shown():
    assert viz.first_to_form(history(), "previous_token") == ((0, 1), 2)
    assert viz.first_to_form(history(), "induction") == ((1, 0), 3)
    text = viz.scores(history())
    assert "previous-token: 0.1 first reached 0.4, at 10 k tokens" in texts(text)
    assert "induction: 1.0 first reached 0.4, at 100 k tokens" in texts(text)
    back, on = elements(text, "circle")
    assert float(back.get("cx")) < float(on.get("cx"))
    lines = elements(text, "path", fill="none")
    assert len(lines) == 2 * viz.STRONG  # of four heads, the lowest never reaches what is drawn


def test_the_selected_head_has_both_its_lines_on_top():
    lines = elements(viz.scores(history(), selected="0.0"), "path", stroke=LIGHT.selected)
    assert [line.get("stroke-dasharray") for line in lines] == ["6 3", None]
    assert elements(viz.scores(history(), selected="9.9"), "path", stroke=LIGHT.selected) == []


def test_a_run_without_induction_says_so():
    text = viz.scores(history(induction=(0, 0, 0, 0, 0)))
    assert "induction: no head reached 0.4" in texts(text)
    assert len(elements(text, "circle")) == 1


@pytest.mark.parametrize(("at", "x"), [(0, 46.0), (1, 46.0), (4, 426.0)])
def test_the_checkpoint_on_show_is_marked(at, x):
    for figure in (viz.losses, viz.scores):
        (line,) = elements(figure(history(), at=at), "line", data_selected=str(TOKENS[at]))
        assert float(line.get("x1")) == pytest.approx(x)


def test_every_trained_checkpoint_tells_its_numbers():
    columns = elements(viz.losses(history()), "rect", fill="transparent")
    assert len(columns) == 4
    assert columns[1].get("data-tip") == "10 k tokens: prose 6.00, first copy 8.00, second copy 7.00 nats"
    assert sum(float(column.get("width")) for column in columns) == pytest.approx(380, abs=0.1)


def test_too_short_a_history_is_refused():
    short = History("made-up", 2, 2, "", "", 0, history().checkpoints[:2], {})
    with pytest.raises(InputError, match="fewer than two checkpoints"):
        viz.losses(short)


@pytest.mark.parametrize(
    ("tokens", "text"), [(7, "7"), (20_480, "20.5 k"), (5_283_840, "5.28 M"), (3 * 10**11, "300 G")]
)
def test_counts_in_words(tokens, text):
    assert viz.tokens_in_words(tokens) == text


def test_the_bundled_history_forms_previous_token_heads_first():
    run = bundled_histories()["mini-2l"]
    (_, back), ((layer, _), on) = (viz.first_to_form(run, score) for score in ("previous_token", "induction"))
    assert back < on
    assert layer == 1
    assert "#" not in viz.scores(run, palette=PAGE).replace("&#", "")
