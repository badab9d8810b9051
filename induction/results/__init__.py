"""The results that come with the package, what holds models against them, and how they are made anew.

No torch: a page shows them before any model is loaded.
"""

from induction.results.shelf import (
    ABLATIONS,
    BEHAVIOUR,
    CIRCUITS,
    EDGES,
    EVIDENCE,
    EXAMPLES,
    HISTORIES,
    PATCHING,
    PUBLISHED,
    REAL_TEXT,
    SCANS,
    WHY,
    bundled,
    published_circuit,
    published_composition,
    published_composition_names,
    slug,
)
