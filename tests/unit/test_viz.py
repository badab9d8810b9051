"""Charts: their numbers are the results' numbers, each keeps the frame's promises, and names are no markup."""

from __future__ import annotations

import json
import re
from html import unescape

import numpy as np
import pytest

from induction.analysis.attention import Attention
from induction.base import InputError, head_name
from induction.patching.edge_results import EdgeKnockout, EdgeMeasure, EdgeSet
from induction.patching.interventions import LOSSES
from induction.patching.results import Measure
from induction.results import CIRCUITS, HISTORIES, PATCHING, REAL_TEXT, SCANS, published_composition
from induction.training.history import Checkpoint, History
from induction.viz import frame, patching, paths, real_text, scan, training
from induction.viz import knockout as edges_figure
from induction.viz.attention import head_figure
from induction.viz.theme import DARK, LIGHT, PAGE

HOSTILE = "<img src=x onerror=alert(1)> & <b>"
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
TOKENS = [0, 1000, 10_000, 100_000, 1_000_000]


def history(second=(8.0, 8.0, 7.0, 1.0, 0.5), induction=(0, 0, 0.1, 0.8, 0.9), tokens=TOKENS):
    """Head 0.1 looks back from 10,000 tokens on, head 1.0 does induction from 100,000 on."""
    previous = (0, 0.1, 0.5, 0.9, 0.9)
    checkpoints = [
        Checkpoint(
            step=step,
            tokens=count,
            prose_loss=None if step == 0 else 8.0 - step,
            first_copy_loss=8.0,
            second_copy_loss=second[step],
            induction=[[0.0, 0.0], [induction[step], 0.05]],
            previous_token=[[0.0, previous[step]], [0.05, 0.0]],
        )
        for step, count in enumerate(tokens)
    ]
    shape = {"n_layers": 2, "n_heads": 2}
    return History(
        model=HOSTILE, origin="made up", protocol="two prompts", seed=0, checkpoints=checkpoints, **shape
    )


def attention(n=5):
    pattern = np.tril(np.ones((1, 1, n, n), np.float32))
    pattern /= pattern.sum(-1, keepdims=True)
    labels = (HOSTILE, "b", HOSTILE, "שלום", "c")
    return Attention(HOSTILE, "made up", (1, 2, 1, 2, 3), labels[:n], False, pattern, None, "made up")


def knockout(**fields):
    """One head that lost its edges, the loss on the second copy from 0.5 to 4 nats."""
    plain = {"baseline": 0.5, "unit": "nats"}
    removed = Measure(**plain, edited=5.0, effect=4.5, low=4.0, high=5.0)
    controls = {"random": [0.1, 0.3], "percentile": 100.0, "edges": [0.0, 0.1], "above_edges": 100.0}
    one = EdgeMeasure(
        **plain, edited=4.0, effect=3.5, low=3.25, high=3.75, removed=removed, share=7 / 9, **controls
    )
    sets = [EdgeSet(label=HOSTILE, heads=[[1, 1]], measures=dict.fromkeys(fields.pop("of", LOSSES), one))]
    about = {"model": HOSTILE, "n_layers": 2, "n_heads": 2, "origin": "made up", "protocol": "two prompts"}
    return EdgeKnockout(**about, intervention="before", component="pattern", sets=sets, **fields)


def changed(result, **fields):
    return result.model_copy(update=fields)


def hostile(result):
    return changed(result, model=HOSTILE)


