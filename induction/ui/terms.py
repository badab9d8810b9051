"""Words of the field, explained where they stand; what a declaration of the library says is read from there."""

from __future__ import annotations

import re
from html import escape

from induction.patching.experiments import FORMS, METHODS
from induction.patching.interventions import DIRECTIONS, METRICS

#: Word or words with what they mean in a sentence or two.
WORDS: dict[str, str] = {
    "induction target": "The token that followed an earlier copy of the current one: where induction looks.",
    "distractor": "The token that the corrupted prompt makes likely where the clean one makes the answer likely.",
    "recovery": "Share of the clean answer that comes back when one activation is copied into the corrupted run: 0 is "
    "nothing, 1 is all of it.",
    "sink": "A first token that heads attend to when they have nothing else to look for.",
    "composition": "How much of what an earlier head writes lies where a later head reads, from the weights alone "
    "(Elhage et al. 2021).",
    "BOS": "Beginning of sequence: the token that a model is given in front of every text.",
    "nats": "Unit of loss: minus the natural logarithm of the probability of the right token. 0 is certainty, and one "
    "nat less means 2.7 times as likely.",
    "logits above the mean": "A logit minus the mean over the vocabulary; a constant added to all logits changes no "
    "probability.",
    "chance": "What a head scores that looks at all earlier tokens alike.",
    "prefix matching": "Attention to the token that followed an earlier occurrence of the current one.",
    "path patching": "Sending one head's change into one input of one later head and nowhere else.",
    "mean ablation": "The head's output is replaced by its mean over a reference set, which takes away what it says of "
    "this prompt.",
}
#: The same in small letters, and what declarations of the library say of their own words.
TERMS = {term.lower(): meaning for term, meaning in WORDS.items()} | {
    **{declared.title.lower(): declared.meaning for declared in [*DIRECTIONS.values(), *METRICS.values()]},
    **{FORMS[name].title.lower(): FORMS[name].meaning for name in ("first_a", "target")},
    **dict.fromkeys(("estimate", "estimated", "attribution patching"), METHODS["estimate"].meaning),
}
_WORDS = re.compile(
    r"(?<![\w&;-])("
    + "|".join(re.escape(escape(term)) for term in sorted(TERMS, key=len, reverse=True))
    + r")(?![\w-])",
    re.IGNORECASE,
)


def explained(text: str) -> str:
    """The text as HTML, each of the :data:`TERMS` explained where it stands first; everything else escaped."""
    said: set[str] = set()

    def explain(match: re.Match[str]) -> str:
        term = match[1].lower()
        if term in said:
            return match[1]
        said.add(term)
        return f'<dfn class="ih-term" tabindex="-1" data-explained="{escape(TERMS[term])}">{match[1]}</dfn>'

    return _WORDS.sub(explain, escape(text))


def glossary() -> str:
    """The words that no list of declarations has, as a list for who cannot point at them."""
    words = sorted((f"{term[0].upper()}{term[1:]}", meaning) for term, meaning in WORDS.items())
    items = (f"<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>" for term, meaning in words)
    return f"<dl>{''.join(items)}</dl>"
