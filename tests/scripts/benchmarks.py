"""Time this project's fast paths against TransformerLens's: ``python tests/scripts/benchmarks.py`` prints one table.

Random weights of GPT-2 small's shape beside the bundled model: speed and exactness do not depend on what the weights
say, and nothing has to be downloaded. All times come from one process, the best of several runs.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2])]

import torch
from transformer_lens import patching as transformer_lens
from transformer_lens.head_detector import detect_head
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformers import GPT2Config, GPT2LMHeadModel

from induction.analysis.real_text import real_text
from induction.analysis.scanning import scan
from induction.analysis.scores import induction_mask
from induction.base import Head
from induction.behaviour.loops import OPENING, loops
from induction.behaviour.next_tokens import next_tokens
from induction.behaviour.prose import prose_losses, trained_on
from induction.behaviour.recall import recall
from induction.behaviour.variants import Variants
from induction.circuit.looking import Reader
from induction.data_gen.pairs import PromptPair, pairs
from induction.data_gen.prose import prose_ids, spread_out
from induction.data_gen.sequences import repeated_batch
from induction.model import SMOLLM2, availability, load_model
from induction.patching.edges import knock_out
from induction.patching.heads import NamedSet, patch_heads

REPEATS, SHORTEST = 3, 2.0  # the best counts: other work on the machine only slows down
KINDS = ("induction", "duplicate_token", "previous_token")  # detect_head knows them as <kind>_head
N_PROMPTS, LENGTH = 10, 50
PASSAGES, TOKENS, FEW = 26, 512, 4  # of prose; of a loop in Python, whose time is taken times PASSAGES / FEW
N_NEW, N_LOOPS = 12, 4  # tokens said, openings continued
N_KNOCKOUT, N_RANDOM = 5, 20  # prompts of a knockout, draws of each control
N_POS, LONG = 32, 128  # tokens of a pair; of one whose sweep's memory is measured
Row = tuple[str, float, float | None, str]  # what, seconds, those of TransformerLens, remark


def random_gpt2_small() -> TransformerBridge:
    """GPT-2 small's architecture (12 layers x 12 heads, 768 wide, fp32) with random weights and no tokenizer."""
    torch.manual_seed(0)
    hf_model = GPT2LMHeadModel(GPT2Config(attn_implementation="eager")).eval().requires_grad_(False)
    return build_bridge_from_module(hf_model, "GPT2LMHeadModel", hf_config=hf_model.config, device="cpu")


