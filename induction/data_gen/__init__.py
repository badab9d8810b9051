"""Prompts: token sets, repeated sequences, passages of one's own, and clean/corrupted pairs. No torch until a
model runs.
"""

from induction.data_gen.sequences import (
    TOKEN_SETS,
    Batch,
    Passage,
    Repeat,
    RepeatedSequence,
    find_repeats,
    generate_repeated_sequence,
    get_token_set,
    passage,
    random_ids,
    repeated_batch,
    token_of,
)
