"""What public functions accept: their annotations, held to at every call, with one form of error.

`checked` marks a function or a dataclass. A wrong argument raises an `ArgumentError` that names the
function and the argument and says what came, what is expected and what to write instead. Ranges
are part of an annotation too: `seed: Seed`, `layer: Layer`, `prompts: Texts`.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, wraps
from typing import Any, TypeVar

from lens_steer.arguments.advice import advice
from lens_steer.arguments.hints import admits, resolved
from lens_steer.arguments.words import in_words, shortened

AnyCallable = TypeVar("AnyCallable", bound=Callable[..., Any])


class ArgumentError(TypeError, ValueError):
    """A call with an argument that the function does not accept; the message says what it does."""


def checked(function: AnyCallable) -> AnyCallable:
    """Hold calls of a function, or the making of a dataclass, to its annotations.

    Tensors are held to their dtype and number of axes, numbers to what is written in `Annotated`;
    True is no number, and a text no list of texts. None passes only where the annotation says so.

    Raises:
        ArgumentError: By the function that is returned, before anything is done.

    Example:
        >>> @checked
        ... def first(texts: Texts, n: Count = 1) -> Sequence[str]:
        ...     return texts[:n]
        >>> first("abc")
        Traceback (most recent call last):
        ...
        lens_steer.arguments.ArgumentError: first() got texts='abc', expected a list of texts,
        at least one: write ['abc'] for one text
    """
    if inspect.isclass(function):
        function.__init__ = _checked_function(function.__init__, function.__qualname__)
        return function
    return _checked_function(function, function.__qualname__)


def _checked_function(function: Any, name: str) -> Any:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        _check_call(function, name, args, kwargs)
        return function(*args, **kwargs)

    return call


def _check_call(
    function: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    call = _signature(function)
    values = dict(zip(call.positional, args, strict=False))
    if len(args) > len(call.positional) and not call.more_positional:
        raise ArgumentError(_too_many(call, name, args))
    for argument, value in kwargs.items():
        if argument in values:
            raise ArgumentError(f"{name}() got {argument} twice, by place and by name")
        if argument in call.hints:
            values[argument] = value
        elif not call.more_keywords:
            raise unexpected_keyword(function, argument, (), name)
    for argument in call.required:
        if argument not in values:
            raise ArgumentError(
                f"{name}() got no {argument}, expected {in_words(call.hints[argument])}: "
                f"write {argument}=..."
            )
    for argument, value in values.items():
        hint = call.hints[argument]
        if not admits(hint, value):
            raise wrong_argument(name, argument, value, hint)


def wrong_argument(name: str, argument: str, value: Any, hint: Any) -> ArgumentError:
    """The error for an argument that does not fit its annotation."""
    what = advice(hint, value)
    return ArgumentError(
        f"{name}() got {argument}={shortened(value)}, expected {in_words(hint)}"
        + (f": {what}" if what else "")
    )


def unexpected_keyword(
    function: Callable[..., Any], keyword: str, options: Iterable[str], name: str | None = None
) -> ArgumentError:
    """The error for a keyword that a function does not know; it names the nearest that it does.

    Args:
        function: The function that the user has called.
        keyword: The wrong keyword.
        options: The keywords it takes besides the parameters of its signature.
        name: How the function is called; None takes it from the function.
    """
    accepted = [*_signature(function).hints, *options]
    nearest = get_close_matches(keyword, accepted, n=1)
    guess = f": did you mean {nearest[0]!r}?" if nearest else "."
    return ArgumentError(
        f"{name or function.__qualname__}() got an unexpected keyword {keyword!r}{guess} "
        f"It takes {', '.join(accepted) or 'no keywords'}"
    )


@dataclass(frozen=True)
class _Signature:
    """The parameters of a function, as they are looked at on every call."""

    positional: tuple[str, ...]
    required: tuple[str, ...]
    hints: dict[str, Any]
    more_positional: bool
    more_keywords: bool
    bound: int  # 1 for self or cls, which the user does not write


@cache
def _signature(function: Any) -> _Signature:
    parameters = list(inspect.signature(function).parameters.values())
    bound = bool(parameters) and parameters[0].name in ("self", "cls")
    hints = resolved(function)
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [p for p in parameters if p.kind not in variadic]
    return _Signature(
        positional=tuple(p.name for p in named if p.kind in places),
        required=tuple(p.name for p in named[bound:] if p.default is p.empty),
        hints={p.name: hints.get(p.name, Any) for p in named},
        more_positional=any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters),
        more_keywords=any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters),
        bound=int(bound),
    )


def _too_many(call: _Signature, name: str, args: tuple[Any, ...]) -> str:
    most = len(call.positional) - call.bound
    first = shortened(args[len(call.positional)])
    by_name = [argument for argument in call.hints if argument not in call.positional]
    advised = f"write it by name, one of {', '.join(by_name)}" if by_name else "leave it out"
    return f"{name}() got {first} by place, expected at most {most} arguments by place: {advised}"
