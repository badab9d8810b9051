"""What the precompute job writes for a model makes every tab of it whole, at once."""

from dataclasses import replace

import models
import pytest

from induction.patching.bundled import IOI
from induction.patching.experiments import AblationSettings, HeadsSettings, TogetherSettings
from induction.results import bundle, bundled, shelf

SHELVES = ("SCANS", "PATCHING", "ABLATIONS", "CIRCUITS", "REAL_TEXT", "WHY", "BEHAVIOUR", "EVIDENCE")


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The results of a random GPT-2 under the real one's name, in place of all that is bundled and computed."""
    model = models.gpt2()
    model.induction_name = "gpt2"
    monkeypatch.setattr(bundle, "load_model", lambda name: model)
    monkeypatch.setattr(bundle, "FOLDER", tmp_path)
    monkeypatch.setattr(bundle, "N_RANDOM", 3)
    monkeypatch.setattr(bundle, "BEHAVIOUR", ("next",))
    for name in SHELVES:
        own = getattr(shelf, name)
        published = [folder for folder in own.folders if folder.name == "published"]
        ours = tmp_path / own.folders[-1].relative_to(shelf.FOLDER)
        monkeypatch.setattr(shelf, name, replace(own, folders=(*published, ours)))
    bundle.bundle("gpt2")
    return model


def test_every_tab_of_gpt2_is_whole_the_moment_its_files_are_there(written):
    shape = (written.cfg.n_layers, written.cfg.n_heads)
    for name in ("scan", "heads", "together", "ablation", "circuit", "real_text", "why", "next", "evidence"):
        result = bundled(name, "gpt2")
        assert (result.n_layers, result.n_heads) == shape, name
        assert result.verdict()
        assert getattr(result, "kind", "computed") == "computed", "it stands in place of what was published"
    heads = bundled("heads", "gpt2", HeadsSettings())
    assert (heads.task, len(heads.pairs)) == ("", 20)  # induction, as for every other model
    beside = bundled("heads", "gpt2", HeadsSettings(form="ioi"))
    assert (beside.task, len(beside.pairs)) == (IOI, 8)
    assert beside.verdict().startswith("Indirect-object identification, not induction.")
    for settings in (TogetherSettings(), AblationSettings(heads="1.1")):
        result = bundled(
            "together" if isinstance(settings, TogetherSettings) else "ablation", "gpt2", settings
        )
        assert result.task == ""
        assert len(result.pairs) == 20


def test_what_was_published_of_gpt2_says_which_task_it_is():
    for asked in (HeadsSettings(component="v"), HeadsSettings(form="ioi", component="pattern")):
        result = bundled("heads", "gpt2", asked)
        assert result.kind == "published"
        assert result.verdict().startswith("Indirect-object identification, not induction.")
    assert "not induction" not in bundled("heads", "mini-2l").verdict()


def test_the_curve_has_the_induction_heads_and_no_other():
    found = bundled("together", "mini-2l", TogetherSettings())
    assert [len(one.heads) for one in found.sets] == [1, 2, 3, 4]
    assert {tuple(head) for head in found.sets[-1].heads} == {(1, 7), (1, 2), (1, 6), (1, 4)}
    assert (
        len(bundled("together", "mini-1l", TogetherSettings()).sets) == 5
    )  # where there is no induction head
