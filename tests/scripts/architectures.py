"""The table of architectures: which quantities of this package hold, on a tiny random model of every family.

Each family of :mod:`families` is saved to a folder and loaded twice: by :func:`induction.model.load_model` (the
product's path) and as the plain Hugging Face model, on which :mod:`oracle` computes every quantity
again, with none of this package's code. ``python tests/scripts/architectures.py [family ...]`` prints the table,
``--readme`` the short form that the README shows.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "support")]

import numpy as np
import torch
import transformers
from families import FAMILIES, REFUSED, Family, build, reference
from models import tokenizer
from oracle import Oracle, losses, scores

from induction.analysis.attention import attend, written
from induction.analysis.scanning import scan
from induction.base import InputError
from induction.circuit.composition import composition
from induction.circuit.copying import copying
from induction.circuit.paths import path_patch
from induction.data_gen.pairs import PromptPair
from induction.data_gen.sequences import repeated_batch
from induction.model import load_model
from induction.patching.ablation import ablate, reference_set
from induction.patching.attribution import attribution_patching, direct_logit_attribution
from induction.patching.heads import patch_heads

TOLERANCE = 1e-4  # of the largest value of a quantity
LOGITS, FIVE_DIGITS = 2e-6, 1.1e-5  # what rounding may cost beside it
Comparison = tuple[str, Any, Any, float]  # what, the package's numbers, the oracle's, what rounding may cost

# -- one family loaded twice -----------------------------------------------------------------------------------


class Undefined(Exception):
    """The oracle knows no heads in this family."""


class Subject:
    """One family: the product's model and the oracle, and what both are asked about.

    Raises:
        InputError: the product refuses to load it.
    """

    def __init__(self, family: Family, folder: Path):
        build(family, folder)
        self.plain = reference(folder)
        self.model = load_model(str(folder))
        layout = family.layout
        self._oracle = None if layout is None else Oracle(self.plain, layout)
        self.pair = self._pair()
        self.receiver = (self.plain.config.num_hidden_layers - 1, 0 if layout is None else self._undecided())

    @property
    def oracle(self) -> Oracle:
        if self._oracle is None:
            raise Undefined("shown, though it has no definition here")
        return self._oracle

    def _pair(self) -> PromptPair:
        """``[BOS] x x x A B y y A`` and its twin with another first A, scored where the two differ most."""

        def made(seed: int) -> tuple[float, PromptPair]:
            ids = np.random.default_rng(seed).permutation(np.arange(1, len(tokenizer())))
            clean = (0, *ids[:7].tolist(), int(ids[3]))
            corrupted = (*clean[:4], int(ids[8]), *clean[5:])
            change = self.last(clean) - self.last(corrupted)
            answer, distractor = int(change.argmax()), int(change.argmin())
            return float(change[answer] - change[distractor]), PromptPair(
                clean, corrupted, answer, distractor
            )

        return max(map(made, range(8)), key=lambda item: item[0])[
            1
        ]  # what hardly moves has no defined effect

    def last(self, prompt: Sequence[int]) -> torch.Tensor:
        """The plain model's logits at the end of a prompt, ``[vocab]``."""
        with torch.no_grad():
            return self.plain(torch.tensor([prompt]), use_cache=False).logits[0, -1]

    @property
    def target(self) -> list[int]:
        """The positions that follow an earlier copy of the last token."""
        clean = self.pair.clean
        return [at + 1 for at, token in enumerate(clean[:-2]) if token == clean[-1]]

    def _undecided(self) -> int:
        """The head of the last layer whose attention to the target is furthest from 0 and 1: it can be moved."""
        looks = self.oracle.run(self.pair.corrupted).patterns[-1][:, -1, self.target].sum(-1)  # [head]
        return int((looks * (1 - looks)).argmax())

    def scored(self, logits: torch.Tensor) -> torch.Tensor:
        """Answer minus distractor, from logits ``[..., vocab]``."""
        return logits[..., self.pair.answer] - logits[..., self.pair.distractor]

    def difference(self, logits: torch.Tensor) -> np.ndarray:
        return self.scored(logits).double().numpy()

    @cached_property
    def unpatched(self) -> np.ndarray:
        """The scored difference on the corrupted prompt."""
        return self.difference(self.oracle.run(self.pair.corrupted).logits[-1])

    @cached_property
    def parts(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What adds up to the clean prompt's logits, as of :meth:`Oracle.written`."""
        return self.oracle.written(self.pair.clean)


# -- what is compared ------------------------------------------------------------------------------------------


def check_logits(it: Subject) -> Iterator[Comparison]:
    """The loaded model computes what Hugging Face computes."""
    with torch.no_grad():
        logits = it.model(torch.tensor([it.pair.clean]))[0]
        yield "logits", logits, it.plain(torch.tensor([it.pair.clean]), use_cache=False).logits[0], LOGITS


def check_scores(it: Subject) -> Iterator[Comparison]:
    """Attention scores and the loss by position on two repeated prompts."""
    settings = {"n_prompts": 2, "length": 5, "seed": 1}
    found = scan(it.model, **settings)
    batch = repeated_batch(it.model, **settings)
    prompts = [batch.prompt(index).tolist() for index in range(2)]
    runs = [it.oracle.run(prompt) for prompt in prompts]
    for name, measured in found.scores.items():
        expected = [
            [[scores(head.numpy(), prompt)[name] for head in layer] for layer in run.patterns]
            for run, prompt in zip(runs, prompts, strict=True)
        ]
        yield name, measured.mean, np.mean(expected, 0), FIVE_DIGITS
    shortest = min(batch.periods)
    nll = [losses(run.logits, prompt) for run, prompt in zip(runs, prompts, strict=True)]
    yield "loss, first copy", found.loss.first, np.mean([row[:shortest] for row in nll], 0), FIVE_DIGITS
    second = [row[period : period + shortest] for row, period in zip(nll, batch.periods, strict=True)]
    yield "loss, second copy", found.loss.second, np.mean(second, 0), FIVE_DIGITS


def check_attend(it: Subject) -> Iterator[Comparison]:
    """One prompt: where every head looks, and its output."""
    seen = attend(it.model, it.pair.clean)
    run = it.oracle.run(it.pair.clean)
    yield "patterns", seen.patterns, torch.stack(run.patterns), LOGITS
    if seen.way is not None:  # else the model does not show how heads reach the logits, and `written` says so
        z = torch.stack([it.oracle.z(run, layer) for layer in range(it.oracle.n_layers)])
        yield "z", seen.way.z, z, LOGITS


def check_patching(component: str) -> Callable[[Subject], Iterator[Comparison]]:
    def check(it: Subject) -> Iterator[Comparison]:
        """Denoising one head (or group) at a time."""
        effect = patch_heads(it.model, [it.pair], component=component).effects["logit_difference"]
        expected = it.oracle.patched(it.pair.corrupted, it.pair.clean, component)
        yield (
            "change",
            np.array(effect.patched[0]) - it.unpatched,
            it.difference(expected) - it.unpatched,
            LOGITS,
        )

    return check


def check_estimate(it: Subject) -> Iterator[Comparison]:
    """Attribution patching: gradient times difference."""
    for component in ("z", "q", "k", "v"):
        effect = attribution_patching(it.model, [it.pair], component=component).effects["logit_difference"]
        expected = it.oracle.first_order(it.pair.corrupted, it.pair.clean, component, it.scored)
        yield component, np.array(effect.patched[0]) - it.unpatched, expected, LOGITS


def check_ablation(it: Subject) -> Iterator[Comparison]:
    """Every head on its own set to zero, and to its mean over the reference set."""
    settings = {"n_prompts": 1, "length": 5, "seed": 0}
    found = {kind: ablate(it.model, kind=kind, pairs=[it.pair], **settings) for kind in ("zero", "mean")}
    batch = repeated_batch(it.model, **settings)
    prompt, period = batch.prompt(0).tolist(), batch.periods[0]
    mean = it.oracle.mean_z(_reference_tokens(it, max(len(prompt), len(it.pair.clean))))
    for kind, values in (("zero", None), ("mean", mean)):
        answers = it.difference(it.oracle.ablated(it.pair.clean, values)[..., -1, :]).ravel()
        nll = [losses(logits, prompt) for logits in it.oracle.ablated(prompt, values).flatten(0, 1)]
        expected = {
            "logit_difference": answers,
            "first_copy_loss": [row[1:period].mean() for row in nll],
            "second_copy_loss": [row[period + 1 :].mean() for row in nll],
        }
        for name, numbers in expected.items():
            yield f"{kind}, {name}", [one.measures[name].edited for one in found[kind].sets], numbers, LOGITS


def _reference_tokens(it: Subject, length: int) -> torch.Tensor:
    """The prompts of the ablation's reference set, as the model was given them, ``[prompt, pos]``."""
    given: list[torch.Tensor] = []
    handle = it.model.embed.register_forward_pre_hook(lambda module, args: given.append(args[0].clone()))
    reference_set(it.model, length, seed=0)
    handle.remove()
    return given[0]


def check_written(it: Subject) -> Iterator[Comparison]:
    """What each head adds to the logits at every position, above the mean over the vocabulary."""
    seen = attend(it.model, it.pair.clean)
    written(it.model, seen, 0, 0)  # refuses, where it does, before anything is computed
    heads = it.parts[0]
    following = [*it.pair.clean[1:], it.pair.clean[5]]
    for layer in range(it.oracle.n_layers):
        got, best, expected, promoted = [], [], [], []
        for head in range(it.oracle.n_heads):
            found = written(it.model, seen, layer, head)
            logits = heads[layer, head] - heads[layer, head].mean(-1, keepdim=True)
            got.append([value for value, _ in found.following])
            best.append([[value for _, value in row] for row in (*found.promoted, *found.suppressed)])
            expected.append([float(row[token]) for row, token in zip(logits, following, strict=True)])
            promoted.append(torch.cat([logits.topk(5).values, logits.topk(5, largest=False).values]).tolist())
        yield f"layer {layer}, following token", got, expected, FIVE_DIGITS
        yield f"layer {layer}, strongest tokens", best, promoted, FIVE_DIGITS


def check_attribution(it: Subject) -> Iterator[Comparison]:
    """Direct logit attribution at the scored position, and what is left of the logits before a cap."""
    found = direct_logit_attribution(it.model, [it.pair])
    heads, rest, _ = it.parts
    expected = [*it.difference(heads[:, :, -1]).ravel(), it.difference(rest[-1])]
    yield "heads and rest", [*np.ravel(found.mean), found.rest], expected, 5 * LOGITS


def check_copying(it: Subject) -> Iterator[Comparison]:
    got, expected = [], []
    for head in ((0, 0), (0, 3), it.receiver):
        found = copying(it.model, head)
        got.append([found.eigenvalue, found.top1])
        expected.append(it.oracle.copying(head))
    yield "eigenvalue and top 1", got, expected, LOGITS


def check_composition(it: Subject) -> Iterator[Comparison]:
    found = composition(it.model, it.receiver).measured
    for name, expected in it.oracle.composition(it.receiver).items():
        yield name, found[name], expected, LOGITS


def check_paths(mlps: str) -> Callable[[Subject], Iterator[Comparison]]:
    def check(it: Subject) -> Iterator[Comparison]:
        """Every earlier head into the queries, keys and values of one head, denoising."""
        pair, (layer, head) = it.pair, it.receiver
        found = path_patch(it.model, it.receiver, [pair], mlps=mlps)
        clean, corrupted = it.oracle.run(pair.clean), it.oracle.run(pair.corrupted)
        gap = it.difference(clean.logits[-1]) - it.unpatched
        looks = float(corrupted.patterns[layer][head, -1, it.target].sum())
        expected = it.oracle.path_patched(pair.corrupted, pair.clean, it.receiver, mlps)
        for name, (logits, attention) in expected.items():
            answer = (it.difference(logits) - it.unpatched) / gap
            yield f"{name}, answer", found.effects[name]["answer"].mean, answer, FIVE_DIGITS
            there = attention[..., it.target].sum(-1) - looks
            offset = name == "v"  # values do not move attention: compared as 1 + 0
            got = offset + np.array(found.effects[name]["attention"].mean, dtype=float)
            yield f"{name}, attention", got, offset + there, FIVE_DIGITS

    return check


QUANTITIES: dict[str, Callable[[Subject], Iterator[Comparison]]] = {
    "logits": check_logits,
    "scores": check_scores,
    "attend": check_attend,
    **{component: check_patching(component) for component in ("z", "pattern", "q", "k", "v")},
    "estimate": check_estimate,
    "ablation": check_ablation,
    "written": check_written,
    "attribution": check_attribution,
    "copying": check_copying,
    "composition": check_composition,
    "paths": check_paths("frozen"),
    "paths, MLPs recomputed": check_paths("recomputed"),
}

# -- what comes of it ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What came of one quantity: equal to the oracle, refused with a sentence, or anything else (``wrong``)."""

    kind: Literal["equal", "refused", "wrong"]
    detail: str = ""


def outcomes(family: Family) -> dict[str, Outcome]:
    """What comes of every quantity on one family."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        try:
            it = Subject(family, path)
        except InputError as error:
            said = str(error).replace(str(path), "model")
            return dict.fromkeys(QUANTITIES, Outcome("refused", said))
        return {quantity: _outcome(it, quantity) for quantity in QUANTITIES}


def _outcome(it: Subject, quantity: str) -> Outcome:
    try:
        apart, worst = max(_apart(*comparison) for comparison in QUANTITIES[quantity](it))
    except InputError as error:
        return Outcome("refused", str(error))
    except Undefined as error:
        return Outcome("wrong", str(error))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = (str(error).splitlines() or [""])[0][:200]
        return Outcome(
            "wrong", f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {said}"
        )
    return Outcome("equal" if apart <= 1 else "wrong", worst)


def _apart(what: str, got: Any, expected: Any, rounding: float) -> tuple[float, str]:
    """How far two sets of numbers are apart in units of what is allowed, and in words."""
    got, expected = (np.asarray(values, dtype=float) for values in (got, expected))
    if got.shape != expected.shape:
        return np.inf, f"{what}: shape {got.shape}, not {expected.shape}"
    largest = np.abs(expected).max()
    apart = np.abs(got - expected).max()
    if np.isnan(apart):
        return np.inf, f"{what}: not a number"
    if largest < 10 * rounding:
        return np.inf, f"{what}: at most {largest:.2g}, so that being equal means nothing"
    return apart / (TOLERANCE * largest + rounding), f"{what}: off by {apart:.2g}, largest {largest:.2g}"


def table(found: dict[str, dict[str, Outcome]]) -> str:
    """Families down, quantities across; the sentences of refusals and what is wrong, numbered, below."""
    notes: dict[str, int] = {}

    def cell(name: str, quantity: str, one: Outcome) -> str:
        pinned = quantity in REFUSED.get(name, {})
        if one.kind == "equal":
            return "= (not refused)" if pinned else "="
        kind = "**WRONG**" if one.kind == "wrong" else "refused" if pinned else "**REFUSED**"
        return f"{kind} {notes.setdefault(one.detail, len(notes) + 1)}"

    rows = [[name, *(cell(name, *item) for item in row.items())] for name, row in found.items()]
    lines = [["family", *QUANTITIES], ["---"] * (len(QUANTITIES) + 1), *rows]
    footnotes = [f"{number}. {text}" for text, number in notes.items()]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", *footnotes])


def summary() -> str:
    """The table as the README shows it, from :data:`families.REFUSED`, which the test holds to the runs."""
    whole = [name for name in FAMILIES if name not in REFUSED]
    lines = [
        f"All {len(QUANTITIES)} quantities are equal to the oracle's on {len(whole)} variants: {'; '.join(whole)}.",
        "",
        "| refused in words | quantities | why |",
        "|---|---|---|",
    ]
    alike: dict[tuple[str, str], list[str]] = {}
    for name, refused in REFUSED.items():
        for why in dict.fromkeys(refused.values()):
            quantities = [quantity for quantity in QUANTITIES if refused.get(quantity) == why]
            which = "all (not loaded)" if len(quantities) == len(QUANTITIES) else "; ".join(quantities)
            alike.setdefault((which, why), []).append(name)
    lines += [f"| {'; '.join(names)} | {which} | {why} |" for (which, why), names in alike.items()]
    return "\n".join(lines)


def main(names: list[str]) -> None:
    if names == ["--readme"]:
        print(summary())
        return
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    found: dict[str, dict[str, Outcome]] = {}
    for name in names or FAMILIES:
        found[name] = outcomes(FAMILIES[name])
        print(name, file=sys.stderr, flush=True)
    print(table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
