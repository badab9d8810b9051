"""What stands beside the figure of a section: the card of a head, its excerpts of prose, continuations as text.

HTML of the project's own words and numbers; whatever else goes into it has passed ``html.escape``.
"""

from __future__ import annotations

from html import escape
from urllib.parse import urlencode

from induction.analysis.real_text_result import RealText
from induction.base import InputError, head_name
from induction.behaviour.results import Continuation, NextTokens
from induction.circuit.experiments import WhySettings
from induction.evidence.results import SIGNS, Evidence, Line
from induction.ui import links
from induction.ui.tabs.real_text_cards import passages_html
from induction.ui.terms import explained

HEADINGS = ("Test", "", "Value", "95 % interval", "Control", "At least")


def evidence_card(result: Evidence, model: str, head: str) -> str:
    """HTML of one head's lines; where nothing was measured of it, what to do."""
    place = links.parse_head(head)
    if place is None or list(place) not in result.tested:
        shown = escape(head_name(place)) if place else "this head"
        return f"<h2>Head {shown}</h2><p>Not measured here: set Head to {shown} and run the evidence.</p>"
    lines = result.lines(place)
    induction = ",".join(head_name((layer, index)) for layer, index in result.induction)
    rows = "".join(_row(line, model, head_name(place), induction) for line in lines)
    headings = "".join(f"<th scope='col'>{escape(heading)}</th>" for heading in HEADINGS)
    return (
        f"<h2>Head {head_name(place)}</h2><p class='ih-verdict'>{explained(result.verdict(place))}</p>"
        f"<div class='ih-scroll' tabindex='0'><table class='ih-table ih-evidence'>"
        f"<caption class='ih-hidden'>Tests of head {head_name(place)}</caption>"
        f"<thead><tr>{headings}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(line: Line, model: str, head: str, induction: str) -> str:
    said = line.said()
    view = line.test.view.format(head=head, set=induction)
    at = f"?{urlencode({'model': model, 'head': head})}&{view}"
    title = f"{line.test.meaning} Control: {line.test.control}."
    first = f"<a href='{escape(at)}' title='{escape(title)}'>{escape(line.test.title)}</a>"
    unit = f"<small>{escape(line.test.unit)}</small>"
    sign = f"<td data-outcome='{line.outcome}' aria-label='{line.outcome}'>{SIGNS[line.outcome]}</td>"
    cells = "".join(f"<td>{escape(said[name])}</td>" for name in list(said)[2:-1])
    return f"<tr><th scope='row'>{first} {unit}</th>{sign}{cells}</tr>"


def why_link(model: str, head: str, text: str = "", query: int = -1) -> str:
    """A link to why a head looks where it looks: from one query of a text, or on average over generated prompts."""
    try:
        settings = WhySettings(head=head, text=text, query_at=query if text else -1)
    except InputError:
        return ""
    asked = {"model": model, "tab": "edges", "head": head, "edges_shows": "why", "why": str(settings)}
    where = "from this row" if text and query >= 0 else "here" if text else "on repeated tokens"
    return f"<a href='?{escape(urlencode(asked))}'>Why does {escape(head)} look where it looks, {where}?</a>"


def excerpts(result: RealText, model: str, head: str) -> str:
    """Where the selected head fires most in prose, and some of its lower deciles."""
    place = links.parse_head(head) or result.ranked()[0][:2]
    return passages_html(result, place)


def continuations(result: NextTokens, model: str, head: str) -> str:
    """The prompt and how it goes on, token by token; tokens that differ from those with all heads are marked."""
    shown = [("With all heads", result.intact), (f"Without {result.label}", result.without)]
    shown += [("Without a random set", result.random)] if result.random else []
    prompt = "".join(f"<span class='ia-token'>{escape(token)}</span>" for token in result.prompt)
    parts = [
        f"<h3>{escape(title)}</h3><p class='ia-text'>{_said(one, result.intact)}</p>" for title, one in shown
    ]
    return f"<h3>Prompt</h3><p class='ia-text'>{prompt}</p>{''.join(parts)}"


def _said(one: Continuation, intact: Continuation) -> str:
    return "".join(
        f"<span class='ia-token' title='probability {probability:.2f}'>"
        f"{f'<mark>{escape(token)}</mark>' if token != other else escape(token)}</span>"
        for token, other, probability in zip(one.tokens, intact.tokens, one.probabilities, strict=True)
    )
