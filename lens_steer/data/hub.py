"""Rows of a data set on the Hugging Face hub, through `datasets`, which is optional."""

import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(:[\w.-]+){0,2}")


def is_hub_name(source: Any) -> bool:
    """Whether a source is written as a data set on the hub: "owner/name", with a split or not.

    What ends like the name of a file (in a dot and letters), or is one, is not looked for there.
    """
    if not isinstance(source, str) or _NAME.fullmatch(source) is None:
        return False
    return not Path(source).suffix[1:].isalpha() and not Path(source).is_file()


def hub_rows(source: str) -> Iterator[tuple[str, Any]]:
    """The rows of one split of a data set on the hub.

    Args:
        source: "owner/name" if there is one split, "owner/name:split", or
            "owner/name:config:split".

    Yields:
        `(place, row)` for each row; the place counts from 0.

    Raises:
        ValueError: If `datasets` is not installed, the data set cannot be had (there is none, or no
            connection), or it has several splits and none is named.
    """
    if importlib.util.find_spec("datasets") is None:
        raise ValueError(
            f"{source!r} is read from the hub with datasets, which is not installed: "
            "pip install lens-steer[datasets], or download the file and give its path"
        )
    name, *rest = source.split(":")
    config, split = rest if len(rest) == 2 else (None, rest[0] if rest else None)
    splits = _splits(source, name, config)
    if split is None and len(splits) == 1:
        (split,) = splits
    if split not in splits:
        listed = ", ".join(f"{name}{f':{config}' if config else ''}:{s}" for s in splits)
        raise ValueError(f"got {source!r}, expected a split of it: {listed}")
    for i, row in enumerate(splits[split]):
        yield f"{source} row {i}", row


def _splits(source: str, name: str, config: str | None) -> Mapping[Any, Any]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        return load_dataset(name, config)
    # No such set, configuration or connection; files that cannot be read; a set that is a script.
    except (OSError, ValueError, DatasetsError, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, DatasetsError) else None
        reason = " ".join(str(cause or error).split())[:200]
        raise ValueError(
            f"cannot load {source!r} from the hub ({reason}): check the name, owner/name:split or "
            "owner/name:config:split, and the connection, or download the file and give its path"
        ) from error
