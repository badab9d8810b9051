"""What a model does without heads equals plain hooked runs, and goes where induction heads go, not where others go."""

import math

import models
import numpy as np
import pytest
import torch

from induction.base import InputError, finish, wilson_interval
from induction.behaviour.experiments import EXPERIMENTS, NextSettings, run_next
from induction.behaviour.loops import distinct_share, loops, loops_at_end
from induction.behaviour.next_tokens import iter_next, next_tokens
from induction.behaviour.prose import attention_entropy, matched_sets, predictable, prose_losses
from induction.behaviour.recall import recall
from induction.behaviour.results import Behaviour
from induction.behaviour.variants import Variants, iter_reference
from induction.data_gen.prose import prose_ids, spread_out
from induction.data_gen.sequences import repeated_batch
from induction.model.tokens import labels
from induction.patching import sweep
from induction.patching.ablation import reference_set
from induction.patching.interventions import ABLATIONS
from induction.results import SCANS, bundled
from induction.viz import behaviour as figures

HEADS = ((0, 1), (1, 0), (1, 3))


def hooks_for(model, heads, kind, length, seed=0, prompt=0):
    """Hooks that replace z, from the sequences of the reference set averaged one by one."""
    n, at_once = 16, min(16, max(1, 512 // length))
    parts = [reference_set(model, length, n=at_once, seed=seed + at).z for at in range(0, n, at_once)]
    whole = [torch.cat(layer)[:n] for layer in zip(*parts, strict=True)]  # [sequence, pos, head, d_head]

    def replace(z, hook):
        layer = int(hook.name.split(".")[1])
        for head in (head for at, head in heads if at == layer):
            own = whole[layer][:, : z.shape[1], head]
            z[:, :, head] = {"zero": 0 * own[0], "mean": own.mean(0), "resample": own[prompt]}[kind]
        return z

    return [(f"blocks.{layer}.attn.hook_z", replace) for layer in sorted({layer for layer, _ in heads})]


def hooked(model, ids, hooks):
    """Logits ``[pos, d_vocab]`` straight from TransformerLens."""
    with torch.no_grad():
        return model.run_with_hooks(torch.tensor([list(ids)]), fwd_hooks=hooks)[0]


def said_by(model, ids, hooks, n_new):
    ids = list(ids)
    likely = []
    for _ in range(n_new):
        p = hooked(model, ids, hooks)[-1].softmax(-1)
        ids.append(int(p.argmax()))
        likely.append(float(p.max()))
    return ids[-n_new:], likely


@pytest.mark.parametrize("kind", list(ABLATIONS))
def test_next_tokens_and_continuations_equal_hooks(model, kind, monkeypatch):
    ids, n_new = [0, 7, 9, 11, 7, 9], 4
    variants = Variants.of(model, HEADS, n_random=2, seed=1)
    found = next_tokens(model, ids, variants, n_new=n_new, kind=kind)
    assert found.engine == "direct"
    rows = ((), HEADS, variants.random[0])
    expected = [hooks_for(model, heads, kind, len(ids) + n_new) if heads else [] for heads in rows]
    for one, hooks in zip((found.intact, found.without, found.random), expected, strict=True):
        tokens, likely = said_by(model, ids, hooks, n_new)
        assert one.tokens == labels(model, tokens)
        np.testing.assert_allclose(one.probabilities, likely, atol=1e-4)
    plain, edited, random = (hooked(model, ids, hooks)[-1].softmax(-1) for hooks in expected)
    top = list(dict.fromkeys([*plain.topk(10).indices.tolist(), *edited.topk(10).indices.tolist()]))
    assert [one.token for one in found.candidates] == labels(model, top)
    got = [[one.intact, one.without, one.random[0]] for one in found.candidates]
    np.testing.assert_allclose(got, torch.stack([plain, edited, random])[:, top].T, atol=1e-4)
    monkeypatch.setattr(sweep, "AGREEMENT", -1.0)  # nothing agrees: no model fits
    slow = next_tokens(model, ids, variants, n_new=n_new, kind=kind)
    assert slow.engine == "hooked"
    assert slow.without.tokens == found.without.tokens
    np.testing.assert_allclose(slow.without.probabilities, found.without.probabilities, atol=1e-4)


def test_the_plain_continuation_is_that_of_hugging_face():
    model = models.llama()
    ids = [0, 7, 9, 11, 7, 9]
    found = next_tokens(model, ids, Variants.of(model, HEADS, n_random=0, seed=0), n_new=8)
    tokens = model.original_model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids)),
        do_sample=False,
        max_new_tokens=8,
        eos_token_id=-1,
        pad_token_id=0,
    )
    assert found.intact.tokens == labels(model, tokens[0, len(ids) :].tolist())
    assert found.random is None
    assert "no control" in found.verdict()


