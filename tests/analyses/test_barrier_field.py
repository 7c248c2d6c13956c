"""Which barrier is kept, and what is written of it."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from analyses.barrier_field import __main__ as barrier_field
from analyses.barrier_field.__main__ import Parts, best, fitted, row_of, stability, study, traced
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
def parts() -> Parts:
    groups = tuple(str(i % 8) for i in range(40)) * 2
    return Parts(*(activations(n, i) for i, n in enumerate((60, 40, 40))), groups=groups)


@pytest.mark.parametrize("kind", list(barrier_field.KINDS))
def test_the_layer_with_the_least_loss_on_dev_is_kept(parts: Parts, kind: str) -> None:
    found = fitted(parts, kind, 0)
    assert [row["layer"] for row, _ in found] == [WEAK, STRONG]
    row, barrier = best(found)
    assert barrier.layer == row["layer"] == STRONG
    assert row["dev_loss"] < found[0][0]["dev_loss"]
    assert row["C"] == barrier.settings["C"]
    assert (row["held_out_loss"] is None) == (kind == "sketch")


def test_the_probe_is_cross_validated_as_the_one_beside_the_field(parts: Parts) -> None:
    row, barrier = best(fitted(parts, "probe", 0))
    report = traced(barrier, parts, 0.4, 0)
    assert report.directions is not None
    assert row["held_out_loss"] is not None
    assert report.directions.mean("probe").mean == pytest.approx(0.0, abs=1e-4)


def test_a_row_says_what_happens_at_the_angles_of_papers(parts: Parts) -> None:
    row = row_of(traced(best(fitted(parts, "exact kernel", 0))[1], parts, 0.4, 0))
    assert {"gap_0.35", "cosine_0.35", "rank_for_0.99", "supremum", "linearity"} <= set(row)
    assert "gap_0.7" not in row


def test_fields_of_hash_seeds_are_drawn_by_group(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(barrier_field, "SIZES", (32, 128))
    monkeypatch.setattr(barrier_field, "HASHES", 2)
    found = stability(parts, STRONG, 0)
    assert found.sizes == (32, 128)
    assert "8 groups" in str(found.sample)


@pytest.mark.slow
def test_a_study_writes_its_figures(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(barrier_field, "SIZES", (32,))
    monkeypatch.setattr(barrier_field, "HASHES", 2)
    kept = {name: barrier_field.KINDS[name] for name in ("exact kernel", "probe")}
    monkeypatch.setattr(barrier_field, "KINDS", kept)
    layers, chosen, hashes = study(parts, "organism:x", 0.4, 0, tmp_path, {"seed": 0})
    assert len(layers) == 4
    assert [row["barrier"] for row in chosen] == list(kept)
    assert hashes["layer"].tolist() == [STRONG]
    names = {path.stem for path in tmp_path.glob("*.png")}
    assert {
        "organism-x-exact-kernel-shape",
        "organism-x-probe-slice",
        "organism-x-stability",
    } <= names
    for path in tmp_path.glob("*.png"):
        table: Any = pd.read_csv(path.with_suffix(".csv"))
        assert len(table) > 0
