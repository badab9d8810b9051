"""What the README shows works as it stands there: its Python, its commands, its links, its figures."""

from __future__ import annotations

import re
import shlex

import pytest
from running import ROOT

from induction.cli import _parser
from induction.model import SMOLLM2
from induction.results import PATCHING, SCANS

README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)
COMMANDS = [
    re.split(r"\s{2,}", line)[0] for line in README.splitlines() if re.match(r"python -m induction \w", line)
]


def test_the_library_example_runs_and_finds_the_heads():
    names: dict = {}
    exec(PYTHON[0], names)
    assert names["together"].sets[0].measures["logit_difference"].effect > 0.5
    assert names["get_top_induction_heads"](names["model"])[0][0] == 1  # layer


def test_the_client_example_runs(app_url):
    names: dict = {}
    exec(PYTHON[1].replace("http://127.0.0.1:7860", app_url), names)
    assert names["scan"]["scores"]["induction"]["mean"][1][7] > 0.8


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_one(line):
    assert _parser().parse_args(shlex.split(line)[3:]).run


def test_every_command_is_in_the_readme():
    known = _parser()._subparsers._group_actions[0].choices
    assert {line.split()[3] for line in COMMANDS} == set(known)


def test_files_that_are_named_exist():
    for path in re.findall(r"\]\((\.github/[^)]+)\)", README):
        assert (ROOT / path).is_file(), path
    for path in re.findall(r"`((?:induction|tests|notebooks|\.ci|\.github)/[\w./-]+)`", README):
        assert (ROOT / path).exists(), path


def row(name: str) -> str:
    return next(line for line in README.splitlines() if line.startswith(f"| {name}"))


@pytest.mark.parametrize(
    ("name", "model"), [("`mini-2l`", "mini-2l"), ("SmolLM2", SMOLLM2), ("GPT-2 small", "gpt2")]
)
def test_the_table_of_figures_says_what_the_bundled_results_say(name, model):
    scan = SCANS.get(model)
    for layer, head, value in re.findall(r"(\d+)\.(\d+) (\.\d+)", row(name)):
        assert scan.scores["induction"].mean[int(layer)][int(head)] == pytest.approx(float(value), abs=0.0051)
    first, second = re.search(r"([\d.]+) → ([\d.]+)", row(name)).groups()
    assert scan.loss.first_mean == pytest.approx(float(first), abs=0.051)
    assert scan.loss.second_mean == pytest.approx(float(second), abs=0.0051)


def test_the_patching_figures_are_the_bundled_ones():
    said = (
        r"four induction heads together ([.\d]+), the layer's other four heads \(the only random set of that size\) "
        r"([.\d]+); the previous-token head 0.2, which feeds all four, alone ([.\d]+\d)"
    )
    together, random, alone = map(float, re.search(said, re.sub(r"\s+", " ", README)).groups())
    curve, sweep = PATCHING.get("mini-2l-top-k"), PATCHING.get("mini-2l")
    measure = curve.sets[3].measures["logit_difference"]
    assert measure.effect == pytest.approx(together, abs=0.0051)
    assert sum(measure.random) / len(measure.random) == pytest.approx(random, abs=0.0051)
    assert sweep.effect("logit_difference").mean[0][2] == pytest.approx(alone, abs=0.0051)
