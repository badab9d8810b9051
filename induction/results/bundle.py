"""Recreate the bundled results: ``python -m induction.results.bundle``, or with names for some models.

Per model, in ``induction/results``: the scan (``<model>.json``), the sweep over all heads
(``patching/<model>.json``), the curve of the first k heads by induction score against random sets
(``patching/<model>-top-k.json``), what is lost without its heads (``ablations/<model>.json``), what feeds its
induction heads (``circuits/<model>.json``), what its heads do in prose (``real_text/<model>.json``), its attention on
the usual prompt (``examples/<model>.json``), what is lost without the edges of its induction heads
(``edges/<model>.json``), why the strongest looks where it looks (``why/<model>.json``), what it does without them
(``behaviour/<model>-<experiment>.json``), and the evidence of its heads (``evidence/<model>.json``); for some models
also the sweep over indirect-object prompts (``patching/<model>-ioi.json``). Same machine, same numbers. What is
computed here replaces published figures of the same model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from induction.analysis.example import example
from induction.analysis.reading import passing
from induction.analysis.result import Scan
from induction.analysis.scanning import scan
from induction.analysis.scores import SCORES
from induction.base import Head, InputError, Result, finish
from induction.circuit.trace import circuit
from induction.data_gen.pairs import PromptPair
from induction.evidence.measure import measure_evidence
from induction.experiment import experiments
from induction.model import SMOLLM2, load_model, resolve
from induction.patching.ablation import ablate, single_heads
from induction.patching.bundled import SEED, VOCAB, WITH_IOI, ioi_pairs, prompts_of, vocab_of
from induction.patching.experiments import curve_length
from induction.patching.heads import NamedSet, iter_patch_sets, patch_heads, top_k_sets
from induction.patching.knockouts import Knockouts, knockouts
from induction.results.shelf import FOLDER, slug

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

N_RANDOM, TOP_K = 50, 10
ALL_HEADS = 144  # of a model, up to which there is evidence of every head; else of its induction heads
CIRCUIT_PAIRS, RECEIVERS = 10, 6
BEHAVIOUR = ("next", "recall", "loops", "prose", "few_shot")


def bundle(name: str) -> None:
    """Compute and write all bundled results of a model.

    Raises:
        InputError: the model cannot be loaded, or its vocabulary lacks what the prompts need.
    """
    name = resolve(name)
    model = load_model(name)
    file = f"{slug(name)}.json"
    measured = scan(model, scores=tuple(SCORES), seed=SEED)
    _write(file, measured)
    prompts = prompts_of(model)
    _write(f"patching/{file}", patch_heads(model, prompts, seed=SEED))
    if name in WITH_IOI:
        _write(f"patching/{slug(name)}-ioi.json", patch_heads(model, ioi_pairs(model), seed=SEED))
    ranked = measured.ranked("induction")
    sets = top_k_sets(ranked, max(min(TOP_K, len(ranked)), curve_length(0, measured)))
    curve = finish(iter_patch_sets(model, prompts, sets, n_random=N_RANDOM, seed=SEED))
    _write(f"patching/{slug(name)}-top-k.json", curve)
    _write(f"ablations/{file}", ablations(model, passing(measured), prompts))
    vocab = vocab_of(name)
    traced = circuit(model, n_receivers=RECEIVERS, n_pairs=CIRCUIT_PAIRS, vocab=vocab, seed=SEED)
    _write(f"circuits/{file}", traced)
    prose = _usual("real_text", model, measured)
    _write(f"real_text/{file}", prose)
    _write(f"examples/{file}", example(model))
    if passing(measured):  # else no head has edges that induction would look along
        _write(f"edges/{file}", _usual("knockout", model, measured))
    _write(f"why/{file}", _usual("why", model, measured))
    behaviour(model, measured)
    heads = passing(measured) if len(ranked) > ALL_HEADS else None
    known = {"scan": measured, "circuit": traced, "prose": prose}
    _write(f"evidence/{file}", measure_evidence(model, heads, **known, seed=SEED))


def behaviour(model: TransformerBridge, measured: Scan, names: Sequence[str] = ()) -> None:
    """What a model does without the induction heads of a scan: these experiments, by default all,
    with their usual settings."""
    for name in names or BEHAVIOUR:
        found = _usual(name, model, measured)
        _write(f"behaviour/{slug(found.model)}-{name}.json", found)


def _usual(name: str, model: TransformerBridge, measured: Scan) -> Any:
    """The result of an experiment with its usual settings."""
    one = experiments()[name]
    return finish(one.run(model, one.settings(), scan=measured))


def ablations(
    model: TransformerBridge, induction: Sequence[Head], prompts: Sequence[PromptPair]
) -> Knockouts:
    """Mean ablation of every head alone, of the induction heads together, and of these with each other head."""
    settings: dict[str, Any] = {"kind": "mean", "pairs": prompts, "seed": SEED}
    alone, together, beside = ablate(model, **settings), None, None
    if induction:
        together = ablate(model, [NamedSet("the set", tuple(induction))], n_random=N_RANDOM, **settings)
        others = [one.heads[0] for one in single_heads(model) if one.heads[0] not in induction]
        beside = ablate(model, [NamedSet.of([*induction, head]) for head in others], **settings)
    return knockouts(induction, alone, together, beside)


def _write(file: str, result: Result) -> None:
    path = FOLDER / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(result.to_json() + "\n", encoding="utf-8")
    print(file)


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
