"""What `analyses.odesteer` measures of one behaviour: at equal cost, at equal angle, of fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sin
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

import lens_steer as ls
from analyses.lqr.measures import DEV, Case
from analyses.odesteer.methods import ANGLE, GATED, WAYS, Make, Way, chosen
from lens_steer.barriers import Barrier, LinearBarrier, PolynomialBarrier
from lens_steer.barriers.flows import GeodesicEuler
from lens_steer.benchmark import Comparison, Hyperparameters
from lens_steer.evaluation import Evaluation, FixedTexts
from lens_steer.intervals import by_group, interval, of_share, ratio_interval

ANGLES = (0.1, 0.2, 0.35, 0.5, 0.7)  # rad
AT_ANGLE = ("CAA", "ODESteer", "one step", "linear probe")
APART = 0.5  # rad that ends of different ways are compared at
_OTHERS = ("one step", "published sketch", "linear probe", "CAA", GATED)
AGAINST = tuple(("ODESteer", other) for other in _OTHERS)


@dataclass(frozen=True, eq=False)
class Matched:
    """Methods chosen on dev at one cost, and what they do on test."""

    methods: dict[str, ls.Intervention]
    settings: dict[str, Hyperparameters]
    missing: dict[str, str]
    comparison: Comparison

    @classmethod
    def of(cls, case: Case, layers: tuple[int, ...], each: Mapping[str, Make]) -> "Matched":
        """Choose, then compare with what has to be beaten."""
        dev = case.dev.first(DEV)
        how = (case.inputs, dev, case.judge, case.terms, layers, each)
        methods, settings, missing = chosen(*how)
        options: dict[str, Any] = {"judge": case.judge, "progress": False}
        found = ls.comparison(
            *(case.model, case.test, methods),
            terms=case.terms,
            behaviour_name=case.name,
            **options,
        )
        return cls(methods, settings, missing, found)

    def table(self) -> Any:
        """Behaviour and costs, and what was chosen."""
        table = self.comparison.table()
        for knob in ("read", "layer", "strength"):
            table[knob] = [self.settings.get(name, {}).get(knob) for name in table["method"]]
        return table

    def differences(self, against: Sequence[tuple[str, str]]) -> Any:
        """Paired: one less the other of each; at the budget, where the cost was realised."""
        known = [pair for pair in against if set(pair) <= set(self.methods)]
        found = pd.concat([self._less(*pair) for pair in known], ignore_index=True)
        ends = [f"{c}{end}" for c in ("change", "at_0.1") for end in ("", "_low", "_high")]
        return found[["behaviour_name", "method", "other", *ends, "p"]]

    def _less(self, one: str, other: str) -> Any:
        """One row; trials in the order of the names, so that the difference has its sign."""
        names = ["unsteered", one, other]
        trials = sorted(
            (trial for trial in self.comparison.trials if trial.method in names),
            key=lambda trial: names.index(trial.method),
        )
        found: Any = Comparison(tuple(trials), self.comparison.terms, {}).differences()
        return found[(found["method"] == one) & (found["other"] == other)]


def by_angle(case: Case, matched: Matched) -> Any:
    """Every method at its own layer, turned by the same angles; the vector as long as the chord."""
    how = case.terms.decoding
    cells, each = [], []
    for name in [name for name in AT_ANGLE if name in matched.settings]:
        setting = {k: v for k, v in matched.settings[name].items() if k != "strength"}
        method = Way(name, WAYS[name], ()).make(case.inputs, setting)
        size = _relative(case, method) if name == "CAA" else None
        for angle in ANGLES:
            strength = angle / ANGLE if size is None else 2 * sin(angle / 2) / size
            cells.append({"method": name, **setting, "angle": angle, "strength": strength})
            each.append(method.with_strength(strength))
    found = ls.evaluate_each(case.model, case.test, [None, *each], judge=case.judge, **how)
    named = [{"method": "unsteered", "angle": 0.0}, *cells]
    return pd.DataFrame(
        [cell | numbers(trial, how["seed"]) for cell, trial in zip(named, found, strict=True)]
    )


def numbers(trial: Evaluation, seed: int) -> dict[str, float]:
    """Behaviour, nats per token and spoilt texts, with intervals over groups."""
    assert trial.paths is not None
    nats = by_group(trial.paths.kl.numpy(), trial.paths.draws.numpy(), trial.text_groups)
    units = len(set(trial.text_groups))
    failed = of_share(interval(trial.failed.float(), trial.text_groups, seed=seed), units)
    row = trial.interval(seed=seed).columns("behaviour") | failed.columns("failed")
    return row | ratio_interval(*nats, seed=seed).columns("kl")


def _relative(case: Case, method: ls.Intervention) -> float:
    """|edit| / |a| at strength 1, along unsteered dev texts."""
    texts = FixedTexts.sample(case.model, case.dev.first(DEV), **case.terms.decoding)
    return texts.sizes(case.model, [(method,)])[0].relative_norm


def of_fields(case: Case) -> Any:
    """How linear each layer's field is on test activations, and who tells the classes apart."""
    rows = []
    for read in case.inputs.reads:
        fitted = case.inputs.activations(read)
        test = ls.capture(case.model, case.test, "resid", read=read, progress=False)
        for layer in fitted.layers:
            own, held = fitted.at(layer), test.at(layer)
            if not bool(own.direction.any()):
                continue
            exact, sketch = case.inputs.barrier(read, layer), PolynomialBarrier.fit_sketch(own)
            row: dict[str, Any] = {"behaviour_set": case.name, "read": read, "layer": layer}
            row |= {name: exact.settings[name] for name in ("gamma", "C", "held_out_loss")}
            row["supremum"] = exact.supremum().value
            shown = _fields(exact, held.undesired)
            shown["cos_sketch_linear"] = _cosines(sketch, sketch.truncated(0), held.undesired)
            shown["cos_sketch_exact"] = _cosines(sketch, exact, held.undesired)
            kinds: dict[str, Barrier] = {"exact": exact, "sketch": sketch}
            kinds["probe"] = LinearBarrier.fit(own)
            for name, barrier in kinds.items():
                right = (barrier.h(held.desired) >= 0).float() + (barrier.h(held.undesired) < 0)
                shown[f"accuracy_{name}"] = right / 2
            for name, values in shown.items():
                seed = case.terms.seed
                row |= interval(values, case.test.groups, seed=seed).columns(name)
            rows.append(row)
    return pd.DataFrame(rows)


def _fields(barrier: PolynomialBarrier, x: Float[Tensor, "n d"]) -> dict[str, Tensor]:
    """Cosine to the linear part's field; angle between ends of ways, over the way's own angle."""
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
