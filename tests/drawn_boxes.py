"""What is wrong with a drawn figure: text on text, text off the canvas, a legend on the data."""

from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

_DPI = 72
_TOUCH = 1.0  # pixels: a box is larger than its letters
_APART = 1.5  # pixels between two words on a line
_BETWEEN = 60  # points that are looked at on each piece of a line


def faults(figure: Figure) -> list[str]:
    """One line for every fault of a figure as it is drawn."""
    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # the layout is made as when it is drawn
    boxes = [
        (text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in _texts(figure)
    ]
    whole = figure.bbox.padded(_TOUCH)
    found = [f"{name!r} leaves the canvas" for name, box in boxes if not _inside(whole, box)]
    found += [f"{a!r} on {b!r}" for (a, x), (b, y) in combinations(boxes, 2) if _overlap(x, y)]
    for legend in _legends(figure):
        box = legend.get_window_extent()
        hidden = sum(_hidden(box, axes) for axes in figure.axes)
        found += [f"a legend lies on {hidden} points or bars"] if hidden else []
    return found


def _texts(figure: Figure) -> list[Text]:
    texts = [*figure.texts]  # with the titles and labels of the whole figure
    for axes in figure.axes:
        if not axes.get_visible():
            continue
        texts += [*axes.texts]
        texts += [axes.title]
        if axes.axison:
            texts += [text for axis in (axes.xaxis, axes.yaxis) for text in _of_axis(axis)]
    for legend in _legends(figure):
        texts += [legend.get_title(), *legend.get_texts()]
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def _of_axis(axis: Any) -> list[Text]:
    low, high = sorted(axis.get_view_interval())
    room = 1e-9 * (high - low)
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    shown = [tick for tick in ticks if low - room <= tick.get_loc() <= high + room]
    return [axis.label, *(label for tick in shown for label in (tick.label1, tick.label2))]


def _legends(figure: Figure) -> list[Any]:
    own = [axes.get_legend() for axes in figure.axes]
    return [legend for legend in (*figure.legends, *own) if legend is not None]


def _inside(whole: Bbox, box: Bbox) -> bool:
    return whole.x0 <= box.x0 and whole.y0 <= box.y0 and box.x1 <= whole.x1 and box.y1 <= whole.y1


def _overlap(a: Bbox, b: Bbox) -> bool:
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return width > -_APART and height > _TOUCH


def _hidden(box: Bbox, axes: Any) -> int:
    """How many points of lines, and bars, in the data's own coordinates lie under the box."""
    count, seen = 0, axes.bbox  # what lies outside of it is not drawn
    for line in axes.get_lines():
        if line.get_transform() != axes.transData or not len(line.get_xydata()):
            continue
        places = axes.transData.transform(line.get_xydata())
        if line.get_linestyle() != "None":
            places = _along(places)
        low = max(box.x0, seen.x0), max(box.y0, seen.y0)
        high = min(box.x1, seen.x1), min(box.y1, seen.y1)
        inside = ((places > low) & (places < high)).all(axis=1)
        count += int(inside.sum())
    bars = [bar for bar in axes.patches if bar.get_data_transform() == axes.transData]
    return count + sum(_overlap(box, bar.get_window_extent()) for bar in bars)


def _along(places: np.ndarray) -> np.ndarray:
    steps = np.linspace(0, 1, _BETWEEN)[:, None, None]
    return (places[:-1] + steps * (places[1:] - places[:-1])).reshape(-1, 2)
