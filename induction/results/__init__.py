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

from induction.analysis.reading import Selection, remarks, selection, verdict
from induction.base import InputError
from induction.results import document

__all__ = ["Selection", "remarks", "selection", "verdict"]  # what a scan says, beside the names defined here

Result = TypeVar("Result")
SCHEMA = "induction-scan/2"
DIGITS = 5
FOLDER = Path(__file__).parent
PUBLISHED = FOLDER / "published"

Grid = list[list[float]]  # [layer][head]


@dataclass(frozen=True)
class HeadScores:
    """One score of every head.

    ``mean`` is ``[layer][head]``; ``low`` and ``high`` bound the 95 % interval over
    prompts (:func:`induction.base.mean_interval`, within what a score can be); ``per_prompt`` is
    ``[prompt][layer][head]``. Published results may have ``std`` over runs instead.

    What a score is read against, all on the same prompts, None where the source
    gives too little to compute it:

    - ``chance``: what a head scores that looks everywhere evenly.
    - ``ceiling``: the most that any head can score; 1 on two copies, less on a text
      with more.
    - ``reach``: ``[layer]``, the same for the heads of one layer. Less than the
      ceiling where every head of the layer gives exactly 0 to cells of the score, as
      behind a sliding window.
    - ``mimics``: what a head would score that does something else: another score
      perfectly (by its name), or always looking one distance back whatever the
      tokens (``"49 back"``, the best such distance). Absent: 0.
    """

    mean: Grid
    protocol: str
    low: Grid | None = None
    high: Grid | None = None
    std: Grid | None = None
    per_prompt: list[Grid] | None = None
    chance: float | None = None
    ceiling: float | None = None
    reach: list[float] | None = None
    mimics: dict[str, float] | None = None
    n_runs: int | None = None
    source: str | None = None

    @property
    def capped(self) -> float | None:
        """The ceiling where it is below 1, so that a score has to be read against it; else None."""
        return self.ceiling if self.ceiling is not None and round(self.ceiling, 2) < 1 else None


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
        if score.reach is not None and len(score.reach) != scan.n_layers:
            raise ValueError(f"the reach of score '{name}' is not of {scan.n_layers} layers")
    if scan.loss and (len(scan.loss.second) < 2 or len(scan.loss.first) != len(scan.loss.second)):
        raise ValueError("the losses of the two copies do not fit each other")


def to_csv(scan: Scan) -> str:
    """One row per head, one column per score, and its share of the ceiling where that is below 1."""
    columns = {name: (score.mean, 1.0) for name, score in scan.scores.items()}
    columns |= {
        f"{name}_of_ceiling": (score.mean, score.capped)
        for name, score in scan.scores.items()
        if score.capped
    }
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["layer", "head", *columns])
    for layer in range(scan.n_layers):
        for head in range(scan.n_heads):
            values = (round(mean[layer][head] / limit, DIGITS) for mean, limit in columns.values())
            writer.writerow([layer, head, *values])
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
