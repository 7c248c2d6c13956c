"""Figures hold at any depth: no text on text or off the canvas, no legend on what is drawn."""

import pytest

from lens_steer.tracking import compare_figure
from tests.drawn_boxes import faults
from tests.report_samples import REPORTS, alignment, grid, mask, scores, tracking

DEPTHS = (6, 18, 30, 80)


FURTHER = {
    "tokens": lambda layers: tracking(layers).tokens_figure([1, layers // 2, layers]),
    "trackers": lambda layers: compare_figure({"LQR": tracking(layers), "CAA": tracking(layers)}),
    "spectra": lambda layers: alignment(layers).spectra_figure(),
    "ringed heads": lambda layers: scores(layers).figure(mask(layers)),
    "doses of a grid": lambda points: grid(points).dose_figure(),
}


@pytest.mark.parametrize("layers", DEPTHS)
@pytest.mark.parametrize("name", REPORTS)
def test_a_figure_holds(name: str, layers: int) -> None:
    assert faults(REPORTS[name](layers).figure()) == []


@pytest.mark.parametrize("layers", DEPTHS)
@pytest.mark.parametrize("name", FURTHER)
def test_a_further_figure_holds(name: str, layers: int) -> None:
    assert faults(FURTHER[name](layers)) == []
