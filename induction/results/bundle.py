"""Recreate the bundled results: ``python -m induction.results.bundle``, or with names for some models.

Per model, in ``induction/results``: the scan (``<model>.json``), the sweep over all heads
(``patching/<model>.json``), the curve of the first k heads by induction score against random sets
(``patching/<model>-top-k.json``), and what feeds its induction heads (``circuits/<model>.json``). Same machine, same
numbers. What is computed here replaces published figures of the same model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from induction import results
from induction.analysis.scanning import scan
from induction.analysis.scores import SCORES
from induction.base import InputError, finish
from induction.circuit import results as circuits
from induction.circuit.trace import circuit
from induction.data_gen.pairs import PromptPair, pairs
from induction.model import SMOLLM2, load_model, resolve
from induction.patching import results as patching
from induction.patching.heads import iter_patch_sets, patch_heads, top_k_sets
from induction.results.ioi import ioi_pairs

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

N_PAIRS, N_RANDOM, TOP_K, SEED = 20, 50, 10, 0
CIRCUIT_PAIRS, RECEIVERS = 10, 6
# A language model hardly believes a sequence of arbitrary tokens; the bundled toy knows little else.
VOCAB = {"mini-2l": "random", "mini-1l": "random"}


def vocab_of(name: str) -> str:
    """Token set of a model's bundled prompts."""
    return VOCAB.get(name, "words")


def prompts_of(model: TransformerBridge, name: str) -> list[PromptPair]:
    """Prompt pairs of a model's bundled patching: ``prefix A B filler A``; for GPT-2 those of the published figures."""
    if name == "gpt2":
        return ioi_pairs(model)
    return pairs(model, N_PAIRS, vocab=vocab_of(name), seed=SEED)


def bundle(name: str) -> None:
    """Compute and write all bundled results of a model.

    Raises:
        InputError: the model cannot be loaded, or its vocabulary lacks what the prompts need.
    """
    name = resolve(name)
    model = load_model(name)
    file = f"{results.slug(name)}.json"
    measured = scan(model, scores=tuple(SCORES), seed=SEED)
    _write(results.FOLDER / file, results.to_json(measured))
    prompts = prompts_of(model, name)
    _write(patching.FOLDER / file, patching.to_json(patch_heads(model, prompts, seed=SEED)))
    ranked = measured.ranked("induction")
    sets = top_k_sets(ranked, min(TOP_K, len(ranked)))
    curve = finish(iter_patch_sets(model, prompts, sets, n_random=N_RANDOM, seed=SEED))
    _write(patching.FOLDER / f"{results.slug(name)}-top-k.json", patching.to_json(curve))
    vocab = vocab_of(name)
    traced = circuit(model, n_receivers=RECEIVERS, n_pairs=CIRCUIT_PAIRS, vocab=vocab, seed=SEED)
    _write(circuits.FOLDER / file, circuits.to_json(traced))


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")
    print(path.relative_to(results.FOLDER))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m induction.results.bundle", description="Recreate bundled results."
    )
    parser.add_argument("names", nargs="*", metavar="MODEL", default=[*VOCAB, SMOLLM2])
    try:
        for name in parser.parse_args(arguments).names:
            bundle(name)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
