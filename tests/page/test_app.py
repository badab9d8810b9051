"""The page without a browser: what it imports, which endpoints it has, colours that can be read."""

import subprocess
import sys
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from induction import model as models
from induction.analysis.result import Scan
from induction.base import InputError, Progress
from induction.experiment import experiments
from induction.results import SCANS
from induction.ui import app, jobs, names, runs
from induction.ui.controls import asked
from induction.ui.tabs import scan as scan_tab
from induction.viz.theme import DARK, LIGHT


def test_first_paint_needs_neither_torch_nor_transformer_lens():
    code = (
        "import app, sys; heavy = {'torch', 'transformer_lens', 'transformers', 'matplotlib'}; "
        "heavy &= set(sys.modules); assert app.demo.fns; assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_hosted_page_loads_only_listed_models(monkeypatch):
    assert names.checked_model("EleutherAI/pythia-410m") == "EleutherAI/pythia-410m"
    monkeypatch.setenv("SPACE_ID", "someone/space")
    assert names.checked_model("gpt2-small") == "gpt2"
    for name in ("EleutherAI/pythia-410m", "/etc", "../weights", ""):
        with pytest.raises(InputError, match="hosted"):
            names.checked_model(name)


@pytest.mark.parametrize("space", ["", "someone/space"])
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=st.one_of(st.text(max_size=300), st.sampled_from(["/etc", "..", "\0", "~", "a" * 9999, "x.gguf"]))
)
def test_a_link_cannot_name_a_model_that_the_page_does_not_list(space, text):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SPACE_ID", space)
        name, notice = app._read_model("gpt2")(text)
    assert name in names.known_models()
    assert notice is not None or name == models.resolve(text)


def test_the_share_link_of_a_hosted_page_is_its_space(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "someone/space")
    scripts = [fn.js for fn in app.build().fns.values() if isinstance(fn.js, str)]
    assert any("https://huggingface.co/spaces/someone/space" in script for script in scripts)


def luminance(colour: str) -> float:
    """WCAG 2 relative luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_text_contrast_is_aa(palette):
    for ground in (palette.paper, palette.raised):
        for role in ("ink", "muted", "accent", "strong", "selected", "second", "warn"):
            assert contrast(getattr(palette, role), ground) >= (3 if role == "accent" else 4.5), role
    for index in (4, 5):  # numbers stand only on the strong end of the scale
        assert contrast(palette.sequential[index], palette.paper) >= 4.5


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_scales_are_monotonic_in_lightness(palette):
    steps = [luminance(colour) for colour in palette.sequential]
    assert steps in (sorted(steps), sorted(steps, reverse=True))
    middle = [luminance(colour) for colour in palette.diverging]
    for arm in (middle[:4][::-1], middle[3:]):
        assert arm in (sorted(arm), sorted(arm, reverse=True))


def test_headlines_escape_names():
    hostile = "<img src=x onerror=alert(1)>"
    renamed = SCANS.get("gpt2").model_copy(update={"model": hostile})
    for text in (scan_tab.headline(hostile, "", renamed), scan_tab.headline(hostile, "", None)):
        assert "<img" not in text


def test_exports_are_the_result_itself():
    request = {"model": "gpt2", "live": "", "score": "induction", "head": "5.1"}
    name, text = scan_tab.export("json", request)
    assert Scan.from_json(text) == SCANS.get("gpt2")
    assert name == "scan-gpt2.json"
    _, table = scan_tab.export("csv", request)
    assert len(table.splitlines()) == 1 + 144
    for wrong in ({"model": "../../etc/passwd"}, {"model": "gpt2", "score": "nonsense"}, {}):
        with pytest.raises(InputError):
            scan_tab.export("svg", wrong)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("scan", {"n_prompts": 0}),
        ("scan", {"n_prompts": 65}),
        ("scan", {"length": 257}),
        ("scan", {"vocab": "x"}),
        ("scan", {"seed": None}),
        ("real_text", {"n_passages": 53}),
        ("real_text", {"length": 31}),
        ("circuit", {"n_pairs": 21}),
        ("circuit", {"head": "x.1"}),
        ("heads", {"n_pairs": 51}),
        ("together", {"n_random": 101}),
    ],
)
def test_the_limits_of_a_live_run_are_enforced_on_the_server(name, values):
    experiment = experiments()[name]
    ((state, shown),) = runs.run(experiment, "gpt2", "", lambda: asked(experiment.settings, values))
    assert state["state"] == "error"
    assert not isinstance(shown, str)


def test_steps_on_models_never_overlap_even_when_gradio_lets_two_runs_in():
    inside, overlaps = [], []

    def work(name):
        for _ in range(20):
            overlaps.extend(inside)
            inside.append(name)
            time.sleep(0.001)
            inside.remove(name)
            yield name

    threads = [threading.Thread(target=lambda n=n: list(jobs.on_model(work)(n))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps == []


def test_closing_a_run_closes_its_work():
    closed = []

    def work():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    run = jobs.on_model(work)()
    next(run)
    run.close()
    assert closed == [True]


def test_results_are_kept_by_their_settings_and_the_oldest_go():
    kept = jobs.Cache(2)
    for key in ("a", "b", "c"):
        assert [step.result for step in kept.run(key, lambda key=key: iter([Progress(1, 1, "", key)]))] == [
            key
        ]
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (None, "b", "c")
    assert next(kept.run("c", lambda: iter([]))).result == "c"
