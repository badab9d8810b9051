"""One tiny random model of every family that TransformerLens reads, and where its parts are.

Widths differ wherever the configuration allows it (heads x head width is not the model's width), and no multiplier,
cap or norm weight has the value at which it would do nothing: defaults hide errors. Nothing of the ``induction``
package is used here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from models import tokenizer
from oracle import Layout

N_CTX = 256


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
    layout: Layout | None


FAMILIES: dict[str, Family] = {}


def family(
    name: str, model: str, shape: dict[str, Any], at: dict[str, Any] | None = None, **more: Any
) -> None:
    """Declare a family: ``at`` says where its parts are unless they are where Llama's are; ``more`` settings."""
    model = model if hasattr(transformers, model) else f"{model}ForCausalLM"
    FAMILIES[name] = Family(name, model, shape | more, None if at is NOWHERE else Layout(**(at or {})))


# -- shapes, as transformers names them ------------------------------------------------------------------------

COMMON = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}  # padding may be zeroed on loading
OPT = dict(
    hidden_size=32, ffn_dim=56, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=N_CTX
)
GPT = dict(n_embd=32, n_layer=2, n_head=4, n_positions=N_CTX)
OLD = OPT | dict(hidden_size=48, intermediate_size=56)
del OLD["ffn_dim"]
SQUARE = OLD | dict(num_key_value_heads=2)
LLAMA = SQUARE | dict(hidden_size=40, head_dim=12)
THREE = dict(num_hidden_layers=3)
WINDOW, NO_WINDOW = dict(sliding_window=6), dict(sliding_window=None)
LOCAL_FIRST = WINDOW | dict(layer_types=["sliding_attention", "full_attention"])
ALTERNATING = WINDOW | THREE | dict(layer_types=["sliding_attention", "full_attention", "sliding_attention"])
HALF_ROTARY = dict(partial_rotary_factor=0.5)
CAPS = WINDOW | dict(query_pre_attn_scalar=7, attn_logit_softcapping=3.0, final_logit_softcapping=4.0)
LOCAL_EXPERTS = dict(num_local_experts=4, num_experts_per_tok=2)
EXPERTS = dict(num_experts=4, num_experts_per_tok=2)
ROUTED = dict(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=24)
GRANITE = SQUARE | dict(
    embedding_multiplier=3.0, logits_scaling=2.5, residual_multiplier=0.4, attention_multiplier=0.5
)
LATENT = SQUARE | dict(
    num_key_value_heads=4,
    kv_lora_rank=16,
    q_lora_rank=20,
    qk_rope_head_dim=8,
    qk_nope_head_dim=8,
    v_head_dim=12,
)
FALCON = OLD | dict(multi_query=True, parallel_attn=True, new_decoder_architecture=False)
NEW_FALCON = OLD | dict(multi_query=True, new_decoder_architecture=True, num_kv_heads=2)
COHERE = dict(logit_scale=0.4)
GEMMA_4 = LLAMA | dict(hidden_size_per_layer_input=8, vocab_size_per_layer_input=512)
LLAMA_3_ROPE = dict(
    rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=64,
)  # fmt: skip
HALF_ROPE = dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5)

# -- where parts are, in the words of Layout -------------------------------------------------------------------


def fused(path: str) -> dict[str, str]:
    return dict.fromkeys("qkv", path)


def separate(prefix: str) -> dict[str, str]:
    return {name: f"{prefix}.{name}_proj" for name in "qkv"}


def row(path: str, at: int = 0) -> dict[str, Callable[[torch.nn.Module], torch.Tensor]]:
    """Learned positions whose table begins at row ``at``."""
    return {"positions": lambda model: model.get_submodule(path).weight[at]}


