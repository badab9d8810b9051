"""The page's own components: each ``.py`` beside its ``.js``."""
