"""The app for programs: four named endpoints, everything else on the page is private.

Results are the same documents that the page exports. Long work yields ``{"done", "total", "label"}`` on its way
and the result at its end, so a client that waits gets the result and can cancel before. With
``GRADIO_MCP_SERVER=True`` the endpoints are MCP tools too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import gradio as gr

from induction import model as catalogue
from induction import results
from induction.analysis import attention as seen_by
from induction.base import InputError, Progress, parse_heads
from induction.circuit import results as circuits
from induction.patching import results as patchings
from induction.ui import jobs, received
from induction.ui.live_scan import Settings, measure
from induction.ui.names import checked_model, known_models
from induction.ui.patching_runs import sets_steps, sweep_steps
from induction.ui.patching_settings import Sweep, Together
from induction.ui.prompts import Prompt

Document = dict[str, Any]


def models() -> list[Document]:
    """The models that can be named here: shape, licence, where the weights are, and which results are bundled."""
    listed = []
    for name in known_models():
        card = catalogue.CATALOGUE.get(name)
        scan = results.bundled(name) if name in results.bundled_names() else None
        listed.append(
            {
                "name": name,
                "n_layers": card.n_layers if card else scan.n_layers,
                "n_heads": card.n_heads if card else scan.n_heads,
                "parameters": card.parameters if card else None,
                "licence": card.licence if card else None,
                "good_for": card.good_for if card else None,
                "weights": catalogue.availability(name),
                "bundled_scan": scan.kind if scan else None,
                "bundled_circuit": name in circuits.bundled_names(),
            }
        )
    return listed


def scan(
    model: str = "mini-2l",
    n_prompts: int = 10,
    length: int = 50,
    vocab: str = "random",
    seed: int = 0,
    live: bool = True,
) -> Iterator[Document]:
    """Score every head of a model on repeated random tokens: induction, previous-token and more, with intervals.

    Args:
        model: A name from /models.
        n_prompts: Number of prompts, 1 to 64.
        length: Tokens in each of the two copies, 4 to 256; prompts vary around it.
        vocab: Token set: random, letters, words, numbers or names.
        seed: Seed of the prompts.
        live: True runs the model; false returns the bundled or published scan, which needs no weights.
    """
    name = checked_model(str(model))
    if not live:
        yield _document(results.to_json(results.bundled(name)))
        return
    asked = received.settings(
        Settings, {"n_prompts": n_prompts, "length": length, "vocab": vocab, "seed": seed}
    )
    asked.check()
    yield from _documents(measure(name, asked), results.to_json)


def attention(
    model: str = "mini-2l", text: str = "", head: str = "0.0", hide_first: bool = False
) -> Document:
    """Attention of one head on a text: tokens, weights [query][key], induction targets and scores on this text.

    Args:
        model: A name from /models.
        text: The prompt, at most 256 tokens; the model's BOS is put in front.
        head: The head as layer.head, for example 1.7.
        hide_first: Leave out the first key and renormalise the rows.
    """
    from induction.ui.tabs.attention import kept, read, request_key

    name = checked_model(str(model))
    own = Prompt("own")
    key = request_key(name, str(own), str(text))
    found = kept.get(key)
    if found is None:
        found = read(name, own, str(text))
        kept.put(key, found)
    prompt, too_long = found
    if too_long:
        raise InputError("The text is longer than this model or this endpoint takes; shorten it.")
    (layer, index), *more = parse_heads(str(head), prompt.n_layers, prompt.n_heads)
    if more:
        raise InputError("This endpoint shows one head; call it once for each.")
    return _document(seen_by.head_json(prompt, layer, index, hide_first=bool(hide_first)))


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
    """Activation patching between clean and corrupted prompts: every head on its own, or a set of heads together.

    Args:
        model: A name from /models.
        heads: Heads to patch together, for example 1.7,1.6; empty patches every head on its own.
        direction: denoise (clean into corrupted) or noise (corrupted into clean).
        component: z, pattern, q, k or v.
        form: Generated prompts: first_a or target, the word that is replaced; own for clean and corrupted below.
        vocab: Token set of generated prompts: random, letters, words, numbers or names.
        n_pairs: Number of generated prompt pairs, 1 to 50.
        seed: Seed of prompts and random sets.
        clean: A text of your own, scored at its end.
        corrupted: Its twin with the same number of tokens.
        n_random: Random sets to compare a set of heads with, 0 to 100.
    """
    name = checked_model(str(model))
    sweep = received.settings(
        Sweep,
        {
            "form": "own" if clean or corrupted else form,
            "direction": direction,
            "component": component,
            "vocab": vocab,
            "n_pairs": n_pairs,
            "seed": seed,
            "clean": clean,
            "corrupted": corrupted,
        },
    )
    if not heads:
        yield from _documents(sweep_steps(name, sweep), patchings.to_json)
        return
    together = received.settings(Together, {"action": "patch", "heads": heads, "n_random": n_random})
    yield from _documents(sets_steps(name, sweep, together), patchings.to_json)


def _documents(steps: Iterator[Progress[Any]], to_json: Any) -> Iterator[Document]:
    for step in steps:
        if step.result is not None and step.done == step.total:
            yield _document(to_json(step.result))
        else:
            yield {"done": step.done, "total": step.total, "label": step.label}


def _document(text: str) -> Document:
    return json.loads(text)


def declare() -> None:
    """Add the endpoints to the page under construction."""
    for function, options in (
        (models, {"queue": False}),
        (scan, jobs.TURNS),
        (attention, jobs.TURNS),
        (patch, jobs.TURNS),
    ):
        safe = jobs.plain_errors(function) if function is models else jobs.on_model(function)
        gr.api(safe, api_name=function.__name__, **options)
