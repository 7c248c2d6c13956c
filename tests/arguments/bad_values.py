"""Bad values for a parameter, by rule from its annotation: what a user may pass by mistake."""

import inspect
import math
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np
import torch
from jaxtyping import AbstractArray

NEVER_NEGATIVE = {
    "batch_size",
    "components",
    "draws",
    "folds",
    "k",
    "layer",
    "max_new_tokens",
    "n",
    "n_random",
    "rank",
    "resamples",
    "seed",
    "splits",
    "steps",
    "token_budget",
    "top_k",
}
FINITE = {"angle", "angles", "delta", "kl", "radius", "setpoint", "strength", "temperature"}

WRONG_SCALARS: dict[Any, list[Any]] = {
    int: [1.5, "3", math.nan],
    float: ["0.5", [1.0]],
    bool: ["yes", 2],
    str: [3, ["a"]],
}


def bad_values(name: str, hint: Any) -> list[Any]:
    """Values that the parameter cannot mean; empty where it takes anything."""
    parts = _parts(hint)
    if not parts or any(part in (Any, object, inspect.Parameter.empty) for part in parts):
        return []
    wrong: list[Any] = [] if types.NoneType in parts else [None]
    for part in parts:
        wrong += _wrong_for(name, part)
    return [value for value in wrong if not any(_may_be(part, value) for part in parts)]


def _parts(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Annotated:
        return _parts(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(part for arm in get_args(hint) for part in _parts(arm))
    if isinstance(hint, TypeVar):
        return _parts(hint.__bound__) if hint.__bound__ else ()
    return (types.NoneType if hint is None else hint,)


def _wrong_for(name: str, part: Any) -> list[Any]:
    origin = get_origin(part)
    if inspect.isclass(part) and issubclass(part, StrEnum):
        return [3.5, 0]  # any text goes to its parser
    if part in (int, float, bool, str):
        more: list[Any] = [-1] if part is int and name in NEVER_NEGATIVE else []
        more += [math.nan, math.inf] if part is float and name in FINITE else []
        return [*WRONG_SCALARS[part], *more]
    if origin is Literal:
        return ["nonsense", 3.5]
    if inspect.isclass(part) and issubclass(part, AbstractArray):
        return [[1.0], "x", torch.ones(1, dtype=torch.complex64), np.ones(3)]
    if origin is not None and inspect.isclass(origin) and issubclass(origin, Iterable):
        return [3, "abc", object()]
    if part is types.NoneType or origin is type:
        return []
    concrete = inspect.isclass(part) and not getattr(part, "_is_protocol", False)
    return ["something", 3.5, *([part] if concrete else [])]


def _may_be(part: Any, value: Any) -> bool:
    """Whether a value that is bad for one alternative would be right for this one."""
    origin = get_origin(part)
    if part in (int, float):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and (part is float or isinstance(value, int) or value == value // 1)
    if part is str:
        return isinstance(value, str)
    if origin is Literal:
        return value in get_args(part)
    if inspect.isclass(part) and issubclass(part, AbstractArray):
        kind = np.ndarray if part.array_type is np.ndarray else torch.Tensor
        return isinstance(value, kind) and part.array_type is np.ndarray
    if origin is Callable:
        return callable(value)
    if origin is not None and inspect.isclass(origin) and issubclass(origin, Collection | Mapping):
        return isinstance(value, list) and bool(get_args(part)) and get_args(part)[0] is float
    if getattr(part, "_is_protocol", False):
        return callable(value) and not inspect.isclass(value)
    return inspect.isclass(part) and not inspect.isclass(value) and isinstance(value, part)
