"""What steering will do, foretold from derivatives at strength 0 before a token is generated."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Accepts, Number, Positive, Seed
from lens_steer.artifacts import savable
from lens_steer.intervals import Interval, interval
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_ROWS = 40  # methods in a figure


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Forecast(Report):
    """The gain of every method at every cost, to first order; made by `forecast`.

    At a small strength s the margin of a pair, log p(desired) - log p(undesired) over the whole
    continuations, changes by g s and the cost is c s^2 / 2 nats per token, with the mean c of the
    texts. At k nats per token the method has the strength sqrt(2 k / c), and the gain of a pair is
    g sqrt(2 k / c). That is right where steering is weak, and overstates the gain where it is
    strong: the forecast says which method, where and on which prompts, and roughly how hard.

    Attributes:
        names: The methods.
        slopes: g of each pair: nats per unit of strength; negative where the method pushes the
            wrong way.
        curvatures: c of each unsteered text: nats per token and squared strength.
        signs: 1, or -1 for a method whose own strength is negative: it is forecast in its own
            direction.
        draws: How many tokens each text has.
        margins: Unsteered margin of each pair, nats.
        groups: The group of each pair, for intervals.
        left_out: Methods without derivatives, with the reason.
        seed: Of the intervals.

    Example:
        >>> found = ls.forecast(model, test, {"CAA": caa, "LQR": lqr})
        >>> found.gain("CAA", 0.1), found.wrong_way("CAA")
        >>> fair = caa.with_strength(found.strength("CAA", 0.1))
    """

    names: Annotated[tuple[str, ...], Accepts(Sequence[str])]
    slopes: Float[Tensor, "method pair"]
    curvatures: Float[Tensor, "method text"]
    signs: Float[Tensor, " method"]
    draws: Float[Tensor, " text"]
    margins: Float[Tensor, " pair"]
    groups: Annotated[tuple[str, ...], Accepts(Sequence[str])]
    left_out: dict[str, str]
    seed: Seed

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "groups", tuple(self.groups))
        pairs, methods = len(self.groups), len(self.names)
        shapes = {
            "slopes": (self.slopes, (methods, pairs)),
            "curvatures": (self.curvatures, (methods, len(self.draws))),
            "signs": (self.signs, (methods,)),
            "margins": (self.margins, (pairs,)),
        }
        for name, (values, shape) in shapes.items():
            if tuple(values.shape) != shape:
                raise ValueError(
                    f"got {name} of shape {tuple(values.shape)}, expected {shape}: methods "
                    f"{methods}, pairs {pairs}, texts {len(self.draws)}"
                )

    def curvature(self, name: str) -> float:
        """c of a method, nats per token and squared strength: the mean over all tokens."""
        weights = self.draws / self.draws.sum()
        return float(self.curvatures[self._row(name)] @ weights)

    def strength(self, name: str, nats: Positive) -> float:
        """The strength at which a method is to cost `nats` per token."""
        row = self._row(name)
        return float(self.signs[row]) * sqrt(2 * nats / self.curvature(name))

    def gains(self, name: str, nats: Positive) -> Float[Tensor, " pair"]:
        """The change of each pair's margin at a cost of `nats` per token, in nats."""
        return self.slopes[self._row(name)] * self.strength(name, nats)

    def gain(self, name: str, nats: Positive) -> Interval:
        """The mean change of the margin at a cost of `nats` per token.

        The interval is over groups of pairs; the cost is taken as it was measured.
        """
        return interval(self.gains(name, nats), self.groups, seed=self.seed)

    def nats(self, name: str, gain: Number) -> float:
        """What a mean change of the margin by `gain` nats is to cost, nats per token.

        Infinite where the method moves the mean the other way.

        Example:
            >>> found.nats("CAA", 2.0)  # to make desired endings e^2 times likelier
        """
        per_root = float(self.gains(name, 1.0).mean())
        return (gain / per_root) ** 2 if gain * per_root > 0 else float("inf") if gain else 0.0

    def wrong_way(self, name: str) -> Interval:
        """The share of pairs that a method pushes away from the desired continuation."""
        against = (self.gains(name, 1.0) < 0).double()
        return interval(against, self.groups, seed=self.seed)

    def rate(self, name: str, nats: float | int, temperature: Positive) -> Interval:
        """The share of texts that would show the behaviour: mean of sigmoid((m + gain) / tau).

        Margins of given continuations say little about texts that are written freely: on the
        embedded model this was no better than the clean margins alone
        (`python -m analyses.forecast`). Write texts to know the share.

        Args:
            name: The method.
            nats: Per token; 0 is the unsteered share.
            temperature: tau, in nats of the margin, fitted to other behaviours; near 0 it is the
                share of pairs that prefer the desired side.
        """
        if not nats >= 0:
            raise ValueError(f"nats {nats}: expected 0 or a positive number")
        gains = self.gains(name, nats) if nats else torch.zeros_like(self.margins)
        rates = torch.sigmoid((self.margins + gains) / temperature)
        return interval(rates, self.groups, seed=self.seed)

    def best(self, nats: Positive) -> str:
        """The method of the largest mean gain at a cost."""
        return max(self.names, key=lambda name: float(self.gains(name, nats).mean()))

    def table(self, nats: Positive = 0.1) -> "pd.DataFrame":
        """A row for each method at one cost, the largest gain first.

        Args:
            nats: Per token.
        """
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for name in self.names:
            row: dict[str, Any] = {"method": name, "nats": nats}
            row |= self.gain(name, nats).columns("gain")
            row |= self.wrong_way(name).columns("wrong_way")
            rows.append(row | {"strength": self.strength(name, nats), "why": ""})
        rows.sort(key=lambda row: -row["gain"])
        rows += [{"method": name, "why": why} for name, why in self.left_out.items()]
        return pd.DataFrame(rows, columns=list(rows[0]))

    def figure(self, nats: Positive = 0.1) -> "Figure":
        """Gains in order with their intervals, and beside them how many pairs go the wrong way.

        Args:
            nats: Per token.
        """
        from lens_steer.figures import canvas

        table = self.table(nats).dropna(subset=["gain"]).head(_ROWS)
        rows = table.to_dict("records")[::-1]
        height = 1.3 + 0.2 * len(rows)
        with canvas(1, 2, width=7.0, height=height, sharey=True) as (figure, panels):
            for axes, name, unit in zip(panels, ("gain", "wrong_way"), (1, 100), strict=True):
                for y, row in enumerate(rows):
                    ends = [unit * row[f"{name}_low"], unit * row[f"{name}_high"]]
                    axes.plot(ends, [y, y], color="C0", lw=1.5)
                    axes.plot(unit * row[name], y, "o", color="C0", ms=4)
            panels[0].axvline(0, color="k", lw=0.8)
            panels[0].set_yticks(range(len(rows)), [row["method"] for row in rows])
            panels[0].set(ylim=(-0.6, len(rows) - 0.4))
            panels[0].set(xlabel=f"forecast gain at {nats:g} nats per token,\nnats of the margin")
            panels[1].set(xlabel="pairs pushed the wrong way, %\n(95 % intervals over groups)")
            panels[1].set(xlim=(-3, 103))
            if len(self.names) > _ROWS:
                figure.suptitle(f"the first {_ROWS} of {len(self.names)} methods", fontsize=9)
        return figure

    def _row(self, name: str) -> int:
        if name in self.left_out:
            raise ValueError(f"{name!r} has no forecast: {self.left_out[name]}")
        if name not in self.names:
            raise ValueError(f"no method {name!r} here: expected one of {self.names}")
        return self.names.index(name)


def joined(forecasts: Sequence[Forecast]) -> Forecast:
    """Forecasts of other methods on the same pairs and texts, as one."""
    first = forecasts[0]
    parts = {
        name: torch.cat([getattr(each, name) for each in forecasts])
        for name in ("slopes", "curvatures", "signs")
    }
    names = tuple(name for each in forecasts for name in each.names)
    left_out = {name: why for each in forecasts for name, why in each.left_out.items()}
    return replace(first, names=names, left_out=left_out, **parts)
