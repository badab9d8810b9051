"""Scan results that travel: dataclasses, JSON with a schema version, CSV, and the bundled files.

Imports neither torch nor transformer_lens, so a page can show results before any model is loaded.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from induction.errors import InputError
from induction.results import document

Result = TypeVar("Result")
SCHEMA = "induction-scan/1"
FOLDER = Path(__file__).parent
PUBLISHED = FOLDER / "published"

Grid = list[list[float]]  # [layer][head]


@dataclass(frozen=True)
class HeadScores:
    """One score of every head.

    ``mean`` is ``[layer][head]``; ``low`` and ``high`` bound the 95 % bootstrap
    interval over prompts; ``per_prompt`` is ``[prompt][layer][head]``. Published
    results may have ``std`` over runs instead of intervals. ``chance`` is None
    where the source gives too little to compute it.
    """

    mean: Grid
    protocol: str
    low: Grid | None = None
    high: Grid | None = None
    std: Grid | None = None
    per_prompt: list[Grid] | None = None
    chance: float | None = None
    n_runs: int | None = None
    source: str | None = None


@dataclass(frozen=True)
class RepeatLoss:
    """Loss in nats on a repeated sequence, by index within the first and the second copy.

    ``first[0]`` is None where no BOS stands in front: nothing predicts that token then. The means skip the
    first token of each copy, which nothing announces.
    """

    first: list[float | None]
    second: list[float]
    protocol: str

    @property
    def first_mean(self) -> float:
        return fmean(value for value in self.first[1:] if value is not None)

    @property
    def second_mean(self) -> float:
        return fmean(self.second[1:])

    @property
    def gain(self) -> float:
        """In-context gain: first mean minus second mean."""
        return self.first_mean - self.second_mean


@dataclass(frozen=True)
class Scan:
    """Scores of all heads of one model, with everything needed to repeat the measurement.

    ``kind`` is ``"computed"`` (by this project's code) or ``"published"`` (by others).
    Scores that were not measured are absent, never zero.
    """

    model: str
    n_layers: int
    n_heads: int
    kind: str
    origin: str
    scores: dict[str, HeadScores]
    loss: RepeatLoss | None = None
    seed: int | None = None
    seconds: float | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def ranked(self, score: str = "induction") -> list[tuple[int, int, float]]:
        """``(layer, head, mean)`` of all heads, highest first.

        Raises:
            InputError: the score was not measured.
        """
        if score not in self.scores:
            raise InputError(
                f"{self.model} has no score '{score}' here; choose from {', '.join(self.scores)}."
            )
        grid = self.scores[score].mean
        heads = [(layer, head, value) for layer, row in enumerate(grid) for head, value in enumerate(row)]
        return sorted(heads, key=lambda item: -item[2])


def verdict(scan: Scan, threshold: float = 0.5) -> str:
    """The scan in one sentence: how many heads do it, against which chance, and whether the model uses it."""
    parts = []
    if "induction" in scan.scores:
        ranked = scan.ranked("induction")
        high = [head for head in ranked if head[2] >= threshold]
        layer, head, best = ranked[0]
        if high:
            parts.append(
                f"{len(high)} head{'s' * (len(high) > 1)} above {threshold:g}, led by {layer}.{head} ({best:.2f})"
            )
        else:
            parts.append(f"no induction head: the highest score is {best:.2f} ({layer}.{head})")
        chance = scan.scores["induction"].chance
        if chance is not None:
            parts.append(f"chance {chance:.3f}")
    if scan.loss:
        change = "falls" if scan.loss.gain > 0.5 else "goes"
        parts.append(
            f"loss {change} from {scan.loss.first_mean:.2f} nats on the first copy "
            f"to {scan.loss.second_mean:.2f} on the second"
        )
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def to_json(scan: Scan) -> str:
    """One JSON document that :func:`from_json` reads back to an equal object."""
    return json.dumps({"schema": SCHEMA, **asdict(scan)}, allow_nan=False)


def from_json(text: str, name: str = "this file") -> Scan:
    """Read a result.

    Raises:
        InputError: the text is damaged, of another schema, or its grids do not fit its shape.
    """
    return document.read(text, name, schema=SCHEMA, build=_build, check=_check)


def _build(data: dict[str, Any]) -> Scan:
    scores = {key: HeadScores(**value) for key, value in data.pop("scores").items()}
    loss = data.pop("loss", None)
    return Scan(scores=scores, loss=RepeatLoss(**loss) if loss else None, **data)


def _check(scan: Scan) -> None:
    for name, score in scan.scores.items():
        for grid in (score.mean, score.low, score.high, score.std, *(score.per_prompt or [])):
            if grid is not None and (
                len(grid) != scan.n_layers or any(len(row) != scan.n_heads for row in grid)
            ):
                raise ValueError(f"score '{name}' is not {scan.n_layers} layers x {scan.n_heads} heads")
    if scan.loss and (len(scan.loss.second) < 2 or len(scan.loss.first) != len(scan.loss.second)):
        raise ValueError("the losses of the two copies do not fit each other")


def to_csv(scan: Scan) -> str:
    """One row per head, one column per score."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["layer", "head", *scan.scores])
    for layer in range(scan.n_layers):
        for head in range(scan.n_heads):
            writer.writerow([layer, head, *(score.mean[layer][head] for score in scan.scores.values())])
    return out.getvalue()


def slug(model: str) -> str:
    """The file name of a model's results: ``HuggingFaceTB/SmolLM2-135M`` becomes ``SmolLM2-135M``."""
    return model.rsplit("/", 1)[-1]


def read_folder(folder: Path, read: Callable[[str, str], Result]) -> Iterator[Result]:
    """Every result in a folder; a damaged one is left out and logged, so that the others stay in reach."""
    for path in sorted(folder.glob("*.json")):
        try:
            yield read(path.read_text(encoding="utf-8"), path.name)
        except (InputError, UnicodeDecodeError) as error:
            logging.getLogger(__name__).warning("left out: %s", error)


@cache
def _scans(folder: Path) -> dict[str, Scan]:
    return {scan.model: scan for scan in read_folder(folder, from_json)}


def _all_bundled() -> dict[str, Scan]:
    """What was computed here replaces what others published."""
    return _scans(PUBLISHED) | _scans(FOLDER)


def bundled_names() -> list[str]:
    """Models whose scan comes with the package."""
    return list(_all_bundled())


def bundled(name: str) -> Scan:
    """A result that comes with the package.

    Raises:
        InputError: no such bundled result.
    """
    if name not in _all_bundled():
        raise InputError(f"No bundled result for '{name}'; there are {', '.join(bundled_names())}.")
    return _all_bundled()[name]


def published(name: str) -> Scan:
    """Figures of others that come with the package, also where there are figures of our own.

    Raises:
        InputError: no such figures.
    """
    if name not in _scans(PUBLISHED):
        raise InputError(f"No published figures of '{name}'; there are {', '.join(_scans(PUBLISHED))}.")
    return _scans(PUBLISHED)[name]
