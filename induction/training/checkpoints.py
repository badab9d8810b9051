"""How heads formed in a public model: the same figures at its published training checkpoints (Pythia's).

Biderman et al. 2023, *Pythia* (arXiv 2304.01373): one revision per checkpoint, named ``step<N>``, of
2,097,152 training tokens a step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from induction.analysis.result import Scan
from induction.base import InputError, Progress
from induction.training.history import SCORES, Checkpoint, History

FAMILY = "EleutherAI/pythia-"
TOKENS_PER_STEP = 2_097_152
#: Published steps, and those measured unless others are asked for: denser where induction heads form.
PUBLISHED = (0, *(2**power for power in range(10)), *range(1000, 144_000, 1000))
STEPS = (0, 16, 64, 128, 256, 512, 1000, 2000, 3000, 4000, 5000, 6000, 8000, 10_000)
STEPS += (16_000, 32_000, 64_000, 143_000)


def iter_history(
    name: str,
    file: Path,
    *,
    steps: Sequence[int] = STEPS,
    n_prompts: int = 10,
    vocab: str = "random",
    device: str = "cpu",
    seed: int = 0,
) -> Iterator[Progress[History]]:
    """Scan a model at training checkpoints, writing what is there after each; what the file holds is not repeated.

    Args:
        name: a Pythia model.
        file: the history, read at the start where it exists and replaced after each checkpoint.
        steps: training steps, of those published.

    Raises:
        InputError: another model, an unpublished step, a file of another protocol, or a checkpoint out of reach;
            what was measured until then is in the file.
    """
    from induction.analysis.scanning import scan
    from induction.model import load_model, resolve

    name = resolve(name)
    if not name.startswith(FAMILY):
        raise InputError(f"{name} has no training checkpoints known here; name a Pythia model, {FAMILY}70m.")
    unknown = sorted(set(steps) - set(PUBLISHED))
    if unknown or not steps:
        raise InputError(
            f"There is no checkpoint at step {unknown[0] if unknown else 'none'}; published are 0, 1, 2, 4, … 512 "
            "and every thousandth up to 143000."
        )
    steps = sorted(set(steps))
    history = History.from_json(file.read_text(encoding="utf-8"), file.name) if file.exists() else None
    for done, step in enumerate(steps):
        if history and any(point.step == step for point in history.checkpoints):
            continue
        yield Progress(done, len(steps), f"step {step:,}", history)
        model = load_model(name, device, step=step)
        measured = scan(model, n_prompts=n_prompts, vocab=vocab, scores=SCORES, seed=seed)
        history = _with(history, measured, step, file)
        _write(file, history.to_json())
    yield Progress(len(steps), len(steps), "done", history)


def _with(history: History | None, measured: Scan, step: int, file: Path) -> History:
    """The history with one more checkpoint, in order.

    Raises:
        InputError: it was measured in another way.
    """
    assert measured.loss is not None
    point = Checkpoint(
        step=step,
        tokens=step * TOKENS_PER_STEP,
        prose_loss=None,
        first_copy_loss=measured.loss.first_mean,
        second_copy_loss=measured.loss.second_mean,
        induction=measured.scores["induction"].mean,
        previous_token=measured.scores["previous_token"].mean,
    )
    way = {
        "model": measured.model,
        "n_layers": measured.n_layers,
        "n_heads": measured.n_heads,
        "protocol": measured.scores["induction"].protocol,
        "seed": measured.seed,
    }
    before = history.checkpoints if history else []
    if history and any(getattr(history, name) != value for name, value in way.items()):
        raise InputError(f"{file.name} was measured in another way; write this history to another file.")
    points = sorted([*before, point], key=lambda one: one.step)
    origin = "public training checkpoints, measured by induction.training"
    return History(**way, origin=origin, checkpoints=points, versions=(history or measured).versions)


def _write(file: Path, text: str) -> None:
    """Replace the file at once, so that a run that is cut off leaves a whole one."""
    part = file.with_suffix(".part")
    try:
        part.write_text(text + "\n", encoding="utf-8")
        os.replace(part, file)
    except OSError as error:
        raise InputError(f"Cannot write {file} ({error.strerror}); choose another place.") from None
