"""``figures``: every figure of a model in a folder: a page with the interactive ones, and PNG and SVG of each."""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import plotly
import plotly.graph_objects as go

from induction.analysis.result import Scan
from induction.analysis.scores import SCORES
from induction.base import InputError, Progress
from induction.circuit.results import Circuit
from induction.cli.common import Commands, add_model, add_prompts, load, with_progress
from induction.patching.interventions import METRICS
from induction.patching.results import HeadSets, Patching
from induction.results import HISTORIES, PATCHING, SCANS, bundled, slug
from induction.training.history import History
from induction.viz import circuit as draw_circuit
from induction.viz import patching as draw_patching
from induction.viz import paths as draw_paths
from induction.viz import scan as draw_scan
from induction.viz import training as draw_training
from induction.viz.frame import CONFIG
from induction.viz.theme import LIGHT, PAGE, SANS, css_variables

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from induction.analysis.attention import Attention

WIDTH, ZOOM = 640, 2  # of a PNG or SVG in pixels, and pixels of a PNG per one of them
PROMPT_LENGTH = 24  # tokens in each copy of the prompt whose attention is shown
NO_BROWSER = "PNG and SVG are left out: they need Chrome or Chromium, and none {}; BROWSER_PATH can name one."
Draw = Callable[..., "go.Figure | str"]  # of a palette; the circuit is an SVG document


