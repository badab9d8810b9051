"""What heads attend to: scores, kinds of heads, the scan of all heads, and the attention of all heads on one prompt."""

from induction.base import lazily

__getattr__ = lazily(
    __name__,
    scanning=("DEFAULT_SCORES", "analyze_induction_heads", "get_top_induction_heads", "iter_scan", "scan"),
    attention=("Attention", "attend", "written"),
    real_text=("iter_real_text", "real_text"),
)
