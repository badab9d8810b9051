"""Heads of a model, by name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from induction.base.errors import InputError

Head = tuple[int, int]  # (layer, head)


def head_name(head: Head) -> str:
    """``(5, 1)`` as ``5.1``."""
    return f"{head[0]}.{head[1]}"


def parse_heads(text: str, n_layers: int, n_heads: int) -> tuple[Head, ...]:
    """Read ``5.1, 5.5`` as heads, in the order given, each once.

    Raises:
        InputError: no head, not of the form layer.head, or outside of the model.
    """
    parts = [part for part in re.split(r"[,;\s]+", text.strip()) if part]
    if not parts:
        raise InputError(
            f"Name at least one head as layer.head, for example 0.0,{n_layers - 1}.{n_heads - 1}."
        )
    heads = []
    for part in parts:
        match = re.fullmatch(r"(?a:(\d+)\.(\d+))", part)
        if not match:
            raise InputError(
                f"'{part}' is not a head; write layer.head, for example {min(n_layers, 6) - 1}.0."
            )
        heads.append((int(match[1]), int(match[2])))
    return check_heads(heads, n_layers, n_heads)


def check_heads(heads: Sequence[Head], n_layers: int, n_heads: int) -> tuple[Head, ...]:
    """The same heads, each once.

    Raises:
        InputError: none, or one outside of the model.
    """
    if not heads:
        raise InputError("A set of heads needs at least one head, for example 0.0.")
    for layer, head in heads:
        if not (0 <= layer < n_layers and 0 <= head < n_heads):
            raise InputError(
                f"There is no head {layer}.{head}: layers go from 0 to {n_layers - 1}, heads from 0 to {n_heads - 1}."
            )
    return tuple(dict.fromkeys((int(layer), int(head)) for layer, head in heads))
