"""Bundled prose: passages of books in the public domain, on which no model of this project was trained.

Each is about 2,900 characters long, more than 500 tokens of the models at hand, from the last 5 % of a book, which the
training of ``mini-2l`` and ``mini-1l`` left out. Editions of Standard Ebooks, CC0. No torch.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from induction.base import InputError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

FILE = Path(__file__).with_name("prose.txt")
SOURCE = "public-domain books in the editions of Standard Ebooks (CC0), from the last 5 % of each"


class Prose(NamedTuple):
    """A passage and the book that it is from."""

    book: str
    text: str


@cache
def prose() -> tuple[Prose, ...]:
    """All bundled passages, those of one book together."""
    parts = FILE.read_text(encoding="utf-8").split("\n\n")
    return tuple(
        Prose(book.removeprefix("# "), text) for book, _, text in (part.partition("\n") for part in parts)
    )


def spread_out(n: int) -> tuple[Prose, ...]:
    """``n`` of the passages, from as many books as there are.

    Raises:
        InputError: there are fewer.
    """
    there = prose()
    if not 1 <= n <= len(there):
        raise InputError(f"There are {len(there)} passages of prose; ask for 1 to {len(there)}, not {n}.")
    return tuple(there[(2 * at + 1) * len(there) // (2 * n)] for at in range(n))


def prose_ids(model: TransformerBridge, passage: Prose, length: int) -> list[int]:
    """The first ``length`` token ids of a passage, the model's BOS among them where it has one.

    Raises:
        InputError: the passage, or the model's context, is shorter.
    """
    from induction.model.tokens import check_ids, encode

    ids = encode(model, passage.text)
    if len(ids) < length:
        raise InputError(
            f"A passage of prose has {len(ids)} tokens in this model; ask for {len(ids)} at most."
        )
    check_ids(model, ids[:length], "The passage")
    return ids[:length]
