"""An experiment is three things, declared once: what is asked, how it is run, what comes out; and the list of them.

    Settings   what is asked: every field has its type or choices, default, limits, title and a line of help
    run        (model, settings) -> generator of Progress; closing it cancels; the last step carries the result
    Result     what came out, with its provenance: to JSON and back, CSV, and a verdict in words

Command line, endpoints and MCP tools, controls, links, live runs, what is kept of them and exports are each written
once over :func:`experiments`. No torch and no interface here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from induction.base import InputError, Progress, Result

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

SEPARATOR = "-"
LARGEST_SEED = 2**31 - 1
LONGEST_TEXT = 4000  # characters of a text that a visitor or a link brings
#: Modules that declare experiments, in the order in which they are listed everywhere.
DECLARED_IN = [
    "induction.analysis.experiments",
    "induction.patching.experiments",
    "induction.behaviour.experiments",
    "induction.circuit.experiments",
    "induction.evidence.experiments",
    "induction.training.experiments",
]


# What is asked


def setting(
    default: Any,
    title: str,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Mapping[str, Any] | None = None,
    link: str = "",
    flag: str = "",
    said: str | None = None,
) -> Any:
    """A field of :class:`Settings`.

    Args:
        low: smallest value, anywhere.
        high: largest value, or longest text, where others are served: page, links and endpoints
            (:meth:`Settings.served`).
        choices: names to choose from, with their declarations (``title``, ``meaning``) or titles.
        link: its parameter in links, where it has one of its own; else all fields share the experiment's.
        flag: on the command line, where it is not the field's name.
        said: how :meth:`Settings.words` says a value, as in ``"{} pairs"``; empty: not at all.
    """
    ours = {"high": high, "choices": choices, "link": link, "flag": flag, "said": said}
    return Field(default, title=title, description=help, ge=low, json_schema_extra=ours)


def seed_setting(help: str = "Same seed, same prompts", **more: Any) -> Any:
    """The seed, which every experiment has."""
    return setting(0, "Seed", help, low=0, high=LARGEST_SEED, **{"said": "seed {}"} | more)


class Settings(BaseModel):
    """What an experiment is asked to do; made of values of any surface, checked in words.

    ``str()`` writes all fields as links hold them and :meth:`parse` reads that.

    Raises:
        InputError: an unknown setting, a value of another type, outside of its limits or choices.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InputError(_wrong_setting(type(self), error.errors()[0])) from None
        for name, field in type(self).model_fields.items():
            choices, value = ours(field)["choices"], getattr(self, name)
            if choices is not None and value not in choices:
                raise InputError(
                    f"There is no {field.title.lower()} '{value}'; choose one of {', '.join(choices)}."
                )
        self.check()

    @field_validator("*", mode="before")
    @classmethod
    def _is_what_it_seems(cls, value: Any, info: Any) -> Any:
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError
        if isinstance(value, str):
            value.encode()  # half a character, which nothing can write, is a ValueError
        return value

    def check(self) -> None:
        """Raises InputError where settings do not go together; for settings to override."""

    def served(self) -> Self:
        """The same.

        Raises:
            InputError: more than a page does for its visitors.
        """
        for name, field in type(self).model_fields.items():
            high, value = ours(field)["high"], getattr(self, name)
            if isinstance(value, str) and high is not None and len(value) > high:
                raise InputError(f"{field.title}: at most {high:,} characters here; shorten the text.")
            if not isinstance(value, str) and high is not None and value > high:
                raise InputError(f"{field.title}: at most {high:,} here, not {value:,}.")
        return self

    def unused(self) -> tuple[str, ...]:
        """Names of the fields that do not count beside the others; for settings to override."""
        return ()

    def key(self) -> Self:
        """The same without what does not count, so that equal keys mean equal results."""
        fields = type(self).model_fields
        return self.model_copy(update={name: fields[name].default for name in self.unused()})

    def words(self) -> str:
        """What is asked in one line, as in ``20 pairs · A replaced · denoising``."""
        fields = {name: field for name, field in type(self).model_fields.items() if name not in self.unused()}
        said = (_said(field, getattr(self, name)) for name, field in fields.items())
        return " · ".join(part for part in said if part)

    def __str__(self) -> str:
        values = (getattr(self, name) for name in type(self).model_fields)
        return SEPARATOR.join(quote(str(value), safe="").replace(SEPARATOR, "%2D") for value in values)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The settings of a link, missing ones by default; None for anything that a page does not take."""
        values = [unquote(part) for part in text.split(SEPARATOR)]
        if not text or len(values) > len(cls.model_fields):
            return None
        try:
            return cls(**dict(zip(cls.model_fields, values, strict=False))).served()
        except InputError:
            return None


def ours(field: FieldInfo) -> dict[str, Any]:
    """What :func:`setting` adds to a field."""
    return field.json_schema_extra  # type: ignore[return-value]


def limits(field: FieldInfo) -> tuple[Any, Any]:
    """``(low, high)``, None where there is none."""
    lows = [item.ge for item in field.metadata if getattr(item, "ge", None) is not None]
    return (lows[0] if lows else None), ours(field)["high"]


def title_of(choices: Mapping[str, Any], name: str) -> str:
    """How a choice is called."""
    return choices[name] if isinstance(choices[name], str) else choices[name].title


def _said(field: FieldInfo, value: Any) -> str:
    declared = ours(field)
    form, choices = declared["said"], declared["choices"]
    if form == "" or value in ("", False):
        return ""
    if choices is not None:
        title = title_of(choices, value) if not isinstance(choices[value], str) else value
        plain = title[:1].lower() + title[1:] if title[1:2].islower() else title  # but "A replaced"
        return (form or "{}").format(plain)
    if field.title == "Seed" and value == field.default:
        return ""
    if isinstance(value, str):
        return (form or f"{field.title}: {{}}").format(value if len(value) <= 40 else f"{value[:39]}…")
    return field.title if value is True else (form or f"{{}} {field.title.lower()}").format(f"{value:,}")


def _wrong_setting(settings: type[Settings], error: Any) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    if name not in settings.model_fields:
        return f"There is no setting '{name}'; there are {', '.join(settings.model_fields)}."
    field = settings.model_fields[name]
    kinds = {int: "a whole number", float: "a number", bool: "yes or no", str: "a text"}
    kind = kinds.get(field.annotation, "of another kind")  # type: ignore[arg-type]
    low, high = limits(field)
    if low is None:
        return f"The setting {name} is {kind}."
    within = f"{low:,} or more" if high is None else f"{low:,} to {high:,}"
    return f"{field.title}: give {kind}, {within}, not {str(error['input'])[:40]}."


# The experiment


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One thing that can be found out about a model.

    Attributes:
        name: of its command, endpoint and link parameter.
        title, help: of its tab and in listings.
        settings, result: their classes.
        run: ``(model, settings, **known)``, a generator of steps whose last one carries the result. Steps before it
            may carry a result in part.
        known: names of experiments whose bundled results save ``run`` work when they are handed over.
        link: its parameter in links, by default its name.
        reads: whether it only reads what is bundled: ``run`` then is handed the model's name.
        work: of a model of so many layers and heads per layer and of settings, roughly how many tokens pass through
            the whole model; for estimates of time.
    """

    name: str
    title: str
    help: str
    settings: type[Settings]
    result: type[Result]
    run: Callable[..., Iterator[Progress[Any]]]
    known: tuple[str, ...] = ()
    link: str = ""
    reads: bool = False
    work: Callable[[int, int, Any], float] | None = None

    @property
    def parameter(self) -> str:
        return self.link or self.name


def experiments() -> dict[str, Experiment]:
    """All experiments by name, each declared in one of :data:`DECLARED_IN` as an item of its ``EXPERIMENTS``."""
    return {one.name: one for module in DECLARED_IN for one in import_module(module).EXPERIMENTS}
