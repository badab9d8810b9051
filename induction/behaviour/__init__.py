"""What a model does with and without a set of heads: next tokens, recall, loops, prose, patterns.

Random sets of other heads are the control.
"""

from induction.base import lazily

__getattr__ = lazily(
    __name__,
    next_tokens=("iter_next", "next_tokens"),
    recall=("iter_recall", "recall"),
    loops=("iter_loops", "loops"),
    few_shot=("iter_few_shot", "few_shot"),
    prose=("iter_prose", "prose_losses"),
)
