"""The one visual identity: colours, scales and type, for the page and for exported figures.

Teal carries data, amber marks the one selected head, everything else is ink on paper. The sequential
scale grows in contrast to the paper with the value; the diverging scale runs from rust (negative) over
paper to blue (positive). Both are monotonic in lightness from their neutral end and do not rely on
telling red from green.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache

import plotly.graph_objects as go

SANS = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace"


@dataclass(frozen=True)
class Palette:
    """Colours by role. ``sequential`` runs from 0 to 1, ``diverging`` from -1 over 0 to 1."""

    paper: str  # behind figures
    raised: str  # panels
    ink: str
    muted: str  # secondary text, still AA on paper and raised
    line: str  # borders and grid lines
    accent: str  # data marks
    strong: str  # buttons and links
    selected: str  # the selected head, everywhere
    second: str  # a second series beside accent
    warn: str
    sequential: tuple[str, ...]
    diverging: tuple[str, ...]


LIGHT = Palette(
    paper="#ffffff",
    raised="#f7f6f2",
    ink="#18222d",
    muted="#55616e",
    line="#dcdad2",
    accent="#1f7a8c",
    strong="#14566b",
    selected="#b4480b",
    second="#7a5ba8",
    warn="#8a5200",
    sequential=("#f1efe8", "#c9dfdd", "#86bcc2", "#3d8fa3", "#15607d", "#0c3350"),
    diverging=("#7f3b08", "#c4681c", "#f0b377", "#f1efe8", "#9cc4d8", "#3c84ad", "#0f4468"),
)
DARK = Palette(
    paper="#12181f",
    raised="#1a222b",
    ink="#e8ecef",
    muted="#a3b0bc",
    line="#323e4a",
    accent="#5cc0cc",
    strong="#7fd3dc",
    selected="#ffb057",
    second="#c0a4ea",
    warn="#f2c077",
    sequential=("#1f2933", "#20424f", "#23677a", "#3894a3", "#7cc8c8", "#e6f7e4"),
    diverging=("#ffc48a", "#d6843f", "#7d4a22", "#1f2933", "#23577a", "#4a9cc7", "#b9e2f7"),
)


def _variable(role: str) -> str:
    return f"--ih-{role}"


def _roles(palette: Palette) -> dict[str, str]:
    roles = {}
    for role, value in asdict(palette).items():
        if isinstance(value, str):
            roles[role] = value
        else:
            roles |= {f"{role}-{index}": colour for index, colour in enumerate(value)}
    return roles


#: The same roles as references to the page's CSS variables, so a figure follows light and dark.
PAGE = Palette(
    **{
        role: f"var({_variable(role)})"
        if isinstance(value, str)
        else tuple(f"var({_variable(f'{role}-{index}')})" for index in range(len(value)))
        for role, value in asdict(LIGHT).items()
    }
)


def css_variables() -> str:
    """Declarations of every role, light by default and dark under Gradio's ``.dark``."""

    def block(palette: Palette) -> str:
        return " ".join(f"{_variable(role)}: {colour};" for role, colour in _roles(palette).items())

    return f":root {{ {block(LIGHT)} }}\n.dark {{ {block(DARK)} }}\n"


@cache
def template(palette: Palette) -> go.layout.Template:
    """How every chart looks in these colours."""
    small = {"size": 12, "color": palette.muted}
    axis = {
        "gridcolor": palette.line,
        "zerolinecolor": palette.line,
        "linecolor": palette.line,
        "tickfont": small,
        "title": {"font": {"size": 13, "color": palette.ink}, "standoff": 6},
    }
    layout = {
        "font": {"family": SANS, "size": 13, "color": palette.ink},
        "title": {
            "font": {"size": 14, "color": palette.ink},
            **{"x": 0, "xref": "container", "xanchor": "left"},
            **{"y": 1, "yref": "container", "yanchor": "top"},
        },
        "colorway": [palette.accent, palette.second, palette.muted, palette.selected],
        "paper_bgcolor": palette.paper,
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": axis,
        "yaxis": axis,
        "legend": {
            "font": {"size": 12, "color": palette.ink},
            "bgcolor": "rgba(0,0,0,0)",
            "orientation": "h",
            "tracegroupgap": 0,
            **{"x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"},
        },
        "hoverlabel": {
            "bgcolor": palette.raised,
            "bordercolor": palette.line,
            "font": {"family": SANS, "size": 13, "color": palette.ink},
        },
        "modebar": {"bgcolor": palette.paper, "color": palette.muted, "activecolor": palette.strong},
    }
    return go.layout.Template(layout=layout)
