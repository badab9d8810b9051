"""Bundled ablations answer what a live run answers, for every set that they claim to know."""

import pytest

from induction.analysis.reading import passing, selection
from induction.base import InputError, finish
from induction.patching.experiments import AblationSettings, run_ablation
from induction.patching.knockouts import Knockouts
from induction.results import ABLATIONS, SCANS, bundled

INDUCTION = "1.7,1.2,1.6,1.4"


@pytest.mark.parametrize("heads", ["0.0", "1.7", INDUCTION, f"{INDUCTION},0.3"])
def test_bundled_ablation_is_the_live_one(mini, heads):
    asked = AblationSettings(heads=heads, n_random=0)
    live, kept = finish(run_ablation(mini, asked)).sets[0], bundled("ablation", "mini-2l", asked).sets[0]
    assert set(map(tuple, kept.heads)) == set(map(tuple, live.heads))
    for name, measure in live.measures.items():
        ours = kept.measures[name]
        for part in ("baseline", "edited", "effect", "low", "high"):
            assert getattr(ours, part) == pytest.approx(getattr(measure, part), abs=2e-3), (name, part)
        assert ours.unit == measure.unit


def test_order_of_heads_does_not_count_and_other_sets_are_not_there():
    def found(heads, **settings):
        return bundled("ablation", "mini-2l", AblationSettings(heads=heads, **settings))

    one, other = found("1.7,1.2,1.6,1.4").sets[0], found("1.4, 1.2,1.6 1.7").sets[0]
    assert one == other
    assert len(one.measures["second_copy_loss"].random) == found(INDUCTION).n_random == 50
    assert found("1.7,1.2") is None
    assert found("1.7", ablation="zero") is None
    assert found("1.7", form="first_a") is None
    assert found("7.7") is None
    assert bundled("ablation", "gpt2-medium", AblationSettings(heads="5.5")) is None


def test_controls_of_one_head_are_the_others_of_its_layer():
    each = bundled("ablation", "mini-2l", AblationSettings())
    assert each.in_turn
    assert len(each.sets) == 16
    loss = {one.label: one.measures["second_copy_loss"] for one in each.sets}
    for name, one in loss.items():
        others = [measure.effect for label, measure in loss.items() if label[0] == name[0] and label != name]
        assert one.random == others
        assert one.percentile == pytest.approx(
            100 * sum(value < one.effect for value in others) / 7, abs=0.01
        )
    beside = bundled("ablation", "mini-2l", AblationSettings(heads=f"{INDUCTION},0.3"))
    assert beside.n_random == 0  # the word "random" would be wrong for what could be compared


def test_files_are_of_the_heads_that_the_scan_found():
    for name, kept in ABLATIONS.all().items():
        scan = SCANS.get(name)
        assert kept.induction == [list(head) for head in passing(scan)]
        assert len(kept.induction) == selection(scan).passed
        assert len(kept.to_json()) < 150_000


def test_a_gap_where_a_head_must_be_is_refused():
    text = ABLATIONS.get("mini-1l").to_json()
    damaged = text.replace('"effect":[[', '"effect":[[null,', 1)
    with pytest.raises(InputError, match="logit_difference is not 8"):
        Knockouts.from_json(damaged)
