"""The table of method families: how each method is made, its grid and its prior.

A new method joins `lens-steer compare --methods all` by one line of `FAMILIES`; `DEFAULT_METHODS`
names the few that run where none are named. docs/methods.md states every grid and prior in words; a
test holds the two together.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lens_steer.activations import LayerActivations
from lens_steer.benchmark.fit_cache import FitCache, Hyperparameters
from lens_steer.benchmark.method_family import (
    LayerPrior,
    MethodFamily,
    drawn_nats,
    layer_grid,
    log_uniform,
    one_layer,
    regulator,
    regulator_weights,
)
from lens_steer.steering import (
    CAA,
    ITI,
    LQR,
    SADI,
    Ablation,
    Angular,
    FishBack,
    LinearAcT,
    LQRTracker,
    MeanAcT,
    MiMiC,
    ODESteer,
    RepE,
    ResidualITI,
)

# The families that run where no `--methods` are named, in `lens-steer compare` and in the demo: CAA
# and the methods of the three papers. A new family need not be among them; `all` runs all FAMILIES.
DEFAULT_METHODS = ("CAA", "SADI", "LQR", "LQRTracker", "ODESteer")

_SADI_DELTA = 4.0  # of SADI at strength 1
_ODESTEER_ANGLE = 0.25  # radians, of ODESteer at strength 1
_PUSH_LENGTH = 0.25  # of RepE and ResidualITI at strength 1, in median undesired activations
_ITI_ALPHA = 15.0  # standard deviations, of ITI at strength 1: the paper's


def _repe(activations: LayerActivations) -> RepE:
    """RepE with a push of a quarter of the usual activation."""
    method = RepE.fit(activations)
    return replace(method, coefficient=_PUSH_LENGTH * activations.median_length / method.gap)


def _residual_iti(activations: LayerActivations) -> ResidualITI:
    """ResidualITI with a push of a quarter of the usual activation."""
    return ResidualITI.fit(activations, length=_PUSH_LENGTH * activations.median_length)


def _odesteer(cache: FitCache, setting: Mapping[str, Any]) -> ODESteer:
    """ODESteer along an exact polynomial barrier, gamma and C by cross-validation."""
    barrier = cache.barrier(setting["read"], setting["layer"])
    return ODESteer(barrier, setting["layer"], angle=_ODESTEER_ANGLE, provenance=barrier.provenance)


def _fishback(cache: FitCache, setting: Mapping[str, Any]) -> FishBack:
    return FishBack.from_metric(cache.metric(setting["layer"]), cache.layer(setting))


def _ablation(cache: FitCache, setting: Mapping[str, Any]) -> Ablation:
    """The direction of one layer, taken out at every layer, as published."""
    return Ablation.fit(cache.activations(setting["read"]), layer=setting["layer"])


def _lqr(cache: FitCache, setting: Mapping[str, Any]) -> LQR:
    """LQR with isotropic costs, as published, but for set-points from the undesired mean."""
    jacobians, resid = cache.jacobians(dense=True), cache.activations(setting["read"])
    return LQR.fit(jacobians, resid, **regulator_weights(setting))


def _lqr_tracker(cache: FitCache, setting: Mapping[str, Any]) -> LQRTracker:
    """LQRTracker, its pushes along directions in which activations vary by themselves."""
    jacobians, resid = cache.jacobians(dense=False), cache.activations(setting["read"])
    return LQRTracker.fit(jacobians, resid, covariance_effort=True, **regulator_weights(setting))


# Methods on a choice of heads, neurons or MLP dimensions.


def _sadi(cache: FitCache, setting: Mapping[str, Any]) -> SADI:
    """The k elements of the largest mean difference, scaled as published."""
    scores = cache.scores(setting["read"], setting["kind"])
    return SADI(scores.top(setting["k"]), _SADI_DELTA, provenance=scores.provenance)


def _sadi_grid(cache: FitCache) -> list[Hyperparameters]:
    """Two numbers of elements for each kind, where there are so many, at each read position."""
    sizes = {"head": (2, 8), "neuron": (30, 300), "mlp_out": (8, 64)}
    return [
        {"kind": kind, "k": k, "read": read}
        for read in cache.reads
        for kind, ks in sizes.items()
        for k in ks
        if k <= cache.scores(read, kind).values.numel()
    ]


def _sadi_prior(cache: FitCache, source: np.random.Generator) -> Hyperparameters:
    """Any kind and up to 500 elements, evenly in the logarithm, and local nats."""
    kind = ("head", "neuron", "mlp_out")[int(source.integers(3))]
    read = cache.reads[int(source.integers(len(cache.reads)))]
    k = round(log_uniform(source, 1, min(500, cache.scores(read, kind).values.numel())))
    return {"kind": kind, "k": k, "read": read} | drawn_nats(source)


def _iti(cache: FitCache, setting: Mapping[str, Any]) -> ITI:
    """ITI along differences of means, in the k heads of the highest held-out accuracy."""
    read = setting["read"]
    heads, scores = cache.activations(read, "head"), cache.head_accuracies(read)
    return ITI.fit(heads, scores, k=setting["k"], alpha=_ITI_ALPHA)


def _iti_grid(cache: FitCache) -> list[Hyperparameters]:
    """Up to four numbers of heads, where there are so many, at each read position."""
    return [
        {"k": k, "read": read}
        for read in cache.reads
        for k in (2, 6, 18, 48)
        if k <= cache.head_accuracies(read).values.numel()
    ]


def _iti_prior(cache: FitCache, source: np.random.Generator) -> Hyperparameters:
    """Up to half of all heads, evenly in the logarithm, and local nats."""
    read = cache.reads[int(source.integers(len(cache.reads)))]
    k = round(log_uniform(source, 1, max(2, cache.head_accuracies(read).values.numel() // 2)))
    return {"k": k, "read": read} | drawn_nats(source)


def _by_name(kinds: Iterable[MethodFamily]) -> dict[str, MethodFamily]:
    return {family.name: family for family in kinds}


FAMILIES: dict[str, MethodFamily] = _by_name(
    [
        one_layer("CAA", CAA.fit, LayerPrior()),
        MethodFamily("SADI", _sadi, _sadi_grid, _sadi_prior),
        # LQR stops short of its set-points: its gain is below 1, and it acts a layer late.
        regulator("LQR", _lqr, setpoints=(3.0, 10.0, 30.0)),
        regulator("LQRTracker", _lqr_tracker, setpoints=(1.0, 3.0, 10.0)),
        MethodFamily("ODESteer", _odesteer, layer_grid, LayerPrior()),
        one_layer("MeanAcT", MeanAcT.fit, LayerPrior()),
        one_layer("LinearAcT", LinearAcT.fit, LayerPrior()),
        one_layer("MiMiC", MiMiC.fit, LayerPrior()),
        MethodFamily("FishBack", _fishback, layer_grid, LayerPrior()),
        one_layer("RepE", _repe, LayerPrior()),
        MethodFamily("ITI", _iti, _iti_grid, _iti_prior),
        one_layer("ResidualITI", _residual_iti, LayerPrior()),
        MethodFamily("Ablation", _ablation, layer_grid, LayerPrior((0.1, 1.0))),
        one_layer("Angular", partial(Angular.fit, to_angle=0.0), LayerPrior((0.1, 1.0))),
    ]
)


def families(names: str | None = None) -> list[MethodFamily]:
    """Method families by their names.

    Args:
        names: Names separated by commas; `all` is every family, None those of `DEFAULT_METHODS`.

    Raises:
        ValueError: If there is no family of a name (the message lists them), or one comes twice.

    Example:
        >>> [family.name for family in ls.benchmark.families("CAA, LQR")]
        ['CAA', 'LQR']
    """
    if names is None:
        chosen = list(DEFAULT_METHODS)
    else:
        chosen = list(FAMILIES) if names == "all" else [n.strip() for n in names.split(",")]
    unknown = [name for name in chosen if name not in FAMILIES]
    if unknown or not chosen:
        names_of_all = ", ".join(FAMILIES)
        raise ValueError(f"unknown methods {unknown}: expected all, or some of {names_of_all}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"methods {names!r}: expected none twice")
    return [FAMILIES[name] for name in chosen]
