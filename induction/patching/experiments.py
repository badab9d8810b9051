"""What can be asked about interventions: heads one by one, heads together, ablation. No torch until it runs."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Self

from induction.analysis.reading import passing
from induction.analysis.result import Scan
from induction.base import Head, InputError, Progress, parse_heads
from induction.data_gen.prompts import TOKENS
from induction.data_gen.sequences import TOKEN_SETS
from induction.experiment import LONGEST_TEXT, Experiment, Settings, seed_setting, setting
from induction.patching.edge_results import INDUCTION, EdgeKnockout, parse_edges
from induction.patching.interventions import ABLATIONS, COMPONENTS, DIRECTIONS, WHEN, Declaration, by_name
from induction.patching.results import HeadSets, Patching

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from induction.data_gen.pairs import PromptPair
    from induction.patching.heads import NamedSet

BUNDLED, OWN, IOI = "bundled", "own", "ioi"
LARGEST_SET = 64  # heads that a visitor asks for together
MOST_EDGES = 100  # that a visitor marks
LONGEST_CURVE, WITHOUT_INDUCTION = 20, 5  # heads of a curve: at most, and where no head is an induction head
# For estimates of work: prompts of a fixed form, a prompt of generated pairs, two copies of repeated tokens, and the
# share of the model that runs again where a head in the middle of it was changed.
FIXED, TOKENS_OF_PAIR, TOKENS_OF_REPEAT, REPEATS, SHARE = {BUNDLED: 20, IOI: 8}, 13, 100, 5, 0.6

#: Where the prompts come from.
FORMS: dict[str, Declaration] = by_name(
    Declaration(
        BUNDLED,
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
    Declaration(
        IOI,
        "Indirect object",
        "Another task: When John and Mary went to the shops, John gave the bag to … Mary. Eight such prompts; "
        "corrupted, the names are swapped.",
    ),
    Declaration(OWN, "Own texts", "Two texts with the same number of tokens, scored at their end."),
)
METHODS: dict[str, Declaration] = by_name(
    Declaration("exact", "Exact", "Every head is patched."),
    Declaration(
        "estimate",
        "Estimate",
        "Attribution patching: gradient times difference for all heads at once, which can be far off.",
    ),
)


class PairSettings(Settings):
    """Which prompt pairs."""

    form: str = setting(
        BUNDLED, "Prompts", "Where the prompts come from", choices=FORMS, link="prompts", said="prompts: {}"
    )
    vocab: str = setting(
        "random",
        "Token set",
        "Words suit a language model",
        choices=TOKEN_SETS,
        link="patch_vocab",
        said="token set {}",
    )
    n_pairs: int = setting(
        10,
        "Prompt pairs",
        "Of generated prompts",
        low=1,
        high=50,
        link="pairs",
        flag="prompts",
        said="{} pairs",
    )
    seed: int = seed_setting(link="patch_seed")
    clean: str = setting(
        "", "Clean prompt", f"What the model answers; up to {TOKENS} tokens", high=LONGEST_TEXT, link="clean"
    )
    corrupted: str = setting(
        "",
        "Corrupted prompt",
        "As many tokens, without what the answer needs",
        high=LONGEST_TEXT,
        link="corrupted",
        flag="corrupt",
    )
    answer: str = setting(
        "", "Answer", "One token; empty: what the model says to the clean prompt", high=100, link="answer"
    )
    distractor: str = setting(
        "",
        "Distractor",
        "One token; empty: what it says to the corrupted prompt",
        high=100,
        link="distractor",
    )

    def unused(self) -> tuple[str, ...]:
        """Texts of generated prompts do not count, nor do numbers of texts."""
        if self.form == OWN:
            return "vocab", "n_pairs", "seed"
        texts = ("clean", "corrupted", "answer", "distractor")
        return (*texts, "vocab", "n_pairs") if self.form in FIXED else texts

    def work(self, rows: float) -> float:
        """Tokens through the model for so many variants of each prompt."""
        own = len(self.clean) / 4
        tokens = own if self.form == OWN else TOKENS_OF_PAIR * FIXED.get(self.form, self.n_pairs)
        return tokens * (2 + rows * SHARE)

    def check_served(self, model: TransformerBridge) -> None:
        """Raises InputError where a text is longer than a page runs for its visitors."""
        from induction.model.tokens import encode

        for text in (self.clean, self.corrupted) if self.form == OWN else ():
            if (n := len(encode(model, text))) > TOKENS:
                raise InputError(f"A text may have {TOKENS} tokens here, not {n}; shorten it.")

    def prompts(self, model: TransformerBridge) -> list[PromptPair]:
        """The prompts that these settings name.

        Raises:
            InputError: texts that do not make a pair, or a token set that does not suit the model.
        """
        from induction.data_gen.pairs import pair_from_texts, pairs
        from induction.patching.bundled import ioi_pairs, prompts_of

        if self.form in (BUNDLED, IOI):
            return prompts_of(model) if self.form == BUNDLED else ioi_pairs(model)
        if self.form != OWN:
            return pairs(model, self.n_pairs, form=self.form, vocab=self.vocab, seed=self.seed)
        return [
            pair_from_texts(model, self.clean, self.corrupted, self.answer or None, self.distractor or None)
        ]


class CopySettings(PairSettings):
    """What is copied from one run into the other."""

    direction: str = setting(
        "denoise", "Direction", "Which run is patched with which", choices=DIRECTIONS, link="direction"
    )
    component: str = setting(
        "z", "What is copied", "The activation of a head", choices=COMPONENTS, link="component"
    )


class HeadsSettings(CopySettings):
    method: str = setting("exact", "Method", "Patched, or estimated", choices=METHODS, link="method")


class SetSettings(Settings):
    """Which heads together, and against how many random sets."""

    heads: str = setting("", "The set", "layer.head, …; empty: the first k by induction score", link="heads")
    n_random: int = setting(
        20,
        "Random sets for each",
        "Of other heads in the same layers",
        low=0,
        high=100,
        link="random_sets",
        flag="random-sets",
        said="{} random sets for each",
    )

    def check(self) -> None:
        self.named(1000, 1000)

    def named(self, n_layers: int, n_heads: int) -> tuple[Head, ...]:
        """The heads of the set; none where it is empty."""
        return parse_heads(self.heads, n_layers, n_heads) if self.heads.strip() else ()

    def served(self) -> Self:
        if len(self.named(1000, 1000)) > LARGEST_SET:
            raise InputError(f"A set has at most {LARGEST_SET} heads here; leave some out.")
        return super().served()


class TogetherSettings(SetSettings, CopySettings):
    top_k: int = setting(
        0,
        "k",
        "Curve over the first 1, 2, … k heads; 0: as many as the model has induction heads",
        low=0,
        high=LONGEST_CURVE,
        link="k",
        flag="top",
        said="first {} heads",
    )

    def unused(self) -> tuple[str, ...]:
        return (*super().unused(), *(["top_k"] if self.heads else []))

    def words(self) -> str:
        return super().words().replace("first 0 heads", "the induction heads, one more at a time")


class AblationSettings(SetSettings, PairSettings):
    heads: str = setting("", "The set", "layer.head, …; empty: each head in turn", link="heads")
    ablation: str = setting(
        "mean", "Ablation", "What replaces the heads' outputs", choices=ABLATIONS, link="ablation"
    )


class KnockoutSettings(SetSettings, PairSettings):
    heads: str = setting("", "The set", "layer.head, …; empty: the induction heads", link="heads")
    n_random: int = setting(
        20,
        "Random sets and edges",
        "So many sets of other heads in the same layers, and of other edges of the same heads",
        low=0,
        high=100,
        link="random_sets",
        flag="random-sets",
        said="{} random sets and edges",
    )
    when: str = setting("before", "Removed", "When an edge is removed", choices=WHEN, link="when")
    edges: str = setting(
        "",
        "Edges",
        "query>key by position from 0, as in 5>2, 7>3, of your own text; empty: where induction looks",
        link="edges",
        said="edges {}",
    )

    def check(self) -> None:
        super().check()
        if not self.edges.strip():
            return
        parse_edges(self.edges)
        if self.form != OWN:
            raise InputError(
                "Edges are positions of a text of your own: choose own texts as prompts, or leave the edges empty for "
                "where induction looks."
            )

    def served(self) -> Self:
        if self.edges.strip() and len(parse_edges(self.edges)) > MOST_EDGES:
            raise InputError(f"At most {MOST_EDGES} edges can be marked here; leave some out.")
        return super().served()

    def asked_edges(self) -> str | frozenset[tuple[int, int]]:
        """Marked edges, or that they are where induction looks."""
        return parse_edges(self.edges) if self.edges.strip() else INDUCTION


def run_heads(model: TransformerBridge, settings: HeadsSettings) -> Iterator[Progress[Patching]]:
    from induction.patching.attribution import attribution_patching
    from induction.patching.heads import iter_patch_heads

    pairs = settings.prompts(model)
    drawn_with = None if settings.form == OWN else settings.seed
    copied = {"direction": settings.direction, "component": settings.component, "seed": drawn_with}
    if settings.method == "estimate":
        yield Progress(1, 1, "done", attribution_patching(model, pairs, **copied))
    else:
        yield from iter_patch_heads(model, pairs, **copied)


def run_together(
    model: TransformerBridge, settings: TogetherSettings, scan: Scan | None = None
) -> Iterator[Progress[HeadSets]]:
    from induction.patching.heads import NamedSet, iter_patch_sets

    heads = settings.named(model.cfg.n_layers, model.cfg.n_heads)
    if heads:
        sets = [NamedSet("the set", heads)]
    else:
        sets = yield from _first_heads(model, settings.top_k, scan)
    copied = {"direction": settings.direction, "component": settings.component}
    random = {"n_random": settings.n_random, "seed": settings.seed}
    yield from iter_patch_sets(model, settings.prompts(model), sets, **copied, **random)


def _first_heads(
    model: TransformerBridge, k: int, scan: Scan | None
) -> Generator[Progress[Any], None, list[NamedSet]]:
    """The first 1, 2, … k heads by induction score (:func:`curve_length`)."""
    from induction.patching.heads import top_k_sets

    scan = yield from _scored(model, scan)
    ranked = scan.ranked("induction")
    return top_k_sets(ranked, curve_length(k, scan))


def _scored(model: TransformerBridge, scan: Scan | None) -> Generator[Progress[Any], None, Scan]:
    """A scan with induction scores; a model without one is scanned first."""
    from induction.analysis.scanning import iter_scan

    if scan is None or "induction" not in scan.scores:
        for step in iter_scan(model, scores=("induction",), loss=False):
            scan = step.result
            yield Progress(step.done, step.total, f"induction scores: {step.label}")
    assert scan is not None  # the last step carries it
    return scan


def curve_length(k: int, scan: Scan | None) -> int:
    """How many heads a curve has: ``k``, or for 0 as many as a scan found induction heads, within what there is."""
    found = len(passing(scan)) if scan else 0
    length = k or min(found, LONGEST_CURVE) or WITHOUT_INDUCTION
    return min(length, scan.n_layers * scan.n_heads) if scan else length


def run_ablation(model: TransformerBridge, settings: AblationSettings) -> Iterator[Progress[HeadSets]]:
    from induction.patching.ablation import iter_ablate
    from induction.patching.heads import NamedSet

    heads = settings.named(model.cfg.n_layers, model.cfg.n_heads)
    sets = [NamedSet("the set", heads)] if heads else None
    random = {"n_random": settings.n_random if sets else 0, "seed": settings.seed}
    yield from iter_ablate(model, sets, kind=settings.ablation, pairs=settings.prompts(model), **random)


def run_knockout(
    model: TransformerBridge, settings: KnockoutSettings, scan: Scan | None = None
) -> Iterator[Progress[EdgeKnockout]]:
    from induction.patching.edges import iter_knock_out
    from induction.patching.heads import NamedSet

    heads = settings.named(model.cfg.n_layers, model.cfg.n_heads)
    pairs, label = settings.prompts(model), "the set"
    if not heads:
        scan = yield from _scored(model, scan)
        heads, label = tuple(passing(scan)), "the induction heads"
    if not heads:
        raise InputError(
            f"No head of {scan.model} passes as an induction head; name the heads to take edges from."
        )
    asked = {"edges": settings.asked_edges(), "when": settings.when, "pairs": pairs}
    yield from iter_knock_out(
        model, [NamedSet(label, heads)], **asked, n_random=settings.n_random, seed=settings.seed
    )


def heads_work(n_layers: int, n_heads: int, settings: HeadsSettings) -> float:
    return settings.work(6 if settings.method == "estimate" else n_layers * n_heads)


def together_work(n_layers: int, n_heads: int, settings: TogetherSettings) -> float:
    sets = 1 if settings.heads else curve_length(settings.top_k, None)
    return settings.work(sets * (1 + settings.n_random))


def ablation_work(n_layers: int, n_heads: int, settings: AblationSettings) -> float:
    rows = 1 + settings.n_random if settings.heads else n_layers * n_heads
    return settings.work(rows) + REPEATS * TOKENS_OF_REPEAT * (2 + rows * SHARE)


def knockout_work(n_layers: int, n_heads: int, settings: KnockoutSettings) -> float:
    rows = 2 + 2 * settings.n_random
    losses = 0 if settings.edges.strip() else REPEATS * TOKENS_OF_REPEAT * (3 + rows * SHARE)
    return settings.work(rows) + losses


EXPERIMENTS = (
    Experiment(
        name="heads",
        title="Heads one by one",
        help="Activation patching between clean and corrupted prompts, every head on its own.",
        settings=HeadsSettings,
        result=Patching,
        run=run_heads,
        work=heads_work,
    ),
    Experiment(
        name="together",
        title="Heads together",
        help="Activation patching of heads together, a set or the first k by induction score, against random sets.",
        settings=TogetherSettings,
        result=HeadSets,
        run=run_together,
        work=together_work,
        known=("scan",),
    ),
    Experiment(
        name="ablation",
        title="Ablation",
        help="Remove heads, a set against random sets or each in turn: what happens to the answer and to the losses?",
        settings=AblationSettings,
        result=HeadSets,
        run=run_ablation,
        work=ablation_work,
    ),
    Experiment(
        name="knockout",
        title="Attention knockout",
        help="Take single edges from heads, the attention to where induction looks: does that cost as much as the "
        "heads themselves?",
        settings=KnockoutSettings,
        result=EdgeKnockout,
        run=run_knockout,
        work=knockout_work,
        known=("scan",),
    ),
)
