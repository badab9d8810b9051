"""About: definitions, how to read each figure, limits, sources, how to run it at home."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from induction import model as models
from induction.analysis.kinds import KINDS
from induction.analysis.scores import SCORES
from induction.data_gen.sequences import TOKEN_SETS
from induction.patching.interventions import ABLATIONS, COMPONENTS, DIRECTIONS, LOSSES, METRICS, Declaration
from induction.ui.components.note import html
from induction.ui.names import short_name
from induction.ui.terms import glossary

if TYPE_CHECKING:
    from induction.ui.page import Page

WHAT = """
<h2>What an induction head is</h2>
<p>Attention heads move information between the tokens of a text. An induction head completes patterns: the
text once held <code>A B</code>, now it is at <code>A</code> again, and the head looks at the token
<em>after</em> the earlier <code>A</code>, which is <code>B</code>, and raises its probability. It cannot do
so alone: an earlier head, a previous-token head, must have told each token what stood before it.</p>
<p>This page finds such heads on random tokens that are repeated, where nothing but the repeat can be used,
shows what they look at, and tests whether the model needs them.</p>
"""

READING = """
<h2>How to read the figures</h2>
<ul>
<li><strong>Grid.</strong> One cell per head, layers down, heads across. The darker (on a dark page: the
lighter) the cell, the more of the head's attention goes where the score looks. The tick on the scale is
chance: what a head scores that looks everywhere evenly.</li>
<li><strong>Ranking.</strong> The same figures in order. Brackets hold the 95 % interval over prompts;
± is the standard deviation over published runs. The leader is the highest of many heads, and the highest of many is
partly luck: the line above the ranking gives its interval with that allowed for, and how many heads would reach the
threshold by chance.</li>
<li><strong>Ceiling.</strong> A row of attention sums to 1. Where one token has several earlier copies, the score is
shared between them and no head can reach 1: read it as a share of the ceiling that stands beside it.</li>
<li><strong>Blind layers.</strong> A layer with a sliding window shorter than the repeat cannot look where induction
looks. Its scores are 0 whatever its heads do; the page says so where it happens.</li>
<li><strong>Loss.</strong> How badly the model predicts each token, in nats. On random tokens it cannot do
better than guess in the first copy. If the second copy is much cheaper, the model uses the repeat.</li>
<li><strong>Two kinds of head.</strong> Induction heads stand at the upper left, previous-token heads at the
lower right. A head attends to one place mostly, so hardly any head is both.</li>
<li><strong>Attention.</strong> Queries down, keys across; a row sums to 1. Outlined cells are where induction
looks. The first key draws so much attention that it can be hidden; the rows are then rescaled.</li>
<li><strong>Patching map.</strong> The effect of one head at a time: 0 changes nothing, 1 carries the whole
answer, below 0 works against it. The bars show the same as clean, corrupted and patched probability.</li>
<li><strong>Sets against random sets.</strong> How far a set of heads goes that was picked by score, beside sets
of the same size drawn from the same layers. A set that random ones equal has shown nothing.</li>
<li><strong>Circuit.</strong> A band from an earlier to a later head is as wide as the effect of the one on the
other through that input alone. The dashed line is composition: what the weights alone suggest.</li>
<li><strong>Edges.</strong> Knockout: the loss without the attention to where induction looks, beside the same heads
removed, other heads and other edges. Why it looks there: rows are what stands at the query, columns what stands at the
key, and a cell is how much the two together raise the score of the target over the other keys.</li>
<li><strong>Behaviour.</strong> The whole model, the model without the set, and without random sets of as many other
heads of the same layers. A difference that random sets make, too, says nothing about the set.</li>
<li><strong>Evidence.</strong> ✓ the value reaches the threshold and its interval lies above the control, ✗ it does not,
– not measured. Where many heads are tested some pass by chance; how many is said.</li>
<li><strong>Training.</strong> Losses and scores at checkpoints, over training tokens. Marked is where
the loss on the second copy falls fastest.</li>
</ul>
"""

LIMITS = """
<h2>What these figures do not say</h2>
<ul>
<li>A high score says where a head looks, not what it writes. Copy-suppression heads (GPT-2 small 10.7) look
at the same place and <em>lower</em> the answer.</li>
<li>A high score is not a large effect: other heads can stand in for one that is switched off. Patch sets of
heads and compare them with random sets.</li>
<li>Scores depend on the protocol: prompts, token set, length, and whether a start token stands in front. Each
result names its own. Published results used other prompts than this page does.</li>
<li>The first token attracts attention from heads that have nothing to do; a head can be an induction head and
rest there most of the time.</li>
</ul>
"""

HOME = """
<h2>Run it at home</h2>
<pre><code>pip install -r requirements.txt
python app.py</code></pre>
<p>At home any decoder model that TransformerLens supports can be typed into the model box, also a local folder
or a <code>.gguf</code> file. A hosted page loads only the models it lists. The same measurements on the command
line: <code>python -m induction scan gpt2</code>.</p>
"""

#: What each source is, and where: links that a visitor may follow; the page itself asks nothing outside.
SOURCES = {
    "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits": (
        "https://transformer-circuits.pub/2021/framework/index.html"
    ),
    "Olsson et al. 2022, In-context Learning and Induction Heads": (
        "https://transformer-circuits.pub/2022/in-context-learning-and-induction-heads/index.html"
    ),
    "Wang et al. 2022, Interpretability in the Wild": "https://arxiv.org/abs/2211.00593",
    "McDougall et al. 2023, Copy Suppression": "https://arxiv.org/abs/2310.04625",
    "Zhang & Nanda 2024, Towards Best Practices of Activation Patching": "https://arxiv.org/abs/2309.16042",
    "Heimersheim & Nanda 2024, How to Use and Interpret Activation Patching": "https://arxiv.org/abs/2404.15255",
    "Singh et al. 2024, What Needs to Go Right for an Induction Head": "https://arxiv.org/abs/2404.07129",
}


def scores() -> str:
    """All scores from their declarations."""
    entries = "".join(
        f"<dt>{escape(score.title)}</dt><dd>{escape(score.meaning)} "
        f"<span class='ih-source'>{escape(score.source)}.</span></dd>"
        for score in SCORES.values()
    )
    return f"<h2>What the scores mean</h2><dl>{entries}</dl>"


def interventions() -> str:
    """What is done to heads, to which part of them, and how the effect is measured, from the declarations."""
    groups = (
        ("Directions of patching", DIRECTIONS),
        ("What is patched", COMPONENTS),
        ("Ablation", ABLATIONS),
        ("What is measured", METRICS | LOSSES),
    )
    lists = "".join(f"<h3>{heading}</h3>{_declared(group)}" for heading, group in groups)
    return f"<h2>What is done to heads</h2>{lists}"


def kinds() -> str:
    entries = "".join(
        f"<dt>{escape(kind.title)}</dt><dd>{escape(kind.meaning)} "
        f"<span class='ih-source'>{escape(kind.rule[:1].upper() + kind.rule[1:])}.</span></dd>"
        for kind in KINDS.values()
    )
    return f"<h2>Kinds of head</h2><dl>{entries}</dl>"


def _declared(group: Mapping[str, Declaration]) -> str:
    entries = "".join(f"<dt>{escape(one.title)}</dt><dd>{escape(one.meaning)}</dd>" for one in group.values())
    return f"<dl>{entries}</dl>"


def token_sets() -> str:
    entries = "".join(f"<dt>{escape(name)}</dt><dd>{escape(what)}</dd>" for name, what in TOKEN_SETS.items())
    return f"<h2>Token sets</h2><dl>{entries}</dl>"


def model_list() -> str:
    """The catalogue, from its declarations."""
    entries = "".join(
        f"<dt>{escape(short_name(card.name))}</dt>"
        f"<dd>{escape(card.good_for[:1].upper() + card.good_for[1:])}. "
        f"<span class='ih-source'>{card.n_layers} layers × {card.n_heads} heads; {escape(card.licence)}; "
        f"{escape(card.source)}.</span></dd>"
        for card in models.CATALOGUE.values()
    )
    return f"<h2>Models</h2><dl>{entries}</dl>"


def sources() -> str:
    links = "".join(
        f"<li><a href='{escape(url)}' target='_blank' rel='noopener noreferrer'>{escape(what)}</a></li>"
        for what, url in SOURCES.items()
    )
    return f"<h2>Sources</h2><ul>{links}</ul>"


def build(page: Page) -> None:
    with page.tab("about", "About"):
        words = f"<h2>Words</h2>{glossary()}"
        definitions = (words, scores(), interventions(), kinds())
        parts = (WHAT, READING, LIMITS, *definitions, token_sets(), model_list(), HOME, sources())
        html(f"<div class='ih-prose'>{''.join(parts)}</div>", elem_id="about")
