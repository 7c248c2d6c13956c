"""What a step costs and what it buys: error at the end against evaluations of the field."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.barriers.barrier import Barrier
from lens_steer.barriers.field.sample import HeldOutRows
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

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SCHEMES: tuple[Integrator, ...] = (Euler(), Midpoint(), RK4(), GeodesicEuler(), GeodesicMidpoint())
STEPS = (1, 2, 4, 8, 16, 32, 64)
_REFERENCE = 400  # steps of RK4 in float64
_ROUNDING = 1e-11  # of an error relative to the way: below, no order is read off


@dataclass(frozen=True, eq=False)
class ConvergenceReport:
    """Each scheme's end against that of many steps of RK4, row by row.

    Attributes:
        angle: Of the way, rad.
        names: Of the schemes.
        steps: Taken.
        evaluations: Of the gradient, counted.
        errors: |end - reference| / T, T = angle |a|; NaN of rows that meet a maximum on their way,
            where every scheme stops and no order holds.
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
                found = flow(slope, y, length, steps=steps, integrator=scheme)
                error = (found.points - best.points).norm(dim=-1) / length
                errors.append(torch.where(best.at_maximum, float("nan"), error))
                counts.append(slope.count)
        shape = len(SCHEMES), len(STEPS)
        return cls(
            *(angle, tuple(type(scheme).__name__ for scheme in SCHEMES), STEPS),
            torch.tensor(counts).reshape(shape),
            *(torch.stack(errors).reshape(*shape, len(rows)), sample),
        )

    @property
    def orders(self) -> dict[str, float]:
        """Minus the slope of log error against log steps, over the finest four above rounding.

        NaN where fewer than two are above it: one step is then exact.
        """
        return {name: self._order(i) for i, name in enumerate(self.names)}

    def table(self) -> "pd.DataFrame":
        """A row per scheme and number of steps."""
        import pandas as pd

        rows = []
        for i, name in enumerate(self.names):
            for j, steps in enumerate(self.steps):
                row = {"scheme": name, "steps": steps, "order": self.orders[name]}
                row |= {"evaluations": int(self.evaluations[i, j])}
                rows.append(row | self.sample.interval(self.errors[i, j]).columns("error"))
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Mean error against evaluations, both on logarithmic axes."""
        from lens_steer.figures import canvas

        with canvas(width=5.4, height=4.4) as (figure, axes):
            for i, name in enumerate(self.names):
                order = self.orders[name]
                told = "one step is exact" if isnan(order) else f"order {order:.2f}"
                self._draw(axes, i, f"{name}: {told}")
            left = int((~self.errors[0, 0].isnan()).sum())
            axes.set(xscale="log", yscale="log", xlabel="evaluations of the field")
            axes.set(ylabel="mean |end - reference| / T (95 % intervals)")
            whole = f"T / |a| = {self.angle:g} rad; the {left} of {len(self.sample)} rows"
            axes.set_title(f"{whole} that meet no maximum of h")
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, fontsize=7)
        return figure

    def _draw(self, axes: Any, scheme: int, label: str) -> None:
        found = [self.sample.interval(row) for row in self.errors[scheme]]
        mean = np.array([each.mean for each in found])
        ends = np.array([[each.mean - each.low, each.high - each.mean] for each in found]).T
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
    """A slope that counts how often it is asked."""

    def __init__(self, slope: Callable[[Tensor], Tensor]) -> None:
        self.slope, self.count = slope, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.count += 1  # rows that walk again with care count as a further one
        return self.slope(x)
