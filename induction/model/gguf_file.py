"""Models in one ``.gguf`` file of llama.cpp: what transformers reads of them, made whole, or refused.

transformers rebuilds configuration, tokenizer and weights from such a file, but not all of any: where it leaves a
fact out, the default of one checkpoint stands for every file of the family. What it forgets is declared in
:data:`FORGOTTEN`; what cannot be made right is refused, before the weights are read where the file's header tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from induction.base import InputError, damaged, is_out_of_memory

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

ROPE_FREQS = "rope_freqs.weight"  # Llama 3's rescaling, one divisor for each rotary frequency

# Family in transformers -> key in the file, without the family's name -> attribute of the configuration.
FORGOTTEN: dict[str, dict[str, str]] = {
    "falcon": {
        "attention.layer_norm_epsilon": "layer_norm_epsilon",
        "attention.head_count_kv": "num_kv_heads",
        "feed_forward_length": "ffn_hidden_size",
    },
    "gemma2": {
        "attn_logit_softcapping": "attn_logit_softcapping",
        "final_logit_softcapping": "final_logit_softcapping",
    },
    "gpt2": {"context_length": "n_positions", "feed_forward_length": "n_inner"},
    "nemotron": {"attention.layer_norm_epsilon": "norm_eps"},
    "phi3": {"attention.sliding_window": "sliding_window"},
    "qwen2_moe": {
        "expert_feed_forward_length": "moe_intermediate_size",
        "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
    },
    "qwen3": {"attention.key_length": "head_dim"},
    "qwen3_moe": {"expert_feed_forward_length": "moe_intermediate_size"},
}
# Families that transformers lists, whose configuration or experts it reads wrongly or not at all.
UNREAD = {"gemma4", "gpt-oss"}
# Layers of the sizes of Gemma whose scores are not divided by the root of the head's width; no key says so.
GEMMA_27B = {"gemma2": 46, "gemma3_text": 62}


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies in the file: ``shape`` as in torch, ``start`` in bytes from the file's beginning."""

    shape: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class GgufFile:
    """The header of a file: metadata, in which arrays of strings are only counted, and the table of tensors."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def family(self) -> str:
        """llama.cpp's name of the architecture."""
        return self.metadata["general.architecture"]

    def fact(self, key: str) -> Any:
        """A metadata value of the family, or None."""
        return self.metadata.get(f"{self.family}.{key}")


