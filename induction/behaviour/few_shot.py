"""Few-shot copying of abstract patterns, with heads removed.

Lines of three words, drawn anew for each line: only the pattern comes again, no word does. One prompt of all lines
gives the accuracy after 0, 1, … examples: each line is scored where its third word is due, against the other word of
the line. The patterns are of the kind that Crosbie & Shutova 2024 (arXiv 2407.07011) remove induction heads from.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from induction.base import InputError, Progress, check_choice, finished
from induction.behaviour.results import PATTERNS, FewShot
from induction.behaviour.variants import Variants, about, curve_of, iter_reference, measured
from induction.data_gen.sequences import get_token_set, random_ids, token_of
from induction.model import name_of
from induction.model.tokens import check_ids, encode, with_bos
from induction.patching.ablation import Reference
from induction.patching.bundled import vocab_of
from induction.patching.interventions import AblationKind
from induction.patching.sweep import MAX_BYTES, record
from induction.patching.table import Prompt, Row, Table

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

LINE = 4  # three words and the end of the line
Lines = tuple[
    list[int], NDArray[np.int64], NDArray[np.int64]
]  # ids; of each line the right word and the other


def iter_few_shot(
    model: TransformerBridge,
    variants: Variants,
    *,
    pattern: str = "aba",
    n_examples: int = 10,
    n_prompts: int = 20,
    kind: AblationKind = "mean",
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
) -> Generator[Progress[FewShot], None, None]:
    """Accuracy on a pattern by number of examples, with and without a set of heads and random ones.

    Args:
        pattern: a name of :data:`induction.behaviour.results.PATTERNS`.
        n_examples: lines in front of the last one.
        seed: of prompts and reference set.

    Yields:
        Progress; the last step carries the result. Closing cancels.

    Raises:
        InputError: an unknown name, a count out of range, or a vocabulary or context too small for so many lines.
    """
    check_choice(pattern, tuple(PATTERNS), "pattern")
    if n_prompts < 2 or n_examples < 1:
        raise InputError("Give 2 prompts or more, of 1 example or more.")
    started = time.perf_counter()
    vocab = vocab_of(name_of(model))
    made = [lines(model, pattern, n_examples, vocab, seed + number) for number in range(n_prompts)]
    reference = yield from iter_reference(model, len(made[0][0]), kind, seed=seed)
    prompts = [partial(_prompt, model, one, at, n_prompts, reference, kind) for at, one in enumerate(made)]
    rows = [Row(heads) for heads in variants.sets]
    table = Table(model, "z", rows, prompts, n_plain=1, n_measures=n_examples + 1, max_bytes=max_bytes)
    for label, _, _ in table.fill():
        yield Progress(table.done, table.total, label)
    plain, edited = table.plain[0], table.edited  # [prompt, examples], [set, prompt, examples]
    random = edited[variants.of_random]
    result = FewShot(
        **about(model, variants, kind, reference, seed),
        protocol=f"{n_prompts} prompts of {n_examples + 1} lines of 3 words, new words in every line, token set "
        f"{vocab}, seeds {seed} to {seed + n_prompts - 1}; right where the word that the pattern asks for has a higher "
        f"logit than the other word of the line; {variants.words()}",
        engine=table.engine,
        pattern=pattern,
        n_prompts=n_prompts,
        intact=curve_of(plain),
        without=curve_of(edited[0]),
        random=curve_of(random.mean(0)) if len(random) else None,
        right=measured("right", plain[:, 1:].mean(1), edited[..., 1:].mean(-1), variants),
        seconds=round(time.perf_counter() - started, 2),
    )
    yield Progress(table.total, table.total, "done", result)


few_shot = finished(iter_few_shot)


def lines(model: TransformerBridge, pattern: str, n_examples: int, vocab: str, seed: int) -> Lines:
    """A prompt up to where the last third word is due.

    Raises:
        InputError: the token set or the context is too small, or no token ends a line.
    """
    end = encode(model, "\n", bos=False)
    if len(end) != 1:
        raise InputError(
            "This model has no token of its own for the end of a line, which parts the examples."
        )
    rng, n_words = np.random.default_rng(seed), 2 * (n_examples + 1)
    if vocab == "random":
        pool = random_ids(model, rng, at_least=n_words)
    else:
        pool = np.array([token_of(model, word) for word in get_token_set(vocab, model)])
    if len(pool) < n_words:
        raise InputError(
            f"The token set '{vocab}' has {len(pool)} tokens in this model, too few for {n_examples} examples; ask "
            f"for {len(pool) // 2 - 1} at most."
        )
    words = rng.choice(pool, n_words, replace=False).reshape(-1, 2)  # [line, word]
    repeats = PATTERNS[pattern].repeats
    right, other = words[:, repeats], words[:, 1 - repeats]
    written = np.column_stack([words, right, np.full(len(words), end[0])])  # [line, token]
    ids = with_bos(model, written.flatten()[: -(LINE - 2)].tolist())
    check_ids(model, ids)
    return ids, right, other


def _prompt(
    model: TransformerBridge, made: Lines, at: int, n_prompts: int, reference: Reference, kind: AblationKind
) -> Prompt:
    """One prompt, whose measures are whether each of its lines is right."""
    ids, right, other = made
    run, measure = record(model, tuple(ids)), partial(_right, right=right, other=other)
    with torch.no_grad():
        plain = measure(model(run.tokens))
    values = reference.values(kind, at, run.n_pos)
    return Prompt(f"prompt {at + 1} of {n_prompts}", run, values, measure, plain, every_position=True)


def _right(logits: torch.Tensor, right: Sequence[int], other: Sequence[int]) -> NDArray[np.float64]:
    """Of every line 1 where the right word has the higher logit, else 0: ``[row, line]`` of ``[row, pos, d_vocab]``."""
    last = logits.shape[1] - 1
    due = torch.arange(last - LINE * (len(right) - 1), last + 1, LINE, device=logits.device)  # [line]
    a, b = (torch.as_tensor(one, device=logits.device) for one in (right, other))
    return (logits[:, due, a] > logits[:, due, b]).double().cpu().numpy()
