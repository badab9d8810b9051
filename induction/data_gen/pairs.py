"""Prompt pairs for patching: a clean prompt, its corrupted twin, and the answer that tells them apart.

Pairs share their length, the scored position and the answer (:class:`PromptPair`).
They are drawn from a token set (:func:`pairs`) or made of two texts (:func:`pair_from_texts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from induction.base import InputError, check_seed
from induction.data_gen.sequences import generate_repeated_sequence, get_token_set, token_of
from induction.model.tokens import check_ids, encode, labels

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class PromptPair:
    """Two prompts of the same length that differ in context and share the scored position.

    Attributes:
        clean, corrupted: token ids, as long as each other.
        answer, distractor: token ids; the logit difference is answer minus distractor.
        position: where the next token is scored, -1 for the last.
        clean_labels, corrupted_labels, answer_label, distractor_label: readable tokens.
        source: how the pair was made, in words; part of a result's protocol.
        task: what the model has to do where that is not induction, in words.

    Raises:
        InputError: different lengths, or a position outside of the prompt.
    """

    clean: tuple[int, ...]
    corrupted: tuple[int, ...]
    answer: int
    distractor: int
    position: int = -1
    clean_labels: tuple[str, ...] = ()
    corrupted_labels: tuple[str, ...] = ()
    answer_label: str = ""
    distractor_label: str = ""
    source: str = ""
    task: str = ""

    def __post_init__(self) -> None:
        if len(self.clean) != len(self.corrupted):
            raise InputError(
                f"The clean prompt has {len(self.clean)} tokens and the corrupted one {len(self.corrupted)}; "
                "patching needs the same number, so change one of them."
            )
        if not -len(self.clean) <= self.position < len(self.clean):
            raise InputError(
                f"Position {self.position} is outside of a prompt of {len(self.clean)} tokens; "
                f"choose 0 to {len(self.clean) - 1}, or -1 for the last."
            )

    @property
    def scored(self) -> int:
        """The scored position counted from 0."""
        return self.position % len(self.clean)

    @property
    def first_difference(self) -> int | None:
        """First position where the prompts differ, None where they are equal up to the scored one."""
        for position in range(self.scored + 1):
            if self.clean[position] != self.corrupted[position]:
                return position
        return None


def pairs(
    model: TransformerBridge,
    n: int = 10,
    *,
    form: Literal["first_a", "target"] = "first_a",
    vocab: str = "random",
    prefix_length: int = 5,
    filler_length: int = 5,
    seed: int = 0,
) -> list[PromptPair]:
    """``n`` random prompts ``[BOS] prefix A B filler A``, whose answer is B, and their corrupted twins.

    Every pair is drawn from the whole token set with a seed of its own, so that the pairs are independent draws given
    the set, as intervals over pairs require. Runs with neighbouring seeds share pairs.

    Args:
        form: ``first_a`` replaces the first A, ``target`` the first B, by a word that occurs nowhere else;
            that word is the distractor of the logit difference.
        vocab: a token set (:data:`induction.data_gen.TOKEN_SETS`).
        seed: pair i is drawn with seed + i.

    Raises:
        InputError: unknown form or token set, no pair asked for, a negative seed, or a set too small for the prompt.
    """
    check_seed(seed)
    if n < 1:
        raise InputError(f"Patching needs at least 1 prompt pair, not {n}.")
    words = get_token_set(vocab, model)
    replaced = "first A replaced" if form == "first_a" else "first B replaced"
    source = (
        f"{prefix_length} tokens, A, B, {filler_length} tokens, A; corrupted: {replaced}; "
        f"token set {vocab}, seeds {seed} to {seed + n - 1}"
    )
    found = []
    for index in range(n):
        prompt = generate_repeated_sequence(
            words, prefix_length, seed + index, filler_length=filler_length, corruption=form
        )
        clean, corrupted = prompt.ids(model), prompt.ids(model, corrupted=True)
        answer, distractor = token_of(model, prompt.answer), token_of(model, prompt.distractor)
        pair = PromptPair(tuple(clean), tuple(corrupted), answer, distractor, source=source)
        found.append(labelled(model, pair))
    return found


def pair_from_texts(
    model: TransformerBridge,
    clean: str,
    corrupted: str,
    answer: str | None = None,
    distractor: str | None = None,
) -> PromptPair:
    """A pair from two texts, scored at their last token.

    Args:
        answer: one token; default the clean run's likeliest next token.
        distractor: one token; default the corrupted run's likeliest next token other than the answer.

    Raises:
        InputError: the texts are empty, equal, too long or of different length in tokens (the message shows both
            tokenizations), or a word is not one token.
    """
    ids = [encode(model, text) for text in (clean, corrupted)]
    for text, tokens, which in zip((clean, corrupted), ids, ("clean", "corrupted"), strict=True):
        if not text.strip():
            raise InputError(f"The {which} prompt is empty; write a text that the model shall continue.")
        check_ids(model, tokens, f"The {which} prompt")
    if len(ids[0]) != len(ids[1]):
        shown = [f"{len(tokens)} tokens {'|'.join(labels(model, tokens))}" for tokens in ids]
        raise InputError(
            f"The prompts need the same number of tokens; the clean one has {shown[0]}, the corrupted one {shown[1]}."
        )
    if ids[0] == ids[1]:
        raise InputError("The clean and the corrupted prompt are the same; change what is to be tested.")
    expected = token_of(model, answer) if answer else _likeliest(model, ids[0])[0]
    if distractor:
        other = token_of(model, distractor)
    else:
        other = next(token for token in _likeliest(model, ids[1]) if token != expected)
    if expected == other:
        raise InputError("The answer and the distractor are the same token; choose two.")
    pair = PromptPair(tuple(ids[0]), tuple(ids[1]), expected, other, source="written by hand")
    return labelled(model, pair)


def labelled(model: TransformerBridge, pair: PromptPair) -> PromptPair:
    """The pair with readable tokens, where it has none yet."""
    if pair.clean_labels:
        return pair
    return replace(
        pair,
        clean_labels=tuple(labels(model, list(pair.clean))),
        corrupted_labels=tuple(labels(model, list(pair.corrupted))),
        answer_label=labels(model, [pair.answer])[0],
        distractor_label=labels(model, [pair.distractor])[0],
    )


def _likeliest(model: TransformerBridge, ids: Sequence[int]) -> list[int]:
    """The two likeliest next tokens."""
    import torch

    with torch.no_grad():
        return model(torch.tensor([list(ids)], device=model.cfg.device))[0, -1].topk(2).indices.tolist()


def in_words(pairs: Sequence[PromptPair]) -> str:
    """How many pairs, how long up to the scored position, and how they were made."""
    lengths = [pair.scored + 1 for pair in pairs]
    span = f"{min(lengths)}" if min(lengths) == max(lengths) else f"{min(lengths)} to {max(lengths)}"
    sources = "; ".join(dict.fromkeys(pair.source for pair in pairs if pair.source))
    return f"{len(pairs)} prompt pairs of {span} tokens" + (f" ({sources})" if sources else "")


def check_pairs(model: TransformerBridge, pairs: Sequence[PromptPair]) -> None:
    """Raises InputError where there is no pair, or one does not fit the model."""
    if not pairs:
        raise InputError("Patching needs at least one prompt pair; make some with pairs(model, 10).")
    for pair in pairs:
        if pair.scored >= model.cfg.n_ctx:
            raise InputError(
                f"A prompt has {pair.scored + 1} tokens up to the scored one and the model's context is "
                f"{model.cfg.n_ctx}; shorten it."
            )
        ids = (*pair.clean, *pair.corrupted, pair.answer, pair.distractor)
        if min(ids) < 0 or max(ids) >= model.cfg.d_vocab:
            raise InputError(f"Token ids run from 0 to {model.cfg.d_vocab - 1} in this model.")
