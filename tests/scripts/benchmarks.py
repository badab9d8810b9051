"""Time this project's fast paths against the reference: ``python tests/scripts/benchmarks.py scan`` or ``patch``.

Random weights of GPT-2 small's shape: speed and exactness do not depend on what the weights say, and nothing
has to be downloaded. All times of a table come from one process, the best of several runs.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "support")]

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from transformer_lens.model_bridge import TransformerBridge

D_VOCAB = 50257
REPEATS, SHORTEST = 3, 2.0  # the best counts: other work on the machine only slows down


def random_gpt2_small() -> TransformerBridge:
    """GPT-2 small's architecture (12 layers x 12 heads, 768 wide, fp32) with random weights and no tokenizer."""
    import torch
    from transformer_lens.model_bridge.sources import build_bridge_from_module
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    hf_model = GPT2LMHeadModel(GPT2Config(attn_implementation="eager")).eval().requires_grad_(False)
    return build_bridge_from_module(hf_model, "GPT2LMHeadModel", hf_config=hf_model.config, device="cpu")


def describe(model: TransformerBridge) -> str:
    import torch

    return (
        f"{model.cfg.n_layers} layers x {model.cfg.n_heads} heads, {model.cfg.d_model} wide, fp32, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )


def best_time(work: Callable[[], object]) -> float:
    """Seconds of the fastest run, of ``REPEATS`` or of what fits into ``SHORTEST`` seconds."""
    times: list[float] = []
    while len(times) < REPEATS or sum(times) < SHORTEST:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def benchmark_scan(n_prompts: int = 10, length: int = 50) -> None:
    """Three kinds of heads over the same prompts: TransformerLens's ``detect_head`` and the scan."""
    from transformer_lens.head_detector import detect_head

    from induction.analysis.scanning import scan
    from induction.data_gen.sequences import repeated_batch
    from induction.model import load_model

    kinds = {
        "induction": "induction_head",
        "duplicate_token": "duplicate_token_head",
        "previous_token": "previous_token_head",
    }
    mini, large = load_model("mini-2l"), random_gpt2_small()
    large.tokenizer = mini.tokenizer  # its prompts use the first 1,024 tokens
    print(
        f"{n_prompts} prompts of BOS + 2 x {length} tokens (varied by a fifth), {len(kinds)} kinds of heads"
    )
    for name, model in (("mini-2l", mini), ("GPT-2 small's shape", large)):
        batch = repeated_batch(model, n_prompts=n_prompts, length=length, seed=0)
        prompts = [torch_row(batch.prompt(row)) for row in range(n_prompts)]
        own_tokens = model.to_tokens
        model.to_tokens = lambda text, prompts=prompts: prompts[int(text)]  # detect_head takes text alone

        def reference(share_cache: bool, model=model, prompts=prompts) -> None:
            for row, tokens in enumerate(prompts):
                cache = model.run_with_cache(tokens, remove_batch_dim=True)[1] if share_cache else None
                for kind in kinds.values():
                    detect_head(model, str(row), kind, cache=cache)

        def ours(loss: bool, model=model) -> None:
            scan(model, n_prompts=n_prompts, length=length, scores=tuple(kinds), loss=loss)

        ours(True)  # warm up
        detect, shared = (best_time(partial(reference, share)) for share in (False, True))
        print(f"\n{name}: {describe(model)}")
        print(f"detect_head, as it is             {detect:8.3f} s")
        print(f"detect_head, one cache per prompt {shared:8.3f} s")
        for label, loss in (("scan, the same three scores", False), ("scan, and the loss by position", True)):
            seconds = best_time(partial(ours, loss))
            print(f"{label:33} {seconds:8.3f} s  {detect / seconds:5.1f}x  {shared / seconds:5.1f}x")
        model.to_tokens = own_tokens


def torch_row(tokens: NDArray[np.int64]) -> torch.Tensor:
    """``[1, pos]``."""
    import torch

    return torch.from_numpy(tokens)[None]


def benchmark_patch(n_pos: int = 32) -> None:
    """All heads' outputs, all positions: TransformerLens's sweep, this one, and this one's memory."""
    import torch
    from transformer_lens import patching as transformer_lens

    from induction.data_gen.pairs import PromptPair
    from induction.patching.heads import patch_heads

    model = random_gpt2_small()
    print(describe(model))

    def a_pair(length: int, difference: int) -> PromptPair:
        generator = torch.Generator().manual_seed(length)
        clean = torch.randint(D_VOCAB, (length,), generator=generator).tolist()
        corrupted = [*clean[:difference], (clean[difference] + 1) % D_VOCAB, *clean[difference + 1 :]]
        labels = tuple(map(str, clean))
        return PromptPair(
            tuple(clean),
            tuple(corrupted),
            answer=1,
            distractor=2,
            clean_labels=labels,
            corrupted_labels=tuple(map(str, corrupted)),
        )

    patch_heads(model, [a_pair(8, 4)])  # warm up
    differences = (1, n_pos // 4, n_pos // 2)
    ours: dict[int, float] = {}
    reference, apart = [], {}
    for difference in differences:
        pair = a_pair(n_pos, difference)
        ours[difference] = best_time(partial(patch_heads, model, [pair]))
        effect = patch_heads(model, [pair]).effects["logit_difference"]
        start = time.perf_counter()
        with torch.no_grad():
            _, cache = model.run_with_cache(torch.tensor([pair.clean]))
            expected = transformer_lens.get_act_patch_attn_head_out_all_pos(
                model,
                torch.tensor([pair.corrupted]),
                cache,
                lambda logits: logits[0, -1, 1] - logits[0, -1, 2],
            )
        reference.append(time.perf_counter() - start)
        apart[difference] = float((expected - torch.tensor(effect.patched[0])).abs().max())
    print(f"\nTransformerLens: {min(reference):.1f} s for {n_pos} tokens (best of {len(reference)})")
    print(
        f"prompts differ from position  induction (best of {REPEATS})  speed-up  largest difference (logits)"
    )
    for difference in differences:
        factor = min(reference) / ours[difference]
        print(f"{difference:28}  {ours[difference]:19.2f} s  {factor:7.1f}x  {apart[difference]:.1e}")


def benchmark_memory(n_pos: int = 128) -> None:
    """Peak memory of a sweep over long prompts, above the model's own."""
    from induction.data_gen.pairs import PromptPair
    from induction.patching.heads import patch_heads

    model = random_gpt2_small()
    clean = tuple(range(n_pos))
    pair = PromptPair(clean, (n_pos, *clean[1:]), 1, 2, clean_labels=("",), corrupted_labels=("",))
    before = _resident_bytes()
    start = time.perf_counter()
    patch_heads(model, [pair])
    seconds, extra = time.perf_counter() - start, _peak_bytes() - before
    print(
        f"{n_pos} tokens that differ from the first on: {seconds:.1f} s, {extra / 2**20:.0f} MiB above the model's"
    )


def _peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _resident_bytes() -> int:
    """Memory in use now; where the system does not tell, the peak so far, which loading the model may have set."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * resource.getpagesize() if statm.exists() else _peak_bytes()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python tests/scripts/benchmarks.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("scan", help="scan of three kinds of heads against detect_head")
    commands.add_parser("patch", help="patching sweep against TransformerLens's, and its memory")
    if parser.parse_args(arguments).command == "scan":
        benchmark_scan()
    else:
        benchmark_memory()  # first: the peak of a process never falls
        benchmark_patch()


if __name__ == "__main__":
    main()
