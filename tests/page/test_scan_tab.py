"""Scan without a browser: three steps and knock-outs say what the numbers beside them are, empty states say it once."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import parse_qs

import pytest

from induction.analysis import reading
from induction.base import head_name
from induction.patching.experiments import AblationSettings
from induction.patching.results import Measure
from induction.results import ABLATIONS, SCANS, bundled
from induction.ui import names, runs
from induction.ui.components.head_grid import natural_height
from induction.ui.tabs import scan as tab
from induction.ui.tabs import scan_steps

MINI = "mini-2l"
HEADS = ["1.7", "1.2", "1.6", "1.4"]


def sections(html: str) -> list[str]:
    """The three steps."""
    return re.findall(r"<section.*?</section>", html)


def sentence(section: str) -> str:
    return unescape(re.sub(r"</?dfn.*?>", "", re.search(r"<p>(.*?)</p>", section)[1]))


def bars(html: str) -> dict[str, float]:
    rows = re.findall(r"<tr><th scope='row'>(.*?)</th>.*?<td>(-?[\d.]+)</td></tr>", html)
    return {unescape(label): float(value) for label, value in rows}


def links(html: str) -> list[dict[str, str]]:
    queries = [unescape(query) for query in re.findall(r"href='\?(.*?)'", html)]
    return [{name: values[0] for name, values in parse_qs(query).items()} for query in queries]


def removed(effect: float, random: list[float], baseline: float = 1.0) -> Measure:
    above = 50.0 if random else None
    return Measure(
        baseline=baseline,
        edited=baseline + effect,
        effect=effect,
        unit="nats",
        random=random,
        percentile=above,
    )


def knocks(monkeypatch, **effects: tuple[float, list[float]]):
    """Ablations by set, as what is on show: ``all`` or the name of a head with ``_`` for its point."""
    kept = bundled("ablation", MINI, AblationSettings(heads=",".join(HEADS)))

    def shown(name, model, settings):
        heads = settings.heads.split(",")
        key = "all" if len(heads) > 1 else f"h{heads[0].replace('.', '_')}"
        if key not in effects:
            return None
        one = kept.sets[0].model_copy(update={"measures": {scan_steps.AFTER: removed(*effects[key])}})
        return kept.model_copy(update={"sets": [one]})

    monkeypatch.setattr(runs, "shown", shown)


def test_found_and_looks_are_the_scans_own_numbers():
    scan = SCANS.get(MINI)
    found, looks, _ = sections(scan_steps.steps(scan))
    assert sentence(found) == reading.found(scan)
    assert scan.verdict().startswith(reading.found(scan).rstrip("."))
    assert f"left:{100 * reading.selection(scan).threshold:.1f}%" in found
    layer, head, value = scan.ranked()[0]
    assert f"Head {layer}.{head} puts {value:.2f}" in sentence(looks)
    measured = {place: scan.scores[name].mean[layer][head] for name, place in reading.TARGETS.items()}
    assert bars(looks) == {place: round(share, 2) for place, share in measured.items()}
    assert links(looks) == [{"model": MINI, "tab": "attention", "head": "1.7"}]
    assert "<img src='data:image/png;base64," in looks


def test_needed_is_what_was_measured_of_the_set_of_one_head_and_of_random_heads(monkeypatch):
    knocks(monkeypatch, all=(11.5, [0.25, 0.75]), h1_7=(0.125, [0.0]))
    needed = sections(scan_steps.steps(SCANS.get(MINI)))[2]
    said = sentence(needed)
    assert "Without these 4 heads, loss on the second copy goes from 1.00 to 12.50 nats" in said
    assert "without 4 random heads to 1.50" in said
    assert "without 1.7 alone to 1.12: the others do its work" in said
    assert bars(needed) == {
        "intact": 1.0,
        "without 1.7 alone": 1.12,
        "without all 4": 12.5,
        "without 4 random heads": 1.5,
    }
    (way,) = links(needed)
    assert way == {
        "model": MINI,
        "tab": "patching",
        "together": "ablate",
        "heads": ",".join(HEADS),
        "head": "1.7",
    }


@pytest.mark.parametrize(
    ("alone", "together", "hidden"), [(0.1, 5.0, True), (3.0, 5.0, False), (0.0, 0.1, False)]
)
def test_redundancy_is_said_where_a_head_does_little_and_its_set_much(monkeypatch, alone, together, hidden):
    knocks(monkeypatch, all=(together, [0.0]), h1_7=(alone, [0.0]))
    scan = SCANS.get(MINI)
    assert ("do its work" in sentence(sections(scan_steps.steps(scan))[2])) == hidden
    assert ("seems useless" in scan_steps.knocked_out(scan, MINI, "1.7")) == hidden


def test_the_bundled_ablation_answers_the_third_step():
    kept = ABLATIONS.get(MINI)
    assert [head_name(tuple(head)) for head in kept.induction] == HEADS
    measure = kept.of([tuple(head) for head in kept.induction]).sets[0].measures[scan_steps.AFTER]
    needed = sections(scan_steps.steps(SCANS.get(MINI)))[2]
    assert f"from {measure.baseline:.2f} to {measure.edited:.2f} nats" in sentence(needed)


def test_a_knock_out_of_a_head_that_is_none_is_held_against_the_induction_heads_alone():
    text = scan_steps.knocked_out(SCANS.get(MINI), MINI, "0.0")
    found = bars(text)
    assert list(found)[-2:] == ["without 4 induction heads", "without these and 0.0"]
    assert links(text)[0]["heads"] == ",".join([*HEADS, "0.0"])
    assert "seems useless" not in text


def test_models_that_lack_the_step_say_what_measures_it():
    needed = sections(scan_steps.steps(SCANS.get("gpt2")))[2]
    assert "Not measured yet" in sentence(needed)
    assert names.needs("gpt2") in sentence(needed)
    assert not bars(needed)
    passing = [head_name(head) for head in reading.passing(SCANS.get("gpt2"))]
    assert links(needed)[0]["heads"] == ",".join(passing)
    control = sections(scan_steps.steps(SCANS.get("mini-1l")))[2]
    assert "no induction head to remove" in sentence(control)
    assert reading.used(SCANS.get("mini-1l")) in sentence(control)
    assert not links(control)
    without = SCANS.get(MINI).model_copy(
        update={"scores": {"duplicate_token": SCANS.get(MINI).scores["duplicate_token"]}}
    )
    assert "no induction head" in scan_steps.steps(without)


def test_names_are_escaped():
    hostile = "<img src=x onerror=alert(1)>'\">"
    scan = SCANS.get("gpt2").model_copy(update={"model": hostile})
    for text in (scan_steps.steps(scan), scan_steps.knocked_out(scan, hostile, "5.5")):
        assert "<img src=x" not in text
        assert "'\">" not in text


def test_nothing_measured_is_said_once_and_nothing_is_offered():
    model = "EleutherAI/pythia-70m"
    drawn = tab.draw(model, "", "induction")
    shown = [value for value in drawn[:5] if value]
    assert str(shown).count(tab.UNMEASURED) == 1
    assert drawn[5]["visible"] is False
    assert drawn[-1] is None
    card = tab.draw_head(model, "", "induction", "0.3")
    assert "<h2>Head 0.3</h2>" in card
    assert "No head" not in card


def test_pickers_say_what_a_model_has(monkeypatch):
    monkeypatch.setattr(names.models, "availability", lambda name: "download" if name != MINI else "bundled")
    assert names.has(MINI) == "bundled, works offline"
    assert names.has("gpt2") == "published, needs 548 MB"
    assert names.has("EleutherAI/pythia-70m") == "needs 166 MB"
    assert names.labelled("gpt2") == "gpt2 · published, needs 548 MB"
    assert "Live runs download 548 MB." in names.facts("gpt2")
    assert names.facts(MINI).endswith("Works offline.")
    assert "measured live" in names.facts(MINI, live=True)


def test_two_models_share_the_depth_axis():
    shown, _, left, _, right = tab.compared(MINI, "", "induction", "gpt2")
    assert shown.visible
    assert left["height"] == right["height"] == natural_height(12)
    assert right["another"]
    assert not left["another"]
    assert tab.compared("EleutherAI/pythia-70m", "", "induction", "gpt2")[0].visible is False


class Picked:
    def __init__(self, **data):
        self._data = data


def test_a_head_of_the_second_model_brings_that_model():
    assert tab.swapped(Picked(layer=5, head=1), MINI, "gpt2") == ["gpt2", "5.1", "", MINI]
    assert tab.swapped(Picked(layer=5, head=1), "someone/other", "gpt2")[3] == tab.NO_SECOND
    for event, second in ((Picked(layer="x", head=1), "gpt2"), (Picked(layer=0, head=0), "../x")):
        assert all("skip" in str(value) or value["__type__"] for value in tab.swapped(event, MINI, second))