def best_time(work: Callable[[], object]) -> float:
    """Seconds of the fastest run, of ``REPEATS`` or of what fits into ``SHORTEST`` seconds."""
    times: list[float] = []
    while len(times) < REPEATS or sum(times) < SHORTEST:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def timed_beside_product(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the fastest run of ``work``, and the FLOP/s of the fastest product of two large fp32 matrices.

    They run in turn, so that what else the machine does meets both.
    """
    a, b = torch.randn(1024, 4096), torch.randn(4096, 4096)
    product, found = [], []
    while len(found) < REPEATS or sum(found) < SHORTEST:
        product.append(seconds_of(lambda: a @ b))
        found.append(seconds_of(work))
        product.append(seconds_of(lambda: a @ b))
    return min(found), 2 * a.numel() * b.shape[1] / min(product)


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def share(flop: float, seconds: float, product: float) -> str:
    """What a method reaches of the matrix product's speed, in words."""
    reached = flop / seconds
    return (
        f"{reached / 1e9:.0f} of {product / 1e9:.0f} GFLOP/s, {reached / product:.0%} of the matrix product"
    )


def sweep_flop(cfg: Any, n_pos: int, at: int) -> float:
    """FLOPs that patching every head's output owes, two per multiply-add, attention's both products as masked.

    A row is one head patched in layer l of L, over the n = ``n_pos`` - ``at`` positions that the patch can change; d is
    d_model, m is d_mlp, a the summed number of keys that the n queries see. Norms, activation functions and softmax
    count nothing; nor do plain runs (three: patched, its check, source).

    - edited layer l < L - 1: W_O and MLP, ``n (d^2 + 2 d m)``
    - each layer after it but the last: ``n (4 d^2 + 2 d m) + 2 d a``
    - the last: W_K and W_V of n positions, the rest of one, ``n 2 d^2 + 2 d^2 + 2 d m + 2 d n_pos``; if edited itself,
      ``d^2 + 2 d m``
    - unembedding of one position: ``d d_vocab``
    """
    n, d, m, layers = n_pos - at, cfg.d_model, cfg.d_mlp, cfg.n_layers
    keys = sum(range(at + 1, n_pos + 1))
    edited, whole = n * (d * d + 2 * d * m), n * (4 * d * d + 2 * d * m) + 2 * d * keys
    last = n * 2 * d * d + 2 * d * d + 2 * d * m + 2 * d * n_pos
    rows = [edited + (layers - 2 - layer) * whole + last for layer in range(layers - 1)]
    return 2 * cfg.n_heads * (sum(rows) + d * d + 2 * d * m + layers * d * cfg.d_vocab)


def scan_flop(cfg: Any, lengths: list[int], loss: bool) -> float:
    """FLOPs of one forward pass over prompts of ``lengths`` tokens, padding left out, two per multiply-add.

    Per prompt of n tokens and layer, ``n (4 d^2 + 2 d m) + 2 d n (n + 1) / 2`` (attention's two products as masked).
    The last layer counts whole with the loss, else W_Q, W_K and its scores alone, ``n 2 d^2 + d n (n + 1) / 2``; the
    loss adds the unembedding of all but the last token, ``(n - 1) d d_vocab``.
    """
    d, m = cfg.d_model, 0 if getattr(cfg, "attn_only", False) else cfg.d_mlp
    total = 0
    for n in lengths:
        keys = n * (n + 1) // 2
        whole = n * (4 * d * d + 2 * d * m) + 2 * d * keys
        last = whole + (n - 1) * d * cfg.d_vocab if loss else n * 2 * d * d + d * keys
        total += (cfg.n_layers - 1) * whole + last
    return 2.0 * total


def a_pair(n_pos: int, at: int) -> PromptPair:
    """Random tokens, and a twin with another token at one position."""
    clean = torch.randint(50257, (n_pos,), generator=torch.Generator().manual_seed(n_pos)).tolist()
    corrupted = [*clean[:at], (clean[at] + 1) % 50257, *clean[at + 1 :]]
    labels = {"clean_labels": ("",) * n_pos, "corrupted_labels": ("",) * n_pos}
    return PromptPair(tuple(clean), tuple(corrupted), answer=1, distractor=2, **labels)


def memory(model: TransformerBridge) -> Iterator[Row]:
    """A sweep over long prompts that differ from the first token on, and what it needs beside the model."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    start = time.perf_counter()
    patch_heads(model, [a_pair(LONG, 0)])
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    extra = (peak - pages * resource.getpagesize()) / 2**20
    yield f"all heads patched, {LONG} tokens", seconds, None, f"{extra:.0f} MiB above the model's"


def patching(model: TransformerBridge) -> Iterator[Row]:
    """All heads' outputs, all positions, by the first position at which the prompts differ."""
    for at in (1, N_POS // 4, N_POS // 2):
        pair = a_pair(N_POS, at)
        seconds, product = timed_beside_product(lambda pair=pair: patch_heads(model, [pair]))
        found = torch.tensor(patch_heads(model, [pair]).effects["logit_difference"].patched[0])
        start = time.perf_counter()
        with torch.no_grad():
            _, cache = model.run_with_cache(torch.tensor([pair.clean]))
            expected = transformer_lens.get_act_patch_attn_head_out_all_pos(
                model, torch.tensor([pair.corrupted]), cache, lambda x: x[0, -1, 1] - x[0, -1, 2]
            )
        reference = time.perf_counter() - start
        apart = float((expected - found).abs().max())
        what = f"all heads patched, {N_POS} tokens that differ from {at} on"
        reached = share(sweep_flop(model.cfg, N_POS, at), seconds, product)
        yield what, seconds, reference, f"{reached}; logits apart by {apart:.1e}"


def scanning(name: str, model: TransformerBridge) -> Iterator[Row]:
    """Three kinds of heads over the same prompts; ``detect_head`` as it is, and with one cache per prompt."""
    batch = repeated_batch(model, n_prompts=N_PROMPTS, length=LENGTH, seed=0)
    prompts = [torch.from_numpy(batch.prompt(row))[None] for row in range(N_PROMPTS)]
    model.to_tokens = lambda text: prompts[int(text)]  # detect_head takes text alone

    def reference(share_cache: bool) -> None:
        for row, tokens in enumerate(prompts):
            cache = model.run_with_cache(tokens, remove_batch_dim=True)[1] if share_cache else None
            for kind in KINDS:
                detect_head(model, str(row), f"{kind}_head", cache=cache)

    detect, shared = (best_time(lambda share=share: reference(share)) for share in (False, True))
    del model.to_tokens
    for what, loss in (("three scores", False), ("three scores and the loss", True)):
        seconds, product = timed_beside_product(
            lambda loss=loss: scan(model, n_prompts=N_PROMPTS, length=LENGTH, scores=KINDS, loss=loss)
        )
        reached = share(scan_flop(model.cfg, [tokens.shape[1] for tokens in prompts], loss), seconds, product)
        yield (
            f"{name}: {what}",
            seconds,
            detect,
            f"{reached}; {shared / seconds:.1f}x with one cache per prompt",
        )


def knockout(name: str, model: TransformerBridge, *heads: Head) -> Iterator[Row]:
    """Heads without their induction edges and both controls, and the same prompts once per variant with hooks."""
    asked = {
        "n_prompts": N_KNOCKOUT,
        "length": LENGTH,
        "n_random": N_RANDOM,
        "pairs": pairs(model, N_KNOCKOUT),
    }
    batch = repeated_batch(model, n_prompts=N_KNOCKOUT, length=LENGTH, seed=0)
    repeated = [torch.from_numpy(batch.prompt(row)) for row in range(N_KNOCKOUT)]
    answers = [torch.tensor(pair.clean[: pair.scored + 1]) for pair in asked["pairs"]]

    def cut(cells: torch.Tensor, pattern: torch.Tensor, hook: HookPoint) -> torch.Tensor:
        for _, head in (one for one in heads if hook.name.startswith(f"blocks.{one[0]}.")):
            left = pattern[0, head].masked_fill(cells, 0)
            pattern[0, head] = left / left.sum(-1, keepdim=True)
        return pattern

    def reference() -> float:
        """Loss on the second copy; of one variant, since which cells go makes no difference to the time."""
        losses = []
        for tokens in (*answers, *repeated):
            hook = partial(cut, torch.from_numpy(induction_mask(tokens.numpy())))
            hooks = [(f"blocks.{layer}.attn.hook_pattern", hook) for layer in {layer for layer, _ in heads}]
            logits, period = model.run_with_hooks(tokens[None], fwd_hooks=hooks)[0], len(tokens) // 2
            losses.append(torch.nn.functional.cross_entropy(logits[-period:-1], tokens[1 - period :]))
        return float(torch.stack(losses[-N_KNOCKOUT:]).mean())

    def rows() -> float:
        result = knock_out(model, [NamedSet("set", heads)], **asked)
        return result.sets[0].measures["second_copy_loss"].edited

    with torch.no_grad():
        seconds, one = best_time(rows), best_time(reference)
        apart = abs(rows() - reference())
    variants = 1 + 2 * N_RANDOM + 1  # the heads ablated among them
    remark = f"losses apart by {apart:.1e}; beside {variants} hooked runs of each prompt"
    yield f"{name}: {variants} knockouts, {2 * N_KNOCKOUT} prompts", seconds, variants * one, remark


def in_real_text(name: str, model: TransformerBridge, *, loop: bool = True) -> Iterator[Row]:
    """All heads on prose; beside it a cache of every passage, all activations kept, and entropy, distance and the
    attention after the latest earlier occurrence read from it head by head."""

    def reference() -> None:
        for one in spread_out(FEW):
            ids = prose_ids(model, one, TOKENS)
            last = {}
            latest = []
            for at, token in enumerate(ids):
                latest += [(at, last[token] + 1)] if last.get(token, at) + 1 < at else []
                last[token] = at
            queries, keys = torch.tensor(latest).T
            distance = (torch.arange(TOKENS)[:, None] - torch.arange(TOKENS)).double()
            _, cache = model.run_with_cache(torch.tensor([ids]))
            for layer in range(model.cfg.n_layers):
                for pattern in cache["pattern", layer][0].double():
                    pattern[queries, keys].mean(), torch.special.entr(pattern).sum(-1).mean()
                    (pattern * distance).sum(-1).mean()

    seconds = best_time(lambda: real_text(model, n_passages=PASSAGES, length=TOKENS))
    beside = best_time(reference) * PASSAGES / FEW if loop else None
    remark = f"{PASSAGES} passages of {TOKENS} tokens, queries and excerpts included"
    yield f"{name}: in real text", seconds, beside, remark


def behaviour(name: str, model: TransformerBridge, heads: list[tuple[int, int]]) -> Iterator[Row]:
    """What a model does without heads, against one hooked run for each variant, each prompt and each new token."""
    variants = Variants.of(model, heads, n_random=10, seed=0)
    sets = ((), *variants.sets)

    def hooked(ids: list[int]) -> None:
        for chosen in sets:

            def empty(z: torch.Tensor, hook: object, chosen: tuple = chosen) -> torch.Tensor:
                for layer, head in chosen:
                    if hook.name == f"blocks.{layer}.attn.hook_z":
                        z[:, :, head] = 0
                return z

            layers = {layer for layer, _ in chosen}
            hooks = [(f"blocks.{layer}.attn.hook_z", empty) for layer in layers]
            with torch.no_grad():
                model.run_with_hooks(torch.tensor([ids]), fwd_hooks=hooks)

    words = torch.randint(1000, (512,), generator=torch.Generator().manual_seed(0)).tolist()
    pieces = {
        f"{N_NEW} next tokens": (
            lambda: next_tokens(model, words[:N_POS], variants, n_new=N_NEW, kind="zero"),
            [words[: N_POS + at] for at in range(N_NEW)],
        ),
        "recall of 2 x 4 to 64 tokens": (
            lambda: recall(model, variants, n_prompts=2, kind="zero"),
            [words[: 2 * lag + 1] for lag in (4, 8, 16, 32, 64) for _ in range(2)],
        ),
        f"{N_LOOPS} continuations by 40 tokens": (
            lambda: loops(model, variants, n_prompts=N_LOOPS, kind="zero"),
            [words[: OPENING + at] for at in range(40) for _ in range(N_LOOPS)],
        ),
        "prose, 2 passages": (
            lambda: prose_losses(model, variants, n_passages=2, n_matched=0, kind="zero"),
            [words[: min(512, trained_on(model))]] * 2,
        ),
    }
    for what, (work, prompts) in pieces.items():
        seconds = best_time(work)
        start = time.perf_counter()
        for ids in prompts:
            hooked(ids)
        yield (
            f"{name}: {what}, {len(sets)} variants",
            seconds,
            time.perf_counter() - start,
            "hooked runs beside",
        )


def explaining(name: str, model: TransformerBridge, head: tuple[int, int]) -> Iterator[Row]:
    """Every source of one head's scores on one prompt; the naive way takes a hooked run up to the head for each."""
    ids = repeated_batch(model, n_prompts=1, length=LENGTH, seed=0).prompt(0).tolist()
    reader, tokens, layer = Reader(model, head), torch.tensor([ids]), head[0]
    look = reader(ids)

    def less(keys: torch.Tensor, hook: object) -> torch.Tensor:
        return keys - torch.zeros_like(keys)  # stands for what one source put there

    def reference() -> None:
        for _ in look.sources:
            hooks = [(f"blocks.{layer}.attn.hook_k", less)]
            with torch.no_grad():
                model.run_with_hooks(tokens, fwd_hooks=hooks, stop_at_layer=layer + 1, return_type=None)

    start = time.perf_counter()
    reference()  # once: it takes long
    naive = time.perf_counter() - start
    seconds = best_time(lambda: reader(ids))
    apart = float((look.q.sum(0) @ look.k.sum(0).T - look.own)[look.visible].abs().max())
    what = f"{name}: why {layer}.{head[1]} looks, {len(look.sources)} sources"
    yield what, seconds, naive, f"one run per source; scores apart by {apart:.0e}"


def main() -> None:
    mini, large = load_model("mini-2l"), random_gpt2_small()
    patch_heads(large, [a_pair(8, 4)])  # warm up
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {N_PROMPTS} prompts of 2 x {LENGTH}"
    )
    print(f"{'':52} {'seconds':>8} {'TransformerLens':>16} {'speed-up':>9}  remark")
    for rows in (memory(large), patching(large), scanning("mini-2l", mini)):  # a process's peak never falls
        show(rows)
    show(in_real_text("mini-2l", mini))
    show(behaviour("mini-2l", mini, [(1, 2), (1, 7)]))
    show(knockout("mini-2l", mini, (1, 2), (1, 4), (1, 6), (1, 7)))
    large.tokenizer = mini.tokenizer  # its prompts use the first 1,024 tokens
    shape = "GPT-2 small's shape"
    show(scanning(shape, large))
    show(behaviour(shape, large, [(5, 1), (5, 5), (6, 9), (7, 2)]))
    show(explaining(shape, large, (8, 0)))
    show(knockout(shape, large, (8, 1), (9, 6), (10, 7)))
    if availability(SMOLLM2) == "installed":
        smol = load_model(SMOLLM2)
        show(in_real_text("SmolLM2", smol, loop=False))
        show(explaining("SmolLM2", smol, (18, 6)))


def show(rows: Iterator[Row]) -> None:
    for what, seconds, reference, remark in rows:
        beside = f"{reference:14.3f} s {reference / seconds:8.1f}x" if reference else " " * 26
        print(f"{what:52} {seconds:6.3f} s {beside}  {remark}", flush=True)


if __name__ == "__main__":
    main()
