"""Reports of attribution, separability and linearity survive being saved."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

import lens_steer as ls
from lens_steer.activations import SeparabilityReport
from lens_steer.attribution import (
    AblationReport,
    AgreementReport,
    SignReport,
    StabilityReport,
    contrast,
    contrast_norm,
)
from lens_steer.linearity import (
    AlignmentReport,
    ErrorCurves,
    LinearityReport,
    LogitReport,
    PersistenceReport,
)
from lens_steer.reports import Report
from lens_steer.sites import Kind
from tests.artifacts.test_artifacts import same

GROUPS = ("a", "a", "b", "c")


def heads(seed: int, pairs: int = 12) -> ls.Activations:
    draw = torch.Generator().manual_seed(seed)
    desired, undesired = (torch.randn(pairs, 2, 3, 4, generator=draw) for _ in range(2))
    return ls.Activations(desired + 0.3, undesired, Kind.HEAD, (1, 2))


def ablation() -> AblationReport:
    draw = torch.Generator().manual_seed(0)
    lost, random = (torch.rand(3, 4, generator=draw).double() for _ in range(2))
    ks, margin = (1, 2, 4), torch.ones(4).double()
    return AblationReport(ks, lost, random, margin, GROUPS, Kind.HEAD, "signed", 5, 0)


def stability() -> StabilityReport:
    return StabilityReport.fit(heads(0), 2, [2, 6], draws=3, seed=0)


def agreement() -> AgreementReport:
    return AgreementReport.of({"mean": contrast(heads(0)), "norm": contrast_norm(heads(0))}, 2)


def curves() -> ErrorCurves:
    return ErrorCurves((0.1, 0.5), torch.rand(4, 3, 2, 1, 4), GROUPS, 0)


def persistence() -> PersistenceReport:
    (cosine, gain), (energy, random) = torch.rand(2, 4, 1, 4), torch.rand(2, 1, 4)
    transfer, sizes = torch.rand(2, 2, 4), torch.rand(2)
    return PersistenceReport(cosine, gain, transfer, energy, random, sizes, None, GROUPS, 0)


def logits() -> LogitReport:
    slope, explained = torch.rand(2, 4, 2, 2, 1, 4)
    return LogitReport((0.1, 0.5), slope, explained, GROUPS, 0)


def alignment() -> AlignmentReport:
    similarity, cosine = torch.rand(2, 4, 1, 1, 3), torch.rand(1, 1, 3)
    spectra = torch.rand(1, 2, 1, 8)
    return AlignmentReport(("a", "random"), (1,), (2,), similarity, cosine, spectra, 0)


def signs() -> SignReport:
    mask = contrast(heads(0)).top(2)
    return SignReport.fit(heads(0), mask, heads(1).desired, groups=tuple("abcdef") * 2, seed=0)


MADE: dict[str, Callable[[], Report]] = {
    "ablation": ablation,
    "stability": stability,
    "agreement": agreement,
    "signs": signs,
    "labels": lambda: AgreementReport.by_label(heads(0), list("abc") * 4, 3),
    "scores": lambda: contrast(heads(0)),
    "mask": lambda: contrast(heads(0)).top(3),
    "separability": lambda: SeparabilityReport.fit(heads(0), heads(1), seed=0, resamples=20),
    "curves": curves,
    "persistence": persistence,
    "logits": logits,
    "linearity": lambda: LinearityReport(curves(), persistence(), logits()),
    "alignment": alignment,
}


@pytest.mark.parametrize("name", MADE)
def test_a_report_that_was_saved_is_the_same(name: str, tmp_path: Path) -> None:
    report = MADE[name]()
    ls.save(report, tmp_path / "report.safetensors")
    again = ls.load(tmp_path / "report.safetensors")
    assert same(again, report)
    pd.testing.assert_frame_equal(again.table(), report.table())


@pytest.mark.parametrize("name", MADE)
def test_a_report_is_written_on_one_screen(name: str) -> None:
    report = MADE[name]()
    lines = repr(report).splitlines()
    assert lines[0].startswith(type(report).__name__)
    assert len(lines) <= 22
    assert max(map(len, lines)) <= 160
