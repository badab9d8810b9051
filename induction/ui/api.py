"""The app for programs: a named endpoint for every experiment, and two more; everything else on the page is private.

Results are the same documents that the page exports. Long work yields ``{"done", "total", "label"}`` on its way
and the result at its end, so a client that waits gets the result and can cancel before. With
``GRADIO_MCP_SERVER=True`` the endpoints are MCP tools too.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from induction import model as catalogue
from induction.base import InputError
from induction.experiment import Experiment, Settings, experiments, limits, ours
from induction.patching.experiments import OWN, HeadsSettings, TogetherSettings
from induction.results import CIRCUITS, SCANS, bundled
from induction.ui import jobs, runs
from induction.ui.controls import asked
from induction.ui.names import checked_model, known_models

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

Document = dict[str, Any]


def models() -> list[Document]:
    """The models that can be named here: shape, licence, where the weights are, and which results are bundled."""
    listed = []
    for name in known_models():
        card, scan = catalogue.CATALOGUE.get(name), SCANS.find(name)
        shape = card or scan
        listed.append(
            {
                "name": name,
                "n_layers": shape.n_layers,
                "n_heads": shape.n_heads,
                "parameters": card.parameters if card else None,
                "licence": card.licence if card else None,
                "good_for": card.good_for if card else None,
                "weights": catalogue.availability(name),
                "bundled_scan": scan.kind if scan else None,
                "bundled_circuit": CIRCUITS.find(name) is not None,
            }
        )
    return listed


def endpoint(experiment: Experiment) -> Callable[..., Iterator[Document]]:
    """The endpoint of an experiment, with a signature and documentation made of its settings."""
    fields = experiment.settings.model_fields

    def run(model: str = "mini-2l", *values: Any, live: bool = True, **named: Any) -> Iterator[Document]:
        given = dict(zip([*fields, "live"], values, strict=False)) | named
        name, live = checked_model(str(model)), given.pop("live", live)
        settings = asked(experiment.settings, given)
        if live or experiment.reads:
            yield from documents(experiment, name, settings)
            return
        found = bundled(experiment.name, name, settings)
        if found is None:
            raise InputError(f"No bundled result of {name} for these settings; ask with live set to true.")
        yield json.loads(found.to_json())

    parameters = [("model", str, "mini-2l"), *((name, f.annotation, f.default) for name, f in fields.items())]
    if not experiment.reads:
        parameters.append(("live", bool, True))
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = [
        inspect.Parameter(name, positional, default=d, annotation=kind) for name, kind, d in parameters
    ]
    returned = Iterator[Document]
    run.__signature__ = inspect.Signature(signature, return_annotation=returned)  # type: ignore[attr-defined]
    run.__annotations__ = {name: kind for name, kind, _ in parameters} | {"return": returned}
    run.__name__ = experiment.name
    last = (
        {}
        if experiment.reads
        else {"live": "True runs the model; false returns what is bundled, without weights"}
    )
    run.__doc__ = _documentation(experiment.help, fields, **last)
    return run


def _documentation(help: str, fields: Mapping[str, FieldInfo], **more: str) -> str:
    """A docstring whose arguments are the model, these settings and ``more``."""
    told = {"model": "A name from /models"}
    for name, field in fields.items():
        choices, (low, high) = ours(field)["choices"], limits(field)
        allowed = f": {', '.join(choices)}" if choices else "" if low is None else f", {low} to {high}"
        told[name] = f"{field.title}. {field.description}{allowed}"
    return "\n".join([help, "", "Args:", *(f"    {name}: {words}." for name, words in (told | more).items())])


def patch(
    model: str = "mini-2l",
    heads: str = "",
    direction: str = "denoise",
    component: str = "z",
    form: str = "first_a",
    vocab: str = "random",
    n_pairs: int = 10,
    seed: int = 0,
    clean: str = "",
    corrupted: str = "",
    n_random: int = 20,
) -> Iterator[Document]:
    values = locals() | {"form": OWN if clean or corrupted else form}
    name, kind = ("together", TogetherSettings) if heads else ("heads", HeadsSettings)
    yield from documents(experiments()[name], checked_model(str(model)), asked(kind, values))


_ARGUMENTS = list(inspect.signature(patch).parameters)[1:]
patch.__doc__ = _documentation(
    "Activation patching between clean and corrupted prompts: every head on its own, or where heads are named these "
    "together; texts of your own are taken where they are given.",
    {name: TogetherSettings.model_fields[name] for name in _ARGUMENTS},
    heads="Heads to patch together, for example 1.7,1.6; empty patches every head on its own",
)


def documents(experiment: Experiment, model: str, settings: Settings) -> Iterator[Document]:
    """The steps of a run, and its result as a document."""
    for step in runs.steps(experiment, model, settings):
        if step.result is not None and step.done == step.total:
            yield json.loads(step.result.to_json())
        else:
            yield {"done": step.done, "total": step.total, "label": step.label}


def declare() -> None:
    """Add the endpoints to the page under construction."""
    with gr.Column(visible=False):  # their arguments are components, on which no browser need spend time
        gr.api(jobs.plain_errors(models), api_name="models", queue=False)
        for function in (*map(endpoint, experiments().values()), patch):
            gr.api(jobs.on_model(function), api_name=function.__name__, **jobs.TURNS)
