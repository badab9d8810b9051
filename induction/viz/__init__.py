"""Figures: plotly charts from results, one file per concern, one identity (:mod:`induction.viz.theme`).

No gradio and no torch here: page, notebook, exports and ``python -m induction figures`` draw with the same functions.
Every chart keeps what :func:`induction.viz.frame.chart` promises; the circuit diagram alone is SVG made by hand.
"""
