"""All figures of a model as files: SVG, PNG and a page that shows them with their protocols."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from induction import results
from induction.analysis.scores import SCORES
from induction.base import InputError, Progress
from induction.circuit import results as circuits
from induction.circuit.results import Circuit
from induction.patching import results as patchings
from induction.patching.interventions import METRICS
from induction.patching.results import HeadSets, Patching
from induction.results import Scan, slug
from induction.training import history as histories
from induction.training.history import History
from induction.viz import circuit as draw_circuit
from induction.viz import patching as draw_patching
from induction.viz import scan as draw_scan
from induction.viz import senders
from induction.viz import training as draw_training

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from induction.analysis.attention import Attention

ZOOM = 2  # pixels of a PNG per unit of its SVG
PROMPT_LENGTH = 24  # tokens in each copy of the prompt whose attention is shown


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


@dataclass(frozen=True)
class Figure:
    """One figure: a file name without ending, a title, and a whole SVG document with its protocol."""

    name: str
    title: str
    svg: str


def bundled_results(model: str) -> Results:
    """What comes with the package for a model, without its attention on a prompt."""
    short = slug(model)
    found = [
        patchings.bundled(name)
        for name in patchings.bundled_names()
        if name == short or name.startswith(f"{short}-ioi-")
    ]
    curve = patchings.bundled(f"{short}-top-k") if f"{short}-top-k" in patchings.bundled_names() else None
    circuit = None
    if model in circuits.bundled_names():
        circuit = circuits.bundled(model)
    elif model in circuits.published_names():
        circuit = circuits.published_circuit(model)
    return Results(
        model,
        scan=results.bundled(model) if model in results.bundled_names() else None,
        sweeps=[result for result in found if isinstance(result, Patching)],
        curve=curve if isinstance(curve, HeadSets) else None,
        circuit=circuit,
        history=histories.bundled_histories().get(model),
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
    history = histories.bundled_histories().get(name)
    found = Results(name, scan, [sweep], curve, circuit, history, seen)
    yield Progress(1, 1, "done", found)


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


def draw(found: Results) -> tuple[list[Figure], list[str]]:
    """All figures that these results allow, and one sentence for each that they do not."""
    drawn: list[Figure] = []
    left_out: list[str] = []

    def add(name: str, title: str, make: Callable[[], str]) -> None:
        try:
            drawn.append(Figure(name, title, make()))
        except InputError as error:
            left_out.append(f"{title}: {error}")

    scan, curve, circuit = found.scan, found.curve, found.circuit
    if scan:
        for score in scan.scores:
            add(f"scan-{score}", SCORES[score].title, lambda score=score: draw_scan.grid(scan, score))
        add("scan-loss", "Loss by position", lambda: draw_scan.loss_curve(scan))
        add(
            "scan-induction-previous",
            "Induction against previous token",
            lambda: draw_scan.induction_vs_previous(scan),
        )
    if found.attention:
        _add_attention(add, found)
    for sweep in found.sweeps:
        for metric in sweep.effects:
            name, title = f"patching-{sweep.component}-{metric}", draw_patching.title_of(sweep, metric)
            add(name, title, lambda sweep=sweep, metric=metric: draw_patching.head_map(sweep, metric))
        if any(effect.patched for effect in sweep.effects.values()):
            add(
                f"patching-{sweep.component}-bars",
                "Clean, corrupted and patched",
                lambda sweep=sweep: draw_patching.bars(sweep),
            )
    if curve:
        for metric in METRICS:
            if all(metric in one.measures for one in curve.sets):
                add(
                    f"first-heads-{metric}",
                    f"First k heads together: {METRICS[metric].title}",
                    lambda metric=metric: draw_patching.curve(curve, metric),
                )
    if circuit:
        add("circuit", "Circuit", lambda: draw_circuit.diagram(circuit))
        for receiver in circuit.receivers:
            composition, paths = receiver.composition, receiver.paths
            if composition:
                add(
                    f"composition-{receiver.name}",
                    f"Composition with {receiver.name}",
                    lambda composition=composition: senders.composition_bars(composition, circuit.model),
                )
            if paths:
                add(
                    f"paths-{receiver.name}",
                    f"Paths into {receiver.name}",
                    lambda paths=paths: senders.path_bars(paths, circuit.model),
                )
    history = found.history
    if history:
        add("training-loss", "Loss over training", lambda: draw_training.losses(history))
        add("training-scores", "Scores of every head over training", lambda: draw_training.scores(history))
    return drawn, left_out


def _add_attention(add: Callable[[str, str, Callable[[], str]], None], found: Results) -> None:
    from induction.viz.attention import head_figure

    seen = found.attention
    assert seen is not None
    layer, head, _ = found.scan.ranked()[0] if found.scan else (seen.n_layers - 1, 0, 0.0)
    title = f"Attention of head {layer}.{head}"
    add(f"attention-{layer}.{head}", title, lambda: head_figure(seen, layer, head))


def write(figures: list[Figure], folder: Path, *, heading: str) -> list[Path]:
    """Write every figure as SVG and PNG, and ``index.html``, which shows them.

    Raises:
        InputError: the folder or a file cannot be written.
    """
    import resvg_py

    parts = []
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in figures:
            name = re.sub(r"[^\w.-]", "-", figure.name)
            vector, pixels = folder / f"{name}.svg", folder / f"{name}.png"
            vector.write_text(figure.svg, encoding="utf-8")
            pixels.write_bytes(bytes(resvg_py.svg_to_bytes(svg_string=figure.svg, zoom=ZOOM)))
            paths += [vector, pixels]
            title = html.escape(figure.title)
            parts.append(
                f'<figure id="{name}"><img src="{vector.name}" alt="{title}" loading="lazy"><figcaption>{title} · '
                f'<a href="{vector.name}">SVG</a> · <a href="{pixels.name}">PNG</a></figcaption></figure>'
            )
        page = folder / "index.html"
        page.write_text(PAGE.format(heading=html.escape(heading), figures="\n".join(parts)), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"Cannot write figures to {folder} ({error.strerror}); choose another folder."
        ) from None
    return [*paths, page]


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #18222d; }}
figure {{ margin: 2.5rem 0; }}
img {{ max-width: 100%; height: auto; }}
figcaption {{ color: #55616e; }}
</style>
<h1>{heading}</h1>
{figures}
</html>
"""
