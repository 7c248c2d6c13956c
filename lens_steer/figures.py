"""One look for every figure, and one way to save it: with its numbers and their origin."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "figure.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "lines.markersize": 4,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 160,
    "svg.hashsalt": "lens_steer",
}


@contextmanager
def canvas(
    rows: int = 1, columns: int = 1, *, width: float = 5.0, height: float = 3.2, **options: Any
) -> Iterator[tuple["Figure", Any]]:
    """A figure and its axes, everything drawn inside the block in our style; sizes in inches.

    The figure is the caller's, not pyplot's: nothing is shown, notebooks display what is returned.
    """
    from matplotlib import pyplot as plt

    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=(width, height), **options)
        plt.close(figure)
        yield figure, axes


def save_figure(
    figure: "Figure", path: str | Path, data: "pd.DataFrame", provenance: Mapping[str, Any]
) -> None:
    """Write `path` (its suffix is the format), its data as `.csv`, their origin as `.json`.

    Each file is written whole or not at all.

    Raises:
        ValueError: If the folder does not exist.
    """
    target = Path(path)
    text = json.dumps(dict(provenance), indent=2, sort_keys=True, default=str)
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(target.suffix)

    def draw(place: Path) -> None:
        from matplotlib import pyplot as plt

        with plt.rc_context(_STYLE):
            figure.savefig(place, format=target.suffix[1:], metadata=undated)

    write_whole(target, draw)
    write_whole(target.with_suffix(".csv"), lambda place: data.to_csv(place, index=False))
    write_whole(
        target.with_suffix(".json"), lambda place: place.write_text(text + "\n", encoding="utf-8")
    )


def write_whole(target: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file beside `target`, then move it there.

    Raises:
        ValueError: If the folder does not exist.
    """
    if not target.parent.is_dir():
        raise ValueError(
            f"no folder {str(target.parent)!r} to write {target.name!r} in: make it first"
        )
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".writing-") as folder:
        complete = Path(folder) / target.name
        write(complete)
        os.replace(complete, target)


def check_folder(out: Path) -> None:
    """Raise a ValueError if a file is where the folder, or one it lies in, would be."""
    blocked = [path for path in (out, *out.parents) if path.is_file()]
    if blocked:
        raise ValueError(f"cannot make the folder {str(out)!r}: {blocked[0]} is a file")


def make_folder(out: Path) -> None:
    """Make a folder, and those it lies in.

    Raises:
        ValueError: If it cannot be made.
    """
    check_folder(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot make the folder {str(out)!r} ({error.strerror})") from error
