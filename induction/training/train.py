"""Train a small attention-only model in which induction heads form, and watch them form.

Half of the data is prose; the other half are sequences that repeat themselves with a period that varies from
row to row, half of those made of random tokens and half of snippets of prose. From the first step to the last,
batches of short rows with short periods, on which heads form soon, alternate at random with batches of rows longer
than what is scanned, so no change of data can stand behind a change of the model. The first copy of random tokens
cannot be predicted and carries no loss. Attention is rotary.

Reference: Olsson et al. 2022 (the phase change); Singh et al. 2024 (what needs to go right for it).
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

from induction.analysis.scores import SCORES, apply
from induction.base import InputError, Progress, versions
from induction.model.native import save_native
from induction.training.history import Checkpoint, History

BOS = "<|bos|>"
CONTEXT = 2048  # positions that the saved model accepts: rotary tables cost nothing to lengthen
DIGITS = 4


@dataclass(frozen=True)
class Batch:
    """One shape of batches, and how many of all have it; ``longest_period`` bounds the repeats in their rows."""

    share: float
    rows: int
    length: int
    longest_period: int


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a run, besides the corpus and the machine."""

    layers: int = 2
    d_model: int = 128
    n_heads: int = 8
    d_head: int = 32
    rotary_dim: int = 16  # turned dimensions of a head; the rest know no position
    vocabulary: int = 1024
    steps: int = 9000
    batches: tuple[Batch, ...] = (Batch(0.55, 32, 64, 16), Batch(0.45, 32, 160, 78))  # drawn at every step
    prose_share: float = 0.5
    shortest_period: int = 4
    learning_rate: float = 3e-3
    warmup: int = 100
    decay_from: float = 0.4  # share of the steps after which the rate falls linearly to a fiftieth
    weight_decay: float = 0.01
    checkpoints: int = 60
    validation_share: float = 0.05  # the end of each book
    seed: int = 0

    @property
    def data(self) -> str:
        """What it trains on, in words."""
        if self.prose_share == 1:
            return "prose alone"
        return f"{self.prose_share:.0%} prose, the rest repeats"


#: The control: as large a model, on prose alone, in longer rows; half as many steps see as many tokens of prose.
PROSE = Recipe(prose_share=1.0, batches=(Batch(1.0, 16, 256, 78),), steps=4500)


@dataclass(frozen=True)
class Trained:
    """Where a run ended: the folder it wrote and the figures of the state that was kept."""

    folder: Path
    history: History
    kept: Checkpoint
    unigram_loss: float
    bigram_loss: float
    stopped_early: bool


@dataclass(frozen=True)
class Corpus:
    """A folder of texts as token ids; ``validation`` was never trained on."""

    tokenizer: Tokenizer
    training: torch.Tensor  # [token]
    validation: torch.Tensor  # [token]
    titles: tuple[str, ...]


def read_corpus(folder: Path, recipe: Recipe) -> Corpus:
    """Train a byte-level BPE tokenizer on the ``.txt`` files of a folder and encode them.

    Raises:
        InputError: no folder, no text in it, or too little of it.
    """
    files = sorted(folder.glob("*.txt")) if folder.is_dir() else []
    if not files:
        raise InputError(f"There are no .txt files in {folder}; give a folder of plain texts.")
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    cuts = [int(len(text) * (1 - recipe.validation_share)) for text in texts]
    training_texts = [text[:cut] for text, cut in zip(texts, cuts, strict=True)]

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text[:400_000] for text in training_texts], trainer)

    def encode(parts: list[str]) -> torch.Tensor:
        return torch.cat([torch.tensor(tokenizer.encode(part).ids) for part in parts])

    training = encode(training_texts)
    validation = encode([text[cut:] for text, cut in zip(texts, cuts, strict=True)])
    needed = 4 * max(shape.length for shape in recipe.batches)
    if min(len(training), len(validation)) < needed or tokenizer.get_vocab_size() < recipe.vocabulary:
        raise InputError(f"The texts in {folder} are too short to train on; give a megabyte or more.")
    return Corpus(tokenizer, training, validation, tuple(file.stem for file in files))


