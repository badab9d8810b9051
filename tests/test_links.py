"""Link parameters: whatever an address says, the page gets values that it can use."""

import re
from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from induction.ui import links
from induction.ui.live import LENGTH, PROMPTS, SEED, Settings, parameter

PARAMETERS = [
    links.choice("tab", "scan", ["scan", "attention"], always=True),
    links.integer("seed", 7, low=0, high=99),
    links.number("floor", 0.5, low=0.0, high=1.0),
    links.flag("sink", True),
    links.text("prompt", "A B A", limit=50),
    links.head("head"),
    links.heads("set"),
    parameter(),
]
NASTY = st.sampled_from(
    [
        "",
        "NaN",
        "-inf",
        "1e999",
        "9" * 5000,
        "<img src=x onerror=alert(1)>",
        "${alert(1)}",
        "{{constructor}}",
        "../../etc/passwd",
        "5.1\n",
        "٣.٣",
        "\x00\x1b[31m",
        "\u202eabc",
        "\ud800",
        "5.1," * 400,
        "1000.1",
        "-1.0",
        "99999999x50-random-0",
        "10x50-random-99999999999",
    ]
)
HOSTILE = st.one_of(st.text(max_size=300), NASTY)


# Hypothesis's first draw of text builds Unicode tables, which a busy machine may call slow.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check(values):
    assert values["tab"] in ("scan", "attention")
    assert type(values["seed"]) is int
    assert 0 <= values["seed"] <= 99
    assert 0.0 <= values["floor"] <= 1.0
    assert type(values["sink"]) is bool
    assert len(values["prompt"]) <= 50
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", values["prompt"])
    assert re.fullmatch(r"(\d{1,3}\.\d{1,3})?", values["head"], re.ASCII)
    sets = values["set"].split(",") if values["set"] else []
    assert len(sets) == len(set(sets)) <= links.HEADS_LIMIT
    assert all(re.fullmatch(r"\d{1,3}\.\d{1,3}", head, re.ASCII) for head in sets)
    if values["live"]:
        n_prompts, length, _, seed = re.fullmatch(r"(\d+)x(\d+)-(\w+)-(\d+)", values["live"]).groups()
        assert PROMPTS[0] <= int(n_prompts) <= PROMPTS[1]
        assert LENGTH[0] <= int(length) <= LENGTH[1]
        assert int(seed) <= SEED[1]


@relaxed
@given(st.dictionaries(st.sampled_from([p.name for p in PARAMETERS] + ["__theme", "x"]), HOSTILE))
def test_hostile_values_become_usable_ones(query):
    restored = links.read_query(query, PARAMETERS)
    check(restored.values)


@relaxed
@given(st.dictionaries(st.sampled_from([p.name for p in PARAMETERS]), NASTY, min_size=1))
def test_notices_never_repeat_the_link(query):
    notices = " ".join(links.read_query(query, PARAMETERS).notices)
    for text in query.values():
        if len(text) > 4:
            assert text not in notices
    assert "<" not in notices


@relaxed
@given(st.dictionaries(st.sampled_from([p.name for p in PARAMETERS]), HOSTILE))
def test_what_was_read_is_written_and_read_again(query):
    first = links.read_query(query, PARAMETERS).values
    written = dict(parse_qsl(links.write_query(first, PARAMETERS), keep_blank_values=True))
    again = links.read_query(written, PARAMETERS)
    assert again.values == first
    assert not again.notices


def test_defaults_stay_out_of_the_address_unless_they_differ_between_machines():
    values = {parameter.name: parameter.default for parameter in PARAMETERS}
    assert links.write_query(values, PARAMETERS) == "tab=scan"


def test_silence_gives_defaults_without_notice():
    restored = links.read_query({"utm_source": "x"}, PARAMETERS)
    assert restored.values == {parameter.name: parameter.default for parameter in PARAMETERS}
    assert restored.notices == []


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("seed", "12", 12),
        ("seed", "-5", 0),
        ("seed", "5000", 99),
        ("seed", "1.5", 7),
        ("floor", "0.25", 0.25),
        ("floor", "7", 1.0),
        ("sink", "0", False),
        ("sink", "yes", True),
        ("head", "5.1", "5.1"),
        ("head", "05.01", "5.1"),
        ("head", "five", ""),
        ("set", "5.1, 5.5,5.1", "5.1,5.5"),
        ("set", "5.1,x,6.9", "5.1,6.9"),
        ("live", "10x50-random-3", "10x50-random-3"),
        ("live", "65x50-random-3", ""),
        ("live", "10x50-klingon-3", ""),
    ],
)
def test_values(name, text, value):
    assert links.read_query({name: text}, PARAMETERS).values[name] == value


@pytest.mark.parametrize(
    ("text", "shape", "expected"),
    [("5.1", (12, 12), "5.1"), ("12.0", (12, 12), "0.0"), ("1.9", (2, 8), "0.0"), ("junk", (2, 8), "0.0")],
)
def test_a_head_the_model_lacks_falls_back_with_a_notice(text, shape, expected):
    head, notice = links.fit_head(text, *shape, "0.0")
    assert head == expected
    assert (notice is None) == (text == expected)


def test_live_settings_written_and_read():
    settings = Settings(3, 20, "letters", 5)
    assert Settings.parse(str(settings)) == settings
