"""Figures hold at any depth: no text on text or off the canvas, no legend on what is drawn."""

from collections.abc import Iterable

import pytest

from lens_steer.figures import canvas
from lens_steer.tracking import compare_figure
from tests.drawn_boxes import faults
from tests.report_samples import (
    REPORTS,
    alignment,
    choice,
    grid,
    mask,
    scores,
    shape_of_field,
    tracking,
)

DEPTHS = (6, 18, 30, 80)


FURTHER = {
    "tokens": lambda layers: tracking(layers).tokens_figure([1, layers // 2, layers]),
    "trackers": lambda layers: compare_figure({"LQR": tracking(layers), "CAA": tracking(layers)}),
    "spectra": lambda layers: alignment(layers).spectra_figure(),
    "ringed heads": lambda layers: scores(layers).figure(mask(layers)),
    "shape of a field": lambda width: shape_of_field(8 * width).figure(),
    "map of a choice": lambda layers: choice(layers).map_figure(),
    "doses of a grid": lambda points: grid(points).dose_figure(),
}

FEW = {  # at most so many panels, points or methods at any depth: the fewest and the most
    "error_curves": (6, 80), "logits": (6, 80), "alignment": (6, 80), "spectra": (6, 80),
    "shape of a field": (6, 80),
    "grid": (6, 80), "doses of a grid": (6, 80), "crossing": (6, 80), "tokens": (6, 80),
    "frontier": (6, 18), "dose_response": (6, 18), "trackers": (18, 80), "mask": (18, 80),
}  # fmt: skip


def _cases(names: Iterable[str]) -> list[tuple[str, int]]:
    return [(name, layers) for name in names for layers in FEW.get(name, DEPTHS)]


@pytest.mark.parametrize(("name", "layers"), _cases(REPORTS))
def test_a_figure_holds(name: str, layers: int) -> None:
    assert faults(REPORTS[name](layers).figure()) == []


@pytest.mark.parametrize(("name", "layers"), _cases(FURTHER))
def test_a_further_figure_holds(name: str, layers: int) -> None:
    assert faults(FURTHER[name](layers)) == []


def test_what_touches_leaves_or_covers_is_found() -> None:
    """The check can fail: for each fault a figure that has it."""
    with canvas() as (figure, axes):
        axes.plot([0, 1], [0, 1], label="a line")
        axes.set_xticks([0.50, 0.51, 1.0], ["first", "second", "third"])
        axes.text(0.9, 0.5, "leaves the canvas on the right", in_layout=False)
        axes.legend(loc="center")
    found = faults(figure)
    assert "'first' on 'second'" in found
    assert any("leaves the canvas" in fault for fault in found)
    assert any("a legend lies on" in fault for fault in found)
    with canvas() as (figure, axes):
        axes.bar(range(9), range(1, 10), label="bars")
        axes.legend(loc="lower right")
    assert faults(figure) == ["a legend lies on 2 points or bars"]
