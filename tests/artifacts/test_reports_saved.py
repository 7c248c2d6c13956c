"""Reports of evaluation survive being saved: the same tables and the same figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

import lens_steer as ls
from lens_steer.diagnostics import (
    DivergenceReport,
    ManifoldReport,
    PathSplitReport,
    ReadSteerReport,
    SteerabilityReport,
)
from tests.interventions import push

FEW: dict[str, Any] = {"max_new_tokens": 6, "seed": 0}


@pytest.fixture(scope="module")
def reports(llama: Any, pairs: ls.ContrastivePairs) -> dict[str, Any]:
    methods = {"push": push(llama)}
    return {
        "steerability": SteerabilityReport.fit(llama, pairs, methods, seed=0),
        "manifold": ManifoldReport.fit(llama, pairs, methods, **FEW),
        "divergence": DivergenceReport.fit(llama, pairs, methods, progress=False, **FEW),
        "paths": PathSplitReport.fit(llama, pairs, methods, progress=False, **FEW),
        "read": ReadSteerReport.fit(
            *(llama, pairs, pairs, pairs), kl=0.01, layers=(1, 2), progress=False, **FEW
        ),
        "calibration": ls.calibrate(llama, push(llama), pairs, kl=0.01, progress=False).report,
    }


@pytest.mark.parametrize(
    "name", ["steerability", "manifold", "divergence", "paths", "read", "calibration"]
)
def test_a_report_that_was_saved_has_the_same_table_and_draws_the_same_figure(
    reports: dict[str, Any], name: str, tmp_path: Path
) -> None:
    report = reports[name]
    ls.save(report, tmp_path / "report.safetensors")
    again = ls.load(tmp_path / "report.safetensors")
    assert type(again) is type(report)
    pd.testing.assert_frame_equal(again.table(), report.table())
    before, after = (pixels(one.figure()) for one in (report, again))
    np.testing.assert_array_equal(before, after)


def pixels(figure: Figure) -> NDArray[np.uint8]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())
