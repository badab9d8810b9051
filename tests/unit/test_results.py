"""Bundled published figures say what the literature says, and results survive the trip through JSON."""

import json
import subprocess
import sys

import pytest

from induction import results
from induction.base import InputError


def test_gpt2_published_top_five():
    top = results.bundled("gpt2").ranked("induction")
    assert {head[:2] for head in top[:5]} == {(5, 1), (5, 5), (6, 9), (7, 2), (7, 10)}
    assert top[4][2] >= 0.78
    assert top[5][2] <= 0.60


def test_distilgpt2_has_no_score_that_was_not_published():
    scan = results.bundled("distilgpt2")
    assert list(scan.scores) == ["induction"]
    with pytest.raises(InputError, match="choose from induction"):
        scan.ranked("previous_token")


@pytest.mark.parametrize("name", results.bundled_names())
def test_round_trip(name):
    scan = results.bundled(name)
    assert results.from_json(results.to_json(scan)) == scan
    assert len(results.to_csv(scan).splitlines()) == 1 + scan.n_layers * scan.n_heads
    assert scan.kind in ("computed", "published")
    assert all(score.protocol for score in scan.scores.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a result of schema"),
        (json.dumps({"schema": results.SCHEMA}), "missing, unknown or misshapen fields"),
    ],
)
def test_damaged_files_say_so(text, message):
    with pytest.raises(InputError, match=message):
        results.from_json(text)


def test_a_grid_of_the_wrong_shape_is_refused():
    data = json.loads(results.to_json(results.bundled("gpt2")))
    data["scores"]["induction"]["mean"].pop()
    with pytest.raises(InputError, match="12 layers x 12 heads"):
        results.from_json(json.dumps(data))


def test_reading_results_imports_no_torch():
    code = (
        "import sys; from induction import results; [results.bundled(n) for n in results.bundled_names()]; "
        "sys.exit('torch' in sys.modules or 'transformer_lens' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
