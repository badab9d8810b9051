"""What can be asked about circuits. No torch until it runs."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from induction.analysis.result import Scan
from induction.base import Head, InputError, Progress, parse_heads
from induction.circuit.results import MLPS, Circuit
from induction.circuit.sources import Looking
from induction.data_gen.prompts import TOKENS
from induction.data_gen.sequences import TOKEN_SETS
from induction.experiment import LONGEST_TEXT, Experiment, Settings, seed_setting, setting
from induction.patching.experiments import SHARE, TOKENS_OF_PAIR, TOKENS_OF_REPEAT
from induction.patching.interventions import DIRECTIONS

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

AUTO = "auto"  # the strongest induction heads


class CircuitSettings(Settings):
    n_pairs: int = setting(
        10, "Prompt pairs", "Clean prompts and their twins", low=1, high=20, flag="prompts", said="{} pairs"
    )
    vocab: str = setting(
        "random", "Token set", "Words suit a language model", choices=TOKEN_SETS, said="token set {}"
    )
    seed: int = seed_setting()
    head: str = setting(
        AUTO,
        "Head",
        "layer.head of the head that is fed; auto: the strongest induction heads",
        said="fed head: {}",
    )
    mlps: str = setting(
        "frozen",
        "Between sender and receiver",
        "What MLPs there do; frozen: the direct path alone",
        choices=MLPS,
    )
    direction: str = setting("denoise", "Direction", "Of the path patching", choices=DIRECTIONS)

    def check(self) -> None:
        if self.head != AUTO and len(parse_heads(self.head, 1000, 1000)) > 1:
            raise InputError("A circuit is traced into one head; ask once for each.")


def run_circuit(
    model: TransformerBridge, settings: CircuitSettings, scan: Scan | None = None
) -> Iterator[Progress[Circuit]]:
    from induction.circuit.trace import iter_circuit

    asked = settings.model_dump(exclude={"head"})
    head = None
    if settings.head != AUTO:
        (head,) = parse_heads(settings.head, model.cfg.n_layers, model.cfg.n_heads)
    yield from iter_circuit(model, head, scan=scan if scan and scan.kind == "computed" else None, **asked)


def work(n_layers: int, n_heads: int, settings: CircuitSettings) -> float:
    receivers = 3 if settings.head == AUTO else 1
    rows = receivers * 3 * n_layers * n_heads / 2  # each earlier head into each of three inputs
    return settings.n_pairs * TOKENS_OF_PAIR * (4 + rows * SHARE)


class WhySettings(Settings):
    text: str = setting(
        "", "Text", "A prompt of your own; empty: the mean over generated prompts", high=LONGEST_TEXT
    )
    head: str = setting(AUTO, "Head", "layer.head; auto: the strongest induction head", said="head: {}")
    query_at: int = setting(
        -1,
        "Query",
        "Position that looks; -1: the last whose token came before",
        low=-1,
        high=TOKENS,
        flag="query",
        said="query {}",
    )
    key_at: int = setting(
        -1,
        "Key",
        "Position looked at; -1: the query's induction target",
        low=-1,
        high=TOKENS,
        flag="key",
        said="key {}",
    )
    n_prompts: int = setting(
        10,
        "Prompts",
        "Generated ones, of repeated random tokens",
        low=1,
        high=20,
        flag="prompts",
        said="{} prompts",
    )
    seed: int = seed_setting()

    def check(self) -> None:
        if self.head != AUTO and len(parse_heads(self.head, 1000, 1000)) > 1:
            raise InputError("One head is explained at a time; ask once for each.")

    def unused(self) -> tuple[str, ...]:
        """Positions are of a text, numbers of generated prompts; the seed also draws a text's control."""
        return ("n_prompts",) if self.text.strip() else ("text", "query_at", "key_at")


def run_why(
    model: TransformerBridge, settings: WhySettings, scan: Scan | None = None
) -> Iterator[Progress[Looking]]:
    from induction.circuit.looking import iter_explain, iter_explain_text
    from induction.model.tokens import encode

    ids = encode(model, settings.text) if settings.text.strip() else []
    if len(ids) > TOKENS:
        raise InputError(f"A text may have {TOKENS} tokens here, not {len(ids)}; shorten it.")
    if settings.head == AUTO:
        head = yield from _strongest(model, scan, settings.seed)
    else:
        (head,) = parse_heads(settings.head, model.cfg.n_layers, model.cfg.n_heads)
    if ids:
        yield from iter_explain_text(model, head, ids, settings.query_at, settings.key_at, seed=settings.seed)
    else:
        yield from iter_explain(model, head, settings.n_prompts, settings.seed)


def _strongest(
    model: TransformerBridge, scan: Scan | None, seed: int
) -> Generator[Progress[Looking], None, Head]:
    """The head with the highest induction score, measured where no scan of this model is known."""
    if scan is None or scan.kind != "computed" or "induction" not in scan.scores:
        from induction.analysis.scanning import iter_scan

        for step in iter_scan(model, scores=("induction",), loss=False, seed=seed):
            scan = step.result or scan
            yield Progress(0, 1, f"the strongest induction head: {step.label}")
    layer, head, _ = scan.ranked()[0]
    return layer, head


def why_work(n_layers: int, n_heads: int, settings: WhySettings) -> float:
    known = 0 if settings.head != AUTO else 10 * TOKENS_OF_REPEAT
    asked = len(settings.text) / 4 if settings.text else settings.n_prompts * TOKENS_OF_REPEAT
    return known + 2 * 65 + 2 * asked


EXPERIMENTS = (
    Experiment(
        name="circuit",
        title="Circuit",
        help="Trace which earlier head feeds an induction head: kinds of heads, composition and path patching.",
        settings=CircuitSettings,
        result=Circuit,
        run=run_circuit,
        work=work,
        known=("scan",),
    ),
    Experiment(
        name="why",
        title="Why it looks there",
        help="Split a head's score of one cell by what stands at the query and at the key: heads, MLPs, embedding.",
        settings=WhySettings,
        result=Looking,
        run=run_why,
        work=why_work,
        known=("scan",),
    ),
)