SCAN, PUBLISHED = hostile(SCANS.get("mini-2l")), hostile(SCANS.get("gpt2"))
SWEEP, TOP_K = hostile(PATCHING.get("mini-2l")), hostile(PATCHING.get("mini-2l-top-k"))
PROSE = hostile(REAL_TEXT.get("mini-2l"))
RECEIVER = CIRCUITS.get("mini-2l").receivers[0]
OPTIONS = {"selected": "1.3", "marked": ("0.2", "1.7")}
CHARTS = {
    "grid": lambda **o: scan.grid(SCAN, "induction", **OPTIONS, **o),
    "loss": lambda **o: scan.loss_curve(SCAN, **o),
    "scatter": lambda **o: scan.induction_vs_previous(SCAN, **OPTIONS, **o),
    "published scatter": lambda **o: scan.induction_vs_previous(PUBLISHED, **o),
    "prose map": lambda **o: real_text.head_map(PROSE, **OPTIONS, **o),
    "prose lead": lambda **o: real_text.head_map(PROSE, "lead", **OPTIONS, **o),
    "prose scatter": lambda **o: real_text.prose_vs_repeats(PROSE, **OPTIONS, **o),
    "map": lambda **o: patching.head_map(SWEEP, **OPTIONS, **o),
    "published map": lambda **o: patching.head_map(hostile(PATCHING.get("gpt2-ioi-z")), **o),
    "bars": lambda **o: patching.bars(SWEEP, selected="1.3", **o),
    "published bars": lambda **o: patching.bars(hostile(PATCHING.get("gpt2-ioi-z")), **o),
    "curve": lambda **o: patching.curve(TOP_K, **o),
    "distribution": lambda **o: patching.distribution(TOP_K, **o),
    "knockout": lambda **o: edges_figure.bars(knockout(), **o),
    "paths": lambda **o: paths.path_bars(RECEIVER.paths, HOSTILE, selected="0.2", **o),
    "paths to the answer": lambda **o: paths.path_bars(RECEIVER.paths, HOSTILE, measure="answer", **o),
    "composition": lambda **o: paths.composition_bars(RECEIVER.composition, HOSTILE, **o),
    "losses": lambda **o: training.losses(history(), compare=history(), at=2, **o),
    "scores": lambda **o: training.scores(history(), at=0, selected="1.0", **o),
    "attention": lambda **o: head_figure(attention(), 0, 0, **o),
}
CURVES = {"loss", "curve", "losses", "scores"}


def flat(rows):
    """Every customdata of a trace: a heat map has rows of them."""
    return [cell for row in rows for cell in (row if isinstance(row[0], list) else [row])]


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_keeps_the_frame(name):
    figure = CHARTS[name]()
    layout, axes = figure.layout, (figure.layout.xaxis, figure.layout.yaxis)
    (protocol,) = [one for one in layout.annotations if one.name == "protocol"]
    words = unescape(protocol.text.replace("<br>", " "))
    assert layout.meta["title"]
    assert len(layout.meta["protocol"]) > 20
    assert re.sub(r"\s", "", words) == re.sub(r"\s", "", layout.meta["protocol"])
    assert layout.autosize
    assert 0 < layout.meta["protocol_height"] < layout.margin.b < layout.height
    assert all(axis.title.text for axis in axes)
    assert all(axis.fixedrange or layout.dragmode in ("zoom", "select") for axis in axes)
    units = [axis for axis in axes if re.search(r"\(|number|index|tokens|k,", axis.title.text)]
    assert units or name == "attention"
    assert (layout.hovermode == "x unified") == (name in CURVES)
    assert (layout.dragmode == "select") == ("scatter" in name)
    for trace in figure.data:
        assert trace.name if trace.showlegend else trace.type == "heatmap" or trace.showlegend is False
    assert "sendChartToCloud" in layout.modebar.remove
    assert not frame.CONFIG["showSendToCloud"]


@pytest.mark.parametrize("name", CHARTS)
def test_type_is_large_enough_and_titles_fit_a_phone(name):
    figure = CHARTS[name]()
    sizes = re.findall(r'"size":\s*([\d.]+)', json.dumps({**figure.layout.to_plotly_json(), "modebar": 0}))
    assert min(map(float, sizes)) >= 12
    for line in figure.layout.title.text.split("<br>"):
        assert len(line) * 8 <= 390
    assert max(map(len, figure.layout.annotations[-1].text.split("<br>"))) < 80  # escaped: longer than seen


