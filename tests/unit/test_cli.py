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
    monkeypatch.setattr("induction.model.load_model", lambda *_, **__: models.planted_circuit())


@pytest.fixture
def run(capsys):
    """``run(command, *more)`` returns what a command prints on standard output; it ends with 0."""

    def printed(command: str, *more: str) -> str:
        assert main([*command.split(), *more]) == 0
        return capsys.readouterr().out

    return printed


def test_models_are_listed(run):
    out = run("models")
    assert "mini-2l" in out
    assert "12 x 12" in out
    assert {card["name"] for card in json.loads(run("models --json"))} >= {"gpt2", "mini-2l"}


def test_scan_prints_a_ranking_with_bars(capsys):
    assert main(["scan", "any", "--prompts", "4", "--top", "2"]) == 0
    captured = capsys.readouterr()
    first = next(line for line in captured.out.splitlines() if line.strip().startswith("1 "))
    assert first.split()[1:3] == ["1.1", "1.000"]
    assert "█" * 24 in first
    assert "1 head above 0.4" in captured.out
    assert "loading" in captured.err


def test_scan_says_what_the_result_says_of_itself(run, tmp_path):
    out = tmp_path / "scan.json"
    printed = run("scan any --prompts 1 --length 2 --score duplicate_token --out", str(out)).splitlines()
    scan = Scan.from_json(out.read_text())
    said = remarks(scan, "duplicate_token", "induction")
    assert len(said) == 2
    assert {scan.verdict(), str(selection(scan, "duplicate_token")), *said} <= set(printed)


def test_without_a_length_prompts_are_as_long_as_the_token_set_allows(run):
    assert "L = 16 to 25" in run("scan any --prompts 2 --vocab letters")
    assert main(["scan", "any", "--prompts", "2", "--vocab", "letters", "--length", "40"]) == 2
    run("scan any --prompts 65 --length 2")  # limits of a page are none here


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


MISSPELT = ["scan --score best", "scna", "", "scan --prompts many", "heads --form first", "train"]


@pytest.mark.parametrize("command", MISSPELT)
def test_misspelt_commands_exit_with_2(command):
    with pytest.raises(SystemExit) as stop:
        main(command.split())
    assert stop.value.code == 2


