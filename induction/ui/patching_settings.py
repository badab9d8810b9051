"""What is asked of patching, and which results are there for it: those of this session, else the bundled ones.

Everything on show is a function of the model and of these settings, which all stand in the address. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from induction.base import InputError, check_choice, parse_heads
from induction.data_gen.sequences import TOKEN_SETS
from induction.patching import results
from induction.patching.interventions import (
    ABLATIONS,
    COMPONENTS,
    DIRECTIONS,
    Component,
    Declaration,
    Direction,
)
from induction.patching.results import HeadSets, Patching
from induction.results import slug
from induction.ui import jobs, links, received

# Limits of a live run: shown beside the controls, enforced in the checks.
PAIRS = (1, 50)
RANDOM_SETS = (0, 100)
TOP_K = (1, 20)
TOKENS = 256  # of a text of one's own

#: Where the prompts come from.
FORMS: dict[str, Declaration] = {
    declaration.name: declaration
    for declaration in (
        Declaration(
            "bundled",
            "As bundled",
            "The prompts of the bundled results, so that what you run compares with them.",
        ),
        Declaration(
            "first_a",
            "A replaced",
            "Generated: … A B … A. The corrupted twin has another word in place of the first A.",
        ),
        Declaration(
            "target",
            "B replaced",
            "Generated: … A B … A. The corrupted twin has another word in place of the first B.",
        ),
        Declaration("own", "Own texts", "Two texts with the same number of tokens, scored at their end."),
    )
}
METHODS: dict[str, Declaration] = {
    declaration.name: declaration
    for declaration in (
        Declaration("exact", "Exact", "Every head is patched."),
        Declaration(
            "estimate",
            "Estimate",
            "Attribution patching: gradient times difference for all heads at once, which can be far off.",
        ),
    )
}
#: What can be done with heads together.
ACTIONS: dict[str, Declaration] = {
    declaration.name: declaration
    for declaration in (
        Declaration("curve", "First k heads", "Patch the first 1, 2, … k heads by induction score together."),
        Declaration("patch", "Patch the set", "Patch the heads of the set together."),
        Declaration(
            "ablate", "Ablate the set", "Replace the outputs of the set's heads in the clean prompt."
        ),
    )
}

sweeps: jobs.Cache[Patching] = jobs.Cache(24)  # by (model, Sweep)
sets: jobs.Cache[HeadSets] = jobs.Cache(24)  # by (model, Sweep, Together)


@dataclass(frozen=True)
class Sweep:
    """Which prompts, and what is done to every head on its own."""

    form: str = "bundled"
    vocab: str = "random"
    n_pairs: int = 10
    seed: int = 0
    clean: str = ""
    corrupted: str = ""
    answer: str = ""
    distractor: str = ""
    direction: Direction = "denoise"
    component: Component = "z"
    method: str = "exact"

    def key(self) -> Sweep:
        """The same without what does not count: texts of generated prompts, numbers of texts."""
        if self.form == "own":
            return replace(self, vocab="random", n_pairs=1, seed=0)
        return replace(self, clean="", corrupted="", answer="", distractor="")

    def check(self) -> None:
        """Raises InputError where a name is unknown or a limit is exceeded."""
        received.check_limits(
            ("number of prompt pairs", self.n_pairs, PAIRS),
            ("seed", self.seed, received.SEED),
        )
        check_choice(self.vocab, tuple(TOKEN_SETS), "token set")
        check_choice(self.form, tuple(FORMS), "kind of prompts")
        check_choice(self.direction, tuple(DIRECTIONS), "direction")
        check_choice(self.component, tuple(COMPONENTS), "component")
        check_choice(self.method, tuple(METHODS), "method")
        if max(map(len, (self.clean, self.corrupted, self.answer, self.distractor))) > links.PROMPT_LIMIT:
            raise InputError(f"A text may have {links.PROMPT_LIMIT} characters; shorten it.")


@dataclass(frozen=True)
class Together:
    """What is done to heads together."""

    action: str = "curve"
    heads: str = ""
    top_k: int = 5
    n_random: int = 20
    ablation: str = "mean"

    def key(self) -> Together:
        """The same without what does not count for this action."""
        kept: dict[str, dict[str, Any]] = {
            "curve": {"heads": "", "ablation": "mean"},
            "patch": {"top_k": 1, "ablation": "mean"},
            "ablate": {"top_k": 1},
        }
        return replace(self, **kept.get(self.action, {}))

    def check(self) -> None:
        """Raises InputError where a name is unknown or a limit is exceeded."""
        received.check_limits(
            ("number of random sets", self.n_random, RANDOM_SETS),
            ("number of first heads", self.top_k, TOP_K),
        )
        check_choice(self.action, tuple(ACTIONS), "action")
        check_choice(self.ablation, tuple(ABLATIONS), "ablation")
        if self.action != "curve":
            heads = parse_heads(self.heads, 1000, 1000) if self.heads.strip() else ()
            if not heads:
                raise InputError("The set is empty; click heads in the map or take the first k heads.")
            if len(heads) > links.HEADS_LIMIT:
                raise InputError(f"A set has at most {links.HEADS_LIMIT} heads here, not {len(heads)}.")


def shown_sweep(model: str, sweep: Sweep) -> Patching | None:
    """The result for these settings: kept from a run, or bundled; None where there is none."""
    kept = sweeps.get((model, sweep.key()))
    if kept is not None or sweep.form != "bundled" or sweep.method != "exact":
        return kept
    for name in (slug(model), f"{slug(model)}-ioi-{sweep.component}"):  # computed here, else published
        result = results.bundled(name) if name in results.bundled_names() else None
        asked = (sweep.direction, sweep.component)
        if isinstance(result, Patching) and (result.direction, result.component) == asked:
            return result
    return None


def shown_sets(model: str, sweep: Sweep, together: Together) -> HeadSets | None:
    """The result for heads together: kept from a run, or the bundled curve; None where there is none."""
    kept = sets.get((model, sweep.key(), together.key()))
    if kept is not None or sweep.form != "bundled" or together.action != "curve":
        return kept
    name = f"{slug(model)}-top-k"
    result = results.bundled(name) if name in results.bundled_names() else None
    if not isinstance(result, HeadSets) or together.top_k > len(result.sets):
        return None
    if (result.intervention, result.component) != (sweep.direction, sweep.component):
        return None
    return replace(result, sets=result.sets[: together.top_k])


def is_live(model: str, sweep: Sweep) -> bool:
    """Whether the result on show was run here."""
    return sweeps.get((model, sweep.key())) is not None


def bundled_components(model: str) -> list[str]:
    """Titles of the components with a bundled sweep, denoising."""
    return [
        declared.title
        for name, declared in COMPONENTS.items()
        if shown_sweep(model, Sweep(component=name)) is not None
    ]


def from_texts(values: Mapping[str, Any]) -> tuple[Sweep, Together]:
    """The settings of an export request; what is missing gets the default.

    Raises:
        InputError: a value of another type, an unknown name or an exceeded limit.
    """
    sweep, together = received.settings(Sweep, values), received.settings(Together, values)
    sweep.check()
    return sweep, together
