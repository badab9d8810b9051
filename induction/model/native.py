"""Models of this project's own on disk: safetensors, a configuration, a tokenizer, nothing that executes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from induction.base import InputError, damaged, is_out_of_memory, too_large

if TYPE_CHECKING:
    import torch
    from transformer_lens.model_bridge import TransformerBridge

FORMAT = "induction-native/1"


def save_native(folder: Path, config: dict[str, Any], state: dict[str, torch.Tensor]) -> None:
    """Write weights and configuration; the tokenizer is saved beside them by its own ``save_pretrained``.

    Args:
        config: arguments of ``TransformerBridgeConfig``.
        state: parameters under the names of TransformerLens's ``NativeModel``.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"format": FORMAT, **config}, indent=1) + "\n")


def is_native(folder: Path) -> bool:
    """Whether a folder's configuration says that :func:`save_native` wrote it."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("format") == FORMAT


def load_native(folder: Path, device: str = "cpu") -> TransformerBridge:
    """Load a model written by :func:`save_native`: fp32, eval mode, no gradient.

    Raises:
        InputError: files are missing, damaged, or do not belong together.
    """
    from safetensors.torch import load_file
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer

    if not is_native(folder):
        raise InputError(f"{folder.name} is not a model of this project; train or fetch it again.")
    try:
        config = json.loads((folder / "config.json").read_text())
        del config["format"]
        state = load_file(folder / "model.safetensors")
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = TransformerBridge.boot_native(
            TransformerBridgeConfig(**config), tokenizer=tokenizer, device=device
        )
        _fill(model, state)
    except Exception as error:  # files that do not belong together fail in as many ways as there are parts
        raise (too_large(folder.name) if is_out_of_memory(error) else damaged(folder.name, error)) from error
    model.eval()
    model.requires_grad_(False)
    return model


def _fill(model: TransformerBridge, state: dict[str, torch.Tensor]) -> None:
    """Copy the weights in, each exactly once.

    Raises:
        ValueError: names differ.
        RuntimeError: shapes differ.
    """
    wrapper = "._original_component"  # the bridge wraps each part of the native model
    parameters = {name.replace(wrapper, ""): part for name, part in model.original_model.named_parameters()}
    if parameters.keys() != state.keys():
        raise ValueError(f"weights differ in {sorted(parameters.keys() ^ state.keys())[:3]}")
    for name, parameter in parameters.items():
        if parameter.shape != state[name].shape:  # copy_ alone would broadcast
            raise ValueError(f"{name} has shape {tuple(state[name].shape)}")
        parameter.data.copy_(state[name])
