"""Every quantity on every family is equal to the oracle's or refused in words: there is no third outcome."""

from __future__ import annotations

import architectures
import pytest
import torch
from families import DIRECT, EVERYTHING, FAMILIES, REFUSED, build, reference
from oracle import Oracle
from running import ROOT

DISSECTED = [name for name in FAMILIES if not set(DIRECT) & set(REFUSED.get(name, {}))]


def test_the_lists_name_what_there_is():
    assert tuple(architectures.QUANTITIES) == EVERYTHING
    assert set(REFUSED) <= set(FAMILIES)


def test_the_readme_shows_the_table():
    assert architectures.summary() in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_quantity_is_equal_or_refused(name):
    found = architectures.outcomes(FAMILIES[name])
    wrong = {quantity: one.detail for quantity, one in found.items() if one.kind == "wrong"}
    assert not wrong
    refused = {quantity: one.detail for quantity, one in found.items() if one.kind == "refused"}
    assert set(refused) == set(REFUSED.get(name, {})), refused


@pytest.mark.parametrize("name", DISSECTED)
def test_the_oracles_parts_sum_to_the_logits(name, tmp_path):
    family = FAMILIES[name]
    build(family, tmp_path)
    oracle = Oracle(reference(tmp_path), family.layout)
    with torch.no_grad():
        heads, rest, logits = oracle.written([0, 7, 8, 9, 7, 8, 30, 31, 7])
    assert (oracle.capped(heads.sum((0, 1)) + rest) - logits).abs().max() <= 1e-4 * logits.abs().max()
