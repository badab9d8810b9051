"""Live runs of the tabs that show one result, named by its settings: Scan and Circuit.

The settings written out name the result: in links, as the key of what is kept, and in the hidden field of the page
that says which result is on show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from induction import model as models
from induction.base import InputError, Progress
from induction.ui import jobs
from induction.ui.components import status
from induction.ui.loading import loading
from induction.ui.names import checked_model
from induction.ui.received import Asked

Step = tuple[dict[str, Any], Any]  # status, name of the result on show


Work = Callable[[str, Asked], Iterator[Progress[Any]]]  # (model, settings): the kept result, or its steps


def run(model: str, shown: str, settings: Asked, kept: jobs.Cache[Any], work: Work[Asked]) -> Iterator[Step]:
    """Steps of a run; the last one names its result, or says why there is none.

    Args:
        shown: name of the result on show.
        kept: results by ``(model, str(settings))``.
        work: measures, or hands over what is kept.
    """
    seconds = None
    try:
        name = checked_model(model)
        settings.check()
        if kept.get((name, str(settings))) is None:
            # A link may already name this result: forgetting the name first makes its arrival a change.
            for state in loading(name):
                yield state, "" if shown == str(settings) else gr.skip()
        for step in work(name, settings):
            seconds = getattr(step.result, "seconds", None)
            yield status.running(step), gr.skip()
    except InputError as error:
        yield status.stopped("error", str(error)), gr.skip()
        return
    took = f" in {seconds:.1f} s" if seconds else ""
    yield status.stopped("done", f"Done{took}. The figures above are from this run."), str(settings)


def rerun(
    model: str, shown: str, settings: Asked | None, kept: jobs.Cache[Any], work: Work[Asked], button: str
) -> Iterator[Step]:
    """What a link's settings need when it is opened: nothing, a cheap run at once, or the button."""
    if settings is None or kept.get((model, shown)) is not None:
        yield gr.skip(), gr.skip()
    elif models.availability(model) == "bundled":
        yield from run(model, shown, settings, kept, work)
    else:
        text = f"This link shows a live run that is no longer kept; press {button} to measure it again."
        yield status.stopped("idle", text), gr.skip()


def puts_back(button: gr.Button, shown: gr.Textbox, state: Any) -> None:
    """The button brings the bundled result back."""
    back = status.stopped("idle", "The bundled result is back.")
    button.click(lambda: ("", back), None, [shown, state], **jobs.QUICK)
