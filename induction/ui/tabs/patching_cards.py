"""What the Patching tab says in words and tables: the finding, the prompts token by token, numbers of head sets.

HTML of the project's own words and numbers; whatever else goes into it has passed ``html.escape``.
"""

from __future__ import annotations

from html import escape

from induction.base import head_name
from induction.patching.interventions import ABLATIONS, COMPONENTS, DIRECTIONS, LOSSES, METRICS
from induction.patching.results import HeadSets, Measure, Pair, Patching
from induction.ui.names import short_name
from induction.ui.patching_settings import METHODS, Sweep, Together, bundled_components, is_live

LISTED = 3  # heads named in the verdict
NOT_RUN = "Nothing was run with these settings yet: press Patch every head."


def headline(model: str, sweep: Sweep, result: Patching | None, metric: str) -> str:
    """What was found and how."""
    title = f"<h2>Every head of {escape(short_name(model))} on its own"
    if result is None:
        return f"{title}</h2><p class='ih-verdict'>{escape(missing(model, sweep))}</p>"
    if result.kind == "published":
        kind, word = "published", "Published by others"
    elif not is_live(model, sweep):
        kind, word = "computed", "Bundled"
    else:
        kind, word = "live", "Estimated live" if result.method == "estimate" else "Measured live"
    details = f"{result.origin}. {result.protocol.rstrip('.')}. {result.pick}"
    if result.seconds is not None:
        details += f" {result.seconds:.1f} s."
    if result.versions:
        details += f" {', '.join(f'{name} {version}' for name, version in result.versions.items())}."
    return (
        f"{title} <span class='ih-badge' data-kind='{kind}'>{word}</span></h2>"
        f"<p class='ih-verdict'>{escape(verdict(result, metric))}</p>"
        f"<details><summary>How this was measured</summary><p>{escape(details)}</p></details>"
    )


def missing(model: str, sweep: Sweep) -> str:
    """Why there is no result, and what to do."""
    there = bundled_components(model)
    if sweep.form != "bundled" or not there:
        return NOT_RUN
    return f"Bundled is denoising of {', '.join(there).lower()}; press Patch every head to measure this."


def verdict(result: Patching, metric: str) -> str:
    """The strongest heads in one or two sentences."""
    if metric not in result.effects:
        known = ", ".join(METRICS[name].title.lower() for name in result.effects)
        return f"Measured here: {known}; choose that metric, or patch anew."
    effect = result.effect(metric)
    ranked = sorted(result.ranked(metric), key=lambda item: -abs(item[2]))
    if not ranked:
        return result.caveats(metric)
    leaders = ", ".join(
        f"{result.name(layer, head)} ({value:+.2f})" for layer, head, value in ranked[:LISTED]
    )
    unit = METRICS[metric].unit
    clean, corrupted = effect.plain
    text = (
        f"{METRICS[metric].title}: clean {clean:.3g}, corrupted {corrupted:.3g}"
        f"{'' if unit == metric else f' {unit}'}. Largest effects: {leaders}."
    )
    return f"{text} {result.caveats(metric)}".strip()


def meaning(sweep: Sweep, metric: str) -> str:
    """What the numbers mean, from the declarations of the library."""
    rows = (
        ("Direction", DIRECTIONS[sweep.direction]),
        ("What is copied", COMPONENTS[sweep.component]),
        ("Metric", METRICS[metric]),
        ("Method", METHODS[sweep.method]),
    )
    items = "".join(
        f"<dt>{name}: {escape(declared.title.lower())}</dt><dd>{escape(declared.meaning)}</dd>"
        for name, declared in rows
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


def sets_headline(result: HeadSets | None, together: Together, metric: str) -> str:
    """What the heads together do, in one sentence."""
    if result is None:
        return "<p class='ih-verdict'>Nothing was run with these settings yet: press Run on the set.</p>"
    last = result.sets[-1] if together.action == "curve" else result.sets[0]
    measure = last.measures.get(metric)
    if measure is None:
        known = ", ".join((METRICS | LOSSES)[name].title.lower() for name in last.measures)
        return f"<p class='ih-verdict'>Measured here: {escape(known)}; choose that metric, or run anew.</p>"
    caveats = result.caveats(last, metric)
    if measure.effect is None:
        return f"<p class='ih-verdict'>{escape(caveats)}</p>"
    if result.intervention in ABLATIONS:
        loss = last.measures["second_copy_loss"]
        text = (
            f"Without these {len(last.heads)} heads the loss on the second copy goes from {loss.baseline:.2f} to "
            f"{loss.edited:.2f} nats, on the first from {last.measures['first_copy_loss'].baseline:.2f} to "
            f"{last.measures['first_copy_loss'].edited:.2f}."
        )
    else:
        which = "the first" if together.action == "curve" else "these"
        share = "comes back" if result.intervention == "denoise" else "is lost"
        text = f"With {which} {len(last.heads)} heads patched, {measure.effect:.2f} of the {_lower(metric)} {share}."
    if measure.random:
        text += f" Random sets of the same size: {measure.random_in_words(2)} on average" + (
            f"; this set lies above {measure.percentile:.0f} % of them."
            if measure.percentile is not None
            else "."
        )
    return f"<p class='ih-verdict'>{escape(f'{text} {caveats}'.strip())}</p>"


def _lower(metric: str) -> str:
    return METRICS[metric].title.lower()


def sets_table(result: HeadSets | None) -> str:
    """All measures of one set, each with both values, effect, interval and random sets."""
    if result is None or len(result.sets) != 1:
        return ""
    (head_set,) = result.sets
    rows = "".join(_measure_row(result, name, measure) for name, measure in head_set.measures.items())
    heads = " ".join(head_name((layer, head)) for layer, head in head_set.heads)
    edited = "ablated" if result.intervention in ABLATIONS else "patched"
    reference = f" Reference: {result.reference}." if result.reference else ""
    return (
        f"<p class='ih-note'>Heads {escape(heads)}.{escape(reference)}</p><div class='ih-scroll' tabindex='0'>"
        "<table class='ih-table'><thead><tr><th scope='col'>Measure</th><th scope='col'>before</th>"
        f"<th scope='col'>{edited}</th><th scope='col'>effect</th><th scope='col'>95 % interval</th>"
        "<th scope='col'>random sets</th><th scope='col'>above</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _measure_row(result: HeadSets, name: str, measure: Measure) -> str:
    declared = (METRICS | LOSSES)[name]
    title = declared.title if declared.unit == name else f"{declared.title} ({declared.unit})"
    interval = "not bounded" if result.unbounded(measure) else "–"
    if measure.low is not None and measure.high is not None:
        interval = f"{measure.low:+.2f} to {measure.high:+.2f}"
    effect = "undefined" if measure.effect is None else f"{measure.effect:+.3f}"
    above = "–" if measure.percentile is None else f"{measure.percentile:.0f} %"
    cells = (
        f"{measure.baseline:.3f}",
        f"{measure.edited:.3f}",
        effect,
        interval,
        measure.random_in_words(),
        above,
    )
    return f"<tr><th scope='row'>{title}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
