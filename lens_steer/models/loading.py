"""Loading a model, as either model class, by name, from a Hugging Face directory or a GGUF file."""

import os
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import torch

from lens_steer import organism
from lens_steer.files import json_file
from lens_steer.models.attachment import attach
from lens_steer.models.checkpoints import (
    check_complete,
    check_decoder,
    check_no_install,
    check_requirements,
    no_processes,
)
from lens_steer.models.gguf_files import is_gguf, model_of_gguf, on_disk
from lens_steer.models.hooked_models import hooked_from_directory, hooked_from_gguf, hooked_from_hub
from lens_steer.models.named_models import NAMED_MODELS, named_directory
from lens_steer.models.protocol import ModelRefused, SteerableModel
from lens_steer.models.special_tokens import beginning

_CONFIGS = ("config.json", "generation_config.json", "tokenizer_config.json")


def load_model(
    name: str | Path,
    *,
    backend: Literal["bridge", "hooked"] = "bridge",
    device: str | torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> SteerableModel:
    """Load a language model with its raw weights, as Hugging Face runs it.

    Args:
        name: `organism` (the embedded model), a hub name (`gpt2`), a local directory in the
            Hugging Face format, a GGUF file (`model.gguf`, its weights dequantised to `dtype`), or
            `smollm2` or `gemma3`, which `make models` brings (see `fetch`).
        backend: `bridge` for a TransformerBridge, `hooked` for a HookedTransformer (TransformerLens
            3.9).
        device: `cpu`, `cuda`, `cuda:1`, `mps`; None is CUDA where there is one, else the CPU.
        dtype: Of the weights; statistics are float32 in any case.

    Returns:
        The model, checked. Every function of lens_steer takes it, and also takes models that you
        made yourself.

    Raises:
        ValueError: If nothing of that name can be loaded, a GGUF file is not whole or the package
            gguf is missing, the embedded weights are not as they were shipped, it is an
            encoder-decoder (T5) or an adapter (LoRA), this machine has no such device, the
            installed version of TransformerLens
            does not support the backend, loading asks for a process to be started (for text and
            images: `pip install torchvision`), or the model fails the check of `attach`, that its
            logits are those of Hugging Face, with a cache and without.

    Example:
        >>> model = ls.load_model("gpt2", device="cuda", dtype=torch.bfloat16)
        >>> model = ls.load_model("organism", backend="hooked")
        >>> model = ls.load_model("model.gguf")
    """
    if backend not in ("bridge", "hooked"):
        raise ValueError(f"backend {backend!r}: expected 'bridge' or 'hooked'")
    place = available_device(device)
    found = model_directory(name)
    load = _loader(found, hooked=backend == "hooked")
    model = _or_value_error(name, lambda: load(str(found or name), place, dtype))
    attach(model)
    return model


def _loader(found: Path | None, *, hooked: bool) -> Callable[[str, torch.device, torch.dtype], Any]:
    """What loads a hub name (None), a GGUF file or a directory."""
    if found is None:
        return hooked_from_hub if hooked else _bridge
    if is_gguf(found):
        return hooked_from_gguf if hooked else _bridge_of_gguf
    return hooked_from_directory if hooked else _bridge


def available_device(device: str | torch.device | None) -> torch.device:
    """The device of that name; None is CUDA where there is one, else the CPU.

    Raises:
        ValueError: If this machine has no such device.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device {device!r} is not one: expected cpu, cuda, cuda:1 or mps"
        ) from error
    count = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }.get(place.type, 0)
    if (place.index or 0) >= count:
        raise ValueError(
            f"device {str(place)!r} is not on this machine, which has {count} of that type: use cpu"
        )
    return place


def model_directory(name: str | Path) -> Path | None:
    """The local directory, or GGUF file, that the name of a model means; None for a hub name.

    Raises:
        ValueError: If there is no such directory or file, a named model was not fetched yet, or the
            directory has no configuration in JSON.
    """
    if name == "organism":
        return organism.weights()
    if name in NAMED_MODELS:
        return named_directory(str(name))
    path = Path(name).expanduser()
    if os.path.isdir(path):  # False, where Path.is_dir raises: for a name that is too long
        return _checked_directory(path)
    if os.path.isfile(path) and is_gguf(path):
        return path.resolve()
    if is_gguf(path):
        raise ValueError(f"no file {str(name)!r}: expected the path of a GGUF file")
    if (
        path.is_absolute()
        or str(name).startswith((".", "~"))
        or str(name).count("/") > 1
        or not str(name).strip()
    ):
        raise ValueError(
            f"no directory {str(name)!r}: expected a local model directory or a hub name"
        )
    _refuse_misspelt(str(name))
    return None


def _refuse_misspelt(name: str) -> None:
    """Refuse what is nearly one of our own names: the hub would be asked for minutes in vain."""
    near = get_close_matches(name.lower(), ("organism", *NAMED_MODELS), n=1, cutoff=0.88)
    if near:
        raise ValueError(
            f"no model {name!r}: did you mean {near[0]!r}? Expected 'organism', "
            f"{', '.join(map(repr, NAMED_MODELS))}, a local directory, a GGUF file or a hub name"
        )


def _checked_directory(path: Path) -> Path:
    """The directory, resolved, if it holds a model and its configuration is JSON."""
    _refuse_adapter(path)
    config = path / "config.json"
    if not config.is_file():
        raise ValueError(
            f"{path} has no config.json: expected a directory in the Hugging Face format"
        )
    for file in filter(Path.is_file, (path / name for name in _CONFIGS)):
        if not isinstance(json_file(file), dict):
            raise ValueError(f"{file} is not JSON of an object: is the download complete?")
    return path.resolve()


def _refuse_adapter(path: Path) -> None:
    """Refuse a directory of an adapter (LoRA and the like), which holds no model."""
    file = path / "adapter_config.json"
    if not file.is_file() or (path / "config.json").is_file():
        return
    settings = json_file(file)
    named = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    base = named or "the base model"
    raise ModelRefused(
        f"{path} holds an adapter of {base} (adapter_config.json), no model: "
        "merge it once with the package peft, then load the merged folder: "
        f"AutoPeftModelForCausalLM.from_pretrained({str(path)!r}).merge_and_unload()"
        ".save_pretrained('merged'), then copy the tokenizer's files there: "
        f"AutoTokenizer.from_pretrained({str(base)!r}).save_pretrained('merged')"
    )


def _or_value_error(name: str | Path, load: Callable[[], Any]) -> Any:
    """The loaded model; whatever error the loader raises becomes a ValueError."""
    import_module("transformer_lens")  # before processes are refused: it may ask for `uname`
    try:
        # loaders draw weights at random, then overwrite them
        with no_processes() as refused, torch.random.fork_rng(devices=[]):
            model = load()
    except ModelRefused:
        raise
    except BaseException as error:  # damaged files raise whatever the libraries that read them do
        # A reader that is written in Rust panics with a BaseException of this name.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"cannot load {str(name)!r}: {shorten(first, 500)} "
            "(expected a local directory in the Hugging Face format, a GGUF file, or a hub name "
            "and a network)"
        ) from error
    check_no_install(str(name), refused)
    return model


def _bridge(name: str, device: torch.device, dtype: torch.dtype) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    check_decoder(name)
    check_requirements(name)
    check_complete(name)
    return TransformerBridge.boot_transformers(name, device=str(device), dtype=dtype)


def _bridge_of_gguf(name: str, device: torch.device, dtype: torch.dtype) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    original, tokenizer = model_of_gguf(Path(name), dtype)
    with on_disk(tokenizer) as saved:
        model: Any = TransformerBridge.boot_transformers(
            name, hf_model=original.to(device), tokenizer=saved, device=str(device), dtype=dtype
        )
        beginning(model)  # it remembers what the published tokenizer writes
    return model
