"""Time this project's fast paths against TransformerLens's: ``python tests/scripts/benchmarks.py`` prints one table.

Random weights of GPT-2 small's shape beside the bundled model: speed and exactness do not depend on what the weights
say, and nothing has to be downloaded. All times come from one process, the best of several runs.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

import torch
from transformer_lens import patching as transformer_lens
from transformer_lens.head_detector import detect_head
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformers import GPT2Config, GPT2LMHeadModel

from induction.analysis.scanning import scan
from induction.circuit.looking import Reader
from induction.data_gen.pairs import PromptPair
from induction.data_gen.sequences import repeated_batch
from induction.model import SMOLLM2, availability, load_model
from induction.patching.heads import patch_heads

REPEATS, SHORTEST = 3, 2.0  # the best counts: other work on the machine only slows down
KINDS = ("induction", "duplicate_token", "previous_token")  # detect_head knows them as <kind>_head
N_PROMPTS, LENGTH = 10, 50
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
    large.tokenizer = mini.tokenizer  # its prompts use the first 1,024 tokens
    show(scanning("GPT-2 small's shape", large))
    show(explaining("GPT-2 small's shape", large, (8, 0)))
    if availability(SMOLLM2) == "installed":
        show(explaining("SmolLM2", load_model(SMOLLM2), (18, 6)))


def show(rows: Iterator[Row]) -> None:
    for what, seconds, reference, remark in rows:
        beside = f"{reference:14.3f} s {reference / seconds:8.1f}x" if reference else " " * 26
        print(f"{what:52} {seconds:6.3f} s {beside}  {remark}", flush=True)


if __name__ == "__main__":
    main()
