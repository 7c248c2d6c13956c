"""One style for every figure, and one way to save it: with its numbers and their origin."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from lens_steer.files import write_whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_LABELS = 16  # of layers along an axis: more would touch

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
    """Make a figure and its axes; everything inside the block is drawn in the style of lens_steer.

    The figure does not belong to pyplot: nothing is shown, and a notebook displays it when it is
    returned.

    Args:
        rows: How many rows of axes there are.
        columns: How many columns.
        width: Of the whole figure, in inches.
        height: Of the whole figure, in inches.
        options: As `matplotlib.pyplot.subplots` takes them.

    Yields:
        The figure, and its axes (an array where there are several).

    Example:
        >>> with canvas(width=4) as (figure, axes):
        ...     axes.plot(layers, accuracy)
    """
    from matplotlib import pyplot as plt

    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=(width, height), **options)
        plt.close(figure)
        yield figure, axes


def name_layers(axis: "Axis", labels: Sequence[str], *, most: int = _LABELS) -> None:
    """Write the labels of layers, which lie at 0, 1, 2 ..., along an axis; of many only some.

    Of more than `most` it is every second, fifth, tenth and so on. A first label that is no number,
    such as `embedding`, is always written, and what would touch it is not.

    Args:
        axis: Of a figure: `axes.xaxis` or `axes.yaxis`.
        labels: One for each layer, in order.
        most: Labels that fit without touching: 16 on a figure of one panel, fewer on narrow ones.

    Example:
        >>> name_layers(axes.xaxis, ["embedding", "0", "1"])
    """
    steps = (power * step for power in (1, 10, 100, 1000) for step in (1, 2, 5))
    step = next(step for step in steps if len(labels) <= most * step)
    places = list(range(0, len(labels), step))
    if not labels[0].isdigit():  # a word is wider than a number: about a tenth of the axis
        after = range(1, len(labels), step)
        places = [0, *(place for place in after if place >= len(labels) / 10)]
    axis.set_ticks(places, [labels[place] for place in places])


def whole_numbers(axis: "Axis") -> None:
    """Ticks at whole numbers alone, so few that they do not touch: of layers that are counted.

    Args:
        axis: Of a figure: `axes.xaxis` or `axes.yaxis`; its values are the numbers themselves.

    Example:
        >>> axes.plot(range(81), errors)
        >>> whole_numbers(axes.xaxis)
    """
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))


def thin_labels(
    axis: "Axis",
    values: Sequence[float | int],
    names: Sequence[str] | None = None,
    *,
    letters: int = 30,
) -> None:
    """Ticks at all values that were tried, labels at as many as fit: the ends before the middle.

    Args:
        axis: Of a figure, its scale set.
        values: Where the ticks are, in rising order, on any scale.
        names: Their labels; None writes the values.
        letters: How many fit along the axis.

    Example:
        >>> thin_labels(axes.xaxis, [4, 9, 14, 19, 24])
    """
    texts = [f"{value:g}" for value in values] if names is None else list(names)
    along = axis.get_transform().transform(list(map(float, values)))  # as they are drawn apart
    length = float(along[-1] - along[0]) or 1.0
    kept: list[int] = []
    for place in (0, len(texts) - 1, *range(1, len(texts) - 1)):
        room = [
            letters * abs(along[place] - along[other]) / length
            - (len(texts[place]) + len(texts[other])) / 2
            for other in kept
        ]
        if min(room, default=1.0) >= 1:  # a letter between
            kept.append(place)
    axis.set_ticks(list(values), [text if i in kept else "" for i, text in enumerate(texts)])


def legend_outside(
    figure: "Figure",
    *panels: "Axes",
    title: str = "",
    columns: int = 2,
    where: str = "lower center",
) -> None:
    """One legend for several panels, outside of all of them: nothing that is drawn lies under it.

    Each name stands once; long names are written on several lines.

    Args:
        figure: With a constrained layout, as `canvas` makes it.
        panels: Whose labels it shows; none: those of all axes of the figure.
        title: Above the names.
        columns: At most so many; fewer if there are fewer names.
        where: As matplotlib's `loc="outside ..."`: `upper center`, `right upper`.

    Example:
        >>> with canvas() as (figure, axes):
        ...     axes.plot(layers, accuracy, label="held out")
        ...     legend_outside(figure)
    """
    named: dict[str, Any] = {}
    for axes in panels or figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True)) | named
    columns = max(1, min(columns, len(named)))
    letters = int(13 * figure.get_figwidth() / columns) - 6
    names = ["\n".join(fill(line, letters) for line in name.split("\n")) for name in named]
    heading = "\n".join(fill(line, columns * letters) for line in title.split("\n"))
    place: Any = f"outside {where}"
    figure.legend(list(named.values()), names, title=heading, loc=place, ncols=columns)


def save_figure(
    figure: "Figure", path: str | Path, data: "pd.DataFrame", provenance: Mapping[str, Any]
) -> None:
    """Save a figure, its numbers as `.csv` and their origin as `.json`, under one name.

    Each file is written whole or not at all.

    Args:
        figure: The figure.
        path: Where to save it; the suffix is the format.
        data: The numbers that the figure shows.
        provenance: Where they come from: model, data, versions, seed.

    Raises:
        ValueError: If the folder does not exist, or a file cannot be written.
    """
    target = Path(path)
    text = json.dumps(dict(provenance), indent=2, sort_keys=True, default=str)
    write_whole(target, partial(_draw, figure, target.suffix))
    save_table(data, target.with_suffix(".csv"))
    write_whole(
        target.with_suffix(".json"), lambda place: place.write_text(text + "\n", encoding="utf-8")
    )


def _draw(figure: "Figure", suffix: str, path: Path) -> None:
    from matplotlib import pyplot as plt

    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix)
    with plt.rc_context(_STYLE):
        figure.savefig(path, format=suffix[1:], metadata=undated)


def save_table(table: "pd.DataFrame", path: Path) -> None:
    """Write a table as `.csv`, without its index, whole or not at all.

    Raises:
        ValueError: If the folder does not exist, or the file cannot be written.
    """
    write_whole(path, lambda place: table.to_csv(place, index=False))
