"""Figures hold at any depth: no text on text or off the canvas, no legend on what is drawn."""

import gc
from collections.abc import Iterator, Sequence

import pytest

from lens_steer.figures import canvas
from lens_steer.tracking import compare_figure
from tests.drawn_boxes import faults
from tests.more_report_samples import MORE_REPORTS
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
pytestmark = pytest.mark.usefixtures("quick_collections", "untyped")  # else it takes twice as long


@pytest.fixture(scope="module")
def quick_collections() -> Iterator[None]:
    """Figures are cycles: what else is there is not looked through each time they are collected."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


FURTHER = {
    "tokens": lambda layers: tracking(layers).tokens_figure([1, layers // 2, layers]),
    "trackers": lambda layers: compare_figure({"LQR": tracking(layers), "CAA": tracking(layers)}),
    "spectra": lambda layers: alignment(layers).spectra_figure(),
    "ringed heads": lambda layers: scores(layers).figure(mask(layers)),
    "shape of a field": lambda width: shape_of_field(8 * width).figure(),
    "map of a choice": lambda layers: choice(layers).map_figure(),
    "doses of a grid": lambda points: grid(points).dose_figure(),
}

ALL = REPORTS | MORE_REPORTS
ANOTHERS = {"linearity", "field", "shape"}  # draw the figures of others in the list
AT_EACH = (  # every layer is a tick, a row or a column
    "separability", "heads", "neurons", "mask", "tracking", "position_gap", "loops", "bounds",
    "persistence", "manifold", "read_steer", "choice", "screen", "energy", "interchange",
    "projection", "vocabulary by layer", "ringed heads", "map of a choice",
)  # fmt: skip
FEW = {  # of others the fewest and the most panels, points, ranks or methods
    "frontier": (6, 18), "dose_response": (6, 18), "tails": (6, 18), "specificity": (3, 8),
    "steerability": (6, 18), "answers": (6, 18), "search": (6, 30), "agreement": (6, 20),
    "vocabulary": (6,), "choices": (6,), "direction tokens": (6,), "calibration": (6,),
    "calibration pair": (6,), "tokens": (80,), "spectra": (80,),
    "rise": (6, 30), "gap": (6,), "edit attribution": (18, 80), "plane": (18,), "sweep": (6, 18),
}  # fmt: skip


def _cases(names: Sequence[str]) -> list[tuple[str, int]]:
    ends = {name: DEPTHS if name in AT_EACH else (6, 80) for name in names} | FEW
    return [(name, layers) for name in names for layers in ends[name]]


@pytest.mark.parametrize(("name", "layers"), _cases([x for x in ALL if x not in ANOTHERS]))
def test_a_figure_holds(name: str, layers: int) -> None:
    assert faults(ALL[name](layers).figure()) == []


@pytest.mark.parametrize(("name", "layers"), _cases(list(FURTHER)))
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
