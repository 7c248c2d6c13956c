"""Specificity: what a method does to the behaviours that it is not meant for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from lens_steer.artifacts import savable
from lens_steer.benchmark.doses import half_dose, strengths
from lens_steer.benchmark.drawing import check_behaviour
from lens_steer.benchmark.grouped_sums import Sums
from lens_steer.benchmark.quantities import Value, along, at_budget, behaviour
from lens_steer.benchmark.result import Comparison
from lens_steer.benchmark.statistics import Totals, statistic_interval
from lens_steer.intervals import Interval
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Array = np.ndarray

_ADDED = 0.5  # to the texts that show a behaviour and to those that do not


@dataclass(frozen=True, eq=False)
class Curve:
    """A method on one behaviour: its multiples, from 0, and its sums at each of them."""

    multiples: Float[Array, " multiple"]
    sums: list[Sums]


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Specificity(Report):
    """Change in each behaviour, over the change that its own method makes.

    Every method is taken at its own ED50, found on the prompts of the behaviour it is meant for.
    The change is in log-odds, ln((k + 1/2) / (n - k + 1/2)) where k of n texts show the behaviour
    (so that no text, and all texts, are finite too), between the unsteered model and the method;
    between the strengths tried shares are joined by straight lines. 1 is as much as the
    behaviour's own method makes, 0 is nothing, below 0 is away from the behaviour.

    Attributes:
        methods: The method of each row.
        behaviours: The behaviour of each column; the method of a row is meant for that of the same
            number.
        doses: The ED50 of each method, as a multiple of its own strength.
        entries: The rows of the matrix.
        n: The number of texts of each behaviour for a method and strength.
        groups: The number of groups of prompts of each behaviour.

    Example:
        >>> ls.benchmark.Specificity.of(result, {"praise": "sentiment", "honesty": "truthfulness"})
    """

    methods: tuple[str, ...]
    behaviours: tuple[str, ...]
    doses: tuple[float, ...]
    entries: tuple[tuple[Interval, ...], ...]
    n: tuple[int, ...]
    groups: tuple[int, ...]

    @classmethod
    def of(cls, comparison: Comparison, meant_for: Mapping[str, str]) -> "Specificity":
        """The specificity of every method for every behaviour that one of them is meant for.

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
        seed = comparison.config.seed
        entries = tuple(
            tuple(_entry(curves, (m, b), meant_for, seed=seed) for b in behaviours) for m in methods
        )
        strongest = [curves[pair].sums[-1] for pair in meant_for.items()]
        n = tuple(round(float(sums.examples.sum())) for sums in strongest)
        groups = tuple(sums.shape[-1] for sums in strongest)
        return cls(methods, behaviours, doses, entries, n, groups)

    def table(self) -> "pd.DataFrame":
        """A row per method and measured behaviour."""
        import pandas as pd

        rows = []
        for i, method in enumerate(self.methods):
            for j, measured in enumerate(self.behaviours):
                row: dict[str, Any] = {"method": method, "meant_for": self.behaviours[i]}
                row |= {"ed50": self.doses[i], "measured": measured, "n": self.n[j]}
                rows.append(row | self.entries[i][j].columns("specificity"))
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """The matrix, steered by measured."""
        from lens_steer.figures import canvas

        size, values = len(self.methods), np.array([[x.mean for x in r] for r in self.entries])
        reach = max(1.0, float(np.abs(values).max()))
        width, height = 3.4 + 1.05 * size, 2.1 + 0.55 * size
        with canvas(width=width, height=height) as (figure, axes):
            pale = [[0.3 if _may_be_zero(x) else 1.0 for x in row] for row in self.entries]
            options: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach}
            options["alpha"] = np.array(pale)
            image = axes.imshow(values, aspect="auto", **options)
            for i, row in enumerate(self.entries):
                for j, entry in enumerate(row):
                    axes.text(j, i, **_printed(entry, reach))
            named = [f"{m}\nED50 {d:.2g}" for m, d in zip(self.methods, self.doses, strict=True)]
            axes.set_yticks(range(size), ["\n".join(map(_wrapped, x.split("\n"))) for x in named])
            counted = zip(self.behaviours, self.n, self.groups, strict=True)
            below = [f"{_wrapped(b, 13)}\nn = {n},\n{g} groups" for b, n, g in counted]
            axes.set_xticks(range(size), below)
            axes.set(ylabel="steered by, at its ED50\n(multiples of its strength)")
            axes.set(xlabel="measured (95 % intervals;\npale, grey: the interval includes 0)")
            figure.colorbar(image, label="change in log-odds over\nthat of the own method")
        return figure


def _wrapped(name: str, letters: int = 16) -> str:
    return fill(": ".join(part.strip() for part in name.split(":")), letters)


def _may_be_zero(entry: Interval) -> bool:
    return not entry.low * entry.high > 0


