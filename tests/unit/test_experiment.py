"""The frame: what is asked is checked in words and written in links, what is declared is everywhere, floors hold."""

from __future__ import annotations

import ast
import importlib
import json
from collections.abc import Iterator
from functools import cache

import hypothesis
import models
import pytest
import toy
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from running import ROOT

from induction.analysis.experiments import AttentionSettings, ScanSettings
from induction.base import InputError, finish
from induction.circuit.experiments import CircuitSettings
from induction.cli import main
from induction.data_gen.prompts import Prompt
from induction.experiment import experiments, ours
from induction.patching.experiments import AblationSettings, HeadsSettings, TogetherSettings

KINDS = [*(one.settings for one in experiments().values()), toy.ToySettings, Prompt]

# What is asked


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "Count: give a whole number, 1 to 9, not 0"),
        ({"count": "many"}, "a whole number"),
        ({"count": 1.5}, "a whole number"),
        ({"count": True}, "a whole number"),
        ({"count": None}, "a whole number"),
        ({"doubled": "perhaps"}, "doubled is yes or no"),
        ({"note": 3}, "note is a text"),
        ({"note": "\ud800"}, "note is a text"),
        ({"order": "sideways"}, "no order 'sideways'; choose one of up, down"),
        ({"size": 1}, "no setting 'size'; there are count, order, doubled, note"),
    ],
)
def test_what_is_asked_wrongly_is_refused_in_one_sentence(values, message):
    with pytest.raises(InputError, match=message) as refused:
        toy.ToySettings(**values)
    assert "\n" not in str(refused.value)


def test_upper_limits_hold_where_others_are_served():
    asked = toy.ToySettings(count=10, note="x" * 21)
    assert asked.count == 10
    with pytest.raises(InputError, match="at most 9 here, not 10"):
        asked.served()
    with pytest.raises(InputError, match="at most 20 characters"):
        toy.ToySettings(note="x" * 21).served()
    assert toy.ToySettings(count=9).served() == toy.ToySettings(count=9)


def test_settings_that_do_not_go_together_are_refused():
    for wrong in (
        lambda: CircuitSettings(head="1.0,1.1"),
        lambda: TogetherSettings(heads="one"),
        lambda: AblationSettings(heads=",".join(f"0.{head}" for head in range(65))).served(),
        lambda: AttentionSettings(prompt="ab-1-klingon-2"),
    ):
        with pytest.raises(InputError):
            wrong()


def values_of(settings) -> st.SearchStrategy:
    """Settings with any values that are served."""
    fields = {}
    for name, field in settings.model_fields.items():
        high, choices = ours(field)["high"], ours(field)["choices"]
        if choices:
            fields[name] = st.sampled_from(list(choices))
        elif field.annotation is int:
            fields[name] = st.integers(field.metadata[0].ge, high)
        elif field.annotation is bool:
            fields[name] = st.booleans()
        elif ours(field)["high"]:
            fields[name] = st.text(max_size=min(high, 50))
    return st.builds(settings, **fields)


@pytest.mark.parametrize("settings", KINDS)
def test_a_link_restores_what_it_was_written_for(settings):
    @hypothesis.settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # machines are shared
    @given(values_of(settings))
    def holds(asked):
        again = settings.parse(str(asked))
        if settings is Prompt:  # whose links hold only what counts
            assert str(again) == str(asked)
        elif settings.model_fields:
            assert again == asked
        assert not set(str(asked)) & set("<>\"'&?# ")

    holds()


LINKS = [
    ("10x50-random-0", ScanSettings()),
    ("4x20-words-7", ScanSettings(n_prompts=4, length=20, vocab="words", seed=7)),
    ("10-random-0-auto", CircuitSettings()),
    ("5-words-1-1.7-recomputed-noise",
     CircuitSettings(n_pairs=5, vocab="words", seed=1, head="1.7", mlps="recomputed", direction="noise")),
    ("repeat-24-random-0", Prompt()),
    ("ab-5-letters-42", Prompt(kind="ab", length=5, vocab="letters", seed=42)),
    ("natural-2", Prompt(kind="natural", example=2)),
    ("own", Prompt(kind="own")),
    *((text, None) for text in ("", "x", "65x50-random-0", "10x50-klingon-0", "10-50-random-0-1", "0x50", "-1")),
]  # fmt: skip


@pytest.mark.parametrize(("link", "asked"), LINKS)
def test_links_of_before_mean_what_they_meant(link, asked):
    """None: a scan's link that asks for too much, or for nothing."""
    kind = ScanSettings if asked is None else type(asked)
    assert kind.parse(link) == asked


def test_equal_keys_are_equal_results():
    own, generated = HeadsSettings(form="own", clean="a", seed=3), HeadsSettings(clean="a", seed=3)
    assert own.key() == HeadsSettings(form="own", clean="a", seed=4, n_pairs=7).key()
    assert own.key() != HeadsSettings(form="own", clean="b").key()
    assert generated.key() == HeadsSettings(clean="b", seed=3).key()
    assert generated.key() != HeadsSettings(seed=4).key()