NOWHERE: dict[str, Any] = {"nothing": "that the oracle computes"}
QK = dict(q_norm="self_attn.q_norm", k_norm="self_attn.k_norm")
FLAT_QK = QK | dict(qk_norm="flat")
PRE_AND_POST = dict(norm_out="post_attention_layernorm", norm_mlp_out="post_feedforward_layernorm")
POST_ONLY = PRE_AND_POST | dict(norm_in=None)
NO_ROTARY = dict(rotary=None)
IN_TRANSFORMER = dict(layers="transformer.h", attn="attn", norm_in="ln_1", final_norm="transformer.ln_f")
AT_GPT_2 = IN_TRANSFORMER | fused("attn.c_attn") | NO_ROTARY | row("transformer.wpe")
AT_GPT_2 |= dict(out="attn.c_proj", split="thirds")
AT_GPT_1 = AT_GPT_2 | row("transformer.positions_embed")
AT_GPT_1 |= dict(norm_in=None, final_norm=None, residual_norms=("ln_1", "ln_2"))
AT_GPT_J = IN_TRANSFORMER | separate("attn") | dict(out="attn.out_proj", rotary="gptj")
AT_GPT_NEO = IN_TRANSFORMER | separate("attn.attention") | NO_ROTARY | row("transformer.wpe")
AT_GPT_NEO |= dict(attn="attn.attention", out="attn.attention.out_proj")
AT_NEOX = fused("attention.query_key_value") | dict(
    layers="gpt_neox.layers", attn="attention", split="grouped"
)
AT_NEOX |= dict(out="attention.dense", final_norm="gpt_neox.final_layer_norm")
AT_OPT = NO_ROTARY | row("model.decoder.embed_positions", 2)
AT_OPT |= dict(layers="model.decoder.layers", out="self_attn.out_proj", norm_in="self_attn_layer_norm")
AT_OPT |= dict(mlp_out="fc2", final_norm="model.decoder.final_layer_norm")
AT_XGLM = AT_OPT | dict(positions=lambda model: model.model.embed_positions.weights[2])
AT_XGLM |= dict(layers="model.layers", final_norm="model.layer_norm")
AT_FALCON = fused("self_attention.query_key_value") | dict(layers="transformer.h", attn="self_attention")
AT_FALCON |= dict(out="self_attention.dense", split="grouped", final_norm="transformer.ln_f")
AT_BLOOM = AT_FALCON | NO_ROTARY | dict(mlp_out="mlp.dense_4h_to_h")
AT_MPT = fused("attn.Wqkv") | NO_ROTARY | dict(layers="transformer.blocks", attn="attn", out="attn.out_proj")
AT_MPT |= dict(split="thirds", norm_in="norm_1", mlp_out="ffn.down_proj", final_norm="transformer.norm_f")
AT_PHI_3 = fused("self_attn.qkv_proj") | dict(split="thirds")
AT_BERT = separate("attn") | dict(attn="attn", out="attn.Wo", norm_in="attn_norm", head=("decoder",))
AT_BERT |= dict(final_norm="model.final_norm")
AT_LATENT = dict(q="self_attn.q_b_proj", k="self_attn.kv_b_proj", v="self_attn.kv_b_proj", split="mla")
AT_GRANITE = dict(
    residual_multiplier=lambda config: config.residual_multiplier,
    logit_scale=lambda config: 1 / config.logits_scaling,
)
AT_COHERE = dict(logit_scale=lambda config: config.logit_scale)
AT_COHERE_2 = AT_COHERE | dict(rotates=lambda attn: attn.sliding_window is not None)
AT_EXAONE = POST_ONLY | QK | dict(rotates=lambda attn: attn.sliding_window is None or attn.is_sliding)
SOME_ROTATE = dict(rotates=lambda attn: bool(attn.use_rope))
AT_LLAMA_4 = SOME_ROTATE | dict(mlp_out="feed_forward", rotary="complex")
AT_AFMOE = QK | dict(norm_out="post_attention_layernorm", norm_mlp_out="post_mlp_layernorm")
AT_AFMOE |= dict(rotates=lambda attn: attn.is_local_attention)

# -- the families ----------------------------------------------------------------------------------------------