def test_recall_equals_hooks(model):
    variants = Variants.of(model, HEADS, n_random=2, seed=1)
    found = recall(model, variants, longest=8, n_prompts=2, seed=3)
    assert found.lags == [4, 8]
    hooks = {heads: hooks_for(model, heads, "mean", 17, seed=3) for heads in variants.sets} | {(): []}
    true = np.zeros((len(hooks), 2, 2, 2))  # [set, lag, list, copy]
    for at, lag in enumerate(found.lags):
        batch = repeated_batch(model, n_prompts=2, length=lag, spread=0.0, seed=3 + at)
        for number in range(2):
            ids = batch.prompt(number).tolist()
            for row, heads in enumerate(((), *variants.sets)):
                p = hooked(model, ids, hooks[heads]).softmax(-1)
                own = [float(p[pos, ids[pos + 1]]) for pos in range(len(ids) - 1)]
                true[row, at, number] = [np.mean(own[1:lag]), np.mean(own[lag + 1 :])]
    second = true[..., 1].mean(2)  # [set, lag]
    for name, row in (("intact", 0), ("without", 1)):
        np.testing.assert_allclose(getattr(found, name).mean, second[row], atol=1e-4)
    np.testing.assert_allclose(found.first.mean, true[0, ..., 0].mean(1), atol=1e-4)
    np.testing.assert_allclose(found.random.mean, second[2:].mean(0), atol=1e-4)
    np.testing.assert_allclose(found.random_low, second[2:].min(0), atol=1e-4)
    assert found.overall.change.mean == pytest.approx(second[1].mean() - second[0].mean(), abs=1e-4)


def test_losses_on_prose_equal_hooks(model):
    variants = Variants.of(model, HEADS, n_random=1, seed=1)
    found = prose_losses(model, variants, n_passages=2, n_matched=1)
    length = model.cfg.n_ctx
    assert (found.length, found.early, found.late) == (length, 50, length - 11)
    assert "all that the context has" in found.protocol
    texts = [prose_ids(model, passage, length) for passage in spread_out(2)]
    hooks, losses = hooks_for(model, HEADS, "mean", length), {}
    for name, edits in (("intact", []), ("without", hooks)):
        logits = [hooked(model, ids, edits).log_softmax(-1) for ids in texts]
        losses[name] = np.array(
            [
                [-float(p[at, ids[at + 1]]) for at in range(length - 1)]
                for p, ids in zip(logits, texts, strict=True)
            ]
        )
    hits = [[_follows(ids, at) == ids[at + 1] for at in range(length - 1)] for ids in texts]
    hits = np.array(hits)
    assert found.n_predictable == hits.sum() > 0
    for name, nll in losses.items():
        late, early = (nll[:, at - 11 : at + 10].mean() for at in (found.late, found.early))
        shares = [
            np.mean([row[mask].mean() for row, mask in zip(nll, m, strict=True)]) for m in (hits, ~hits)
        ]
        expected = {"loss": nll.mean(), "late": late, "early": early, "learning": late - early}
        expected |= {"predictable": shares[0], "other": shares[1], "excess": shares[0] - shares[1]}
        for measure, value in expected.items():
            assert getattr(found.measure(measure), name).mean == pytest.approx(value, abs=1e-4), measure
        smooth = nll[:, : 16 * len(found.windows)].reshape(2, -1, 16).mean((0, 2))
        np.testing.assert_allclose(getattr(found, name).mean, smooth, atol=1e-4)
    with torch.no_grad():
        _, cache = model.run_with_cache(torch.tensor([texts[0]]))
    pattern = np.stack([cache["pattern", layer][0].double() for layer in range(model.cfg.n_layers)])
    logs = np.log(pattern, out=np.zeros_like(pattern), where=pattern > 0)
    expected = -(pattern * logs).sum(-1).mean(-1)
    np.testing.assert_allclose(attention_entropy(model, texts[0]), expected, atol=1e-4)


