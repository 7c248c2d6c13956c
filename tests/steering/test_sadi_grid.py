"""What the figures of a grid of k and delta draw."""

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer

from lens_steer.attribution import ElementScores
from lens_steer.sites import Kind
from lens_steer.steering import GridReport

KS, DELTAS, PAIRS = (1, 3), (-1.0, 0.5, 4.0), 6


@pytest.fixture(scope="module")
def grid() -> GridReport:
    """Margins and nats of a generator, at 2 times 3 points."""
    draw = torch.Generator().manual_seed(0)
    scores = ElementScores(torch.randn(2, 4, generator=draw), Kind.HEAD, (0, 1))
    margin = torch.randn(len(KS), len(DELTAS), PAIRS, generator=draw).double()
    kl = torch.rand(len(KS), len(DELTAS), PAIRS, generator=draw).double()
    plain = torch.tensor([0.5, -0.5, 0.25, 1.0, -1.0, -2.0], dtype=torch.double)
    return GridReport(scores, "signed", KS, DELTAS, margin, kl, plain, tuple(range(PAIRS)), 0)


def test_the_maps_are_the_accuracy_and_the_nats_of_each_point(grid: GridReport) -> None:
    left, right = grid.figure().axes[:2]
    accuracy, kl = grid.margin.numpy() > 0, grid.kl.numpy()
    for axes, values in ((left, accuracy.mean(axis=-1)), (right, kl.mean(axis=-1))):
        [image] = axes.images
        np.testing.assert_allclose(np.asarray(image.get_array()), values, rtol=1e-12)
        assert image.origin == "lower"  # the first k is the lowest row, as its tick says
        assert [label.get_text() for label in axes.get_xticklabels()] == ["-1", "0.5", "4"]
        assert axes.get_xlabel() == "delta"
    assert [label.get_text() for label in left.get_yticklabels()] == ["1", "3"]
    assert left.images[0].get_clim() == (0.0, 1.0)
    assert right.images[0].get_clim() == (0.0, pytest.approx(kl.mean(axis=-1).max()))
    assert (left.get_ylabel(), left.get_title()) == ("k, head elements", "unsteered 50%")
    assert right.get_title().startswith("6 pairs")


def test_the_lines_are_the_mean_gains_in_margin_with_their_intervals(grid: GridReport) -> None:
    [axes] = grid.dose_figure().axes
    gains = (grid.margin - grid.plain).numpy()
    for i, bars in enumerate(axes.containers):
        assert isinstance(bars, ErrorbarContainer)
        lines: Any = bars.lines  # matplotlib's own annotation is of another shape
        line, _, [segments] = lines
        np.testing.assert_allclose(line.get_xdata(orig=False), DELTAS)
        np.testing.assert_allclose(line.get_ydata(orig=False), gains[i].mean(axis=-1), rtol=1e-9)
        assert to_hex(line.get_color()) == to_hex(f"C{i}")
        for segment, middle in zip(segments.get_segments(), gains[i].mean(axis=-1), strict=True):
            (x_low, low), (x_high, high) = segment
            assert x_low == x_high
            assert low < middle < high
    assert len(axes.containers) == len(KS)
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "k, head"
    assert [text.get_text() for text in legend.get_texts()] == ["1", "3"]
    assert axes.get_ylabel().startswith("margin gained by the desired answer")
