"""Link parameters: whatever an address says, the page gets values that it can use (see hostile.py)."""

import re
import urllib.request

import pytest
from hostile import PARAMETERS

from induction.experiment import experiments
from induction.patching.experiments import HeadsSettings, TogetherSettings
from induction.ui import links


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
        ("sink", "0", False),
        ("sink", "yes", True),
        ("head", "5.1", "5.1"),
        ("head", "05.01", "5.1"),
        ("head", "five", ""),
        ("set", "5.1, 5.5,5.1", "5.1,5.5"),
        ("set", "5.1,x,6.9", "5.1,6.9"),
        ("live", "10x50-random-3", "10-50-random-3"),
        ("live", "65x50-random-3", ""),
        ("live", "10x50-klingon-3", ""),
    ],
)
def test_values(name, text, value):
    restored = links.read_query({name: text}, PARAMETERS)
    assert restored.values[name] == value


def test_settings_with_parameters_of_their_own_are_clamped_or_cut():
    read = {
        name: links.of_field(field).read
        for settings in (HeadsSettings, TogetherSettings)
        for name, field in settings.model_fields.items()
    }
    assert read["n_pairs"]("51")[0] == 50
    assert read["n_random"]("-1")[0] == 0
    assert read["direction"]("sideways")[0] == "denoise"
    assert len(read["clean"]("a" * 5000)[0]) == 4000


@pytest.mark.parametrize(
    ("text", "shape", "expected"),
    [("5.1", (12, 12), "5.1"), ("12.0", (12, 12), "0.0"), ("1.9", (2, 8), "0.0"), ("junk", (2, 8), "0.0")],
)
def test_a_head_the_model_lacks_falls_back_with_a_notice(text, shape, expected):
    head, notice = links.fit_head(text, *shape, "0.0")
    assert head == expected
    assert (notice is None) == (text == expected)


def test_no_two_experiments_share_a_parameter():
    names = [experiment.parameter for experiment in experiments().values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("query", "opened"),
    [
        ("", "scan"),
        ("?tab=circuit", "circuit"),
        ("?model=gpt2&tab=about", "about"),
        ("?tab=none", "scan"),
        ("?tab=%22%3E%3Cscript%3E", "scan"),
    ],
)
def test_a_link_to_a_tab_is_served_with_that_tab_open(app_url, query, opened):
    page = urllib.request.urlopen(app_url + query, timeout=30).read().decode()
    assert re.findall(r'"selected":"(.*?)"', page) == [opened]
