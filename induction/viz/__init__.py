"""Figures: SVG text from numbers, one file per concern, one identity (:mod:`induction.viz.theme`).

No gradio and no torch here: the page and ``python -m induction figures`` draw with the same functions.
"""
