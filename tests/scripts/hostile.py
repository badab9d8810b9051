"""What strangers may send, and what must hold for it: strategies and properties.

``python tests/scripts/hostile.py 20000`` runs every property on that many cases and prints a table;
``tests/unit/test_hostile.py`` runs the same properties on a few hundred.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from induction.analysis.reading import remarks, selection
from induction.analysis.result import Scan
from induction.base import InputError, Result, parse_heads
from induction.circuit.results import Circuit
from induction.cli import main
from induction.cli.common import text as shown
from induction.data_gen.prompts import Prompt
from induction.experiment import Settings, experiments, limits, ours
from induction.model import CATALOGUE, resolve
from induction.patching.experiments import LARGEST_SET
from induction.patching.results import Intervention
from induction.training.history import History, phase_change
from induction.ui import links
from induction.ui.names import checked_model

NASTY = (
    "", " ", "\x00", "\ud800", "\u202e", "\u0663.\u0663", "NaN", "-inf", "1e999", "9" * 5000, "0x10", "1_0",
    "<img src=x onerror=alert(1)>", "'\"><script>alert(1)</script>", "${7*7}", "{{7*7}}", "%00", "%s%s%n",
    "../../etc/passwd", "/etc/passwd", "~/.ssh/id_rsa", "file:///etc/passwd", "mini-2l/../../..", "C:\\con",
    "5.1,5.1", "1.1;2.2", "999999999.1", "-1.0", "5.1\n", "1." * 300,
    "${alert(1)}", "{{constructor}}", "\x1b[31m", "\u202eabc", "5.1," * 400, "1000.1",
    "99999999x50-random-0", "10x50-random-99999999999", "10x50-random-3",
    "repeat-24-random-0", "ab-1-klingon-2", "natural-99",
)  # fmt: skip
TEXT = st.one_of(st.sampled_from(NASTY), st.text(max_size=60))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.just(10**400), st.sampled_from(NASTY)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["mean", "x"]), inner, max_size=3)
    ),
    max_leaves=4,
)
SETTINGS: list[type[Settings]] = [Prompt, *(one.settings for one in experiments().values())]
PARAMETERS = [
    links.choice("tab", "scan", ["scan", "attention"], always=True),
    links.integer("seed", 7, low=0, high=99),
    links.flag("sink", True),
    links.text("prompt", "A B A", limit=50),
    links.head("head"),
    links.heads("set"),
    *(links.of_experiment(one) for one in experiments().values()),
]
READERS: dict[str, tuple[type[Result], str]] = {
    "scan": (Scan, "induction/results/*.json"),
    "patching": (Intervention, "induction/results/patching/*.json"),
    "circuit": (Circuit, "induction/results/circuits/*.json"),
    "history": (History, "induction/results/histories/*.json"),
}


@cache
def documents(kind: str) -> list[dict[str, Any]]:
    """The bundled documents of a kind, the smallest ones: they are mutated many times."""
    paths = sorted(ROOT.glob(READERS[kind][1]), key=lambda path: path.stat().st_size)
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths[:3]]


def _places(value: Any, trail: tuple = ()) -> Iterator[tuple]:
    """Where a document can be changed; of a list the first two items stand for all."""
    inside = (
        value.items() if isinstance(value, dict) else enumerate(value[:2] if isinstance(value, list) else [])
    )
    for key, item in inside:
        yield (*trail, key)
        yield from _places(item, (*trail, key))


@cache
def places(kind: str, which: int) -> list[tuple]:
    return list(_places(documents(kind)[which]))


def changed(document: dict[str, Any], place: tuple, action: str, value: Any) -> dict[str, Any]:
    """A copy of the document with one place set, removed, repeated or renamed; only its trail is copied."""
    document = copy.copy(document)
    parent: Any = document
    for key in place[:-1]:
        parent[key] = copy.copy(parent[key])
        parent = parent[key]
    key = place[-1]
    if action == "remove":
        del parent[key]
    elif action == "add" and isinstance(parent, list):
        parent.append(value)
    else:
        parent[f"{key}_" if action == "add" else key] = value
    return document


@st.composite
def mutated(draw: Callable[[Any], Any], kind: str) -> str:
    """A bundled document with one to three changes, sometimes cut off."""
    which = draw(st.integers(0, len(documents(kind)) - 1))
    document = documents(kind)[which]
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places(kind, which)))
        action = draw(st.sampled_from(["set", "remove", "add"]))
        value = draw(JSON)
        # an earlier change may have removed the place
        with contextlib.suppress(KeyError, IndexError, TypeError, AttributeError):
            document = changed(document, place, action, value)
    text = json.dumps(document)
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


# Properties


def check_values(values: dict[str, Any]) -> None:
    """What is read from a link is of its type and within its limits."""
    assert values["tab"] in ("scan", "attention")
    assert type(values["seed"]) is int
    assert 0 <= values["seed"] <= 99
    assert type(values["sink"]) is bool
    assert len(values["prompt"]) <= 50
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", values["prompt"])
    assert re.fullmatch(r"(\d{1,3}\.\d{1,3})?", values["head"], re.ASCII)
    sets = values["set"].split(",") if values["set"] else []
    assert len(sets) == len(set(sets)) <= LARGEST_SET
    assert all(re.fullmatch(r"\d{1,3}\.\d{1,3}", head, re.ASCII) for head in sets)
    for one in experiments().values():
        if values[one.parameter]:
            check_settings(one.settings.parse(values[one.parameter]))


def check_settings(asked: Settings) -> None:
    """Settings that are served: every value of its type and within its limits, and written so that a link is safe."""
    for name, field in type(asked).model_fields.items():
        value, (low, high), choices = getattr(asked, name), limits(field), ours(field)["choices"]
        assert type(value) is field.annotation, name
        assert choices is None or value in choices, name
        measured = len(value) if isinstance(value, str) else value
        assert low is None or measured >= low, name
        assert high is None or measured <= high, name
    assert not set(str(asked)) & set("<>\"'& ")
    asked.key()


def link_parameters(query: dict[str, str]) -> None:
    """Whatever an address says, every parameter gets a value, and what is written is read again."""
    first = links.read_query(query, PARAMETERS).values
    assert set(first) == {parameter.name for parameter in PARAMETERS}
    check_values(first)
    again = {name: links.written(value) for name, value in first.items()}
    assert links.read_query(again, PARAMETERS).values == first


def written_settings(text: str) -> None:
    """A text is settings that write themselves the same way again, or nothing."""
    for kind in SETTINGS:
        parsed = kind.parse(text)
        if parsed is not None:
            check_settings(parsed)
            assert not kind.model_fields or kind.parse(str(parsed)) == parsed


def any_settings(values: dict[str, Any]) -> None:
    """Values of any kind are settings within their limits, or refused in one sentence, whatever surface sends them."""
    for kind in SETTINGS:
        known = {name: value for name, value in values.items() if name in kind.model_fields}
        with refused():
            check_settings(kind(**known).served())
        with refused():
            kind(**values)


def head_lists(text: str) -> None:
    """A list of heads lies within the model, each once, or is refused in one sentence."""
    with refused():
        heads = parse_heads(text, 12, 12)
        assert heads
        assert len(set(heads)) == len(heads)
        assert all(0 <= layer < 12 and 0 <= head < 12 for layer, head in heads)


def model_names(text: str) -> None:
    """A name resolves to a text; none but those of the catalogue is a known model."""
    with refused():
        name = checked_model(text)
        assert name in CATALOGUE or name == resolve(text)


def reader(kind: str) -> Callable[[str], None]:
    result = READERS[kind][0]

    def read(text: str) -> None:
        with refused():
            value = result.from_json(text)
            assert type(value).from_json(value.to_json()) == value
            value.to_csv()
            shown(value)
            if isinstance(value, Scan):
                remarks(value)
                for score in value.scores:
                    str(selection(value, score))
            if isinstance(value, History):
                phase_change(value)

    read.__doc__ = f"A changed {kind} is refused in one sentence, or can be used like any other."
    return read


def command_line(arguments: list[str]) -> None:
    """A command ends with 0, 1 or 2; of bad input it says one sentence, without a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = main(arguments)
        except SystemExit as end:  # argparse
            code = end.code
    assert code in (0, 1, 2), (code, err.getvalue())
    assert "Traceback" not in err.getvalue()
    if code == 2:
        assert "error: " in err.getvalue()


