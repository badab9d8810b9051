"""Long runs where the host lends a GPU for a moment (ZeroGPU Spaces); anywhere else nothing changes.

ZeroGPU runs a decorated function in a process of its own, with arguments, steps and results pickled on the way, and
refuses a Space that decorates none. So what is decorated here takes names and settings, never a model, and what must
last (kept results) stays with the caller. Written after the documentation of the ``spaces`` package and not yet run
on such a Space; ``tests/page/test_browser_space.py`` runs it against a stand-in that pickles as ZeroGPU does.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

from induction.base import InputError

HERE = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
DEVICE = "cuda" if HERE else "cpu"  # for models loaded inside of a borrowed run
SECONDS = 120  # a run may hold the GPU so long


def borrowed(work: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """The generator function, run with a GPU where one is lent."""
    if not HERE:
        return work
    import spaces

    @spaces.GPU(duration=SECONDS)
    @functools.wraps(work)
    def there(*arguments: Any) -> Iterator[Any]:
        try:
            yield from work(*arguments)
        except InputError as error:  # an exception would arrive without its words
            yield error

    @functools.wraps(work)
    def here(*arguments: Any) -> Iterator[Any]:
        for step in there(*arguments):
            if isinstance(step, InputError):
                raise step
            yield step

    return here
