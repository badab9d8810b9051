"""What a link may say: the parameters of the address, read with suspicion and written readably.

The whole page is a function of these parameters. A value from outside is text of unknown intent: it is
parsed, checked against what is allowed, cut or clamped, and replaced by the default where it makes no
sense; a notice then says so in words of this project (the text itself is never repeated).

Neither gradio nor torch here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from induction.experiment import LONGEST_TEXT, Experiment, limits, ours
from induction.patching.experiments import LARGEST_SET

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_HEAD = re.compile(r"(\d{1,3})\.(\d{1,3})", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)


@dataclass(frozen=True)
class Parameter:
    """One name of the address. ``read`` turns text into ``(value, notice or None)``, never raising.

    ``always``: written even when it is the default, because the default differs between machines.
    """

    name: str
    default: Any
    read: Callable[[str], tuple[Any, str | None]]
    always: bool = False


@dataclass(frozen=True)
class Restored:
    """Values for all parameters (defaults where the link is silent or wrong), and what to tell the reader."""

    values: dict[str, Any]
    notices: list[str] = field(default_factory=list)


def choice(
    name: str,
    default: str,
    allowed: Iterable[str] | Callable[[], Iterable[str]],
    *,
    always: bool = False,
) -> Parameter:
    """One of a few words; the empty one, where it is allowed, stands for nothing."""

    def read(text: str) -> tuple[str, str | None]:
        options = list(allowed() if callable(allowed) else allowed)
        if text in options:
            return text, None
        listed = ", ".join([option for option in options if option][:12])
        return default, f"The link's {name} is not one of {listed}; showing {default or 'none'} instead."

    return Parameter(name, default, read, always)


def integer(name: str, default: int, *, low: int, high: int) -> Parameter:
    """A whole number, clamped to ``low..high``."""

    def read(text: str) -> tuple[int, str | None]:
        if not _INTEGER.fullmatch(text.strip()):
            return default, f"The link's {name} is not a whole number; using {default}."
        value = int(text)
        clamped = min(max(value, low), high)
        return clamped, None if value == clamped else f"The link's {name} is limited to {low}..{high}."

    return Parameter(name, default, read)


def flag(name: str, default: bool = False) -> Parameter:
    """A yes or no, written 1 and 0."""

    def read(text: str) -> tuple[bool, str | None]:
        if text in ("0", "1"):
            return text == "1", None
        return default, f"The link's {name} is neither 0 nor 1; using {int(default)}."

    return Parameter(name, default, read)


def text(name: str, default: str = "", *, limit: int = LONGEST_TEXT) -> Parameter:
    """Free text, cut at ``limit`` characters; control characters other than newline and tab are removed."""

    def read(value: str) -> tuple[str, str | None]:
        clean = "".join(c for c in value if c in "\n\t" or (ord(c) >= 32 and not 0xD800 <= ord(c) <= 0xDFFF))
        clean = clean.replace("\x7f", "")
        if len(clean) > limit:
            return clean[:limit], f"The link's {name} was cut to {limit} characters."
        return clean, None

    return Parameter(name, default, read)


def head(name: str, default: str = "") -> Parameter:
    """One head, written ``layer.head``, both counted from 0. Whether the model has it is checked later."""

    def read(value: str) -> tuple[str, str | None]:
        parsed = parse_head(value)
        if parsed is None:
            return default, f"The link's {name} is not written layer.head, as in 5.1."
        return format_head(*parsed), None

    return Parameter(name, default, read)


def heads(name: str, default: str = "") -> Parameter:
    """A set of heads as text, ``5.1,5.5``: duplicates removed, at most :data:`LARGEST_SET`."""

    def read(value: str) -> tuple[str, str | None]:
        parts = [part for part in value.replace(" ", "").split(",")[: LARGEST_SET + 1] if part]
        parsed = [parse_head(part) for part in parts]
        kept = list(dict.fromkeys(format_head(*pair) for pair in parsed if pair))
        if None in parsed or len(parts) > LARGEST_SET:
            notice = f"The link's {name} takes up to {LARGEST_SET} heads written as in 5.1,5.5; the rest was left out."
            return ",".join(kept[:LARGEST_SET]), notice
        return ",".join(kept), None

    return Parameter(name, default, read)


def parse_head(value: str) -> tuple[int, int] | None:
    """``"5.1"`` to ``(5, 1)``; None for anything else."""
    match = _HEAD.fullmatch(value.strip()) if isinstance(value, str) else None
    return (int(match[1]), int(match[2])) if match else None


def format_head(layer: int, head: int) -> str:
    return f"{layer}.{head}"


def fit_head(value: str, n_layers: int, n_heads: int, default: str) -> tuple[str, str | None]:
    """The head itself if a model of this shape has it, else ``default`` and a notice."""
    parsed = parse_head(value)
    if parsed and parsed[0] < n_layers and parsed[1] < n_heads:
        return format_head(*parsed), None
    shape = f"layers 0..{n_layers - 1} and heads 0..{n_heads - 1}"
    return default, f"This model has {shape}, not the head asked for; showing {default} instead."


def read_query(query: Mapping[str, str], parameters: Iterable[Parameter]) -> Restored:
    """Read an address. Unknown names are ignored; nothing raises."""
    restored = Restored({})
    for parameter in parameters:
        value, notice = parameter.default, None
        if parameter.name in query:
            value, notice = parameter.read(str(query[parameter.name]))
        restored.values[parameter.name] = value
        if notice:
            restored.notices.append(notice)
    return restored


def written(value: Any) -> str:
    """How a value is written in an address; ``page.js`` writes the same."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


# From settings


def of_field(field: FieldInfo) -> Parameter:
    """The parameter of a setting that has one of its own."""
    declared = ours(field)
    if declared["choices"] is not None:
        return choice(declared["link"], field.default, declared["choices"])
    if field.annotation is int:
        return integer(declared["link"], field.default, low=limits(field)[0], high=declared["high"])
    if field.annotation is bool:
        return flag(declared["link"], field.default)
    return text(declared["link"], field.default, limit=declared["high"] or LONGEST_TEXT)


def of_experiment(experiment: Experiment) -> Parameter:
    """Which live result is on show: all settings in one parameter, empty for what is bundled."""
    example, what = str(experiment.settings()), experiment.title.lower()

    def read(text: str) -> tuple[str, str | None]:
        settings = experiment.settings.parse(text)
        if settings is None:
            return "", f"The link's live {what} is not written as in {example}; showing the bundled one."
        return str(settings), None

    return Parameter(experiment.parameter, "", read)
