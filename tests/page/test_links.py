"""Link parameters: whatever an address says, the page gets values that it can use."""

from urllib.parse import parse_qsl

import pytest
from hostile import NASTY, PARAMETERS, check_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from induction.ui import links
from induction.ui.live_scan import Settings

HOSTILE = st.one_of(st.text(max_size=300), st.sampled_from(NASTY))


# Hypothesis's first draw of text builds Unicode tables, which a busy machine may call slow.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(st.dictionaries(st.sampled_from([p.name for p in PARAMETERS] + ["__theme", "x"]), HOSTILE))
def test_hostile_values_become_usable_ones(query):
    restored = links.read_query(query, PARAMETERS)
    check_values(restored.values)


@relaxed
@given(st.dictionaries(st.sampled_from([p.name for p in PARAMETERS]), st.sampled_from(NASTY), min_size=1))
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