@pytest.mark.parametrize("settings", KINDS)
def test_every_setting_explains_itself(settings):
    for name, field in settings.model_fields.items():
        assert field.title, name
        assert field.description, name
        assert ours(field)["choices"] is None or field.default in ours(field)["choices"], name


# Declared once


@pytest.fixture
def declared(monkeypatch):
    monkeypatch.setattr("induction.model.load_model", lambda *_, **__: models.planted_circuit())
    with toy.declared() as experiment:
        yield experiment
    assert "toy" not in experiments()


def test_a_declared_experiment_is_a_command(declared, capsys, tmp_path):
    assert experiments()["toy"] is declared
    with pytest.raises(SystemExit) as stop:
        main(["toy", "--help"])
    assert stop.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in ("--count N", "{up,down}", "--doubled", "--note TEXT", "How many numbers", "(default 2)"):
        assert words in said
    out, table = tmp_path / "toy.json", tmp_path / "toy.csv"
    flags = ["--count", "12", "--order", "down", "--doubled", "--note", "n"]
    assert main(["toy", "any", *flags, "--json", "--out", str(out), "--csv", str(table)]) == 0
    asked = toy.ToySettings(count=12, order="down", doubled=True, note="n")
    found = finish(toy.run_toy(models.planted_circuit(), asked))
    for text in (capsys.readouterr().out, out.read_text()):
        assert toy.ToyResult.from_json(text) == found
    assert table.read_text().splitlines()[:2] == ["position,number", "0,22"]
    assert main(["toy", "any", "--count", "3"]) == 0
    printed = capsys.readouterr()
    lines = [line.split() for line in printed.out.splitlines()]
    assert lines[2:6] == [["position", "number"], ["0", "0"], ["1", "1"], ["2", "2"]]
    assert "The largest number is 2." in printed.out
    assert "3/3" in printed.err
    assert main(["toy", "any", "--count", "0"]) == 2
    assert "error: Count" in capsys.readouterr().err


def test_a_result_reads_back_equal_and_names_what_is_wrong_with_others(planted):
    found = finish(toy.run_toy(planted, toy.ToySettings()))
    assert toy.ToyResult.from_json(found.to_json()) == found
    assert found.to_csv() == "position,number\n0,0\n1,1\n"
    good = json.loads(found.to_json())
    for change, message in (
        ({"schema": "induction-scan/2"}, "not a result of schema induction-toy/1"),
        ({"numbers": [1.5]}, r"numbers\.0"),
        ({"numbers": None}, "numbers"),
        ({"n_layers": 0}, "n_layers"),
        ({"seconds": 1e305}, "seconds"),
        ({"more": 1}, "more"),
        ({"type": "other"}, "type 'other'"),
    ):
        with pytest.raises(InputError, match=message):
            toy.ToyResult.from_json(json.dumps(good | change), "a.json")


# The library's surface, and its floors

PROMISED = {
    "model": "load_model",
    "data_gen": "get_token_set generate_repeated_sequence",
    "analysis": "get_top_induction_heads analyze_induction_heads scan iter_scan attend",
    "patching": "patch_heads iter_patch_heads patch_set iter_patch_sets top_k_sets ablate ablate_set iter_ablate "
    "attribution_patching direct_logit_attribution",
    "circuit": "circuit iter_circuit path_patch iter_path_patch",
    "results": "SCANS PATCHING CIRCUITS HISTORIES bundled",
}


def test_promised_names_can_be_imported():
    for room, names in PROMISED.items():
        module = importlib.import_module(f"induction.{room}")
        for name in names.split():
            assert getattr(module, name) is not None, f"{room}.{name}"
        with pytest.raises(AttributeError):
            module.nothing_of_that_name  # noqa: B018


FLOORS = [
    "base",
    "experiment",
    "model data_gen",
    "analysis patching circuit training behaviour",
    "results viz",
    "ui cli",
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "induction").rglob("*.py"))
}


@cache
def imported(module: str, *, running: bool) -> list[str]:
    """Modules that a module imports, in functions and for types too or only when it is itself imported."""

    def inside(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            if not running or not (for_types or isinstance(child, ast.FunctionDef)):
                yield child
                yield from inside(child)

    found = []
    for node in inside(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if name in FILES else node.module for name in whole]
    return found


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_nothing_imports_upwards_and_computation_knows_no_interface():
    for module in FILES:
        floor = FLOOR.get(room(module))
        if floor is None:
            assert module in ("induction", "induction.__main__"), f"{module} is on no floor"
            continue
        for other in imported(module, running=False):
            above = other.startswith("induction") and FLOOR.get(room(other), -1) > floor
            assert not above, f"{module}: {other}"
            assert other.split(".")[0] != "gradio" or room(module) == "ui", module


def reached(module: str, seen: set[str]) -> set[str]:
    """All modules of this package that are imported with a module."""
    for other in imported(module, running=True):
        if other in FILES and other not in seen:
            seen.add(other)
            reached(other, seen)
    return seen


def test_no_module_needs_itself():
    for module in FILES:
        assert module not in reached(module, set()), module


def test_the_root_holds_few_things():
    assert len([path for path in (ROOT / "induction").iterdir() if path.name != "__pycache__"]) <= 15
