import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from lens_steer.activations import Activations, SeparabilityReport
from lens_steer.attribution import ElementScores
from lens_steer.evaluation import Evaluation, SweepReport
from lens_steer.figures import canvas, legend_outside, save_figure
from lens_steer.files import write_whole
from lens_steer.sites import Kind

STRENGTHS = (0.0, 1.0, 2.0)
DATA = pd.DataFrame({"x": [0, 1], "y": [0.1, 0.25]})


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def separability() -> SeparabilityReport:
    parts = [
        Activations(
            normal(9, 2, 3, seed=seed), normal(9, 2, 3, seed=seed + 5), Kind.RESID, (0, 1),
            normal(9, 3, seed=seed + 7), normal(9, 3, seed=seed + 8),
        )
        for seed in (0, 1)
    ]  # fmt: skip
    return SeparabilityReport.fit(*parts, seed=0, resamples=10)


def swept() -> SweepReport:
    trials = [
        Evaluation(torch.tensor([0.0, 1.0, i / 2]), ("a", "b", "c"), 5.0 + i, ("", "", ""))
        for i in range(3)
    ]
    return SweepReport(STRENGTHS, (0.0, 0.1, 0.2), tuple(trials), tuple(trials), "share", "CAA", 0)


FIGURES: dict[str, Callable[[], Any]] = {"separability": separability, "sweep": swept}
every = pytest.mark.parametrize("name", FIGURES)


@every
def test_a_figure_has_its_axes_labelled_and_is_not_pyplots(name: str) -> None:
    before = dict(mpl.rcParams)
    figure = FIGURES[name]().figure()
    assert isinstance(figure, Figure)
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before
    assert figure.axes
    assert all(axes.get_ylabel() for axes in figure.axes)
    assert figure.axes[-1].get_xlabel()  # panels above share it
    assert figure.legends or any(axes.get_legend() for axes in figure.axes)


@every
def test_a_figure_is_drawn_without_a_warning_and_computes_nothing(
    name: str, tmp_path: Path
) -> None:
    report = FIGURES[name]()
    before = report.table()
    report.figure().savefig(tmp_path / "f.png")
    assert report.table().equals(before)


def test_the_sweep_shows_its_numbers_at_the_size_of_the_push() -> None:
    report = swept()
    above, below = report.figure().axes
    table = report.table()
    for axes, column in ((above, "behaviour"), (below, "perplexity")):
        lines = {line.get_label(): line for line in axes.get_lines()}
        for name in ("CAA", "random"):
            part = table[table["direction"] == name]
            assert np.asarray(lines[name].get_xdata()).tolist() == list(report.relative)
            assert np.asarray(lines[name].get_ydata()).tolist() == part[column].tolist()
    assert above.get_ylabel() == "share"


def test_separability_is_drawn_layer_by_layer_with_chance_and_bands() -> None:
    report = separability()
    assert report.distance is not None
    above, below = report.figure().axes
    for axes, values in ((above, report.auc), (below, report.distance.d_prime)):
        curve = next(line for line in axes.get_lines() if np.size(line.get_xdata()) == 3)
        assert np.asarray(curve.get_ydata()).tolist() == values.tolist()
        assert len(axes.collections) == 1  # the band of its intervals
        assert len(axes.patches) == 1  # and that of chance
    assert [label.get_text() for label in below.get_xticklabels()] == list(report.labels)
    (alone,) = replace(report, distance=None).figure().axes
    assert len(alone.collections) == 2  # the control's band, in reports saved before


def overlapping(axis: Any, figure: Figure) -> list[tuple[str, str]]:
    """Neighbouring tick labels that touch where the figure is drawn."""
    figure.canvas.draw()
    labels = [label for label in axis.get_ticklabels() if label.get_text()]
    boxes = [label.get_window_extent().padded(1.5) for label in labels]
    assert len(labels) > 4
    return [
        (labels[i].get_text(), labels[i + 1].get_text())
        for i in range(len(labels) - 1)
        if boxes[i].overlaps(boxes[i + 1])
    ]