@pytest.mark.parametrize("name", CHARTS)
def test_marks_that_can_be_picked_say_what_they_are(name):
    figure = CHARTS[name]()
    for trace in figure.data:
        kind = (trace.meta or {}).get("pick")
        for cell in flat(trace.customdata) if kind else []:
            if kind == "head":
                assert re.fullmatch(r"\d+\.\d+", cell[0])
            else:
                assert TOKENS[cell[0]] == cell[1] > 0
        shown = trace.hovertext is not None or trace.hovertemplate
        assert shown or trace.hoverinfo == "skip"
    picks = {(trace.meta or {}).get("pick") for trace in figure.data} - {None}
    none = {"loss", "distribution", "attention", "knockout"}
    assert picks == (set() if name in none else {"checkpoint"} if name in ("losses", "scores") else {"head"})


@pytest.mark.parametrize("name", CHARTS)
def test_no_name_and_no_token_is_markup(name):
    text = CHARTS[name]().to_json()
    shown = {key: value for key, value in json.loads(text)["layout"].items() if key != "meta"}
    parts = json.dumps([json.loads(text)["data"], shown])
    assert not re.search(r"<(?!br>|extra>|/extra>)", parts)
    assert "&lt;" in parts


@pytest.mark.parametrize("name", CHARTS)
def test_every_colour_is_of_the_palette(name):
    """In the page, all are references to its variables; light and dark have the same marks in other colours."""
    page = CHARTS[name](palette=PAGE).to_json()
    assert "var(--ih-" in page
    assert not re.search(r'"#[0-9a-f]{3,8}"', page)
    light, dark = (CHARTS[name](palette=palette).to_json() for palette in (LIGHT, DARK))
    assert f'"paper_bgcolor":"{DARK.paper}"' in dark
    assert LIGHT.ink not in dark
    strip = re.compile(r'"#[0-9a-f]{6}"')
    assert strip.sub("", light) == strip.sub("", dark)


def test_a_grid_holds_every_head_with_its_interval():
    score = SCAN.scores["induction"]
    (trace,) = scan.grid(SCAN).data
    assert [list(row) for row in trace.z] == score.mean
    for layer, row in enumerate(trace.customdata):
        for head, cell in enumerate(row):
            ends = [score.mean[layer][head], score.low[layer][head], score.high[layer][head]]
            assert cell[:-1] == [f"{layer}.{head}", *ends]
            assert cell[-1] == frame.interval(*ends[1:])
    assert set(re.findall(r"%{customdata\[(\d)\]", trace.hovertemplate)) >= {"0", "1", "4"}
    outlines = [(box.x0, box.y0) for box in CHARTS["grid"]().layout.shapes]
    assert outlines == [(2.5, 0.5), (1.5, -0.5), (6.5, 0.5)]


@pytest.mark.parametrize("name", SCANS.names())
def test_every_bundled_scan_is_drawn_whole(name):
    found = SCANS.get(name)
    for score in found.scores:
        assert np.shape(scan.grid(found, score).data[0].z) == (found.n_layers, found.n_heads)


def test_an_effect_map_is_centred_on_nothing_and_leaves_gaps():
    effect = changed(
        SWEEP.effect("logit_difference"),
        mean=[[None, *row[1:]] for row in SWEEP.effect("logit_difference").mean],
    )
    sweep = changed(SWEEP, effects={"logit_difference": effect})
    (trace,) = patching.head_map(sweep).data
    assert trace.zmin == -trace.zmax
    assert trace.colorscale[3] == (0.5, LIGHT.diverging[3])
    assert [row[0] for row in trace.z] == [None, None]
    assert trace.hoverongaps is False
    shared = changed(sweep, unit="group", group_size=2)
    (trace,) = patching.head_map(shared).data
    assert trace.customdata[1][3][0] == "1.6-7"
    assert trace.meta is None  # a group is no head


def test_losses_of_both_copies_are_the_curves():
    first, second = scan.loss_curve(SCAN).data
    assert list(first.y) == SCAN.loss.first
    assert list(second.y) == SCAN.loss.second
    assert f"{SCAN.loss.second_mean:.2f}" in second.name