@contextlib.contextmanager
def refused():
    """The block passes or raises an InputError of one paragraph."""
    try:
        yield
    except InputError as error:
        if not str(error).strip():
            raise AssertionError("refused without a word") from error


CHUNKS = [
    ["--json", "0", "-1", "--prompts", "--heads", "9.9", "--top", "--seed"],
    ["--vocab", "--device", "--corpus", "--ablate", "zero", "--method", "direct"],
    ["../../etc/passwd", "/etc", "/etc/passwd", "/dev/null", "nobody/nothing"],
    # Where to write is never left to chance: these tests may run as root.
    [("--out", name) for name in ("out.json", "-1", "no/such/out.json", ".", "")],
    [("--csv", name) for name in ("out.csv", "no/such/out.csv", ".")],
]
COMMAND_LINES = st.builds(
    lambda command, chunks: [command, *(word for chunk in chunks for word in chunk)],
    st.sampled_from([*experiments(), "patch", "verify", "models", "train", "history", "", "--help"]),
    st.lists(
        st.one_of(*map(st.sampled_from, CHUNKS)).map(
            lambda one: [one] if isinstance(one, str) else list(one)
        ),
        max_size=5,
    ),
)
NAMES = [*sorted({name for kind in SETTINGS for name in kind.model_fields}), "action"]
PROPERTIES: dict[str, tuple[Callable[[Any], None], st.SearchStrategy]] = {
    "link parameters": (
        link_parameters,
        st.dictionaries(st.sampled_from([p.name for p in PARAMETERS] + ["__theme", "x"]), TEXT),
    ),
    "settings in links": (written_settings, TEXT),
    "settings": (any_settings, st.dictionaries(st.sampled_from(NAMES), st.one_of(JSON, TEXT), max_size=8)),
    "head lists": (head_lists, st.one_of(TEXT, st.from_regex(r"[0-9.,; -]{0,30}", fullmatch=True))),
    "model names": (model_names, TEXT),
    **{f"{kind} files": (reader(kind), mutated(kind)) for kind in READERS},
    "command lines": (command_line, COMMAND_LINES),
}
SLOW = {"command lines": 50, "circuit files": 4, "patching files": 4}  # one case in so many of the others


def cases_of(name: str, cases: int) -> int:
    return max(1, cases // SLOW.get(name, 1))


def run(name: str, cases: int) -> None:
    """Run one property; a failing case is printed by Hypothesis, shrunk."""
    check, strategy = PROPERTIES[name]
    relaxed = settings(
        max_examples=cases_of(name, cases),
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    relaxed(given(strategy)(lambda value: check(value)))()


def table(cases: int) -> int:
    print(f"{'property':20} {'cases':>7} {'seconds':>8}  result", flush=True)
    verdicts = []
    for name in PROPERTIES:
        started = time.perf_counter()
        try:
            run(name, cases)
            verdicts.append("holds")
        except Exception as error:
            verdicts.append(f"FAILS: {type(error).__name__}: {error}"[:300])
        seconds = time.perf_counter() - started
        print(f"{name:20} {cases_of(name, cases):7,} {seconds:8.1f}  {verdicts[-1]}", flush=True)
    return int(set(verdicts) != {"holds"})


if __name__ == "__main__":
    sys.exit(table(int(sys.argv[1]) if sys.argv[1:] else 20_000))
