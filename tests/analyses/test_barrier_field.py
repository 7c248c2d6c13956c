"""Which barrier is kept, and what is written of it."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from analyses.barrier_field import measures
from analyses.barrier_field.__main__ import tables_of
from analyses.barrier_field.measures import (
    SplitActivations,
    best,
    fit_layers,
    flow_report,
    stability,
    summary_row,
    traced,
)
from analyses.studies import Run
from lens_steer.activations import Activations
from lens_steer.sites import Kind
from tests.oracles_barriers import planted

WEAK, STRONG = 3, 5


def activations(count: int, seed: int) -> Activations:
    """Two layers; the classes differ in the second alone."""
    noise = torch.Generator().manual_seed(seed)
    data = planted(count, count, seed=seed, shift=1.5)
    up, down = (x.float() for x in (data.desired, data.undesired))
    same = [x.mean() + torch.randn(x.shape, generator=noise) for x in (up, down)]
    both = (torch.stack([one, two], dim=1) for one, two in zip(same, (up, down), strict=True))
    return Activations(*both, kind=Kind.RESID, layers=(WEAK, STRONG))


@pytest.fixture(scope="module")
def parts() -> SplitActivations:
    groups = tuple(str(i % 8) for i in range(40)) * 2
    return SplitActivations(*(activations(n, i) for i, n in enumerate((60, 40, 40))), groups=groups)


@pytest.mark.parametrize("kind", list(measures.KINDS))
def test_the_layer_with_the_least_loss_on_dev_is_kept(parts: SplitActivations, kind: str) -> None:
    fitted = fit_layers(parts, kind, 0)
    assert [each.row["layer"] for each in fitted] == [WEAK, STRONG]
    row, barrier = best(fitted).row, best(fitted).barrier
    assert barrier.layer == row["layer"] == STRONG
    assert row["dev_loss"] < fitted[0].row["dev_loss"]
    assert row["C"] == barrier.settings["C"]
    assert (row["held_out_loss"] is None) == (kind == "sketch")


def test_the_probe_is_cross_validated_as_the_one_beside_the_field(parts: SplitActivations) -> None:
    chosen = best(fit_layers(parts, "probe", 0))
    report = traced(chosen.barrier, parts, 0.4, 0)
    assert report.directions is not None
    assert chosen.row["held_out_loss"] is not None
    assert report.directions.mean("probe").mean == pytest.approx(0.0, abs=1e-4)


def test_a_row_says_what_happens_at_the_angles_of_papers(parts: SplitActivations) -> None:
    chosen = best(fit_layers(parts, "exact kernel", 0))
    report = traced(chosen.barrier, parts, 0.4, 0)
    row = summary_row(report, flow_report(chosen.barrier, parts, 0.4, 0))
    assert {"gap_0.35", "cosine_0.35", "rank_for_0.99", "supremum", "linearity"} <= set(row)
    assert {"turning", "crowded_cosine", "rank", "distance"} <= set(row)
    assert "gap_0.7" not in row


def test_fields_of_hash_seeds_are_drawn_by_group(
    parts: SplitActivations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "SIZES", (32, 128))
    monkeypatch.setattr(measures, "HASHES", 2)
    found = stability(parts, STRONG, 0)
    assert found.sizes == (32, 128)
    assert "8 groups" in str(found.sample)


@pytest.mark.slow
def test_a_study_writes_its_figures(
    parts: SplitActivations,
    embedded: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    untyped: None,
) -> None:
    monkeypatch.setattr(measures, "SIZES", (32,))
    monkeypatch.setattr(measures, "HASHES", 2)
    kept = {name: measures.KINDS[name] for name in ("exact kernel", "probe")}
    monkeypatch.setattr(measures, "KINDS", kept)
    run = Run(embedded, tmp_path, 0, {"seed": 0})
    tables = tables_of(run, parts, "organism:x", 0.4)
    assert len(tables["layers"]) == 4
    assert tables["summary"]["barrier"].tolist() == list(kept)
    assert tables["stability"]["layer"].tolist() == [STRONG]
    names = {path.stem for path in tmp_path.glob("*.png")}
    assert {
        "organism-x-exact-kernel-shape",
        "organism-x-probe-slice",
        "organism-x-probe-crowding",
        "organism-x-stability",
    } <= names
    for path in tmp_path.glob("*.png"):
        table: Any = pd.read_csv(path.with_suffix(".csv"))
        assert len(table) > 0
