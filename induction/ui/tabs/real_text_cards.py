"""Excerpts of prose as coloured text: where one head looks from a token that came before.

A weight is said three ways: by the shade behind its token, on hover, and the largest in words. All that a tokenizer or
a book says passes ``html.escape``.
"""

from __future__ import annotations

from html import escape

from induction.analysis.real_text_result import STRONGEST, Excerpt, RealText
from induction.base import Head, head_name

LARGEST = 3  # weights named in words
SHADE = 45  # percent of the accent behind a weight of 1: ink has 4.5:1 on it, in light and dark


def passages_html(result: RealText, head: Head) -> str:
    """The stored excerpts of one head: where it fires most, then lower deciles of its queries."""
    excerpts = result.excerpts_of(head)
    name = head_name(head)
    if not excerpts:
        stored = dict.fromkeys(head_name((one.layer, one.head)) for one in result.excerpts)
        return (
            f"<p class='ih-empty'>No excerpts are kept of head {name}: only of those with the highest scores in prose "
            f"and of the induction heads, {', '.join(stored)}.</p>"
        )
    key = (
        "<p class='ih-note'>Shade: attention from the "
        f"{_boxed('query', 'ih-selected')} to each token. {_boxed('Target', 'ih-second', 'dashed')}: the token after "
        "the latest earlier occurrence of the query's token. Tokens after the query cannot be seen from it.</p>"
    )
    strongest = [one for one in excerpts if one.decile == STRONGEST]
    lower = [one for one in excerpts if one.decile != STRONGEST]
    parts = [f"<h3>Head {name}: where it fires most</h3>", *(_figure(result, one) for one in strongest)]
    if lower:
        parts += ["<h3>At lower deciles of its queries</h3>", *(_figure(result, one) for one in lower)]
    return f"<div class='ih-passages'>{key}{''.join(parts)}</div>"


def _figure(result: RealText, one: Excerpt) -> str:
    where = f"{escape(result.passages[one.passage])}, passage {one.passage + 1}"
    decile = (
        "" if one.decile == STRONGEST else f"{10 * one.decile} % of its queries have less on the target. "
    )
    return (
        "<figure style='margin:0 0 1rem'>"
        f"<p class='ia-text' style='max-height:none'>{_text(one)}</p>"
        f"<figcaption class='ih-caption' style='max-width:none'>{decile}{_words(one)} <cite>{where}</cite>, token "
        f"{one.query}.</figcaption></figure>"
    )


def _text(one: Excerpt) -> str:
    """The shown pieces, a gap between them, each token with its weight."""
    weights = dict(zip(one.positions, zip(one.tokens, one.weights, strict=True), strict=True))
    pieces = ["".join(_token(one, at, *weights[at]) for at in range(first, end)) for first, end in one.spans]
    return "<span class='ih-gap'> … </span>".join(pieces)


def _token(one: Excerpt, at: int, token: str, weight: float) -> str:
    if at > one.query:
        return f"<span class='ia-token ia-later' title='after the query'>{escape(token)}</span>"
    roles = [name for name, place in (("query", one.query), ("target", one.target)) if place == at]
    told = ", ".join([*roles, f"weight {weight:.2f}"])
    style = f"cursor:help;background:{_shade(weight)}"
    if roles:
        outline = "2px solid var(--ih-selected)" if roles == ["query"] else "2px dashed var(--ih-second)"
        style += f";outline:{outline}"
    return f"<span class='ia-token' style='{style}' title='{told}'>{escape(token)}</span>"


def _shade(weight: float) -> str:
    """Of a weight in 0..1."""
    return f"color-mix(in srgb, var(--ih-accent) {SHADE * weight:.0f}%, var(--ih-sequential-0))"


def _boxed(word: str, role: str, line: str = "solid") -> str:
    return f"<span style='outline:2px {line} var(--{role});padding:0 .2rem'>{word}</span>"


def _words(one: Excerpt) -> str:
    """The largest weights, the target's and what lies elsewhere, in words."""
    named = "; ".join(f"“{escape(token)}” {weight:.2f}" for token, _, weight in one.largest(LARGEST))
    elsewhere = f" Not shown: {one.elsewhere:.2f}." if one.elsewhere else ""
    return f"Largest weights: {named or 'none here'}. On the target: {one.weight:.2f}.{elsewhere}"
