"""An annotation, and a value, as they read in an error."""

import inspect
import reprlib
import types
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np
from jaxtyping import AbstractArray
from torch import Tensor

from lens_steer.arguments.hints import Accepts, Expected


def in_words(hint: Any) -> str:
    """An annotation as it reads in an error: "a list of whole numbers", "a number or None"."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated and isinstance(arguments[1], Accepts):
        return in_words(arguments[1].hint)
    if origin is Annotated:
        words = [extra.words for extra in arguments[1:] if isinstance(extra, Expected)]
        return words[-1] if words else in_words(arguments[0])
    if origin in (Union, types.UnionType):
        return _alternatives(arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if isinstance(hint, TypeVar):
        return in_words(hint.__bound__ or Any)
    if origin is None:
        return _class_in_words(hint)
    return _generic_in_words(origin, arguments)


def _alternatives(parts: Sequence[Any]) -> str:
    words = list(dict.fromkeys(in_words(part) for part in parts))
    if int in parts and float in parts:
        words.remove("a whole number")
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _class_in_words(hint: Any) -> str:
    if hint in _WORDS:
        return _WORDS[hint]
    if inspect.isclass(hint) and issubclass(hint, StrEnum):
        return "one of " + ", ".join(repr(str(option)) for option in hint)
    if inspect.isclass(hint) and issubclass(hint, AbstractArray):
        axes = getattr(hint, "dim_str", "")
        kind = {"Float": "a floating-point", "Int": "an integer", "Bool": "a boolean"}
        name = kind.get(hint.__name__.split("[")[0], "a")
        return f"{name} {'array' if hint.array_type is np.ndarray else 'tensor'} [{axes}]"
    name = getattr(hint, "__name__", str(hint))
    if name in _NAMES:
        return _NAMES[name]
    return _with_article(name)


def _generic_in_words(origin: Any, arguments: tuple[Any, ...]) -> str:
    if origin is Callable:
        return "a function"
    if origin is type:
        return f"a class like {getattr(arguments[0], '__name__', arguments[0])}"
    if origin is tuple and arguments[-1] is not ...:
        return f"a tuple of {len(arguments)}: {', '.join(in_words(part) for part in arguments)}"
    if issubclass(origin, Mapping):
        return f"a mapping from {_plural(arguments[0])} to {_plural(arguments[1])}"
    name = "a tuple" if origin is tuple else "a list"
    return f"{name} of {_plural(arguments[0])}" if arguments else f"a {origin.__name__}"


def _plural(hint: Any) -> str:
    words = in_words(hint)
    if hint in _WORDS:
        return _PLURALS.get(hint, words)
    article, _, rest = words.partition(" ")
    simple = article in ("a", "an") and " or " not in rest and " of " not in rest
    return f"{rest}s" if simple and not rest.endswith("s") else f"values, each {words}"


_NAMES = {
    "Intervention": "a steering method",
    "SteerableModel": "a HookedTransformer or TransformerBridge",
}
_WORDS: dict[Any, str] = {
    Any: "anything",
    object: "anything",
    None: "None",
    types.NoneType: "None",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "a text",
    Path: "a pathlib.Path",
}
_PLURALS: dict[Any, str] = {int: "whole numbers", float: "numbers", str: "texts", Any: "values"}


def shortened(value: Any) -> str:
    """A value as it reads in an error: on one line, at most 80 characters."""
    if isinstance(value, Tensor):
        return f"a tensor {str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a numpy array {value.dtype} {list(value.shape)}"
    if inspect.isclass(value):
        return f"the class {value.__name__}"
    if type(value).__module__.split(".")[0] in ("builtins", "numpy", "pathlib", "decimal"):
        return _SHORT.repr(value)
    return _with_article(type(value).__name__)


def _with_article(name: str) -> str:
    return f"an {name}" if name[0] in "AEIOU" and not name.startswith("Un") else f"a {name}"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 3
