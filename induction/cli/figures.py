"""``figures``: every figure of a model in a folder: a page with the interactive ones, and PNG and SVG of each."""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import plotly
import plotly.graph_objects as go

from induction.analysis.experiments import ScanSettings
from induction.base import InputError, Progress
from induction.cli.common import Commands, add_model, add_prompts, asked, load, named, with_progress
from induction.data_gen.prompts import Prompt, token_ids
from induction.experiment import experiments
from induction.patching.experiments import HeadsSettings
from induction.patching.interventions import COMPONENTS
from induction.results import PATCHING, bundled, slug
from induction.viz import circuit as draw_circuit
from induction.viz import patching as draw_patching
from induction.viz import paths as draw_paths
from induction.viz import scan as draw_scan
from induction.viz import training as draw_training
from induction.viz.attention import head_figure
from induction.viz.by_experiment import FIGURES
from induction.viz.frame import CONFIG
from induction.viz.theme import LIGHT, PAGE, SANS, css_variables

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from induction.analysis.attention import Attention

WIDTH, ZOOM = 640, 2  # of a PNG or SVG in pixels, and pixels of a PNG per one of them
FIRST_HEADS = 10  # together, at most
NO_BROWSER = "PNG and SVG are left out: they need Chrome or Chromium, and none {}; BROWSER_PATH can name one."
#: By name of the experiment, None where it is missing; of heads one by one a list, and attention of all heads.
Results = dict[str, Any]
Drawn = list[
    tuple[str, go.Figure | str, go.Figure | str]
]  # file, in LIGHT, in PAGE; the circuit is an SVG document


def add(commands: Commands) -> None:
    figures = commands.add_parser(
        "figures",
        help="write every figure of a model: an interactive page, and PNG and SVG where Chrome is found",
    )
    add_model(figures)
    add_prompts(figures)
    figures.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the files go")
    figures.add_argument(
        "--live", action="store_true", help="measure now, also where bundled results could be drawn"
    )
    figures.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from induction.model import availability

    name = named(options)
    found, prompts = bundled_results(name), asked(options, ScanSettings)
    if options.live or not found["scan"]:
        steps = iter_results(load(options), **prompts.model_dump(exclude={"length"}))
        found = with_progress(steps)
    elif availability(name) != "download":
        found["attention"] = attention_on_repetition(load(options), prompts.vocab, prompts.seed)
    drawn, said = draw(found)
    if not found["attention"]:
        said.append(
            "left out: attention: the weights are not on this machine; --live downloads and measures them."
        )
    try:
        page = write_page(drawn, options.out, heading=f"Induction heads of {name}")
        said += write_images(drawn, options.out)
    except OSError as error:
        raise InputError(
            f"Cannot write figures to {options.out} ({error.strerror}); choose another folder."
        ) from None
    print(*said, sep="\n", end="\n" if said else "", file=sys.stderr)
    print(f"{len(drawn)} figures; open {page}")


def bundled_results(model: str) -> Results:
    """What comes with the package for a model, without its attention on a prompt."""
    found = {name: bundled(name, model) for name in ("scan", "circuit", "training", *FIGURES)}
    sweeps = (bundled("heads", model, HeadsSettings(component=name)) for name in COMPONENTS)
    curve = PATCHING.find(f"{slug(model)}-top-k")
    return {**found, "heads": list(filter(None, sweeps)), "together": curve, "attention": None}


def iter_results(
    model: TransformerBridge, *, n_prompts: int = 10, vocab: str = "random", n_random: int = 20, seed: int = 0
) -> Iterator[Progress[Results]]:
    """Measure now all that is drawn of a model: scan, patching, first heads together, circuit, attention.

    Raises:
        InputError: the vocabulary lacks what the prompts need, or a number is out of range.
    """
    from induction.model import name_of

    given = {"n_prompts": n_prompts, "n_pairs": n_prompts, "vocab": vocab, "seed": seed}
    given |= {"form": "first_a", "n_random": n_random, "top_k": FIRST_HEADS}
    found = {"training": bundled("training", name_of(model))}
    for name in ("scan", "heads", "together", "circuit"):
        one = experiments()[name]
        settings = one.settings(**{key: given[key] for key in one.settings.model_fields if key in given})
        for step in one.run(model, settings, **{known: found[known] for known in one.known}):
            found[name] = step.result
            yield Progress(step.done, step.total, f"{one.title}: {step.label}")
    found |= {"heads": [found["heads"]], "attention": attention_on_repetition(model, vocab, seed)}
    yield Progress(1, 1, "done", found)


def attention_on_repetition(model: TransformerBridge, vocab: str, seed: int) -> Attention:
    """Attention of all heads on one repeated sequence.

    Raises:
        InputError: the vocabulary lacks what the prompt needs.
    """
    from induction.analysis.attention import attend

    ids, _ = token_ids(model, Prompt(vocab=vocab, seed=seed), "")
    return attend(model, ids)


