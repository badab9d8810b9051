"""What experiments find: one base for results, with provenance, to JSON and back, and CSV."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from induction.base.errors import InputError

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


class Result(Part, ABC):
    """What an experiment found, with all that is needed to repeat it.

    A subclass names its ``SCHEMA`` (and its ``TYPE``, where several share one) and says :meth:`rows` and
    :meth:`verdict`.
    """

    SCHEMA: ClassVar[str]
    TYPE: ClassVar[str] = ""

    model: str
    n_layers: Annotated[int, Field(ge=1)]
    n_heads: Annotated[int, Field(ge=1)]
    origin: str
    seed: int | None = None
    seconds: Number | None = None
    versions: dict[str, str] = Field(default_factory=dict)

    def check(self) -> None:
        """Raises ValueError where shapes or names do not fit together; for results to override."""

    @abstractmethod
    def rows(self) -> Iterable[dict[str, Any]]:
        """The numbers as a table: one dictionary a row, by column; None where there is no value."""

    @abstractmethod
    def verdict(self) -> str:
        """What was found, in one or two sentences."""

    def heading(self) -> list[str]:
        """Of what and how, a line each, above a table in the terminal."""
        return [f"{self.model}: {self.n_layers} layers x {self.n_heads} heads", getattr(self, "protocol", "")]

    def listing(self, by: str = "", top: int = 10) -> Iterable[dict[str, Any]]:
        """The table in the terminal: rows as :meth:`rows`, written as they are read there.

        Args:
            by: what heads are ranked by, where there is a choice; empty: as usual.
            top: how many rows of a ranking.
        """
        return self.rows()

    def words(self, by: str = "") -> list[str]:
        """The verdict and what has to be known beside it, a sentence or more each, below that table."""
        return [self.verdict()]

    def provenance(self) -> str:
        """Who made the figures, how long it took and with which versions, in words."""
        parts = [self.origin.rstrip(".") + "."]
        if self.seconds is not None:
            parts.append(f"{self.seconds:.1f} s.")
        if self.versions:
            parts.append(", ".join(f"{name} {version}" for name, version in self.versions.items()) + ".")
        return " ".join(parts)

    def to_json(self) -> str:
        """One JSON document that :meth:`from_json` reads back to an equal object."""
        head = {"schema": self.SCHEMA, **({"type": self.TYPE} if self.TYPE else {})}
        return json.dumps({**head, **self.model_dump()}, allow_nan=False, separators=(",", ":"))

    def to_csv(self) -> str:
        """:meth:`rows` as comma-separated values with a heading."""
        rows, out = list(self.rows()), io.StringIO()
        writer = csv.DictWriter(out, rows[0] if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()

    @classmethod
    def from_json(cls, text: str, name: str = "this file") -> Self:
        """Read a result of this class, or of one of its subclasses.

        Args:
            name: whose it is, for messages.

        Raises:
            InputError: the text is no JSON, of another schema, or its fields are not those of a result.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name} is not valid JSON ({error}); export or measure it again.") from None
        if not isinstance(data, dict) or data.pop("schema", None) != cls.SCHEMA:
            raise InputError(
                f"{name} is not a result of schema {cls.SCHEMA}; export or measure it with this version."
            )
        kind = data.pop("type", "")
        found = next((one for one in (cls, *cls.__subclasses__()) if kind == one.TYPE), None)
        try:
            if found is None or found.__abstractmethods__:
                raise ValueError(f"type '{kind}'")
            result = found.model_validate(data)
            result.check()
        except ValueError as error:
            reason = _wrong_field(error) if isinstance(error, ValidationError) else error
            raise InputError(
                f"{name} has missing, unknown or misshapen fields ({reason}); export or measure it again."
            ) from None
        return result


def _wrong_field(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