@pytest.mark.parametrize("depth", [15, 17, 30, 80])
def test_the_labels_of_many_layers_do_not_touch(depth: int) -> None:
    area, layers = torch.full((depth + 1,), 0.9), tuple(range(depth))
    report = SeparabilityReport(
        ("embedding", *map(str, layers)), area, area, area, area, area, (9, 9), 0
    )
    heads = ElementScores(normal(depth, 9, seed=0), Kind.HEAD, layers)
    neurons = ElementScores(normal(depth, 99, seed=0), Kind.NEURON, layers)
    drawn = [report.figure(), heads.figure(), neurons.figure(), neurons.top(99).figure()]
    for i, figure in enumerate(drawn):
        axes = figure.axes[0]
        axis: Any = axes.yaxis if i == 1 else axes.xaxis
        assert overlapping(axis, figure) == []
        places = [int(place) for place in axis.get_ticklocs()]  # each at the place of its layer
        labels = report.labels if i == 0 else tuple(map(str, layers))
        assert [tick.get_text() for tick in axis.get_ticklabels()] == [labels[p] for p in places]


def test_a_ring_fits_into_its_cell_on_a_map_of_many_layers() -> None:
    heads = ElementScores(normal(30, 9, seed=0), Kind.HEAD, tuple(range(30)))
    figure: Any = heads.figure(heads.top(4))
    figure.canvas.draw()
    axes = figure.axes[0]
    ring = axes.lines[-1].get_markersize() * figure.dpi / 72
    assert ring <= axes.get_window_extent().height / 30


def test_a_legend_stands_outside_with_each_name_once() -> None:
    long = "a name that is longer than its column of the legend is wide, by some words"
    with canvas(1, 2) as (figure, panels):
        for axes in panels:
            axes.plot([0, 1], [0, 1], label="twice")
        panels[1].plot([0, 1], [1, 0], label=long)
        legend_outside(figure, title="what is shown")
    [legend] = figure.legends
    once, wrapped = [text.get_text() for text in legend.get_texts()]
    assert once == "twice"
    assert wrapped.replace("\n", " ") == long
    assert "\n" in wrapped
    assert legend.get_title().get_text() == "what is shown"
    figure.draw_without_rendering()
    box = legend.get_window_extent()
    assert not any(box.overlaps(axes.get_window_extent()) for axes in panels)


def plotted(label: str = "x") -> Figure:
    with canvas(width=2.0, height=1.5) as (figure, axes):
        axes.plot([0, 1], [0.1, 0.25])
        axes.set(xlabel=label)
    return figure


def test_a_canvas_is_left_to_the_caller_also_after_an_exception() -> None:
    before = dict(mpl.rcParams)

    def fail() -> None:
        with canvas():
            raise ArithmeticError("broken on purpose")

    with pytest.raises(ArithmeticError):
        fail()
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before


def test_a_figure_is_saved_with_its_numbers_and_their_origin(tmp_path: Path) -> None:
    origin = {"seed": 3, "model": "tiny", "out": Path("x"), "nested": {"a": [1, 2]}}
    save_figure(plotted(), tmp_path / "f.png", DATA, origin)
    assert {path.name for path in tmp_path.iterdir()} == {"f.png", "f.csv", "f.json"}
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert pd.read_csv(tmp_path / "f.csv").equals(DATA)
    found = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert found == {"seed": 3, "model": "tiny", "out": "x", "nested": {"a": [1, 2]}}


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_the_suffix_is_the_format_and_the_same_figure_has_the_same_bytes(
    suffix: str, start: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i, name in enumerate("ab"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(86_400 * (i + 1)))  # two days, one figure
        save_figure(plotted(), str(tmp_path / f"{name}.{suffix}"), DATA, {})
    first, second = (tmp_path / f"{name}.{suffix}" for name in "ab")
    assert first.read_bytes().startswith(start)
    assert first.read_bytes() == second.read_bytes()


def test_a_missing_folder_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no folder .*missing.* to write 'f.png' in: make it fi"):
        save_figure(plotted(), tmp_path / "missing" / "f.png", DATA, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["f", "f.csv", "f.json", "f.nonsense"])
def test_a_suffix_that_is_no_picture_is_refused_and_nothing_is_written(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"(?i)format|suffix"):
        save_figure(plotted(), tmp_path / name, DATA, {})
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "f.txt"
    target.write_text("older")

    def fail(place: Path) -> None:
        place.write_text("half")
        raise ArithmeticError("broken on purpose")

    with pytest.raises(ArithmeticError):
        write_whole(target, fail)
    assert target.read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["f.txt"]


def test_a_write_replaces_the_older_file(tmp_path: Path) -> None:
    target = tmp_path / "f.txt"
    target.write_text("older")
    write_whole(target, lambda place: place.write_text("newer"))
    assert target.read_text() == "newer"
    assert [path.name for path in tmp_path.iterdir()] == ["f.txt"]
