"""What the Patching tab says in words and tables: the finding, the prompts token by token, numbers of head sets.

HTML of the project's own words and numbers; whatever else goes into it has passed ``html.escape``.
"""

from __future__ import annotations

from html import escape
from typing import Any

from induction.experiment import Settings, ours
from induction.patching.experiments import BUNDLED, HeadsSettings
from induction.patching.interventions import ABLATIONS, COMPONENTS, LOSSES, METRICS
from induction.patching.results import HeadSets, Measure, Pair, Patching
from induction.results import bundled
from induction.ui import runs, words
from induction.ui.controls import asked
from induction.ui.names import short_name

BUTTONS = {"heads": "Patch every head", "together": "Run on the set", "ablation": "Run on the set"}


def headline(model: str, values: dict[str, Any], result: Patching | None, metric: str, missing: str) -> str:
    """What was found and how."""
    title = f"Every head of {short_name(model)} on its own"
    if result is None:
        return words.headline(title, None, missing)
    live = runs.live("heads", model, asked(HeadsSettings, values)) is not None
    protocols = [("", f"{result.protocol.rstrip('.')}. {result.pick}")]
    return words.headline(title, result, result.verdict(metric), live=live, protocols=protocols)


def missing(model: str, name: str, settings: Settings) -> str:
    """Why there is no result, and what to do."""
    there = [
        declared.title.lower()
        for component, declared in COMPONENTS.items()
        if name == "heads" and bundled("heads", model, HeadsSettings(component=component))
    ]
    if getattr(settings, "form", "") != BUNDLED or not there:
        return f"Nothing was run with these settings yet: press {BUTTONS[name]}."
    return f"Bundled is denoising of {', '.join(there)}; press {BUTTONS[name]} to measure this."


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


def sets_headline(result: HeadSets | None, metric: str, missing: str) -> str:
    """What the heads together do."""
    said = missing if result is None else result.verdict(metric)
    return f"<p class='ih-verdict'>{escape(said)}</p>"


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
        interval = f"{measure.low:+.2f} to {measure.high:+.2f}"
    return (
        declared.title if declared.unit == name else f"{declared.title} ({declared.unit})",
        f"{measure.baseline:.3f}",
        f"{measure.edited:.3f}",
        "undefined" if measure.effect is None else f"{measure.effect:+.3f}",
        interval,
        measure.random_in_words(),
        "–" if measure.percentile is None else f"{measure.percentile:.0f} %",
    )
