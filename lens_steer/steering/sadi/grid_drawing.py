"""The figures of a grid of k and delta."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.figures import canvas, thin_labels
from lens_steer.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LETTERS = 24  # of all the deltas written along a map


@dataclass(frozen=True)
class Axes:
    """What the axes of a grid's figures say.

    Attributes:
        ks: Elements chosen.
        deltas: What they were scaled by, less one.
        kind: Of the elements.
    """

    ks: tuple[int, ...]
    deltas: tuple[float, ...]
    kind: str


@dataclass(frozen=True, eq=False)
class Maps:
    """One row of maps over k and delta.

    Attributes:
        title: Above the left one.
        accuracy: Share of pairs whose desired answer is the likelier.
        kl: Mean KL of the answer's first token, nats.
    """

    title: str
    accuracy: Float[Tensor, "k delta"]
    kl: Float[Tensor, "k delta"]


def draw_maps(grid: Axes, rows: Sequence[Maps], pairs: int) -> "Figure":
    """Accuracy over k and delta, beside the nats it costs, a row for each way of scaling."""
    most = max(float(row.kl.max()) for row in rows)
    clipped = "; the darkest is 1 nat or more" if most > 1 else ""
    size = {"width": 8.6, "height": 0.4 + 3.2 * len(rows), "squeeze": False}
    with canvas(len(rows), 2, sharex=True, sharey=True, **size) as (figure, axes):
        for row, (left, right) in zip(rows, axes, strict=True):
            _draw_map(grid, left, row.accuracy, "share preferring desired", "RdBu_r", 1.0)
            label = "KL of the first answer token, nats"
            _draw_map(grid, right, row.kl, label, "magma_r", min(1.0, most))
            left.set(ylabel=f"k, {grid.kind} elements", title=row.title)
        axes[0, 1].set_title(f"{pairs} pairs{clipped}")
        for below in axes[-1]:
            below.set(xlabel="delta")
    return figure


def _draw_map(
    grid: Axes, axes: Any, values: Float[Tensor, "k delta"], label: str, colours: str, top: float
) -> None:
    scale = {"vmin": 0.0, "vmax": top, "cmap": colours}
    image = axes.imshow(values.numpy(), aspect="auto", origin="lower", **scale)
    axes.figure.colorbar(image, ax=axes, label=label)
    names = [f"{delta:g}" for delta in grid.deltas]
    step = -(-sum(map(len, names)) // _LETTERS)
    axes.set_xticks(range(0, len(names), step), names[::step])
    axes.set_yticks(range(len(grid.ks)), list(map(str, grid.ks)))


def draw_gains(grid: Axes, gains: Mapping[int, Sequence[Interval]]) -> "Figure":
    """What the margin gains against delta, a line for each k, with intervals."""
    with canvas() as (figure, axes):
        for i, (k, intervals) in enumerate(gains.items()):
            middle = [gain.mean for gain in intervals]
            span = [[gain.mean - gain.low, gain.high - gain.mean] for gain in intervals]
            style = {"fmt": "o-", "color": f"C{i}", "label": f"{k}", "elinewidth": 0.8}
            axes.errorbar(grid.deltas, middle, yerr=torch.tensor(span).T.numpy(), **style)
        _finish_lines(grid, axes, "margin gained by the desired answer,\nnats per token")
        axes.axhline(0, color="k", lw=0.8)
    return figure


def draw_difference(grid: Axes, difference: Float[Tensor, "k delta"]) -> "Figure":
    """How far frozen patches are from scaling online, against delta, a line for each k."""
    with canvas() as (figure, axes):
        for i, (k, values) in enumerate(zip(grid.ks, difference.tolist(), strict=True)):
            axes.plot(grid.deltas, values, "o-", color=f"C{i}", label=f"{k}")
        _finish_lines(grid, axes, "frozen less online,\nas a share of what online changes")
        axes.set_ylim(bottom=0)
    return figure


def _finish_lines(grid: Axes, axes: Any, label: str) -> None:
    axes.set(xlabel="delta", ylabel=label)
    axes.set_xscale("symlog", linthresh=1)
    thin_labels(axes.xaxis, grid.deltas)
    axes.minorticks_off()
    axes.legend(title=f"k, {grid.kind}", loc="center left", bbox_to_anchor=(1, 0.5))
