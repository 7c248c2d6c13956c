"""Barriers of one behaviour: fitted by layer, chosen on dev, traced on test."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

import lens_steer as ls
from analyses.barrier_field_instruments import FieldStability, FlowReport
from lens_steer.activations import Activations, LayerActivations
from lens_steer.barriers import Barrier, LinearBarrier, PolynomialBarrier, field
from lens_steer.benchmark import Behaviour

KINDS: dict[str, Callable[[LayerActivations, int], Barrier]] = {
    "exact kernel": lambda train, seed: PolynomialBarrier.fit(train, seed=seed),
    "sketch": lambda train, seed: PolynomialBarrier.fit_sketch(train, seed=seed),
    "probe": lambda train, seed: LinearBarrier.fit(train, seed=seed),
}
SIZES, HASHES = (500, 2000, 8000), 4  # of sketches beside the exact kernel, gamma 0.1 and C 1
PAPER_ANGLES = (0.35, 0.7)  # rad, by which papers steer


@dataclass(frozen=True, eq=False)
class SplitActivations:
    """Activations of the three parts of one behaviour's pairs, and the groups of the test rows."""

    train: Activations
    dev: Activations
    test: Activations
    groups: tuple[str, ...]

    @classmethod
    def of(cls, behaviour: Behaviour) -> "SplitActivations":
        """Read the mean over the continuation: its last token would say the class."""
        train = behaviour.cache.activations("mean")
        dev, test = (
            ls.capture(behaviour.cache.model, part, "resid", read="mean", progress=False)
            for part in (behaviour.dev, behaviour.test)
        )
        return cls(train, dev, test, groups=tuple(behaviour.test.groups) * 2)


@dataclass(frozen=True, eq=False)
class FittedBarrier:
    """A barrier at one layer, and a table row that says how it was chosen and what it loses."""

    barrier: Barrier
    row: dict[str, Any]


def log_loss(barrier: Barrier, held_out: LayerActivations) -> float:
    """The log-loss of a barrier, in nats per row; the prior is the classes' shares."""
    rows = torch.cat([held_out.desired, held_out.undesired]).double()
    sample = field.HeldOutRows.of(held_out, None, 0)
    return field.BarrierCalibration(barrier.h(rows), sample).log_loss.mean


def fit_layers(parts: SplitActivations, kind: str, seed: int) -> list[FittedBarrier]:
    """One barrier for each layer, with its loss on dev."""
    fitted = []
    for layer in parts.train.layers:
        barrier = KINDS[kind](parts.train.at(layer), seed)
        row = {"barrier": kind, "layer": layer, "dev_loss": log_loss(barrier, parts.dev.at(layer))}
        row |= {name: barrier.settings.get(name) for name in ("held_out_loss", "gamma", "C")}
        fitted.append(FittedBarrier(barrier, row))
    return fitted


def best(fitted: list[FittedBarrier]) -> FittedBarrier:
    """The layer with the least log-loss on dev."""
    return min(fitted, key=lambda each: each.row["dev_loss"])


def stability(parts: SplitActivations, layer: int, seed: int) -> FieldStability:
    """Fields of sketches of several hash seeds on test, beside the kernel that they sketch."""
    train, test = parts.train.at(layer), parts.test.at(layer)
    exact = PolynomialBarrier.fit(train, gamma=0.1, C=1.0)
    sketches = {
        size: [
            PolynomialBarrier.fit_sketch(train, n_components=size, seed=seed + i)
            for i in range(HASHES)
        ]
        for size in SIZES
    }
    return FieldStability.of(exact, sketches, test, seed, groups=parts.groups)


def traced(barrier: Barrier, parts: SplitActivations, angle: float, seed: int) -> field.FieldReport:
    """The field of a barrier on test, beside directions of train."""
    train, test = parts.train.at(barrier.layer), parts.test.at(barrier.layer)
    return field.trace(barrier, test, angle, training=train, groups=parts.groups, seed=seed)


def flow_report(barrier: Barrier, parts: SplitActivations, angle: float, seed: int) -> FlowReport:
    """The flow along a barrier on test, with distances to train."""
    train, test = parts.train.at(barrier.layer), parts.test.at(barrier.layer)
    return FlowReport.fit(barrier, test, angle, training=train, groups=parts.groups, seed=seed)


def summary_row(report: field.FieldReport, flow: FlowReport) -> dict[str, Any]:
    """Both summaries, with the gap at the angles by which papers steer."""
    row: dict[str, Any] = report.summary() | flow.summary()
    for angle in PAPER_ANGLES:
        if angle <= report.angle:
            for name, interval in report.gap.at(angle).items():
                row |= interval.columns(f"{name}_{angle:g}")
    if report.shape is not None:
        row["rank_for_0.99"] = report.shape.rank_for(0.99)
    return row | {"supremum": report.rise.supremum, "desired_median": report.rise.desired_median}
