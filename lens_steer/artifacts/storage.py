"""Saving and loading what was captured or fitted: safetensors with a JSON header, never pickle."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, overload, runtime_checkable

import torch
from torch import Tensor

from lens_steer.arguments import FilePath, shortened
from lens_steer.artifacts.packing import packed, unpacked, with_names_of_today
from lens_steer.artifacts.registry import IN_ANALYSES, TYPES
from lens_steer.files import json_value, write_whole
from lens_steer.models import ModelDescription, SteerableModel, attach

_FORMAT = 1
_KEY = "lens_steer"


@runtime_checkable
class _Method(Protocol):
    """A steering method, whose file also says where it acts."""

    @property
    def sites(self) -> Iterable[Any]: ...

    def edits(self, model: SteerableModel) -> Any: ...


def save(thing: Any, path: FilePath) -> None:
    """Write a method, activations, statistics or a report to one file, whole or not at all.

    The header says in plain JSON what it is, its settings and hook names, the model it was made on
    (fingerprint, raw or processed weights, dtype), the versions and the seed: see `describe`.

    Args:
        thing: An object of a class that is `savable`.
        path: The file; an older one is replaced.

    Raises:
        ValueError: If it is not something lens_steer saves, the folder does not exist, or the file
            cannot be written (the disk is full, a folder is in the way); nothing is then changed.

    Example:
        >>> ls.save(caa, "sentiment.safetensors")
    """
    if TYPES.get(type(thing).__name__) is not type(thing):
        raise ValueError(
            f"got thing={shortened(thing)}, expected a value of lens_steer to save: a method, "
            "activations, scores, a mask, a barrier, Jacobians or a report. "
            "ContrastivePairs have a method of their own, pairs.save(path)"
        )
    if hasattr(thing, "check_savable"):
        thing.check_savable()
    tensors: dict[str, Tensor] = {}
    header: dict[str, Any] = {"format": _FORMAT, "content": packed(thing, "", tensors)}
    if isinstance(thing, _Method):
        header |= {"shown": repr(thing), "hook_names": [site.hook_name for site in thing.sites]}
    header["sha256"] = _digest(header, tensors)
    metadata = {_KEY: json.dumps(header, sort_keys=True, allow_nan=False)}
    write_whole(Path(path), partial(_write, tensors, metadata))


def _write(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:  # how it says that the disk is full
        raise OSError(str(error)) from error


def load(path: FilePath, model: SteerableModel | None = None) -> Any:
    """Read what `save` wrote.

    Args:
        path: The file.
        model: The model it is to be used on; None checks nothing.

    Returns:
        An object equal to the one that was saved, tensors bit by bit.

    Raises:
        ValueError: If the file is missing, damaged or not of lens_steer, holds what could not be
            used, shown or saved, or was made on another model than this one; the message says what
            differs.

    Example:
        >>> caa = ls.load("sentiment.safetensors", model)
    """
    file = Path(path)
    header, tensors = _read(file)
    content = with_names_of_today(header.get("content"))
    _check_class(content, file)
    try:
        thing = unpacked(content, tensors)
        _check_usable(thing, content, tensors)
    except Exception as error:  # whatever a class makes of values that it was never meant to have
        raise _unknown(file, error) from error
    if model is not None:
        _check_fits(thing, model, file)
    return thing


@overload
def describe(thing: FilePath) -> dict[str, Any]: ...


@overload
def describe(thing: SteerableModel) -> ModelDescription: ...


def describe(thing: FilePath | SteerableModel) -> dict[str, Any] | ModelDescription:
    """What a saved file holds, or what a model is.

    Args:
        thing: A file that `save` wrote, or a model.

    Returns:
        Of a file its header, by name: what it is, settings, hook names, model, versions, seed. Of a
        model one screen to print: architecture, sizes, dtype, where its weights come from, context
        and windows, special tokens, sinks, and what it was compared with when it was first used.

    Raises:
        ValueError: If the file is missing, damaged or not of lens_steer, or the model fails its
            first look.

    Example:
        >>> ls.describe("sentiment.safetensors")["hook_names"]
        ['blocks.3.hook_resid_post']
        >>> print(ls.describe(model))
    """
    if isinstance(thing, str | Path):
        return _read(Path(thing))[0]
    return ModelDescription.of(thing)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header, without its digest, and the tensors."""
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(path):
        raise ValueError(f"no file {str(path)!r}: expected one that lens_steer.save wrote")
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            # Clones lie where torch puts them: what is computed of them has the same last bit.
            tensors = {name: opened.get_tensor(name).clone() for name in list(opened.keys())}
        header = json_value(metadata[_KEY])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} is not a whole file of lens_steer ({error}): save it again"
        ) from error
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        version = header.get("format") if isinstance(header, dict) else header
        raise ValueError(
            f"{str(path)!r} has format {shortened(version)}, this version reads {_FORMAT}: "
            "use the version of lens_steer that wrote it"
        )
    if header.pop("sha256", None) != _digest(header, tensors):
        raise ValueError(
            f"{str(path)!r} is not a whole file of lens_steer (altered since it was saved): "
            "save it again"
        )
    return header, tensors


def _digest(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the header and of every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _check_class(content: Any, path: Path) -> None:
    """Raise a ValueError unless the file holds an object of a class that can be loaded."""
    name = content.get("type") if isinstance(content, dict) else content
    if isinstance(content, dict) and isinstance(name, str) and name in TYPES:
        return
    if isinstance(name, str) and name in IN_ANALYSES:
        raise ValueError(
            f"{str(path)!r} holds a {name}, whose class is now in {IN_ANALYSES[name]} of the "
            "repository of lens_steer, not in the package: import that module, then load again"
        )
    raise ValueError(
        f"{str(path)!r} holds {shortened(name)}, which this version does not know: "
        "use the version of lens_steer that wrote it"
    )


def _check_usable(thing: Any, content: Any, tensors: Mapping[str, Tensor]) -> None:
    """Raise an error unless a loaded object can be shown, and would be saved as it was."""
    tensors_again: dict[str, Tensor] = {}
    content_again = packed(thing, "", tensors_again)
    shown = repr(thing)
    if isinstance(thing, _Method):
        [site.hook_name for site in thing.sites]
    same = json.dumps(content_again, sort_keys=True, allow_nan=False) == json.dumps(
        content, sort_keys=True
    )
    if not same or set(tensors_again) != set(tensors):
        raise ValueError(f"{shown} would not be saved as it was")


def _check_fits(thing: Any, model: SteerableModel, path: Path) -> None:
    """Raise a ValueError if a loaded object was made on another model, or does not fit this one."""
    provenance = getattr(thing, "provenance", None)
    try:
        if provenance is not None:
            attach(model)  # also in a steered block, where the last look may be old
            provenance.check(model)
        if isinstance(thing, _Method):
            thing.edits(model)  # fits the model's shapes, wherever it comes from
    except ValueError:
        raise
    except Exception as error:  # as above
        raise _unknown(path, error) from error


def _unknown(path: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ValueError(
        f"{str(path)!r} holds something this version does not know ({reason[:300]}): use the "
        "version of lens_steer that wrote it"
    )