def read_header(path: Path) -> GgufFile:
    """Read a file's header, and see that the file is as long as its header says.

    Raises:
        InputError: not a ``.gguf`` file, damaged, cut short, or one part of several.
    """
    import gguf
    from transformers.integrations.gguf import reader  # walks past strings: gguf's own takes seconds

    try:
        blob = reader._mapped(str(path))
        metadata, count, position = reader._read_metadata(blob, str(path))
        table, position = reader._read_tensor_table(blob, count, position)
        alignment = metadata.get("general.alignment", gguf.GGUF_DEFAULT_ALIGNMENT)
        data = -(-position // alignment) * alignment
        tensors, end = {}, data
        for name, shape, kind, offset in table:
            per_block, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
            tensors[name] = Tensor(shape, data + offset)
            end = max(end, data + offset + prod(shape) // per_block * block_bytes)
    except Exception as error:  # wrong bytes lead to errors of struct, Unicode, index, value and memory
        raise damaged(path.name, error) from error
    if (parts := metadata.get("split.count", 1)) > 1:
        raise InputError(
            f"{path.name} is one of {parts} parts of a model; merge them into one file with llama.cpp's gguf-split."
        )
    if end > len(blob):
        raise damaged(path.name, f"{len(blob):,} of {end:,} bytes")
    return GgufFile(path, metadata, tensors)


def configuration(file: GgufFile) -> PreTrainedConfig:
    """The configuration that transformers reads from a file, with what it forgets.

    Raises:
        InputError: transformers does not know the family, or positions are encoded in a way that it does not read.
    """
    from transformers import AutoConfig

    if file.family in UNREAD:
        raise _unread(file, f"models of the family '{file.family}'")
    try:
        config = AutoConfig.from_pretrained(
            file.path.parent, gguf_file=file.path.name, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # the header is sound, so what it says is what transformers cannot take
        if is_out_of_memory(error):
            raise
        raise _unread(file, f"models of the family '{file.family}'") from error
    for key, attribute in FORGOTTEN.get(config.model_type, {}).items():
        if value := file.fact(key):  # Phi-4 has no sliding window and says 0
            setattr(config, attribute, value)
    if "query_pre_attn_scalar" in config.to_dict():
        large = config.num_hidden_layers == GEMMA_27B.get(config.model_type)
        config.query_pre_attn_scalar = (
            config.hidden_size // config.num_attention_heads if large else config.head_dim
        )
    _set_positions(file, config)
    return config


def _unread(file: GgufFile, what: str) -> InputError:
    return InputError(
        f"{file.path.name} cannot be loaded: transformers does not read {what} from a .gguf file; "
        "load the folder that the model was published in instead."
    )


def _set_positions(file: GgufFile, config: PreTrainedConfig) -> None:
    stretch = [file.fact(key) for key in ("rope.scaling.factor", "rope.scale_linear")]
    if (
        file.fact("rope.scaling.type") not in (None, "none")
        or any(factor not in (None, 1.0) for factor in stretch)
        or any(name.startswith("rope_factors") for name in file.tensors)
    ):
        raise _unread(file, "how its positions are stretched (rope scaling)")
    if config.model_type == "falcon" and config.num_kv_heads > 1:
        raise _unread(file, "a Falcon with several key heads in the order of the file")
    rope = getattr(config, "rope_parameters", None) or {}
    if (base := file.fact("rope.freq_base")) and "rope_theta" in rope:
        rope["rope_theta"] = base
    rotary = file.fact("rope.dimension_count")
    if rotary and "partial_rotary_factor" in rope:
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        rope["partial_rotary_factor"] = rotary / width


def tokenizer(file: GgufFile) -> PreTrainedTokenizerFast:
    """The tokenizer that a file describes, whatever tokenizer lies in the same folder.

    It puts its BOS in front where it has one, as TransformerLens wants it, which would else read the file again.

    Raises:
        InputError: transformers cannot rebuild it.
    """
    from transformers import PreTrainedTokenizerFast
    from transformers.integrations.gguf import convert_gguf_tokenizer, get_gguf_tokenizer

    try:
        family, described, settings = get_gguf_tokenizer(str(file.path))
        backend, more = convert_gguf_tokenizer(family, described)
    except (KeyError, ValueError) as error:
        raise _unread(file, "its tokenizer") from error
    settings["add_bos_token"] = settings["bos_token"] is not None
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, name_or_path=str(file.path.parent), **settings, **more
    )


def complete(file: GgufFile, model: PreTrainedModel, missing: list[str]) -> None:
    """Apply what transformers leaves in the file, and see that it read all the rest.

    Args:
        missing: the weights that transformers found no tensor for.

    Raises:
        InputError: transformers left weights in the file, or the file lacks some.
    """
    tied = {"output.weight"} if model.config.tie_word_embeddings else set()
    held = sum(prod(t.shape) for name, t in file.tensors.items() if name not in {ROPE_FREQS, *tied})
    weights = {tensor.data_ptr(): tensor.numel() for tensor in model.state_dict().values()}
    if held < sum(weights.values()):
        raise damaged(file.path.name, f"no weights for {', '.join(missing[:3]) or 'all parts'}")
    if missing or held > sum(weights.values()):
        raise _unread(file, f"all weights of this model of the family '{file.family}'")
    if ROPE_FREQS in file.tensors:
        _rescale(file, model)


def _rescale(file: GgufFile, model: PreTrainedModel) -> None:
    import numpy as np
    import torch

    tensor = file.tensors[ROPE_FREQS]
    divisors = np.fromfile(file.path, np.float32, count=prod(tensor.shape), offset=tensor.start)
    rotary = model.get_decoder().rotary_emb
    for name in ("inv_freq", "original_inv_freq"):
        getattr(rotary, name).div_(torch.from_numpy(divisors))
