"""What the page says of any result: a heading with whose figures these are, the verdict, and how it was measured.

HTML of the project's own words and numbers; whatever else goes into it has passed ``html.escape``.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from induction.base import Result
from induction.ui.terms import explained


def headline(
    title: str,
    result: Result | None,
    verdict: str,
    *,
    live: bool = False,
    protocols: Iterable[tuple[str, str]] = (),
    notes: Iterable[str] = (),
) -> str:
    """Heading, verdict and provenance.

    Args:
        verdict: of the result, or what to do where there is none.
        protocols: ``(of what, protocol)``; what stands for all has no name.
        notes: sentences that a reader has to know.
    """
    warned = "".join(f"<p class='ih-note'>{explained(note)}</p>" for note in notes if result)
    how = measured(result, protocols) if result else ""
    return f"{heading(title, result, live=live)}<p class='ih-verdict'>{explained(verdict)}</p>{warned}{how}"


def heading(title: str, result: Result | None, *, live: bool = False) -> str:
    """The title, and whose figures these are."""
    if result is None:
        return f"<h2>{escape(title)}</h2>"
    kind = getattr(result, "kind", "computed")
    word = "Measured live" if live else "Published by others" if kind == "published" else "Bundled"
    if live and getattr(result, "method", "") == "estimate":
        word = "Estimated live"
    return f"<h2>{escape(title)} <span class='ih-badge' data-kind='{'live' if live else kind}'>{word}</span></h2>"


def measured(result: Result, protocols: Iterable[tuple[str, str]] = ()) -> str:
    """How the figures were made, to be opened; ``protocols`` as of :func:`headline`."""
    items = "".join(f"<li>{explained(f'{what}: {how}' if what else how)}</li>" for what, how in protocols)
    return (
        f"<details><summary>How this was measured</summary><p>{escape(result.provenance())}</p><ul>{items}</ul>"
        "</details>"
    )


def table(headings: Iterable[str], rows: Iterable[Iterable[str]], caption: str) -> str:
    """A table of escaped texts, the first cell of each row its heading; it scrolls where it is too wide."""
    head = "".join(f"<th scope='col'>{explained(heading)}</th>" for heading in headings)
    lines = []
    for first, *rest in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        lines.append(f"<tr><th scope='row'>{escape(first)}</th>{cells}</tr>")
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    hidden = f"<caption class='ih-hidden'>{escape(caption)}</caption>"
    return f"<div class='ih-scroll' tabindex='0'><table class='ih-table'>{hidden}{body}</table></div>"
