"""Find, see and causally verify induction heads in transformer language models.

Importing this package imports nothing heavy: torch and transformer_lens load
when a model is first asked for, so that bundled results can be shown at once.
"""

__version__ = "0.1.0"
