"""Flows limited to where the following block is linear."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import lens_steer as ls
from lens_steer.barriers.flows import Euler
from lens_steer.linearity import LinearityReport
from lens_steer.sites import Kind
from lens_steer.steering import ODESteer
from tests.barrier_samples import drawn_barrier, drawn_rows
from tests.steering.test_odesteer import turn

D = 12


def flows(angle: float = 0.8) -> list[ODESteer]:
    barrier = drawn_barrier(D, 4)
    way = ODESteer(barrier, angle=angle)
    return [
        way,
        way.one_step(),
        ODESteer(barrier, angle=angle, integrator=Euler()),
        ODESteer(barrier, length=angle * 3.0),
        way.to_target(h=2.0),
    ]


def test_no_activation_walks_beyond_the_limit_at_any_strength() -> None:
    x = drawn_rows(30, D)
    size = x.norm(dim=-1)
    for method in flows():
        for strength in (1.0, -1.0, 5.0):
            if type(method).__name__ == "TargetODESteer" and strength < 0:
                continue
            limited = replace(method, limit=0.2).with_strength(strength)
            moved = (limited.flow(x) - x).norm(dim=-1)
            assert float((moved / size).max()) <= 0.2 + 1e-12
            wide = replace(method, limit=12.0).with_strength(strength)
            assert torch.equal(wide.flow(x), method.with_strength(strength).flow(x))


def test_the_limited_turn_is_the_flow_of_that_angle() -> None:
    x = drawn_rows(5, D)
    method = ODESteer(drawn_barrier(D, 4), angle=0.8)
    limited = replace(method, limit=0.2)
    torch.testing.assert_close(limited.flow(x), ODESteer(method.barrier, angle=0.2).flow(x))
    assert limited.max_useful_strength == pytest.approx(0.25)
    assert "limit=0.2" in repr(limited)
    assert "limit" not in repr(method)
    assert float(turn(limited.flow(x), x).max()) <= 0.2 + 1e-9


def report_of(model: Any, pairs: ls.ContrastivePairs) -> LinearityReport:
    jacobians = ls.linearize(model, pairs, progress=False)
    return ls.linearity.diagnose(model, jacobians, pairs, logits=False, progress=False)


def test_within_takes_the_radius_of_the_block_that_follows(
    llama: Any, pairs: ls.ContrastivePairs, tmp_path: Path
) -> None:
    report = report_of(llama, pairs)
    barrier = replace(drawn_barrier(32, 3).to(dtype=torch.float32), layer=1)
    method = ODESteer(barrier, angle=2.0)
    limited = method.within(report)
    assert limited.limit == pytest.approx(float(report.trust_radius[2]))
    assert method.limit is None
    ls.save(limited, tmp_path / "flow.safetensors")
    again = ls.load(tmp_path / "flow.safetensors")
    assert isinstance(again, ODESteer)
    assert again.limit == limited.limit
    with pytest.raises(ValueError, match="no block of the 4 in this report follows it"):
        ODESteer(replace(barrier, layer=3), angle=0.5).within(report)
    # both sides of these pairs end in one token: no feature where block 0 begins
    gone = report.curves.errors.clone()
    gone[..., 2, :] = torch.nan
    without = replace(report, curves=replace(report.curves, errors=gone))
    with pytest.raises(ValueError, match="that of block 2, which follows it, is nan"):
        method.within(without)
    with pytest.raises(ValueError, match="of the residual stream"):
        ODESteer(replace(barrier, kind=Kind.MLP_OUT), angle=0.5).within(report)
    for limit in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match="limit"):
            replace(method, limit=limit)
