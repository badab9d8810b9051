"""Settings out of what a browser or a program sent: of the declared types and within limits, or refused in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Protocol, TypeVar

from induction.base import InputError

SEED = (0, 2**31 - 1)


class Checked(Protocol):
    """What a run is asked to do; ``str()`` writes it for links."""

    def check(self) -> None:
        """Raises InputError where a limit is exceeded or a name is unknown."""


Settings = TypeVar("Settings")
Asked = TypeVar("Asked", bound=Checked)


def settings(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """A settings dataclass of these values; what is missing gets the default. Limits are the dataclass's own to check.

    Raises:
        InputError: a value is not of its type.
    """
    found: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        value, wanted = values.get(field.name, field.default), type(field.default)
        try:
            if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
                raise ValueError
            found[field.name] = wanted(value)
        except (TypeError, ValueError, OverflowError):
            kinds = {int: "a whole number", str: "a text"}
            raise InputError(f"The setting {field.name} is {kinds.get(wanted, wanted.__name__)}.") from None
    return kind(**found)


def accepted(asked: Asked) -> Asked | None:
    """The settings of a link, None where their own check refuses them."""
    try:
        asked.check()
    except InputError:
        return None
    return asked


def check_limits(*limits: tuple[str, int, tuple[int, int]]) -> None:
    """For each ``(name, value, (lowest, highest))``, raises InputError where the value is outside."""
    for name, value, (low, high) in limits:
        if not low <= value <= high:
            raise InputError(f"The {name} goes from {low} to {high} here, not {value}.")
