"""The figure of each experiment whose result has one of its own, by the experiment's name: page and command draw it."""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go

from induction.viz import behaviour, evidence, knockout, looking, real_text

#: Of a result and ``palette``.
FIGURES: dict[str, Callable[..., go.Figure]] = {
    "knockout": knockout.bars,
    "why": looking.source_map,
    "next": behaviour.next_tokens,
    "prose": behaviour.prose,
    "recall": behaviour.recall,
    "loops": behaviour.loops,
    "few_shot": behaviour.few_shot,
    "real_text": real_text.prose_vs_repeats,
    "evidence": evidence.matrix,
}
