"""What `analyses.linearity` measures on one set of pairs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

import lens_steer as ls
from lens_steer.benchmark import SHARES, collapse_dose
from lens_steer.data import Example
from lens_steer.evaluation import Judge
from lens_steer.intervals import Interval
from lens_steer.linearity import PREDICTORS, LinearityReport, crossing, skill
from lens_steer.steering import Additive

RADII = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
DOSES = (0.0, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)  # |d| / |z| of a push


@dataclass(frozen=True, eq=False)
class Case:
    """One behaviour: its parts, and how texts are drawn."""

    model: Any
    name: str
    train: ls.ContrastivePairs
    dev: ls.ContrastivePairs
    test: ls.ContrastivePairs
    seed: int

    @classmethod
    def of(cls, model: Any, name: str, most: int, seed: int) -> "Case":
        """At most so many pairs of each part, of as many groups as there are."""
        parts = ls.ContrastivePairs.load(name).split(*SHARES, seed=seed)
        return cls(model, name, *(spread_out(part, most, seed) for part in parts), seed=seed)


def spread_out(pairs: ls.ContrastivePairs, most: int, seed: int) -> ls.ContrastivePairs:
    """So many pairs at most, drawn at random: the first ones may be of a few groups only."""
    n = len(pairs.desired)
    chosen = sorted(np.random.default_rng(seed).permutation(n)[:most].tolist())
    rows = [(pairs.desired[i], pairs.undesired[i]) for i in chosen]
    desired, undesired = zip(*rows, strict=True)
    return ls.ContrastivePairs(desired, undesired, name=pairs.name)


def diagnosed(case: Case) -> tuple[ls.LayerJacobians, ls.FeatureDirections, LinearityReport]:
    """Jacobians and features of train, diagnosed on test."""
    jacobians = ls.linearize(case.model, case.train, progress=False)
    features = ls.FeatureDirections.of(ls.capture(case.model, case.train, "resid", progress=False))
    report = ls.linearity.diagnose(
        *(case.model, jacobians, case.test),
        features=features,
        radii=RADII,
        seed=case.seed,
        progress=False,
    )
    return jacobians, features, report


def collapses(
    case: Case, features: ls.FeatureDirections, judge: Judge | None, tokens: int
) -> pd.DataFrame:
    """Texts that stay well formed, by the layer whose input is pushed along its feature.

    Pushed at scope "last", on dev prompts. `collapse` is the dose at which half of the share of
    well-formed texts is left, in |d| / |z|; infinite if that is beyond the largest dose.
    """
    lengths = ls.capture(case.model, case.train, "resid", progress=False).desired.norm(dim=-1)
    rows = []
    for layer in range(1, case.model.cfg.n_layers):
        size = float(lengths[:, layer - 1].mean())
        site, direction = ls.Site(layer - 1), features.directions[layer]
        pushes = [Additive((site,), (size * dose * direction,)) for dose in DOSES[1:]]
        how: dict[str, Any] = {"max_new_tokens": tokens, "temperature": 0.7, "seed": case.seed}
        found = ls.evaluate_each(case.model, case.dev, [None, *pushes], judge=judge, **how)
        formed = np.array([1 - float(each.failed.double().mean()) for each in found])
        dose = float(collapse_dose(formed, np.array(DOSES)))
        row = {"layer": layer, "collapse": np.inf if np.isnan(dose) else dose}
        rows.append(row | {f"formed_{d:g}": f for d, f in zip(DOSES, formed, strict=True)})
    return pd.DataFrame(rows)


def rank_correlations(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Spearman's rho of each radius with the collapse dose, over behaviours and layers.

    Over all cells, and within a behaviour on average; behaviours are drawn again for intervals.
    """
    from scipy import stats

    names = list(dict.fromkeys(table["behaviour"]))
    source = np.random.default_rng(seed)

    def rho(part: Any, radius: str) -> float:
        found: Any = stats.spearmanr(part[radius], part["collapse"])
        return float(found.statistic)

    def within(parts: Sequence[Any], radius: str) -> float:
        each = [rho(part, radius) for part in parts if part["collapse"].nunique() > 1]
        return float(np.mean(each)) if each else float("nan")

    split = {name: table[table["behaviour"] == name] for name in names}
    rows = []
    for radius in ("trust_radius", "logit_radius", "skill_radius"):
        draws = [source.choice(len(names), len(names)) for _ in range(1000)]
        again = [[split[names[i]] for i in draw] for draw in draws]
        pooled = [rho(pd.concat(parts), radius) for parts in again]
        inside = [within(parts, radius) for parts in again]
        for what, mean, drawn in (
            ("all cells", rho(table, radius), pooled),
            ("within a behaviour", within(list(split.values()), radius), inside),
        ):
            low, high = np.nanquantile(drawn, [0.025, 0.975])
            rows.append({"radius": radius, "over": what, "rho": mean, "low": low, "high": high})
    return pd.DataFrame(rows)


def skill_radius(report: LinearityReport) -> torch.Tensor:
    """Radius at which A's own prediction first errs as much as the identity's, by layer."""
    worse = (report.curves.mean() - report.curves.mean("identity")).double().numpy()
    radii = report.curves.radii
    return torch.tensor([crossing(radii, v, 0.0, start=v[0]) for v in worse.T])


def skill_by_side(report: LinearityReport) -> dict[str, list[Interval]]:
    """What the mean Jacobian of the desired class knows at a tenth of |z|, of either class."""
    curves = report.curves
    errors = curves.errors[:, 0, curves.radii.index(0.1)]  # along the feature
    half = errors.shape[-1] // 2  # the desired examples come first, paired
    found = {}
    for side, part in (("desired", slice(half)), ("undesired", slice(half, None))):
        own = errors[..., part]
        rows = zip(own[PREDICTORS.index("mean")], own[PREDICTORS.index("identity")], strict=True)
        found[side] = [skill(a, b, curves.groups[part], curves.seed) for a, b in rows]
    return found


def text_sets(cases: Sequence[Case], most: int, seed: int) -> dict[str, list[str]]:
    """Texts alike (the largest group), mixed (of all), and of mixed words in disorder.

    The last word stays in its place: it is the token that is linearised at, and would by itself
    make texts differ.
    """
    everything = [e for case in cases for e in case.train.desired]
    common = Counter(e.group for e in everything).most_common(1)[0][0]
    source = np.random.default_rng(seed)
    mixed = [_text(everything[i]) for i in source.permutation(len(everything))[:most]]
    alike = [_text(e) for e in everything if e.group == common][:most]
    return {
        "one group": alike,
        "mixed": mixed,
        "words in disorder": [_disordered(text, source) for text in mixed],
    }


def _disordered(text: str, source: np.random.Generator) -> str:
    *words, last = text.split()
    return " ".join([*source.permutation(words).tolist(), last])


def _text(example: Example) -> str:
    assert isinstance(example.prompt, str)  # these sets hold no chats
    return example.prompt + example.continuation
