"""What the commands share: arguments of the same meaning, loading, progress and writing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from induction.base import InputError, Progress, finish
from induction.data_gen.sequences import TOKEN_SETS

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Result = TypeVar("Result")
Commands = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        nargs="?",
        help="a name from `models`, a Hugging Face folder or a .gguf file (default: gpt2 where it is cached, "
        "else the bundled mini-2l)",
    )
    parser.add_argument("--device", default="cpu", help="torch device (default cpu)")


def add_prompts(parser: argparse.ArgumentParser, default: int = 10) -> None:
    parser.add_argument(
        "--prompts", type=int, default=default, metavar="N", help=f"number of prompts (default {default})"
    )
    parser.add_argument(
        "--vocab",
        choices=list(TOKEN_SETS),
        default="random",
        help="token set of the prompts (default random)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the prompts (default 0)")


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON result to a file")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the numbers as CSV")


def load(options: argparse.Namespace) -> TransformerBridge:
    """The model that was asked for, or the default one."""
    from induction.model import default_model, load_model

    name = options.model or default_model()
    print(f"loading {name} ...", file=sys.stderr)
    return load_model(name, options.device)


def with_progress(steps: Iterator[Progress[Result]]) -> Result:
    """Run work to its end with a progress bar on standard error."""
    from tqdm import tqdm

    bar = tqdm(file=sys.stderr, bar_format="{l_bar}{bar:20}| {n_fmt}/{total_fmt} {desc}", leave=False)
    with bar, closing(steps):

        def show(step: Progress[Result]) -> None:
            bar.total, bar.n = step.total, step.done
            bar.set_description_str(step.label)

        return finish(steps, show)


def deliver(options: argparse.Namespace, *, text: str, json: str, csv: str) -> None:
    """Print a result as text or JSON, and write the files that were asked for."""
    if options.out:
        write(options.out, json)
    if options.csv:
        write(options.csv, csv)
    print(json if options.json else text)


def write(path: Path, text: str) -> None:
    """
    Raises:
        InputError: the file cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot write {path} ({error.strerror}); choose another place.") from None
