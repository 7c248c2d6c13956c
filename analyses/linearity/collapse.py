"""Does a radius of linearity predict the dose at which texts collapse?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import lens_steer as ls
from analyses.plots import legend
from lens_steer.benchmark import Behaviour, collapse_dose
from lens_steer.figures import canvas
from lens_steer.steering import Additive

DOSES = (0.0, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)  # |d| / |z| of a push
RADII = ("trust_radius", "logit_radius", "skill_radius")
DRAWS = 1000  # of behaviours, for intervals


def collapses(
    behaviour: Behaviour, features: ls.FeatureDirections, tokens: int, seed: int
) -> pd.DataFrame:
    """Texts that stay well formed, by the layer whose input is pushed along its feature.

    Pushed at scope "last", on dev prompts. `collapse` is the dose at which half of the share of
    well-formed texts is left, in |d| / |z|; infinite if that is beyond the largest dose.
    """
    cache = behaviour.cache
    lengths = cache.activations("last").desired.norm(dim=-1)
    how: dict[str, Any] = {"max_new_tokens": tokens, "temperature": 0.7, "seed": seed}
    rows = []
    for layer in range(1, cache.model.cfg.n_layers):
        size = float(lengths[:, layer - 1].mean())
        site, direction = ls.Site(layer - 1), features.directions[layer]
        pushes = [Additive((site,), (size * dose * direction,)) for dose in DOSES[1:]]
        trials = ls.evaluate_each(
            cache.model, behaviour.dev, [None, *pushes], judge=behaviour.judge, **how
        )
        formed = np.array([1 - float(trial.failed.double().mean()) for trial in trials])
        dose = float(collapse_dose(formed, np.array(DOSES)))
        row = {"layer": layer, "collapse": np.inf if np.isnan(dose) else dose}
        rows.append(row | {f"formed_{d:g}": f for d, f in zip(DOSES, formed, strict=True)})
    return pd.DataFrame(rows)


def rank_correlations(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Spearman's rho of each radius with the collapse dose, over behaviours and layers.

    Over all cells, and within a behaviour on average; behaviours are drawn again for intervals.
    """
    names = list(dict.fromkeys(table["behaviour"]))
    parts = {name: table[table["behaviour"] == name] for name in names}
    source = np.random.default_rng(seed)
    rows = []
    for radius in RADII:
        draws = [source.choice(len(names), len(names)) for _ in range(DRAWS)]
        resampled = [[parts[names[i]] for i in draw] for draw in draws]
        for what, statistic in (("all cells", _pooled), ("within a behaviour", _within)):
            low, high = np.nanquantile(
                [statistic(sample, radius) for sample in resampled], [0.025, 0.975]
            )
            rho = statistic(list(parts.values()), radius)
            rows.append({"radius": radius, "over": what, "rho": rho, "low": low, "high": high})
    return pd.DataFrame(rows)


def _pooled(parts: Sequence[Any], radius: str) -> float:
    return _rho(pd.concat(parts), radius)


def _within(parts: Sequence[Any], radius: str) -> float:
    values = [_rho(part, radius) for part in parts if part["collapse"].nunique() > 1]
    return float(np.mean(values)) if values else float("nan")


def _rho(part: Any, radius: str) -> float:
    from scipy import stats

    result: Any = stats.spearmanr(part[radius], part["collapse"])
    return float(result.statistic)


def collapse_figure(table: Any, ranks: pd.DataFrame) -> Figure:
    """The dose at which texts collapse against each radius, a dot for each behaviour and layer."""
    names = list(dict.fromkeys(table["behaviour"]))
    top = 1.15 * table["collapse"][table["collapse"] < float("inf")].max()
    with canvas(1, len(RADII), width=10.5, height=3.6, sharey=True) as (figure, axes):
        for place, radius in zip(axes, RADII, strict=True):
            for i, name in enumerate(names):
                part = table[table["behaviour"] == name]
                doses = part["collapse"].clip(upper=top)
                place.plot(part[radius], doses, "o", color=f"C{i}", label=name)
            place.set(xlabel=f"{radius.replace('_', ' ')}, |d| / |z|", xscale="log")
            low, high = place.get_xlim()
            place.set_xticks([x for x in (0.2, 0.3, 0.5, 1, 1.5, 2, 3, 5) if low <= x <= high])
            place.xaxis.set_major_formatter("{x:g}")
            place.minorticks_off()
            here = (ranks["radius"] == radius) & (ranks["over"] == "all cells")
            rank: Any = ranks[here].iloc[0]
            interval = f"{rank.rho:.2f} [{rank.low:.2f}, {rank.high:.2f}]"
            place.set_title(f"rank correlation {interval}")
        axes[0].set(ylabel="dose that halves well-formed texts,\n|d| / |z| (top: not reached)")
        legend(figure, axes[0], "95 % intervals over behaviours", min(len(names), 6))
    return figure
