"""Whether a value fits an annotation, at run time."""

import inspect
import sys
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, lru_cache, partial
from numbers import Integral, Real
from typing import (
    Annotated,
    Any,
    ForwardRef,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
    no_type_check,
)

import numpy as np
import torch
from jaxtyping import AbstractArray, jaxtyped
from torch import Tensor

Check = Callable[[Any], Any]


@dataclass(frozen=True)
class Expected:
    """What a value has to be beyond its type: `Annotated[int, Expected("a seed", at_least_0)]`.

    Attributes:
        words: What is expected, type included, as it follows "expected" in an error.
        fits: Whether a value of the type is that.
    """

    words: str
    fits: Check = field(default=bool, repr=False)  # a function says nothing in a signature


@dataclass(frozen=True)
class Accepts:
    """What a dataclass also takes for a field and converts: `Annotated[tuple[int, ...], ...]`.

    Attributes:
        hint: The annotation that arguments are held to; the field itself has the other one.
    """

    hint: Any


def resolved(function: Any) -> dict[str, Any]:
    """The annotations of a function's parameters, names in quotes looked up, `Annotated` kept.

    A name that is imported for type checkers only (of a library that is loaded when it is needed)
    stands for anything.
    """
    inner = inspect.unwrap(function)
    names = inner.__annotations__.items()
    return {
        name: _resolved_one(hint, inner.__globals__) for name, hint in names if name != "return"
    }


def _resolved_one(hint: Any, namespace: dict[str, Any]) -> Any:
    holder = types.SimpleNamespace(__annotations__={"hint": hint})
    try:
        hint = get_type_hints(holder, namespace, include_extras=True)["hint"]
    except NameError:
        return Any
    if isinstance(hint, TypeVar) and isinstance(hint.__bound__, ForwardRef):
        return _resolved_one(hint.__bound__.__forward_arg__, vars(sys.modules[hint.__module__]))
    return hint


def admits(hint: Any, value: Any) -> bool:
    """Whether a value fits an annotation.

    A number is neither True nor False, a list of texts is no text, and what is repeated is looked
    at to its end (an iterator is not: it would be used up). Tensors are held to dtype and axes.
    """
    return check_of(hint)(value)


@cache
def check_of(hint: Any) -> Check:
    """What says whether a value fits an annotation, made once."""
    if hint is Any or hint is object or hint is inspect.Parameter.empty:
        return _anything
    if isinstance(hint, TypeVar):
        return check_of(hint.__bound__ or Any)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _check_annotated(arguments)
    if origin in (Union, types.UnionType):
        return partial(_fits_one, [check_of(part) for part in arguments])
    if origin is Literal:
        return partial(_is_one_of, arguments)
    if origin is type:
        return partial(_is_subclass, arguments[0])
    if origin is None:
        return _check_class(hint)
    return _check_generic(origin, arguments)


def _check_annotated(arguments: tuple[Any, ...]) -> Check:
    if isinstance(arguments[1], Accepts):
        return check_of(arguments[1].hint)
    return partial(_fits_all, check_of(arguments[0]), arguments[1:])


def _check_class(hint: Any) -> Check:
    if hint is None:
        return partial(_is_a, types.NoneType)
    if inspect.isclass(hint) and issubclass(hint, StrEnum):
        return partial(_is_a, str)  # its parser names what there is
    if hint in _SCALARS:
        return partial(_is_a, _SCALARS[hint]) if hint in (bool, str) else partial(_is_number, hint)
    if is_typeddict(hint):
        return partial(_is_a, Mapping)
    if getattr(hint, "_is_protocol", False) and not getattr(hint, "_is_runtime_protocol", False):
        return _is_called
    if inspect.isclass(hint) and issubclass(hint, AbstractArray):
        return partial(_is_array, hint)
    if getattr(hint, "_is_protocol", False):
        return partial(_has_members, hint, set())
    return partial(_is_a, hint) if inspect.isclass(hint) else _anything


def _check_generic(origin: Any, arguments: tuple[Any, ...]) -> Check:
    if origin is Callable:
        return callable
    if origin is tuple and arguments[-1] is not ...:
        return partial(_is_tuple, [check_of(part) for part in arguments])
    if issubclass(origin, Mapping):
        return partial(_is_mapping, origin, check_of(arguments[0]), check_of(arguments[1]))
    if issubclass(origin, Iterable) and arguments:
        return partial(_is_many, origin, check_of(arguments[0]))
    return partial(_is_a, origin)


# What every call goes through is left out of the shape checks of the tests.
_SCALARS: dict[Any, Any] = {int: Integral, float: Real, bool: (bool, np.bool_), str: str}


@no_type_check
def _anything(_: Any) -> bool:
    return True


@no_type_check
def _is_a(kind: Any, value: Any) -> bool:
    return isinstance(value, kind)


@no_type_check
def _is_called(value: Any) -> bool:
    return callable(value) and not inspect.isclass(value)


@no_type_check
def _has_members(protocol: Any, admitted: set[type], value: Any) -> bool:
    if type(value) in admitted:  # looking for every member takes long
        return True
    fits = isinstance(value, protocol) and not inspect.isclass(value)
    if fits:
        admitted.add(type(value))
    return fits


@no_type_check
def _is_array(hint: Any, value: Any) -> bool:
    if not isinstance(value, Tensor):
        return isinstance(value, hint.array_type) and _fits(hint, value)
    return hint.array_type is Tensor and _fits_shape(hint, value.dtype, tuple(value.shape))


@lru_cache(maxsize=4096)
def _fits_shape(hint: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> bool:
    return _fits(hint, torch.empty(shape, dtype=dtype, device="meta"))


def _fits(hint: Any, value: Any) -> bool:
    with jaxtyped("context"):  # the sizes of another function's axes are not this one's
        return isinstance(value, hint)


@no_type_check
def _is_number(kind: type, value: Any) -> bool:
    if type(value) is kind:  # at once, without asking the abstract class
        return True
    return isinstance(value, _SCALARS[kind]) and not isinstance(value, bool)


@no_type_check
def _is_one_of(options: tuple[Any, ...], value: Any) -> bool:
    return any(type(value) is type(option) and value == option for option in options)


@no_type_check
def _is_subclass(parent: Any, value: Any) -> bool:
    return inspect.isclass(value) and (parent is Any or issubclass(value, parent))


@no_type_check
def _fits_all(check: Check, conditions: tuple[Any, ...], value: Any) -> bool:
    return check(value) and all(c.fits(value) for c in conditions if isinstance(c, Expected))


@no_type_check
def _fits_one(checks: list[Check], value: Any) -> bool:
    return any(check(value) for check in checks)


@no_type_check
def _is_tuple(checks: list[Check], value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == len(checks)
        and all(check(part) for check, part in zip(checks, value, strict=True))
    )


@no_type_check
def _is_mapping(kind: type, key: Check, part: Check, value: Any) -> bool:
    return isinstance(value, kind) and all(key(k) and part(v) for k, v in value.items())


@no_type_check
def _is_many(kind: type, check: Check, value: Any) -> bool:
    if not isinstance(value, kind) or isinstance(value, str | bytes | Tensor):
        return False
    return not isinstance(value, Collection) or all(check(part) for part in value)
