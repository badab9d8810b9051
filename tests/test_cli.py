"""The command line: tables and JSON on standard output, progress elsewhere, exit codes, every refusal in a sentence."""

import json

import models
import pytest

from induction import results, verify
from induction.cli import main


@pytest.fixture(autouse=True)
def a_small_model(monkeypatch):
    """Commands load the planted circuit instead of a model from outside; loading has tests of its own."""
    monkeypatch.setattr(
        "induction.model.load_model", lambda name, device="cpu", **_: models.planted_circuit()
    )


def test_models_are_listed(capsys):
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "mini-2l" in out
    assert "12 x 12" in out
    assert main(["models", "--json"]) == 0
    assert {card["name"] for card in json.loads(capsys.readouterr().out)} >= {"gpt2", "mini-2l"}


def test_scan_prints_a_ranking_with_bars(capsys):
    assert main(["scan", "any", "--prompts", "4", "--top", "2"]) == 0
    captured = capsys.readouterr()
    first = next(line for line in captured.out.splitlines() if line.strip().startswith("1 "))
    assert first.split()[1:3] == ["1.1", "1.000"]
    assert "█" * 24 in first
    assert "1 head above 0.5" in captured.out
    assert "loading" in captured.err


def test_json_is_all_there_is_on_standard_output(capsys, tmp_path):
    out, table = tmp_path / "scan.json", tmp_path / "scan.csv"
    assert main(["scan", "any", "--prompts", "2", "--json", "--out", str(out), "--csv", str(table)]) == 0
    printed = results.from_json(capsys.readouterr().out)
    assert printed == results.from_json(out.read_text())
    assert table.read_text().splitlines()[0].startswith("layer,head,induction")
    assert len(table.read_text().splitlines()) == 1 + 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scan", "any", "--prompts", "0"], "at least 1 prompt"),
        (["scan", "any", "--length", "5000"], "choose a length of at most"),
        (["scan", "any", "--top", "0"], "give 1 or more"),
        (["scan", "any", "--seed", "-1"], "seed is 0 or more"),
        (["scan", "any", "--out", "/nowhere/at/all.json", "--prompts", "1"], "choose another place"),
        (["verify", "gpt2-medium"], "No figures of gpt2-medium are known"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, message, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    error = captured.err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "arguments", [["scan", "--score", "best"], ["scna"], [], ["scan", "--prompts", "many"]]
)
def test_misspelt_commands_exit_with_2(arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_verify_passes_the_published_figures_and_fails_a_random_gpt2(capsys, monkeypatch):
    assert [check.passed for check in verify.verify(results.bundled("gpt2"))] == [True] * 7
    impostor = models.gpt2(n_layers=12, n_heads=12, d_model=48)
    impostor.induction_name = "gpt2"
    monkeypatch.setattr("induction.model.load_model", lambda name, device="cpu", **_: impostor)
    assert main(["verify", "gpt2-small", "--prompts", "2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert [line[:4] for line in lines] == ["FAIL"] * 6 + ["pass"]
