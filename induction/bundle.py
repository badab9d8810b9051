"""Recreate the bundled patching results: ``python -m induction.bundle``, or with names for some of them.

Two files per model in ``induction/results/patching``: the sweep over all heads (``<model>.json``) and the curve of
the first k heads by induction score against random sets (``<model>-top-k.json``). Same machine, same numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from induction.analysis import scan
from induction.model import SMOLLM2, load_model
from induction.patching import iter_patch_sets, pairs, patch_heads, top_k_sets
from induction.progress import finish
from induction.results import slug
from induction.results.patching import FOLDER, HeadSets, Patching, to_json

N_PAIRS, N_RANDOM, TOP_K, SEED = 20, 50, 10, 0
# A language model hardly believes a sequence of arbitrary tokens; the bundled toy knows little else.
VOCAB = {"mini-2l": "random", SMOLLM2: "words"}


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


def main(names: Sequence[str]) -> None:
    for name in names or VOCAB:
        sweep, curve = patching_results(name)
        for suffix, result in (("", sweep), ("-top-k", curve)):
            path = FOLDER / f"{slug(result.model)}{suffix}.json"
            path.write_text(to_json(result) + "\n", encoding="utf-8")
            print(path.name)


if __name__ == "__main__":
    main(sys.argv[1:])
