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

sys.path[:0] = [str(Path(__file__).parents[2])]

import torch
from transformer_lens import patching as transformer_lens
from transformer_lens.head_detector import detect_head
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformers import GPT2Config, GPT2LMHeadModel

from induction.analysis.scanning import scan
from induction.analysis.scores import induction_mask
from induction.base import Head
from induction.data_gen.pairs import PromptPair, pairs
from induction.data_gen.sequences import repeated_batch
from induction.model import load_model
from induction.patching.edges import knock_out
from induction.patching.heads import NamedSet, patch_heads

REPEATS, SHORTEST = 3, 2.0  # the best counts: other work on the machine only slows down
KINDS = ("induction", "duplicate_token", "previous_token")  # detect_head knows them as <kind>_head
N_PROMPTS, LENGTH = 10, 50
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
        seconds = best_time(lambda pair=pair: patch_heads(model, [pair]))
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
        yield what, seconds, reference, f"logits apart by {apart:.1e}"


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
        seconds = best_time(
            lambda loss=loss: scan(model, n_prompts=N_PROMPTS, length=LENGTH, scores=KINDS, loss=loss)
        )
        yield f"{name}: {what}", seconds, detect, f"{shared / seconds:.1f}x with one cache per prompt"


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


def main() -> None:
    mini, large = load_model("mini-2l"), random_gpt2_small()
    patch_heads(large, [a_pair(8, 4)])  # warm up
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {N_PROMPTS} prompts of 2 x {LENGTH}"
    )
    print(f"{'':52} {'seconds':>8} {'TransformerLens':>16} {'speed-up':>9}  remark")
    for rows in (memory(large), patching(large), scanning("mini-2l", mini)):  # a process's peak never falls
        show(rows)
    large.tokenizer = mini.tokenizer  # its prompts use the first 1,024 tokens
    show(scanning("GPT-2 small's shape", large))
    show(knockout("mini-2l", mini, (1, 2), (1, 4), (1, 6), (1, 7)))
    show(knockout("GPT-2 small's shape", large, (8, 1), (9, 6), (10, 7)))


def show(rows: Iterator[Row]) -> None:
    for what, seconds, reference, remark in rows:
        beside = f"{reference:14.3f} s {reference / seconds:8.1f}x" if reference else " " * 26
        print(f"{what:52} {seconds:6.3f} s {beside}  {remark}", flush=True)


if __name__ == "__main__":
    main()
