"""Files of llama.cpp: each family gives the numbers of the folder it was made from, or one sentence says why not."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import gguf
import models
import numpy as np
import pytest
import torch
import transformers
from gguf_files import FAMILIES, SHAPE, Family, random_model, write_gguf, write_header

from induction.analysis.scanning import scan
from induction.base import InputError
from induction.model import gguf_file
from induction.model import loading as door
from induction.model.tokens import bos_id

LLAMA = FAMILIES["llama"]
PRECISION = 1e-5


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """The Hub counts as reachable, so that asking it is seen: any look at the network fails the test."""
    import huggingface_hub.constants

    asked: list[object] = []

    def refuse(*where: object, **options: object) -> None:
        asked.append(where)
        raise OSError("the network was asked")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
    assert asked == []


@pytest.fixture(autouse=True)
def nothing_loaded():
    door._loaded.clear()


def same_scan(file: Path, folder: Path) -> None:
    """Both load, their scans and logits agree, and the logits are those of transformers alone."""
    ids = torch.tensor(models.tokenizer()(" the cat of the dog and the cat of the moon").input_ids)[None]
    alone = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    measured = []
    for path in (str(file), str(folder)):
        model = door.load_model(path)
        with torch.no_grad():
            logits = model(ids)
            assert torch.allclose(logits, alone(ids).logits, atol=PRECISION)
        measured.append({name: score.mean for name, score in scan(model, n_prompts=2).scores.items()})
    scores, other_scores = measured
    assert scores.keys() == other_scores.keys()
    for name, values in scores.items():
        assert np.allclose(values, other_scores[name], atol=PRECISION), name


# -- families --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_gives_the_numbers_of_its_folder(name, tmp_path):
    family = FAMILIES[name]
    model = random_model(family)
    folder = models.save(model, tmp_path / "folder")
    same_scan(write_gguf(model, family, tmp_path / "file.gguf"), folder)


@pytest.mark.parametrize("kind", ["Q8_0", "Q5_0"])
def test_quantized_weights_are_what_they_stand_for(kind, tmp_path):
    quantized = gguf.GGMLQuantizationType[kind]
    model = random_model(LLAMA, hidden_size=64, num_attention_heads=8, head_dim=8)
    path = write_gguf(model, LLAMA, tmp_path / "file.gguf", quantized=quantized)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            stored = gguf.quantize(parameter.detach().numpy(), quantized)
            parameter.data = torch.from_numpy(gguf.dequantize(stored, quantized))
    same_scan(path, models.save(model, tmp_path / "folder"))


def test_the_rescaled_frequencies_of_llama_3_are_applied(tmp_path):
    """Llama 3 stretches its slow frequencies by a factor; the converter stores what each is divided by."""
    base, factor, original = SHAPE["rope_theta"], 8.0, 64
    rope = {"rope_type": "llama3", "rope_theta": base, "factor": factor, "low_freq_factor": 1.0}
    rope |= {"high_freq_factor": 4.0, "original_max_position_embeddings": original}
    model = random_model(LLAMA, rope_parameters=rope)
    frequencies = base ** -(np.arange(0, 8, 2) / 8)
    turns = original * frequencies / (2 * np.pi)  # full turns within the original context
    share = np.clip((turns - 1) / (4 - 1), 0, 1)  # all stretched below 1, none above 4
    divisors = (1 / ((1 - share) / factor + share)).astype(np.float32)
    assert len(set(divisors.tolist())) > 1
    stretched = {gguf_file.ROPE_FREQS: divisors}
    folder = models.save(model, tmp_path / "folder")
    same_scan(write_gguf(model, LLAMA, tmp_path / "file.gguf", tensors=stretched), folder)


def test_a_sliding_window_of_0_is_none(tmp_path):
    """As the converter writes Phi-4, by which llama.cpp tells it from Phi-3."""
    family = FAMILIES["phi3"]
    model = random_model(family, sliding_window=None)
    path = write_gguf(model, family, tmp_path / "file.gguf", facts={"attention.sliding_window": 0})
    same_scan(path, models.save(model, tmp_path / "folder"))


@pytest.mark.parametrize(("family", "layers"), [("gemma2", 46), ("gemma3", 62)])
def test_the_large_gemmas_scale_by_the_width_of_the_stream(family, layers, tmp_path):
    """llama.cpp knows them by their number of layers alone."""
    width = {"embedding_length": 96, "attention.key_length": 64, "attention.sliding_window": 128}
    for count, expected in ((layers, 96 // SHAPE["num_attention_heads"]), (layers - 1, 64)):
        facts = {**width, "block_count": count}
        path = write_header(Family("", family), tmp_path / f"{count}.gguf", facts)
        assert gguf_file.configuration(gguf_file.read_header(path)).query_pre_attn_scalar == expected


NO_DECODER = "not a decoder language model"
NO_HEADS = "not every layer has attention heads"
QWEN35 = {
    "attention.key_length": 16, "full_attention_interval": 2,
    "ssm.time_step_rank": 2, "ssm.conv_kernel": 4, "ssm.state_size": 8, "ssm.group_count": 2, "ssm.inner_size": 32,
    "rope.dimension_sections": [2, 2, 0, 0], "rope.dimension_count": 8,
    "expert_feed_forward_length": 32, "expert_shared_feed_forward_length": 32,
    "expert_count": 4, "expert_used_count": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("arch", "facts", "message"),
    [
        ("t5", {}, NO_DECODER),
        ("t5encoder", {}, NO_DECODER),
        ("mamba", {}, NO_HEADS),
        ("lfm2", {"attention.head_count_kv": [0, 2], "shortconv.l_cache": 3}, NO_HEADS),
        ("qwen35", QWEN35, NO_HEADS),
        ("qwen35moe", QWEN35, NO_HEADS),
        ("gpt-oss", {}, "does not read models of the family 'gpt-oss'"),
        ("gemma4", {}, "does not read models of the family 'gemma4'"),
        ("deci", {}, "does not read models of the family 'deci'"),
        ("gptneox", {}, "does not read models of the family 'gptneox'"),
        ("llama", {"rope.scaling.type": "yarn"}, "does not read how its positions are stretched"),
        ("llama", {"rope.scale_linear": 4.0}, "does not read how its positions are stretched"),
        ("falcon", {"attention.head_count_kv": 2}, "does not read a Falcon with several key heads"),
    ],
)
def test_what_cannot_be_right_is_refused_before_weights_are_read(arch, facts, message, tmp_path):
    path = write_header(Family("", arch), tmp_path / "file.gguf", facts)
    assert "damaged" not in refusal(path, message)


def test_every_family_that_transformers_lists_is_tried():
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
    from transformers.integrations.gguf import GGUF_CONFIG_ARCHS

    listed = {*GGUF_CONFIG_MAPPING, *GGUF_CONFIG_ARCHS} - {"general", "tokenizer"}
    mark = test_what_cannot_be_right_is_refused_before_weights_are_read.pytestmark[0]
    refused = {arch.replace("-", "_") for arch, *_ in mark.args[1]} | {"umt5"}  # a name within t5
    assert listed <= {*FAMILIES, *refused}


def test_weights_that_transformers_leaves_out_are_refused(tmp_path):
    """A Llama with biases: transformers would compute it without them."""
    model = random_model(LLAMA)
    biases = {"blk.0.attn_output.bias": np.ones(SHAPE["hidden_size"], np.float32)}
    path = write_gguf(model, LLAMA, tmp_path / "file.gguf", tensors=biases)
    assert "damaged" not in refusal(path, "does not read all weights")


# -- tokenizer -------------------------------------------------------------------------------------------------


def test_a_tokenizer_without_bos_stays_without(tmp_path):
    path = write_gguf(random_model(FAMILIES["gpt2"]), FAMILIES["gpt2"], tmp_path / "file.gguf", bos=False)
    model = door.load_model(str(path))
    assert bos_id(model) is None
    assert "without BOS" in scan(model, n_prompts=2).scores["induction"].protocol


def test_the_tokenizer_is_that_of_the_file_and_not_of_its_neighbours(tmp_path):
    other = json.loads(models.tokenizer().backend_tokenizer.to_str())
    other["model"]["merges"] = []
    config = {"bos_token": " the", "tokenizer_class": "PreTrainedTokenizerFast"}
    for name, content in (("tokenizer.json", other), ("tokenizer_config.json", config)):
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    model = door.load_model(str(write_gguf(random_model(LLAMA), LLAMA, tmp_path / "file.gguf")))
    text = " the cat and the dog"
    ids = models.tokenizer()(text, add_special_tokens=False).input_ids
    assert model.tokenizer(text, add_special_tokens=False).input_ids == ids
    assert bos_id(model) == models.tokenizer().bos_token_id


# -- damage and speed ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama_bytes(tmp_path_factory) -> bytes:
    return write_gguf(random_model(LLAMA), LLAMA, tmp_path_factory.mktemp("llama") / "file.gguf").read_bytes()


def refusal(path: Path, message: str) -> str:
    with pytest.raises(InputError, match=message) as caught:
        door.load_model(str(path))
    assert str(caught.value).count(". ") == 0, "one sentence"
    return str(caught.value)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.02, 0.5, 0.999])
def test_a_file_cut_short_is_damaged(kept, llama_bytes, tmp_path):
    (tmp_path / "short.gguf").write_bytes(llama_bytes[: int(kept * len(llama_bytes))])
    refusal(tmp_path / "short.gguf", "damaged or incomplete")


@pytest.mark.parametrize("at", [0, 4, 12, 20, 30])
def test_wrong_bytes_in_the_header_are_damage(at, llama_bytes, tmp_path):
    (tmp_path / "wrong.gguf").write_bytes(llama_bytes[:at] + b"\xff" * 4 + llama_bytes[at + 4 :])
    refusal(tmp_path / "wrong.gguf", "damaged or incomplete")


def test_a_missing_tensor_is_damage(tmp_path):
    model = random_model(LLAMA)
    del model.model.layers[1].mlp.down_proj.weight
    refusal(write_gguf(model, LLAMA, tmp_path / "file.gguf"), "damaged or incomplete.*down_proj")


def test_a_part_of_several_files_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(gguf.GGUFWriter, "add_name", lambda self, name: self.add_uint16("split.count", 3))
    refusal(write_header(LLAMA, tmp_path / "file.gguf", {}), "one of 3 parts")


@pytest.mark.parametrize(("arch", "reads"), [("llama", 2), ("mamba", 1), ("gpt-oss", 0)])
def test_the_slow_reader_runs_no_more_than_it_must(arch, reads, tmp_path, monkeypatch):
    """Once for the configuration and once for the weights: a large vocabulary costs it seconds each time."""
    built = []
    slow = gguf.GGUFReader
    monkeypatch.setattr(gguf, "GGUFReader", lambda *a, **k: built.append(a) or slow(*a, **k))
    if arch == "llama":
        door.load_model(str(write_gguf(random_model(LLAMA), LLAMA, tmp_path / "file.gguf")))
    else:
        refusal(write_header(Family("", arch), tmp_path / "file.gguf", {}), ".")
    assert len(built) == reads
