"""Per-prompt steerability: how fast a method changes the preference of each pair, around 0.

The slope is a central difference in strength, in units of the method's own strength. Pairs whose
slope is negative are anti-steerable: there the method pushes away from the desired continuation.

Source: Tan et al. 2024, "Analyzing the Generalization and Reliability of Steering Vectors"
(arXiv:2407.12404), which fits a line over several strengths; here it is the slope at 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Number, Seed
from lens_steer.artifacts import savable
from lens_steer.data import ContrastivePairs
from lens_steer.diagnostics.named_methods import check_named, row_of
from lens_steer.evaluation import preference
from lens_steer.intervals import Interval, interval
from lens_steer.models import SteerableModel
from lens_steer.reports import Report
from lens_steer.steering import Intervention, Scope

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# Root-mean-square change of the slopes when the step is halved: at most this share of their own
# size, and float32's rounding of a preference (nats) over the step.
_AGREES, _ROUNDING = 0.05, 1e-5
_IN_LEGEND = 6  # methods


@savable
@dataclass(frozen=True, eq=False, repr=False)
class SteerabilityReport(Report):
    """On which prompts a method pushes the right way: the slope of each preference in strength.

    Attributes:
        names: The names of the methods.
        slopes: Nats per token, per unit of strength multiple (1 is the method's own strength).
        halved: The same with half the step.
        groups: The group of each pair, for intervals.
        epsilon: The step, in strength multiples.
        seed: The seed of the intervals.
    """

    names: tuple[str, ...]
    slopes: Float[Tensor, "method pair"]
    halved: Float[Tensor, "method pair"]
    groups: tuple[str, ...]
    epsilon: float
    seed: int

    def __post_init__(self) -> None:
        expected = (len(self.names), len(self.groups))
        if tuple(self.slopes.shape) != expected or tuple(self.halved.shape) != expected:
            raise ValueError(
                f"got slopes of shapes {tuple(self.slopes.shape)} and {tuple(self.halved.shape)}, "
                f"expected one for each of the methods and groups: {expected}"
            )

    @classmethod
    def fit(
        cls,
        model: SteerableModel,
        pairs: ContrastivePairs,
        methods: Mapping[str, Intervention],
        *,
        epsilon: Number = 0.05,
        scope: Scope = "last",
        seed: Seed,
    ) -> "SteerabilityReport":
        """Differentiate the preference of each pair: four passes over the pairs for each method.

        Args:
            pairs: Paired examples; the preference is the log-probability per token of the desired
                continuation minus that of the undesired one.
            methods: Methods by name, each at the strength that counts as 1.
            epsilon: Step to either side of 0 in multiples of a method's own strength; the error of
                the slope is of second order in it.
            seed: The seed of the intervals over groups.

        Raises:
            ValueError: If the pairs are unpaired, a method does not fit the model or has strength
                0, the step is not positive, or halving it changes the slopes by more than 5 %.

        Example:
            >>> report = ls.diagnostics.SteerabilityReport.fit(model, test, {"CAA": caa}, seed=0)
            >>> report.anti_steerable("CAA")  # share of pairs that are pushed the wrong way
        """
        named = check_named(methods, pairs, model)
        _check_step_and_strengths(epsilon, named)
        slopes, halved = (
            torch.stack([_slopes(model, pairs, method, step, scope) for method in named.values()])
            for step in (float(epsilon), float(epsilon) / 2)
        )
        report = cls(tuple(named), slopes, halved, pairs.groups, float(epsilon), seed)
        _check_agreement(report)
        return report

    @property
    def step_error(self) -> Float[Tensor, " method"]:
        """Root-mean-square change when the step is halved, relative to the slopes' own size.

        NaN where all slopes are 0.
        """
        return _size(self.slopes - self.halved) / _size(self.slopes)

    def slope(self, name: str) -> Interval:
        """A method's mean slope."""
        return interval(self.slopes[row_of(name, self.names)], self.groups, seed=self.seed)

    def anti_steerable(self, name: str) -> Interval:
        """The share of pairs that a method moves the wrong way: slope below 0."""
        negative = (self.slopes[row_of(name, self.names)] < 0).double()
        return interval(negative, self.groups, seed=self.seed)

    def table(self) -> "pd.DataFrame":
        """One row per method and pair."""
        import pandas as pd

        n = len(self.groups)
        columns: dict[str, Any] = {"method": np.repeat(self.names, n)}
        columns |= {"pair": [*range(n)] * len(self.names), "group": self.groups * len(self.names)}
        columns |= {"slope": self.slopes.flatten().numpy()}
        return pd.DataFrame(columns | {"slope_half_step": self.halved.flatten().numpy()})

    def summary(self) -> "pd.DataFrame":
        """One row per method: mean slope and share of anti-steerable pairs, with intervals."""
        import pandas as pd

        rows = []
        for name, error in zip(self.names, self.step_error.tolist(), strict=True):
            row: dict[str, Any] = {"method": name}
            row |= self.slope(name).columns("slope")
            row |= self.anti_steerable(name).columns("anti_steerable")
            counts = {"pairs": len(self.groups), "groups": len(set(self.groups))}
            rows.append({**row, "step_error": error, **counts})
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Slopes in order, and below their distribution with the share below 0, by method."""
        from lens_steer.figures import canvas, legend_outside

        rows = len(self.names)
        options: dict[str, Any] = {"sharex": True, "height_ratios": [2.6, 0.5 * rows + 0.4]}
        with canvas(2, 1, width=6.0, height=4.4 + 0.5 * rows, **options) as (figure, panels):
            self._sorted(panels[0])
            self._violins(panels[1])
            for axes in panels:
                axes.axvline(0, color="k", ls=":", lw=0.8)
            if rows <= _IN_LEGEND:  # of more the colours below say which is which
                legend_outside(figure, panels[0], where="upper center")
        return figure

    def _sorted(self, axes: Any) -> None:
        y = (np.arange(len(self.groups)) + 0.5) / len(self.groups) * 100
        for i, name in enumerate(self.names):
            x = self.slopes[i].sort().values.numpy()
            axes.plot(x, y, ".-", color=f"C{i % 10}", lw=1.0, label=name)
        axes.set(ylabel="pairs with a smaller slope, %", ylim=(0, 100))
        axes.set_title(f"{len(self.groups)} pairs in {len(set(self.groups))} groups")

    def _violins(self, axes: Any) -> None:
        places = list(range(len(self.names)))
        shown: dict[str, Any] = {"orientation": "horizontal", "showmedians": True, "widths": 0.8}
        drawn = axes.violinplot(list(self.slopes.numpy()), places, **shown)
        for i, body in enumerate(drawn["bodies"]):
            body.set(facecolor=f"C{i % 10}", alpha=0.35)
        for part in ("cmedians", "cmins", "cmaxes", "cbars"):
            drawn[part].set(color="0.25", lw=0.8)
        shares = [self.anti_steerable(name) for name in self.names]
        labels = [
            f"{fill(name, 26)}\n{s.mean:.0%} below 0 [{s.low:.0%}, {s.high:.0%}]"
            for name, s in zip(self.names, shares, strict=True)
        ]
        axes.set_yticks(places, labels, fontsize=8)
        axes.set(ylim=(len(places) - 0.4, -0.6))
        axes.set_xlabel(
            "slope of the preference around 0,\nnats per token per strength multiple\n"
            "(shares with 95 % intervals over groups)"
        )


def _slopes(
    model: SteerableModel,
    pairs: ContrastivePairs,
    method: Intervention,
    step: float,
    scope: Scope,
) -> Float[Tensor, " pair"]:
    """The central difference, float64."""
    up, down = (
        preference(model, pairs, method.with_strength(to * method.strength), scope=scope).double()
        for to in (step, -step)
    )
    return (up - down) / (2 * step)


def _check_step_and_strengths(epsilon: float | int, named: Mapping[str, Intervention]) -> None:
    if not 0 < epsilon < float("inf"):
        raise ValueError(f"epsilon {epsilon!r}: expected a positive number, such as 0.05")
    unsteered = [name for name, method in named.items() if method.strength == 0]
    if unsteered:
        raise ValueError(
            f"{unsteered[0]!r} has strength 0, whose multiples are all alike: give it the strength "
            "that is to count as 1, with_strength(...)"
        )


def _check_agreement(report: SteerabilityReport) -> None:
    change, size = _size(report.slopes - report.halved), _size(report.slopes)
    allowed = _AGREES * size + _ROUNDING / report.epsilon
    worst = int((change - allowed).argmax())
    if not bool((change <= allowed).all()):  # NaN compares as False
        raise ValueError(
            f"the slopes of {report.names[worst]!r} change by {change[worst]:.2g} of "
            f"{size[worst]:.2g} nats per token when the step {report.epsilon:g} is halved: pass a "
            "smaller epsilon, or a larger one where the model's dtype is coarse"
        )


def _size(x: Float[Tensor, "method pair"]) -> Float[Tensor, " method"]:
    return x.square().mean(dim=1).sqrt()