# fmt: off
# Families before Llama: fused projections, learned positions or distances, layer norms.
family("GPT-2", "GPT2LMHeadModel", GPT, AT_GPT_2, n_inner=56)
family("GPT-2, scaled by layer", "GPT2LMHeadModel", GPT, AT_GPT_2, scale_attn_by_inverse_layer_idx=True)
family("OpenAI-GPT", "OpenAIGPTLMHeadModel", GPT, AT_GPT_1)
family("GPTBigCode", "GPTBigCode", GPT, AT_GPT_2, multi_query=True)
family("GPT-Neo", "GPTNeo", {}, AT_GPT_NEO, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=56,
       max_position_embeddings=N_CTX, attention_types=[[["global", "local"], 1]], window_size=6)
family("GPT-NeoX", "GPTNeoX", OLD, AT_NEOX)
family("GPT-NeoX, sequential", "GPTNeoX", OLD, AT_NEOX, use_parallel_residual=False)
family("GPT-J", "GPTJ", GPT, AT_GPT_J, rotary_dim=4)
family("CodeGen", "CodeGen", GPT, AT_GPT_J | fused("attn.qkv_proj") | dict(split="codegen"), rotary_dim=4)
family("OPT", "OPT", OPT, AT_OPT, word_embed_proj_dim=32)
family("OPT, projected", "OPT", OPT, AT_OPT | dict(head=("model.decoder.project_out", "lm_head")),
       word_embed_proj_dim=24)
family("XGLM", "XGLM", {}, AT_XGLM, d_model=32, ffn_dim=56, num_layers=2, attention_heads=4,
       max_position_embeddings=N_CTX)
family("BLOOM", "Bloom", dict(hidden_size=32, n_layer=2, n_head=4), AT_BLOOM)
family("MPT", "Mpt", dict(d_model=32, n_layers=2, n_heads=4, max_seq_len=N_CTX, expansion_ratio=2), AT_MPT)
family("Falcon, multi-query", "Falcon", FALCON, AT_FALCON | dict(split="thirds"))
family("Falcon, multi-head", "Falcon", FALCON, AT_FALCON, multi_query=False, bias=True)
family("Falcon, ALiBi", "Falcon", FALCON, AT_FALCON | NO_ROTARY, multi_query=False, bias=True,
       parallel_attn=False, alibi=True)

# Families that differ from Llama in a window, a bias, a norm on queries and keys, or a norm's place.
family("Llama", "Llama", LLAMA, attention_bias=True, mlp_bias=True)
family("Llama, scaled rotary", "Llama", LLAMA, rope_parameters=LLAMA_3_ROPE)
family("Mistral", "Mistral", LLAMA | NO_WINDOW)
family("Mistral, sliding window", "Mistral", LLAMA | WINDOW)
family("Ministral-3", "Ministral3", LLAMA)
family("Qwen2", "Qwen2", SQUARE, use_sliding_window=False)
family("Qwen2, sliding window", "Qwen2", SQUARE | THREE | WINDOW, use_sliding_window=True, max_window_layers=1)
family("Qwen3", "Qwen3", LLAMA, QK, attention_bias=True)
family("Gemma", "Gemma", LLAMA)
family("Gemma-2", "Gemma2", LLAMA | CAPS, PRE_AND_POST)
family("Gemma-3", "Gemma3", LLAMA | ALTERNATING, PRE_AND_POST | QK, query_pre_attn_scalar=7)
family("VaultGemma", "VaultGemma", LLAMA | CAPS)
family("Phi", "Phi", SQUARE | HALF_ROTARY, dict(out="self_attn.dense", final_norm="model.final_layernorm"))
family("Phi-3", "Phi3", SQUARE | NO_WINDOW, AT_PHI_3)
family("Phi-3, partial rotary", "Phi3", SQUARE | NO_WINDOW, AT_PHI_3, rope_parameters=HALF_ROPE)
family("OLMo", "Olmo", SQUARE)
family("OLMo, clipped", "Olmo", SQUARE, clip_qkv=0.8)
family("OLMo-2", "Olmo2", SQUARE, POST_ONLY | FLAT_QK)
family("OLMo-3", "Olmo3", SQUARE | ALTERNATING, POST_ONLY | FLAT_QK)
family("StableLM", "StableLm", SQUARE | HALF_ROTARY, use_qkv_bias=True)
family("StableLM, parallel, query norms", "StableLm", SQUARE | HALF_ROTARY,
       dict(q_norm="self_attn.q_layernorm", k_norm="self_attn.k_layernorm", qk_norm="list"),
       use_parallel_residual=True, qk_layernorm=True)
