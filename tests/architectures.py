"""The table of architectures: which quantities of this package hold, on a tiny random model of every family.

Each family is built with random weights, saved to a folder and loaded twice: by :func:`induction.model.load_model`
(the product's path) and as the plain Hugging Face model, on which :mod:`oracle` computes every quantity
again, with none of this package's code. ``python tests/architectures.py`` prints the table.

Widths differ wherever the configuration allows it (heads x head width is not the model's width), and no multiplier,
cap or norm weight has the value at which it would do nothing: defaults hide errors.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import transformers
from models import tokenizer
from oracle import Layout, Oracle, losses, scores

from induction.ablation import ablate, reference_set
from induction.analysis import scan
from induction.attention import attend, written
from induction.attribution import attribution_patching, direct_logit_attribution
from induction.composition import composition
from induction.copying import copying
from induction.data_gen import repeated_batch
from induction.errors import InputError
from induction.interventions import PromptPair
from induction.model import load_model
from induction.patching import patch_heads
from induction.path_patching import path_patch

N_CTX = 256


@dataclass(frozen=True)
class Family:
    """One tiny model: its class, its configuration, and where the oracle finds its parts."""

    name: str
    model: str
    config: dict[str, Any]
    layout: Layout = field(default_factory=Layout)


COMMON = {
    "vocab_size": 0,  # of the test tokenizer, filled in by `build`
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
LLAMA = {
    "hidden_size": 40,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": N_CTX,
}
SQUARE = {name: value for name, value in LLAMA.items() if name != "head_dim"} | {"hidden_size": 48}
OLD = {name: value for name, value in SQUARE.items() if name != "num_key_value_heads"}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": N_CTX}
OPT = {"hidden_size": 32, "ffn_dim": 56, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": N_CTX}
SLIDING = {"num_hidden_layers": 3, "sliding_window": 6}
ALTERNATING = SLIDING | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
CAPS = {"query_pre_attn_scalar": 7, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 4.0}
GRANITE = {"embedding_multiplier": 3.0, "logits_scaling": 2.5, "residual_multiplier": 0.4, "attention_multiplier": 0.5}
MLA = {"kv_lora_rank": 16, "q_lora_rank": 20, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 12}

QK = {"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"}
QK_LAYERNORM = {"q_norm": "self_attn.q_layernorm", "k_norm": "self_attn.k_layernorm"}
PRE_AND_POST = {
    "norm_out": "post_attention_layernorm",
    "norm_mlp_out": "post_feedforward_layernorm",
}
POST_ONLY = PRE_AND_POST | {"norm_in": None}


def fused(path: str) -> dict[str, str]:
    return {"q": path, "k": path, "v": path}


def separate(prefix: str) -> dict[str, str]:
    return {name: f"{prefix}.{name}_proj" for name in "qkv"}


def row(path: str, at: int = 0) -> Callable[[torch.nn.Module], torch.Tensor]:
    """Position 0 of a learned position embedding whose table begins at row ``at``."""
    return lambda model: model.get_submodule(path).weight[at]


_gpt2 = Layout(
    layers="transformer.h", attn="attn", out="attn.c_proj", **fused("attn.c_attn"), split="thirds", norm_in="ln_1",
    final_norm="transformer.ln_f", rotary=None, positions=row("transformer.wpe"),
)
_neox = Layout(
    layers="gpt_neox.layers", attn="attention", out="attention.dense", **fused("attention.query_key_value"),
    split="grouped", final_norm="gpt_neox.final_layer_norm", 
)
_gptj = Layout(
    layers="transformer.h", attn="attn", out="attn.out_proj", **separate("attn"), norm_in="ln_1",
    final_norm="transformer.ln_f", rotary="gptj",
)
_opt = Layout(
    layers="model.decoder.layers", out="self_attn.out_proj", norm_in="self_attn_layer_norm", mlp_out="fc2",
    final_norm="model.decoder.final_layer_norm", rotary=None, positions=row("model.decoder.embed_positions", 2),
)
_bloom = Layout(
    layers="transformer.h", attn="self_attention", out="self_attention.dense", **fused("self_attention.query_key_value"),
    split="grouped", mlp_out="mlp.dense_4h_to_h", final_norm="transformer.ln_f", rotary=None,
)
_falcon = replace(_bloom, mlp_out="mlp", rotary="halves")
_phi = Layout(out="self_attn.dense", final_norm="model.final_layernorm")
_granite = Layout(
    residual_multiplier=lambda config: config.residual_multiplier, logit_scale=lambda config: 1 / config.logits_scaling
)
_cohere = Layout(logit_scale=lambda config: config.logit_scale)
_no_maps = frozenset({"written", "attribution", "copying", "composition"})
_gated = Layout(**QK, undefined=frozenset({"copying"}))


def _older() -> list[Family]:
    """Families before Llama: fused projections, learned positions or distances, layer norms."""
    neo = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "intermediate_size": 56, "max_position_embeddings": N_CTX}
    falcon = {"multi_query": True, "parallel_attn": True, "new_decoder_architecture": False}
    return [
        Family("GPT-2", "GPT2LMHeadModel", {**GPT, "n_inner": 56}, _gpt2),
        Family("GPT-2, scaled by layer", "GPT2LMHeadModel", {**GPT, "scale_attn_by_inverse_layer_idx": True}, _gpt2),
        Family("OpenAI-GPT", "OpenAIGPTLMHeadModel", GPT, replace(_gpt2, norm_in=None, final_norm=None,
            residual_norms=("ln_1", "ln_2"), positions=row("transformer.positions_embed"),
            undefined=frozenset({"copying", "composition"}))),
        Family("GPTBigCode", "GPTBigCodeForCausalLM", {**GPT, "multi_query": True}, _gpt2),
        Family("GPT-Neo", "GPTNeoForCausalLM", {**neo, "attention_types": [[["global", "local"], 1]], "window_size": 6},
            replace(_gptj, attn="attn.attention", out="attn.attention.out_proj", **separate("attn.attention"), rotary=None, positions=row("transformer.wpe"))),
        Family("GPT-NeoX", "GPTNeoXForCausalLM", OLD, _neox),
        Family("GPT-NeoX, sequential", "GPTNeoXForCausalLM", {**OLD, "use_parallel_residual": False}, _neox),
        Family("GPT-J", "GPTJForCausalLM", {**GPT, "rotary_dim": 4}, _gptj),
        Family("CodeGen", "CodeGenForCausalLM", {**GPT, "rotary_dim": 4}, replace(_gptj, **fused("attn.qkv_proj"), split="codegen")),
        Family("OPT", "OPTForCausalLM", {**OPT, "word_embed_proj_dim": 32}, _opt),
        Family("OPT, projected", "OPTForCausalLM", {**OPT, "word_embed_proj_dim": 24}, replace(_opt, head=("model.decoder.project_out", "lm_head"))),
        Family("XGLM", "XGLMForCausalLM", {"d_model": 32, "ffn_dim": 56, "num_layers": 2, "attention_heads": 4, "max_position_embeddings": N_CTX},
            replace(_opt, layers="model.layers", final_norm="model.layer_norm", positions=lambda model: model.model.embed_positions.weights[2])),
        Family("BLOOM", "BloomForCausalLM", {"hidden_size": 32, "n_layer": 2, "n_head": 4}, _bloom),
        Family("MPT", "MptForCausalLM", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": N_CTX, "expansion_ratio": 2},
            Layout(layers="transformer.blocks", attn="attn", out="attn.out_proj", **fused("attn.Wqkv"), split="thirds", norm_in="norm_1", mlp_out="ffn.down_proj", final_norm="transformer.norm_f", rotary=None)),
        Family("Falcon, multi-query", "FalconForCausalLM", {**OLD, **falcon}, replace(_falcon, split="thirds")),
        Family("Falcon, multi-head", "FalconForCausalLM", {**OLD, **falcon, "multi_query": False, "bias": True}, _falcon),
        Family("Falcon, ALiBi", "FalconForCausalLM", {**OLD, **falcon, "multi_query": False, "parallel_attn": False, "alibi": True, "bias": True}, replace(_falcon, rotary=None)),
        Family("Falcon, new decoder", "FalconForCausalLM", {**OLD, "new_decoder_architecture": True, "multi_query": False, "num_kv_heads": 2}, replace(_falcon, norm_in="ln_attn")),
    ]


def _llama_like() -> list[Family]:
    """Families that differ from Llama in a window, a bias, a norm on queries and keys, or a norm's place."""
    return [
        Family("Llama", "LlamaForCausalLM", {**LLAMA, "attention_bias": True, "mlp_bias": True}),
        Family("Llama, scaled rotary", "LlamaForCausalLM", {**LLAMA, "rope_parameters": {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}),
        Family("Mistral", "MistralForCausalLM", {**LLAMA, "sliding_window": None}),
        Family("Mistral, sliding window", "MistralForCausalLM", {**LLAMA, "sliding_window": 6}),
        Family("Ministral-3", "Ministral3ForCausalLM", LLAMA),
        Family("Qwen2", "Qwen2ForCausalLM", {**SQUARE, "use_sliding_window": False}),
        Family("Qwen2, sliding window", "Qwen2ForCausalLM", {**SQUARE, **SLIDING, "use_sliding_window": True, "max_window_layers": 1}),
        Family("Qwen3", "Qwen3ForCausalLM", {**LLAMA, "attention_bias": True}, Layout(**QK)),
        Family("Gemma", "GemmaForCausalLM", LLAMA),
        Family("Gemma-2", "Gemma2ForCausalLM", {**LLAMA, **CAPS, "sliding_window": 6}, Layout(**PRE_AND_POST)),
        Family("Gemma-3", "Gemma3ForCausalLM", {**LLAMA, **ALTERNATING, "query_pre_attn_scalar": 7}, Layout(**PRE_AND_POST, **QK)),
        Family("VaultGemma", "VaultGemmaForCausalLM", {**LLAMA, **CAPS, "sliding_window": 6}),
        Family("Phi", "PhiForCausalLM", {**SQUARE, "partial_rotary_factor": 0.5}, _phi),
        Family("Phi-3", "Phi3ForCausalLM", {**SQUARE, "sliding_window": None}, Layout(**fused("self_attn.qkv_proj"), split="thirds")),
        Family("Phi-3, partial rotary", "Phi3ForCausalLM", {**SQUARE, "sliding_window": None, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}, Layout(**fused("self_attn.qkv_proj"), split="thirds")),
        Family("OLMo", "OlmoForCausalLM", SQUARE),
        Family("OLMo, clipped", "OlmoForCausalLM", {**SQUARE, "clip_qkv": 0.8}),
        Family("OLMo-2", "Olmo2ForCausalLM", SQUARE, Layout(**POST_ONLY, **QK, qk_norm="flat")),
        Family("OLMo-3", "Olmo3ForCausalLM", {**SQUARE, **ALTERNATING}, Layout(**POST_ONLY, **QK, qk_norm="flat")),
        Family("StableLM", "StableLmForCausalLM", {**SQUARE, "use_qkv_bias": True, "partial_rotary_factor": 0.5}),
        Family("StableLM, parallel, query norms", "StableLmForCausalLM", {**SQUARE, "use_parallel_residual": True, "qk_layernorm": True, "partial_rotary_factor": 0.5}, Layout(**QK_LAYERNORM, qk_norm="list")),
        Family("Starcoder2", "Starcoder2ForCausalLM", {**SQUARE, "sliding_window": None}),
        Family("SmolLM3", "SmolLM3ForCausalLM", {**SQUARE, "num_hidden_layers": 3, "no_rope_layers": [1, 0, 1], "use_sliding_window": False}, Layout(rotates=lambda attn: bool(attn.use_rope))),
        Family("SmolLM3, last layer without rotary", "SmolLM3ForCausalLM", {**SQUARE, "no_rope_layers": [1, 0], "use_sliding_window": False}, Layout(rotates=lambda attn: bool(attn.use_rope))),
        Family("GLM", "GlmForCausalLM", {**LLAMA, "attention_bias": True}),
        Family("GLM-4", "Glm4ForCausalLM", {**LLAMA, "attention_bias": True}, Layout(norm_out="post_self_attn_layernorm", norm_mlp_out="post_mlp_layernorm")),
        Family("Granite", "GraniteForCausalLM", {**SQUARE, **GRANITE, "attention_bias": True}, _granite),
        Family("Cohere", "CohereForCausalLM", {**SQUARE, "logit_scale": 0.4, "attention_bias": True}, _cohere),
        Family("Cohere, query norms", "CohereForCausalLM", {**SQUARE, "logit_scale": 0.4, "use_qk_norm": True}, replace(_cohere, **QK, qk_norm="by_head")),
        Family("Cohere2", "Cohere2ForCausalLM", {**LLAMA, **ALTERNATING, "logit_scale": 0.4}, replace(_cohere, rotates=lambda attn: attn.sliding_window is not None)),
        Family("Cohere2, last layer without rotary", "Cohere2ForCausalLM", {**LLAMA, **SLIDING, "num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"], "logit_scale": 0.4}, replace(_cohere, rotates=lambda attn: attn.sliding_window is not None)),
        Family("EXAONE-4", "Exaone4ForCausalLM", {**LLAMA, **ALTERNATING, "sliding_window_pattern": 2}, Layout(**POST_ONLY, **QK, rotates=lambda attn: attn.sliding_window is None or attn.is_sliding)),
        Family("Nemotron", "NemotronForCausalLM", {**LLAMA, "attention_bias": True, "mlp_bias": True, "partial_rotary_factor": 0.5}),
        Family("Ernie 4.5", "Ernie4_5ForCausalLM", {**LLAMA, "use_bias": True}),
        Family("Seed-OSS", "SeedOssForCausalLM", {**LLAMA, "attention_out_bias": True}),
        Family("Arcee", "ArceeForCausalLM", {**LLAMA, "attention_bias": True, "mlp_bias": True}),
        Family("Apertus", "ApertusForCausalLM", {**SQUARE, "attention_bias": True}, Layout(norm_in="attention_layernorm", **QK)),
        Family("HunYuan", "HunYuanDenseV1ForCausalLM", LLAMA, Layout(q_norm="self_attn.query_layernorm", k_norm="self_attn.key_layernorm", qk_norm_after_rotary=True)),
        Family("NanoChat", "NanoChatForCausalLM", SQUARE, Layout(**QK, qk_norm_after_rotary=True)),
        Family("BitNet", "BitNetForCausalLM", SQUARE, Layout(mixed="self_attn.attn_sub_norm")),
        Family("Jais-2", "Jais2ForCausalLM", LLAMA),
        Family("ModernBERT decoder", "ModernBertDecoderForCausalLM", {**OLD, "num_hidden_layers": 3, "local_attention": 6, "global_attn_every_n_layers": 2, "cls_token_id": 0, "sep_token_id": 0},
            Layout(attn="attn", out="attn.Wo", **separate("attn"), norm_in="attn_norm", final_norm="model.final_norm", head=("decoder",), undefined=frozenset({"written", "attribution", "copying"}))),
    ]


