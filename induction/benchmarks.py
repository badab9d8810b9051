"""Time this project's fast paths against the reference: ``python -m induction.benchmarks patch``.

Random weights of GPT-2 small's shape: speed and exactness do not depend on what the weights say, and nothing
has to be downloaded.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

D_VOCAB = 50257
REPEATS = 3  # the best counts: other work on the machine only slows down


def random_gpt2_small() -> TransformerBridge:
    """GPT-2 small's architecture (12 layers x 12 heads, 768 wide, fp32) with random weights and no tokenizer."""
    import torch
    from transformer_lens.model_bridge.sources import build_bridge_from_module
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    hf_model = GPT2LMHeadModel(GPT2Config(attn_implementation="eager")).eval().requires_grad_(False)
    return build_bridge_from_module(hf_model, "GPT2LMHeadModel", hf_config=hf_model.config, device="cpu")


def benchmark_patch(n_pos: int = 32) -> None:
    """All heads' outputs, all positions: TransformerLens's sweep, this one, and this one's memory."""
    import torch
    from transformer_lens import patching as transformer_lens

    from induction.interventions import PromptPair
    from induction.patching import patch_heads

    model = random_gpt2_small()
    print(
        f"{model.cfg.n_layers} layers x {model.cfg.n_heads} heads, {model.cfg.d_model} wide, fp32, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )

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
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            effect = patch_heads(model, [pair]).effects["logit_difference"]
            times.append(time.perf_counter() - start)
        ours[difference] = min(times)
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
    from induction.interventions import PromptPair
    from induction.patching import patch_heads

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
    parser = argparse.ArgumentParser(prog="python -m induction.benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("patch", help="patching sweep against TransformerLens's, and its memory")
    parser.parse_args(arguments)
    benchmark_memory()  # first: the peak of a process never falls
    benchmark_patch()


if __name__ == "__main__":
    main()
