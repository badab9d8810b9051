"""Small random models of every family that a ``.gguf`` file may hold, and such files as llama.cpp writes them.

What llama.cpp's converter does to each family (``convert_hf_to_gguf.py``) is repeated here by hand, so that reading
a file back is checked against that converter and not against the reader's own tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import models
import numpy as np
import transformers

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Family:
    """One family: its class in transformers, its name in GGUF, and what the converter does to it.

    Attributes:
        shape: arguments of the configuration that differ from :data:`SHAPE`, or None to leave one out.
        facts: metadata keys without the family's name in front, each with the configuration's attribute or a value.
        convert: changes weights from Hugging Face's layout to llama.cpp's.
        pre: how the tokenizer splits text before its merges.
    """

    causal_lm: str
    arch: str
    shape: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    convert: Callable[[Weights, Any], Weights] = lambda weights, config: weights
    pre: str = "gpt-2"


# Every value differs from the configuration's default: what a reader forgets shows.
SHAPE = dict(
    hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
    max_position_embeddings=256, rope_theta=50_000.0, rms_norm_eps=1e-2,
    bos_token_id=0, eos_token_id=0, pad_token_id=0,
)  # fmt: skip
FACTS = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
    "vocab_size": "vocab_size",
}


def layer_norm(epsilon: str) -> dict[str, Any]:
    """Facts of a family that centres, by its configuration's name for the epsilon."""
    return {"attention.layer_norm_rms_epsilon": None, "attention.layer_norm_epsilon": epsilon}


NO_ROPE = {"rope.freq_base": None}
HEAD_DIM = {"attention.key_length": "head_dim", "attention.value_length": "head_dim"}


