"""The example that comes with a model: attention of every head on the usual prompt, and what the strongest write.

Patterns are grey pictures, one byte per weight, so that a page shows them before any model is loaded.
"""

from __future__ import annotations

import io
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from induction.analysis.attention import Attention, Written, attend, written
from induction.base import Head, Number, Part, Result, check_shape, head_name
from induction.data_gen.prompts import DEFAULTS, Prompt, token_ids

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

WRITING = 24  # heads whose writing is kept, those with the highest induction score on the prompt
DECIMALS = 2  # of logits
LEVELS = 255  # of a weight


def as_png(patterns: NDArray[Any]) -> str:
    """One grey PNG, base64, a tile per head from top to bottom, 255 for weight 1.

    Args:
        patterns: ``[head, query, key]`` in 0..1.
    """
    tiles = np.rint(np.clip(patterns, 0, 1) * LEVELS).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(tiles.reshape(-1, tiles.shape[-1])).save(out, "PNG", optimize=True)
    return b64encode(out.getvalue()).decode()


def from_png(png: str) -> NDArray[np.float32]:
    """The patterns of :func:`as_png`, to within half a level.

    Raises:
        ValueError: no such picture.
    """
    try:
        image = np.asarray(Image.open(io.BytesIO(b64decode(png))))
    except OSError as error:
        raise ValueError(f"a picture cannot be read: {error}") from None
    if image.ndim != 2 or image.dtype != np.uint8 or len(image) % image.shape[1]:
        raise ValueError("a picture is not a column of grey squares")
    return image.reshape(-1, image.shape[1], image.shape[1]).astype(np.float32) / LEVELS


class Writing(Part):
    """:class:`~induction.analysis.attention.Written`, tokens by their place in :attr:`Example.labels`."""

    layer: int
    head: int
    promoted: list[list[int]]
    promoted_by: list[list[Number]]
    suppressed: list[list[int]]
    suppressed_by: list[list[Number]]
    following: list[list[Number] | None]


class Example(Result):
    """Attention of a model on one prompt.

    Attributes:
        prompt: as links write it.
        pictures: of each layer (:func:`as_png`).
        labels: of the tokens that heads write.
        writing: of the heads with the highest induction score.
    """

    SCHEMA: ClassVar[str] = "induction-example/1"

    prompt: str
    protocol: str
    ids: list[int]
    tokens: list[str]
    has_bos: bool
    n_vocab: int
    pictures: list[str]
    labels: list[str]
    writing: list[Writing]

    def attention(self) -> Attention:
        """The same as :func:`~induction.analysis.attention.attend` found it, without the way to the logits."""
        return Attention(
            model=self.model,
            origin=self.origin,
            ids=tuple(self.ids),
            labels=tuple(self.tokens),
            has_bos=self.has_bos,
            patterns=np.stack([from_png(png) for png in self.pictures]),
            way=None,
            rounded=True,
            versions=self.versions,
        )

    def written(self) -> dict[Head, Written]:
        """What heads write, as far as it is kept."""

        def named(words: list[list[int]], by: list[list[float]]) -> list[list[tuple[str, float]]]:
            rows = zip(words, by, strict=True)
            return [list(zip((self.labels[i] for i in row), values, strict=True)) for row, values in rows]

        return {
            (one.layer, one.head): Written(
                one.layer,
                one.head,
                self.n_vocab,
                named(one.promoted, one.promoted_by),
                named(one.suppressed, one.suppressed_by),
                [pair and (pair[0], int(pair[1])) for pair in one.following],
            )
            for one in self.writing
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row per head: its scores on the prompt."""
        scores = self.attention().scores()
        for layer, head in np.ndindex(self.n_layers, self.n_heads):
            figures = {name: values[layer, head] for name, values in scores.items()}
            yield {
                "head": head_name((layer, head)),
                **{name: None if np.isnan(x) else round(float(x), 3) for name, x in figures.items()},
            }

    def verdict(self) -> str:
        best = max(self.rows(), key=lambda row: row["induction"] or 0)
        score = best["induction"]
        said = "nothing repeats" if score is None else f"head {best['head']} leads with induction {score:.2f}"
        return f"On the prompt {self.prompt}, {said}."

    def check(self) -> None:
        n = len(self.ids)
        check_shape("the tokens", self.tokens, n)
        check_shape("the pictures", self.pictures, self.n_layers)
        if self.attention().patterns.shape != (self.n_layers, self.n_heads, n, n):
            raise ValueError("the pictures do not fit the model and the prompt")
        for one in self.writing:
            if not (0 <= one.layer < self.n_layers and 0 <= one.head < self.n_heads):
                raise ValueError(f"no head {one.layer}.{one.head}")
            parts = (one.promoted, one.promoted_by, one.suppressed, one.suppressed_by, one.following)
            if any(len(rows) != n for rows in parts):
                raise ValueError("what a head writes does not fit the prompt")
            if not all(0 <= i < len(self.labels) for row in one.promoted + one.suppressed for i in row):
                raise ValueError("a word is missing")


def example(model: TransformerBridge) -> Example:
    """Run the usual prompt and keep what a page shows of it."""
    prompt: Prompt = DEFAULTS["repeat"]
    seen = attend(model, token_ids(model, prompt, "")[0])
    ranked = np.argsort(-np.nan_to_num(seen.scores()["induction"]), axis=None, kind="stable")[:WRITING]
    heads = [divmod(int(index), seen.n_heads) for index in ranked] if seen.way else []
    found = [written(model, seen, *head) for head in heads]
    labels: dict[str, int] = {}

    def places(rows: list[list[tuple[str, float]]]) -> list[list[int]]:
        return [[labels.setdefault(word, len(labels)) for word, _ in row] for row in rows]

    def logits(rows: list[list[tuple[str, float]]]) -> list[list[float]]:
        return [[round(value, DECIMALS) for _, value in row] for row in rows]

    writing = [
        Writing(
            layer=one.layer,
            head=one.head,
            promoted=places(one.promoted),
            promoted_by=logits(one.promoted),
            suppressed=places(one.suppressed),
            suppressed_by=logits(one.suppressed),
            following=[pair and [round(pair[0], DECIMALS), pair[1]] for pair in one.following],
        )
        for one in found
    ]
    return Example(
        model=seen.model,
        n_layers=seen.n_layers,
        n_heads=seen.n_heads,
        origin=seen.origin,
        seed=prompt.seed,
        versions=seen.versions,
        prompt=str(prompt),
        protocol=seen.protocol,
        ids=list(seen.ids),
        tokens=list(seen.labels),
        has_bos=seen.has_bos,
        n_vocab=found[0].n_vocab if found else 0,
        pictures=[as_png(layer) for layer in seen.patterns],
        labels=list(labels),
        writing=writing,
    )
