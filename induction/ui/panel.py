"""The part of a tab that runs an experiment: its settings as one line of words that opens to the controls, Run and
Cancel beside it, where it stands, the link that names it. It may stand at the top of a tab, above the results.

Containers of results have the class ``ih-results``: they are greyed while the settings ask for something else than
what is on show, which is said beside the button.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import gradio as gr

from induction.base import InputError
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
        special, settings = special or {}, self.experiment.settings
        with Asks(name, button, settings().words()) as asks:
            self.controls = {
                field: special[field]() if field in special else control(settings, field)
                for field in settings.model_fields
            }
        self.line, self.run, self.cancel, self.state = asks.line, asks.run, asks.cancel, asks.state

    def wire(
        self,
        page: Page,
        on_show: gr.Textbox,
        back: gr.Button,
        read: Callable[..., dict[str, Any]] | None = None,
        also: Sequence[Any] = (),
        tab: str = "",
    ) -> None:
        """Run, cancel, link, and what a link needs when it is opened.

        Args:
            tab: where the panel stands, where it is looked after only while that is open.
            on_show: hidden; names the live result on show, empty for what is bundled.
            back: the button that brings the bundled result back (:func:`back_button`).
            read: ``(values by field, *also)`` to the values of the settings, where controls are special.
        """
        experiment, names = self.experiment, list(self.controls)

        def settings(values: Sequence[Any]) -> Settings:
            by_name = dict(zip(names, values, strict=False))
            wanted = read(by_name, *values[len(names) :]) if read else by_name
            return asked(experiment.settings, wanted)

        def start(model: str, shown: str, *values: Any) -> Iterator[tuple[Any, Any]]:
            yield from runs.run(experiment, model, shown, lambda: settings(values))

        def judge(changed: bool, state: dict[str, Any], model: str, shown: str, *values: Any) -> list[Any]:
            """``[line, status, result on show, wish]`` after the settings, the model or the result changed."""
            try:
                wanted = settings(values)
            except InputError as error:
                return [gr.skip(), status.stopped("error", str(error)), gr.skip(), gr.skip()]
            told, name, run = runs.judged(experiment, model, shown, wanted, self.button, changed=changed)
            if state["state"] == "running" or (told["state"] == "idle" and state["state"] == "done"):
                told = gr.skip()
            line = gr.update(label=wanted.words())
            return [line, told, gr.skip() if name is None else name, wishes() if run else gr.skip()]

        def again(model: str, shown: str) -> Iterator[tuple[Any, Any]]:
            yield from runs.rerun(experiment, model, shown, experiment.settings.parse(shown), self.button)

        page.link(links.of_experiment(experiment), on_show)
        inputs = [page.model, on_show, *self.controls.values(), *also]
        with page.hidden:
            self.wish = wish = gr.Textbox("", visible=False)  # a new text runs what the controls ask for
        jobs.long_run([self.run.click, wish.change], self.cancel, start, inputs, [self.state, on_show])
        judged: dict[str, Any] = {
            "inputs": [self.state, *inputs],
            "outputs": [self.line, self.state, on_show, wish],
        }
        gr.on(changes(self.controls.values()), partial(judge, True), **judged, **jobs.QUICK)
        gr.on(leavings(self.controls.values()), partial(judge, False), **judged, **jobs.QUICK)
        page.changed([*([page.current_tab] if tab else []), page.model, on_show], tab)(
            partial(judge, False), **judged, trigger_mode="always_last", **jobs.QUICK
        )
        # A link, or Back, has named a live result: nothing to do while it is kept.
        on_show.change(jobs.on_model(again), [page.model, on_show], [self.state, on_show], **jobs.MODEL)
        back.click(lambda: ["", *self._defaults()], None, [on_show, *self.controls.values()], **jobs.QUICK)

    def _defaults(self) -> list[Any]:
        return [component.value for component in self.controls.values()]

    def follow(self, on_show: gr.Textbox, names: Sequence[str]) -> None:
        """These controls take the settings of the result on show, where it names some."""

        def fill(shown: str) -> list[Any]:
            settings: Settings | None = self.experiment.settings.parse(shown)
            return [gr.skip() if settings is None else getattr(settings, name) for name in names]

        on_show.change(fill, on_show, [self.controls[name] for name in names], **jobs.QUICK)


class Asks:
    """The row above results: one line of words that opens to the controls made within the block, Run and Cancel."""

    def __init__(self, name: str, button: str, words: str) -> None:
        self._column = gr.Column(elem_classes=["ih-asks"], elem_id=f"{name}-asks")
        self._name, self._button, self._words = name, button, words

    def __enter__(self) -> Self:
        with self._column:
            with gr.Row(elem_classes=["ih-asks-row"]):
                self.line = gr.Accordion(self._words, open=False, elem_id=f"{self._name}-settings")
                self.run = gr.Button(
                    self._button, variant="primary", min_width=120, elem_id=f"run-{self._name}"
                )
                self.cancel = gr.Button(
                    "Cancel", min_width=90, elem_classes=["ih-cancel"], elem_id=f"cancel-{self._name}"
                )
            self.state = status.status(status.stopped("idle", ""), elem_id=f"{self._name}-status")
        self.line.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.line.__exit__(*error)


def changes(components: Iterable[gr.components.Component]) -> list[Any]:
    """Events of a visitor who has set a control; what is typed counts with Enter."""
    return [one.submit if isinstance(one, (gr.Number, gr.Textbox)) else one.input for one in components]


def leavings(components: Iterable[gr.components.Component]) -> list[Any]:
    """Events of a visitor who has typed something and left it: perhaps for the button, so that nothing may start."""
    return [one.blur for one in components if isinstance(one, (gr.Number, gr.Textbox))]


def wishes() -> str:
    """A text that is new every time: a change that starts a run."""
    return str(time.monotonic_ns())


def back_button(elem_id: str) -> gr.Button:
    return gr.Button("Put back the bundled result", size="sm", visible=False, elem_id=elem_id)


def back_visible(name: str, model: str, shown: str) -> Any:
    """Whether a live result stands where a bundled one would."""
    there = runs.live(name, model, shown) is not None and bundled(name, model) is not None
    return gr.update(visible=there)
