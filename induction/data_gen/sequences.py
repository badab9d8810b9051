"""Prompts: token sets, the ``... A B ... A`` prompt and its corrupted twin, repeated batches, passages.

Everything is seeded, and everything is made of words that are one token in the model at hand. No torch.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from induction.base import InputError, check_choice, check_seed

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Corruption = Literal["first_a", "target"]

WORDS = (
    "time year people way day man thing woman life child world school state family student group country problem "
    "hand part place case week company system program question work night point home water room mother area money "
    "story fact month lot right study book eye job word business issue side kind head house service friend father "
    "power hour game line end member law car city name team minute idea body back parent face others level office "
    "door health person art war history party result change morning reason research girl guy food moment air teacher"
)
NAMES = (
    "James Mary John Robert Michael David William Richard Thomas Charles Daniel Matthew Anthony Mark Paul Steven "
    "Andrew Kenneth George Joshua Kevin Brian Edward Ronald Timothy Jason Jeffrey Ryan Jacob Gary Nicholas Eric "
    "Jonathan Stephen Larry Justin Scott Frank Peter Jack Alice Emma Sarah Laura Anna Kate Jane Lisa Susan Linda Helen"
)
TOKEN_SETS: dict[str, str] = {
    "random": "random tokens of the model's whole vocabulary, the most and least frequent left out",
    "letters": "the 26 capital letters",
    "words": "common English nouns",
    "numbers": "the numbers 0 to 99",
    "names": "common first names",
}
_ENTRIES = {
    "letters": tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    "words": tuple(WORDS.split()),
    "numbers": tuple(str(n) for n in range(100)),
    "names": tuple(NAMES.split()),
}
DEFAULT_LENGTH = 50
# Byte-pair vocabularies are ordered by frequency: the first ids are the most, the last the least frequent.
MOST_FREQUENT, LEAST_FREQUENT = 0.05, 0.05
CHECKED_WHOLE = 4096  # tokens that are all looked at, in milliseconds; of larger sets only candidates are


def get_token_set(name: str, model: TransformerBridge | None = None) -> list[str]:
    """The words of a token set.

    Args:
        name: ``letters``, ``words``, ``numbers``, ``names`` or ``random`` (see :data:`TOKEN_SETS`).
        model: keeps what is one token in this model, as it stands in mid-sentence; ``random`` needs it.

    Raises:
        InputError: unknown name, ``random`` without a model, or no entry is one token in the model.
    """
    from induction.model.tokens import mid_sentence_token

    check_choice(name, tuple(TOKEN_SETS), "token set")
    if name == "random":
        if model is None:
            raise InputError("The token set 'random' is a model's vocabulary; pass model= as well.")
        kept = random_ids(model, None)
        return [model.tokenizer.decode([token]) for token in kept]
    entries = list(_ENTRIES[name])
    if model is None:
        return entries
    ids = {entry: mid_sentence_token(model, entry) for entry in entries}
    found = [token for token in dict.fromkeys(ids.values()) if token is not None]
    kept_words = [model.tokenizer.decode([token]) for token in found]
    if not kept_words:
        raise InputError(f"No entry of the token set '{name}' is one token in this model; use 'random'.")
    if len(kept_words) < len(entries):
        left_out = len(entries) - len(kept_words)
        warnings.warn(
            f"{left_out} of {len(entries)} entries of '{name}' are not one token in this model and are left out.",
            stacklevel=2,
        )
    return kept_words


def random_ids(
    model: TransformerBridge, rng: np.random.Generator | None, at_least: int = 0
) -> NDArray[np.int64]:
    """Ordinary token ids without the most and least frequent; all in order, or enough of them in random order."""
    from induction.model.tokens import ordinary

    ids = _middle_ids(model)
    if rng is None:
        return ids[ordinary(model, ids)]
    ids = rng.permutation(ids)
    kept = np.empty(0, dtype=np.int64)
    step = max(256, 2 * at_least)
    for start in range(0, len(ids), step):  # looks at no more of a large vocabulary than is needed
        chunk = ids[start : start + step]
        kept = np.concatenate([kept, chunk[ordinary(model, chunk)]])
        if len(kept) >= at_least:
            break
    return kept


def _middle_ids(model: TransformerBridge) -> NDArray[np.int64]:
    """All token ids but the most and the least frequent, ordinary or not."""
    size = min(model.cfg.d_vocab, len(model.tokenizer))
    return np.arange(int(size * MOST_FREQUENT), int(np.ceil(size * (1 - LEAST_FREQUENT))))


@dataclass(frozen=True)
class RepeatedSequence:
    """The prompt ``prefix A B filler A``, whose continuation by induction is ``B``.

    Positions count words from 0; a model that has a BOS token shifts them by one. The corrupted twin
    replaces the first A (or the first B) by a word that occurs nowhere else, so that the last word and
    the answer stay and only what is in context changes.
    """

    words: tuple[str, ...]
    corrupted_words: tuple[str, ...]
    first_a: int
    first_b: int
    second_a: int
    answer: str
    distractor: str
    seed: int

    @property
    def text(self) -> str:
        spaced = any(word[:1].isspace() for word in self.words)
        return ("" if spaced else " ").join(self.words)

    def ids(self, model: TransformerBridge, *, corrupted: bool = False) -> list[int]:
        """Token ids, the model's BOS in front where it has one: one token per word.

        Raises:
            InputError: a word is not one token in this model.
        """
        from induction.model.tokens import with_bos

        words = self.corrupted_words if corrupted else self.words
        return with_bos(model, [token_of(model, word) for word in words])

    def __str__(self) -> str:
        return (
            f"{' '.join(word.strip() for word in self.words)} -> {self.answer.strip()}  "
            f"(A at {self.first_a} and {self.second_a}, B at {self.first_b}; "
            f"corrupted: {' '.join(word.strip() for word in self.corrupted_words)})"
        )


def token_of(model: TransformerBridge, word: str) -> int:
    """The one token of a word.

    Raises:
        InputError: it is several.
    """
    from induction.model.tokens import single_token

    token = single_token(model, word)
    if token is None:
        raise InputError(
            f"'{word}' is not one token in this model; take words from get_token_set(name, model)."
        )
    return token


def generate_repeated_sequence(
    vocab: list[str],
    prefix_length: int = 5,
    seed: int = 42,
    *,
    filler_length: int = 5,
    corruption: Corruption = "first_a",
) -> RepeatedSequence:
    """A random ``prefix A B filler A`` prompt of distinct words, and its corrupted twin.

    Args:
        vocab: words that are one token each (:func:`get_token_set`).
        corruption: ``first_a`` replaces the first A, ``target`` the first B.

    Raises:
        InputError: the set is too small for a prompt of distinct words, or a length or the seed is negative.
    """
    if prefix_length < 0 or filler_length < 0:
        raise InputError("prefix_length and filler_length count words: give 0 or more.")
    check_seed(seed)
    check_choice(corruption, ("first_a", "target"), "corruption")
    words = list(dict.fromkeys(vocab))
    needed = prefix_length + filler_length + 3
    if len(words) < needed:
        raise InputError(
            f"The prompt needs {needed} distinct words and the token set has {len(words)}; "
            "use a larger set or a shorter prefix."
        )
    chosen = [words[i] for i in np.random.default_rng(seed).permutation(len(words))[:needed]]
    a, b, other = chosen[:3]
    prefix, filler = chosen[3 : 3 + prefix_length], chosen[3 + prefix_length :]
    clean = (*prefix, a, b, *filler, a)
    changed = prefix_length + (0 if corruption == "first_a" else 1)
    corrupted = (*clean[:changed], other, *clean[changed + 1 :])
    places = {"first_a": prefix_length, "first_b": prefix_length + 1, "second_a": len(clean) - 1}
    return RepeatedSequence(clean, corrupted, **places, answer=b, distractor=other, seed=seed)


@dataclass(frozen=True)
class Batch:
    """Prompts ``[BOS] r1..rL`` times ``copies``, padded on the right (which causal attention never sees).

    ``tokens`` int64 ``[prompt, pos]``; ``lengths`` counts the tokens of each prompt, BOS included;
    ``periods`` holds each prompt's L.
    """

    tokens: NDArray[np.int64]
    lengths: tuple[int, ...]
    periods: tuple[int, ...]
    copies: int
    has_bos: bool
    vocab: str
    seed: int

    def prompt(self, index: int) -> NDArray[np.int64]:
        """The ids of one prompt without padding, ``[pos]``."""
        return self.tokens[index, : self.lengths[index]]

    def __str__(self) -> str:
        low, high = min(self.periods), max(self.periods)
        span = f"{low}" if low == high else f"{low} to {high}"
        bos, without = ("BOS + ", "") if self.has_bos else ("", " without BOS")
        n = len(self.periods)
        prompts = f"{n} prompt{'s' * (n > 1)} of {bos}{self.copies} x L tokens{without}, L = {span}"
        return f"{prompts}, token set {self.vocab}, seed {self.seed}"


def repeated_batch(
    model: TransformerBridge,
    *,
    n_prompts: int = 10,
    length: int | None = None,
    vocab: str = "random",
    seed: int = 0,
    copies: int = 2,
    spread: float = 0.2,
) -> Batch:
    """Repeated sequences of distinct random tokens, with L varied so that a fixed distance cannot pass for induction.

    Every prompt draws its tokens independently of the others, from the whole token set: intervals over prompts rest
    on that.

    Args:
        length: mean L; default 50, or less where the token set is small.
        spread: L runs evenly over ``length * (1 - spread) .. length * (1 + spread)``; one prompt has ``length`` itself.

    Raises:
        InputError: a count is out of range, the token set is too small, or the prompt exceeds the context.
    """
    from induction.model.tokens import with_bos

    check_choice(vocab, tuple(TOKEN_SETS), "token set")
    if n_prompts < 1:
        raise InputError(f"A scan needs at least 1 prompt, not {n_prompts}.")
    if copies < 2:
        raise InputError(f"A repeated prompt has at least 2 copies, not {copies}.")
    check_seed(seed)
    if length is not None and length < 2:
        raise InputError(f"A repeated prompt needs a length of at least 2 tokens, not {length}.")
    rng = np.random.default_rng(seed)
    before = with_bos(model, [])
    fits = int((model.cfg.n_ctx - len(before)) / copies / (1 + spread))  # the longest mean L in the context
    if length is not None and length > fits:
        raise InputError(
            f"Prompts of {copies} x {length} tokens exceed the model's context of {model.cfg.n_ctx}; "
            f"choose a length of at most {fits}."
        )
    pool = _Pool.of(model, vocab, enough=int((1 + spread) * (length or DEFAULT_LENGTH)))
    most = int(len(pool.ids) / (1 + spread))  # the longest mean L of distinct tokens
    if length is None:
        length = max(2, min(DEFAULT_LENGTH, fits, most))
    if length > most:
        raise pool.too_small(length, most)
    shortest, longest = int(length * (1 - spread)), int(length * (1 + spread))
    evenly = [length] if n_prompts == 1 else np.linspace(shortest, longest, n_prompts).round()
    periods = [max(2, int(period)) for period in evenly]
    prompts = [np.concatenate([before, np.tile(copy, copies)]) for copy in pool.draw(periods, rng)]
    tokens = np.zeros((n_prompts, max(map(len, prompts))), dtype=np.int64)  # [prompt, pos]
    for row, prompt in zip(tokens, prompts, strict=True):
        row[: len(prompt)] = prompt
    lengths = tuple(map(len, prompts))
    return Batch(tokens, lengths, tuple(periods), copies, bool(before), vocab, seed)


@dataclass(frozen=True)
class _Pool:
    """The tokens of a set that prompts draw from; ``checked`` where every one of them is known to be ordinary."""

    model: TransformerBridge
    vocab: str
    ids: NDArray[np.int64]
    checked: bool

    @classmethod
    def of(cls, model: TransformerBridge, vocab: str, enough: int) -> _Pool:
        """A set of which draws take up to ``enough`` tokens."""
        if vocab != "random":
            ids = np.array([token_of(model, word) for word in get_token_set(vocab, model)])
            return cls(model, vocab, ids, checked=True)
        ids = _middle_ids(model)
        if len(ids) <= max(CHECKED_WHOLE, 4 * enough):
            return cls(model, vocab, random_ids(model, None), checked=True)
        return cls(model, vocab, ids, checked=False)

    def draw(self, sizes: list[int], rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """For each size that many distinct ordinary tokens in random order, each draw independent of the others.

        Raises:
            InputError: a draw asks for more tokens than are ordinary.
        """
        if self.checked:
            return [rng.choice(self.ids, size, replace=False) for size in sizes]
        from induction.model.tokens import ordinary

        orders = [rng.permutation(self.ids) for _ in sizes]
        looked_at = int(1.1 * max(sizes)) + 8  # nearly every token is ordinary
        while True:
            candidates = np.unique([order[:looked_at] for order in orders])
            kept = candidates[ordinary(self.model, candidates)]
            draws = [order[:looked_at][np.isin(order[:looked_at], kept)] for order in orders]
            if all(len(draw) >= size for draw, size in zip(draws, sizes, strict=True)):
                return [draw[:size] for draw, size in zip(draws, sizes, strict=True)]
            if looked_at >= len(self.ids):
                raise self.too_small(max(sizes), len(kept))
            looked_at *= 2

    def too_small(self, length: int, most: int) -> InputError:
        remedy = "" if self.vocab == "random" else " or the token set 'random'"
        return InputError(
            f"The token set '{self.vocab}' has too few tokens in this model for prompts of length {length}; "
            f"choose a length of at most {most}{remedy}."
        )


@dataclass(frozen=True)
class Repeat:
    """Tokens ``first .. first+length-1`` come again at ``second``; positions as in the passage's ids."""

    first: int
    second: int
    length: int