def test_the_scatter_has_one_point_a_head():
    figure = scan.induction_vs_previous(SCAN, **OPTIONS)
    points = {cell[0]: (x, y) for t in figure.data for cell, x, y in zip(t.customdata, t.x, t.y, strict=True)}
    assert sum(len(trace.x) for trace in figure.data) == len(points) == SCAN.n_layers * SCAN.n_heads
    assert points["0.2"] == tuple(SCAN.scores[name].mean[0][2] for name in ("previous_token", "induction"))
    assert [len(trace.x) for trace in figure.data] == [13, 2, 1]
    named = [note.text for note in figure.layout.annotations if note.name != "protocol"]
    assert {"0.2", "1.3", "1.7"} <= set(named)


def test_prose_and_random_repeats_are_the_results_numbers():
    figure = real_text.prose_vs_repeats(PROSE, selected="1.4")
    places = {cell[0]: cell[1:] for trace in figure.data for cell in trace.customdata}
    latest, repeat = PROSE.measures["latest"].mean, PROSE.agreement.repeat
    assert places == {
        head_name((layer, head)): [repeat[layer][head], latest[layer][head]]
        for layer, head in np.ndindex(2, 8)
    }
    assert figure.layout.shapes[0].y0 == PROSE.measures["latest"].chance
    (trace,) = real_text.head_map(PROSE, "entropy").data
    assert [list(row) for row in trace.z] == PROSE.measures["entropy"].mean
    with pytest.raises(InputError, match="no measure 'x'; choose one of latest"):
        real_text.head_map(PROSE, "x")
    with pytest.raises(InputError, match="No scan of"):
        real_text.prose_vs_repeats(changed(PROSE, agreement=None))


def test_bars_are_patched_values_between_the_plain_runs():
    figure = patching.bars(SWEEP, selected="0.2")
    (trace,) = figure.data
    effect = SWEEP.effect("logit_difference")
    patched = np.mean([pair[0][2] for pair in effect.patched])
    assert trace.base == effect.plain[1], "a denoised run starts from the corrupted one"
    assert trace.base + trace.y[trace.x.index("0.2")] == pytest.approx(patched)
    assert trace.marker.color[trace.x.index("0.2")] == LIGHT.selected
    assert [line.y0 for line in figure.layout.shapes] == pytest.approx(list(effect.plain))
    low, high = SWEEP.effect("logit_difference").interval(0, 2)
    assert trace.customdata[trace.x.index("0.2")][3:] == [low, high]


def test_the_longest_bar_is_the_largest_effect_of_the_metric_on_show():
    published = PATCHING.get("gpt2-ioi-z")
    (trace,) = patching.bars(published).data
    length = dict(zip(trace.x, trace.y, strict=True))
    effects = {f"{layer}.{head}": value for layer, head, value in published.ranked()}
    clean, corrupted = published.effect("logit_difference").plain
    for name, value in length.items():
        assert value == pytest.approx(effects[name] * (clean - corrupted))
    assert length["5.5"] > 0 > length["10.7"]
    noised = changed(SWEEP, direction="noise")
    assert patching.bars(noised, "probability").data[0].base == SWEEP.effect("probability").plain[0]


def test_the_curve_has_intervals_and_the_random_sets():
    random, own = patching.curve(TOP_K).data
    measures = [one.measures["logit_difference"] for one in TOP_K.sets]
    assert list(own.y) == [measure.effect for measure in measures]
    bars = {"high": np.add(own.y, own.error_y.array), "low": np.subtract(own.y, own.error_y.arrayminus)}
    for end, drawn in bars.items():
        bounds = [getattr(measure, end) for measure in measures]
        assert drawn.tolist() == pytest.approx(
            [y if bound is None else bound for y, bound in zip(own.y, bounds, strict=True)]
        )
    assert [cell[0] for cell in own.customdata] == [head_name(tuple(one.heads[-1])) for one in TOP_K.sets]
    means = [np.mean(measure.random) for measure in measures if measure.random]
    assert list(random.y) == pytest.approx(means)


@pytest.mark.parametrize("k", [1, 4, 30])
def test_an_axis_that_counts_has_ticks_at_whole_numbers(k):
    several = changed(TOP_K, sets=(TOP_K.sets * 30)[:k])
    along = patching.curve(several).layout.xaxis
    assert (along.tick0, along.dtick) == (0, int(along.dtick))
    assert 1 <= k / along.dtick <= 11
    up = patching.distribution(several).layout.yaxis
    assert up.dtick == int(up.dtick) >= 1


