"""Values as JSON and tensors, and back: what stands in a file of `save`.

Plain values stand for themselves; a number that is not finite, which JSON has not, is
`{"number": "nan"}`, "inf" or "-inf". Tuples and lists are lists. A tensor is `{"tensor": name}`, a
numpy array `{"array": name}`, an enum `{"enum": class, "value": ...}`, a dataclass
`{"type": class, "fields": {...}}`, a dictionary of plain values by name `{"map": {...}}`, and any
other dictionary `{"entries": [[key, value], ...]}`. Only classes of the registry are made again.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from math import inf, isfinite, nan
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lens_steer.artifacts.field_types import check_field_types
from lens_steer.artifacts.registry import NEWER_FIELDS, OLD_FIELDS, OLD_NAMES, TYPES

_PLAIN = str | int | float | bool | None
_NOT_FINITE = {repr(number): number for number in (nan, inf, -inf)}


def packed(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """JSON for a value.

    Args:
        value: What to save.
        place: Where it is, such as `gate.vectors.0`; empty for the whole.
        tensors: Receives copies of the tensors and arrays in it, by place.

    Raises:
        ValueError: If there is something else in it.
    """
    if isinstance(value, Tensor):
        tensors[place] = value.detach().cpu().clone().contiguous()
        return {"tensor": place}
    if isinstance(value, np.ndarray):
        tensors[place] = torch.from_numpy(value.copy(order="C"))
        return {"array": place}
    if isinstance(value, Enum):
        return {"enum": type(value).__name__, "value": value.value}
    if is_dataclass(value):
        inner = {
            f.name: packed(getattr(value, f.name), f"{place}.{f.name}".lstrip("."), tensors)
            for f in fields(value)
            if not f.metadata.get("saved_if_set") or getattr(value, f.name)
        }
        return {"type": type(value).__name__, "fields": inner}
    if isinstance(value, Mapping):
        return _packed_mapping(value, place, tensors)
    if isinstance(value, tuple | list):
        return [packed(item, f"{place}.{i}", tensors) for i, item in enumerate(value)]
    plain = value.item() if isinstance(value, np.generic) else value
    if not isinstance(plain, _PLAIN):
        raise ValueError(
            f"cannot save the {type(value).__name__} at {place!r}: expected tensors, arrays, plain "
            "values, savable objects, or tuples and dictionaries of these"
        )
    return plain if _in_json(plain) else {"number": repr(plain)}


def _in_json(value: Any) -> bool:
    """Whether JSON has this plain value."""
    return not isinstance(value, float) or isfinite(value)


def _packed_mapping(value: Mapping[Any, Any], place: str, tensors: dict[str, Tensor]) -> Any:
    plain = all(isinstance(item, _PLAIN) and _in_json(item) for item in value.values())
    if plain and all(type(key) is str for key in value):
        return {"map": dict(value)}
    inner = [
        [packed(key, f"{place}.{i}.key", tensors), packed(item, f"{place}.{i}", tensors)]
        for i, (key, item) in enumerate(value.items())
    ]
    return {"entries": inner}


def unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The value that JSON stands for; lists become tuples.

    Raises:
        Exception: Whatever a class raises that is made of values it was never meant to have.
    """
    if isinstance(value, list):
        return tuple(unpacked(item, tensors) for item in value)
    if not isinstance(value, dict):
        return value
    if "type" not in value:
        return _unpacked_value(value, tensors)
    inner = {name: unpacked(item, tensors) for name, item in value["fields"].items()}
    made = TYPES[value["type"]](**inner)
    check_field_types(made)
    return made


def _unpacked_value(value: dict[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    """What stands for anything but a plain value, a list or a dataclass."""
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "array" in value:
        return tensors[value["array"]].numpy()
    if "number" in value:
        return _NOT_FINITE[value["number"]]
    if "map" in value:
        return dict(value["map"])
    if "enum" in value:
        return TYPES[value["enum"]](value["value"])
    return {unpacked(key, tensors): unpacked(item, tensors) for key, item in value["entries"]}


def with_names_of_today(value: Any) -> Any:
    """The same JSON, in which classes and fields that were renamed are called what they are now.

    Fields that are newer than the file have the value that it was written with.
    """
    if isinstance(value, list):
        return [with_names_of_today(item) for item in value]
    if not isinstance(value, dict) or "map" in value:
        return value
    renamed = {
        name: OLD_NAMES.get(item, item)
        for name, item in value.items()
        if name in ("type", "enum") and isinstance(item, str)
    }
    today = {name: with_names_of_today(item) for name, item in value.items()} | renamed
    values = today.get("fields")
    if isinstance(values, dict):
        kind = str(today.get("type"))
        names, newer = OLD_FIELDS.get(kind, {}), NEWER_FIELDS.get(kind, {})
        today["fields"] = newer | {names.get(name, name): item for name, item in values.items()}
    return today
