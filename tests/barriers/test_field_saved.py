"""Reports of a field that were saved and loaded: the same tables, and the same figures."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import lens_steer as ls
from lens_steer.barriers import PolynomialBarrier
from lens_steer.barriers.field import DirectionTokens, FieldReport, slice_map, trace
from lens_steer.reports import Report
from tests.barrier_samples import drawn_barrier
from tests.field_samples import D, rows
from tests.oracles_barriers import planted


@pytest.fixture(scope="module")
def traced() -> FieldReport:
    groups = [*(f"name {i % 7}" for i in range(30)), *((i % 5, "town") for i in range(24))]
    data, held = (planted(*n, d=D, seed=i, shift=1.0) for i, n in enumerate(((40, 30), (30, 24))))
    barrier = PolynomialBarrier.fit(data, gamma=1.0, C=1.0)
    return trace(barrier, held, 0.8, training=data, groups=groups, seed=2)


def again(report: Any, folder: Path) -> Any:
    ls.save(report, folder / "report.safetensors")
    return ls.load(folder / "report.safetensors")


PARTS = ("rise", "gap", "shape", "calibration", "calibration.raw", "calibration.scaled")


@pytest.mark.parametrize("name", [*PARTS, "directions"])
def test_a_part_of_a_field_report_is_loaded_as_it_was_saved(
    traced: FieldReport, name: str, tmp_path: Path
) -> None:
    part: Any = traced
    for attribute in name.split("."):
        part = getattr(part, attribute)
    loaded = again(part, tmp_path)
    assert type(loaded) is type(part)
    assert isinstance(loaded, Report)
    pd.testing.assert_frame_equal(loaded.table(), part.table())
    assert repr(loaded) == repr(part)


def test_a_field_report_is_loaded_as_it_was_saved(traced: FieldReport, tmp_path: Path) -> None:
    loaded = again(traced, tmp_path)
    pd.testing.assert_frame_equal(loaded.table(), traced.table())
    assert loaded.summary() == traced.summary()
    assert loaded.sample.groups == traced.sample.groups
    assert (
        repr(loaded)
        == repr(traced)
        == f"FieldReport({traced.barrier}, up to 0.8 rad, {traced.sample})"
    )
    assert "median_entry" in loaded._repr_html_()


def test_a_map_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    plane = slice_map(drawn_barrier(D, D), rows(), 0.4)
    loaded = again(plane, tmp_path)
    pd.testing.assert_frame_equal(loaded.table(), plane.table())
    assert torch.equal(loaded.ways, plane.ways)


def test_tokens_are_loaded_as_they_were_saved(tmp_path: Path) -> None:
    unembedding = torch.cat([torch.eye(D), -torch.eye(D)], dim=1)
    tokens = DirectionTokens.of(drawn_barrier(D, D), unembedding, directions=2, tokens=3)
    loaded = again(tokens, tmp_path)
    pd.testing.assert_frame_equal(loaded.table(), tokens.table())
    words = [f"token {i}" for i in range(2 * D)]
    pd.testing.assert_frame_equal(loaded.table(words), tokens.table(words))
    assert " | ".join(map(str, tokens.raised[0].tolist())) == tokens.table()["raised"][0]
    figure = loaded.figure(words)
    assert len(figure.axes) == len(tokens.names) == 5
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx(tokens.logits[0].tolist())
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [words[i] for i in [*tokens.raised[0].tolist(), *tokens.lowered[0].tolist()]]
