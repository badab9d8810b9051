"""The part of a tab that runs an experiment: controls, Run and Cancel, where it stands, the link that names it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from induction.experiment import Settings, experiments
from induction.results import bundled
from induction.ui import jobs, links, runs
from induction.ui.components import status
from induction.ui.controls import asked, control

if TYPE_CHECKING:
    from induction.ui.page import Page


class Panel:
    """Built where it stands in the layout; wired when all components are there.

    Args:
        name: of the experiment.
        button: what its button says.
        special: controls made by hand, by the name of their field.
    """

    def __init__(
        self,
        name: str,
        button: str,
        *,
        special: dict[str, Callable[[], gr.components.Component]] | None = None,
    ) -> None:
        self.experiment, self.button = experiments()[name], button
        special = special or {}
        with gr.Row():
            self.controls = {
                field: special[field]() if field in special else control(self.experiment.settings, field)
                for field in self.experiment.settings.model_fields
            }
        with gr.Row():
            self.run = gr.Button(button, variant="primary", elem_id=f"run-{name}")
            self.cancel = gr.Button("Cancel", elem_id=f"cancel-{name}")
        self.state = status.status(status.stopped("idle", ""), elem_id=f"{name}-status")

    def wire(
        self,
        page: Page,
        on_show: gr.Textbox,
        back: gr.Button,
        read: Callable[..., dict[str, Any]] | None = None,
        also: Sequence[Any] = (),
    ) -> None:
        """Run, cancel, link, and what a link needs when it is opened.

        Args:
            on_show: hidden; names the live result on show, empty for what is bundled.
            back: the button that brings the bundled result back (:func:`back_button`).
            read: ``(values by field, *also)`` to the values of the settings, where controls are special.
        """
        experiment, names = self.experiment, list(self.controls)

        def start(model: str, shown: str, *values: Any) -> Iterator[tuple[Any, Any]]:
            by_name = dict(zip(names, values, strict=False))
            wanted = read(by_name, *values[len(names) :]) if read else by_name
            yield from runs.run(experiment, model, shown, lambda: asked(experiment.settings, wanted))

        def again(model: str, shown: str) -> Iterator[tuple[Any, Any]]:
            yield from runs.rerun(experiment, model, shown, experiment.settings.parse(shown), self.button)

        page.link(links.of_experiment(experiment), on_show)
        inputs = [page.model, on_show, *self.controls.values(), *also]
        jobs.long_run(self.run, self.cancel, start, inputs, [self.state, on_show])
        page.when_opened(again, [page.model, on_show], [self.state, on_show], model=True)
        idle = status.stopped("idle", "The bundled result is back.")
        back.click(lambda: ("", idle), None, [on_show, self.state], **jobs.QUICK)

    def follow(self, on_show: gr.Textbox, names: Sequence[str]) -> None:
        """These controls take the settings of the result on show, where it names some."""

        def fill(shown: str) -> list[Any]:
            settings: Settings | None = self.experiment.settings.parse(shown)
            return [gr.skip() if settings is None else getattr(settings, name) for name in names]

        on_show.change(fill, on_show, [self.controls[name] for name in names], **jobs.QUICK)


def back_button(elem_id: str) -> gr.Button:
    return gr.Button("Put back the bundled result", size="sm", visible=False, elem_id=elem_id)


def back_visible(name: str, model: str, shown: str) -> Any:
    """Whether a live result stands where a bundled one would."""
    there = runs.live(name, model, shown) is not None and bundled(name, model) is not None
    return gr.update(visible=there)
