"""The classes that can be saved, by the names that files call them."""

from typing import Any, TypeVar

from lens_steer.intervals import Interval
from lens_steer.models import Fingerprint, Provenance
from lens_steer.sites import Kind, Site

_T = TypeVar("_T", bound=type)

TYPES: dict[str, type] = {
    cls.__name__: cls for cls in (Provenance, Fingerprint, Interval, Site, Kind)
}
OLD_NAMES: dict[str, str] = {}  # a class's name in files of earlier versions -> its name today
# Fields in files of earlier versions: class, by its name today -> field -> its name today.
OLD_FIELDS: dict[str, dict[str, str]] = {"Evaluation": {"paths": "text_costs"}}
# Fields that files of earlier versions lack, where those files mean another value than the default:
# class -> field -> that value. Attention sinks were steered and averaged with the other tokens.
NEWER_FIELDS: dict[str, dict[str, Any]] = {"Decoding": {"sink": True}, "Gate": {"sink": True}}
# Classes that register when their package in the repository is imported; it is not installed.
IN_ANALYSES = {"DivergenceReport": "analyses.divergence", "PathSplitReport": "analyses.paths"}


def savable(cls: _T) -> _T:
    """Let `save` and `load` take a dataclass.

    Its fields are tensors, numpy arrays, plain values, savable objects, or tuples and dictionaries
    of these. A class may have a method `check_savable()`, which raises a ValueError where an object
    of it cannot be saved. A field that is newer than files which must still load has a default that
    is empty, and `metadata={"saved_if_set": True}`: it is not written while it is empty.

    Raises:
        TypeError: If there is another savable class of that name: a file could mean either.

    Example:
        >>> from dataclasses import dataclass
        >>> @savable
        ... @dataclass(frozen=True)
        ... class Threshold:
        ...     value: float
    """
    if TYPES.setdefault(cls.__name__, cls) is not cls:
        raise TypeError(f"two classes to save are called {cls.__name__}: give one another name")
    return cls
