"""The one way in for results that were written as JSON: a document with a schema, taken apart and checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from induction.base import InputError
from induction.results import types

Result = TypeVar("Result")


def read(
    text: str,
    name: str,
    *,
    schema: str,
    build: Callable[[dict[str, Any]], Result],
    check: Callable[[Result], None],
) -> Result:
    """The result in a document.

    Args:
        name: whose it is, for messages.
        build: makes the dataclass of the document's fields; every field is then held against its type.
        check: raises ValueError where shapes or names do not fit together.

    Raises:
        InputError: the text is no JSON, of another schema, or its fields are not those of a result.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not valid JSON ({error}); export or measure it again.") from None
    if not isinstance(data, dict) or data.pop("schema", None) != schema:
        raise InputError(
            f"{name} is not a result of schema {schema}; export or measure it with this version."
        )
    try:
        result = build(data)
        types.check(result)
        check(result)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise InputError(
            f"{name} has missing, unknown or misshapen fields ({error}); export or measure it again."
        ) from None
    return result