family("Starcoder2", "Starcoder2", SQUARE | NO_WINDOW)
family("SmolLM3", "SmolLM3", SQUARE | THREE, SOME_ROTATE, no_rope_layers=[1, 0, 1], use_sliding_window=False)
family("SmolLM3, last layer without rotary", "SmolLM3", SQUARE, SOME_ROTATE, no_rope_layers=[1, 0],
       use_sliding_window=False)
family("GLM", "Glm", LLAMA, attention_bias=True)
family("GLM-4", "Glm4", LLAMA, dict(norm_out="post_self_attn_layernorm", norm_mlp_out="post_mlp_layernorm"),
       attention_bias=True)
family("Granite", "Granite", GRANITE, AT_GRANITE, attention_bias=True)
family("Cohere", "Cohere", SQUARE | COHERE, AT_COHERE, attention_bias=True)
family("Cohere, query norms", "Cohere", SQUARE | COHERE, AT_COHERE | QK | dict(qk_norm="by_head"),
       use_qk_norm=True)
family("Cohere2", "Cohere2", LLAMA | COHERE | ALTERNATING, AT_COHERE_2)
family("Cohere2, last layer without rotary", "Cohere2", LLAMA | COHERE | LOCAL_FIRST, AT_COHERE_2)
family("EXAONE-4", "Exaone4", LLAMA | ALTERNATING, AT_EXAONE, sliding_window_pattern=2)
family("Nemotron", "Nemotron", LLAMA | HALF_ROTARY, attention_bias=True, mlp_bias=True)
family("Ernie 4.5", "Ernie4_5", LLAMA, use_bias=True)
family("Seed-OSS", "SeedOss", LLAMA, attention_out_bias=True)
family("Arcee", "Arcee", LLAMA, attention_bias=True, mlp_bias=True)
family("Apertus", "Apertus", SQUARE, QK | dict(norm_in="attention_layernorm"), attention_bias=True)
family("HunYuan", "HunYuanDenseV1", LLAMA, dict(q_norm="self_attn.query_layernorm",
       k_norm="self_attn.key_layernorm", qk_norm_after_rotary=True))
family("NanoChat", "NanoChat", SQUARE, QK | dict(qk_norm_after_rotary=True))
family("BitNet", "BitNet", SQUARE, dict(mixed="self_attn.attn_sub_norm"))
family("Jais-2", "Jais2", LLAMA)
family("ModernBERT decoder", "ModernBertDecoder", OLD | THREE, AT_BERT, local_attention=6,
       global_attn_every_n_layers=2, cls_token_id=0, pad_token_id=1, sep_token_id=0)

# Mixtures of experts, gated heads, attention sinks.
family("Mixtral", "Mixtral", LLAMA | LOCAL_EXPERTS | NO_WINDOW)
family("Qwen2-MoE", "Qwen2Moe", SQUARE | EXPERTS, moe_intermediate_size=24, shared_expert_intermediate_size=40)
family("Qwen3-MoE", "Qwen3Moe", LLAMA | EXPERTS, QK, moe_intermediate_size=24, norm_topk_prob=True)
family("OLMoE", "Olmoe", SQUARE | EXPERTS, FLAT_QK)
family("FlexOlmo", "FlexOlmo", SQUARE | EXPERTS, POST_ONLY | FLAT_QK)
family("GLM-4-MoE", "Glm4Moe", LLAMA | ROUTED, QK, attention_bias=True, use_qk_norm=True,
       first_k_dense_replace=1)
family("Granite-MoE", "GraniteMoe", GRANITE | LOCAL_EXPERTS, AT_GRANITE | dict(mlp_out="block_sparse_moe"))
family("GPT-OSS", "GptOss", LLAMA | LOCAL_EXPERTS | LOCAL_FIRST, dict(rotary="half_width"))
family("Ernie 4.5 MoE", "Ernie4_5_Moe", SQUARE, moe_num_experts=4, moe_k=2, moe_intermediate_size=24,
       moe_layer_start_index=1)