def test_verify_passes_the_published_figures_and_fails_a_random_gpt2(capsys, monkeypatch):
    assert [check.passed for check in verify.verify(SCANS.get("gpt2"))] == [True] * 7
    impostor = models.gpt2(n_layers=12, n_heads=12, d_model=48)
    impostor.induction_name = "gpt2"
    monkeypatch.setattr("induction.model.load_model", lambda *_, **__: impostor)
    assert main(["verify", "gpt2-small", "--prompts", "2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines] == ["FAIL"] * 6 + ["pass"] + ["FAIL"] * 3
    assert "the 10 strongest heads recover what is published" in lines[-1]


SWEEP = "patch any --prompts 3 --seed 4"
HEADS = ",".join(f"{layer}.{head}" for layer, head in (models.PREVIOUS_TOKEN_HEAD, models.INDUCTION_HEAD))


def test_patch_prints_the_ranking_of_the_library(run):
    lines = run(SWEEP).splitlines()
    alone = patch_heads(models.planted_circuit(), pairs(models.planted_circuit(), 3, seed=4), seed=4)
    layer, head, effect = alone.ranked()[0]
    first = lines[next(i for i, line in enumerate(lines) if "95 % interval" in line) + 1]
    assert first.split()[:2] == [f"{layer}.{head}", f"{effect:+.3f}"]


def test_patch_json_is_the_result_and_goes_to_a_file_too(run, tmp_path):
    out, table = tmp_path / "patch.json", tmp_path / "patch.csv"
    files = "--out", str(out), "--csv", str(table)
    printed = Patching.from_json(run(f"{SWEEP} --direction noise --component pattern --json", *files))
    assert (printed.direction, printed.component, printed.seed) == ("noise", "pattern", 4)
    assert printed == Patching.from_json(out.read_text())
    assert len(table.read_text().splitlines()) == 1 + 8


@pytest.mark.parametrize("command", [SWEEP, "together any --prompts 3 --seed 4 --form first_a"])
def test_a_head_set_against_random_sets(command, run):
    command += f" --heads {HEADS} --random-sets 6"
    printed = HeadSets.from_json(run(f"{command} --json"))
    model = models.planted_circuit()
    alone = patch_set(model, pairs(model, 3, seed=4), parse_heads(HEADS, 2, 4), n_random=6, seed=4)
    assert printed.sets[0].measures == alone.sets[0].measures
    assert printed.sets[0].measures["logit_difference"].effect == pytest.approx(1, abs=1e-3)
    header, first = run(command).splitlines()[4:6]
    assert header.split()[-1] == "percentile"
    assert first.split()[-1] == "100"


@pytest.mark.parametrize("ablate", ["", " --ablate zero"])
def test_the_first_heads_by_induction_score_make_a_curve(ablate, run):
    out = run(f"{SWEEP} --top 2 --random-sets 3{ablate}")
    assert [line.split("  ")[0] for line in out.splitlines() if line.startswith("top ")] == ["top 1", "top 2"]
    assert "random" in out


@pytest.mark.parametrize("command", [f"{SWEEP} --ablate mean", "ablation any --form first_a"])
def test_ablation_ranks_heads_and_names_both_copies(command, run):
    out = run(command)
    lines = out.splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("heads"))
    assert lines[header].split() == ["heads", "logit_difference", "first_copy_loss", "second_copy_loss"]
    assert {line.split()[0] for line in lines[header + 1 : header + 3]} == set(HEADS.split(","))
    assert "each head alone: " in out


def test_the_losses_of_an_ablation_are_of_as_many_sequences_as_prompts(run):
    two, three = (
        HeadSets.from_json(run(f"patch any --prompts {n} --ablate mean --heads 1.1 --json")).protocol
        for n in (2, 3)
    )
    assert two != three.replace("3", "2")


@pytest.mark.parametrize("command", ["patch", "heads --form own"])
def test_two_texts_of_ones_own(command, run):
    texts = ["--clean", " cat dog sun cat", "--corrupt", " moon dog sun cat", "--answer", " dog"]
    found = Patching.from_json(run(f"{command} any --json", *texts))
    (pair,) = found.pairs
    assert pair.answer == "·dog"
    assert "·moon" in pair.corrupted
    assert found.seed is None


@pytest.mark.parametrize(
    ("method", "name", "kind"),
    [("estimate", "estimate", "patching"), ("direct", "direct logit attribution", "attribution")],
)
def test_other_methods_say_what_they_are(method, name, kind, run):
    assert name in run(f"{SWEEP} --method {method}")
    found = Intervention.from_json(run(f"{SWEEP} --method {method} --json"))
    assert kind == found.TYPE


def test_circuit_names_the_feeder(run):
    out = run("circuit any --prompts 2 --head 1.1")
    keys = next(line.split() for line in out.splitlines() if "keys" in line.split())
    assert keys[:4] == ["1.1", "keys", "0.2", "+1.000"]
    assert Circuit.from_json(run("circuit any --prompts 2 --json")).receivers[0].name == "1.1"


def test_attention_says_where_a_head_looks(run):
    command, text = "attention any --head 1.1", ("--text", " cat dog sun cat")
    last = [line.split() for line in run(command, *text).splitlines() if line.startswith("4 ")]
    assert [words[:4] for words in last] == [["4", "·cat", "2", "·dog"]]
    seen = HeadAttention.from_json(run(f"{command} --hide-first --json", *text))
    assert seen.tokens[1:] == ["·cat", "·dog", "·sun", "·cat"]
    assert seen.first_column != "kept"


def test_training_reads_what_is_bundled(run):
    out = run("training mini-2l")
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


def test_training_for_a_while_prints_the_figures_of_the_kept_state(corpus, tmp_path, run):
    folders = "--corpus", str(corpus), "--out", str(tmp_path / "mini")
    out = run("train --layers 1 --minutes 0.002", *folders)
    assert out.startswith("stopped early")
    kept = json.loads((tmp_path / "mini" / "training.json").read_text())["figures"]
    assert f"on the second {kept['second_copy_loss']:.2f} nats" in out
