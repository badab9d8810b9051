"""What heads do: activation patching, ablation and attribution, every head on its own and heads together."""

from induction.base import lazily

__getattr__ = lazily(
    __name__,
    heads=(
        "NamedSet",
        "iter_patch_heads",
        "iter_patch_sets",
        "patch_heads",
        "patch_set",
        "top_k_sets",
    ),
    ablation=("ablate", "ablate_set", "iter_ablate"),
    edges=("iter_knock_out", "knock_out"),
    attribution=("attribution_patching", "direct_logit_attribution"),
)