def drawings(found: Results) -> Iterator[tuple[str, Callable[..., go.Figure | str]]]:
    """File name without ending, and the function of a palette that draws it, of every figure."""
    if scan := found["scan"]:
        for score in scan.scores:
            yield f"scan-{score}", partial(draw_scan.grid, scan, score)
        yield "scan-loss", partial(draw_scan.loss_curve, scan)
        yield "scan-induction-previous", partial(draw_scan.induction_vs_previous, scan)
    if seen := found["attention"]:
        layer, head, _ = scan.ranked()[0]
        yield f"attention-{layer}.{head}", partial(head_figure, seen, layer, head)
    for sweep in found["heads"]:
        name = f"patching-{sweep.component}"
        for metric in sweep.effects:
            yield f"{name}-{metric}", partial(draw_patching.head_map, sweep, metric)
        if any(effect.patched for effect in sweep.effects.values()):
            yield f"{name}-bars", partial(draw_patching.bars, sweep)
    if curve := found["together"]:
        for metric in curve.sets[0].measures:
            yield f"first-heads-{metric}", partial(draw_patching.curve, curve, metric)
    if circuit := found["circuit"]:
        yield "circuit", partial(draw_circuit.diagram, circuit)
        for fed in circuit.receivers:
            if fed.composition:
                draw = partial(draw_paths.composition_bars, fed.composition, circuit.model)
                yield f"composition-{fed.name}", draw
            if fed.paths:
                yield f"paths-{fed.name}", partial(draw_paths.path_bars, fed.paths, circuit.model)
    for name, draw in FIGURES.items():
        if found.get(name):
            yield name, partial(draw, found[name])
    if history := found["training"]:
        yield "training-loss", partial(draw_training.losses, history)
        yield "training-scores", partial(draw_training.scores, history)


def draw(found: Results) -> tuple[Drawn, list[str]]:
    """All figures that these results allow, and one sentence for each that they do not."""
    drawn, left_out = [], []
    for file, make in drawings(found):
        try:
            drawn.append((file, make(palette=LIGHT), make(palette=PAGE)))
        except InputError as error:
            left_out.append(f"left out: {file}: {error}")
    return drawn, left_out


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]", "-", name)


def write_page(drawn: Drawn, folder: Path, *, heading: str) -> Path:
    """Write ``index.html``, whose figures follow light and dark, with plotly.js beside it.

    Raises:
        OSError: the folder or a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(plotly.__file__).parent / "package_data" / "plotly.min.js", folder / "plotly.min.js")
    parts = []
    for file, _, figure in drawn:
        name = _safe(file)
        if isinstance(figure, str):
            parts.append(f'<figure id="{name}">{figure}</figure>')
            continue
        spec = figure.to_json().replace("<", "\\u003c")  # nothing in it can end the script
        label = html.escape(figure.layout.meta["title"])
        parts.append(
            f'<figure id="{name}" aria-label="{label}" style="height:{figure.layout.height:g}px">'
            f'<script type="application/json">{spec}</script></figure>'
        )
    texts = {"heading": html.escape(heading), "figures": "\n".join(parts), "config": json.dumps(CONFIG)}
    frame = Template(Path(__file__).with_name("figures.html").read_text(encoding="utf-8"))
    page = folder / "index.html"
    page.write_text(frame.substitute(texts, colours=css_variables(), font=SANS), encoding="utf-8")
    return page


def write_images(drawn: Drawn, folder: Path) -> list[str]:
    """Write PNG and SVG of every figure, in one run of the browser; a sentence where that cannot be done.

    Raises:
        OSError: a file cannot be written.
    """
    import kaleido
    from choreographer.errors import BrowserClosedError, BrowserFailedError, ChromeNotFoundError

    wanted = []
    for file, figure, _ in drawn:
        path = folder / _safe(file)
        if isinstance(figure, str):
            path.with_name(f"{path.name}.svg").write_text(figure, encoding="utf-8")
            continue
        for kind, scale in (("png", ZOOM), ("svg", 1)):
            size = {"width": WIDTH, "height": int(figure.layout.height), "scale": scale}
            place = path.with_name(f"{path.name}.{kind}")
            wanted.append({"fig": figure, "path": place, "opts": {"format": kind, **size}})
    try:
        # MathJax would come from the net, and no figure holds a formula.
        failed = kaleido.write_fig_from_object_sync(wanted, kopts={"mathjax": False})
    except ChromeNotFoundError:
        return [NO_BROWSER.format("was found")]
    except (BrowserClosedError, BrowserFailedError):
        return [NO_BROWSER.format("would start")]
    for error in failed:
        raise error
    return []
