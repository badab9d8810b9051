"""The command line: tables and JSON on standard output, progress elsewhere, exit codes, every refusal in a sentence."""

import json
import signal
import subprocess
import sys

import models
import numpy as np
import pytest

from induction.analysis.attention import HeadAttention
from induction.analysis.reading import remarks, selection
from induction.analysis.result import Scan
from induction.base import parse_heads
from induction.circuit.results import Circuit
from induction.cli import main
from induction.data_gen.pairs import pairs
from induction.model import load_model  # before the fixture below replaces it
from induction.patching.heads import patch_heads, patch_set
from induction.patching.results import HeadSets, Intervention, Patching
from induction.results import SCANS, verify


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
    assert "1 head above 0.4" in captured.out
    assert "loading" in captured.err


def test_scan_says_what_the_result_says_of_itself(capsys, tmp_path):
    out = tmp_path / "scan.json"
    arguments = "scan any --prompts 1 --length 2 --score duplicate_token --out"
    assert main([*arguments.split(), str(out)]) == 0
    printed = capsys.readouterr().out
    scan = Scan.from_json(out.read_text())
    said = remarks(scan, "duplicate_token", "induction")
    assert len(said) == 2
    for sentence in (scan.verdict(), str(selection(scan, "duplicate_token")), *said):
        assert sentence in printed.splitlines()


def test_json_is_all_there_is_on_standard_output(capsys, tmp_path):
    out, table = tmp_path / "scan.json", tmp_path / "scan.csv"
    assert main(["scan", "any", "--prompts", "2", "--json", "--out", str(out), "--csv", str(table)]) == 0
    printed = Scan.from_json(capsys.readouterr().out)
    assert printed == Scan.from_json(out.read_text())
    assert table.read_text().splitlines()[0].startswith("layer,head,induction")
    assert len(table.read_text().splitlines()) == 1 + 8


