"""What public functions accept: their annotations, held to at every call, with one form of error.

`check_room` does it for all that a room exports. A wrong argument raises an `ArgumentError` that
names the function and the argument and says what came, what is expected and what to write instead.
Ranges are part of an annotation too: `seed: Seed`, `layer: Layer`, `prompts: Texts`.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, wraps
from typing import Any, NoReturn, TypeVar, cast, get_args, get_origin, get_type_hints, no_type_check

from typing_extensions import Unpack

from lens_steer.arguments.advice import advice, undefined
from lens_steer.arguments.hints import Check, admits, check_of, resolved
from lens_steer.arguments.words import in_words, shortened

AnyCallable = TypeVar("AnyCallable", bound=Callable[..., Any])


class ArgumentError(TypeError, ValueError):
    """A call with an argument that the function does not accept; the message says what it does."""

    @property
    def of_argument(self) -> str:
        """The message without the name of the function."""
        return str(self).partition("() ")[2]


def check_room(namespace: dict[str, Any]) -> None:
    """Hold all that a room exports to its annotations: the last line of the room's `__init__`.

    Functions are replaced in the room's namespace, so that calls within the room cost nothing;
    public methods and the making of dataclasses are replaced in their class.

    Args:
        namespace: `globals()` of the room.
    """
    exported = {k: v for k, v in namespace.items() if not k.startswith("_") and _is_ours(v)}
    for public in filter(inspect.isclass, exported.values()):
        for cls in filter(_is_ours, public.__mro__):
            _check_class(cls)
    for name, public in exported.items():
        if inspect.isfunction(inspect.unwrap(public)) and not inspect.ismethod(public):
            namespace[name] = checked(public)
        elif inspect.ismethod(public):  # `trace = FieldReport.fit`, as it was before its class
            namespace[name] = getattr(public.__self__, public.__name__)


def _is_ours(thing: Any) -> bool:
    return getattr(thing, "__module__", "").startswith("lens_steer.")


def _check_class(cls: Any) -> None:
    if getattr(cls, "_is_protocol", False):
        return
    for name, member in list(vars(cls).items()):
        function = getattr(member, "__func__", member)
        if not inspect.isfunction(function) or (name.startswith("_") and name != "__init__"):
            continue
        made = checked(function, cls.__qualname__ if name == "__init__" else None)
        if made is not function:
            setattr(cls, name, type(member)(made) if member is not function else made)


def checked(function: AnyCallable, name: str | None = None) -> AnyCallable:
    """A function that holds its calls to its annotations.

    Tensors are held to their dtype and number of axes, numbers to what is written in `Annotated`;
    True is no number, and a text no list of texts. None passes only where the annotation says so.

    Args:
        function: A function or method; what takes nothing but itself comes back as it is.
        name: What errors call it; None is its own name.

    Raises:
        ArgumentError: By the function that is returned, before anything is done.

    Example:
        >>> def first(texts: Texts, n: Count = 1) -> Sequence[str]:
        ...     return texts[:n]
        >>> checked(first)("abc")
        Traceback (most recent call last):
        ...
        lens_steer.arguments.ArgumentError: first() got texts='abc', expected a list of texts,
        at least one: write ['abc'] for one
    """
    if getattr(function, _UNCHECKED, False) or not _takes_arguments(function):
        return function

    @no_type_check  # or the shape checks of the tests would check the check
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        signature = _signature(function)
        if not signature.admits(args, kwargs):
            _refuse(signature, name or function.__qualname__, args, kwargs)
        return function(*args, **kwargs)

    setattr(call, _UNCHECKED, True)
    return cast(AnyCallable, call)


_UNCHECKED = "_needs_no_check"


def _takes_arguments(function: Any) -> bool:
    code = inspect.unwrap(function).__code__  # a thousand of `inspect.signature` take long
    named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    variadic = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    return bool(variadic) or any(name not in ("self", "cls") for name in named)


def _refuse(
    call: "_Signature", name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> NoReturn:
    """Say what is wrong with a call."""
    placed = dict(zip(call.positional, args, strict=False))
    named: dict[str, Any] = {}
    more = args[len(call.positional) :]
    if more and call.more_positional is None:
        raise ArgumentError(_too_many(call, name, more[0]))
    for argument, value in kwargs.items():
        if argument in placed:
            raise ArgumentError(f"{name}() got {argument} twice, by place and by name")
        if argument in call.hints:
            named[argument] = value
        elif not call.more_keywords:
            raise _unexpected(call, name, argument, value)
    by_name = {n: hint for n, hint in call.hints.items() if n not in call.positional}
    _check_values(name, placed, call.hints, by_name)
    _check_values(name, named, call.hints, {})
    numbered = {f"argument {i}": value for i, value in enumerate(more, 1)}
    _check_values(name, numbered, dict.fromkeys(numbered, call.more_positional), by_name)
    missing = next(n for n in call.required if n not in placed and n not in named)
    raise ArgumentError(
        f"{name}() got no {missing}, expected {in_words(call.hints[missing])}: write {missing}=..."
    )


def _check_values(
    name: str, values: Mapping[str, Any], hints: Mapping[str, Any], by_name: Mapping[str, Any]
) -> None:
    for argument, value in values.items():
        if not admits(hints[argument], value):
            what = advice(hints[argument], value) or _named(value, by_name)
            raise ArgumentError(
                f"{name}() got {argument}={shortened(value)}, expected {in_words(hints[argument])}"
                + (f": {what}" if what else "")
            )


def _named(value: Any, by_name: Mapping[str, Any]) -> str:
    """What to write if a value by place was meant for one of the keywords."""
    fitting = [f"{n}={shortened(value)}" for n, hint in by_name.items() if admits(hint, value)]
    return f"write {' or '.join(fitting)}, by name" if 0 < len(fitting) < 4 else ""


def _unexpected(call: "_Signature", name: str, keyword: str, value: Any) -> ArgumentError:
    accepted = [argument for argument in call.hints if argument not in ("self", "cls")]
    nearest = get_close_matches(keyword, accepted, n=1)
    guess = f": did you mean {nearest[0]!r}?" if nearest else "."
    guess = f": {undefined(value)}." if undefined(value) else guess
    return ArgumentError(
        f"{name}() got an unexpected keyword {keyword!r}{guess} "
        f"It takes {', '.join(accepted) or 'no keywords'}"
    )


@dataclass(frozen=True)
class _Signature:
    """The parameters of a function, as every call looks at them.

    Attributes:
        positional: Those that may be given by place, `self` included.
        required: Those without a default, in their order.
        hints: The annotation of each.
        checks: Whether a value fits, for each; what takes anything has none.
        more_positional: The annotation of `*arguments`; None where there are none.
        more_keywords: Whether there are `**keywords` without a list of their names.
        bound: 1 for `self` or `cls`, which the user does not write.
    """

    positional: tuple[str, ...]
    required: tuple[str, ...]
    hints: dict[str, Any]
    checks: dict[str, Check]
    more_positional: Any
    more_keywords: bool
    bound: int

    @no_type_check
    def admits(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether a call with these arguments fits."""
        places = self.positional
        if len(args) > len(places) and not self._admits_more(args[len(places) :]):
            return False
        checks = self.checks
        for argument, value in zip(places, args, strict=False):
            if argument in kwargs or (argument in checks and not checks[argument](value)):
                return False
        for argument, value in kwargs.items():
            if argument in checks:
                if not checks[argument](value):
                    return False
            elif argument not in self.hints and not self.more_keywords:
                return False
        by_place = places[: len(args)]
        return all(name in kwargs or name in by_place for name in self.required)

    def _admits_more(self, values: tuple[Any, ...]) -> bool:
        hint = self.more_positional
        return hint is not None and all(admits(hint, value) for value in values)