def test_a_set_stands_among_all_its_random_sets():
    bars, own = patching.distribution(TOP_K).data
    measure = TOP_K.sets[0].measures["logit_difference"]
    assert sum(bars.y) == len(measure.random)
    low, high = bars.customdata[int(np.argmax(bars.y))]
    assert max(bars.y) == sum(low <= value < high for value in measure.random)
    assert set(own.x) == {measure.effect}
    assert own.x[1] + own.error_x.array[1] == pytest.approx(measure.high)
    bare = changed(TOP_K.sets[0], measures={"logit_difference": changed(measure, random=[])})
    with pytest.raises(InputError, match="No random sets were run"):
        patching.distribution(changed(TOP_K, sets=[bare]))
    with pytest.raises(InputError, match="was not measured"):
        patching.curve(TOP_K, "nothing")


def test_path_bars_are_effects_with_their_intervals():
    (trace,) = paths.path_bars(RECEIVER.paths, "mini-2l", selected=f"0.2>{RECEIVER.name}").data
    effects = RECEIVER.paths.effects["k"]
    effect = effects["attention"]
    low, high = effect.interval(0, 2)
    at = trace.y.index("0.2")
    assert trace.x[at] == effect.mean[0][2]
    assert trace.x[at] + trace.error_x.array[at] == pytest.approx(high)
    assert trace.x[at] - trace.error_x.arrayminus[at] == pytest.approx(low)
    assert trace.customdata[at] == ["0.2", effect.mean[0][2], low, high]
    assert f"{high:+.3f}" in trace.hovertext[at]
    assert trace.marker.color[at] == LIGHT.selected
    none = dict.fromkeys(effects, changed(effect, mean=[[None] * 8]))
    with pytest.raises(InputError, match="undefined"):
        paths.path_bars(changed(RECEIVER.paths, effects={"k": none}), "mini-2l")


def test_composition_of_gpt2_puts_4_11_first_before_random_heads():
    composition = published_composition("gpt2", 5, 1)
    figure = paths.composition_bars(composition, "gpt2")
    (trace,) = figure.data
    assert trace.y[0] == "4.11"
    assert trace.x[0] == composition.measured["k"][4][11]
    assert list(trace.x) == sorted(trace.x, reverse=True)
    line, band = figure.layout.shapes
    assert line.x0 == composition.baseline
    assert band.x1 - band.x0 == pytest.approx(2 * composition.baseline_deviation)
    with pytest.raises(InputError, match="choose from keys"):
        paths.composition_bars(composition, "gpt2", through="q")


def test_attention_has_an_outline_on_every_target_and_no_future():
    weights, targets = head_figure(attention(), 0, 0).data
    assert weights.z[1][2] is None
    assert weights.z[2][1] == pytest.approx(1 / 3, abs=1e-4)
    cells = {(weights.y.index(y), weights.x.index(x)) for x, y in zip(targets.x, targets.y, strict=True)}
    assert cells == {(2, 1), (3, 2)}
    assert len(set(weights.x)) == 5  # tokens repeat, places do not
    hidden = head_figure(attention(), 0, 0, hide_first=True)
    assert list(hidden.data[0].z[2][:2]) == [0, 0.5]
    assert "renormalised" in hidden.layout.meta["protocol"]


def shape(figure, name):
    return [one for one in figure.layout.shapes if one.name == name]


def test_training_marks_the_change_and_the_checkpoint_on_show():
    for draw in (training.losses, training.scores):
        figure = draw(history(), at=4)
        (band,) = shape(figure, "the change")
        assert (band.x0, band.x1) == (10_000, 100_000)
        (line,) = shape(figure, "checkpoint on show")
        assert (line.x0, line.xref) == (1_000_000, None)
        (line,) = shape(draw(history(), at=0), "checkpoint on show")
        assert (line.x0, line.xref) == (0, "x domain")
        assert "10 k to 100 k tokens" in figure.layout.meta["protocol"]
        flat_run = draw(history(second=(8, 8, 7.9, 7.8, 7.8)))
        assert shape(flat_run, "the change") == []
        assert "no change to mark" in flat_run.layout.meta["protocol"]
        with pytest.raises(InputError, match="fewer than two checkpoints"):
            draw(history(tokens=TOKENS[:2]))


