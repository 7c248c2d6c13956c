"""What the study measures of one behaviour: methods at equal angles, and the fields."""

from collections.abc import Mapping
from math import sin
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

import lens_steer as ls
from analyses.equal_cost import DEV
from analyses.odesteer.methods import ANGLE, METHODS
from lens_steer.barriers import Barrier, LinearBarrier, PolynomialBarrier
from lens_steer.barriers.flows import GeodesicEuler
from lens_steer.benchmark import Behaviour, ComparisonConfig, Hyperparameters
from lens_steer.evaluation import Evaluation, FixedTexts
from lens_steer.intervals import group_sums, interval, proportion_interval, ratio_interval

ANGLES = (0.1, 0.2, 0.35, 0.5, 0.7)  # rad
AT_ANGLE = ("CAA", "ODESteer", "one step", "linear probe")
APART = 0.5  # rad, at which the end points of two flows are compared


def by_angle(
    behaviour: Behaviour, settings: Mapping[str, Hyperparameters], config: ComparisonConfig
) -> pd.DataFrame:
    """Every method at its own layer, turned by the same angles; the vector as long as the chord.

    Args:
        settings: The layer and read position of each method, by name.
    """
    cache, decoding = behaviour.cache, config.decoding
    cells, methods = [], []
    for name in [name for name in AT_ANGLE if name in settings]:
        setting = {knob: x for knob, x in settings[name].items() if knob != "strength"}
        method = METHODS[name](cache, setting)
        size = _relative_size(behaviour, method, decoding) if name == "CAA" else None
        for angle in ANGLES:
            strength = angle / ANGLE if size is None else 2 * sin(angle / 2) / size
            cells.append({"method": name, **setting, "angle": angle, "strength": strength})
            methods.append(method.with_strength(strength))
    trials = ls.evaluate_each(
        cache.model, behaviour.test, [None, *methods], judge=behaviour.judge, decoding=decoding
    )
    cells = [{"method": "unsteered", "angle": 0.0}, *cells]
    return pd.DataFrame(
        [cell | _numbers(trial, config.seed) for cell, trial in zip(cells, trials, strict=True)]
    )


def _numbers(trial: Evaluation, seed: int) -> dict[str, float]:
    """Behaviour, nats per token and spoilt texts, with intervals over groups."""
    costs = trial.text_costs
    assert costs is not None
    nats = group_sums(costs.kl.numpy(), costs.draws.numpy(), trial.text_groups)
    units = len(set(trial.text_groups))
    failed = proportion_interval(
        interval(trial.failed.float(), trial.text_groups, seed=seed), units
    )
    row = trial.interval(seed=seed).columns("behaviour") | failed.columns("failed")
    return row | ratio_interval(*nats, seed=seed).columns("kl")


def _relative_size(behaviour: Behaviour, method: ls.Intervention, decoding: ls.Decoding) -> float:
    """|edit| / |activation| at strength 1, along unsteered dev texts."""
    model = behaviour.cache.model
    texts = FixedTexts.sample(model, behaviour.dev.first(DEV), decoding=decoding)
    return texts.sizes(model, [(method,)])[0].relative_norm


def of_fields(behaviour: Behaviour, seed: int) -> pd.DataFrame:
    """How linear each layer's field is on test activations, and who tells the classes apart."""
    cache, pairs = behaviour.cache, behaviour.test
    rows = []
    for read in cache.reads:
        fitted = cache.activations(read)
        captured = ls.capture(cache.model, pairs, "resid", read=read, progress=False)
        for layer in fitted.layers:
            train, test = fitted.at(layer), captured.at(layer)
            if not bool(train.direction.any()):
                continue
            exact, sketch = cache.barrier(read, layer), PolynomialBarrier.fit_sketch(train)
            row: dict[str, Any] = {"behaviour_set": behaviour.name, "read": read, "layer": layer}
            row |= {name: exact.settings[name] for name in ("gamma", "C", "held_out_loss")}
            row["supremum"] = exact.supremum().value
            values = _shape(exact, test.undesired)
            values["cos_sketch_linear"] = _cosines(sketch, sketch.truncated(0), test.undesired)
            values["cos_sketch_exact"] = _cosines(sketch, exact, test.undesired)
            barriers: dict[str, Barrier] = {"exact": exact, "sketch": sketch}
            barriers["probe"] = LinearBarrier.fit(train)
            for name, barrier in barriers.items():
                right = (barrier.h(test.desired) >= 0).float() + (barrier.h(test.undesired) < 0)
                values[f"accuracy_{name}"] = right / 2
            for name, value in values.items():
                row |= interval(value, pairs.groups, seed=seed).columns(name)
            rows.append(row)
    return pd.DataFrame(rows)


def _shape(barrier: PolynomialBarrier, x: Float[Tensor, "n d"]) -> dict[str, Tensor]:
    """Cosine to the linear part's field; angles between end points, over the angle turned."""
    flow = ls.ODESteer(barrier, angle=APART)
    step, flat = flow.one_step(GeodesicEuler()), ls.ODESteer(barrier.truncated(0), angle=APART)
    end = flow.flow(x)
    return {
        "cos_linear": _cosines(barrier, barrier.truncated(0), x),
        "apart_step": _angles(end, step.flow(x)) / APART,
        "apart_linear": _angles(end, flat.flow(x)) / APART,
        "turned": _angles(x, end) / APART,
    }


def _cosines(one: Barrier, other: Barrier, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    return torch.linalg.vecdot(one.field(x), other.field(x))


def _angles(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Rad between the directions of rows, also where they are small."""
    one, other = (torch.nn.functional.normalize(z.double(), dim=-1) for z in (x, y))
    return 2 * torch.asin((one - other).norm(dim=-1).div(2).clamp_max(1.0))
