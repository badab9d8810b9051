"""The one way in for results that were written as JSON: a document with a schema."""

from __future__ import annotations

import json
from typing import Any

from induction.errors import InputError


def opened(text: str, schema: str, name: str) -> dict[str, Any]:
    """The fields of a document without its schema.

    Raises:
        InputError: the text is no JSON, or of another schema; ``name`` says whose it is.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not valid JSON ({error}); export or measure it again.") from None
    if not isinstance(data, dict) or data.pop("schema", None) != schema:
        raise InputError(
            f"{name} is not a result of schema {schema}; export or measure it with this version."
        )
    return data
