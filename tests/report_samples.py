"""Reports made by their constructors, at any depth: what they draw and print, without a model."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lens_steer.activations import Activations, LayerActivations, SeparabilityReport
from lens_steer.attribution import ElementMask, ElementScores
from lens_steer.barriers.field import HeldOutRows, ShapeReport
from lens_steer.benchmark import DoseResponse, Frontier
from lens_steer.benchmark.dose_response import DosePoint
from lens_steer.benchmark.doses import Dose
from lens_steer.benchmark.frontier import FrontierPoint
from lens_steer.diagnostics import ManifoldReport, ReadSteerReport
from lens_steer.evaluation import CalibrationReport, Choice, Evaluation, Screen
from lens_steer.intervals import Interval
from lens_steer.linearity import (
    AlignmentReport,
    ErrorCurves,
    FeatureDirections,
    LogitReport,
    PersistenceReport,
)
from lens_steer.sites import Kind
from lens_steer.steering import CAA, GridReport
from lens_steer.tracking import BoundCheck, LoopReport, PositionGap, TrackingReport

TEXTS, GROUPS, D = 6, ("a", "a", "b", "b", "c", "c"), 4


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _several(draw: Callable[..., Tensor], count: int, *shape: int) -> Any:
    """Tensors of one shape in float64, as arguments of a constructor."""
    return [draw(*shape, seed=i).double() for i in range(count)]


def captured(layers: int, seed: int = 0) -> Activations:
    sides = normal(9, layers, D, seed=seed) + 0.5, normal(9, layers, D, seed=seed + 50)
    embedded = normal(9, D, seed=seed + 70), normal(9, D, seed=seed + 80)
    return Activations(*sides, Kind.RESID, tuple(range(layers)), *embedded)


def separability(layers: int) -> SeparabilityReport:
    return SeparabilityReport.fit(captured(layers), captured(layers, 1), seed=0, resamples=10)


def scores(layers: int, elements: int = 16) -> ElementScores:
    name = "margin lost without it, nats per token"
    return ElementScores(normal(layers, elements), Kind.HEAD, tuple(range(layers)), name)


def mask(layers: int) -> ElementMask:
    return scores(layers).top(16)


def features(layers: int) -> FeatureDirections:
    return FeatureDirections.of(captured(layers))


def tracking(layers: int) -> TrackingReport:
    clean = normal(TEXTS, 2, layers + 1).double()
    energy = uniform(TEXTS, 2, layers).double() / 100
    own = features(layers)
    classes = ("desired", "undesired") * 3
    setpoints = own.setpoints(1, centred=True)
    return TrackingReport(clean, clean + 1, energy, own, setpoints, GROUPS, classes, 0)


def position_gap(layers: int) -> PositionGap:
    changes = _several(normal, 3, TEXTS, layers + 1)
    return PositionGap(*changes, *_GAP)


def loops(layers: int) -> LoopReport:
    names = ("open: A", "LQR: A - B K", "tracker: (I - P F') A")
    norms = {n: (0.05 * i * torch.arange(layers + 1)).exp().double() for i, n in enumerate(names)}
    return LoopReport(norms, 0)


_GAP: Any = (GROUPS, "all", 0)  # groups, scope, seed
_BOUNDS: Any = (0, GROUPS, 0.1, "A - B K", 0)  # first state, groups, alpha, loop, seed


def bounds(layers: int) -> BoundCheck:
    errors = normal(TEXTS, layers).double()
    kinds = ("a priori, deterministic", "a posteriori, conformal")
    sizes = {name: 3 + uniform(TEXTS, layers).double() for name in kinds}
    holds = {name: torch.ones(TEXTS, layers, dtype=torch.bool) for name in kinds}
    return BoundCheck(errors, sizes, holds, torch.ones(layers).double(), *_BOUNDS)


def persistence(layers: int) -> PersistenceReport:
    cosine, gain = uniform(4, layers, TEXTS), uniform(4, layers, TEXTS)
    transfer = normal(layers + 1, layers + 1, TEXTS)
    energies = uniform(layers, TEXTS, seed=1), uniform(layers, TEXTS, seed=2)
    return PersistenceReport(
        cosine, gain, transfer, *energies, torch.ones(layers + 1), None, GROUPS, 0
    )


def error_curves(layers: int) -> ErrorCurves:
    return ErrorCurves((0.01, 0.1, 1.0), uniform(4, 3, 3, layers, TEXTS) + 0.01, GROUPS, 0)


def logits(layers: int) -> LogitReport:
    shape = (4, 3, 3, layers, TEXTS)
    return LogitReport((0.01, 0.1, 1.0), uniform(*shape), uniform(*shape, seed=1), GROUPS, 0)


def alignment(layers: int) -> AlignmentReport:
    chosen = tuple(sorted({0, layers // 3, 2 * layers // 3, layers - 1}))
    similar = uniform(3, 4, len(chosen), 3, TEXTS)
    cosine = uniform(2, len(chosen), TEXTS)
    spectra = uniform(2, 2, len(chosen), D).sort(descending=True).values
    return AlignmentReport(
        ("reviews", "recipes", "random"), chosen, (1, 2, 4), similar, cosine, spectra, 0
    )


def manifold(layers: int) -> ManifoldReport:
    names = ("unsteered", "desired texts", "CAA", "random, as CAA")
    quartiles = 100 * uniform(2, 4, layers, 3).sort(dim=-1).values
    edited = ((), (), (layers // 2,), (layers // 2,))
    return ManifoldReport(
        names, ("clean", "desired"), tuple(range(layers)), quartiles, edited, (80, 90), (8, 9), 0
    )


def read_steer(layers: int) -> ReadSteerReport:
    reads = ("last", "mean", "prompt_last")
    values = _several(normal, 7, 3, layers)
    notes = (("",) * layers,) * 3
    name = "change of the preference, nats per token"
    rest: Any = (notes, name, 0.1, 40, 20, 0)
    return ReadSteerReport(reads, tuple(range(layers)), *values, *rest)


def caa(layer: int, strength: float = 1.0) -> CAA:
    return CAA.fit(captured(layer + 1).at(layer=layer)).with_strength(strength)


def evaluation(rate: float, seed: int = 0) -> Evaluation:
    shown = (uniform(20, seed=seed) < rate).float()
    return Evaluation(shown, tuple(range(20)), 5 + 10 * rate, ("some text",) * 20)


def choice(layers: int) -> Choice:
    strengths = (0.5, 1.0, 2.0)
    tried = [caa(layer, s) for layer in range(0, layers, 2) for s in strengths]
    trials = tuple(evaluation(i / len(tried), i) for i in range(len(tried)))
    return Choice(tuple(tried), trials, evaluation(0.1, 99), 2.0, 0.9, len(tried) // 3)


def screen(layers: int) -> Screen:
    changes = normal(layers, TEXTS).double()
    nats = uniform(layers, seed=3).double() + 0.01
    return Screen(tuple(caa(layer) for layer in range(layers)), changes, nats, GROUPS, 3)


def shape_of_field(width: int) -> ShapeReport:
    held = LayerActivations.from_tensors(normal(6, 3), normal(6, 3, seed=1))
    shares = _several(uniform, 3, 12)
    ranks = (0, *(2**i for i in range(width.bit_length()) if 2**i < width), width)
    fidelity = uniform(len(ranks), 12).double()
    spectrum = normal(width).double().sort().values
    rest: Any = (spectrum, 0.5, ranks, fidelity, HeldOutRows.of(held, None, 0))
    return ShapeReport(*shares, *rest)


def crossing(strengths: int) -> CalibrationReport:
    """The target is passed early, and the curve goes on far behind it."""
    tried = tuple(20 * (i / (strengths - 1)) ** 2 for i in range(strengths))
    values = tuple(0.1 * x * x for x in tried)
    return CalibrationReport("kl", 0.128, tried, values, (1.13,), 1.13, 0.128)


def grid(points: int) -> GridReport:
    """As many k and delta as half of the points, at most as many as published."""
    ks = (1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20)[: max(points // 2, 2)]
    deltas = tuple(5.0 * i - 1 for i in range(1, min(points, 16) + 1))
    margin = normal(len(ks), len(deltas), TEXTS)
    nats = uniform(len(ks), len(deltas), TEXTS) / 3
    return GridReport(scores(30), "signed", ks, deltas, margin, nats, normal(TEXTS), GROUPS, 0)


def methods_named(count: int) -> tuple[str, ...]:
    return ("unsteered", "random", *(f"method {i} of some family" for i in range(count)))


def _share(method: int, strength: float) -> Interval:
    return around(0.1 + strength * (7 * method % 19) / 60, 0.05)


def frontier(count: int) -> Frontier:
    methods = methods_named(min(count, 18))
    points = [
        FrontierPoint(name, m, 40, around(m * (1 + i)), _share(i, m), around(0.01 * (1 + i), 0.005))
        for i, name in enumerate(methods)
        for m in ((0.0,) if name == "unsteered" else (0.5, 1.0, 2.0))
    ]
    return Frontier("mentions the sea", methods, around(0.1, 0.05), tuple(points), 20)


def dose_response(count: int) -> DoseResponse:
    methods = methods_named(min(count, 18))
    points = [
        DosePoint(name, m, 40, _share(i, m), around(1 - m * i / 60, 0.05))
        for i, name in enumerate(methods[1:])
        for m in (0.5, 1.0, 2.0)
    ]
    doses = [Dose(n, around(1.0), around(1.5), around(1.5), 2.0) for n in methods[1:]]
    plain = DosePoint("unsteered", 0.0, 40, around(0.1, 0.05), around(1.0, 0.01))
    return DoseResponse("mentions the sea", methods, plain, tuple(points), tuple(doses), 20)


def around(mean: float, half: float = 0.1) -> Interval:
    return Interval(mean, max(mean - half, 0.0), mean + half)


REPORTS: dict[str, Callable[[int], Any]] = {
    "separability": separability,
    "heads": scores,
    "neurons": lambda layers: scores(layers, 200),
    "mask": mask,
    "tracking": tracking,
    "position_gap": position_gap,
    "loops": loops,
    "bounds": bounds,
    "persistence": persistence,
    "error_curves": error_curves,
    "logits": logits,
    "alignment": alignment,
    "manifold": manifold,
    "read_steer": read_steer,
    "choice": choice,
    "screen": screen,
    "crossing": crossing,
    "grid": grid,
    "frontier": frontier,
    "dose_response": dose_response,
}
