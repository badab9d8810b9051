"""The way from a head to the logits: norms are measured by probes, runs are put together again, and what does not
fit is refused, the rest still given."""

import models
import numpy as np
import pytest
import torch
from running import words_of

from induction.analysis.attention import attend, written
from induction.base import InputError, Refused
from induction.circuit import trace
from induction.circuit.composition import composition
from induction.circuit.copying import copying
from induction.circuit.paths import path_patch
from induction.circuit.results import QUANTITIES, Circuit
from induction.circuit.trace import circuit
from induction.model.anatomy import dissect, norm_of
from induction.patching import sweep
from induction.patching.attribution import direct_logit_attribution
from induction.patching.heads import patch_heads
from induction.ui.tabs.circuit_cards import head_card, headline


class Offset(torch.nn.Module):
    """Gemma's norm: root mean square, and a weight that is written less 1."""

    def __init__(self, width):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(width))

    def forward(self, x):
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * (1 + self.weight)


def layer_norm(width):
    norm = torch.nn.LayerNorm(width)
    norm.bias.data = torch.randn(width)
    return norm


@pytest.mark.parametrize("width", [8, 9])
@pytest.mark.parametrize(
    ("make", "centres"), [(layer_norm, True), (torch.nn.RMSNorm, False), (Offset, False)]
)
def test_a_norm_is_measured_whatever_class_computes_it(make, centres, width):
    torch.manual_seed(0)
    module = make(width).requires_grad_(False)
    module.weight.data += torch.randn(width)
    x = 3 + torch.randn(5, width)
    found = norm_of(module, width, x)
    y = module(x)
    assert found.centres == centres
    torch.testing.assert_close(found.at(x, found.scale(x, y)) + found.bias, y, atol=1e-5, rtol=1e-4)
    # At a fixed scale it is linear, and reading through it is one matrix.
    read = torch.randn(width, 3)
    scale = found.scale(x, y)
    torch.testing.assert_close(
        found.at(x, scale) @ read, x @ found.reading(read) / scale, atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(found.writing(x) / scale, found.at(x, scale), atol=1e-4, rtol=1e-4)


def test_what_is_no_norm_is_told_apart():
    x = torch.zeros(1)
    assert norm_of(None, 8, x) is None
    assert norm_of(torch.nn.Identity(), 8, x) is None
    with pytest.raises(Refused, match="norm"):
        norm_of(torch.nn.Tanhshrink(), 8, x)


def with_output(module, change):
    """Changes what a module gives out, as a model would that does something nobody knows of."""
    return module.register_forward_hook(lambda module, arguments, output: change(output))


def with_logits(model, change):
    """The same of a whole model's logits."""
    return with_output(model.original_model, lambda out: (setattr(out, "logits", change(out.logits)), out)[1])


@pytest.mark.parametrize("factor", [0.25, -2.0])
def test_a_factor_on_the_logits_is_found_and_a_bend_is_refused(factor):
    model, ids = models.gpt2(), list(range(1, 9))
    pair, plain = models.a_pair(model), dissect(model, ids)
    before, moved = direct_logit_attribution(model, [pair]), patch_heads(model, [pair])
    handle = with_logits(model, lambda logits: factor * logits)
    assert dissect(model, ids).final.factor == pytest.approx(factor)
    after, scaled = direct_logit_attribution(model, [pair]), patch_heads(model, [pair])
    handle.remove()
    np.testing.assert_allclose(after.mean, factor * np.array(before.mean), atol=1e-5)
    # The sweep takes the model's own logits: the factor is part of every patched row.
    assert scaled.engine == "direct"
    for numbers in ("patched", "clean"):
        one, other = (getattr(found.effect("logit_difference"), numbers) for found in (moved, scaled))
        np.testing.assert_allclose(other, factor * np.array(one), atol=1e-4)
    handle = with_logits(model, lambda logits: logits**3)
    with pytest.raises(Refused, match="after the unembedding"):
        dissect(model, ids)
    handle.remove()
    torch.testing.assert_close(dissect(model, ids).logits, plain.logits)


@pytest.fixture
def strange():
    """A GPT-2 whose second block adds something that is neither attention nor MLP."""
    model = models.gpt2()
    block = model.blocks[1].original_component
    with_output(
        block, lambda out: (out[0] + out[0].square(), *out[1:]) if isinstance(out, tuple) else out + out**2
    )
    return model


def test_only_what_needs_the_way_to_the_logits_is_refused(strange):
    pair = models.a_pair(strange, at=3, copied=3)
    seen = attend(strange, pair.clean)
    for ask in (
        lambda: direct_logit_attribution(strange, [pair]),
        lambda: copying(strange, (2, 0)),
        lambda: path_patch(strange, (2, 0), [pair]),
        lambda: written(strange, seen, 0, 0),
    ):
        with pytest.raises(Refused, match="layer 1"):
            ask()
    assert seen.way is None
    assert np.allclose(seen.patterns.sum(-1), 1, atol=1e-5)
    # These ask the model itself.
    assert patch_heads(strange, [pair]).engine == "hooked"
    assert path_patch(strange, (2, 0), [pair], mlps="recomputed").mlps == "recomputed"


def test_a_circuit_keeps_all_that_is_not_refused(strange):
    found = circuit(strange, (2, 0), n_pairs=2, vocab="words")
    assert found.refused.keys() == {"direct", "copying", "paths"}
    assert found.direct is None
    (receiver,) = found.receivers
    assert (receiver.paths, receiver.copying) == (None, None)
    assert receiver.composition == composition(strange, (2, 0))
    assert np.shape(found.kinds) == (3, 4)
    assert Circuit.from_json(found.to_json()) == found
    shown = [words_of(headline("x", found, True, "k", "attention")), " ".join(found.words())]
    for sentence in found.refusals():
        assert all(sentence in text for text in shown)
    assert "Direct effect on" not in head_card("x", "", found, "2.0")


def test_a_head_with_weights_that_tell_another_story_has_no_composition(monkeypatch):
    model = models.llama()
    attn = type(model.blocks[0].attn)
    weights = attn.W_Q.fget
    monkeypatch.setattr(attn, "W_Q", property(lambda self: 1.1 * weights(self) + 0.1))
    with pytest.raises(Refused, match="queries and keys"):
        composition(model, (2, 1))
    monkeypatch.undo()
    assert composition(model, (2, 1)).measured


def test_running_out_of_memory_is_no_reason_for_another_engine(monkeypatch):
    model = models.gpt2()

    def full(*arguments, **settings):
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you tried ..."
        )

    monkeypatch.setattr(sweep, "_block", full)
    with pytest.raises(InputError, match="memory"):
        sweep.record(model, (1, 2, 3))


def test_every_quantity_that_can_be_refused_has_a_name(strange, monkeypatch):
    monkeypatch.setattr(trace, "composition", lambda *a, **k: (_ for _ in ()).throw(Refused("no")))
    found = circuit(strange, (2, 0), n_pairs=1, vocab="words")
    assert found.refused.keys() == QUANTITIES.keys()
    assert "cannot be said" in found.verdict()
