"""Values of command lines: a text becomes what an annotation says, or is refused in its words."""

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin

from lens_steer.arguments.checking import ArgumentError
from lens_steer.arguments.hints import Check, admits
from lens_steer.arguments.words import in_words, shortened


def parsed(hint: Any, text: str) -> Any:
    """The value of an annotation that a text of the command line means.

    A list is written with commas between its parts, none of which may be empty or come twice.

    Args:
        hint: An annotation of a number, a text, a path, a choice, or a list of one of them.
        text: What was written.

    Raises:
        ArgumentError: If the text means no such value.

    Example:
        >>> parsed(Layers, "1,3")
        (1, 3)
        >>> parsed(Seed, "-1")
        Traceback (most recent call last):
        ...
        lens_steer.arguments.ArgumentError: got '-1', expected a seed: a whole number from 0
    """
    parts = _parts(text) if is_list(hint) else [text]
    repeated = [part for part in parts if parts.count(part) > 1]
    try:
        values = [_scalar(_inner(hint), part) for part in parts]
    except ValueError:
        raise refused(hint, text) from None
    value = tuple(values) if is_list(hint) else values[0]
    if repeated or not admits(hint, value):
        raise refused(hint, text, f"with {shortened(repeated[0])} twice" if repeated else "")
    return value


def refused(hint: Any, value: Any, about: str = "") -> ArgumentError:
    """The error for a value of the command line that does not fit an annotation."""
    commas = ", separated by commas" if is_list(hint) else ""
    got = ", ".join(filter(None, (f"got {shortened(value)}", about)))
    return ArgumentError(f"{got}, expected {in_words(hint)}{commas}")


def is_list(hint: Any) -> bool:
    """Whether an annotation is one of a list."""
    origin = get_origin(_plain(hint))
    return isinstance(origin, type) and issubclass(origin, Sequence)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _plain(hint: Any) -> Any:
    return _plain(get_args(hint)[0]) if get_origin(hint) is Annotated else hint


def _inner(hint: Any) -> Any:
    return get_args(_plain(hint))[0] if is_list(hint) else hint


def _scalar(hint: Any, text: str) -> Any:
    if not text.strip():
        raise ValueError("empty")
    plain = _plain(hint)
    alternatives = get_args(plain) if get_origin(plain) in (Union, UnionType) else (plain,)
    for kind in (int, float, Path):
        if kind in alternatives and not (kind is int and float in alternatives):
            return kind(text)
    return text


class OneLineParser(argparse.ArgumentParser):
    """A parser of a command line that refuses misuse in one line with exit code 2.

    Example:
        >>> parser = OneLineParser(prog="python -m study")
        >>> parser.add("--seed", Seed, default=0, help="of the draws")
        >>> parser.parse_args().seed
        0
    """

    def __init__(self, **settings: Any) -> None:
        """As `argparse.ArgumentParser`; options cannot be abbreviated."""
        form = argparse.ArgumentDefaultsHelpFormatter
        super().__init__(**{"formatter_class": form, **settings, "allow_abbrev": False})

    def add(self, name: str, hint: Any, check: Check = bool, **settings: Any) -> None:
        """Add an option whose value an annotation describes.

        Args:
            check: Raises a ValueError where a value that fits cannot be used.
        """
        self.add_argument(name, type=_Reader(hint, check), action=_Once, **settings)

    def parse_args(  # pyright: ignore[reportIncompatibleMethodOverride] - of three overloads
        self, args: Any = None, namespace: Any = None
    ) -> Any:
        """The options; what is none of them is refused, with the nearest that is."""
        options, rest = self.parse_known_args(args, namespace)
        if rest:
            near = get_close_matches(rest[0], self._option_string_actions, 1)
            self.error(f"unexpected {rest[0]}" + (f": did you mean {near[0]}?" if near else ""))
        return options

    def error(self, message: str) -> NoReturn:
        """End with one line and exit code 2."""
        line = " ".join(message.split())
        self.exit(2, f"{self.prog}: {line} (--help lists the options)\n")


class _Once(argparse.Action):
    """Keeps a value; an option that comes twice is refused."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        del parser, option
        seen = vars(namespace).setdefault("_seen", set())
        if self.dest in seen:
            raise argparse.ArgumentError(self, "got it twice, expected it once")
        seen.add(self.dest)
        setattr(namespace, self.dest, values)


class _Reader:
    """Reads one value; `argparse` shows the message of this type of error alone."""

    def __init__(self, hint: Any, check: Check) -> None:
        self.hint = hint
        self.check = check

    def __call__(self, text: str) -> Any:
        try:
            value = parsed(self.hint, text)
            self.check(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return value
