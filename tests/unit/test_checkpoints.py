"""Histories of public training runs, on a hub cache made here with random models as checkpoints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import models
import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from induction.analysis.scanning import scan
from induction.model import load_model
from induction.results import HISTORIES
from induction.training import checkpoints
from induction.training.history import History

ROOT = Path(__file__).parents[2]
NAME = "EleutherAI/pythia-70m"
STEPS = (0, 512, 1000)


def snapshot(cache: Path, step: int) -> Path:
    return cache / "hub" / f"models--{NAME.replace('/', '--')}" / "snapshots" / f"{step:040x}"


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """A Hugging Face cache that holds three revisions of the model, each with weights of its own."""
    home = tmp_path_factory.mktemp("hub")
    tokenizer = models.tokenizer()
    for step in STEPS:
        folder = snapshot(home, step)
        refs = folder.parent.parent / "refs"
        refs.mkdir(parents=True, exist_ok=True)
        (refs / f"step{step}").write_text(folder.name)
        torch.manual_seed(step)
        config = GPTNeoXConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=256,
        )
        GPTNeoXForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return home


def run(cache: Path, *arguments: str) -> subprocess.CompletedProcess:
    own = {**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
    own.pop("HF_HUB_CACHE", None)
    command = [sys.executable, "-m", "induction", "history", NAME, "--prompts", "2", "--vocab", "letters"]
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, env=own, capture_output=True, text=True, timeout=120
    )


def test_checkpoints_are_measured_kept_and_continued(cache, tmp_path):
    file = tmp_path / "pythia-70m.json"
    first = run(cache, "--steps", "512,0", "--out", str(file))
    assert first.returncode == 0, first.stderr
    assert "No sudden change" in first.stdout
    begun = History.from_json(file.read_text(encoding="utf-8"))
    assert [(point.step, point.tokens) for point in begun.checkpoints] == [(0, 0), (512, 512 * 2_097_152)]
    assert begun.model == NAME

    expected = scan(
        load_model(str(snapshot(cache, 512))), n_prompts=2, vocab="letters", scores=checkpoints.SCORES
    )
    assert begun.checkpoints[1].induction == expected.scores["induction"].mean
    assert begun.checkpoints[1].second_copy_loss == expected.loss.second_mean

    # What the file holds is not asked for again: its weights may be gone by then. Step 2000 is out of reach.
    shutil.rmtree(snapshot(cache, 0))
    shutil.rmtree(snapshot(cache, 512))
    more = run(cache, "--steps", "0,512,1000,2000", "--out", str(file))
    assert more.returncode == 2
    assert "works offline" in more.stderr
    assert "Traceback" not in more.stderr
    continued = History.from_json(file.read_text(encoding="utf-8"))
    assert [point.step for point in continued.checkpoints] == [0, 512, 1000]
    assert continued.checkpoints[:2] == begun.checkpoints
    assert list(tmp_path.iterdir()) == [file]


def test_a_history_of_another_protocol_is_not_mixed_in(tmp_path):
    bundled = HISTORIES.get("mini-2l")
    measured = scan(load_model("mini-2l"), n_prompts=2, scores=checkpoints.SCORES)
    with pytest.raises(checkpoints.InputError, match="another way"):
        checkpoints._with(bundled, measured, 512, tmp_path / "mini-2l.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gpt2",), "Pythia"),
        ((NAME, "--steps", "3"), "no checkpoint at step 3"),
        ((NAME, "--steps", "0,x"), "0,512,1000"),
        ((NAME, "--steps", "9" * 20), "0,512,1000"),
    ],
)
def test_bad_requests_are_refused_in_one_sentence(arguments, message, tmp_path, capsys):
    from induction.cli import main

    assert main(["history", *arguments, "--out", str(tmp_path / "file.json")]) == 2
    assert message in capsys.readouterr().err


def test_a_measured_history_is_shown_among_the_bundled_ones(tmp_path):
    own = HISTORIES.get("mini-1l").model_copy(update={"model": NAME})
    (tmp_path / "pythia-70m.json").write_text(own.to_json(), encoding="utf-8")
    assert replace(HISTORIES, folders=(*HISTORIES.folders, tmp_path)).get(NAME) == own
