"""Methods made of the parts of several papers, and the plain ones that they are compared with."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

import lens_steer as ls
from lens_steer.attribution import (
    ElementMask,
    ElementScores,
    attribution_patching,
    contrast,
    slope_per_nat,
)
from lens_steer.benchmark import Behaviour
from lens_steer.steering import BarrierLQR

TEXTS = 64  # that Jacobians are averaged over, at most

# Each with what it is compared with; the first name less the second.
COMPARED = (
    ("LQR, heads by slope per nat", "LQR"),
    ("LQR, heads by slope per nat", "LQR, heads by SADI difference"),
    ("LQR, heads by slope per nat", "LQR, heads by attribution patching"),
    ("LQR, heads by slope per nat", "LQR, random heads of these layers"),
    ("LQR, neurons by slope per nat", "LQR"),
    ("LQR, neurons by slope per nat", "LQR, neurons by SADI difference"),
    ("LQR, neurons by slope per nat", "LQR, neurons by attribution patching"),
    ("LQR, neurons by slope per nat", "LQR, random neurons of these layers"),
    ("barrier set-point", "LQR"),
    ("barrier set-point", "ODESteer"),
    ("ODESteer, limited", "ODESteer"),
)


def masks(
    model: ls.SteerableModel, train: ls.ContrastivePairs, kind: str, k: int, seed: int
) -> dict[str, ElementMask]:
    """The k elements of largest score by each of the attributions, and as many drawn at random."""
    activations = ls.capture(model, train, kind, progress=False)
    scores = {
        "slope per nat": slope_per_nat(model, train, activations, seed=seed, progress=False),
        "SADI difference": contrast(activations),
        "attribution patching": attribution_patching(model, train, activations, progress=False),
    }
    name = f"{kind}s by "
    found = {name + how: _with_a_feature(s).top(k, "absolute") for how, s in scores.items()}
    drawn = found[f"{kind}s by slope per nat"].shuffled(seed=seed)
    return found | {f"random {kind}s of these layers": drawn}


def _with_a_feature(scores: ElementScores) -> ElementScores:
    """Scores of 0 in block 0: both sides end in like tokens there, and the law reads nothing."""
    values = scores.values.clone()
    values[0] = 0
    return replace(scores, values=values)


def methods_of(
    behaviour: Behaviour, heads: int, neurons: int, seed: int
) -> Iterator[tuple[str, ls.Intervention | str]]:
    """Each method by name, at strength 1; or, of one that cannot be made, why."""
    model, train = behaviour.cache.model, behaviour.cache.train
    some = train.first(TEXTS)
    resid = ls.capture(model, train, "resid", progress=False)
    jacobians = ls.linearize(model, some, hooks=["head", "neuron"], progress=False)
    yield "LQR", ls.LQR.fit(jacobians, resid)
    for kind, k in (("head", heads), ("neuron", neurons)):
        for name, mask in masks(model, some, kind, k, seed).items():
            yield f"LQR, {name}", ls.LQR.fit(jacobians, resid, actuators=mask)
    n = jacobians.n_layers
    layers = range(n // 3, n)
    barriers = [ls.PolynomialBarrier.fit(resid.at(layer=k), seed=seed) for k in layers]
    margins = [_median(barrier, resid) for barrier in barriers]
    undesired = ls.linearize(model, some.undesired, dense=False, progress=False)
    try:
        yield "barrier set-point", BarrierLQR.fit(undesired, barriers, margin=margins)
    except ValueError as refused:
        yield "barrier set-point", str(refused)
    flow = ls.ODESteer(barriers[len(barriers) // 2], angle=0.5)
    yield "ODESteer", flow
    report = ls.linearity.diagnose(
        model, jacobians, behaviour.dev.first(16), logits=False, seed=seed, progress=False
    )
    try:
        yield "ODESteer, limited", flow.within(report)
    except ValueError as refused:
        yield "ODESteer, limited", str(refused)


def _median(barrier: ls.PolynomialBarrier, resid: Any) -> float:
    """Of h on the desired training activations, nats."""
    return float(torch.median(barrier.h(resid.at(layer=barrier.layer).desired)))
