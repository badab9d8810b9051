"""Versions that a result depends on, and packages that import their modules when asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import Any

from induction import __version__


def lazily(package: str, **names: tuple[str, ...]) -> Callable[[str], Any]:
    """A package's ``__getattr__`` that imports a name's module when the name is first asked for.

    Args:
        names: by module of the package, what it exports.
    """
    home = {name: module for module, exported in names.items() for name in exported}

    def find(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return find


@cache
def _versions() -> dict[str, str]:  # reading a package's metadata takes milliseconds
    packages = ("torch", "transformer_lens", "transformers", "numpy")
    return {"induction": __version__, **{package: version(package) for package in packages}}


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return dict(_versions())
