"""One of every public method and value of steering, and of what holds a model, to be printed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.attribution import ElementMask
from lens_steer.data import ContrastivePairs
from lens_steer.linearity import BlockMaps
from lens_steer.models import attach
from lens_steer.sites import Site
from lens_steer.steering import (
    Additive,
    BarrierLQR,
    BarrierPush,
    Costs,
    ElementLQR,
    Ending,
    FrozenSADI,
    JointLQR,
    OnlineLQR,
    ResidualITI,
    SignedSADI,
    StepODESteer,
    TargetODESteer,
)
from tests.interventions import push
from tests.public_values import LAYERS, LONG, MANY, SITES, STEPS, WIDTH, barrier, config, jacobians
from tests.report_samples import caa, captured, normal, scores, uniform

HEADS = 64
AT = Site(LAYERS - 1)


def _unit(width: int = WIDTH, seed: int = 0) -> Tensor:
    v = normal(width, seed=seed)
    return v / v.norm()


def _mask() -> ElementMask:
    return scores(LAYERS, HEADS).top(LAYERS)


def _iti() -> ls.ITI:
    mask = _mask()
    v = normal(LAYERS, HEADS, 4)
    units = mask.selected[..., None] * v / v.norm(dim=-1, keepdim=True)
    return ls.ITI(mask, units, 0.3 * mask.selected, 4.0)


def _feature_law() -> dict[str, Any]:
    law = ls.LQR.fit(jacobians(), captured(LAYERS))
    return {"directions": law.directions, "setpoints": law.setpoints, "gains": law.gains}


def _elements() -> ElementLQR:
    law, mask = _feature_law(), _mask()
    law["gains"] = mask.selected[..., None] * normal(LAYERS, HEADS, 4)
    return ElementLQR(mask, **law)


def _barrier_law() -> BarrierLQR:
    two = tuple(replace(barrier(), layer=layer) for layer in (0, 1))
    gains = torch.zeros(LAYERS, WIDTH)
    gains[1] = _unit()
    return BarrierLQR(two, torch.zeros(2), gains, normal(LAYERS + 1, WIDTH))


def _joint() -> JointLQR:
    both: dict[str, Any] = {
        name: torch.stack([x, -x], dim=-1) for name, x in _feature_law().items()
    }
    return JointLQR(**both)


def _online() -> OnlineLQR:
    costs = Costs.of(LAYERS, 1.0, 1.0, 1.0, None)
    law = _feature_law()
    return OnlineLQR(directions=law["directions"], setpoints=law["setpoints"], costs=costs)


def _pid() -> ls.PID:
    layers = tuple(range(LAYERS))
    return ls.PID(normal(LAYERS, 4), normal(LAYERS), layers, kp=1.0, ki=0.1, kd=0.1)


def _transport() -> dict[str, Any]:
    return {"source": normal(WIDTH), "target": normal(WIDTH, seed=1)}


def _gate() -> ls.Gate:
    condition = ls.steering.CosineCondition(normal(WIDTH))
    return ls.Gate(caa(LAYERS - 1), condition, layer=3, threshold=0.1, fitted={"balanced": 0.9})


METHODS: dict[str, Callable[[], Any]] = {
    "CAA": lambda: caa(LAYERS - 1),
    "Additive": lambda: Additive(SITES, (_unit(),) * LAYERS),
    "ActAdd": lambda: ls.ActAdd((AT,), (_unit(),), prompts=(LONG, LONG)),
    "RepE": lambda: ls.RepE(AT, _unit(), 3.0, 0.5),
    "ITI": _iti,
    "ResidualITI": lambda: ResidualITI(AT, _unit(), 2.0),
    "Random": lambda: ls.Random.like(Additive(SITES, (_unit(),) * LAYERS), seed=0),
    "Ablation": lambda: ls.Ablation(SITES, _unit()),
    "Angular": lambda: ls.Angular(AT, torch.eye(WIDTH)[0], torch.eye(WIDTH)[1], angle=0.8),
    "SADI": lambda: ls.SADI(_mask(), delta=normal(LAYERS, HEADS)),
    "FrozenSADI": lambda: FrozenSADI(_mask(), delta=2.0),
    "SignedSADI": lambda: SignedSADI(_mask(), normal(LAYERS, HEADS, 4).sign(), delta=2.0),
    "LQR": lambda: ls.LQR.fit(jacobians(), captured(LAYERS)),
    "ElementLQR": _elements,
    "BarrierLQR": _barrier_law,
    "JointLQR": _joint,
    "OnlineLQR": _online,
    "LQRTracker": lambda: ls.LQRTracker.fit(jacobians(), captured(LAYERS)),
    "PID": _pid,
    "ODESteer": lambda: ls.ODESteer(barrier(), angle=0.1),
    "StepODESteer": lambda: StepODESteer(barrier(), angle=0.1),
    "TargetODESteer": lambda: TargetODESteer(barrier(), angle=0.1, target=0.5),
    "BarrierPush": lambda: BarrierPush(barrier()),
    "MeanAcT": lambda: ls.MeanAcT(AT, normal(WIDTH)),
    "LinearAcT": lambda: ls.LinearAcT(AT, **_transport(), scale=normal(WIDTH).abs()),
    "MiMiC": lambda: ls.MiMiC(AT, **_transport(), matrix=torch.eye(WIDTH)),
    "FishBack": lambda: ls.FishBack(AT, _unit(), _unit(), damping=0.1, kl=0.1),
    "Gate": _gate,
}

STEERING: dict[str, Callable[[], Any]] = METHODS | {
    "DecodeStep": lambda: ls.steering.DecodeStep(
        torch.arange(9), normal(9, MANY), normal(9, MANY), normal(9, MANY), torch.arange(9)
    ),
    "Preview": lambda: ls.steering.Preview(
        tuple(f" t{i}" for i in range(MANY)), SITES, uniform(LAYERS, MANY)
    ),
    "WithSinks": lambda: ls.steering.WithSinks(STEPS),
    "BarrierCondition": lambda: ls.steering.BarrierCondition(barrier()),
    "CosineCondition": lambda: ls.steering.CosineCondition(normal(WIDTH)),
    "Costs": lambda: ls.steering.Costs.of(LAYERS, 1.0, 1.0, 1.0, None),
    "GridAnswers": lambda: ls.steering.GridAnswers(normal(11, 16, 9), normal(11, 16, 9)),
}

WITH_A_MODEL: dict[str, Callable[[Any, ContrastivePairs], Any]] = {
    "Attachment": lambda model, _: attach(model),
    "BlockMaps": lambda model, pairs: BlockMaps.of(model, pairs.desired),
    "ModelDescription": lambda model, _: ls.models.ModelDescription.of(model),
    "FitCache": lambda model, pairs: ls.benchmark.FitCache(model, pairs),
    "ComparisonRun": lambda model, pairs: ls.benchmark.ComparisonRun.of(
        model, pairs, {"a push": push(model)}, config=config()
    ),
    "benchmark.Behaviour": lambda model, pairs: ls.benchmark.Behaviour(
        "praise", pairs, pairs, ls.WordList(("good",)), ls.benchmark.FitCache(model, pairs), {}
    ),
    "Ending": lambda model, _: Ending.of(model, ["\n"]),
    "organism.Behaviour": lambda _model, _: ls.organism.behaviour("sentiment"),
    "ExactJudge": lambda _model, _: ls.organism.judge("sentiment"),
}