def find_repeats(ids: list[int], min_length: int = 2) -> list[Repeat]:
    """The longest repeated runs of a text, longest first; none contains another.

    Args:
        ids: token ids ``[pos]``.
    """
    n = len(ids)
    array = np.asarray(ids)
    found: list[Repeat] = []
    for lag in range(1, n):  # along one diagonal: where does the text equal itself, shifted by lag?
        same = np.concatenate([[False], array[lag:] == array[:-lag], [False]])
        edges = np.flatnonzero(np.diff(same.astype(np.int8)))
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            run = min(int(end - begin), lag)  # a third copy right after the second is a repeat of its own
            if run >= min_length:
                found.append(Repeat(int(begin), int(begin) + lag, run))
    found.sort(key=lambda repeat: (-repeat.length, repeat.second))
    covered = np.zeros(n, dtype=bool)
    kept = []
    for repeat in found:
        span = slice(repeat.second, repeat.second + repeat.length)
        if not covered[span].all():
            covered[span] = True
            kept.append(repeat)
    return kept


@dataclass(frozen=True)
class Passage:
    """A text of the user's own as tokens, with the repeats that were found in it."""

    ids: tuple[int, ...]
    labels: tuple[str, ...]
    repeats: tuple[Repeat, ...]

    def __str__(self) -> str:
        spans = ["".join(self.labels[r.first : r.first + r.length]) for r in self.repeats]
        return f"{len(self.ids)} tokens; repeated: {', '.join(spans) or 'nothing'}"


def passage(model: TransformerBridge, text: str, *, times: int = 1) -> Passage:
    """Read a text (``times`` times in a row) and find what repeats in it.

    Raises:
        InputError: the text is empty or longer than the model's context.
    """
    from induction.model.tokens import check_ids, encode, labels, with_bos

    if not text.strip():
        raise InputError("The text is empty; write or paste a prompt first.")
    ids = with_bos(model, encode(model, text, bos=False) * times)
    check_ids(model, ids, "The text")
    return Passage(tuple(ids), tuple(labels(model, ids)), tuple(find_repeats(ids)))
