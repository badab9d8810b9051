"""Recreate the bundled results of interventions: ``python -m induction.bundle``, or with names for some models.

Per model, in ``induction/results``: the sweep over all heads (``patching/<model>.json``), the curve of the first k
heads by induction score against random sets (``patching/<model>-top-k.json``), and what feeds its induction heads
(``circuits/<model>.json``). Same machine, same numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from induction.analysis import scan
from induction.circuits import circuit
from induction.model import SMOLLM2, load_model
from induction.patching import iter_patch_sets, pairs, patch_heads, top_k_sets
from induction.progress import finish
from induction.results import circuit as circuit_results
from induction.results import slug
from induction.results.patching import FOLDER, HeadSets, Patching, to_json

N_PAIRS, N_RANDOM, TOP_K, SEED = 20, 50, 10, 0
CIRCUIT_PAIRS, RECEIVERS = 10, 6
# A language model hardly believes a sequence of arbitrary tokens; the bundled toy knows little else.
VOCAB = {"mini-2l": "random", "mini-1l": "random", SMOLLM2: "words"}


def patching_results(name: str) -> tuple[Patching, HeadSets]:
    """The sweep and the curve, on prompts of the form ``prefix A B filler A``.

    Raises:
        InputError: the model cannot be loaded.
    """
    model = load_model(name)
    prompts = pairs(model, N_PAIRS, vocab=VOCAB.get(name, "random"), seed=SEED)
    sweep = patch_heads(model, prompts, seed=SEED)
    ranked = scan(model, scores=("induction",), loss=False, seed=SEED).ranked("induction")
    sets = top_k_sets(ranked, min(TOP_K, len(ranked)))
    return sweep, finish(iter_patch_sets(model, prompts, sets, n_random=N_RANDOM, seed=SEED))


def circuit_result(name: str) -> circuit_results.Circuit:
    """What feeds the strongest induction heads, on prompts of the same form.

    Raises:
        InputError: the model cannot be loaded.
    """
    vocab = VOCAB.get(name, "random")
    return circuit(load_model(name), n_receivers=RECEIVERS, n_pairs=CIRCUIT_PAIRS, vocab=vocab, seed=SEED)


def main(names: Sequence[str]) -> None:
    for name in names or VOCAB:
        sweep, curve = patching_results(name)
        for suffix, result in (("", sweep), ("-top-k", curve)):
            path = FOLDER / f"{slug(result.model)}{suffix}.json"
            path.write_text(to_json(result) + "\n", encoding="utf-8")
            print(path.name)
        traced = circuit_result(name)
        path = circuit_results.FOLDER / f"{slug(traced.model)}.json"
        path.write_text(circuit_results.to_json(traced) + "\n", encoding="utf-8")
        print(f"{path.parent.name}/{path.name}")


if __name__ == "__main__":
    main(sys.argv[1:])