def test_without_a_length_prompts_are_as_long_as_the_token_set_allows(capsys):
    assert main(["scan", "any", "--prompts", "2", "--vocab", "letters"]) == 0
    assert "L = 16 to 25" in capsys.readouterr().out
    assert main(["scan", "any", "--prompts", "2", "--vocab", "letters", "--length", "40"]) == 2
    assert main(["scan", "any", "--prompts", "65", "--length", "2"]) == 0  # limits of a page are none here


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scan", "any", "--prompts", "0"], "Prompts: give a whole number"),
        (["scan", "any", "--length", "5000"], "choose a length of at most"),
        (["scan", "any", "--top", "0"], "give 1 or more"),
        (["scan", "any", "--seed", "-1"], "Seed: give a whole number, 0"),
        (["scan", "any", "--out", "/nowhere/at/all.json", "--prompts", "1"], "choose another place"),
        (["verify", "gpt2-medium"], "No figures of gpt2-medium are known"),
        (["patch", "any", "--heads", "5.12"], "layers go from 0 to 1, heads from 0 to 3"),
        (["patch", "any", "--heads", "one"], "'one' is not a head"),
        (["patch", "any", "--top", "9"], "give 1 to 8"),
        (["patch", "any", "--prompts", "0"], "Prompt pairs: give a whole number"),
        (["patch", "any", "--random-sets", "5"], "name one with --heads or --top"),
        (["patch", "any", "--heads", "0.0", "--random-sets", "-5"], "Random sets for each: give"),
        (["patch", "any", "--clean", "the cat"], "needs both --clean and --corrupt"),
        (["patch", "any", "--answer", " cat"], "go with --clean and --corrupt"),
        (["patch", "any", "--clean", " the cat", "--corrupt", " dog"], "the same number of tokens"),
        (["patch", "any", "--clean", " the", "--corrupt", " dog", "--answer", "xyz"], "token"),
        (["patch", "any", "--ablate", "zero", "--direction", "noise"], "leave out --direction"),
        (["patch", "any", "--method", "direct", "--component", "z"], "leave out --direction and --component"),
        (["patch", "any", "--method", "estimate", "--heads", "0.0"], "every head alone"),
        (["circuit", "any", "--head", "2.0"], "layers go from 0 to 1"),
        (["circuit", "any", "--head", "1.0,1.1"], "into one head"),
        (["patch", "any", "--heads", "0.0", "--top", "2"], "either --heads or --top"),
        (["patch", "any", "--heads", ""], "layer.head"),
        (["together", "any", "--heads", "0.9"], "heads from 0 to 3"),
        (["attention", "any", "--head", "7.0"], "layers go from 0 to 1"),
        (["attention", "any", "--prompt", "x"], "no prompt 'x'"),
        (["training", "any"], "No training history of any"),
        (["train", "--corpus", "/nowhere", "--out", "OUT"], "no .txt files"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, message, capsys, tmp_path):
    assert main([str(tmp_path) if word == "OUT" else word for word in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    error = captured.err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["scan", "--score", "best"],
        ["scna"],
        [],
        ["scan", "--prompts", "many"],
        ["heads", "--form", "first"],
        ["train"],
    ],
)
def test_misspelt_commands_exit_with_2(arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_verify_passes_the_published_figures_and_fails_a_random_gpt2(capsys, monkeypatch):
    assert [check.passed for check in verify.verify(SCANS.get("gpt2"))] == [True] * 7
    impostor = models.gpt2(n_layers=12, n_heads=12, d_model=48)
    impostor.induction_name = "gpt2"
    monkeypatch.setattr("induction.model.load_model", lambda name, device="cpu", **_: impostor)
    assert main(["verify", "gpt2-small", "--prompts", "2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines] == ["FAIL"] * 6 + ["pass"] + ["FAIL"] * 3
    assert "the 10 strongest heads recover what is published" in lines[-1]


SWEEP = ["patch", "any", "--prompts", "3", "--seed", "4"]


def test_patch_prints_the_ranking_of_the_library(capsys):
    assert main(SWEEP) == 0
    lines = capsys.readouterr().out.splitlines()
    alone = patch_heads(models.planted_circuit(), pairs(models.planted_circuit(), 3, seed=4), seed=4)
    layer, head, effect = alone.ranked()[0]
    first = lines[next(i for i, line in enumerate(lines) if "95 % interval" in line) + 1]
    assert first.split()[:2] == [f"{layer}.{head}", f"{effect:+.3f}"]


def test_patch_json_is_the_result_and_goes_to_a_file_too(capsys, tmp_path):
    out, table = tmp_path / "patch.json", tmp_path / "patch.csv"
    arguments = [*SWEEP, "--direction", "noise", "--component", "pattern", "--json"]
    assert main([*arguments, "--out", str(out), "--csv", str(table)]) == 0
    printed = Patching.from_json(capsys.readouterr().out)
    assert (printed.direction, printed.component, printed.seed) == ("noise", "pattern", 4)
    assert printed == Patching.from_json(out.read_text())
    assert len(table.read_text().splitlines()) == 1 + 8


HEADS = ",".join(f"{layer}.{head}" for layer, head in (models.PREVIOUS_TOKEN_HEAD, models.INDUCTION_HEAD))


@pytest.mark.parametrize("command", [SWEEP, ["together", "any", "--form", "first_a", *SWEEP[2:]]])
def test_a_head_set_against_random_sets(command, capsys):
    arguments = [*command, "--heads", HEADS, "--random-sets", "6"]
    assert main([*arguments, "--json"]) == 0
    printed = HeadSets.from_json(capsys.readouterr().out)
    model = models.planted_circuit()
    alone = patch_set(model, pairs(model, 3, seed=4), parse_heads(HEADS, 2, 4), n_random=6, seed=4)
    assert printed.sets[0].measures == alone.sets[0].measures
    assert printed.sets[0].measures["logit_difference"].effect == pytest.approx(1, abs=1e-3)
    assert main(arguments) == 0
    header, first = capsys.readouterr().out.splitlines()[4:6]
    assert header.split()[-1] == "percentile"
    assert first.split()[-1] == "100"


@pytest.mark.parametrize("ablate", [[], ["--ablate", "zero"]])
def test_the_first_heads_by_induction_score_make_a_curve(ablate, capsys):
    assert main([*SWEEP, "--top", "2", "--random-sets", "3", *ablate]) == 0
    out = capsys.readouterr().out
    assert [line.split("  ")[0] for line in out.splitlines() if line.startswith("top ")] == ["top 1", "top 2"]
    assert "random" in out


@pytest.mark.parametrize("command", [[*SWEEP, "--ablate", "mean"], ["ablation", "any", "--form", "first_a"]])
def test_ablation_ranks_heads_and_names_both_copies(command, capsys):
    assert main(command) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("heads"))
    assert lines[header].split() == ["heads", "logit_difference", "first_copy_loss", "second_copy_loss"]
    assert {line.split()[0] for line in lines[header + 1 : header + 3]} == set(HEADS.split(","))
    assert "each head alone: " in out


def test_the_losses_of_an_ablation_are_of_as_many_sequences_as_prompts(capsys):
    protocols = []
    for n in ("2", "3"):
        assert main(["patch", "any", "--prompts", n, "--ablate", "mean", "--heads", "1.1", "--json"]) == 0
        protocols.append(HeadSets.from_json(capsys.readouterr().out).protocol)
    assert protocols[0] != protocols[1].replace("3", "2")


@pytest.mark.parametrize("command", ["patch", "heads --form own"])
def test_two_texts_of_ones_own(command, capsys):
    texts = ["--clean", " cat dog sun cat", "--corrupt", " moon dog sun cat", "--answer", " dog"]
    assert main([*command.split(), "any", *texts, "--json"]) == 0
    found = Patching.from_json(capsys.readouterr().out)
    (pair,) = found.pairs
    assert pair.answer == "·dog"
    assert "·moon" in pair.corrupted
    assert found.seed is None


@pytest.mark.parametrize("method", ["estimate", "direct"])
def test_other_methods_say_what_they_are(method, capsys):
    assert main([*SWEEP, "--method", method]) == 0
    assert {"estimate": "estimate", "direct": "direct logit attribution"}[method] in capsys.readouterr().out
    assert main([*SWEEP, "--method", method, "--json"]) == 0
    found = Intervention.from_json(capsys.readouterr().out)
    assert {"estimate": "patching", "direct": "attribution"}[method] == found.TYPE


def test_circuit_names_the_feeder(capsys):
    assert main(["circuit", "any", "--prompts", "2", "--head", "1.1"]) == 0
    out = capsys.readouterr().out
    keys = next(line.split() for line in out.splitlines() if "keys" in line.split())
    assert keys[:4] == ["1.1", "keys", "0.2", "+1.000"]
    assert main(["circuit", "any", "--prompts", "2", "--json"]) == 0
    assert Circuit.from_json(capsys.readouterr().out).receivers[0].name == "1.1"


def test_attention_says_where_a_head_looks(capsys):
    arguments = ["attention", "any", "--head", "1.1", "--text", " cat dog sun cat"]
    assert main(arguments) == 0
    last = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("4 ")]
    assert [words[:4] for words in last] == [["4", "·cat", "2", "·dog"]]
    assert main([*arguments, "--hide-first", "--json"]) == 0
    seen = HeadAttention.from_json(capsys.readouterr().out)
    assert seen.tokens[1:] == ["·cat", "·dog", "·sun", "·cat"]
    assert seen.first_column != "kept"


def test_training_reads_what_is_bundled(capsys):
    assert main(["training", "mini-2l"]) == 0
    out = capsys.readouterr().out
    assert "second copy" in out
    assert "falls fastest between step" in out


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A made-up book with enough different words for a vocabulary of 1,024 tokens."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklmnoprstuvw"), rng.integers(3, 9))) for _ in range(900)]
    (folder / "book.txt").write_text(" ".join(rng.choice(words, 12_000)))
    return folder


