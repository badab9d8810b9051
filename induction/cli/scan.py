"""``scan`` ranks the heads of a model; ``verify`` holds a live scan against known figures."""

from __future__ import annotations

import argparse

from induction.analysis.scores import SCORES
from induction.base import InputError
from induction.cli.common import Commands, add_model, add_output, add_prompts, deliver, load, with_progress
from induction.results import Scan, remarks, selection, to_csv, to_json, verdict
from induction.viz.scan import levels

BAR_WIDTH = 24


def add(commands: Commands) -> None:
    scan = commands.add_parser("scan", help="score every head of a model and rank them")
    add_model(scan)
    add_prompts(scan)
    scan.add_argument("--length", type=int, help="mean length of one copy, varied by a fifth (default 50)")
    scan.add_argument("--score", choices=list(SCORES), default="induction", help="what to rank by")
    scan.add_argument("--top", type=int, default=10, metavar="K", help="heads to list (default 10)")
    add_output(scan)
    scan.set_defaults(run=run_scan)

    verify = commands.add_parser("verify", help="scan live and compare with the known figures of a model")
    verify.add_argument("model", help="a model with known figures")
    verify.add_argument("--device", default="cpu", help="torch device (default cpu)")
    add_prompts(verify)
    verify.set_defaults(run=run_verify, length=None)


def run_scan(options: argparse.Namespace) -> None:
    from induction.analysis.scanning import DEFAULT_SCORES

    if options.top < 1:
        raise InputError(f"--top counts heads: give 1 or more, not {options.top}.")
    result = _scan(options, tuple(dict.fromkeys((*DEFAULT_SCORES, options.score))))
    table = _table(result, options.score, options.top)
    deliver(options, text=table, json=to_json(result), csv=to_csv(result))


def run_verify(options: argparse.Namespace) -> int:
    """Exit code 0 where every line passes."""
    from induction.model import load_model, resolve
    from induction.results.verify import verifiable, verify

    name = resolve(options.model)
    if name not in verifiable():
        raise InputError(
            f"No figures of {options.model} are known here; choose from {', '.join(verifiable())}."
        )
    checks = list(verify(_scan(options, ("induction", "previous_token"))))
    if name == "gpt2":
        from induction.results.ioi import verify_ioi

        checks += verify_ioi(load_model(name, options.device))
    for check in checks:
        print(f"{'pass' if check.passed else 'FAIL'}  {check.claim}: {check.measured}")
    return 0 if all(check.passed for check in checks) else 1


def _scan(options: argparse.Namespace, scores: tuple[str, ...]) -> Scan:
    from induction.analysis.scanning import iter_scan

    steps = iter_scan(
        load(options),
        n_prompts=options.prompts,
        vocab=options.vocab,
        length=options.length,
        seed=options.seed,
        scores=scores,
    )
    return with_progress(steps)


def _table(scan: Scan, score: str, top: int) -> str:
    """The ranking with intervals and a bar per head, and the scan in words: verdict, the pick, what to beware of."""
    values = scan.scores[score]
    lines = [
        f"{scan.model}: {scan.n_layers} layers x {scan.n_heads} heads, {scan.origin}",
        f"{SCORES[score].title}: {values.protocol}",
        levels(values),
        "",
        f"rank  head   score  {'95 % interval':15}",
    ]
    for rank, (layer, head, mean) in enumerate(scan.ranked(score)[:top], 1):
        interval = ""
        if values.low and values.high:
            interval = f"{values.low[layer][head]:.3f} to {values.high[layer][head]:.3f}"
        bar = "█" * round(BAR_WIDTH * min(max(mean, 0), 1))
        lines.append(f"{rank:4}  {f'{layer}.{head}':5}  {mean:.3f}  {interval:15}  {bar}".rstrip())
    words = [
        verdict(scan),
        str(selection(scan, score)),
        *remarks(scan, score, "induction"),
    ]  # the verdict is on induction
    return "\n".join([*lines, "", *words, f"{scan.seconds} s, seed {scan.seed}"])
