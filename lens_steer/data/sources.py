"""Where pairs come from: a named set, a file, or rows as Python objects."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lens_steer.data.documents import document_rows, subset_rows
from lens_steer.data.file_formats import READERS, read_json
from lens_steer.data.named_sets import named

PlacedRows = Iterable[tuple[str, Any]]


def rows_of(source: Any) -> tuple[PlacedRows, str]:
    """The rows of a source, each with its place, and what the set is called.

    Args:
        source: The name of a set, the path of a file, or rows as `ContrastivePairs.of` takes them.

    Raises:
        ValueError: If there is no such set or file, or it has another form.
    """
    if not isinstance(source, str | Path):
        return document_rows("", source), "pairs"
    path = Path(source)
    if path.suffix in READERS:
        return READERS[path.suffix](path), path.stem
    return document_rows("", named(str(source))), str(source)


def rows_of_subsets(
    source: Any, desired: str | Sequence[str], undesired: str | Sequence[str]
) -> tuple[PlacedRows, str]:
    """The texts of some subsets as labelled rows, each with its place, and what the set is called.

    Args:
        source: A mapping of subsets to lists of texts, or the path of a `.json` file of one.
        desired: The subset, or subsets, whose texts show the behaviour.
        undesired: The subset, or subsets, whose texts do not.

    Raises:
        ValueError: If there is no such file or subset, or a subset is on both sides.
    """
    if not isinstance(source, str | Path):
        return subset_rows("", source, desired, undesired), "pairs"
    path = Path(source)
    return subset_rows(str(path), read_json(path), desired, undesired), path.stem
