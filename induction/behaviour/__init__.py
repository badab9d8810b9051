"""What a model does with and without a set of heads: next tokens, recall, loops, prose; random sets are the control."""

from induction.base import lazily

__getattr__ = lazily(
    __name__,
    next_tokens=("iter_next", "next_tokens"),
    recall=("iter_recall", "recall"),
    loops=("iter_loops", "loops"),
    prose=("iter_prose", "prose_losses"),
)
