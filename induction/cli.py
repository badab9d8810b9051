"""``python -m induction ...``: one function per subcommand, tables by default, one JSON document on request.

Results go to standard output, progress and warnings to standard error. Exit codes: 0 done, 1 a verification
failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from induction.data_gen import TOKEN_SETS
from induction.errors import InputError
from induction.progress import Progress, finish
from induction.results import Scan, to_csv, to_json, verdict
from induction.scores import SCORES

Result = TypeVar("Result")
BAR_WIDTH = 24


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
    try:
        return options.run(options) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, `head` for example, has seen enough
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m induction", description=__import__("induction").__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    models = commands.add_parser("models", help="list the models and where their weights would come from")
    models.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    models.set_defaults(run=run_models)

    scan = commands.add_parser("scan", help="score every head of a model and rank them")
    _add_model(scan)
    _add_prompts(scan)
    scan.add_argument("--length", type=int, help="mean length of one copy, varied by a fifth (default 50)")
    scan.add_argument("--score", choices=list(SCORES), default="induction", help="what to rank by")
    scan.add_argument("--top", type=int, default=10, metavar="K", help="heads to list (default 10)")
    scan.add_argument("--csv", type=Path, metavar="FILE", help="also write one row per head")
    _add_output(scan)
    scan.set_defaults(run=run_scan)

    verify = commands.add_parser("verify", help="scan live and compare with the known figures of a model")
    verify.add_argument("model", help="a model with known figures")
    _add_prompts(verify)
    verify.set_defaults(run=run_verify)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        nargs="?",
        help="a name from `models`, a Hugging Face folder or a .gguf file (default: gpt2 where it is cached, "
        "else the bundled mini-2l)",
    )


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompts", type=int, default=10, metavar="N", help="number of prompts (default 10)")
    parser.add_argument(
        "--vocab", choices=list(TOKEN_SETS), default="random", help="token set of the prompts"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the prompts (default 0)")
    parser.add_argument("--device", default="cpu", help="torch device (default cpu)")


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON result to a file")


def run_models(options: argparse.Namespace) -> None:
    import json
    from dataclasses import asdict

    from induction.model import CATALOGUE, availability

    if options.json:
        print(
            json.dumps(
                [{**asdict(card), "availability": availability(name)} for name, card in CATALOGUE.items()]
            )
        )
        return
    header = ("model", "layers x heads", "parameters", "weights", "licence", "good for")
    rows = [
        (
            name,
            f"{card.n_layers} x {card.n_heads}",
            f"{card.parameters / 1e6:.1f} M",
            f"{card.download_mb} MB to download" if availability(name) == "download" else availability(name),
            card.licence,
            card.good_for,
        )
        for name, card in CATALOGUE.items()
    ]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def run_scan(options: argparse.Namespace) -> None:
    from induction.analysis import DEFAULT_SCORES

    if options.top < 1:
        raise InputError(f"--top counts heads: give 1 or more, not {options.top}.")
    scores = tuple(dict.fromkeys((*DEFAULT_SCORES, options.score)))
    result = _scan(options, options.model, scores, options.length)
    if options.out:
        _write(options.out, to_json(result))
    if options.csv:
        _write(options.csv, to_csv(result))
    print(to_json(result) if options.json else _scan_table(result, options.score, options.top))


def _scan(options: argparse.Namespace, name: str | None, scores: tuple[str, ...], length: int | None) -> Scan:
    from induction.analysis import iter_scan

    steps = iter_scan(
        _load(options, name),
        n_prompts=options.prompts,
        vocab=options.vocab,
        length=length,
        seed=options.seed,
        scores=scores,
    )
    return _with_progress(steps)


def _scan_table(scan: Scan, score: str, top: int) -> str:
    """The ranking with intervals and a bar per head, and the scan in words."""
    values = scan.scores[score]
    lines = [
        f"{scan.model}: {scan.n_layers} layers x {scan.n_heads} heads, {scan.origin}",
        f"{SCORES[score].title}: {values.protocol}",
        "",
        f"rank  head   score  {'95 % interval':15}",
    ]
    for rank, (layer, head, mean) in enumerate(scan.ranked(score)[:top], 1):
        interval = ""
        if values.low and values.high:
            interval = f"{values.low[layer][head]:.3f} to {values.high[layer][head]:.3f}"
        bar = "█" * round(BAR_WIDTH * min(max(mean, 0), 1))
        lines.append(f"{rank:4}  {f'{layer}.{head}':5}  {mean:.3f}  {interval:15}  {bar}".rstrip())
    return "\n".join([*lines, "", verdict(scan), f"{scan.seconds} s, seed {scan.seed}"])


def run_verify(options: argparse.Namespace) -> int:
    from induction.model import resolve
    from induction.verify import verifiable, verify

    if resolve(options.model) not in verifiable():
        raise InputError(
            f"No figures of {options.model} are known here; choose from {', '.join(verifiable())}."
        )
    scan = _scan(options, options.model, ("induction", "previous_token"), None)
    checks = list(verify(scan))
    for check in checks:
        print(f"{'pass' if check.passed else 'FAIL'}  {check.claim}: {check.measured}")
    return 0 if all(check.passed for check in checks) else 1


def _load(options: argparse.Namespace, name: str | None) -> Any:
    from induction.model import default_model, load_model

    name = name or default_model()
    print(f"loading {name} ...", file=sys.stderr)
    return load_model(name, options.device)


def _with_progress(steps: Iterator[Progress[Result]]) -> Result:
    """Run work to its end with a progress bar on standard error."""
    from tqdm import tqdm

    with tqdm(file=sys.stderr, bar_format="{l_bar}{bar:20}| {n_fmt}/{total_fmt} {desc}", leave=False) as bar:

        def show(step: Progress[Result]) -> None:
            bar.total, bar.n = step.total, step.done
            bar.set_description_str(step.label)

        return finish(steps, show)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot write {path} ({error.strerror}); choose another place.") from None