def _follows(ids, at):
    """What followed the latest earlier occurrence of a token, looked for backwards."""
    return next((ids[before + 1] for before in range(at - 1, -1, -1) if ids[before] == ids[at]), None)


def test_loops_equal_hooks():
    model = models.gpt2()
    variants = Variants.of(model, HEADS, n_random=1, seed=1)
    for kind in ("mean", "resample"):
        found = loops(model, variants, n_prompts=2, n_new=24, kind=kind)
        openings = [prose_ids(model, passage, 24) for passage in spread_out(2)]
        for name, heads in (("intact", ()), ("without", HEADS))[kind == "resample" :]:
            said = [
                said_by(model, ids, hooks_for(model, heads, kind, 48, prompt=at) if heads else [], 24)[0]
                for at, ids in enumerate(openings)
            ]
            distinct = np.mean([len({tuple(one[at : at + 3]) for at in range(22)}) / 22 for one in said])
            assert getattr(found.distinct, name).mean == pytest.approx(distinct, abs=1e-4)
            assert found.examples[name == "without"] == "".join(labels(model, said[0]))


@pytest.mark.parametrize(
    ("tokens", "loop"),
    [
        (range(40), False),
        ([*range(10), *[7] * 13], True),
        ([*range(11), *[7] * 12], False),  # which 12 tokens repeat, but the first of them nothing
        ([*range(3), *range(100, 112), *range(100, 112)], True),  # period 12
        ([*range(100, 113), *range(100, 113)], False),  # period 13
        ([*[1, 2] * 12, 3], False),  # no longer at the end
    ],
)
def test_what_a_loop_is(tokens, loop):
    assert loops_at_end(list(tokens)) == loop


def test_small_definitions():
    assert predictable([5, 6, 5, 6, 5, 7, 5, 7]).tolist() == [0, 0, 1, 1, 0, 0, 1]
    assert distinct_share([1, 1, 1, 1, 2]) == 2 / 3
    low, high = wilson_interval(0, 10)
    assert (low, high) == (0, pytest.approx(1.96**2 / (10 + 1.96**2), abs=1e-4))
    low, high = wilson_interval(7, 20)
    for end in (low, high):  # where the score test just rejects
        assert abs(end - 0.35) / math.sqrt(end * (1 - end) / 20) == pytest.approx(1.95996, abs=1e-4)


def test_matched_sets_are_near_in_entropy_and_outside_the_set():
    entropy = np.arange(20.0).reshape(2, 10)
    sets = matched_sets([(0, 5), (1, 5)], entropy, 30, seed=0)
    assert 1 < len(sets) == len(set(sets))
    for heads in sets:
        assert not set(heads) & {(0, 5), (1, 5)}
        assert all(min(abs(entropy[head] - 5), abs(entropy[head] - 15)) <= 3 for head in heads)
    assert matched_sets([(0, 0), (0, 1)], entropy[:1, :3], 5, seed=0) == ()


def test_the_reference_set_is_a_mean_of_sequences_one_by_one(planted):
    mean, each = (finish_reference(planted, kind) for kind in ("mean", "resample"))
    for a, b in zip(mean.z, each.z, strict=True):
        assert b.shape[0] == 16
        torch.testing.assert_close(a, b.mean(0, keepdim=True))


