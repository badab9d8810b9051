"""The exceptions that a user may meet, how others are told apart, and checks of what was asked."""

from __future__ import annotations

import errno
from collections.abc import Sequence


class InputError(ValueError):
    """The request cannot be carried out as given.

    The message is one plain sentence that says what is wrong and what to do
    about it; every surface shows it as it stands, without a traceback.
    """


class ModelUnavailable(InputError):
    """The weights of a model are neither on this machine nor reachable."""


class Refused(InputError):
    """A quantity that could not be verified on this model, so no number is given; all others still come."""


def chain(error: BaseException) -> list[BaseException]:
    """An exception and what led to it, the latest first, as a traceback would show them."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return links


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or what led to it, says that memory ran out: Python's, the system's or torch's.

    On the CPU torch raises a bare ``RuntimeError`` whose words differ between systems.
    """
    words = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")
    return any(
        isinstance(link, MemoryError)
        or any(kind.__name__ == "OutOfMemoryError" for kind in type(link).__mro__)
        or (isinstance(link, OSError) and link.errno == errno.ENOMEM)
        or (not isinstance(link, InputError) and any(part in str(link).lower() for part in words))
        for link in chain(error)
    )


def too_large(name: str) -> InputError:
    """The answer where a model did not fit into memory."""
    return InputError(f"{name} does not fit into this machine's memory; choose a smaller model.")


def damaged(name: str, reason: BaseException | str) -> InputError:
    """The answer where the files of a model cannot be read as what they claim to be."""
    if isinstance(reason, BaseException):
        reason = type(reason).__name__
    return InputError(
        f"The files of {name} are damaged or incomplete ({reason}); fetch or save the model again."
    )


def check_choice(value: str, choices: Sequence[str], what: str) -> None:
    """Raises InputError unless the value is one of the choices."""
    if value not in choices:
        raise InputError(f"There is no {what} '{value}'; choose one of {', '.join(choices)}.")


def check_seed(seed: int) -> None:
    """Raises InputError where numpy's generator would refuse the seed."""
    if seed < 0:
        raise InputError(f"A seed is 0 or more, not {seed}.")
