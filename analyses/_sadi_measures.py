"""What the SADI analysis measures for one behaviour and one kind of element."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

import lens_steer as ls
from lens_steer.activations import ReadPosition
from lens_steer.attribution import (
    AblationReport,
    AgreementReport,
    SignReport,
    StabilityReport,
    attribution_patching,
    contrast,
    contrast_in_resid,
    grad_x_activation,
    masked,
    zero_ablation,
)
from lens_steer.benchmark import KL
from lens_steer.evaluation import Judge
from lens_steer.intervals import interval
from lens_steer.steering import GridReport, Intervention, SignedSADI

DELTAS = (-1.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
KS = {"head": (1, 2, 4, 8, 12), "neuron": (3, 10, 30, 100, 300), "mlp_out": (2, 8, 32, 128)}
STEERED = {"head": 4, "neuron": 100, "mlp_out": 32}  # elements of the three ways compared
STRENGTHS = (0, 0.06, 0.12, 0.25, 0.35, 0.5, 0.7, 1, 1.4, 2, 2.8, 4, 5.6, 8, 16, 32, 64, 128)
DRAWS = 3  # random masks


@dataclass(frozen=True, eq=False)
class Case:
    """One behaviour, split, and how its texts are written and scored.

    Attributes:
        model: That is read and steered.
        name: Of the behaviour.
        train: Elements are chosen on.
        dev: Deltas are chosen on.
        test: Everything is reported on.
        judge: Of texts; None: which answer is likelier.
        read: Where activations are read.
        texts: Temperature and length.
        seed: Of everything that is drawn.
    """

    model: ls.SteerableModel
    name: str
    train: ls.ContrastivePairs
    dev: ls.ContrastivePairs
    test: ls.ContrastivePairs
    judge: Judge | None
    read: ReadPosition
    texts: dict[str, Any]
    seed: int

    def activations(self, kind: str) -> ls.Activations:
        """Of the training pairs."""
        return ls.capture(self.model, self.train, kind, read=self.read, progress=False)


def ways(case: Case, activations: ls.Activations, k: int) -> dict[str, list[Intervention]]:
    """The paper's ablation: the mask, random masks of the same layers, the fixed vector."""
    mask = contrast(activations).top(k)
    drawn = [mask.shuffled(seed=case.seed + i) for i in range(DRAWS)]
    chosen = masked(activations, mask)
    vectors = [
        ls.CAA.fit(chosen.at(layer)) for layer in sorted({layer for layer, _ in mask.elements()})
    ]
    fixed: Any = vectors[0]
    for vector in vectors[1:]:
        fixed = fixed + vector
    return {
        "mask": [ls.SADI(mask, 4.0)],
        "signed mask": [SignedSADI.fit(activations, mask, delta=1.0)],
        "random mask": [ls.SADI(each, 4.0) for each in drawn],
        "fixed vector": [fixed],
    }


def compared(case: Case, activations: ls.Activations, k: int) -> pd.DataFrame:
    """Each way at the same nats per token on dev; behaviour and margin on test, with intervals."""
    how = {"seed": case.seed, **case.texts}
    plain = ls.evaluate(case.model, case.test, judge=case.judge, **how)
    before = ls.preference(case.model, case.test).double()
    rows = [{"way": "unsteered", "kl": 0.0} | plain.interval(seed=case.seed).columns("behaviour")]
    for name, methods in ways(case, activations, k).items():
        ready = [_calibrated(case, method) for method in methods]
        found = [m for m in ready if m is not None]
        if not found:
            rows.append({"way": name})
            continue
        trials = ls.evaluate_each(case.model, case.test, found, judge=case.judge, **how)
        changes = [t.behaviour.double() - plain.behaviour.double() for t in trials]
        change: Any = sum(changes) / len(changes)
        gains = [ls.preference(case.model, case.test, m).double() - before for m in found]
        gain: Any = sum(gains) / len(gains)
        rows.append(
            {"way": name, "kl": sum(t.kl for t in trials) / len(trials)}
            | {"behaviour": sum(t.share for t in trials) / len(trials)}
            | interval(change, plain.groups, seed=case.seed).columns("change")
            | interval(gain, case.test.groups, seed=case.seed).columns("margin_gain")
        )
    return pd.DataFrame(rows)


def _calibrated(case: Case, method: Intervention) -> Intervention | None:
    """None where no strength costs so much."""
    how = {"seed": case.seed, "strengths": STRENGTHS, **case.texts}
    try:
        return ls.calibrate(case.model, method, case.dev, kl=KL, progress=False, **how)
    except ValueError:
        return None


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything about one kind of element; `agreement` and `true_ablation` for heads alone."""

    scores: ls.ElementScores
    mask: ls.ElementMask
    ablation: AblationReport
    stability: StabilityReport
    signs: SignReport
    grid: GridReport
    compared: pd.DataFrame
    agreement: AgreementReport | None
    true_ablation: AblationReport | None


def findings(case: Case, kind: str) -> Findings:
    """Measure it all."""
    model, seed, k = case.model, case.seed, STEERED[kind]
    activations = case.activations(kind)
    scores = contrast(activations)
    mask = scores.top(k)
    n = len(activations.desired)
    sizes = sorted({s for s in (5, 10, 20, 50, 100, 150, n // 2, n) if 2 <= s <= n})
    at_prompt = ls.capture(model, case.test, kind, read="prompt_last", progress=False)
    agreement = true_ablation = None
    if kind == "head":
        each = zero_ablation(model, case.dev, kind, progress=False)
        true_ablation = AblationReport.fit(
            model, each, case.test, KS[kind], seed=seed, progress=False
        )
        attributed = {
            "contrast": scores,
            "through W_O": contrast_in_resid(model, activations),
            "patching": attribution_patching(model, case.dev, activations, progress=False),
            "scaling": grad_x_activation(model, case.dev, kind, progress=False),
            "true effect": each,
        }
        agreement = AgreementReport.of(attributed, k)
    return Findings(
        *(scores, mask),
        ablation=AblationReport.fit(model, scores, case.test, KS[kind], seed=seed, progress=False),
        stability=StabilityReport.fit(activations, k, sizes, seed=seed),
        signs=SignReport.fit(activations, mask, at_prompt.desired, seed=seed),
        grid=GridReport.fit(model, scores, case.dev, KS[kind], DELTAS, seed=seed, progress=False),
        compared=compared(case, activations, k),
        agreement=agreement,
        true_ablation=true_ablation,
    )
