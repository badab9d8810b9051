"""Attention: every head on one prompt, what a query token looks at and what the head writes there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr
import numpy as np

from induction import model as models
from induction.analysis import attention
from induction.analysis.attention import Attention, Written
from induction.base import Head, InputError, head_name
from induction.data_gen.prompts import DEFAULTS, EXAMPLES, KINDS, TOKENS, Prompt, token_ids
from induction.experiment import LONGEST_TEXT, limits
from induction.results import EXAMPLES as BUNDLED
from induction.ui import jobs, links
from induction.ui.components import status
from induction.ui.components.attention_view import (
    attention_view,
    missing_value,
    tiles_value,
    view_value,
    written_value,
)
from induction.ui.components.exports import exported, exports
from induction.ui.components.note import html
from induction.ui.controls import asked, control
from induction.ui.loading import loading
from induction.ui.names import checked_model, short_name
from induction.ui.panel import Asks, changes
from induction.ui.tabs.cards import why_link

if TYPE_CHECKING:
    from induction.ui.page import Page

TEXT = links.text("text")
NOTHING = "Attention appears here when the prompt has been read. Show attention starts that."


class Key(NamedTuple):
    """What a result depends on."""

    model: str
    prompt: str
    text: str

    @classmethod
    def of(cls, model: str, prompt: str, text: str) -> Key:
        """The text counts only where it is the prompt."""
        return cls(models.resolve(model), prompt, text if prompt == "own" else "")

    @classmethod
    def read(cls, request: dict[str, Any]) -> Key:
        """Of a request that comes from a browser."""
        return cls.of(*(str(request.get(name, "")) for name in cls._fields))


# Attention with the notice where a text was cut, up to 100 MB each; and what heads write.
kept: jobs.Cache[tuple[Attention, str]] = jobs.Cache(6)
wrote: jobs.Cache[Written] = jobs.Cache(256)


# -- what is shown -------------------------------------------------------------------------------------------


def bundled(key: Key) -> tuple[Attention, str] | None:
    """The example that comes with the model, where the prompt is the one it was made of."""
    example = BUNDLED.find(key.model)
    return (_example(key.model)[0], "") if example and example.prompt == key.prompt else None


@cache
def _example(model: str) -> tuple[Attention, dict[Head, Written]]:
    example = BUNDLED.get(model)
    return example.attention(), example.written()


def found(key: Key) -> tuple[Attention, str] | None:
    """Attention with its notice: read here, else bundled."""
    return kept.get(key) or bundled(key)


def known(key: Key, place: Head) -> Written | None:
    """What a head writes, where it was computed or is bundled."""
    return wrote.get((key, place)) or (_example(key.model)[1].get(place) if bundled(key) else None)


def ask(
    model: str, prompt: str, text: str, on_show: str, head: str, row: float, hide_first: bool
) -> tuple[Any, Any, Any, Any]:
    """``(view, status, on_show, export)``: what is there, at once; else the view asks for the work, or says what it
    needs.

    ``on_show`` is the key on show, or ``asked`` and the key that the view asks for, which it does once; whoever
    writes something else there has it done again, and with ``wish`` and a number even if weights must be fetched.
    """
    key = Key.of(model, prompt, text)
    mark, idle = json.dumps(key), status.stopped("idle", "")
    if on_show == mark:
        return (gr.skip(),) * 4
    if there := found(key):
        seen, notice = there
        place = links.parse_head(head) or (0, 0)
        if place[0] >= seen.n_layers or place[1] >= seen.n_heads:
            ranked = np.nan_to_num(seen.scores()["induction"])
            place = divmod(int(ranked.argmax()), seen.n_heads)
            notice = f"This model has no head {head}; {head_name(place)} is shown. {notice}".strip()
        view = view_value(
            seen,
            key._asdict(),
            known(key, place),
            name=short_name(key.model),
            head=head_name(place),
            row=int(row if row is not None else -1),
            hide_first=bool(hide_first),
            notice=notice,
        )
        return view, idle, mark, {**key._asdict(), "hide_first": bool(hide_first)}
    if on_show == f"asked {mark}":
        return (gr.skip(),) * 4
    try:
        name = checked_model(model)
    except InputError as error:
        return missing_value(str(error)), idle, "", None
    if models.availability(name) == "download" and not on_show.startswith("wish"):
        return missing_value(out_of_reach(name)), idle, "", None
    return missing_value(NOTHING, run=now(), model=key.model), gr.skip(), f"asked {mark}", None


def out_of_reach(model: str) -> str:
    """What attention on this model needs, for the empty state."""
    card = models.CATALOGUE.get(model)
    size = f" ({card.download_mb} MB)" if card else ""
    offline = ", ".join(short_name(name) for name in models.offline_models())
    return (
        f"Attention needs the weights of {short_name(model)}, which are not on this machine. Show attention fetches "
        f"them{size} from the Hugging Face Hub. Without a download: {offline}."
    )


def now() -> int:
    """A number that is new every time: the same wish twice is two wishes."""
    return time.time_ns() // 1_000_000


def run(model: str, prompt: str, text: str) -> Iterator[tuple[Any, Any]]:
    """Steps of reading a prompt: ``(status, on_show)``.

    The result is kept, and the last ``on_show`` makes :func:`ask` show what is wanted by then.
    """
    try:
        name = checked_model(model)
        for state in loading(name):
            yield state, gr.skip()
        loaded = models.load_model(name)
        yield status.waiting("Reading the prompt…"), gr.skip()
        ids, notice = token_ids(loaded, Prompt.parse(prompt) or DEFAULTS["repeat"], text)
        kept.put(Key.of(model, prompt, text), (attention.attend(loaded, ids), notice))
    except InputError as error:
        yield status.stopped("error", str(error)), gr.skip()
        return
    yield status.stopped("idle", ""), f"read {now()}"


def parts(asked: dict[str, Any]) -> dict[str, Any]:
    """Attention of one layer or of all, and what a head writes, for the view; the request comes from a browser."""
    key = Key.read(asked)
    there, layer, place = found(key), asked.get("layer"), links.parse_head(asked.get("writes"))
    fits = layer in (None, "all") or (there and isinstance(layer, int) and 0 <= layer < there[0].n_layers)
    if not (there and fits):
        return {"gone": True}
    answer: dict[str, Any] = {}
    if layer is not None:
        of_layer = None if layer == "all" else layer
        answer["tiles"] = tiles_value(there[0], of_layer, bool(asked.get("hide_first")))
    if place is not None:
        answer["written"] = writing(key, there[0], place)
    return answer


def writing(key: Key, seen: Attention, place: Head) -> dict[str, Any]:
    """What a head writes at every position: known, computed from the run, or why it is neither."""
    written, name = known(key, place), head_name(place)
    if written is None and seen.rounded:
        return {"head": name, "unread": True}
    written = written or jobs.on_model(_written)(key, seen, place)
    return {"head": name, "error": written} if isinstance(written, str) else written_value(written)


def _written(key: Key, seen: Attention, place: Head) -> Written | str:
    try:
        written = attention.written(models.load_model(checked_model(key.model)), seen, *place)
    except InputError as error:
        return str(error)
    wrote.put((key, place), written)
    return written


def export(kind: str, request: dict[str, Any]) -> tuple[str, Any]:
    """File name and content of one head's attention.

    Raises:
        InputError: the prompt is no longer kept, or the model has no such head.
    """
    from induction.viz.attention import head_figure

    key = Key.read(request)
    there = found(key)
    if there is None:
        raise InputError("This prompt is no longer kept; press Show attention to read it again.")
    layer, head = links.parse_head(str(request.get("head"))) or (-1, -1)
    hide_first = request.get("hide_first") is True
    result = attention.of_head(there[0], layer, head, hide_first=hide_first)
    prompt = Prompt.parse(key.prompt) or DEFAULTS["own"]
    name = f"attention-{short_name(key.model)}-{layer}.{head}-{prompt}"
    return exported(kind, name, result, lambda: head_figure(there[0], layer, head, hide_first=hide_first))


# -- the controls --------------------------------------------------------------------------------------------


def commit(
    pressed: bool,
    kind: str,
    length: float,
    vocab: str,
    seed: float,
    example: int,
    own: str,
    prompt: str,
    text: str,
    state: dict[str, Any],
) -> tuple[Any, ...]:
    """``(prompt, text, row, on_show, status)`` after a setting was changed or Show attention was pressed."""
    made = {"length": length, "vocab": vocab, "seed": seed} if kind in ("repeat", "ab") else {}
    try:
        wished = asked(Prompt, {"kind": kind, "example": example or 0, **made})
    except InputError as error:
        return *[gr.skip()] * 4, status.stopped("error", str(error))
    own, notice = TEXT.read(own or "")
    if notice:
        gr.Warning(notice)
    wished_text = own if kind == "own" else text
    changed = (str(wished), wished_text) != (prompt, text)
    wish = f"wish {now()}" if pressed else gr.skip()
    # Two events may come with one click; the status of a run that began meanwhile stays.
    told = status.stopped("idle", "") if state["state"] == "error" else gr.skip()
    return str(wished), wished_text, -1 if changed else gr.skip(), wish, told


def choose_kind(kind: str, own: str, prompt: str) -> tuple[Any, Any]:
    """``(prompt, row)``; own text waits for the button."""
    if kind == "own" and not (own or "").strip():
        return prompt, gr.skip()
    return str(DEFAULTS[kind]), -1


def visible(kind: str) -> list[Any]:
    """Which of the controls but the first are there."""
    generated = kind in ("repeat", "ab")
    shown = (generated, generated, generated, kind == "natural", kind == "own")
    return [gr.update(visible=there) for there in shown]


def refill(prompt: str, text: str) -> list[Any]:
    """The line of words, and the controls, follow the prompt on show, as far as it has something for them."""
    wished = Prompt.parse(prompt) or DEFAULTS["repeat"]
    generated = wished.kind in ("repeat", "ab")
    low, high = limits(Prompt.model_fields["length"])
    what = "Tokens per copy" if wished.kind == "repeat" else "Words before A B and again before A"
    return [
        gr.update(label=wished.words()),
        wished.kind,
        gr.Number(wished.length, info=f"{what}, {low} to {high}") if generated else gr.skip(),
        wished.vocab if generated else gr.skip(),
        wished.seed if generated else gr.skip(),
        wished.example if wished.kind == "natural" else gr.skip(),
        text if wished.kind == "own" else gr.skip(),
    ]


def _read_prompt(text: str) -> tuple[str, str | None]:
    """``prompt=repeat-24-random-0``: which prompt is on show."""
    found, default = Prompt.parse(text), str(DEFAULTS["repeat"])
    if found is None:
        return default, f"The link's prompt is not written as in {default}; showing that one instead."
    return str(found), None


def _state(event: gr.EventData) -> tuple[int, bool]:
    row = event._data.get("row")
    fits = isinstance(row, int) and 0 <= row < TOKENS
    return (row if fits else -1), event._data.get("hide_first") is True


def explain(model: str, prompt: str, text: str, head: str, row: float) -> str:
    """A link to why the selected head looks where it looks from the selected row of this text."""
    wished = Prompt.parse(prompt) or DEFAULTS["own"]
    shown = text if wished.kind == "own" else EXAMPLES[wished.example][1] if wished.kind == "natural" else ""
    return why_link(models.resolve(model), head, shown, int(-1 if row is None else row))


def prompt_controls() -> list[Any]:
    """Kind, length, token set, seed, example and text of a prompt."""
    kind = gr.Radio(
        [(title, name) for name, title in KINDS.items()],
        value=DEFAULTS["repeat"].kind,
        show_label=False,
        container=False,
        elem_id="prompt-kind",
    )
    own = gr.Textbox(
        label="Text",
        info=f"The first {TOKENS} tokens are shown; at most {LONGEST_TEXT:,} characters",
        placeholder="Write or paste a text in which something comes again.",
        lines=3,
        max_lines=6,
        max_length=LONGEST_TEXT,
        visible=False,
        elem_id="own-text",
    )
    with gr.Row():
        length, vocab, seed = (control(Prompt, name) for name in ("length", "vocab", "seed"))
        example = gr.Dropdown(
            [(title, index) for index, (title, _) in enumerate(EXAMPLES)],
            value=0,
            label="Example",
            visible=False,
            min_width=220,
        )
    return [kind, length, vocab, seed, example, own]


def wire_controls(
    page: Page, line: gr.Accordion, settings: list[Any], pressed: list[Any], outputs: list[Any]
) -> None:
    """The controls make the prompt and follow it; ``pressed`` are the events that ask for it, too."""
    prompt, text, row, _, state = outputs
    kind, length, vocab, seed, example, own = settings
    kind.input(choose_kind, [kind, own, prompt], [prompt, row], **jobs.QUICK)
    kind.change(visible, kind, settings[1:], **jobs.QUICK)
    changed = changes([length, seed, vocab, example])
    inputs = [*settings, prompt, text, state]
    gr.on(changed, partial(commit, False), inputs, outputs, **jobs.TOASTS)
    gr.on(pressed, partial(commit, True), inputs, outputs, **jobs.TOASTS)
    page.changed([prompt, text])(
        refill, [prompt, text], [line, *settings], trigger_mode="always_last", **jobs.QUICK
    )


def build(page: Page) -> None:
    first = DEFAULTS["repeat"]
    with page.tab("attention", "Attention"):
        with gr.Column(elem_classes=["ih-panel"]):
            with Asks("attention", "Show attention", first.words()) as asks:
                settings = prompt_controls()
            view = attention_view(parts, elem_id="attention-view")
            files = exports(export, None, elem_id="attention-export")
            why = html("", elem_id="attention-why")
        prompt = gr.Textbox(str(first), visible=False)
        text = gr.Textbox("", visible=False)
        row = gr.Number(-1, visible=False, precision=0)
        hide_first = gr.Checkbox(False, visible=False)
        on_show = gr.Textbox("", visible=False)

    page.link(links.Parameter("prompt", str(first), _read_prompt), prompt)
    page.link(TEXT, text)
    page.link(links.integer("row", -1, low=-1, high=TOKENS - 1), row)
    page.link(links.flag("hide_first"), hide_first)

    request = [page.model, prompt, text]
    restored = [page.head, row, hide_first]
    page.show("attention", ask, [*request, on_show], [view, asks.state, on_show, files], also=restored)
    page.show("attention", explain, [*request, page.head, row], [why])
    # Without the server: what is exported keeps up with what is hidden.
    hidden = "(asked, hide_first) => asked && ({ ...asked, hide_first })"
    hide_first.change(None, [files, hide_first], files, js=hidden, **jobs.QUICK)
    jobs.long_run(view.run, asks.cancel, run, request, [asks.state, on_show])
    page.selects_head(view)
    view.state(_state, None, [row, hide_first], **jobs.QUICK)
    pressed = [asks.run.click, settings[-1].submit]
    wire_controls(page, asks.line, settings, pressed, [prompt, text, row, on_show, asks.state])
