"""What the figures of a grid of k and delta draw."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer

import lens_steer as ls
from lens_steer.attribution import ElementScores, contrast
from lens_steer.sites import Kind
from lens_steer.steering import FrozenSADI, GridAnswers, GridReport

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


@pytest.fixture(scope="module")
def both(grid: GridReport) -> GridReport:
    """The same with frozen patches, whose nats are larger."""
    draw = torch.Generator().manual_seed(1)
    margin = grid.margin + 0.3 * torch.randn(grid.margin.shape, generator=draw).double()
    return replace(grid, frozen=GridAnswers(margin, 1.5 * grid.kl))


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


# ---- frozen patches beside it ----


def test_frozen_patches_have_maps_of_their_own_below(both: GridReport) -> None:
    assert both.frozen is not None
    axes = both.figure().axes[:4]
    above, below = axes[:2], axes[2:]
    for (left, right), answers in ((above, both), (below, both.frozen)):
        accuracy, kl = answers.margin.numpy() > 0, answers.kl.numpy()
        for panel, values in ((left, accuracy.mean(axis=-1)), (right, kl.mean(axis=-1))):
            [image] = panel.images
            np.testing.assert_allclose(np.asarray(image.get_array()), values, rtol=1e-12)
        most = 1.5 * float(both.kl.mean(dim=-1).max())
        assert right.images[0].get_clim() == (0.0, pytest.approx(min(1.0, most)))
    assert [panel.get_title() for panel in (above[0], below[0])] == [
        "scaled online; unsteered 50%",
        "frozen patch",
    ]
    assert below[0].get_xlabel() == "delta"


def test_the_difference_is_a_share_of_what_online_changes(both: GridReport) -> None:
    assert both.frozen is not None
    online, frozen = both.margin.numpy(), both.frozen.margin.numpy()
    gained = np.sqrt(((online - both.plain.numpy()) ** 2).mean(axis=-1))
    expected = np.sqrt(((frozen - online) ** 2).mean(axis=-1)) / gained
    np.testing.assert_allclose(both.difference, expected, rtol=1e-12)
    [axes] = both.difference_figure().axes
    for line, values in zip(axes.lines, expected, strict=True):
        np.testing.assert_allclose(np.asarray(line.get_ydata(orig=False)), values, rtol=1e-12)
    table = both.table()
    assert table["frozen_difference"].isna().tolist() == [True] + 6 * [False]
    np.testing.assert_allclose(table["frozen_difference"][1:], expected.ravel())
    np.testing.assert_allclose(table["frozen_margin"][1:], frozen.mean(axis=-1).ravel())
    np.testing.assert_allclose(table["frozen_accuracy"][1:], (frozen > 0).mean(axis=-1).ravel())
    low, middle = (
        table[name].to_numpy()[1:] for name in ("frozen_accuracy_low", "frozen_accuracy")
    )
    assert np.all(low <= middle)
    online_alone = replace(both, frozen=None).table()
    assert table[online_alone.columns].equals(online_alone)


def test_the_best_patch_is_chosen_by_its_own_answers(both: GridReport) -> None:
    assert both.frozen is not None
    order = [
        (
            float((both.frozen.margin[i, j] > 0).double().mean()),
            float(both.frozen.margin[i, j].mean()),
        )
        for i in range(len(KS))
        for j in range(len(DELTAS))
    ]
    at = order.index(max(order))
    best = both.best_frozen()
    assert isinstance(best, FrozenSADI)
    assert (best.mask.count, best.delta) == (KS[at // 3], DELTAS[at % 3])
    with pytest.raises(ValueError, match="no point of at most 1e-09 nats"):
        both.best_frozen(kl=1e-9)
    plain = replace(both, frozen=None)
    for use in (plain.best_frozen, plain.difference_figure, lambda: plain.difference):
        with pytest.raises(ValueError, match=r"no frozen patches: GridReport\.fit\(.*frozen=True"):
            use()


def test_a_report_of_both_is_saved_and_one_without_as_before(
    both: GridReport, tmp_path: Path
) -> None:
    ls.save(both, tmp_path / "both")
    again = ls.load(tmp_path / "both")
    assert repr(again) == repr(both)
    assert torch.equal(again.difference, both.difference)
    plain = replace(both, frozen=None)
    ls.save(plain, tmp_path / "plain.safetensors")
    assert (
        "frozen" not in ls.artifacts.describe(tmp_path / "plain.safetensors")["content"]["fields"]
    )
    assert ls.load(tmp_path / "plain.safetensors").frozen is None


def test_other_shapes_are_refused(both: GridReport, untyped: None) -> None:
    assert both.frozen is not None
    fewer = both.frozen.margin[:, :2], both.frozen.kl[:, :2]
    with pytest.raises(ValueError, match="frozen and online margins of shapes"):
        replace(both, frozen=GridAnswers(*fewer))
    with pytest.raises(ValueError, match="margins and nats of shapes"):
        GridAnswers(both.frozen.margin, fewer[1])
    assert repr(both.frozen) == "GridAnswers(2 x 3 points, 6 pairs)"


@pytest.mark.parametrize("kind", ["head", "gate"])
def test_a_fit_tries_frozen_sadi_at_every_point(
    llama: Any, pairs: ls.ContrastivePairs, kind: str
) -> None:
    scores = contrast(ls.capture(llama, pairs, kind, progress=False))
    how: dict[str, Any] = {"seed": 0, "progress": False}
    found = GridReport.fit(llama, scores, pairs, (2, 6), (-1.0, 3.0), frozen=True, **how)
    assert found.frozen is not None
    for i, k in enumerate((2, 6)):
        for j, delta in enumerate((-1.0, 3.0)):
            steered = ls.preference(llama, pairs, FrozenSADI(scores.top(k), delta)).double()
            torch.testing.assert_close(found.frozen.margin[i, j], steered, atol=3e-5, rtol=1e-4)
    assert float(found.difference.min()) > 0
    alone = GridReport.fit(llama, scores, pairs, (2, 6), (-1.0, 3.0), **how)
    torch.testing.assert_close(alone.margin, found.margin)
