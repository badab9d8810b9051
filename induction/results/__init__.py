"""Scan results that travel: dataclasses, JSON with a schema version, CSV, and the bundled files.

Imports neither torch nor transformer_lens, so a page can show results before any model is loaded.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from induction.errors import InputError

SCHEMA = "induction-scan/1"
FOLDER = Path(__file__).parent

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
    loss_by_position: list[float] | None = None  # nats; entry i is the loss on token i + 1
    loss_protocol: str | None = None
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
    try:
        data: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise InputError(f"{name} is not valid JSON ({error}); export the result again.") from None
    if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
        raise InputError(f"{name} is not a scan result of schema {SCHEMA}; export it with this version.")
    try:
        scores = {key: HeadScores(**value) for key, value in data.pop("scores").items()}
        scan = Scan(scores=scores, **data)
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{name} has missing or unknown fields ({error}); export it again.") from None
    for key, score in scores.items():
        _check_grid(score.mean, scan, f"{name}: score '{key}'")
    return scan


def _check_grid(grid: Grid, scan: Scan, where: str) -> None:
    fits = isinstance(grid, list) and len(grid) == scan.n_layers
    if not fits or any(not isinstance(row, list) or len(row) != scan.n_heads for row in grid):
        raise InputError(f"{where} is not {scan.n_layers} layers x {scan.n_heads} heads; export it again.")


def to_csv(scan: Scan) -> str:
    """One row per head, one column per score."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["layer", "head", *scan.scores])
    for layer in range(scan.n_layers):
        for head in range(scan.n_heads):
            writer.writerow([layer, head, *(score.mean[layer][head] for score in scan.scores.values())])
    return out.getvalue()


def bundled_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.json"))


@cache
def bundled(name: str) -> Scan:
    """A result that comes with the package.

    Raises:
        InputError: no such bundled result.
    """
    if name not in bundled_names():
        raise InputError(f"No bundled result for '{name}'; there are {', '.join(bundled_names())}.")
    return from_json((FOLDER / f"{name}.json").read_text(encoding="utf-8"), f"{name}.json")