family("MiniMax-M2", "MiniMaxM2", LLAMA | LOCAL_EXPERTS, FLAT_QK)
family("Llama-4", "Llama4", LLAMA, AT_LLAMA_4, intermediate_size_mlp=56, num_local_experts=2,
       interleave_moe_layer_step=2)
family("AFMoE", "Afmoe", LLAMA | EXPERTS, AT_AFMOE, mup_enabled=True, num_dense_layers=1,
       moe_intermediate_size=24)
family("Laguna", "Laguna", LLAMA, QK)

# Families that this package reads in part or not at all.
family("DeepSeek-V2", "DeepseekV2", LATENT | ROUTED, AT_LATENT, first_k_dense_replace=2)
family("DeepSeek-V3", "DeepseekV3", LATENT | ROUTED, AT_LATENT, first_k_dense_replace=1, n_group=1, topk_group=1)
family("Youtu", "Youtu", LATENT, AT_LATENT)
family("Gemma-4", "Gemma4", GEMMA_4 | ALTERNATING, PRE_AND_POST | QK, global_head_dim=20, num_kv_shared_layers=0)
family("Gemma-4, shared keys", "Gemma4", GEMMA_4 | THREE | WINDOW, PRE_AND_POST | QK, global_head_dim=12,
       num_kv_shared_layers=1, layer_types=["sliding_attention", "full_attention", "full_attention"])
family("Granite-hybrid, attention only", "GraniteMoeHybrid", GRANITE, AT_GRANITE | dict(mlp_out="shared_mlp"),
       num_local_experts=0, layer_types=["attention", "attention"], position_embedding_type="rope",
       shared_intermediate_size=56, mamba_n_heads=4, mamba_d_head=24)
family("Falcon-H1", "FalconH1", SQUARE, dict(final_norm="model.final_layernorm", mlp_out="feed_forward"),
       mamba_n_heads=4, mamba_d_head=12, mamba_d_ssm=48, mamba_d_state=8, mamba_n_groups=1, key_multiplier=2.0,
       attention_out_multiplier=2.5, ssm_out_multiplier=0.5, embedding_multiplier=1.5, lm_head_multiplier=0.7)
family("GPTBigCode, multi-head", "GPTBigCode", GPT, NOWHERE, multi_query=False)
family("OPT, post-norm", "OPT", OPT, NOWHERE, word_embed_proj_dim=32, do_layer_norm_before=False)
family("Phi, query norms", "Phi", SQUARE, NOWHERE, qk_layernorm=True)
family("Phi-MoE", "Phimoe", SQUARE | LOCAL_EXPERTS, NOWHERE)
family("Falcon, new decoder", "Falcon", NEW_FALCON, NOWHERE)
family("Falcon, new decoder, not multi-query", "Falcon", NEW_FALCON, NOWHERE, multi_query=False)
family("Falcon, new decoder, one norm", "Falcon", NEW_FALCON, NOWHERE, multi_query=False,
       num_ln_in_parallel_attn=1)
family("JetMoE", "JetMoe", LOCAL_EXPERTS, NOWHERE, hidden_size=48, num_hidden_layers=2, num_key_value_heads=2,
       kv_channels=12, intermediate_size=56)
family("DeepSeek-V4", "DeepseekV4", LLAMA, NOWHERE)
family("HRM-text", "HrmText", SQUARE, NOWHERE)
family("LFM2", "Lfm2", SQUARE | THREE, NOWHERE, layer_types=["conv", "full_attention", "full_attention"])
family("Qwen3-Next", "Qwen3Next", LLAMA | EXPERTS, NOWHERE, layer_types=["linear_attention", "full_attention"],
       linear_num_value_heads=4, linear_num_key_heads=2, linear_key_head_dim=8, linear_value_head_dim=8,
       moe_intermediate_size=24, shared_expert_intermediate_size=24)
family("Jamba", "Jamba", SQUARE, NOWHERE, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2,
       expert_layer_offset=1, num_experts=2, use_mamba_kernels=False, mamba_d_state=4)
