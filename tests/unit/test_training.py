"""Training: same seed same weights, clean stops, honest history; and the bundled models keep their promises."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from induction.base import InputError, finish
from induction.model import native
from induction.results import HISTORIES
from induction.training import train as training
from induction.training.history import Checkpoint, History, phase_change

TINY = training.Recipe(
    d_model=32,
    n_heads=2,
    d_head=16,
    rotary_dim=8,
    vocabulary=300,
    steps=12,
    batches=(training.Batch(0.5, 4, 24, 8), training.Batch(0.5, 4, 48, 16)),
    checkpoints=6,
    warmup=2,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two small made-up books."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    words = ["the", "ship", "sailed", "over", "a", "quiet", "sea", "and", "home", "again", "slowly", "north"]
    for book in ("one", "two"):
        (folder / f"{book}.txt").write_text(" ".join(rng.choice(words, 6000)))
    return folder


def _train(corpus, out, **changes):
    return finish(training.iter_train(corpus, out, recipe=TINY, **changes))


def test_same_seed_same_weights_other_seed_others(corpus, tmp_path):
    first, again, other = (
        _train(corpus, tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    weights = [(result.folder / "model.safetensors").read_bytes() for result in (first, again, other)]
    assert weights[0] == weights[1] != weights[2]
    assert first.history.checkpoints == again.history.checkpoints


def test_the_saved_model_computes_what_was_trained(corpus, tmp_path):
    text = training.read_corpus(corpus, TINY)
    torch.manual_seed(3)
    model = training.MiniTransformer(TINY)
    native.save_native(tmp_path / "m", model.config(), model.state_dict())
    _train(corpus, tmp_path / "t")  # for its tokenizer
    for file in (tmp_path / "t").glob("token*.json"):
        (tmp_path / "m" / file.name).write_text(file.read_text())
    bridge = native.load_native(tmp_path / "m")
    tokens = text.training[:40][None]
    patterns: list[torch.Tensor] = []
    with torch.no_grad():
        fused, explicit = model(tokens), model(tokens, patterns)
        logits, cache = bridge.run_with_cache(tokens)
    assert torch.allclose(fused, explicit, atol=1e-4)
    assert torch.allclose(fused, logits, atol=1e-4)
    for layer in range(2):
        assert torch.allclose(patterns[layer], cache["pattern", layer], atol=1e-5)
    assert bridge.tokenizer.bos_token_id == 0


def test_logits_do_not_see_the_future(corpus):
    model = training.MiniTransformer(TINY)
    tokens = torch.randint(300, (1, 20))
    changed = tokens.clone()
    changed[0, 12:] = 7
    with torch.no_grad():
        assert torch.allclose(model(tokens)[0, :12], model(changed)[0, :12], atol=1e-5)
        assert not torch.allclose(model(tokens)[0, 12:], model(changed)[0, 12:], atol=1e-2)


def test_rows_repeat_and_the_first_random_copy_carries_no_loss(corpus):
    text = training.read_corpus(corpus, TINY)
    tokens, weight = training.batch_of(text, TINY, TINY.batches[1], torch.Generator().manual_seed(0))
    assert (tokens[:, 0] == 0).all()
    assert (weight[:2] == 1).all()  # prose
    period = int((weight[3] == 0).sum())
    assert 4 <= period <= 16
    assert (tokens[3, 1 : 1 + period] == tokens[3, 1 + period : 1 + 2 * period]).all()
    assert len(set(tokens[3, 1 : 1 + period].tolist())) == period


def test_baselines_are_counted_on_the_training_text():
    """Two tokens that alternate: the unigram knows nothing, the bigram nearly everything."""
    ids = torch.tensor([1, 2] * 500)
    unigram, bigram = training.baselines(training.Corpus(None, ids, ids, ()), 3)
    assert unigram == pytest.approx(np.log(2), abs=0.01)
    assert bigram == pytest.approx(0.01, abs=0.01)


def test_stopping_keeps_the_best_state(corpus, tmp_path):
    steps = training.iter_train(corpus, tmp_path / "closed", recipe=TINY)
    for _ in range(2):
        next(steps)
    steps.close()
    assert native.load_native(tmp_path / "closed").cfg.n_layers == 2
    capped = _train(corpus, tmp_path / "capped", minutes=1e-9)
    assert capped.stopped_early
    assert capped.kept.step == 0


def test_an_interrupt_stops_cleanly(corpus, tmp_path, monkeypatch):
    seen = []

    def interrupt(*arguments):
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    original = training.batch_of
    monkeypatch.setattr(training, "batch_of", interrupt)
    result = _train(corpus, tmp_path / "interrupted")
    assert result.stopped_early
    assert native.load_native(result.folder).cfg.n_heads == 2


def test_one_layer_is_the_same_recipe(corpus, tmp_path):
    result = _train(corpus, tmp_path / "one", layers=1)
    assert native.load_native(result.folder).cfg.n_layers == 1
    assert np.array(result.kept.induction).shape == (1, 2)


def test_the_default_recipe_measures_densely():
    steps = training.checkpoint_steps(training.Recipe())
    assert len(steps) >= 40
    assert steps == sorted(set(steps))
    assert steps[0] == 0
    assert steps[-1] == training.Recipe().steps
    longest = max(shape.length for shape in training.Recipe().batches)
    assert longest >= 121  # BOS + 2 x 60: what a scan shows


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"corpus": Path("nowhere")}, "no .txt files in nowhere"),
        ({"layers": 0}, "at least 1 layer"),
        ({"minutes": 0}, "more than 0 minutes"),
    ],
)
def test_bad_requests_are_answered_in_one_sentence(corpus, tmp_path, arguments, message):
    arguments = {"corpus": corpus, "out": tmp_path / "x", "recipe": TINY, **arguments}
    with pytest.raises(InputError, match=message):
        finish(training.iter_train(**arguments))


def test_a_corpus_too_small_is_refused(tmp_path):
    (tmp_path / "tiny.txt").write_text("too little")
    with pytest.raises(InputError, match="too short to train on"):
        training.read_corpus(tmp_path, TINY)


def _drop_a_tensor(folder):
    state = load_file(folder / "model.safetensors")
    state.pop("layers.0.attn.q.weight")
    save_file(state, folder / "model.safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        lambda m: (m / "model.safetensors").write_bytes((m / "model.safetensors").read_bytes()[:500]),
        _drop_a_tensor,
        lambda m: (m / "config.json").write_text("{}"),
        lambda m: (m / "model.safetensors").unlink(),
    ],
)
def test_damaged_folders_are_refused_in_one_sentence(corpus, tmp_path, damage):
    _train(corpus, tmp_path / "m")
    damage(tmp_path / "m")
    with pytest.raises(InputError, match=r"m (are damaged|is not a model).* again"):
        native.load_native(tmp_path / "m")


def test_a_history_of_another_shape_or_order_is_refused(corpus, tmp_path):
    result = _train(corpus, tmp_path / "h")
    text = (tmp_path / "h" / "history.json").read_text()
    assert History.from_json(text) == result.history
    data = json.loads(text)
    for broken, message in (
        ({"checkpoints": []}, "checkpoints"),
        ({"checkpoints": data["checkpoints"][::-1]}, "no checkpoints in the order"),
        ({"n_heads": 99}, "induction is not 99"),
    ):
        with pytest.raises(InputError, match=message):
            History.from_json(json.dumps(data | broken))


@pytest.mark.parametrize(
    ("losses", "induction", "change"),
    [
        ([7.0, 6.9, 6.8, 3.0, 2.5, 2.4], 0.5, 3),
        ([7.0] * 6, 0.5, None),  # nothing falls
        ([7.0, 6.9, 6.8, 3.0, 2.5, 2.4], 0.1, None),  # no head forms
    ],
)
def test_the_change_is_where_the_second_copy_loss_falls_fastest(losses, induction, change):
    checkpoints = [
        Checkpoint(step=step, tokens=2**step, prose_loss=5.0, first_copy_loss=7.0, second_copy_loss=loss,
                   induction=[[induction]], previous_token=[[0.0]])
        for step, loss in enumerate(losses)
    ]  # fmt: skip
    about = {"model": "m", "n_layers": 1, "n_heads": 1, "origin": "o", "protocol": "p", "seed": 0}
    assert phase_change(History(**about, checkpoints=checkpoints)) == change


def test_the_control_has_no_change():
    """One layer cannot build an induction head, whatever it is trained on."""
    assert phase_change(HISTORIES.get("mini-1l")) is None
    assert phase_change(HISTORIES.get("mini-2l")) is not None
