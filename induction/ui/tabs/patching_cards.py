"""What the Patching tab says in words and tables: the finding, the prompts token by token, numbers of head sets.

HTML of the project's own words and numbers; whatever else goes into it has passed ``html.escape``.
"""

from __future__ import annotations

from html import escape
from typing import Any

from induction.base import InputError
from induction.experiment import ours
from induction.patching.experiments import HeadsSettings
from induction.patching.interventions import ABLATIONS, LOSSES, METRICS
from induction.patching.results import HeadSets, Measure, Pair, Patching
from induction.results import ABLATIONS as KNOCKOUTS
from induction.ui import runs, words
from induction.ui.controls import asked
from induction.ui.links import parse_head
from induction.ui.names import short_name
from induction.ui.terms import explained
from induction.viz.patching import effects

BUTTONS = {"heads": "Patch every head", "together": "Run on the set", "ablation": "Run on the set"}


def in_words(values: dict[str, Any], experiment: str) -> str:
    """What is asked in one line."""
    if experiment != "heads":
        return set_in_words(values)
    try:
        return asked(HeadsSettings, values).words()
    except InputError:
        return "not possible as set"


def set_in_words(values: dict[str, Any]) -> str:
    """What is done with which heads together, in one line."""
    heads, n_random = values["heads"] or "an empty set", values["n_random"]
    what = f"first {values['top_k']} heads" if values["top_k"] else "the induction heads, one more at a time"
    if values["action"] == "patch":
        what = f"{heads} patched"
    elif values["action"] == "ablate":
        what = f"{heads} ablated ({values['ablation']})"
    return f"{what} · {n_random} random sets"


def headline(model: str, values: dict[str, Any], result: Patching | None, metric: str) -> str:
    """What was found and how."""
    title = f"Every head of {short_name(model)} on its own"
    if result is None:
        return f"<h2>{escape(title)}</h2>"
    live = runs.live("heads", model, asked(HeadsSettings, values)) is not None
    protocols = [("", f"{result.protocol.rstrip('.')}. {result.pick}")]
    return words.headline(title, result, result.verdict(metric), live=live, protocols=protocols)


def head_card(model: str, head: str, result: Patching | None, metric: str) -> str:
    """What one head does on its own, and what is lost without it, alone and with the induction heads."""
    place, known = parse_head(head), KNOCKOUTS.find(model)
    if place is None:
        return ""
    lines = [_patched_alone(result, metric, *place)]
    if known and (said := known.without(place)):
        lines += [said, known.redundancy(place)]
    said = "".join(f"<p>{explained(line)}</p>" for line in lines if line)
    return f"<h2>Head {escape(head)}</h2><div class='ip-head'>{said}</div>"


def _patched_alone(result: Patching | None, metric: str, layer: int, head: int) -> str:
    if result is None or metric not in result.effects or layer >= result.n_layers:
        return ""
    column = head // result.group_size
    cells = effects(result, metric)[layer]
    if column >= len(cells) or (effect := cells[column]) is None:
        return ""
    ends = result.effect(metric).interval(layer, column) if result.n_positions is None else None
    bounds = f" (95 % interval {ends[0]:+z.2f} to {ends[1]:+z.2f})" if ends else ""
    moves = "comes back" if result.direction == "denoise" else "is lost"
    patched = "Patched" if result.unit == "head" else f"Patched as {result.name(layer, column)}"
    return f"{patched} on its own: {effect:+z.2f} of the {METRICS[metric].title.lower()} {moves}{bounds}."


def meaning(values: dict[str, Any], metric: str) -> str:
    """What the numbers mean, from the declarations of the library."""
    rows = [
        (field.title, ours(field)["choices"][values[name]])
        for name, field in HeadsSettings.model_fields.items()
        if name in ("direction", "component", "method")
    ]
    items = "".join(
        f"<dt>{name}: {escape(declared.title.lower())}</dt><dd>{escape(declared.meaning)}</dd>"
        for name, declared in [*rows, ("Metric", METRICS[metric])]
    )
    return (
        "<details><summary>What the effect means: 0 nothing, 1 all of it, below 0 against the answer</summary>"
        f"<dl class='ih-prose-list'>{items}</dl></details>"
    )


def prompts(result: Patching | None) -> str:
    """The first pair token by token with its differences marked, the others on demand."""
    if result is None or not result.pairs:
        return ""
    first, *others = result.pairs
    more = ""
    if others:
        rest = "".join(_pair(pair) for pair in others)
        more = f"<details><summary>{len(others)} more prompt pairs</summary>{rest}</details>"
    return f"<h3>Prompts</h3>{_pair(first)}{more}"


def _pair(pair: Pair) -> str:
    lines = []
    for name, own, other, follows in (
        ("Clean", pair.clean, pair.corrupted, pair.answer),
        ("Corrupted", pair.corrupted, pair.clean, pair.distractor),
    ):
        tokens = "".join(
            f"<span class='ia-token{' ip-differs' if token != twin else ''}'>{escape(token)}</span>"
            for token, twin in zip(own, other, strict=True)
        )
        role = "answer" if name == "Clean" else "distractor"
        lines.append(
            f"<p class='ip-prompt'><b>{name}</b> <span class='ia-text'>{tokens}</span>"
            f" <span class='ip-next'>{role} <span class='ia-token'>{escape(follows)}</span></span></p>"
        )
    return f"<div class='ip-pair'>{''.join(lines)}</div>"


def sets_headline(model: str, result: HeadSets | None, metric: str) -> str:
    """What the heads together do, and what is lost without them where that is known."""
    if result is None:
        return ""
    said, kept = [result.verdict(metric)], KNOCKOUTS.find(model)
    if kept and not result.task and result.intervention not in ABLATIONS:
        heads = [(layer, head) for layer, head in result.sets[-1].heads]
        without = kept.of(heads)
        said += [without.verdict()] if without else []
    return "".join(f"<p class='ih-verdict'>{explained(text)}</p>" for text in said)


def sets_table(result: HeadSets | None) -> str:
    """All measures of one set, each with both values, effect, interval and random sets."""
    if result is None or len(result.sets) != 1:
        return ""
    (head_set,) = result.sets
    edited = "ablated" if result.intervention in ABLATIONS else "patched"
    reference = f" Reference: {result.reference}." if result.reference else ""
    headings = ("Measure", "before", edited, "effect", "95 % interval", "random sets", "above")
    rows = [_measure_row(result, name, measure) for name, measure in head_set.measures.items()]
    heads = escape(f"Heads {head_set.names}.{reference}")
    return f"<p class='ih-note'>{heads}</p>{words.table(headings, rows, 'All measures of this set')}"


def _measure_row(result: HeadSets, name: str, measure: Measure) -> tuple[str, ...]:
    declared = (METRICS | LOSSES)[name]
    interval = "not bounded" if result.unbounded(measure) else "–"
    if measure.low is not None and measure.high is not None:
        interval = f"{measure.low:+z.2f} to {measure.high:+z.2f}"
    return (
        declared.title if declared.unit == name else f"{declared.title} ({declared.unit})",
        f"{measure.baseline:.3f}",
        f"{measure.edited:.3f}",
        measure.shown,
        interval,
        measure.random_in_words(),
        "–" if measure.percentile is None else f"{measure.percentile:.0f} %",
    )