@cache
def _signature(function: Any) -> _Signature:
    parameters = list(inspect.signature(function).parameters.values())
    bound = [p.name for p in parameters[:1] if p.name in ("self", "cls")]
    hints = resolved(function) | dict.fromkeys(bound, Any)
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [p for p in parameters if p.kind not in variadic]
    more = [hints.get(p.name, Any) for p in parameters if p.kind is p.VAR_POSITIONAL]
    of_named = {p.name: hints.get(p.name, Any) for p in named}
    keywords = [hints.get(p.name, Any) for p in parameters if p.kind is p.VAR_KEYWORD]
    unpacked = [get_args(hint)[0] for hint in keywords if get_origin(hint) is Unpack]
    for options in unpacked:  # `**options: Unpack[DecodingOptions]` are keywords like the others
        of_named |= get_type_hints(options, include_extras=True)
    return _Signature(
        positional=tuple(p.name for p in named if p.kind in places),
        required=tuple(p.name for p in named[len(bound) :] if p.default is p.empty),
        hints=of_named,
        checks={k: check_of(hint) for k, hint in of_named.items() if hint is not Any},
        more_positional=more[0] if more else None,
        more_keywords=bool(keywords) and not unpacked,
        bound=len(bound),
    )


def _too_many(call: _Signature, name: str, value: Any) -> str:
    most = len(call.positional) - call.bound
    by_name = [argument for argument in call.hints if argument not in call.positional]
    advised = f"write it by name, one of {', '.join(by_name)}" if by_name else "leave it out"
    return (
        f"{name}() got {shortened(value)} by place, expected at most {most} arguments by place: "
        + advised
    )
