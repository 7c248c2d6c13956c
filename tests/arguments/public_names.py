"""Everything of lens_steer that a user can call."""

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import lens_steer as ls

ROOMS = {getattr(ls, name).__name__ for name in dir(ls) if inspect.ismodule(getattr(ls, name))}
ROOMS |= {"lens_steer.barriers.flows"}


def public_callables() -> dict[str, Callable[..., Any]]:
    """Functions, classes and methods by the shortest dotted name under which a user finds them."""
    names: dict[str, Callable[..., Any]] = {}
    seen: set[int] = set()
    _walk("ls", ls, names, seen)
    return names


def _walk(prefix: str, room: ModuleType, names: dict[str, Any], seen: set[int]) -> None:
    later: list[tuple[str, ModuleType]] = []
    for name in dir(room):
        value = getattr(room, name)
        if name.startswith("_"):
            continue
        if inspect.ismodule(value):
            if value.__name__ in ROOMS:
                later.append((f"{prefix}.{name}", value))
        elif getattr(value, "__module__", "").startswith("lens_steer.") and id(value) not in seen:
            seen.add(id(value))
            if callable(value) and not getattr(value, "_is_protocol", False):
                _add(f"{prefix}.{name}", value, names, seen)
    for dotted, module in later:
        _walk(dotted, module, names, seen)


def _add(dotted: str, value: Any, names: dict[str, Any], seen: set[int]) -> None:
    if not inspect.isclass(value):
        names[dotted] = value
        return
    if issubclass(value, BaseException | dict):
        return
    if not inspect.isabstract(value):
        names[dotted] = value
    for attribute in dir(value):
        member = inspect.getattr_static(value, attribute)
        function = getattr(member, "__func__", member)
        if attribute.startswith("_") or not inspect.isfunction(function):
            continue
        if function.__module__.startswith("lens_steer.") and id(function) not in seen:
            seen.add(id(function))
            names[f"{dotted}.{attribute}"] = getattr(value, attribute)
