"""Gradio's theme and the page's style sheet, both made from :mod:`induction.viz.theme`."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.themes.utils.colors import Color

from induction.viz.theme import DARK, LIGHT, MONO, SANS, css_variables

FOLDER = Path(__file__).parent

_TEAL = Color(
    name="teal",
    c50="#eaf4f5",
    c100="#d3e8ea",
    c200="#a9d2d7",
    c300="#7cbac2",
    c400="#4a9fac",
    c500="#1f7a8c",
    c600="#14566b",
    c700="#0f4658",
    c800="#0c3746",
    c900="#0a2c39",
    c950="#071f28",
)
_STONE = Color(
    name="stone",
    c50="#faf9f6",
    c100="#f3f1eb",
    c200="#e6e3da",
    c300="#d3cfc4",
    c400="#97a0a8",
    c500="#6a7681",
    c600="#4d5965",
    c700="#36424e",
    c800="#232d37",
    c900="#18222d",
    c950="#10171e",
)


def theme() -> gr.themes.Base:
    """One identity, light and dark, in fonts of the visitor's system: none is fetched, no text moves when one comes."""
    return gr.themes.Base(
        primary_hue=_TEAL,
        secondary_hue=_TEAL,
        neutral_hue=_STONE,
        radius_size="sm",
        font=[name.strip() for name in SANS.split(",")],
        font_mono=[name.strip() for name in MONO.split(",")],
    ).set(
        body_background_fill=LIGHT.raised,
        body_background_fill_dark=DARK.paper,
        body_text_color=LIGHT.ink,
        body_text_color_dark=DARK.ink,
        body_text_color_subdued=LIGHT.muted,
        body_text_color_subdued_dark=DARK.muted,
        background_fill_primary=LIGHT.paper,
        background_fill_primary_dark=DARK.raised,
        background_fill_secondary=LIGHT.raised,
        background_fill_secondary_dark=DARK.paper,
        block_background_fill=LIGHT.paper,
        block_background_fill_dark=DARK.raised,
        block_border_color=LIGHT.line,
        block_border_color_dark=DARK.line,
        border_color_primary=LIGHT.line,
        border_color_primary_dark=DARK.line,
        block_label_text_color=LIGHT.muted,
        block_label_text_color_dark=DARK.muted,
        block_title_text_color=LIGHT.ink,
        block_title_text_color_dark=DARK.ink,
        block_info_text_color=LIGHT.muted,
        block_info_text_color_dark=DARK.muted,
        input_background_fill=LIGHT.paper,
        input_background_fill_dark=DARK.paper,
        input_border_color="#8b949c",  # 3:1 against paper, as WCAG asks of controls
        input_border_color_dark="#66737f",
        input_border_color_focus=LIGHT.strong,
        input_border_color_focus_dark=DARK.strong,
        input_placeholder_color=LIGHT.muted,
        input_placeholder_color_dark=DARK.muted,
        button_primary_background_fill=LIGHT.strong,
        button_primary_background_fill_dark=DARK.strong,
        button_primary_background_fill_hover="#0f4658",
        button_primary_background_fill_hover_dark="#a5e2e9",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark=DARK.paper,
        button_secondary_background_fill=LIGHT.paper,
        button_secondary_background_fill_dark=DARK.raised,
        button_secondary_border_color="#8b949c",
        button_secondary_border_color_dark="#66737f",
        button_secondary_text_color=LIGHT.ink,
        button_secondary_text_color_dark=DARK.ink,
        button_border_width="1px",
        button_border_width_dark="1px",
        input_border_width="1px",
        input_border_width_dark="1px",
        link_text_color=LIGHT.strong,
        link_text_color_dark=DARK.strong,
        slider_color=LIGHT.accent,
        slider_color_dark=DARK.accent,
    )


def css() -> str:
    """The style sheet with the palette's variables in front."""
    return css_variables() + (FOLDER / "style.css").read_text(encoding="utf-8")