class Attention(nn.Module):
    """Causal rotary attention; parameter names are those of TransformerLens's ``NativeModel``."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        width = recipe.n_heads * recipe.d_head
        self.n_heads, self.d_head = recipe.n_heads, recipe.d_head
        self.q, self.k, self.v = (nn.Linear(recipe.d_model, width) for _ in range(3))
        self.o = nn.Linear(width, recipe.d_model)

    def forward(
        self, x: torch.Tensor, angles: torch.Tensor, patterns: list[torch.Tensor] | None
    ) -> torch.Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.n_heads, self.d_head)).transpose(1, 2)  # [batch, head, pos, d_head]
            for layer in (self.q, self.k, self.v)
        )
        q, k = _rotate(q, angles), _rotate(k, angles)
        if patterns is None:
            z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:  # the fused kernel keeps no pattern
            scores = q @ k.transpose(-1, -2) / self.d_head**0.5  # [batch, head, query, key]
            future = torch.triu(torch.ones(scores.shape[-2:], dtype=torch.bool), 1)
            pattern = scores.masked_fill(future, float("-inf")).softmax(-1)
            patterns.append(pattern)
            z = pattern @ v
        return self.o(z.transpose(1, 2).flatten(-2))


class Layer(nn.Module):
    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(recipe.d_model)
        self.attn = Attention(recipe)


class MiniTransformer(nn.Module):
    """The model as it is trained, with fused attention; it is scanned as a TransformerLens native model."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.tok_embed = nn.Embedding(recipe.vocabulary, recipe.d_model)
        self.layers = nn.ModuleList(Layer(recipe) for _ in range(recipe.layers))
        self.ln_out = nn.LayerNorm(recipe.d_model)
        self.head = nn.Linear(recipe.d_model, recipe.vocabulary, bias=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:  # at the libraries' default of .02 nothing forms in useful time
                nn.init.normal_(parameter, std=recipe.d_model**-0.5)

    def forward(self, tokens: torch.Tensor, patterns: list[torch.Tensor] | None = None) -> torch.Tensor:
        """Logits ``[batch, pos, vocabulary]``; attention of each layer is appended to ``patterns``."""
        angles = _angles(tokens.shape[1], self.recipe.rotary_dim)
        x = self.tok_embed(tokens)  # [batch, pos, d_model]
        for layer in self.layers:
            x = x + layer.attn(layer.ln1(x), angles, patterns)
        return self.head(self.ln_out(x))

    def config(self) -> dict[str, Any]:
        """Arguments of ``TransformerBridgeConfig`` for the same model."""
        return {
            "d_model": self.recipe.d_model,
            "d_head": self.recipe.d_head,
            "n_heads": self.recipe.n_heads,
            "n_layers": self.recipe.layers,
            "n_ctx": CONTEXT,
            "d_vocab": self.recipe.vocabulary,
            "attn_only": True,
            "positional_embedding_type": "rotary",
            "rotary_dim": self.recipe.rotary_dim,
            "rotary_base": 10000,
            "normalization_type": "LN",
            "act_fn": "gelu",
        }


def _angles(length: int, rotary_dim: int) -> torch.Tensor:
    """Rotation angle of each pair of dimensions at each position: ``[pos, rotary_dim / 2]``."""
    frequency = 10000 ** (-torch.arange(0, rotary_dim, 2) / rotary_dim)
    return torch.outer(torch.arange(length), frequency)


def _rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Turn neighbouring pairs of the first dimensions of ``[batch, head, pos, d_head]`` by their angles."""
    cos, sin = angles.cos(), angles.sin()
    turned = x[..., : 2 * angles.shape[-1]]
    even, odd = turned[..., 0::2], turned[..., 1::2]
    turned = torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)
    return torch.cat((turned, x[..., 2 * angles.shape[-1] :]), dim=-1)


def batch_of(
    corpus: Corpus, recipe: Recipe, shape: Batch, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """One batch, BOS first in every row.

    Returns:
        tokens ``[row, length + 1]`` and the weight of the loss on each token but the first ``[row, length]``.
    """
    tokens = torch.zeros(shape.rows, shape.length + 1, dtype=torch.long)
    weight = torch.ones(shape.rows, shape.length)
    starts = torch.randint(len(corpus.training) - shape.length, (shape.rows,), generator=generator)
    periods = torch.randint(
        recipe.shortest_period, shape.longest_period + 1, (shape.rows,), generator=generator
    )
    for row, (start, period) in enumerate(zip(starts.tolist(), periods.tolist(), strict=True)):
        if row < recipe.prose_share * shape.rows:
            tokens[row, 1:] = corpus.training[start : start + shape.length]
            continue
        if row % 2:
            copy = torch.randperm(recipe.vocabulary - 1, generator=generator)[:period] + 1
            weight[row, :period] = 0
        else:
            copy = corpus.training[start : start + period]
        tokens[row, 1:] = copy.repeat(shape.length // period + 1)[: shape.length]
    return tokens, weight


def baselines(corpus: Corpus, vocabulary: int) -> tuple[float, float]:
    """Validation loss in nats of a unigram and of a bigram model counted on the training text.

    The bigram is smoothed with ten counts of the unigram, which was smoothed with one count of each token.
    """
    counts = torch.bincount(corpus.training, minlength=vocabulary).double()
    unigram = (counts + 1) / (counts + 1).sum()  # [token]
    pairs = torch.bincount(
        corpus.training[:-1] * vocabulary + corpus.training[1:], minlength=vocabulary**2
    ).view(vocabulary, vocabulary)
    before, after = corpus.validation[:-1], corpus.validation[1:]
    bigram = (pairs[before, after] + 10 * unigram[after]) / (pairs.sum(1)[before] + 10)
    return float(-unigram[after].log().mean()), float(-bigram.log().mean())


class Examiner:
    """Measures a state on fixed prompts: the same at every checkpoint, none of them trained on."""

    def __init__(self, corpus: Corpus, recipe: Recipe) -> None:
        length = max(shape.length for shape in recipe.batches)
        rows = min(64, len(corpus.validation) // length)
        step = len(corpus.validation) // rows  # spread over all books
        prose = [corpus.validation[i * step : i * step + length] for i in range(rows)]
        self.prose = F.pad(torch.stack(prose), (1, 0))  # [row, 1 + length]; BOS is token 0
        generator = torch.Generator().manual_seed(recipe.seed + 1)
        longest = (length - 1) // 2
        self.periods = [min(period, longest) for period in (40, 45, 50, 55, 60)]
        self.repeated = []
        for period in self.periods:
            copies = [
                torch.randperm(recipe.vocabulary - 1, generator=generator)[:period] + 1 for _ in range(4)
            ]
            copy = torch.stack(copies)
            self.repeated.append(F.pad(torch.cat([copy, copy], 1), (1, 0)))  # [4, 1 + 2 * period]

    @torch.no_grad()
    def measure(self, model: MiniTransformer, step: int, tokens: int) -> Checkpoint:
        first, second = [], []
        scores: dict[str, list[NDArray[np.float64]]] = {"induction": [], "previous_token": []}
        for period, prompts in zip(self.periods, self.repeated, strict=True):
            patterns: list[torch.Tensor] = []
            nll = _nll(model(prompts, patterns), prompts)  # [prompt, 2 * period]
            first.append(nll[:, 1:period].mean())
            second.append(nll[:, period + 1 :].mean())
            stacked = torch.stack(patterns, 1).numpy()  # [prompt, layer, head, query, key]
            for name, values in scores.items():
                for pattern, ids in zip(stacked, prompts.numpy(), strict=True):
                    values.append(apply(SCORES[name], pattern, ids))
        return Checkpoint(
            step=step,
            tokens=tokens,
            prose_loss=round(float(_nll(model(self.prose), self.prose).mean()), DIGITS),
            first_copy_loss=round(float(torch.stack(first).mean()), DIGITS),
            second_copy_loss=round(float(torch.stack(second).mean()), DIGITS),
            induction=np.mean(scores["induction"], axis=0).round(DIGITS).tolist(),
            previous_token=np.mean(scores["previous_token"], axis=0).round(DIGITS).tolist(),
        )


def _nll(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Loss on each token but the first, in nats: ``[batch, pos - 1]``."""
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")


def checkpoint_steps(recipe: Recipe) -> list[int]:
    """Steps at which to measure: half spread over log time, half dense over the first third of the run."""
    half = recipe.checkpoints // 2
    spread = np.geomspace(10, recipe.steps, half)
    dense = np.linspace(recipe.steps * 0.02, recipe.steps * 0.33, recipe.checkpoints - half)
    return sorted({0, recipe.steps, *np.concatenate([spread, dense]).astype(int).tolist()})


def iter_train(
    corpus: Path,
    out: Path,
    *,
    layers: int = 2,
    minutes: float | None = None,
    seed: int = 0,
    recipe: Recipe | None = None,
) -> Generator[Progress[Trained], None, None]:
    """Train, measure at checkpoints, and write the best state, its history and a model card to ``out``.

    The schedule counts steps, so the same seed on the same machine gives the same weights; ``minutes`` only
    cuts it short. Best means the lowest sum of prose loss and second-copy loss at a checkpoint. Ctrl-C and
    closing the generator stop the run and write the best state so far.

    Raises:
        InputError: no corpus, a count out of range, or a place that cannot be written.
    """
    recipe = replace(recipe or Recipe(), layers=layers, seed=seed)
    if layers < 1 or (minutes is not None and minutes <= 0):
        raise InputError("Training needs at least 1 layer and more than 0 minutes.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write to {out} ({error.strerror}); choose another folder.") from None
    yield Progress(0, recipe.steps, "reading the corpus")
    text = read_corpus(corpus, recipe)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = MiniTransformer(recipe)
    optimiser = _optimiser(model, recipe)
    examiner = Examiner(text, recipe)
    run = _Run(text, recipe, out, started=time.monotonic())
    measure_at = set(checkpoint_steps(recipe))
    shares = torch.tensor([shape.share for shape in recipe.batches])
    tokens_seen = 0
    try:
        for step in range(recipe.steps + 1):
            if step in measure_at:
                run.keep(examiner.measure(model, step, tokens_seen), model)
            if step == recipe.steps or (minutes and time.monotonic() - run.started > minutes * 60):
                break
            shape = recipe.batches[int(torch.multinomial(shares, 1, generator=generator))]
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate * _rate(step, recipe)
            batch, weight = batch_of(text, recipe, shape, generator)
            loss = (_nll(model(batch), batch) * weight).sum() / weight.sum()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            tokens_seen += shape.rows * shape.length
            if step % 10 == 0:
                yield Progress(step, recipe.steps, f"loss {loss.item():.2f} · {run.latest()}")
    except KeyboardInterrupt:
        pass
    except GeneratorExit:
        run.write()
        raise
    trained = run.write()
    yield Progress(recipe.steps, recipe.steps, "written", trained)


def _optimiser(model: MiniTransformer, recipe: Recipe) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True)


