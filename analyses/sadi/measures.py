"""What the study measures of one behaviour and one kind of element."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

import lens_steer as ls
from analyses.equal_cost import DEV
from lens_steer.attribution import (
    AblationReport,
    AgreementReport,
    ElementMask,
    SignReport,
    StabilityReport,
    attribution_patching,
    contrast,
    contrast_in_resid,
    grad_x_activation,
    masked,
    zero_ablation,
)
from lens_steer.benchmark import KL, Behaviour, ComparisonConfig
from lens_steer.intervals import interval
from lens_steer.steering import GridReport, Intervention, SignedSADI

DELTAS = (-1.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
KS = {"head": (1, 2, 4, 8, 12), "neuron": (3, 10, 30, 100, 300), "mlp_out": (2, 8, 32, 128)}
STEERED = {"head": 4, "neuron": 100, "mlp_out": 32}  # elements, the same number for all ways
STRENGTHS = (0, 0.06, 0.12, 0.25, 0.35, 0.5, 0.7, 1, 1.4, 2, 2.8, 4, 5.6, 8, 16, 32, 64, 128)
RANDOM_MASKS = 3


def fixed_vector(activations: ls.Activations, mask: ElementMask) -> Intervention:
    """The differences of means of the elements of a mask, added in every layer that has some."""
    chosen = masked(activations, mask)
    layers = sorted({layer for layer, _ in mask.elements()})
    first, *rest = (ls.CAA.fit(chosen.at(layer)) for layer in layers)
    fixed: Any = first
    for vector in rest:
        fixed = fixed + vector
    return fixed


def ways_of(activations: ls.Activations, k: int, seed: int) -> dict[str, list[Intervention]]:
    """The paper's ablation: the mask, random masks of the same layers, the fixed vector."""
    mask = contrast(activations).top(k)
    masks = [mask.shuffled(seed=seed + i) for i in range(RANDOM_MASKS)]
    return {
        "mask": [ls.SADI(mask, 4.0)],
        "signed mask": [SignedSADI.fit(activations, mask, delta=1.0)],
        "random mask": [ls.SADI(each, 4.0) for each in masks],
        "fixed vector": [fixed_vector(activations, mask)],
    }


def compare_ways(
    behaviour: Behaviour, activations: ls.Activations, k: int, config: ComparisonConfig
) -> pd.DataFrame:
    """Each way at the same nats per token on dev: behaviour and margin on test, with intervals."""
    model, test, seed = behaviour.cache.model, behaviour.test, config.seed
    how: dict[str, Any] = {"judge": behaviour.judge, "decoding": config.decoding}
    plain = ls.evaluate(model, test, **how)
    before = ls.preference(model, test).double()
    rows = [{"way": "unsteered", "kl": 0.0} | plain.interval(seed=seed).columns("behaviour")]
    for name, methods in ways_of(activations, k, seed).items():
        calibrated = [_calibrated(behaviour, method, config) for method in methods]
        usable = [method for method in calibrated if method is not None]
        if not usable:
            rows.append({"way": name})
            continue
        trials = ls.evaluate_each(model, test, usable, **how)
        changes = [trial.behaviour.double() - plain.behaviour.double() for trial in trials]
        gains = [ls.preference(model, test, method).double() - before for method in usable]
        change: Any = sum(changes) / len(changes)
        gain: Any = sum(gains) / len(gains)
        rows.append(
            {"way": name, "kl": sum(trial.kl for trial in trials) / len(trials)}
            | {"behaviour": sum(trial.share for trial in trials) / len(trials)}
            | interval(change, plain.groups, seed=seed).columns("change")
            | interval(gain, test.groups, seed=seed).columns("margin_gain")
        )
    return pd.DataFrame(rows)


def _calibrated(
    behaviour: Behaviour, method: Intervention, config: ComparisonConfig
) -> Intervention | None:
    """The method at 0.1 nats per token on dev; None where no strength costs so much."""
    model, dev = behaviour.cache.model, behaviour.dev.first(DEV)
    how: dict[str, Any] = {"strengths": STRENGTHS, "decoding": config.decoding}
    try:
        return ls.calibrate(model, method, dev, kl=KL, progress=False, **how)
    except ValueError:
        return None


@dataclass(frozen=True, eq=False)
class ElementFindings:
    """All reports on one kind of element; `agreement` and `true_ablation` are of heads alone."""

    scores: ls.ElementScores
    mask: ls.ElementMask
    ablation: AblationReport
    stability: StabilityReport
    signs: SignReport
    grid: GridReport
    ways: pd.DataFrame
    agreement: AgreementReport | None
    true_ablation: AblationReport | None

    @classmethod
    def fit(cls, behaviour: Behaviour, kind: str, config: ComparisonConfig) -> "ElementFindings":
        """Measure all of it: elements chosen on train, deltas on dev, reports on test."""
        cache, test, dev = behaviour.cache, behaviour.test, behaviour.dev.first(DEV)
        model, k = cache.model, STEERED[kind]
        quiet: dict[str, Any] = {"seed": config.seed, "progress": False}
        activations = cache.activations(cache.reads[0], kind)
        scores = contrast(activations)
        mask = scores.top(k)
        n = len(activations.desired)
        sizes = sorted({s for s in (5, 10, 20, 50, 100, 150, n // 2, n) if 2 <= s <= n})
        at_prompt = ls.capture(model, test, kind, read="prompt_last", progress=False)
        agreement = true_ablation = None
        if kind == "head":
            effects = zero_ablation(model, dev, kind, progress=False)
            true_ablation = AblationReport.fit(model, effects, test, KS[kind], **quiet)
            attributions = {
                "contrast": scores,
                "through W_O": contrast_in_resid(model, activations),
                "patching": attribution_patching(model, dev, activations, progress=False),
                "scaling": grad_x_activation(model, dev, kind, progress=False),
                "true effect": effects,
            }
            agreement = AgreementReport.of(attributions, k)
        return cls(
            scores,
            mask,
            ablation=AblationReport.fit(model, scores, test, KS[kind], **quiet),
            stability=StabilityReport.fit(activations, k, sizes, seed=config.seed),
            signs=SignReport.fit(activations, mask, at_prompt.desired, seed=config.seed),
            grid=GridReport.fit(model, scores, dev, KS[kind], DELTAS, **quiet),
            ways=compare_ways(behaviour, activations, k, config),
            agreement=agreement,
            true_ablation=true_ablation,
        )