def _interleave(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """Rows of each head from two halves (Hugging Face's rotary) to pairs (llama.cpp's)."""
    halves = weight.reshape(n_heads, 2, weight.shape[0] // n_heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def _llama(weights: Weights, config: Any) -> Weights:
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    return {
        name: next((_interleave(w, n) for part, n in heads.items() if f".{part}." in name), w)
        for name, w in weights.items()
    }


def _norms_plus_one(weights: Weights, config: Any) -> Weights:
    """Norms that scale by 1 + weight are stored with the 1 added."""
    return {name: w + 1 if name.endswith("norm.weight") else w for name, w in weights.items()}


def _gpt2(weights: Weights, config: Any) -> Weights:
    """GPT-2 keeps its matrices transposed; the file does not."""
    conv1d = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")
    return {name: w.T if name.endswith(conv1d) else w for name, w in weights.items()}


def _bloom(weights: Weights, config: Any) -> Weights:
    """Query, key and value of each head in turn become all queries, all keys, all values."""

    def split(w: np.ndarray) -> np.ndarray:
        per_head = w.reshape(config.n_head, 3, -1, *w.shape[1:])
        return per_head.swapaxes(0, 1).reshape(w.shape)

    short = {name.removeprefix("transformer."): w for name, w in weights.items()}
    return {name: split(w) if "query_key_value" in name else w for name, w in short.items()}


def _split_experts(weights: Weights, config: Any) -> Weights:
    """Gate and up projections of all experts, in one tensor here, are two in the file."""
    out: Weights = {}
    for name, w in weights.items():
        if name.endswith("experts.gate_up_proj"):
            for part, half in zip(("gate", "up"), np.split(w, 2, axis=1), strict=True):
                out[name.replace("gate_up_proj", f"{part}_proj.weight")] = half
        elif name.endswith("experts.down_proj"):
            out[f"{name}.weight"] = w
        elif name.endswith("shared_expert_gate.weight"):
            out[name] = w.squeeze(0)
        else:
            out[name.replace("e_score_correction_bias", "e_score_correction.bias")] = w
    return out


_MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_MOE_FACTS = {
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
}
_GEMMA = {"head_dim": 16, "sliding_window": 32, "query_pre_attn_scalar": 16}
_SOFTCAPS = {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 4.0}
_GEMMA_FACTS = {**HEAD_DIM, "attention.sliding_window": "sliding_window"}
_GPT2_SHAPE = dict(n_embd=48, n_layer=2, n_head=6, n_positions=256, n_inner=160, layer_norm_epsilon=1e-2)
_GPT2_SHAPE |= dict.fromkeys(SHAPE.keys() - {"bos_token_id", "eos_token_id", "pad_token_id"})

# fmt: off
FAMILIES: dict[str, Family] = {
    "llama": Family("LlamaForCausalLM", "llama", facts={"rope.dimension_count": 8}, convert=_llama),
    "mistral": Family("MistralForCausalLM", "llama", {"sliding_window": None}, {"rope.dimension_count": 8}, _llama),
    "qwen2": Family("Qwen2ForCausalLM", "qwen2", pre="qwen2"),
    "qwen2_moe": Family("Qwen2MoeForCausalLM", "qwen2moe", {**_MOE, "shared_expert_intermediate_size": 64},
        {**_MOE_FACTS, "expert_shared_feed_forward_length": "shared_expert_intermediate_size"}, _split_experts),
    "qwen3": Family("Qwen3ForCausalLM", "qwen3", {"head_dim": 16}, HEAD_DIM),
    "qwen3_moe": Family("Qwen3MoeForCausalLM", "qwen3moe", {**_MOE, "head_dim": 16, "norm_topk_prob": True},
        {**_MOE_FACTS, **HEAD_DIM}, _split_experts),
    "falcon": Family("FalconForCausalLM", "falcon", {"layer_norm_epsilon": 1e-2, "ffn_hidden_size": 160,
        **dict.fromkeys(("num_key_value_heads", "intermediate_size", "rope_theta"))},
        {**layer_norm("layer_norm_epsilon"), **NO_ROPE, "feed_forward_length": "ffn_hidden_size",
        "attention.head_count_kv": 1}),  # one key head: its fused projection keeps its order
    "phi3": Family("Phi3ForCausalLM", "phi3", {"sliding_window": 32, "partial_rotary_factor": 0.5},
        {"rope.dimension_count": 4, "attention.sliding_window": "sliding_window"}),
    "bloom": Family("BloomForCausalLM", "bloom", {"n_head": 6, "n_layer": 2, "num_attention_heads": None,
        "num_hidden_layers": None}, {**layer_norm("layer_norm_epsilon"), **NO_ROPE, "context_length": 2048,
        "feed_forward_length": 192, "attention.head_count_kv": "n_head"}, _bloom),
    "stablelm": Family("StableLmForCausalLM", "stablelm", {"partial_rotary_factor": 0.5, "layer_norm_eps": 1e-2},
        {**layer_norm("layer_norm_eps"), "rope.dimension_count": 4}),
    "gpt2": Family("GPT2LMHeadModel", "gpt2", _GPT2_SHAPE, {**layer_norm("layer_norm_epsilon"), **NO_ROPE,
        "attention.head_count_kv": None, "feed_forward_length": "n_inner", "vocab_size": None}, _gpt2),
    "starcoder2": Family("Starcoder2ForCausalLM", "starcoder2", {"sliding_window": None},
        layer_norm("norm_epsilon")),
    "nemotron": Family("NemotronForCausalLM", "nemotron", {"norm_eps": 1e-2},
        {**layer_norm("norm_eps"), "rope.dimension_count": 4}, _norms_plus_one),
    "gemma2": Family("Gemma2ForCausalLM", "gemma2", {**_GEMMA, **_SOFTCAPS},
        {**_GEMMA_FACTS, **{name: name for name in _SOFTCAPS}}, _norms_plus_one),
    "gemma3": Family("Gemma3ForCausalLM", "gemma3", _GEMMA, _GEMMA_FACTS, _norms_plus_one),
    "minimax_m2": Family("MiniMaxM2ForCausalLM", "minimax-m2", {"num_local_experts": 4, "num_experts_per_tok": 2,
        "head_dim": 16, "rotary_dim": 8}, {**HEAD_DIM, "rope.dimension_count": "rotary_dim",
        "expert_count": "num_local_experts", "expert_used_count": "num_experts_per_tok",
        "expert_feed_forward_length": "intermediate_size", "expert_gating_func": 2}, _split_experts),
}
# fmt: on


def random_model(family: Family, seed: int = 0, **shape: Any) -> Any:
    """A small random model of a family, as transformers builds it from a configuration."""
    settings = {**SHAPE, **family.shape, **shape}
    if "attention.layer_norm_rms_epsilon" in family.facts:  # TransformerLens takes it even from the others
        settings["rms_norm_eps"] = None
    left_out = [name for name, value in settings.items() if value is None and name != "sliding_window"]
    model = models.causal_lm(family.causal_lm, **{k: v for k, v in settings.items() if k not in left_out})
    models.randomise(model, seed)
    return model.eval()


def write_gguf(
    model: Any,
    family: Family,
    path: Path,
    *,
    bos: bool = True,
    facts: dict[str, Any] | None = None,
    tensors: Weights | None = None,
    quantized: gguf.GGMLQuantizationType | None = None,
) -> Path:
    """The file that llama.cpp's converter makes of a model.

    Args:
        bos: whether the tokenizer declares a BOS and the other special tokens.
        facts: metadata of the family beside that of :class:`Family`.
        tensors: tensors beside those of the model.
        quantized: how matrices are stored; fp32 by default.
    """
    config = model.config
    writer = _writer(family, path, config, facts or {}, bos)
    arch = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == family.arch)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items() if name not in tied}
    for name, weight in family.convert(weights, config).items():
        there = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert there, f"llama.cpp has no name for {name}"
        data = np.ascontiguousarray(weight, dtype=np.float32)
        kind = quantized if data.ndim == 2 else None
        writer.add_tensor(there, data if kind is None else gguf.quantize(data, kind), raw_dtype=kind)
    for name, data in (tensors or {}).items():
        writer.add_tensor(name, data)
    return _close(writer, path)


def write_header(family: Family, path: Path, facts: dict[str, Any]) -> Path:
    """A file with metadata and no tensor, for what is decided before any weight is read."""
    config = transformers.LlamaConfig(**SHAPE, vocab_size=len(models.tokenizer()))
    return _close(_writer(family, path, config, facts, bos=True), path)


def _writer(family: Family, path: Path, config: Any, facts: dict[str, Any], bos: bool) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, family.arch)
    writer.add_name("random")
    for key, value in {**FACTS, **family.facts, **facts}.items():
        _add(writer, f"{family.arch}.{key}", _value(config, value))
    _add_tokenizer(writer, family.pre, bos)
    return writer


def _close(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _value(config: Any, value: Any) -> Any:
    if value == "rope_theta":
        return float(config.rope_parameters.get("full_attention", config.rope_parameters)["rope_theta"])
    return getattr(config, value, value) if isinstance(value, str) else value


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    """``None`` is left out."""
    kinds = {bool: "bool", int: "uint32", float: "float32", list: "array", str: "string"}
    if value is not None:
        getattr(writer, f"add_{kinds[type(value)]}")(key, value)


def _add_tokenizer(writer: gguf.GGUFWriter, pre: str, bos: bool) -> None:
    tokenizer = models.tokenizer()
    bpe = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(bpe["vocab"], key=bpe["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([control if token == models.BOS else normal for token in tokens])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in bpe["merges"]])
    if bos:
        for kind in ("bos", "eos", "unk", "pad"):
            getattr(writer, f"add_{kind}_token_id")(tokenizer.bos_token_id)
