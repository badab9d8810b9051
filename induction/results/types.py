"""Whether what was read from JSON is what a dataclass declares: types, shapes, finite numbers."""

from __future__ import annotations

import types
import typing
from dataclasses import is_dataclass
from functools import cache
from typing import Any

LARGEST = 1e300  # beyond it arithmetic on a number of a result may overflow
PLAIN = {
    float: {float, int},
    float | None: {float, int, type(None)},
    int: {int},
}  # Python types of a row's items


def check(value: Any, declared: Any = None, where: str = "") -> None:
    """Hold a value, and all that is in it, against a type; a dataclass is its own declaration.

    Raises:
        TypeError: something is of another type, or a number is not finite.
    """
    if declared is None:
        declared = type(value)
    if declared is Any or (declared is float and is_number(value)):
        return
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if origin in (typing.Union, types.UnionType):
        for argument in arguments:
            try:
                return check(value, type(None) if argument is None else argument, where)
            except TypeError:
                continue
    elif is_dataclass(declared) and isinstance(value, declared):
        for name, hint in _hints(declared).items():
            check(getattr(value, name), hint, name)
        if hasattr(value, "n_layers") and (value.n_layers < 1 or value.n_heads < 1):
            raise TypeError("a model has at least one layer and one head")
        return
    elif origin is list and isinstance(value, list):
        plain = PLAIN.get(arguments[0])
        if plain and {*map(type, value)} <= plain:  # rows of numbers are most of a result
            if all(item is None or -LARGEST < item < LARGEST for item in value):
                return
            raise TypeError(f"{where} has a number that is not finite")
        for item in value:
            check(item, arguments[0], where)
        return
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            check(key, arguments[0], where)
            check(item, arguments[1], where)
        return
    elif type(value) is declared and (is_number(value) or declared not in (int, float)):
        return
    raise TypeError(f"{where} is not as expected")


def is_number(value: Any) -> bool:
    """True of a number that can be reckoned with; True and False are no numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST < value < LARGEST


@cache
def _hints(declared: type) -> dict[str, Any]:
    return typing.get_type_hints(declared)