def test_ctrl_c_ends_training_and_keeps_a_model_that_loads(corpus, tmp_path):
    out = tmp_path / "mini"
    command = [sys.executable, "-m", "induction", "train", "--corpus", str(corpus), "--out", str(out)]
    training = subprocess.Popen(
        [*command, "--layers", "1", "--seed", "3"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores Ctrl-C
    )
    seen = ""
    try:
        while "loss" not in seen:
            seen += training.stderr.read(1) or pytest.fail(f"training ended by itself: {seen}")
        training.send_signal(signal.SIGINT)
        printed, errors = training.communicate(timeout=120)
    finally:
        training.kill()
    assert "Traceback" not in errors
    assert training.returncode in (0, 130)  # heard within a step, or between two
    assert str(out) in printed + errors
    model = load_model(str(out))
    assert (model.cfg.n_layers, model.cfg.n_heads) == (1, 8)
    assert json.loads((out / "training.json").read_text())["recipe"]["seed"] == 3


def test_training_for_a_while_prints_the_figures_of_the_kept_state(corpus, tmp_path, capsys):
    arguments = ["--corpus", str(corpus), "--out", str(tmp_path / "mini"), "--layers", "1"]
    assert main(["train", *arguments, "--minutes", "0.002"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("stopped early")
    kept = json.loads((tmp_path / "mini" / "training.json").read_text())["figures"]
    assert f"on the second {kept['second_copy_loss']:.2f} nats" in out
