"""The scripts of the page's own components."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def read(*names: str) -> str:
    """A component's script, in parts, with the shared helpers of ``scale.js`` in front."""
    return "".join((FOLDER / part).read_text(encoding="utf-8") for part in ("scale.js", *names))
