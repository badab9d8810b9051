"""One tiny random model of every family that TransformerLens reads, and where its parts are.

Widths differ wherever the configuration allows it (heads x head width is not the model's width), and no multiplier,
cap or norm weight has the value at which it would do nothing: defaults hide errors. Nothing of the ``induction``
package is used here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from models import tokenizer
from oracle import Layout

N_CTX = 256
EVERYTHING = (
    "logits",
    "scores",
    "attend",
    "z",
    "pattern",
    "q",
    "k",
    "v",
    "estimate",
    "ablation",
    "written",
    "attribution",
    "copying",
    "composition",
    "paths",
    "paths, MLPs recomputed",
)
MAPS = ("copying", "composition")  # read off the weights
DIRECT = ("written", "attribution")  # from heads straight to the logits
PATHS = ("paths", "paths, MLPs recomputed")


@dataclass(frozen=True)
class Family:
    """One tiny model.

    Attributes:
        model: its class, by name.
        config: settings of its configuration.
        layout: where the oracle finds its parts; None where it has no attention for the oracle to compute.
    """

    name: str
    model: str
    config: dict[str, Any]
    layout: Layout | None = field(default_factory=Layout)


COMMON = {
    "vocab_size": 0,  # of the test tokenizer, filled in by `build`
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": None,  # the embedding of a padding token may be zeroed on loading
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
OPT = {
    "hidden_size": 32,
    "ffn_dim": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": N_CTX,
}
SLIDING = {"num_hidden_layers": 3, "sliding_window": 6}
ALTERNATING = SLIDING | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
CAPS = {"query_pre_attn_scalar": 7, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 4.0}
GRANITE = {
    "embedding_multiplier": 3.0,
    "logits_scaling": 2.5,
    "residual_multiplier": 0.4,
    "attention_multiplier": 0.5,
}
LATENT = {
    "kv_lora_rank": 16,
    "q_lora_rank": 20,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
}

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
    layers="transformer.h",
    attn="attn",
    out="attn.c_proj",
    **fused("attn.c_attn"),
    split="thirds",
    norm_in="ln_1",
    final_norm="transformer.ln_f",
    rotary=None,
    positions=row("transformer.wpe"),
)
_neox = Layout(
    layers="gpt_neox.layers",
    attn="attention",
    out="attention.dense",
    **fused("attention.query_key_value"),
    split="grouped",
    final_norm="gpt_neox.final_layer_norm",
)
_gptj = Layout(
    layers="transformer.h",
    attn="attn",
    out="attn.out_proj",
    **separate("attn"),
    norm_in="ln_1",
    final_norm="transformer.ln_f",
    rotary="gptj",
)
_opt = Layout(
    layers="model.decoder.layers",
    out="self_attn.out_proj",
    norm_in="self_attn_layer_norm",
    mlp_out="fc2",
    final_norm="model.decoder.final_layer_norm",
    rotary=None,
    positions=row("model.decoder.embed_positions", 2),
)
_bloom = Layout(
    layers="transformer.h",
    attn="self_attention",
    out="self_attention.dense",
    **fused("self_attention.query_key_value"),
    split="grouped",
    mlp_out="mlp.dense_4h_to_h",
    final_norm="transformer.ln_f",
    rotary=None,
)
_falcon = replace(_bloom, mlp_out="mlp", rotary="halves")
_phi = Layout(out="self_attn.dense", final_norm="model.final_layernorm")
_granite = Layout(
    residual_multiplier=lambda config: config.residual_multiplier,
    logit_scale=lambda config: 1 / config.logits_scaling,
)
_cohere = Layout(logit_scale=lambda config: config.logit_scale)
_gated = Layout(**QK)

# Families before Llama: fused projections, learned positions or distances, layer norms.
NEO = {
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "intermediate_size": 56,
    "max_position_embeddings": N_CTX,
}
FALCON = {"multi_query": True, "parallel_attn": True, "new_decoder_architecture": False}
# fmt: off
OLDER = [
    Family("GPT-2", "GPT2LMHeadModel", {**GPT, "n_inner": 56}, _gpt2),
    Family("GPT-2, scaled by layer", "GPT2LMHeadModel", {**GPT, "scale_attn_by_inverse_layer_idx": True},
        _gpt2),
    Family("OpenAI-GPT", "OpenAIGPTLMHeadModel", GPT, replace(_gpt2, norm_in=None, final_norm=None,
        residual_norms=("ln_1", "ln_2"), positions=row("transformer.positions_embed"))),
    Family("GPTBigCode", "GPTBigCodeForCausalLM", {**GPT, "multi_query": True}, _gpt2),
    Family("GPT-Neo", "GPTNeoForCausalLM", {**NEO, "attention_types": [[["global", "local"], 1]],
        "window_size": 6}, replace(_gptj, attn="attn.attention", out="attn.attention.out_proj",
        **separate("attn.attention"), rotary=None, positions=row("transformer.wpe"))),
    Family("GPT-NeoX", "GPTNeoXForCausalLM", OLD, _neox),
    Family("GPT-NeoX, sequential", "GPTNeoXForCausalLM", {**OLD, "use_parallel_residual": False}, _neox),
    Family("GPT-J", "GPTJForCausalLM", {**GPT, "rotary_dim": 4}, _gptj),
    Family("CodeGen", "CodeGenForCausalLM", {**GPT, "rotary_dim": 4}, replace(_gptj, **fused("attn.qkv_proj"),
        split="codegen")),
    Family("OPT", "OPTForCausalLM", {**OPT, "word_embed_proj_dim": 32}, _opt),
    Family("OPT, projected", "OPTForCausalLM", {**OPT, "word_embed_proj_dim": 24}, replace(_opt,
        head=("model.decoder.project_out", "lm_head"))),
    Family("XGLM", "XGLMForCausalLM", {"d_model": 32, "ffn_dim": 56, "num_layers": 2, "attention_heads": 4,
        "max_position_embeddings": N_CTX}, replace(_opt, layers="model.layers", final_norm="model.layer_norm",
        positions=lambda model: model.model.embed_positions.weights[2])),
    Family("BLOOM", "BloomForCausalLM", {"hidden_size": 32, "n_layer": 2, "n_head": 4}, _bloom),
    Family("MPT", "MptForCausalLM", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": N_CTX,
        "expansion_ratio": 2}, Layout(layers="transformer.blocks", attn="attn", out="attn.out_proj",
        **fused("attn.Wqkv"), split="thirds", norm_in="norm_1", mlp_out="ffn.down_proj",
        final_norm="transformer.norm_f", rotary=None)),
    Family("Falcon, multi-query", "FalconForCausalLM", {**OLD, **FALCON}, replace(_falcon, split="thirds")),
    Family("Falcon, multi-head", "FalconForCausalLM", {**OLD, **FALCON, "multi_query": False, "bias": True},
        _falcon),
    Family("Falcon, ALiBi", "FalconForCausalLM", {**OLD, **FALCON, "multi_query": False,
        "parallel_attn": False, "alibi": True, "bias": True}, replace(_falcon, rotary=None)),
]
# fmt: on

# Families that differ from Llama in a window, a bias, a norm on queries and keys, or a norm's place.
# fmt: off
LLAMA_LIKE = [
    Family("Llama", "LlamaForCausalLM", {**LLAMA, "attention_bias": True, "mlp_bias": True}),
    Family("Llama, scaled rotary", "LlamaForCausalLM", {**LLAMA, "rope_parameters": {"rope_type": "llama3",
        "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}}),
    Family("Mistral", "MistralForCausalLM", {**LLAMA, "sliding_window": None}),
    Family("Mistral, sliding window", "MistralForCausalLM", {**LLAMA, "sliding_window": 6}),
    Family("Ministral-3", "Ministral3ForCausalLM", LLAMA),
    Family("Qwen2", "Qwen2ForCausalLM", {**SQUARE, "use_sliding_window": False}),
    Family("Qwen2, sliding window", "Qwen2ForCausalLM", {**SQUARE, **SLIDING, "use_sliding_window": True,
        "max_window_layers": 1}),
    Family("Qwen3", "Qwen3ForCausalLM", {**LLAMA, "attention_bias": True}, Layout(**QK)),
    Family("Gemma", "GemmaForCausalLM", LLAMA),
    Family("Gemma-2", "Gemma2ForCausalLM", {**LLAMA, **CAPS, "sliding_window": 6}, Layout(**PRE_AND_POST)),
    Family("Gemma-3", "Gemma3ForCausalLM", {**LLAMA, **ALTERNATING, "query_pre_attn_scalar": 7},
        Layout(**PRE_AND_POST, **QK)),
    Family("VaultGemma", "VaultGemmaForCausalLM", {**LLAMA, **CAPS, "sliding_window": 6}),
    Family("Phi", "PhiForCausalLM", {**SQUARE, "partial_rotary_factor": 0.5}, _phi),
    Family("Phi-3", "Phi3ForCausalLM", {**SQUARE, "sliding_window": None},
        Layout(**fused("self_attn.qkv_proj"), split="thirds")),
    Family("Phi-3, partial rotary", "Phi3ForCausalLM", {**SQUARE, "sliding_window": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}},
        Layout(**fused("self_attn.qkv_proj"), split="thirds")),
    Family("OLMo", "OlmoForCausalLM", SQUARE),
    Family("OLMo, clipped", "OlmoForCausalLM", {**SQUARE, "clip_qkv": 0.8}),
    Family("OLMo-2", "Olmo2ForCausalLM", SQUARE, Layout(**POST_ONLY, **QK, qk_norm="flat")),
    Family("OLMo-3", "Olmo3ForCausalLM", {**SQUARE, **ALTERNATING}, Layout(**POST_ONLY, **QK,
        qk_norm="flat")),
    Family("StableLM", "StableLmForCausalLM", {**SQUARE, "use_qkv_bias": True, "partial_rotary_factor": 0.5}),
    Family("StableLM, parallel, query norms", "StableLmForCausalLM", {**SQUARE, "use_parallel_residual": True,
        "qk_layernorm": True, "partial_rotary_factor": 0.5}, Layout(**QK_LAYERNORM, qk_norm="list")),
    Family("Starcoder2", "Starcoder2ForCausalLM", {**SQUARE, "sliding_window": None}),
    Family("SmolLM3", "SmolLM3ForCausalLM", {**SQUARE, "num_hidden_layers": 3, "no_rope_layers": [1, 0, 1],
        "use_sliding_window": False}, Layout(rotates=lambda attn: bool(attn.use_rope))),
    Family("SmolLM3, last layer without rotary", "SmolLM3ForCausalLM", {**SQUARE, "no_rope_layers": [1, 0],
        "use_sliding_window": False}, Layout(rotates=lambda attn: bool(attn.use_rope))),
    Family("GLM", "GlmForCausalLM", {**LLAMA, "attention_bias": True}),
    Family("GLM-4", "Glm4ForCausalLM", {**LLAMA, "attention_bias": True},
        Layout(norm_out="post_self_attn_layernorm", norm_mlp_out="post_mlp_layernorm")),
    Family("Granite", "GraniteForCausalLM", {**SQUARE, **GRANITE, "attention_bias": True}, _granite),
    Family("Cohere", "CohereForCausalLM", {**SQUARE, "logit_scale": 0.4, "attention_bias": True}, _cohere),
    Family("Cohere, query norms", "CohereForCausalLM", {**SQUARE, "logit_scale": 0.4, "use_qk_norm": True},
        replace(_cohere, **QK, qk_norm="by_head")),
    Family("Cohere2", "Cohere2ForCausalLM", {**LLAMA, **ALTERNATING, "logit_scale": 0.4}, replace(_cohere,
        rotates=lambda attn: attn.sliding_window is not None)),
    Family("Cohere2, last layer without rotary", "Cohere2ForCausalLM", {**LLAMA, **SLIDING,
        "num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"], "logit_scale": 0.4},
        replace(_cohere, rotates=lambda attn: attn.sliding_window is not None)),
    Family("EXAONE-4", "Exaone4ForCausalLM", {**LLAMA, **ALTERNATING, "sliding_window_pattern": 2},
        Layout(**POST_ONLY, **QK, rotates=lambda attn: attn.sliding_window is None or attn.is_sliding)),
    Family("Nemotron", "NemotronForCausalLM", {**LLAMA, "attention_bias": True, "mlp_bias": True,
        "partial_rotary_factor": 0.5}),
    Family("Ernie 4.5", "Ernie4_5ForCausalLM", {**LLAMA, "use_bias": True}),
    Family("Seed-OSS", "SeedOssForCausalLM", {**LLAMA, "attention_out_bias": True}),
    Family("Arcee", "ArceeForCausalLM", {**LLAMA, "attention_bias": True, "mlp_bias": True}),
    Family("Apertus", "ApertusForCausalLM", {**SQUARE, "attention_bias": True},
        Layout(norm_in="attention_layernorm", **QK)),
    Family("HunYuan", "HunYuanDenseV1ForCausalLM", LLAMA, Layout(q_norm="self_attn.query_layernorm",
        k_norm="self_attn.key_layernorm", qk_norm_after_rotary=True)),
    Family("NanoChat", "NanoChatForCausalLM", SQUARE, Layout(**QK, qk_norm_after_rotary=True)),
    Family("BitNet", "BitNetForCausalLM", SQUARE, Layout(mixed="self_attn.attn_sub_norm")),
    Family("Jais-2", "Jais2ForCausalLM", LLAMA),
    Family("ModernBERT decoder", "ModernBertDecoderForCausalLM", {**OLD, "num_hidden_layers": 3,
        "local_attention": 6, "global_attn_every_n_layers": 2, "cls_token_id": 0, "pad_token_id": 1,
        "sep_token_id": 0}, Layout(attn="attn", out="attn.Wo", **separate("attn"), norm_in="attn_norm",
        final_norm="model.final_norm", head=("decoder",))),
]
# fmt: on

# Mixtures of experts, gated heads, attention sinks, layers without attention.
# fmt: off
EXPERTS_AND_OTHERS = [
    Family("Mixtral", "MixtralForCausalLM", {**LLAMA, **EXPERTS, "sliding_window": None}),
    Family("Qwen2-MoE", "Qwen2MoeForCausalLM", {**SQUARE, "moe_intermediate_size": 24,
        "shared_expert_intermediate_size": 40, "num_experts": 4, "num_experts_per_tok": 2}),
    Family("Qwen3-MoE", "Qwen3MoeForCausalLM", {**LLAMA, "moe_intermediate_size": 24, "num_experts": 4,
        "num_experts_per_tok": 2, "norm_topk_prob": True}, Layout(**QK)),
    Family("OLMoE", "OlmoeForCausalLM", {**SQUARE, "num_experts": 4, "num_experts_per_tok": 2}, Layout(**QK,
        qk_norm="flat")),
    Family("FlexOlmo", "FlexOlmoForCausalLM", {**SQUARE, "num_experts": 4, "num_experts_per_tok": 2},
        Layout(**POST_ONLY, **QK, qk_norm="flat")),
    Family("GLM-4-MoE", "Glm4MoeForCausalLM", {**LLAMA, "attention_bias": True, "use_qk_norm": True,
        "moe_intermediate_size": 24, "n_routed_experts": 4, "num_experts_per_tok": 2,
        "first_k_dense_replace": 1}, Layout(**QK)),
    Family("Granite-MoE", "GraniteMoeForCausalLM", {**SQUARE, **GRANITE, **EXPERTS}, replace(_granite,
        mlp_out="block_sparse_moe")),
    Family("GPT-OSS", "GptOssForCausalLM", {**LLAMA, **EXPERTS, "sliding_window": 6,
        "layer_types": ["sliding_attention", "full_attention"]}, Layout(rotary="half_width")),
    Family("Ernie 4.5 MoE", "Ernie4_5_MoeForCausalLM", {**SQUARE, "moe_num_experts": 4, "moe_k": 2,
        "moe_intermediate_size": 24, "moe_layer_start_index": 1}),
    Family("MiniMax-M2", "MiniMaxM2ForCausalLM", {**LLAMA, **EXPERTS}, Layout(**QK, qk_norm="flat")),
    Family("Llama-4", "Llama4ForCausalLM", {**LLAMA, "intermediate_size_mlp": 56, "num_local_experts": 2,
        "interleave_moe_layer_step": 2}, Layout(mlp_out="feed_forward", rotary="complex",
        rotates=lambda attn: bool(attn.use_rope))),
    Family("AFMoE", "AfmoeForCausalLM", {**LLAMA, "mup_enabled": True, "num_dense_layers": 1,
        "moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2}, replace(_gated,
        norm_out="post_attention_layernorm", norm_mlp_out="post_mlp_layernorm",
        rotates=lambda attn: attn.is_local_attention)),
    Family("Laguna", "LagunaForCausalLM", LLAMA, _gated),
]
# fmt: on

# Families that this package reads in part or not at all.
EXPERT_LAYERS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
NEW_FALCON = {**OLD, "new_decoder_architecture": True, "num_kv_heads": 2}
LINEAR = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_latent = Layout(
    out="self_attn.o_proj",
    q="self_attn.q_b_proj",
    k="self_attn.kv_b_proj",
    v="self_attn.kv_b_proj",
    split="mla",
)
_gemma4 = Layout(**PRE_AND_POST, **QK)
# fmt: off
APART = [
    Family("DeepSeek-V2", "DeepseekV2ForCausalLM", {**SQUARE, **LATENT, **EXPERT_LAYERS,
        "num_key_value_heads": 4, "first_k_dense_replace": 2}, _latent),
    Family("DeepSeek-V3", "DeepseekV3ForCausalLM", {**SQUARE, **LATENT, **EXPERT_LAYERS,
        "num_key_value_heads": 4, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1}, _latent),
    Family("Youtu", "YoutuForCausalLM", {**SQUARE, **LATENT, "num_key_value_heads": 4}, _latent),
    Family("Gemma-4", "Gemma4ForCausalLM", {**LLAMA, "num_hidden_layers": 3, "global_head_dim": 20,
        "num_kv_shared_layers": 0, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 512,
        **ALTERNATING}, _gemma4),
    Family("Gemma-4, shared keys", "Gemma4ForCausalLM", {**LLAMA, "num_hidden_layers": 3,
        "global_head_dim": 12, "num_kv_shared_layers": 1, "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 512, "sliding_window": 6, "layer_types": ["sliding_attention",
        "full_attention", "full_attention"]}, _gemma4),
    Family("Granite-hybrid, attention only", "GraniteMoeHybridForCausalLM", {**SQUARE, **GRANITE,
        "num_local_experts": 0, "layer_types": ["attention", "attention"], "position_embedding_type": "rope",
        "shared_intermediate_size": 56, "mamba_n_heads": 4, "mamba_d_head": 24}, replace(_granite,
        mlp_out="shared_mlp")),
    Family("Falcon-H1", "FalconH1ForCausalLM", {**SQUARE, "mamba_n_heads": 4, "mamba_d_head": 12,
        "mamba_d_ssm": 48, "mamba_d_state": 8, "mamba_n_groups": 1, "key_multiplier": 2.0,
        "attention_out_multiplier": 2.5, "ssm_out_multiplier": 0.5, "embedding_multiplier": 1.5,
        "lm_head_multiplier": 0.7}, Layout(final_norm="model.final_layernorm", mlp_out="feed_forward")),
    Family("GPTBigCode, multi-head", "GPTBigCodeForCausalLM", {**GPT, "multi_query": False}, None),
    Family("OPT, post-norm", "OPTForCausalLM", {**OPT, "word_embed_proj_dim": 32,
        "do_layer_norm_before": False}, None),
    Family("Phi, query norms", "PhiForCausalLM", {**SQUARE, "qk_layernorm": True}, None),
    Family("Phi-MoE", "PhimoeForCausalLM", {**SQUARE, **EXPERTS}, None),
    Family("Falcon, new decoder", "FalconForCausalLM", {**NEW_FALCON, "multi_query": True}, None),
    Family("Falcon, new decoder, not multi-query", "FalconForCausalLM", {**NEW_FALCON, "multi_query": False},
        None),
    Family("Falcon, new decoder, one norm", "FalconForCausalLM", {**NEW_FALCON, "multi_query": False,
        "num_ln_in_parallel_attn": 1}, None),
    Family("JetMoE", "JetMoeForCausalLM", {"hidden_size": 48, "num_hidden_layers": 2,
        "num_key_value_heads": 2, "kv_channels": 12, "intermediate_size": 56, **EXPERTS}, None),
    Family("DeepSeek-V4", "DeepseekV4ForCausalLM", LLAMA, None),
    Family("HRM-text", "HrmTextForCausalLM", SQUARE, None),
    Family("LFM2", "Lfm2ForCausalLM", {**SQUARE, "num_hidden_layers": 3, "layer_types": ["conv",
        "full_attention", "full_attention"]}, None),
    Family("Qwen3-Next", "Qwen3NextForCausalLM", {**LLAMA, **LINEAR, "layer_types": ["linear_attention",
        "full_attention"], "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
        "shared_expert_intermediate_size": 24}, None),
    Family("Jamba", "JambaForCausalLM", {**SQUARE, "attn_layer_period": 2, "attn_layer_offset": 1,
        "expert_layer_period": 2, "expert_layer_offset": 1, "num_experts": 2, "use_mamba_kernels": False,
        "mamba_d_state": 4}, None),
    Family("RecurrentGemma", "RecurrentGemmaForCausalLM", {**LLAMA, "num_hidden_layers": 3, "lru_width": 40,
        "attention_window_size": 16}, None),
    Family("Mamba", "MambaForCausalLM", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}, None),
    Family("RWKV", "RwkvForCausalLM", {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32,
        "context_length": 64}, None),
]
# fmt: on

FAMILIES = {family.name: family for family in (*OLDER, *LLAMA_LIKE, *EXPERTS_AND_OTHERS, *APART)}

# -- what must be refused, and why -----------------------------------------------------------------------------

CLAMPED = "queries, keys and values are clamped: weights alone do not tell what a head does"
NORMED_Z = "a norm over all heads stands between the heads' outputs and the output projection"
GATED = "a gate made of the head's own input multiplies what it read before it is written"
AFTER_ROTARY = (
    "queries and keys are normed behind the rotary embedding: their product depends on both positions"
)
POST_NORM = "every norm sits on the residual stream itself: each later layer rescales what a head wrote"
WIDER_HEAD = "a projection stands between the final norm and the unembedding"
TWO_MLPS = "TransformerLens does not show what the MLP adds to the residual stream"
NONLINEAR_HEAD = "a nonlinear layer stands between the final norm and the unembedding"
LATENT_HEADS = "queries, keys and values are low-rank products whose hook points are not per head"
READ_ONLY = "hook points show the pattern and do not take it back, and z is not pattern times values"
OTHER_WRITER = "something beside attention and MLP writes to the residual stream"
NO_KEYS = "the upper layers have no keys and values of their own"
UNREAD = "TransformerLens does not read this variant"
NO_ATTENTION = "layers without attention, or without attention heads of their own"


def _refuse(why: str, *quantities: str) -> dict[str, str]:
    return dict.fromkeys(quantities or EVERYTHING, why)


# Family -> quantity -> why. "logits" refused: the model may not be loaded at all.
REFUSED: dict[str, dict[str, str]] = {
    "OpenAI-GPT": _refuse(POST_NORM, *DIRECT, *MAPS, "paths"),
    "OPT, projected": _refuse(WIDER_HEAD, *DIRECT, "copying"),
    "OLMo, clipped": _refuse(CLAMPED, *MAPS),
    "HunYuan": _refuse(AFTER_ROTARY, "composition"),
    "NanoChat": _refuse(AFTER_ROTARY, "composition"),
    "Llama-4": _refuse(AFTER_ROTARY, "composition"),
    "BitNet": _refuse(NORMED_Z, *MAPS),
    "ModernBERT decoder": _refuse(NONLINEAR_HEAD, *DIRECT, "copying"),
    "AFMoE": _refuse(READ_ONLY, "pattern") | _refuse(GATED, *MAPS),
    "Laguna": _refuse(READ_ONLY, "pattern") | _refuse(GATED, *MAPS),
    **{
        name: _refuse(LATENT_HEADS, "z", "q", "k", "v", "estimate", "ablation", *DIRECT, *MAPS, *PATHS)
        for name in ("DeepSeek-V2", "DeepSeek-V3", "Youtu")
    },
    "Gemma-4": _refuse(READ_ONLY, "pattern") | _refuse(OTHER_WRITER, *DIRECT, *MAPS, "paths"),
    "Gemma-4, shared keys": _refuse(NO_KEYS, "pattern", "k", "v", "estimate", *MAPS, *PATHS)
    | _refuse(OTHER_WRITER, *DIRECT),
    "Granite-hybrid, attention only": _refuse(TWO_MLPS, *DIRECT, "copying", "paths"),
    "Falcon-H1": _refuse(OTHER_WRITER, *DIRECT, "copying", "paths"),
    **{
        name: _refuse(UNREAD)
        for name in (
            "GPTBigCode, multi-head",
            "OPT, post-norm",
            "Phi, query norms",
            "Phi-MoE",
            "Falcon, new decoder",
            "Falcon, new decoder, not multi-query",
            "Falcon, new decoder, one norm",
        )
    },
    **{
        name: _refuse(NO_ATTENTION)
        for name in (
            "JetMoE",
            "DeepSeek-V4",
            "HRM-text",
            "LFM2",
            "Qwen3-Next",
            "Jamba",
            "RecurrentGemma",
            "Mamba",
            "RWKV",
        )
    },
}


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
