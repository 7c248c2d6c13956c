"""One look for every figure, and one way to save it: with its numbers and their origin."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lens_steer.files import write_whole

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
        ValueError: If the folder does not exist, or a file cannot be written.
    """
    target = Path(path)
    text = json.dumps(dict(provenance), indent=2, sort_keys=True, default=str)
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(target.suffix)

    def draw(place: Path) -> None:
        from matplotlib import pyplot as plt

        with plt.rc_context(_STYLE):
            figure.savefig(place, format=target.suffix[1:], metadata=undated)

    write_whole(target, draw)
    save_table(data, target.with_suffix(".csv"))
    write_whole(
        target.with_suffix(".json"), lambda place: place.write_text(text + "\n", encoding="utf-8")
    )


def save_table(table: "pd.DataFrame", path: Path) -> None:
    """Write a table as `.csv`, without its index, whole or not at all.

    Raises:
        ValueError: If the folder does not exist, or the file cannot be written.
    """
    write_whole(path, lambda place: table.to_csv(place, index=False))
