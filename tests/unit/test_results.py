"""Bundled figures say what the literature says; results survive the trip through JSON, and damaged ones say so."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from induction.analysis.result import Scan
from induction.base import InputError
from induction.patching.results import HeadSets, Intervention, Patching
from induction.results import (
    ABLATIONS,
    CIRCUITS,
    EXAMPLES,
    HISTORIES,
    PATCHING,
    PUBLISHED,
    REAL_TEXT,
    SCANS,
    bundled,
)

SHELVES = [SCANS, PUBLISHED, PATCHING, ABLATIONS, CIRCUITS, HISTORIES, EXAMPLES, REAL_TEXT]


def test_gpt2_published_top_five():
    top = SCANS.get("gpt2").ranked("induction")
    assert {head[:2] for head in top[:5]} == {(5, 1), (5, 5), (6, 9), (7, 2), (7, 10)}
    assert top[4][2] >= 0.78
    assert top[5][2] <= 0.60


def test_distilgpt2_has_no_score_that_was_not_published():
    scan = SCANS.get("distilgpt2")
    assert list(scan.scores) == ["induction"]
    with pytest.raises(InputError, match="choose from induction"):
        scan.ranked("previous_token")


@pytest.mark.parametrize("result", [result for shelf in SHELVES for result in shelf.all().values()])
def test_round_trip(result):
    assert type(result).from_json(result.to_json()) == result
    assert len(result.to_csv().splitlines()) == 1 + len(list(result.rows()))
    assert result.verdict()
    assert result.model in result.heading()[0]
    shown = list(result.listing())
    assert all(row.keys() == shown[0].keys() for row in shown)
    if isinstance(result, Scan):
        assert len(list(result.rows())) == result.n_layers * result.n_heads
        assert all(score.protocol for score in result.scores.values())


@pytest.mark.parametrize("shelf", [SCANS, PATCHING, ABLATIONS, CIRCUITS, HISTORIES, EXAMPLES, REAL_TEXT])
def test_damaged_and_foreign_files_say_so(shelf):
    read, (whole, *_) = shelf.kind.from_json, (result.to_json() for result in shelf.all().values())
    foreign = (CIRCUITS if shelf is SCANS else SCANS).get("mini-2l").to_json()
    for text, message in (
        ("{", "a file is not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "not a result of schema"),
        (foreign, f"not a result of schema {shelf.kind.SCHEMA}"),
        (json.dumps({"schema": shelf.kind.SCHEMA}), "missing, unknown or misshapen fields"),
        (whole.replace('"model"', '"name"', 1), "missing, unknown or misshapen fields"),
        (re.sub(r'"n_layers":\d+', '"n_layers":0', whole), "misshapen fields"),
    ):
        with pytest.raises(InputError, match=message):
            read(text, "a file")


def test_a_score_of_another_shape_than_the_model_is_damage():
    document = json.loads(SCANS.get("gpt2").to_json())
    document["scores"]["induction"]["mean"].pop()
    with pytest.raises(InputError, match="score 'induction' is not 12 x 12"):
        Scan.from_json(json.dumps(document))


def test_one_schema_of_several_types_is_read_by_their_base_or_their_own():
    text = PATCHING.get("mini-2l").to_json()
    assert type(Intervention.from_json(text)) is Patching
    with pytest.raises(InputError, match="type 'patching'"):
        HeadSets.from_json(text)
    with pytest.raises(InputError, match="type ''"):
        Intervention.from_json(text.replace('"type":"patching",', ""))


@pytest.mark.parametrize("shelf", [SCANS, CIRCUITS, HISTORIES, EXAMPLES])
def test_a_truncated_result_is_left_out_and_the_others_stay(shelf, tmp_path, caplog):
    for folder in shelf.folders:
        for path in folder.glob("*.json"):
            shutil.copy(path, tmp_path / path.name)
    damaged = tmp_path / "mini-2l.json"
    damaged.write_text(damaged.read_text(encoding="utf-8")[:2000], encoding="utf-8")
    copied = replace(shelf, folders=(tmp_path,))
    assert "mini-2l" not in copied.names()
    assert "mini-1l" in copied.names()
    assert "left out: mini-2l.json is not valid JSON" in caplog.text
    with pytest.raises(InputError, match=r"No .* for 'mini-2l' comes with the package"):
        copied.get("mini-2l")


def test_what_is_bundled_for_an_experiment():
    for name in ("scan", "heads", "together", "circuit", "training"):
        assert bundled(name, "mini-2l").model == "mini-2l"
        assert bundled(name, "nobody/nothing") is None
    assert bundled("attention", "mini-2l") is None


def test_reading_results_imports_no_torch():
    code = (
        "import sys; from induction.results import SCANS, PATCHING, CIRCUITS, HISTORIES, EXAMPLES; "
        "[shelf.all() for shelf in (SCANS, PATCHING, CIRCUITS, HISTORIES, EXAMPLES)]; "
        "sys.exit('torch' in sys.modules or 'transformer_lens' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