def test_training_losses_are_the_lines():
    run = history()
    *own, other = training.losses(run, compare=run).data
    names = ("prose_loss", "first_copy_loss", "second_copy_loss")
    assert [list(line.y) for line in own] == [
        [getattr(p, name) for p in run.checkpoints[1:]] for name in names
    ]
    assert other.line.dash == "dash"
    assert other.meta is None


def test_the_order_in_which_heads_formed_is_told_and_shown():
    assert training.first_to_form(history(), "previous_token") == ((0, 1), 2)
    figure = training.scores(history())
    dots = {trace.text[0]: (trace.x[0], trace.y[0]) for trace in figure.data if trace.mode != "lines"}
    assert dots == {"0.1": (10_000, 0.5), "1.0": (100_000, 0.8)}
    assert "Induction: 1.0 first reached 0.4, at 100 k tokens." in figure.layout.meta["protocol"]
    assert sum(trace.mode == "lines" for trace in figure.data) == 2 * training.STRONG
    lines = [trace.line for trace in training.scores(history(), selected="0.0").data]
    assert [line.dash for line in lines if line.color == LIGHT.selected] == ["dash", "solid"]
    never = training.scores(history(induction=(0,) * 5))
    assert "Induction: no head reached 0.4." in never.layout.meta["protocol"]
    run = HISTORIES.get("mini-2l")
    (_, back), (head, on) = (training.first_to_form(run, name) for name in ("previous_token", "induction"))
    assert back < on
    assert head[0] == 1


@pytest.mark.parametrize(
    ("tokens", "text"), [(7, "7"), (20_480, "20.5 k"), (5_283_840, "5.28 M"), (3 * 10**11, "300 G")]
)
def test_counts_in_words(tokens, text):
    assert training.tokens_in_words(tokens) == text


def test_what_was_not_measured_is_refused_with_what_there_is():
    with pytest.raises(InputError, match="was not measured; run a scan with the loss"):
        scan.loss_curve(changed(SCAN, loss=None))
    with pytest.raises(InputError, match="choose from induction"):
        scan.grid(SCAN, "none")
    with pytest.raises(InputError, match="no metric 'none'"):
        patching.bars(SWEEP, "none")


def test_a_first_copy_loss_that_rises_is_explained_with_its_own_numbers():
    run = HISTORIES.get("mini-2l")
    (note,) = (note for note in training.losses(run).layout.annotations if note.name == "rise")
    first, last = run.checkpoints[0].first_copy_loss, run.checkpoints[-1].first_copy_loss
    assert f"{first:.2f} to {last:.2f}" in note.text
    assert last > first + training.RISEN
    flat = [point.model_copy(update={"first_copy_loss": first}) for point in run.checkpoints]
    level = training.losses(run.model_copy(update={"checkpoints": flat}))
    assert not [note for note in level.layout.annotations if note.name == "rise"]


def test_the_knockout_figure_shows_each_removal_with_its_interval():
    (trace,) = edges_figure.bars(knockout()).data
    assert list(trace.x) == ["nothing", "edges", "heads", "random<br>heads", "random<br>edges"]
    assert list(trace.y) == pytest.approx([0.5, 4.0, 5.0, 0.7, 0.55])
    assert list(trace.error_y.array) == pytest.approx([0, 0.25, 0.5, 0.1, 0.05])
    assert list(trace.error_y.arrayminus) == pytest.approx([0, 0.25, 0.5, 0.1, 0.05])
    metric = knockout(of=["logit_difference"])
    assert edges_figure.bars(metric).layout.yaxis.title.text == "Logit difference (logits)"
    with pytest.raises(InputError, match="choose from logit_difference"):
        edges_figure.bars(metric, "probability")
