"""What a step costs and what it buys: the error at the end against evaluations of the field."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from lens_steer.barriers import Barrier
from lens_steer.barriers.field import HeldOutRows
from lens_steer.barriers.flows import (
    RK4,
    Euler,
    GeodesicEuler,
    GeodesicMidpoint,
    Integrator,
    Midpoint,
    flow,
    frame_of,
    size_of,
)
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SCHEMES: tuple[Integrator, ...] = (Euler(), Midpoint(), RK4(), GeodesicEuler(), GeodesicMidpoint())
STEPS = (1, 2, 4, 8, 16, 32, 64)
_REFERENCE = 400  # steps of RK4 in float64
_ROUNDING = 1e-11  # of an error relative to the length: below it no order can be estimated


@dataclass(frozen=True, eq=False, repr=False)
class ConvergenceReport(Report):
    """Which integrator and how many steps: each scheme's end against many steps of RK4.

    Attributes:
        angle: Length of the flow over |a|, rad.
        names: Names of the schemes.
        steps: Numbers of steps.
        evaluations: Evaluations of the gradient, counted.
        errors: |end - reference| / T with T = angle |a|; NaN for rows that meet a maximum on their
            way, where every scheme stops and no order holds.
        sample: The rows.
    """

    angle: float
    names: tuple[str, ...]
    steps: tuple[int, ...]
    evaluations: Int[Tensor, "scheme step"]
    errors: Float[Tensor, "scheme step n"]
    sample: HeldOutRows

    @classmethod
    def fit(
        cls, barrier: Barrier, rows: Float[Tensor, "n d"], angle: float, sample: HeldOutRows
    ) -> "ConvergenceReport":
        """Along the flow that keeps |a|, whether a scheme does or not."""
        frame = frame_of(barrier, rows, tangent=True)
        y = frame.enter(rows)
        length = angle * size_of(y)[..., 0]
        best = flow(frame.slope, y, length, steps=_REFERENCE, integrator=RK4())
        counts, errors = [], []
        for scheme in SCHEMES:
            for steps in STEPS:
                slope = _Counted(frame.slope)
                end = flow(slope, y, length, steps=steps, integrator=scheme)
                error = (end.points - best.points).norm(dim=-1) / length
                errors.append(torch.where(best.at_maximum, float("nan"), error))
                counts.append(slope.count)
        shape = len(SCHEMES), len(STEPS)
        return cls(
            angle=angle,
            names=tuple(type(scheme).__name__ for scheme in SCHEMES),
            steps=STEPS,
            evaluations=torch.tensor(counts).reshape(shape),
            errors=torch.stack(errors).reshape(*shape, len(rows)),
            sample=sample,
        )

    @property
    def orders(self) -> dict[str, float]:
        """Minus the slope of log error against log steps, over the finest four above rounding.

        It is NaN where fewer than two are above rounding: one step is then exact.
        """
        return {name: self._order(i) for i, name in enumerate(self.names)}

    @override
    def table(self) -> "pd.DataFrame":
        """A row per scheme and number of steps."""
        import pandas as pd

        rows = []
        for i, (name, order) in enumerate(self.orders.items()):
            for j, steps in enumerate(self.steps):
                row = {"scheme": name, "steps": steps, "order": order}
                row |= {"evaluations": int(self.evaluations[i, j])}
                rows.append(row | self.sample.interval(self.errors[i, j]).columns("error"))
        return pd.DataFrame(rows)

    @override
    def figure(self) -> "Figure":
        """Mean error against evaluations, both on logarithmic axes."""
        from lens_steer.figures import canvas

        with canvas(width=5.4, height=4.4) as (figure, axes):
            for i, (name, order) in enumerate(self.orders.items()):
                finding = "one step is exact" if isnan(order) else f"order {order:.2f}"
                self._draw(axes, i, f"{name}: {finding}")
            left = int((~self.errors[0, 0].isnan()).sum())
            axes.set(xscale="log", yscale="log", xlabel="evaluations of the field")
            axes.set(ylabel="mean |end - reference| / T (95 % intervals)")
            rows = f"the {left} of {len(self.sample)} rows that meet no maximum of h"
            axes.set_title(f"T / |a| = {self.angle:g} rad; {rows}")
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, fontsize=7)
        return figure

    def _draw(self, axes: Any, scheme: int, label: str) -> None:
        intervals = [self.sample.interval(row) for row in self.errors[scheme]]
        mean = np.array([one.mean for one in intervals])
        ends = np.array([[one.mean - one.low, one.high - one.mean] for one in intervals]).T
        x = self.evaluations[scheme].numpy()
        axes.errorbar(x, mean, yerr=ends, fmt="o-", ms=3, lw=1, capsize=2, label=label)

    def _order(self, scheme: int) -> float:
        means = np.array([self.sample.interval(row).mean for row in self.errors[scheme]])
        kept = np.flatnonzero(means > _ROUNDING)[-4:]
        if len(kept) < 2:
            return float("nan")
        x = np.log(np.array(self.steps)[kept])
        return -float(np.polyfit(x, np.log(means[kept]), 1)[0])


class _Counted:
    """A slope that counts how often it is evaluated."""

    def __init__(self, slope: Callable[[Tensor], Tensor]) -> None:
        self.slope, self.count = slope, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.count += 1  # also for the few rows that integrate again with the safeguard
        return self.slope(x)
