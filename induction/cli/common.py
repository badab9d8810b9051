"""What the commands share: arguments of the same meaning, loading, progress, results as text, and writing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from induction.analysis.experiments import ScanSettings
from induction.base import InputError, Progress, Result, finish
from induction.experiment import Experiment, Settings, ours

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from transformer_lens.model_bridge import TransformerBridge

Found = TypeVar("Found")
Commands = "argparse._SubParsersAction[argparse.ArgumentParser]"

# Arguments


ANY_MODEL = (
    "a name from `models`, a Hugging Face folder or a .gguf file (default: gpt2 where it is cached, else the bundled "
    "mini-2l)"
)


def add_model(parser: argparse.ArgumentParser, which: str = ANY_MODEL) -> None:
    """The model, which has to be named where only some will do, and where it runs."""
    parser.add_argument("model", nargs="?" if which == ANY_MODEL else None, help=which)
    parser.add_argument("--device", default="cpu", help="torch device (default cpu)")


def add_settings(
    parser: argparse.ArgumentParser, settings: type[Settings], *only: str, **defaults: Any
) -> None:
    """A flag for each field, or for some, with other defaults than the field's where they are given."""
    for name, field in settings.model_fields.items():
        if only and name not in only:
            continue
        default = defaults.get(name, field.default)
        shown = "" if default in ("", None) else f" (default {default})"
        more = {"default": default, "help": f"{field.title}: {field.description}{shown}".replace("%", "%%")}
        if field.annotation is bool:
            more["action"] = argparse.BooleanOptionalAction
        elif ours(field)["choices"]:
            more["choices"] = list(ours(field)["choices"])
        else:
            more |= {"type": field.annotation, "metavar": "TEXT" if field.annotation is str else "N"}
        parser.add_argument(f"--{_flag(name, field)}", **more)


def asked(options: argparse.Namespace, settings: type[Settings], **others: Any) -> Any:
    """What the flags ask for; only what no one can run is refused, upper limits are for those who serve others.

    Raises:
        InputError: a value below its limit, or none of the choices.
    """
    fields = settings.model_fields.items()
    given = {name: getattr(options, _flag(name, field).replace("-", "_"), None) for name, field in fields}
    return settings(**{name: value for name, value in given.items() if value is not None} | others)


def _flag(name: str, field: FieldInfo) -> str:
    return ours(field)["flag"] or name.replace("_", "-")


def add_prompts(parser: argparse.ArgumentParser) -> None:
    add_settings(parser, ScanSettings, "n_prompts", "vocab", "seed")


def add_output(parser: argparse.ArgumentParser, out: str = "also write the JSON result to a file") -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--out", type=Path, metavar="FILE", help=out)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the numbers as CSV")


# Work


def named(options: argparse.Namespace) -> str:
    """The model that was asked for, or the default one."""
    from induction.model import default_model, resolve

    return resolve(options.model or default_model())


def load(options: argparse.Namespace) -> TransformerBridge:
    from induction.model import load_model

    print(f"loading {named(options)} ...", file=sys.stderr)
    return load_model(named(options), options.device)


def run(options: argparse.Namespace, experiment: Experiment, settings: Settings) -> Any:
    """The result of an experiment on the model that was asked for."""
    from induction.results.running import perform

    print(f"loading {named(options)} ...", file=sys.stderr)
    return with_progress(perform(experiment, named(options), settings, options.device))


def with_progress(steps: Iterator[Progress[Found]]) -> Found:
    """Run work to its end with a progress bar on standard error."""
    from tqdm import tqdm

    bar = tqdm(file=sys.stderr, bar_format="{l_bar}{bar:20}| {n_fmt}/{total_fmt} {desc}", leave=False)
    with bar, closing(steps):  # type: ignore[type-var]

        def show(step: Progress[Found]) -> None:
            bar.total, bar.n = step.total, step.done
            bar.set_description_str(step.label)

        return finish(steps, show)


# What came out


def deliver(options: argparse.Namespace, result: Result, **view: Any) -> None:
    """Print a result as text or JSON, and write the files that were asked for."""
    if options.out:
        write(options.out, result.to_json())
    if options.csv:
        write(options.csv, result.to_csv())
    print(result.to_json() if options.json else text(result, **view))


def text(result: Result, by: str = "", **view: Any) -> str:
    """A result for the terminal: heading, table, words, and how long it took; ``view`` as of ``Result.listing``."""
    rows = list(result.listing(by, **view))
    table = ["", *(aligned(rows) if rows else ()), ""]
    made = {"{} s": result.seconds, "seed {}": result.seed}
    end = ", ".join(words.format(value) for words, value in made.items() if value is not None)
    return "\n".join([*filter(None, result.heading()), *table, *filter(None, [*result.words(by), end])])


def aligned(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows with the same keys as lines under a heading, numbers to the right."""
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    columns = list(zip(*cells, strict=True))
    right = [
        all(value[:1] in "+-–0123456789" and " " not in value for value in column[1:]) for column in columns
    ]
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    ]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def write(path: Path, text: str) -> None:
    """
    Raises:
        InputError: the file cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot write {path} ({error.strerror}); choose another place.") from None
