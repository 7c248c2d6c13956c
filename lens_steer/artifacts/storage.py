"""Saving and loading what was captured or fitted: safetensors with a JSON header, never pickle."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from lens_steer.artifacts.field_types import check_field_types
from lens_steer.artifacts.registry import IN_ANALYSES, OLD_NAMES, TYPES
from lens_steer.files import json_value, write_whole
from lens_steer.models import SteerableModel, attach

_FORMAT = 1
_KEY = "lens_steer"


@runtime_checkable
class _Steers(Protocol):
    """What a file says more of: a method, which says where it acts."""

    @property
    def sites(self) -> Iterable[Any]: ...

    def edits(self, model: SteerableModel) -> Any: ...


def save(thing: Any, path: str | Path) -> None:
    """Write a method, activations or statistics to one file, whole or not at all.

    The header says in plain JSON what it is, its settings and hook names, the model it was made on
    (fingerprint, raw or processed weights, dtype), the versions and the seed: see `describe`.

    Raises:
        ValueError: If it is not something lens_steer saves, the folder does not exist, or the file
            cannot be written (the disk is full, a folder is in the way); nothing is then changed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if TYPES.get(type(thing).__name__) is not type(thing):
        known = ", ".join(TYPES)
        raise ValueError(f"cannot save a {type(thing).__name__}: expected one of {known}")
    if hasattr(thing, "check_savable"):
        thing.check_savable()
    tensors: dict[str, Tensor] = {}
    header: dict[str, Any] = {"format": _FORMAT, "content": _packed(thing, "", tensors)}
    if isinstance(thing, _Steers):
        header |= {"shown": repr(thing), "hook_names": [site.hook_name for site in thing.sites]}
    header["sha256"] = _digest(header, tensors)
    metadata = {_KEY: json.dumps(header, sort_keys=True, allow_nan=False)}

    def write(place: Path) -> None:
        try:
            save_file(tensors, place, metadata=metadata)
        except SafetensorError as error:  # how it says that the disk is full
            raise OSError(str(error)) from error

    write_whole(Path(path), write)


def load(path: str | Path, model: SteerableModel | None = None) -> Any:
    """Read what `save` wrote.

    Args:
        model: The model it is to be used on; None checks nothing.

    Raises:
        ValueError: If the file is missing, damaged or not of lens_steer, holds what could not be
            used, shown or saved, or was made on another model than this one; the message says what
            differs.
    """
    header, tensors = _read(Path(path))
    content = header.get("content")
    if not isinstance(content, dict) or not _known(content.get("type")):
        found = content.get("type") if isinstance(content, dict) else content
        if isinstance(found, str) and found in IN_ANALYSES:
            raise ValueError(
                f"{str(path)!r} holds a {found}, whose class is now in {IN_ANALYSES[found]} of the "
                "repository of lens_steer, not in the package: import that module, then load again"
            )
        raise ValueError(
            f"{str(path)!r} holds {found!r}, which this version does not know: "
            "use the version of lens_steer that wrote it"
        )
    thing = _unpacked(content, tensors, Path(path))
    _check_usable(thing, header, tensors, Path(path))
    if model is not None:
        _check_fits(thing, model, Path(path))
    return thing


def describe(path: str | Path) -> dict[str, Any]:
    """The header of a saved file: what it is, settings, hook names, model, versions, seed."""
    return _read(Path(path))[0]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(path):
        raise ValueError(f"no file {str(path)!r}: expected one that lens_steer.save wrote")
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        # Copies lie where torch puts them, so that what is computed of them has the same last bit.
        tensors = {name: tensor.clone() for name, tensor in found.items()}
        header = json_value(metadata[_KEY])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} is not a whole file of lens_steer ({error}): save it again"
        ) from error
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        found = header.get("format") if isinstance(header, dict) else header
        raise ValueError(
            f"{str(path)!r} has format {found}, this version reads {_FORMAT}: "
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
    found = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _packed(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """JSON for a value; tensors are put aside under the name of their place."""
    if isinstance(value, Tensor):
        tensors[place] = value.detach().cpu().clone().contiguous()
        return {"tensor": place}
    if isinstance(value, np.ndarray):
        tensors[place] = torch.from_numpy(np.ascontiguousarray(value).copy())
        return {"array": place}
    if isinstance(value, Enum):
        return {"enum": type(value).__name__, "value": value.value}
    if is_dataclass(value):
        inner = {
            f.name: _packed(getattr(value, f.name), f"{place}.{f.name}".lstrip("."), tensors)
            for f in fields(value)
        }
        return {"type": type(value).__name__, "fields": inner}
    if isinstance(value, Mapping):
        if all(isinstance(item, str | int | float | bool | None) for item in value.values()):
            return {"map": dict(value)}
        inner = [
            [key, _packed(item, f"{place}.{i}", tensors)]
            for i, (key, item) in enumerate(value.items())
        ]
        return {"entries": inner}
    if isinstance(value, tuple | list):
        return [_packed(item, f"{place}.{i}", tensors) for i, item in enumerate(value)]
    return value


def _unpacked(value: Any, tensors: dict[str, Tensor], path: Path) -> Any:
    if isinstance(value, list):
        return tuple(_unpacked(item, tensors, path) for item in value)
    if not isinstance(value, dict):
        return value
    try:
        if "tensor" in value:
            return tensors[value["tensor"]]
        if "array" in value:
            return tensors[value["array"]].numpy()
        if "map" in value:
            return dict(value["map"])
        if "enum" in value:
            return _named_type(value["enum"])(value["value"])
        return _compound(value, tensors, path)
    except Exception as error:  # whatever a class makes of values that it was never meant to have
        raise _unknown(path, error) from error


def _compound(value: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> Any:
    """A dictionary, or an object of a class."""
    if "entries" in value:
        return {
            _unpacked(key, tensors, path): _unpacked(item, tensors, path)
            for key, item in value["entries"]
        }
    inner = {name: _unpacked(item, tensors, path) for name, item in value["fields"].items()}
    made = _named_type(value["type"])(**inner)
    check_field_types(made)
    return made


def _known(name: Any) -> bool:
    return isinstance(name, str) and OLD_NAMES.get(name, name) in TYPES


def _named_type(name: str) -> type:
    return TYPES[OLD_NAMES.get(name, name)]


def _check_usable(
    thing: Any, header: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path
) -> None:
    """Raise a ValueError unless it can be shown, and would be saved as it was."""
    again: dict[str, Tensor] = {}
    try:
        content = _packed(thing, "", again)
        shown = repr(thing)
        if isinstance(thing, _Steers):
            [site.hook_name for site in thing.sites]
        same = json.dumps(content, sort_keys=True, allow_nan=False) == json.dumps(
            header["content"], sort_keys=True
        )
    except Exception as error:  # as above
        raise _unknown(path, error) from error
    if not same or set(again) != set(tensors):
        raise _unknown(path, ValueError(f"{shown} would not be saved as it was"))


def _check_fits(thing: Any, model: SteerableModel, path: Path) -> None:
    source = getattr(thing, "provenance", None)
    try:
        if source is not None:
            attach(model)  # in a steered block as well, whose look may be old
            source.check(model)
        if isinstance(thing, _Steers):
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