def finish_reference(model, kind):
    steps = iter_reference(model, 40, kind)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_recall_goes_with_induction_heads_and_not_with_others(mini):
    heads = [(1, 7), (1, 2), (1, 6), (1, 4)]
    found = recall(mini, Variants.of(mini, heads, n_random=5, seed=0), longest=16, n_prompts=3)
    assert found.overall.intact.mean > 0.9
    assert found.overall.without.mean < 0.1
    assert min(found.overall.random) > 0.9
    assert found.overall.tells
    assert found.verdict().endswith("It goes with these heads and not with random ones.")
    other = recall(mini, Variants.of(mini, [(1, 0)], n_random=3, seed=0), longest=8, n_prompts=3)
    assert "It does not go with these heads" in other.verdict()


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda one: one.name)
def test_every_experiment_runs_says_and_reads_back(planted, experiment):
    small = {"next": {"n_new": 3}, "recall": {"n_prompts": 2, "longest": 8}}
    small |= {"few_shot": {"n_prompts": 2, "n_examples": 2}}
    small |= {"loops": {"n_prompts": 2, "n_new": 24}, "prose": {"n_passages": 2, "n_matched": 1}}
    asked = experiment.settings(heads="1.1", n_random=2, **small[experiment.name])
    if experiment.name == "prose" and planted.cfg.n_ctx < 100:
        with pytest.raises(InputError, match="too few"):
            finish(experiment.run(planted, asked))
        return
    found = finish(experiment.run(planted, asked))
    for kind in (experiment.result, Behaviour):
        assert kind.from_json(found.to_json()) == found
    assert found.verdict()
    assert found.heading()[2].startswith("without 1.1; mean ablation")
    assert len({tuple(row) for row in found.rows()}) == 1
    assert list(found.listing())


def test_requests_that_cannot_be_carried_out_say_so(planted):
    variants = Variants.of(planted, [(1, 1)], n_random=0, seed=0)
    for work, message in (
        (lambda: next_tokens(planted, [], variants), "at least one word"),
        (lambda: next_tokens(planted, [1], variants, n_new=0), "1 token or more"),
        (lambda: next_tokens(planted, [1], variants, n_new=10**4), "shorten"),
        (lambda: next_tokens(planted, [1], variants, kind="half"), "zero, mean, resample"),
        (lambda: loops(planted, variants, n_new=23), "24 tokens or more"),
        (lambda: recall(planted, variants, longest=3), "room for 3"),
        (lambda: Variants.of(planted, [(9, 9)], n_random=0, seed=0), "no head 9.9"),
        (lambda: NextSettings(heads="one"), "not a head"),
        (lambda: finish(run_next(planted, NextSettings(prompt=" "))), "prompt is empty"),
    ):
        with pytest.raises(InputError, match=message):
            work()
    steps = iter_next(planted, [1, 2], variants, n_new=2)
    next(steps)
    steps.close()


@pytest.mark.parametrize("name", [one.name for one in EXPERIMENTS])
def test_what_is_bundled_is_of_the_bundled_scan(name):
    found = bundled(name, "mini-2l")
    assert {tuple(head) for head in found.heads} == {(1, 7), (1, 2), (1, 6), (1, 4)}
    assert found.model == SCANS.get("mini-2l").model
    assert len(found.to_json()) < 60_000
    assert bundled(name, "mini-1l").verdict()
    other = next(one for one in EXPERIMENTS if one.name == name).settings(seed=1)
    assert bundled(name, "mini-2l", other) is None


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("next", [figures.next_tokens]),
        ("recall", [figures.recall]),
        ("loops", [figures.loops]),
        ("prose", [figures.prose, figures.prose_tokens]),
    ],
)
def test_figures_draw_the_stored_numbers(name, figures):
    found = bundled(name, "mini-2l")
    for draw in figures:
        drawn = draw(found)
        assert drawn.layout.meta["protocol"].startswith("mini-2l. Computed by this project")
        assert drawn.layout.yaxis.title.text
        assert [trace.name for trace in drawn.data if trace.name == "without the 4 induction heads"]
    by_name = {trace.name: list(trace.y) for trace in figures[0](found).data}
    if name == "next":
        assert by_name["with all heads"][0] == found.candidates[0].intact
    elif name == "loops":
        assert by_name["with all heads"] == [found.looped.intact.mean, found.distinct.intact.mean]
    else:
        assert by_name["with all heads"] == found.intact.mean
        assert by_name["without random sets"] == found.random.mean