family("RecurrentGemma", "RecurrentGemma", LLAMA | THREE, NOWHERE, lru_width=40, attention_window_size=16)
family("Mamba", "Mamba", dict(hidden_size=32, num_hidden_layers=2, state_size=4), NOWHERE)
family("RWKV", "Rwkv", dict(hidden_size=32, num_hidden_layers=2, attention_hidden_size=32, context_length=64),
       NOWHERE)
# fmt: on

# -- what must be refused, and why -----------------------------------------------------------------------------

MAPS = ("copying", "composition")  # read off the weights
DIRECT = ("written", "attribution")  # from heads straight to the logits
PATHS = ("paths", "paths, MLPs recomputed")
EVERYTHING = (
    "logits", "scores", "attend", "z", "pattern", "q", "k", "v", "estimate", "ablation", *DIRECT, *MAPS, *PATHS
)  # fmt: skip

AFTER_ROTARY = (
    "queries and keys are normed behind the rotary embedding: their product depends on both positions"
)
GATED = "a gate made of the head's own input multiplies what it read before it is written"
READ_ONLY = "hook points show the pattern and do not take it back, and z is not pattern times values"
OTHER_WRITER = "something beside attention and MLP writes to the residual stream"
_REFUSALS: list[tuple[str, tuple[str, ...], str]] = [
    ("OpenAI-GPT", (*DIRECT, *MAPS, "paths"),
     "every norm sits on the residual stream itself: each later layer rescales what a head wrote"),
    ("OPT, projected", (*DIRECT, "copying"),
     "a projection stands between the final norm and the unembedding"),
    ("OLMo, clipped", MAPS,
     "queries, keys and values are clamped: weights alone do not tell what a head does"),
    ("HunYuan; NanoChat; Llama-4", ("composition",), AFTER_ROTARY),
    ("BitNet", MAPS, "a norm over all heads stands between the heads' outputs and the output projection"),
    ("ModernBERT decoder", (*DIRECT, "copying"),
     "a nonlinear layer stands between the final norm and the unembedding"),
    ("AFMoE; Laguna", ("pattern",), READ_ONLY),
    ("AFMoE; Laguna", MAPS, GATED),
    ("DeepSeek-V2; DeepSeek-V3; Youtu", ("z", "q", "k", "v", "estimate", "ablation", *DIRECT, *MAPS, *PATHS),
     "queries, keys and values are low-rank products whose hook points are not per head"),
    ("Gemma-4", ("pattern",), READ_ONLY),
    ("Gemma-4", (*DIRECT, *MAPS, "paths"), OTHER_WRITER),
    ("Gemma-4, shared keys", ("pattern", "k", "v", "estimate", *MAPS, *PATHS),
     "the upper layers have no keys and values of their own"),
    ("Gemma-4, shared keys", DIRECT, OTHER_WRITER),
    ("Granite-hybrid, attention only", (*DIRECT, "copying", "paths"),
     "TransformerLens does not show what the MLP adds to the residual stream"),
    ("Falcon-H1", (*DIRECT, "copying", "paths"), OTHER_WRITER),
    ("GPTBigCode, multi-head; OPT, post-norm; Phi, query norms; Phi-MoE; Falcon, new decoder; "
     "Falcon, new decoder, not multi-query; Falcon, new decoder, one norm", EVERYTHING,
     "TransformerLens does not read this variant"),
    ("JetMoE; DeepSeek-V4; HRM-text; LFM2; Qwen3-Next; Jamba; RecurrentGemma; Mamba; RWKV", EVERYTHING,
     "layers without attention, or without attention heads of their own"),
]  # fmt: skip

# Family -> quantity -> why. "logits" refused: the model may not be loaded at all.
REFUSED: dict[str, dict[str, str]] = {}
for _names, _quantities, _why in _REFUSALS:
    for _name in _names.split("; "):
        REFUSED.setdefault(_name, {}).update(dict.fromkeys(_quantities, _why))

# -- making them -----------------------------------------------------------------------------------------------


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
    torch.manual_seed(0)
    model = kind(kind.config_class(**{**COMMON, "vocab_size": len(tokenizer()), **family.config}))
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