def _experts_and_others() -> list[Family]:
    """Mixtures of experts, gated heads, attention sinks, layers without attention."""
    return [
        Family("Mixtral", "MixtralForCausalLM", {**LLAMA, **EXPERTS, "sliding_window": None}),
        Family("Qwen2-MoE", "Qwen2MoeForCausalLM", {**SQUARE, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 40, "num_experts": 4, "num_experts_per_tok": 2}),
        Family("Qwen3-MoE", "Qwen3MoeForCausalLM", {**LLAMA, "moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": True}, Layout(**QK)),
        Family("OLMoE", "OlmoeForCausalLM", {**SQUARE, "num_experts": 4, "num_experts_per_tok": 2}, Layout(**QK, qk_norm="flat")),
        Family("FlexOlmo", "FlexOlmoForCausalLM", {**SQUARE, "num_experts": 4, "num_experts_per_tok": 2}, Layout(**POST_ONLY, **QK, qk_norm="flat")),
        Family("GLM-4-MoE", "Glm4MoeForCausalLM", {**LLAMA, "attention_bias": True, "use_qk_norm": True, "moe_intermediate_size": 24, "n_routed_experts": 4, "num_experts_per_tok": 2, "first_k_dense_replace": 1}, Layout(**QK)),
        Family("Granite-MoE", "GraniteMoeForCausalLM", {**SQUARE, **GRANITE, **EXPERTS}, replace(_granite, mlp_out="block_sparse_moe")),
        Family("GPT-OSS", "GptOssForCausalLM", {**LLAMA, **EXPERTS, "sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}, Layout(rotary="half_width")),
        Family("Ernie 4.5 MoE", "Ernie4_5_MoeForCausalLM", {**SQUARE, "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 24, "moe_layer_start_index": 1}),
        Family("MiniMax-M2", "MiniMaxM2ForCausalLM", {**LLAMA, **EXPERTS}, Layout(**QK, qk_norm="flat")),
        Family("Llama-4", "Llama4ForCausalLM", {**LLAMA, "intermediate_size_mlp": 56, "num_local_experts": 2, "interleave_moe_layer_step": 2}, Layout(mlp_out="feed_forward", rotary="complex", rotates=lambda attn: bool(attn.use_rope))),
        Family("AFMoE", "AfmoeForCausalLM", {**LLAMA, "mup_enabled": True, "num_dense_layers": 1, "moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2},
            replace(_gated, norm_out="post_attention_layernorm", norm_mlp_out="post_mlp_layernorm", rotates=lambda attn: attn.is_local_attention)),
        Family("Laguna", "LagunaForCausalLM", LLAMA, _gated),
    ]


FAMILIES = {family.name: family for family in (*_older(), *_llama_like(), *_experts_and_others())}


def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Weights under which attention is far from uniform, and norms and biases that are not trivial."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim >= 2:
            parameter.data = noise * (1.5 / max(parameter.shape[-2:]) ** 0.5)
        else:  # norm weights around what they are, biases, sinks
            parameter.data = parameter.data + 0.3 * noise


def build(family: Family, folder: Path) -> Path:
    """A random model of the family saved as ``folder``, with the test tokenizer."""
    kind = getattr(transformers, family.model)
    settings = {**COMMON, "vocab_size": len(tokenizer()), **family.config}
    torch.manual_seed(0)
    model = kind(kind.config_class(**settings))
    randomise(model)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def reference(folder: Path) -> torch.nn.Module:
    """The plain Hugging Face model that the oracle works on."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval().requires_grad_(False)


# -- one family loaded twice -----------------------------------------------------------------------------------


class Subject:
    """One family: the product's model and the oracle, and what both are asked about."""

    def __init__(self, family: Family, folder: Path):
        self.family = family
        build(family, folder)
        self.oracle = Oracle(reference(folder), family.layout)
        self.model = load_model(str(folder))
        self.pair = self._pair()
        self.receiver = (self.oracle.n_layers - 1, 2)  # of the second group, where there are two

    def _pair(self) -> PromptPair:
        """``[BOS] x x x A B y y A`` and its twin with another first A, scored where the two differ most."""
        ids = np.random.default_rng(1).permutation(np.arange(1, len(tokenizer())))
        clean = [0, *ids[:7].tolist(), int(ids[3])]
        corrupted = [*clean[:4], int(ids[8]), *clean[5:]]
        change = self.oracle.run(clean).logits[-1] - self.oracle.run(corrupted).logits[-1]
        return PromptPair(tuple(clean), tuple(corrupted), int(change.argmax()), int(change.argmin()))

    def difference(self, logits: torch.Tensor) -> np.ndarray:
        """Answer minus distractor, from logits ``[..., vocab]``."""
        return (logits[..., self.pair.answer] - logits[..., self.pair.distractor]).double().numpy()

    @cached_property
    def parts(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What adds up to the clean prompt's logits, as of :meth:`Oracle.written`."""
        return self.oracle.written(self.pair.clean)


Comparison = tuple[str, Any, Any, float]  # what, the package's numbers, the oracle's, what rounding may cost
LOGITS, FIVE_DIGITS = 2e-6, 1.1e-5


def check_scores(it: Subject) -> Iterator[Comparison]:
    """Attention scores and the loss by position on two repeated prompts."""
    settings = {"n_prompts": 2, "length": 5, "seed": 1}
    found = scan(it.model, **settings)
    batch = repeated_batch(it.model, **settings)
    prompts = [batch.prompt(index).tolist() for index in range(2)]
    runs = [it.oracle.run(prompt) for prompt in prompts]
    for name, measured in found.scores.items():
        expected = [
            [[scores(head.numpy(), prompt)[name] for head in layer] for layer in run.patterns]
            for run, prompt in zip(runs, prompts, strict=True)
        ]
        yield name, measured.mean, np.mean(expected, 0), FIVE_DIGITS
    shortest = min(batch.periods)
    nll = [losses(run.logits, prompt) for run, prompt in zip(runs, prompts, strict=True)]
    yield "loss, first copy", found.loss.first, np.mean([row[:shortest] for row in nll], 0), FIVE_DIGITS
    second = [row[period : period + shortest] for row, period in zip(nll, batch.periods, strict=True)]
    yield "loss, second copy", found.loss.second, np.mean(second, 0), FIVE_DIGITS


def check_attend(it: Subject) -> Iterator[Comparison]:
    """One prompt: where every head looks, and its output."""
    seen = attend(it.model, it.pair.clean)
    run = it.oracle.run(it.pair.clean)
    yield "patterns", seen.patterns, torch.stack(run.patterns), LOGITS
    z = torch.stack([it.oracle.z(run, layer) for layer in range(it.oracle.n_layers)])
    yield "z", seen.z, z, LOGITS


def check_patching(component: str) -> Callable[[Subject], Iterator[Comparison]]:
    def check(it: Subject) -> Iterator[Comparison]:
        """Denoising one head (or group) at a time."""
        effect = patch_heads(it.model, [it.pair], component=component).effects["logit_difference"]
        expected = it.oracle.patched(it.pair.corrupted, it.pair.clean, component)
        plain = it.difference(it.oracle.run(it.pair.corrupted).logits[-1])
        yield "change", np.array(effect.patched[0]) - plain, it.difference(expected) - plain, LOGITS

    return check


def check_estimate(it: Subject) -> Iterator[Comparison]:
    """Attribution patching: gradient times difference."""
    for component in ("z", "q", "k", "v"):
        effect = attribution_patching(it.model, [it.pair], component=component).effects["logit_difference"]
        plain = it.difference(it.oracle.run(it.pair.corrupted).logits[-1])
        expected = it.oracle.first_order(
            it.pair.corrupted,
            it.pair.clean,
            component,
            lambda logits: logits[it.pair.answer] - logits[it.pair.distractor],
        )
        yield component, np.array(effect.patched[0]) - plain, expected, LOGITS


def check_ablation(it: Subject) -> Iterator[Comparison]:
    """Every head on its own set to zero, and to its mean over the reference set."""
    settings = {"n_prompts": 1, "length": 5, "seed": 0}
    batch = repeated_batch(it.model, **settings)
    prompt, period = batch.prompt(0).tolist(), batch.periods[0]
    mean = it.oracle.mean_z(_reference_tokens(it, max(len(prompt), len(it.pair.clean))))
    for kind, values in (("zero", None), ("mean", mean)):
        found = ablate(it.model, kind=kind, pairs=[it.pair], **settings)
        answers = it.difference(it.oracle.ablated(it.pair.clean, values)[..., -1, :]).ravel()
        nll = [losses(logits, prompt) for logits in it.oracle.ablated(prompt, values).flatten(0, 1)]
        expected = {
            "logit_difference": answers,
            "first_copy_loss": [row[1:period].mean() for row in nll],
            "second_copy_loss": [row[period + 1 :].mean() for row in nll],
        }
        for name, numbers in expected.items():
            yield f"{kind}, {name}", [one.measures[name].edited for one in found.sets], numbers, LOGITS


def _reference_tokens(it: Subject, length: int) -> torch.Tensor:
    """The prompts of the ablation's reference set, as the model was given them, ``[prompt, pos]``."""
    given: list[torch.Tensor] = []
    handle = it.model.embed.register_forward_pre_hook(lambda module, args: given.append(args[0].clone()))
    reference_set(it.model, length, seed=0)
    handle.remove()
    return given[0]


def check_written(it: Subject) -> Iterator[Comparison]:
    """What each head adds to the logits at every position, above the mean over the vocabulary."""
    heads = it.parts[0]
    seen = attend(it.model, it.pair.clean)
    following = [*it.pair.clean[1:], it.pair.clean[5]]
    for layer in range(it.oracle.n_layers):
        got, best, expected, promoted = [], [], [], []
        for head in range(it.oracle.n_heads):
            found = written(it.model, seen, layer, head)
            logits = heads[layer, head] - heads[layer, head].mean(-1, keepdim=True)
            got.append([value for value, _ in found.following])
            best.append([[value for _, value in row] for row in (*found.promoted, *found.suppressed)])
            expected.append([float(row[token]) for row, token in zip(logits, following, strict=True)])
            promoted.append(torch.cat([logits.topk(5).values, logits.topk(5, largest=False).values]).tolist())
        yield f"layer {layer}, following token", got, expected, FIVE_DIGITS
        yield f"layer {layer}, strongest tokens", best, promoted, FIVE_DIGITS


def check_attribution(it: Subject) -> Iterator[Comparison]:
    """Direct logit attribution at the scored position, and what is left of the logits before a cap."""
    heads, rest, _ = it.parts
    found = direct_logit_attribution(it.model, [it.pair])
    yield "heads", found.mean, it.difference(heads[:, :, -1]), LOGITS
    yield "rest", found.rest, it.difference(rest[-1]), 10 * LOGITS


def check_copying(it: Subject) -> Iterator[Comparison]:
    got, expected = [], []
    for head in ((0, 0), (0, 3), it.receiver):
        found = copying(it.model, head)
        got.append([found.eigenvalue, found.top1])
        expected.append(it.oracle.copying(head))
    yield "eigenvalue and top 1", got, expected, LOGITS


def check_composition(it: Subject) -> Iterator[Comparison]:
    found = composition(it.model, it.receiver).measured
    for name, expected in it.oracle.composition(it.receiver).items():
        yield name, found[name], expected, LOGITS


def check_paths(mlps: str) -> Callable[[Subject], Iterator[Comparison]]:
    def check(it: Subject) -> Iterator[Comparison]:
        """Every earlier head into the queries, keys and values of one head, denoising."""
        settings = {"mlps": mlps} if "mlps" in inspect.signature(path_patch).parameters else {}
        if mlps == "recomputed" and not settings:
            raise InputError("not offered")
        pair, (layer, head) = it.pair, it.receiver
        found = path_patch(it.model, it.receiver, [pair], **settings)
        clean, corrupted = it.oracle.run(pair.clean), it.oracle.run(pair.corrupted)
        target = [at + 1 for at, token in enumerate(pair.clean[:-2]) if token == pair.clean[-1]]
        start = it.difference(corrupted.logits[-1])
        gap = it.difference(clean.logits[-1]) - start
        looks = float(corrupted.patterns[layer][head, -1, target].sum())
        expected = it.oracle.path_patched(pair.corrupted, pair.clean, it.receiver, mlps)
        for name, (logits, attention) in expected.items():
            answer = (it.difference(logits) - start) / gap
            yield f"{name}, answer", found.effects[name]["answer"].mean, answer, FIVE_DIGITS
            there = attention[..., target].sum(-1) - looks
            yield f"{name}, attention", found.effects[name]["attention"].mean, there, FIVE_DIGITS

    return check


QUANTITIES: dict[str, Callable[[Subject], Iterator[Comparison]]] = {
    "scores": check_scores,
    "attend": check_attend,
    "z": check_patching("z"),
    "pattern": check_patching("pattern"),
    "q": check_patching("q"),
    "k": check_patching("k"),
    "v": check_patching("v"),
    "estimate": check_estimate,
    "ablation": check_ablation,
    "written": check_written,
    "attribution": check_attribution,
    "copying": check_copying,
    "composition": check_composition,
    "paths": check_paths("frozen"),
    "paths, MLPs recomputed": check_paths("recomputed"),
}


@dataclass(frozen=True)
class Outcome:
    """What came of one quantity: equal to the oracle, refused with a sentence, or anything else (``wrong``)."""

    kind: Literal["equal", "refused", "wrong"]
    detail: str = ""


def outcome(it: Subject, quantity: str) -> Outcome:
    undefined = quantity in it.family.layout.undefined
    try:
        worst = max((_apart(*comparison) for comparison in QUANTITIES[quantity](it)), key=lambda item: item[0])
    except InputError as error:
        return Outcome("refused", str(error))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{Path(where.filename).name}:{where.lineno}"
        return Outcome("wrong", f"{type(error).__name__} at {at}: {str(error).splitlines()[0][:200]}")
    if undefined:
        return Outcome("wrong", "shown, though it has no definition here")
    return Outcome("equal", worst[1]) if worst[0] <= 1 else Outcome("wrong", worst[1])


def _apart(what: str, got: Any, expected: Any, rounding: float) -> tuple[float, str]:
    """How far two sets of numbers are apart in units of what is allowed, and in words."""
    got, expected = (np.asarray(values, dtype=float) for values in (got, expected))
    if got.shape != expected.shape:
        return np.inf, f"{what}: shape {got.shape}, not {expected.shape}"
    largest = np.abs(expected).max()
    apart = np.abs(got - expected).max()
    if np.isnan(apart):
        return np.inf, f"{what}: not a number"
    return apart / (TOLERANCE * largest + rounding), f"{what}: off by {apart:.2g}, largest {largest:.2g}"


TOLERANCE = 1e-4  # of the largest value of a quantity


def table(outcomes: dict[str, dict[str, Outcome]]) -> str:
    """Families down, quantities across; the sentences of refusals and what is wrong, numbered, below."""
    notes: dict[str, int] = {}
    lines = ["| family | " + " | ".join(QUANTITIES) + " |", "|---" * (len(QUANTITIES) + 1) + "|"]
    for name, row in outcomes.items():
        cells = []
        for found in row.values():
            if found.kind == "equal":
                cells.append("=")
            else:
                number = notes.setdefault(found.detail, len(notes) + 1)
                cells.append(f"{'refused' if found.kind == 'refused' else '**WRONG**'} {number}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"{number}. {text}" for text, number in notes.items())])


def main(names: list[str]) -> None:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    outcomes: dict[str, dict[str, Outcome]] = {}
    for name in names or FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                it = Subject(FAMILIES[name], Path(folder) / "model")
            except Exception as error:
                at = traceback.extract_tb(error.__traceback__)[-1]
                told = f"does not load: {type(error).__name__} at {Path(at.filename).name}:{at.lineno}: {error}"
                outcomes[name] = dict.fromkeys(QUANTITIES, Outcome("wrong", told))
                continue
            outcomes[name] = {quantity: outcome(it, quantity) for quantity in QUANTITIES}
        print(name, {k: v.kind for k, v in outcomes[name].items() if v.kind != "equal"}, file=sys.stderr, flush=True)
    print(table(outcomes))


if __name__ == "__main__":
    main(sys.argv[1:])
