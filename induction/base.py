"""What everything else rests on: errors in plain words, progress of long work, intervals, versions.

Long work is a generator of :class:`Progress`; closing the generator cancels it. Intervals are over prompts, which must
have been drawn independently of each other. What they hold on the scores of real heads, which are skewed (most prompts
near 0, a few far from it), is measured by ``tests/scripts/coverage.py``.
"""

from __future__ import annotations

import errno
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Generic, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

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


# Errors: the exceptions that a user may meet, and how others are told apart


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


# Arguments, checked


def check_choice(value: str, choices: Sequence[str], what: str) -> None:
    """Raises InputError unless the value is one of the choices."""
    if value not in choices:
        raise InputError(f"There is no {what} '{value}'; choose one of {', '.join(choices)}.")


def check_seed(seed: int) -> None:
    """Raises InputError where numpy's generator would refuse the seed."""
    if seed < 0:
        raise InputError(f"A seed is 0 or more, not {seed}.")


# Heads of a model, by name

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
            raise InputError(f"'{part}' is not a head; write layer.head, for example {n_layers - 1}.0.")
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


# Progress

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


@dataclass(frozen=True)
class Progress(Generic[Result]):
    """How far a piece of work is; the last one of a run carries its result."""

    done: int
    total: int
    label: str
    result: Result | None = None


def finish(
    steps: Iterator[Progress[Result]], on_progress: Callable[[Progress[Result]], None] = lambda step: None
) -> Result:
    """Run a generator of progress to its end and return the result that its last step carries."""
    result = None
    for step in steps:
        on_progress(step)
        result = step.result
    if result is None:
        raise RuntimeError("the work ended without a result")
    return result


def finished(steps: Callable[Arguments, Iterator[Progress[Result]]]) -> Callable[Arguments, Result]:
    """``x`` from ``iter_x``: with the same arguments and their docs, run to its end; returns the result."""

    @wraps(steps)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return finish(steps(*args, **kwargs))

    signature = inspect.signature(steps)
    carried = re.sub(r".*Progress\[(.*?)\].*", r"\1", str(signature.return_annotation))
    run.__signature__ = signature.replace(return_annotation=carried)  # type: ignore[attr-defined]
    run.__annotations__ = {**steps.__annotations__, "return": carried}
    run.__name__ = run.__qualname__ = steps.__name__.removeprefix("iter_")
    arguments = re.sub(r" +Yields:\n.*?\n\n", "", steps.__doc__ or "", flags=re.DOTALL)
    run.__doc__ = f"Returns what the last step of :func:`{steps.__name__}` carries. {arguments}"
    return run


# Pieces of results

Number = Annotated[float, Field(gt=-1e300, lt=1e300)]  # beyond it arithmetic on a result may overflow
Grid = list[list[Number]]  # [layer][head]
Gaps = list[list[Number | None]]  # the same where a value may be undefined or not computed yet