def _rate(step: int, recipe: Recipe) -> float:
    """Share of the learning rate: up linearly, level, then down linearly to a fiftieth."""
    rest = (recipe.steps - step) / (recipe.steps * (1 - recipe.decay_from))
    return min(1.0, (step + 1) / recipe.warmup) * max(0.02, min(1.0, rest))


def _objective(checkpoint: Checkpoint) -> float:
    return (checkpoint.prose_loss or 0.0) + checkpoint.second_copy_loss


class _Run:
    """The checkpoints of a run and the best state among them."""

    def __init__(self, corpus: Corpus, recipe: Recipe, out: Path, started: float) -> None:
        self.corpus, self.recipe, self.out, self.started = corpus, recipe, out, started
        self.checkpoints: list[Checkpoint] = []
        self.best: Checkpoint | None = None
        self.state: dict[str, torch.Tensor] = {}
        self.config: dict[str, Any] = {}

    def keep(self, checkpoint: Checkpoint, model: MiniTransformer) -> None:
        self.checkpoints.append(checkpoint)
        if self.best is None or _objective(checkpoint) < _objective(self.best):
            self.best, self.config = checkpoint, model.config()
            self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def latest(self) -> str:
        last = self.checkpoints[-1]
        head = max(max(row) for row in last.induction)
        return f"second copy {last.second_copy_loss:.2f} nats · best induction head {head:.2f}"

    def write(self) -> Trained:
        """Weights, tokenizer, history and card of the best state.

        Raises:
            InputError: the disk is full or the folder cannot be written.
        """
        from transformers import PreTrainedTokenizerFast

        assert self.best is not None  # the state before the first step is measured
        recipe, name = self.recipe, self.out.name
        minutes = (time.monotonic() - self.started) / 60
        unigram, bigram = baselines(self.corpus, recipe.vocabulary)
        history = History(
            model=name,
            n_layers=recipe.layers,
            n_heads=recipe.n_heads,
            origin="trained and measured by induction.training",
            protocol=(
                "20 prompts of BOS + 2 x L random tokens, L = 40 to 60; prose loss on the held-out end of each "
                "book; nats per token"
            ),
            seed=recipe.seed,
            data=recipe.data,
            checkpoints=self.checkpoints,
            versions=versions(),
        )
        trained = Trained(
            self.out, history, self.best, unigram, bigram, self.checkpoints[-1].step < recipe.steps
        )
        try:
            save_native(self.out, self.config, self.state)
            PreTrainedTokenizerFast(
                tokenizer_object=self.corpus.tokenizer, bos_token=BOS, eos_token=BOS, pad_token=BOS
            ).save_pretrained(self.out)
            (self.out / "history.json").write_text(history.to_json())
            (self.out / "training.json").write_text(
                json.dumps(self._record(trained, minutes), indent=1) + "\n"
            )
            (self.out / "README.md").write_text(self._card(trained, minutes))
        except OSError as error:
            raise InputError(
                f"Cannot write to {self.out} ({error.strerror}); free space or choose another."
            ) from None
        return trained

    def _record(self, trained: Trained, minutes: float) -> dict[str, Any]:
        return {
            "recipe": asdict(self.recipe),
            "parameters": sum(value.numel() for value in self.state.values()),
            "kept_step": trained.kept.step,
            "figures": trained.kept.model_dump(),
            "unigram_loss": round(trained.unigram_loss, DIGITS),
            "bigram_loss": round(trained.bigram_loss, DIGITS),
            "minutes": round(minutes, 1),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
            "training_tokens": len(self.corpus.training),
            "validation_tokens": len(self.corpus.validation),
            "books": list(self.corpus.titles),
            "versions": trained.history.versions,
        }

    def _data(self) -> str:
        repeats = " (half random tokens, half snippets of prose)" if self.recipe.prose_share < 1 else ""
        return f"{self.recipe.data[0].upper()}{self.recipe.data[1:]}{repeats}"

    def _limits(self) -> str:
        if self.recipe.prose_share == 1:
            return "It was made as the control of models that were trained on repeats, too."
        return (
            f"{1 - self.recipe.prose_share:.0%} of its training was repetition, so its induction heads are stronger "
            "and cleaner than those of a model trained on text alone."
        )

    def _card(self, trained: Trained, minutes: float) -> str:
        """The model card; every figure in it comes from the run."""
        recipe, kept = self.recipe, trained.kept
        best, previous = (
            max((value, f"{i}.{h}") for i, row in enumerate(grid) for h, value in enumerate(row))
            for grid in (kept.induction, kept.previous_token)
        )
        shapes = " or ".join(
            f"{shape.rows} rows x {shape.length} tokens with periods {recipe.shortest_period} to "
            f"{shape.longest_period} ({shape.share:.0%})"
            for shape in recipe.batches
        )
        books = "\n".join(f"- {title.replace('_', ': ').replace('-', ' ')}" for title in self.corpus.titles)
        parameters = sum(value.numel() for value in self.state.values())
        return f"""# {self.out.name}

Attention-only rotary transformer, {recipe.layers} layer{"s" * (recipe.layers > 1)} x {recipe.n_heads} heads, \
d_model {recipe.d_model}, {parameters:,} parameters, byte-level BPE of {recipe.vocabulary:,} tokens. Made to \
study induction heads, not to write text.

## Figures of the kept state (step {kept.step:,} of {recipe.steps:,})

| | |
|---|---|
| best induction score | {best[0]:.3f} (head {best[1]}) |
| best previous-token score | {previous[0]:.3f} (head {previous[1]}) |
| loss on the first copy of random tokens | {kept.first_copy_loss:.2f} nats |
| loss on the second copy | {kept.second_copy_loss:.2f} nats |
| loss on held-out prose | {kept.prose_loss:.2f} nats per token |
| unigram model on the same text | {trained.unigram_loss:.2f} nats per token |
| bigram model on the same text | {trained.bigram_loss:.2f} nats per token |

Protocol: {trained.history.protocol}; seed {recipe.seed + 1}.

## Recipe

Seed {recipe.seed}; {recipe.steps:,} steps of {shapes}. \
{self._data()}. AdamW, rate {recipe.learning_rate:g}, weights drawn with \
standard deviation 1/sqrt(d_model), no loss on the first copy of random tokens. \
{minutes:.0f} minutes on {torch.get_num_threads()} threads, \
torch {trained.history.versions["torch"]}.

## Data

Public-domain texts in the editions of Standard Ebooks (CC0), the last {recipe.validation_share:.0%} of each held out:

{books}

## Limits

It reads nineteenth-century English prose; its prose is poor. {self._limits()}

Licence: MIT.
"""
