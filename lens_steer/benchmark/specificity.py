"""Specificity: what a method does to the behaviours that it is not meant for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from lens_steer.benchmark.doses import half_dose, strengths
from lens_steer.benchmark.drawing import check_behaviour
from lens_steer.benchmark.result import Comparison
from lens_steer.benchmark.statistics import at_budget, statistic_interval
from lens_steer.intervals import Interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Array = np.ndarray
Curve = tuple[
    Array, Array, Array
]  # multiples, and behaviour and examples `[strength way ... group]`

_ADDED = 0.5  # to the texts that show a behaviour and to those that do not


@dataclass(frozen=True, eq=False)
class Specificity:
    """Change in each behaviour, over the change that its own method makes.

    Every method is taken at its own ED50, found on the prompts of the behaviour it is meant for.
    The change is in log-odds, ln((k + 1/2) / (n - k + 1/2)) where k of n texts show the behaviour
    (so that no text, and all texts, are finite too), between the unsteered model and the method;
    between the strengths tried shares are joined by straight lines. 1 is as much as the
    behaviour's own method makes, 0 is nothing, below 0 is away from the behaviour.

    Attributes:
        methods: Of each row.
        behaviours: Of each column; the method of a row is meant for that of the same number.
        doses: ED50 of each method, multiples of its own strength.
        entries: Rows of the matrix.
        n: Texts of each behaviour for a method and strength.
        groups: Groups of prompts of each behaviour.
    """

    methods: tuple[str, ...]
    behaviours: tuple[str, ...]
    doses: tuple[float, ...]
    entries: tuple[tuple[Interval, ...], ...]
    n: tuple[int, ...]
    groups: tuple[int, ...]

    @classmethod
    def of(cls, comparison: Comparison, meant_for: Mapping[str, str]) -> "Specificity":
        """Every method on the prompts of every behaviour that one is meant for.

        Where a resample does not reach the ED50, the largest strength stands in for it.

        Args:
            meant_for: Behaviour of each method; one method per behaviour.

        Raises:
            ValueError: If two methods are meant for one behaviour, a method was not run on one of
                the behaviours, with other fits or seeds than the rest, or does not reach its ED50.
        """
        methods, behaviours = tuple(meant_for), tuple(meant_for.values())
        curves = _curves(comparison, methods, behaviours)
        doses = tuple(_dose(curves[pair], *pair) for pair in meant_for.items())
        seed = comparison.terms.seed
        entries = tuple(
            tuple(_entry(curves, (m, b), meant_for, seed=seed) for b in behaviours) for m in methods
        )
        own = [curves[pair][2][-1] for pair in meant_for.items()]
        n = tuple(round(float(x.sum())) for x in own)
        return cls(methods, behaviours, doses, entries, n, tuple(x.shape[-1] for x in own))

    def table(self) -> "pd.DataFrame":
        """A row per method and measured behaviour."""
        import pandas as pd

        rows = []
        for i, method in enumerate(self.methods):
            for j, behaviour in enumerate(self.behaviours):
                row: dict[str, Any] = {"method": method, "meant_for": self.behaviours[i]}
                row |= {"ed50": self.doses[i], "measured": behaviour, "n": self.n[j]}
                rows.append(row | self.entries[i][j].columns("specificity"))
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """The matrix, steered by measured."""
        from lens_steer.figures import canvas

        size, values = len(self.methods), np.array([[x.mean for x in r] for r in self.entries])
        reach = max(1.0, float(np.abs(values).max()))
        width, height = 3.2 + 0.95 * size, 1.9 + 0.55 * size
        with canvas(width=width, height=height) as (figure, axes):
            pale = [[0.3 if _may_be_zero(x) else 1.0 for x in row] for row in self.entries]
            options: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach}
            options["alpha"] = np.array(pale)
            image = axes.imshow(values, aspect="auto", **options)
            for i, row in enumerate(self.entries):
                for j, found in enumerate(row):
                    axes.text(j, i, **_printed(found, reach))
            named = [f"{m}\nED50 {d:.2g}" for m, d in zip(self.methods, self.doses, strict=True)]
            axes.set_yticks(range(size), ["\n".join(map(_wrapped, x.split("\n"))) for x in named])
            counted = zip(self.behaviours, self.n, self.groups, strict=True)
            below = [f"{_wrapped(b)}\nn = {n},\n{g} groups" for b, n, g in counted]
            axes.set_xticks(range(size), below)
            axes.set(ylabel="steered by, at its ED50\n(multiples of its strength)")
            axes.set(xlabel="measured (95 % intervals;\npale, grey: the interval includes 0)")
            figure.colorbar(image, label="change in log-odds over\nthat of the own method")
        return figure


def _wrapped(name: str) -> str:
    return fill(": ".join(part.strip() for part in name.split(":")), 16)


def _may_be_zero(found: Interval) -> bool:
    return not found.low * found.high > 0


def _printed(found: Interval, reach: float) -> dict[str, Any]:
    """A number in a cell: grey where the interval includes 0, white on dark."""
    colour = "white" if abs(found.mean) > 0.6 * reach else "black"
    colour = "0.4" if _may_be_zero(found) else colour
    shown = {"s": f"{found.mean:.2f}", "color": colour, "ha": "center", "va": "center"}
    if found.low < found.high:
        shown["s"] += f"\n[{found.low:.2f}, {found.high:.2f}]"
    return shown | {"fontsize": 7.5}


def _curves(
    comparison: Comparison, methods: Sequence[str], behaviours: Sequence[str]
) -> dict[tuple[str, str], Curve]:
    if len(set(behaviours)) < len(behaviours):
        raise ValueError(f"meant for {list(behaviours)}: expected one method per behaviour")
    for behaviour in behaviours:
        check_behaviour(comparison, behaviour)
    pairs = [(m, b) for m in methods for b in behaviours]
    found = {(m, b): _curve(comparison, m, b) for m, b in pairs}
    ways = {pair: curve[1].shape[1:-1] for pair, curve in found.items()}
    if len(set(ways.values())) > 1:
        raise ValueError(f"numbers of fits and seeds differ, {ways}: run as many of each")
    return found


def _curve(comparison: Comparison, method: str, behaviour: str) -> Curve:
    multiples, cells = strengths(comparison, behaviour, method)
    if len(multiples) < 2:
        raise ValueError(
            f"{method!r} was not run on the prompts of {behaviour!r}: run each method on all"
        )
    shape = np.broadcast_shapes(*(each.sums["examples"].shape for each in cells))
    sums = [np.stack([_even(c.sums[x], shape) for c in cells]) for x in ("behaviour", "examples")]
    return multiples, sums[0], sums[1]


def _even(x: Float[Array, "*way"], shape: tuple[int, ...]) -> Float[Array, "*cell"]:
    """Spread over fits that the unsteered model has not: the sum stays as it is."""
    return np.broadcast_to(x, shape) * (x.size / prod(shape))


def _dose(curve: Curve, method: str, behaviour: str) -> float:
    multiples, shown, examples = curve
    ways = tuple(range(1, shown.ndim))
    found = float(half_dose(shown.sum(axis=ways) / examples.sum(axis=ways), multiples))
    if np.isnan(found):
        raise ValueError(
            f"{method!r} has no ED50 on {behaviour!r}: it does not get half-way up to "
            f"{multiples[-1]:g} times its strength; try larger multiples"
        )
    return found


def _entry(
    curves: Mapping[tuple[str, str], Curve],
    pair: tuple[str, str],
    meant_for: Mapping[str, str],
    *,
    seed: int,
) -> Interval:
    """Of a method and a measured behaviour; the prompts of two behaviours are drawn apart."""
    method, behaviour = pair
    [own] = [name for name, meant in meant_for.items() if meant == behaviour]
    parts = [curves[method, meant_for[method]], curves[pair], curves[own, behaviour]]
    tried = [multiples for multiples, *_ in parts]
    ends = np.cumsum([0, *(2 * len(multiples) for multiples in tried)])

    def statistic(*totals: Any) -> Any:
        shown = [np.stack(totals[a:b:2], axis=-1) for a, b in zip(ends, ends[1:], strict=False)]
        n = [np.stack(totals[a + 1 : b : 2], -1) for a, b in zip(ends, ends[1:], strict=False)]
        doses = [_reached(shown[i] / n[i], tried[i]) for i in (0, 2)]
        changes = [_change(shown[i + 1], n[i + 1], tried[i + 1], doses[i]) for i in (0, 1)]
        return changes[0] / changes[1]

    apart = meant_for[method] != behaviour
    sums = [*_summed(parts[0], apart, parts[1], first=True)]
    sums += [x for part in parts[1:] for x in _summed(part, apart, parts[0], first=False)]
    return statistic_interval(statistic, sums, seed=seed)


def _summed(part: Curve, apart: bool, other: Curve, *, first: bool) -> list[Array]:
    """Behaviour and examples of each strength; zeros for the groups of the other behaviour."""
    width = other[1].shape[-1] if apart else 0
    beside = (0, width) if first else (width, 0)
    found = [x for pair in zip(part[1], part[2], strict=True) for x in pair]
    return [np.pad(x, [(0, 0)] * (x.ndim - 1) + [beside]) for x in found]


def _reached(shares: Array, multiples: Array) -> Array:
    found = half_dose(shares, multiples)
    return np.where(np.isnan(found), multiples[-1], found)


def _change(shown: Array, n: Array, multiples: Array, dose: Array) -> Array:
    """In log-odds, from no steering to a dose."""
    shares = (shown + _ADDED) / (n + 2 * _ADDED)
    here = at_budget(np.broadcast_to(multiples, shares.shape) - dose[..., None], shares, 0.0)
    return np.asarray(_log_odds(here) - _log_odds(np.asarray(shares[..., 0])))


def _log_odds(share: Array) -> Array:
    return np.asarray(np.log(share) - np.log1p(-share))
