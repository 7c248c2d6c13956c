"""Calls that users have made by mistake, on the embedded model."""

from collections.abc import Callable, Iterator
from typing import Any


def hand_picked() -> Iterator[tuple[str, str, Callable[[], Any]]]:
    yield from ()
