"""Keep the memory of a long-running server flat."""

from __future__ import annotations

import ctypes

M_ARENA_MAX = -8  # of glibc's malloc.h


def few_arenas(count: int = 2) -> None:
    """Let all threads share a few of glibc's heaps; no effect with another C library.

    Every thread would have a heap of its own, which keeps what its largest job took. ``tests/scripts/load.py`` saw a
    tenth more memory after a thousand requests without this, and none with it.
    """
    try:
        ctypes.CDLL("libc.so.6").mallopt(M_ARENA_MAX, count)
    except (OSError, AttributeError):
        return