@dataclass(frozen=True)
class Results:
    """What is drawn; anything may be missing."""

    model: str
    scan: Scan | None = None
    sweeps: list[Patching] = field(default_factory=list)
    curve: HeadSets | None = None
    circuit: Circuit | None = None
    history: History | None = None
    attention: Attention | None = None


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
    from induction.model import availability, default_model, resolve

    name = resolve(options.model or default_model())
    found = bundled_results(name)
    if options.live or found.scan is None:
        steps = iter_results(load(options), n_prompts=options.prompts, vocab=options.vocab, seed=options.seed)
        found = with_progress(steps)
    elif availability(name) != "download":
        found = replace(
            found, attention=attention_on_repetition(load(options), vocab=options.vocab, seed=options.seed)
        )
    drawn, said = draw(found)
    if found.attention is None:
        said.append(
            "left out: Attention: the weights are not on this machine; --live downloads and measures them."
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
    short = slug(model)
    found = [
        result
        for name, result in PATCHING.all().items()
        if name in (short, f"{short}-top-k") or name.startswith(f"{short}-ioi-")
    ]
    return Results(
        model,
        scan=SCANS.find(model),
        sweeps=[result for result in found if isinstance(result, Patching)],
        curve=next((result for result in found if isinstance(result, HeadSets)), None),
        circuit=bundled("circuit", model),
        history=HISTORIES.find(model),
    )


def iter_results(
    model: TransformerBridge, *, n_prompts: int = 10, vocab: str = "random", n_random: int = 20, seed: int = 0
) -> Iterator[Progress[Results]]:
    """Measure now all that is drawn of a model: scan, patching, first heads together, circuit, attention.

    Raises:
        InputError: the vocabulary lacks what the prompts need, or a number is out of range.
    """
    from induction.analysis.scanning import iter_scan
    from induction.circuit.trace import iter_circuit
    from induction.data_gen.pairs import pairs
    from induction.model import name_of
    from induction.patching.heads import iter_patch_heads, iter_patch_sets, top_k_sets

    scan = yield from _part(
        iter_scan(model, n_prompts=n_prompts, vocab=vocab, scores=tuple(SCORES), seed=seed), "scan"
    )
    prompts = pairs(model, n_prompts, vocab=vocab, seed=seed)
    sweep = yield from _part(iter_patch_heads(model, prompts, seed=seed), "patching")
    ranked = scan.ranked()
    sets = top_k_sets(ranked, min(10, len(ranked)))
    curve = yield from _part(
        iter_patch_sets(model, prompts, sets, n_random=n_random, seed=seed), "heads together"
    )
    circuit = yield from _part(
        iter_circuit(model, scan=scan, n_pairs=n_prompts, vocab=vocab, seed=seed), "circuit"
    )
    seen = attention_on_repetition(model, vocab=vocab, seed=seed)
    name = name_of(model)
    history = HISTORIES.find(name)
    yield Progress(1, 1, "done", Results(name, scan, [sweep], curve, circuit, history, seen))


def _part(steps: Iterator[Progress], name: str) -> Iterator[Progress]:
    """Pass steps on under a name, without their result, which is returned."""
    result = None
    for step in steps:
        result = step.result
        yield Progress(step.done, step.total, f"{name}: {step.label}")
    return result


def attention_on_repetition(model: TransformerBridge, *, vocab: str = "random", seed: int = 0) -> Attention:
    """Attention of all heads on one repeated sequence.

    Raises:
        InputError: the vocabulary lacks what the prompt needs.
    """
    from induction.analysis.attention import attend
    from induction.data_gen.sequences import repeated_batch

    batch = repeated_batch(model, n_prompts=1, length=PROMPT_LENGTH, vocab=vocab, seed=seed, spread=0)
    return attend(model, batch.prompt(0).tolist())


def drawings(found: Results) -> Iterator[tuple[str, str, Draw]]:
    """File name without ending, title, and the function that draws it, of every figure."""
    scan, curve, circuit, history, seen = (
        found.scan,
        found.curve,
        found.circuit,
        found.history,
        found.attention,
    )
    if scan:
        for score in scan.scores:
            yield f"scan-{score}", SCORES[score].title, partial(draw_scan.grid, scan, score)
        yield "scan-loss", "Loss by position", partial(draw_scan.loss_curve, scan)
        title = "Induction against previous token"
        yield "scan-induction-previous", title, partial(draw_scan.induction_vs_previous, scan)
    if seen:
        from induction.viz.attention import head_figure

        layer, head, _ = scan.ranked()[0] if scan else (seen.n_layers - 1, 0, 0.0)
        name = f"{layer}.{head}"
        yield f"attention-{name}", f"Attention of head {name}", partial(head_figure, seen, layer, head)
    for sweep in found.sweeps:
        name = f"patching-{sweep.component}"
        for metric in sweep.effects:
            title = draw_patching.title_of(sweep, metric)
            yield f"{name}-{metric}", title, partial(draw_patching.head_map, sweep, metric)
        if any(effect.patched for effect in sweep.effects.values()):
            yield f"{name}-bars", "Clean, corrupted and patched", partial(draw_patching.bars, sweep)
    for metric in METRICS if curve else ():
        if all(metric in one.measures for one in curve.sets):
            title = f"First k heads together: {METRICS[metric].title}"
            yield f"first-heads-{metric}", title, partial(draw_patching.curve, curve, metric)
    if circuit:
        yield "circuit", "Circuit", partial(draw_circuit.diagram, circuit)
    for receiver in circuit.receivers if circuit else ():
        for name, what, draw in (
            ("composition", receiver.composition, draw_paths.composition_bars),
            ("paths", receiver.paths, draw_paths.path_bars),
        ):
            if what:
                title = f"{'Composition with' if name == 'composition' else 'Paths into'} {receiver.name}"
                yield f"{name}-{receiver.name}", title, partial(draw, what, circuit.model)
    if history:
        yield "training-loss", "Loss over training", partial(draw_training.losses, history)
        title = "Scores of every head over training"
        yield "training-scores", title, partial(draw_training.scores, history)


Drawn = list[tuple[str, go.Figure | str, go.Figure | str]]  # file, in LIGHT, in PAGE


def draw(found: Results) -> tuple[Drawn, list[str]]:
    """All figures that these results allow, and one sentence for each that they do not."""
    drawn, left_out = [], []
    for file, title, make in drawings(found):
        try:
            drawn.append((file, make(palette=LIGHT), make(palette=PAGE)))
        except InputError as error:
            left_out.append(f"left out: {title}: {error}")
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
    texts = {"heading": html.escape(heading), "figures": "\n".join(parts), "colours": css_variables()}
    page = folder / "index.html"
    page.write_text(PAGE_HTML.format(**texts, font=SANS, config=json.dumps(CONFIG)), encoding="utf-8")
    return page


def write_images(drawn: Drawn, folder: Path) -> list[str]:
    """Write PNG and SVG of every figure, in one run of the browser; a sentence where that cannot be done.

    Raises:
        OSError: a file cannot be written.
    """
    import kaleido
    from choreographer.errors import (
        BrowserClosedError,
        BrowserDepsError,
        BrowserFailedError,
        ChromeNotFoundError,
    )

    wanted = []
    for file, figure, _ in drawn:
        path = folder / _safe(file)
        if isinstance(figure, str):
            path.with_name(f"{path.name}.svg").write_text(figure, encoding="utf-8")
            continue
        size = {"width": WIDTH, "height": int(figure.layout.height)}
        wanted += [
            {
                "fig": figure,
                "path": path.with_name(f"{path.name}.{kind}"),
                "opts": {"format": kind, "scale": scale, **size},
            }
            for kind, scale in (("png", ZOOM), ("svg", 1))
        ]
    try:
        # MathJax would come from the net, and no figure holds a formula.
        failed = kaleido.write_fig_from_object_sync(wanted, kopts={"mathjax": False})
    except ChromeNotFoundError:
        return [NO_BROWSER.format("was found")]
    except (BrowserClosedError, BrowserDepsError, BrowserFailedError):
        return [NO_BROWSER.format("would start")]
    for error in failed:
        raise error
    return []


PAGE_HTML = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading}</title>
<style>
{colours}
body {{ font: 16px/1.5 {font}; max-width: 46rem; margin: 2rem auto; padding: 0 .5rem;
  background: var(--ih-paper); color: var(--ih-ink); }}
figure {{ margin: 2.5rem 0; }}
figure > svg {{ max-width: 100%; height: auto; }}
</style>
<h1>{heading}</h1>
{figures}
<script src="plotly.min.js"></script>
<script>
const dark = matchMedia('(prefers-color-scheme: dark)');
function draw() {{
  document.documentElement.classList.toggle('dark', dark.matches);
  const style = getComputedStyle(document.documentElement);
  for (const holder of document.querySelectorAll('figure[aria-label]')) {{
    const spec = JSON.parse(holder.querySelector('script').textContent.replace(
      /var\\((--ih-[\\w-]+)\\)/g, (_, name) => style.getPropertyValue(name).trim()));
    Plotly.react(holder, spec.data, spec.layout, {config});
  }}
}}
dark.addEventListener('change', draw);
draw();
</script>
</html>
"""
