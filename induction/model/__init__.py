"""Models: which there are, how they are loaded, their tokens, and the way from a head to the logits.

``load_model`` returns a TransformerLens ``TransformerBridge`` with raw weights, fp32, eval mode, no gradient.
"""

from induction.model.background import iter_load
from induction.model.loading import (
    ALIASES,
    BUNDLED,
    CATALOGUE,
    HUB,
    SMOLLM2,
    WEIGHTS,
    Availability,
    ModelCard,
    availability,
    default_model,
    iter_fetch,
    load_model,
    name_of,
    offline_models,
    origin,
    provenance,
    resolve,
)