class Part(BaseModel):
    """A piece of a result: of the declared types, finite numbers only, unchangeable."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def check_shape(what: str, grid: Any, *shape: int) -> None:
    """Raises ValueError unless nested lists have this shape; None is a cell, and no grid at all is none to check."""
    if grid is None or not shape:
        if isinstance(grid, list):
            raise ValueError(f"{what} is too deep")
        return
    if not isinstance(grid, list) or len(grid) != shape[0]:
        raise ValueError(f"{what} is not {' x '.join(map(str, shape))}")
    for row in grid:
        if row is None and len(shape) > 1:
            raise ValueError(f"{what} has a gap for a row")
        check_shape(what, row, *shape[1:])


# Versions


@cache
def _versions() -> dict[str, str]:  # reading a package's metadata takes milliseconds
    packages = ("torch", "transformer_lens", "transformers", "numpy")
    return {"induction": __version__, **{package: version(package) for package in packages}}


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return dict(_versions())


# Intervals

CONFIDENCE = 0.95
ENOUGH = 10  # samples from which on their skewness is corrected for
NEGLIGIBLE = 1e-6  # skewness below which there is nothing to correct
Interval = tuple[NDArray[np.float64], NDArray[np.float64]]


def mean_interval(values: NDArray[np.float64], *, among: int = 1, stratified: bool = False) -> Interval:
    """Student's t interval (95 %) of the mean over the first axis, corrected for skewness.

    Hall 1992, On the Removal of Skewness by Transformation: instead of the t statistic T a cubic in T, from which the
    skewness is gone to first order, is held between the quantiles; the cubic has one inverse.

    Args:
        values: ``[sample, ...]``, at least two samples, no NaN. With fewer than :data:`ENOUGH` the skewness is too
            uncertain to correct for: intervals would grow out of all proportion.
        stratified: the samples run evenly over a range (of lengths). Their spread then overstates the error of the
            mean, which makes up for the skewness: nothing is corrected.
        among: of how many means the one on hand was picked. More than 1 widens the interval until all of them hold
            together with 95 % (Bonferroni), so that it also holds for the largest. So far out in the tails
            no skewness is corrected either.

    Returns:
        ``(low, high)``, each ``[...]``.
    """
    n, mean, error = len(values), values.mean(0), standard_error(values)
    quantile = _quantile(n, among)
    known = n >= ENOUGH and among == 1 and not stratified
    skewness = _skewness(values) if known else np.zeros_like(error)

    def t_of(cubic: float) -> NDArray[np.float64]:
        bent = np.cbrt(1 + skewness * (cubic / np.sqrt(n) - skewness / (6 * n))) - 1
        straight = np.full_like(skewness, cubic)
        return np.divide(3 * np.sqrt(n) * bent, skewness, out=straight, where=np.abs(skewness) > NEGLIGIBLE)

    return mean - error * t_of(quantile), mean - error * t_of(-quantile)


def ratio_interval(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> Interval:
    """Fieller's interval (95 %) of a ratio of means, ``mean(numerator) / mean(denominator)``, of paired samples.

    Args:
        numerator: ``[sample, ...]``, at least two samples, no NaN.
        denominator: ``[sample]``.

    Returns:
        ``(low, high)``, each ``[...]``; NaN where the samples do not tell the denominator from 0, since no
        bounded interval holds then.
    """
    n = len(denominator)
    below = denominator.reshape(-1, *[1] * (numerator.ndim - 1))  # [sample, 1, ...]
    above_mean, below_mean = numerator.mean(0), float(denominator.mean())
    t2 = _quantile(n) ** 2 / n
    covariance = ((numerator - above_mean) * (below - below_mean)).sum(0) / (n - 1)
    # The ratios r with |mean(numerator - r * denominator)| <= t * its standard error: a r^2 - 2 b r + c <= 0.
    a = below_mean**2 - t2 * denominator.var(ddof=1)
    b = above_mean * below_mean - t2 * covariance
    c = above_mean**2 - t2 * numerator.var(0, ddof=1)
    if a <= 0:
        return np.full_like(b, np.nan), np.full_like(b, np.nan)
    root = np.sqrt(np.maximum(b**2 - a * c, 0))
    return (b - root) / a, (b + root) / a


def expected_passes(values: NDArray[np.float64], chance: float, threshold: float) -> float:
    """How many of many means would reach a threshold if each stood for a true value of ``chance``.

    Args:
        values: ``[sample, ...]``; each mean keeps the spread between its own samples.
    """
    from scipy.special import stdtr

    error = standard_error(values)
    with np.errstate(divide="ignore"):
        distance = (threshold - chance) / error
    return float(stdtr(len(values) - 1, -distance).sum())


def standard_error(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the mean over the first axis."""
    return values.std(0, ddof=1) / np.sqrt(len(values))


def _skewness(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of three samples or more along the first axis, ``[...]``; 0 where they are all alike."""
    n, deviation = len(values), values.std(0, ddof=1)
    third = ((values - values.mean(0)) ** 3).sum(0) * (n / ((n - 1) * (n - 2)))
    return np.divide(third, deviation**3, out=np.zeros_like(deviation), where=deviation > 0)


def _quantile(n: int, among: int = 1) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, 1 - (1 - CONFIDENCE) / (2 * among)))
