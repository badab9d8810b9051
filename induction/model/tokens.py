"""Text to token ids and back, so that a reader can tell one token from another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from induction.base import InputError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

SPACE, NEWLINE, TAB = "·", "⏎", "⇥"


def bos_id(model: TransformerBridge) -> int | None:
    """The id that marks the start of a text, or None where the model's tokenizer declares none of its own.

    Where it declares none, TransformerLens sets ``bos_token`` to the end token, or to one that it invents, whose id
    a padded vocabulary has room for. What the tokenizer was made with is kept in ``init_kwargs`` and tells the two
    apart; a BOS that somebody set afterwards, and that is not the end token, did not come from TransformerLens.
    """
    tokenizer = model.tokenizer
    if tokenizer is None:
        return None
    later = tokenizer.bos_token if tokenizer.bos_token != tokenizer.eos_token else None
    own = tokenizer.init_kwargs.get("bos_token") or later
    if own is None:
        return None
    token = tokenizer.convert_tokens_to_ids(str(own))
    return token if token is not None and token < model.cfg.d_vocab else None


def encode(model: TransformerBridge, text: str, *, bos: bool = True) -> list[int]:
    """Token ids of a text, with the model's BOS in front where ``bos`` and there is one."""
    ids = list(model.tokenizer(text, add_special_tokens=False)["input_ids"])
    return with_bos(model, ids) if bos else ids


def with_bos(model: TransformerBridge, ids: list[int]) -> list[int]:
    """The ids with the model's BOS in front where there is one."""
    start = bos_id(model)
    return ids if start is None else [start, *ids]


def check_ids(model: TransformerBridge, ids: Sequence[int], what: str = "The prompt") -> None:
    """Raises InputError for no tokens, more of them than the model's context, or ids outside of its vocabulary."""
    if len(ids) == 0:
        raise InputError(f"{what} has no tokens; write at least one word.")
    if len(ids) > model.cfg.n_ctx:
        raise InputError(
            f"{what} has {len(ids)} tokens and the model's context is {model.cfg.n_ctx}; shorten it."
        )
    if min(ids) < 0 or max(ids) >= model.cfg.d_vocab:
        raise InputError(f"Token ids run from 0 to {model.cfg.d_vocab - 1} in this model.")


def single_token(model: TransformerBridge, text: str) -> int | None:
    """The id of a text that is one token exactly as it stands, else None."""
    ids = encode(model, text, bos=False)
    return ids[0] if len(ids) == 1 else None


def mid_sentence_token(model: TransformerBridge, word: str) -> int | None:
    """The id of a word that is one token after a space, or failing that as it stands, else None."""
    spaced = single_token(model, f" {word}")
    return single_token(model, word) if spaced is None else spaced


def labels(model: TransformerBridge, ids: list[int]) -> list[str]:
    """Readable names of tokens: ``·`` for a space, ``⏎`` for a newline, ``<0xE2>`` for a lone byte."""
    return [_label(model.tokenizer, int(token)) for token in ids]


@lru_cache(maxsize=200_000)
def _label(tokenizer: Any, token: int) -> str:
    text = tokenizer.decode([token], clean_up_tokenization_spaces=False)
    if "\ufffd" in text:
        return _bytes_label(tokenizer.convert_ids_to_tokens(token)) or text
    return readable(text)


def readable(text: str) -> str:
    """White space and control characters made visible."""
    marks = {" ": SPACE, "\n": NEWLINE, "\t": TAB}
    shown = (marks.get(char) or (char if char.isprintable() else f"<0x{ord(char):02X}>") for char in text)
    return "".join(shown) or "<empty>"


def _bytes_label(piece: str | None) -> str:
    """The bytes of a byte-level BPE piece that is no complete character."""
    alphabet = _byte_alphabet()
    if not piece or any(char not in alphabet for char in piece):
        return readable(piece or "")
    return "".join(f"<0x{alphabet[char]:02X}>" for char in piece)


@lru_cache(maxsize=1)
def _byte_alphabet() -> dict[str, int]:
    """Byte-level BPE writes each byte as one printable character; this maps it back."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {char: byte for byte, char in bytes_to_unicode().items()}


def ordinary(model: TransformerBridge, ids: np.ndarray) -> np.ndarray:
    """Which tokens are ordinary: not special, not a byte fragment, and produced by the tokenizer at all.

    Args:
        ids: ``[n]``.

    Returns:
        bool ``[n]``.
    """
    tokenizer = model.tokenizer
    special = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    texts = [tokenizer.decode([token], clean_up_tokenization_spaces=False) for token in ids.tolist()]
    again = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return np.array(
        [
            token not in special and bool(text) and "\ufffd" not in text and back == [token]
            for token, text, back in zip(ids.tolist(), texts, again, strict=True)
        ],
        dtype=bool,
    )