def _printed(entry: Interval, reach: float) -> dict[str, Any]:
    """A number in a cell: grey where the interval includes 0, white on dark."""
    colour = "white" if abs(entry.mean) > 0.6 * reach else "black"
    colour = "0.4" if _may_be_zero(entry) else colour
    text = {"s": f"{entry.mean:.2f}", "color": colour, "ha": "center", "va": "center"}
    if entry.low < entry.high:
        text["s"] += f"\n[{entry.low:.2f}, {entry.high:.2f}]"
    return text | {"fontsize": 7.5}


def _curves(
    comparison: Comparison, methods: Sequence[str], behaviours: Sequence[str]
) -> dict[tuple[str, str], Curve]:
    """The curve of every method on every behaviour."""
    if len(set(behaviours)) < len(behaviours):
        raise ValueError(f"meant for {list(behaviours)}: expected one method per behaviour")
    for name in behaviours:
        check_behaviour(comparison, name)
    curves = {(m, b): _curve(comparison, m, b) for m in methods for b in behaviours}
    units = {pair: curve.sums[0].shape[:-1] for pair, curve in curves.items()}
    if len(set(units.values())) > 1:
        raise ValueError(f"numbers of fits and seeds differ, {units}: run as many of each")
    return curves


def _curve(comparison: Comparison, method: str, behaviour_name: str) -> Curve:
    multiples, sums = strengths(comparison, behaviour_name, method)
    if len(multiples) < 2:
        raise ValueError(
            f"{method!r} was not run on the prompts of {behaviour_name!r}: run each method on all"
        )
    shape = np.broadcast_shapes(*(part.shape for part in sums))
    return Curve(multiples, [part.map(lambda x: _spread(x, shape)) for part in sums])


def _spread(x: Float[Array, "*way"], shape: tuple[int, ...]) -> Float[Array, "*cell"]:
    """Spread over fits that the unsteered model does not have: the sum stays as it is."""
    return np.broadcast_to(x, shape) * (x.size / prod(shape))


def _dose(curve: Curve, method: str, behaviour_name: str) -> float:
    shares = np.array([x.behaviour.sum() / x.examples.sum() for x in curve.sums])
    dose = float(half_dose(shares, curve.multiples))
    if np.isnan(dose):
        raise ValueError(
            f"{method!r} has no ED50 on {behaviour_name!r}: it does not get half-way up to "
            f"{curve.multiples[-1]:g} times its strength; try larger multiples"
        )
    return dose


def _entry(
    curves: Mapping[tuple[str, str], Curve],
    pair: tuple[str, str],
    meant_for: Mapping[str, str],
    *,
    seed: int,
) -> Interval:
    """The specificity of a method for a measured behaviour.

    Three curves are read: that of the method on its own behaviour, for its ED50; that of the method
    on the measured behaviour; and that of the method which is meant for the measured behaviour.
    The prompts of two behaviours are drawn independently.
    """
    method, measured = pair
    [meant] = [name for name, behaviour_name in meant_for.items() if behaviour_name == measured]
    intended, other, reference = (
        curves[method, meant_for[method]],
        curves[pair],
        curves[meant, measured],
    )
    first, second = len(intended.sums), len(intended.sums) + len(other.sums)

    def statistic(*totals: Totals) -> Value:
        own_dose = _reached(along(behaviour, totals[:first]), intended.multiples)
        reference_dose = _reached(along(behaviour, totals[second:]), reference.multiples)
        change = _change(totals[first:second], other.multiples, own_dose)
        return change / _change(totals[second:], reference.multiples, reference_dose)

    parts = [*intended.sums, *other.sums, *reference.sums]
    if meant_for[method] != measured:  # the groups of either behaviour are drawn by themselves
        n, m = intended.sums[0].shape[-1], other.sums[0].shape[-1]
        parts = [_padded(part, 0, m) for part in intended.sums]
        parts += [_padded(part, n, 0) for part in (*other.sums, *reference.sums)]
    return statistic_interval(statistic, parts, seed=seed)


def _padded(sums: Sums, before: int, after: int) -> Sums:
    """Zeros for the groups of another behaviour, before or after one's own."""
    return sums.map(lambda x: np.pad(x, [(0, 0)] * (x.ndim - 1) + [(before, after)]))


def _reached(shares: Array, multiples: Array) -> Array:
    dose = half_dose(shares, multiples)
    return np.where(np.isnan(dose), multiples[-1], dose)


def _change(curve: Sequence[Totals], multiples: Array, dose: Array) -> Array:
    """The change in log-odds from no steering to a dose."""
    shares = along(lambda t: (t.behaviour + _ADDED) / (t.examples + 2 * _ADDED), curve)
    at_dose = at_budget(np.broadcast_to(multiples, shares.shape) - dose[..., None], shares, 0.0)
    return np.asarray(_log_odds(at_dose) - _log_odds(np.asarray(shares[..., 0])))


def _log_odds(share: Array) -> Array:
    return np.asarray(np.log(share) - np.log1p(-share))
