"""``python -m induction ...``: a command per experiment and a few beside them; tables by default, JSON on request.

Results go to standard output, progress and warnings to standard error. Exit codes: 0 done, 1 a verification
failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import warnings

import induction
from induction.base import InputError
from induction.cli import figures, generic, history, models, patch, train, verify


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
    parser = argparse.ArgumentParser(
        prog="python -m induction", description=(induction.__doc__ or "").partition("\n")[0]
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in (models, generic, patch, figures, history, verify, train):
        group.add(commands)
    return parser
