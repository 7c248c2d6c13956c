"""GGUF files: Hugging Face's own reading of them, with weights that are plain numbers again."""

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lens_steer.models.protocol import ModelRefused

_PLAIN = ("F32", "F16", "BF16")
_WANTED = "a whole GGUF file of a language model, as llama.cpp writes it"


def is_gguf(path: Path) -> bool:
    """Whether a path is named as GGUF files are."""
    return path.suffix.lower() == ".gguf"


def model_of_gguf(path: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """Hugging Face's model of a GGUF file, and its tokenizer.

    Weights are dequantised to `dtype`: the model is not a quantised one any more, and its
    configuration says in `dequantised_from` which format it came from, such as `Q4_1`.

    Args:
        path: The file.
        dtype: Of the weights.

    Returns:
        The model on the CPU, in evaluation mode, and the tokenizer.

    Raises:
        ModelRefused: If the package `gguf` is missing, or the file is no GGUF file, is not whole,
            lacks weights, or is of an architecture that transformers does not read.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ModelRefused(
            f"cannot load {str(path)!r}: reading GGUF files needs the package gguf: "
            "pip install 'lens_steer[gguf]'"
        )
    quantised = _quantised_format(path)
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(**place)
        classes: Any = AutoModelForCausalLM
        model, report = classes.from_pretrained(
            **place,
            dtype=dtype,
            attn_implementation="eager",  # as TransformerLens loads every model
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
        )
    except Exception as error:  # whatever the readers of a damaged or unknown file raise
        raise _refused(path, f"transformers cannot read it ({_first_line(error)})") from error
    lacking = [*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])]
    if lacking:
        raise _refused(path, f"it does not hold {len(lacking)} weights, such as {min(lacking)}")
    if hasattr(model.config, "quantization_config"):  # which would make it pass for a quantised one
        del model.config.quantization_config
    model.config.architectures = [type(model).__name__]
    if quantised is not None:
        model.config.dequantised_from = quantised
    return model.eval(), tokenizer


@contextmanager
def on_disk(tokenizer: Any) -> Iterator[Any]:
    """The same tokenizer out of a directory, which is there until the block ends.

    TransformerLens reads every tokenizer that it is given once more, from where it came from, and
    does not know how that is done with a GGUF file.
    """
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory(prefix="tokenizer-") as directory:
        tokenizer.save_pretrained(directory)
        yield AutoTokenizer.from_pretrained(directory)


def _quantised_format(path: Path) -> str | None:
    """The format that a file says its weights are in, such as `Q4_K_M`; None for plain numbers.

    Raises:
        ModelRefused: If its header cannot be read.
    """
    from gguf import LlamaFileType
    from transformers.integrations.gguf.reader import read_gguf_metadata

    try:
        metadata, _ = read_gguf_metadata(str(path))
        kind = metadata.get("general.file_type")
        name = "GGUF" if kind is None else LlamaFileType(kind).name
    except Exception as error:  # whatever a reader of bytes makes of other bytes
        raise _refused(path, f"its header cannot be read ({_first_line(error)})") from error
    name = name.removeprefix("MOSTLY_").removeprefix("ALL_")
    return None if name in _PLAIN else name


def _refused(path: Path, reason: str) -> ModelRefused:
    return ModelRefused(
        f"cannot load {str(path)!r}: {reason}; expected {_WANTED}: download it again, or load the "
        "checkpoint in the Hugging Face format"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
