"""Do steered rows crowd together, and do they leave the data?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import LayerActivations
from lens_steer.barriers.field import FlowPaths, HeldOutRows
from lens_steer.intervals import Interval, plot_band
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_EVERY = 4  # of the states
_BLOCKS = 20  # left out one after the other, at most


@dataclass(frozen=True, eq=False, repr=False)
class CrowdingReport(Report):
    """Whether steering makes activations alike: the undesired rows on their way, as a cloud.

    Attributes:
        angles: Rad.
        cosine: Mean cosine of two rows: 1 if all point one way.
        rank: exp(entropy of the normalised eigenvalues of the covariance): 1 if all lie on a line,
            at most rows - 1. It grows with the number of rows: compare it along the way alone.
        distance: Distance to the nearest training activation, in units of the median of held-out
            rows; None without training activations.
        desired_distance: The same of the held-out desired rows where they are, or None.
        desired_cosine: `cosine` of the held-out desired rows where they are.
        desired_rank: `rank` of these.
        sample: The rows.
    """

    angles: Float[Tensor, " angle"]
    cosine: tuple[Interval, ...]
    rank: tuple[Interval, ...]
    distance: tuple[Interval, ...] | None
    desired_distance: Interval | None
    desired_cosine: Interval
    desired_rank: Interval
    sample: HeldOutRows

    @classmethod
    def of(
        cls, paths: FlowPaths, sample: HeldOutRows, training: LayerActivations | None
    ) -> "CrowdingReport":
        """The report of rows along their paths, at some of the states.

        Raises:
            ValueError: If half of the rows are among the training ones.
        """
        up, down = sample.desired, ~sample.desired
        chosen = range(0, len(paths.angles), _EVERY)
        points = [paths.points(i) for i in chosen]
        distance, desired_distance = _distances(points, paths.start, sample, training)
        return cls(
            angles=paths.angles[list(chosen)],
            cosine=tuple(_jackknife(mean_cosine, x, down, sample) for x in points),
            rank=tuple(_jackknife(effective_rank, x, down, sample) for x in points),
            distance=distance,
            desired_distance=desired_distance,
            desired_cosine=_jackknife(mean_cosine, paths.start, up, sample),
            desired_rank=_jackknife(effective_rank, paths.start, up, sample),
            sample=sample,
        )

    @override
    def table(self) -> "pd.DataFrame":
        """A row per angle."""
        import pandas as pd

        parts = {"cosine": self.cosine, "rank": self.rank}
        parts |= {} if self.distance is None else {"distance": self.distance}
        rows = []
        for i, angle in enumerate(self.angles.tolist()):
            row = {"angle": angle}
            for name, intervals in parts.items():
                row |= intervals[i].columns(name)
            rows.append(row)
        return pd.DataFrame(rows)

    @override
    def figure(self) -> "Figure":
        """Cosine, rank and distance against the angle, with those of desired rows."""
        from lens_steer.figures import canvas, legend_outside

        compared = self.distance is not None and self.desired_distance is not None
        panels, width = (3, 10.0) if compared else (2, 7.0)
        with canvas(1, panels, width=width, height=3.2) as (figure, axes):
            angles = self.angles.tolist()
            self._draw(axes[0], self.cosine, self.desired_cosine)
            axes[0].set(ylabel="mean cosine of two rows")
            self._draw(axes[1], self.rank, self.desired_rank)
            axes[1].set(ylabel="effective rank", ylim=(0, None))
            if self.distance is not None and self.desired_distance is not None:
                self._draw(axes[2], self.distance, self.desired_distance)
                axes[2].set(ylabel="distance to nearest training row\n(held-out median = 1)")
            for place in axes:
                place.set(xlabel="arc length / |a| (rad)", xlim=(-0.02, 1.02 * angles[-1]))
            legend_outside(figure, axes[0])
            figure.suptitle(f"{self.sample}; 95 % intervals", fontsize=9)
        return figure

    def _draw(self, axes: Any, steered: tuple[Interval, ...], desired: Interval) -> None:
        plot_band(axes, self.angles.tolist(), steered, "C3", "undesired starts, steered")
        axes.axhline(desired.mean, color="C0", ls=":", lw=1.0, label="desired, as they are")
        axes.axhspan(desired.low, desired.high, color="C0", alpha=0.12, lw=0)


def mean_cosine(x: Float[Tensor, "n d"]) -> float:
    """The mean cosine of all pairs of rows; NaN if there is one row only."""
    n = len(x)
    total = (x / x.norm(dim=-1, keepdim=True)).sum(dim=0).square().sum()
    return float((total - n) / (n * (n - 1))) if n > 1 else float("nan")


def effective_rank(x: Float[Tensor, "n d"]) -> float:
    """exp(-sum p log p) of the eigenvalues' shares p of the rows' variance; NaN if rows are equal.

    Source: Roy and Vetterli 2007, on the covariance's eigenvalues.
    """
    y = (x - x.mean(dim=0)).double()
    gram = y @ y.T if len(y) < y.shape[1] else y.T @ y
    values = torch.linalg.eigvalsh(gram).clamp_min(0.0)  # below 0 by rounding only
    if not float(values.sum()) > 1e-24 * float(x.double().square().sum()):
        return float("nan")
    return float(torch.distributions.Categorical(probs=values).entropy().exp())


def _jackknife(
    statistic: Callable[[Tensor], float],
    x: Float[Tensor, "n d"],
    among: Bool[Tensor, " n"],
    sample: HeldOutRows,
) -> Interval:
    """An interval by leaving out blocks of groups in turn: rows drawn twice would lower a rank."""
    from scipy import stats

    keys = [key for key, is_among in zip(sample.groups, among.tolist(), strict=True) if is_among]
    units, rows = list(dict.fromkeys(keys)), x[among]
    order = np.random.default_rng(sample.seed).permutation(len(units))
    block = {units[j]: i % _BLOCKS for i, j in enumerate(order)}
    at, count = torch.tensor([block[key] for key in keys]), min(_BLOCKS, len(units))
    whole, nan = statistic(rows), float("nan")
    if count < 3:
        return Interval(whole, nan, nan)
    parts = np.array([statistic(rows[at != i]) for i in range(count)])
    error = np.sqrt((count - 1) * parts.var())
    reach = float(stats.t.ppf(0.975, count - 1) * error)
    return Interval(whole, whole - reach, whole + reach)


def _distances(
    points: list[Tensor],
    start: Float[Tensor, "n d"],
    sample: HeldOutRows,
    training: LayerActivations | None,
) -> tuple[tuple[Interval, ...] | None, Interval | None]:
    if training is None:
        return None, None
    data = torch.cat([training.desired, training.undesired]).to(start)
    usual = _nearest(start, data)
    unit = float(usual.quantile(0.5))
    if unit == 0:
        raise ValueError(
            "half of the held-out activations are among the training ones: hold other pairs out"
        )
    steered = [sample.interval(_nearest(x, data) / unit, ~sample.desired) for x in points]
    return tuple(steered), sample.interval(usual / unit, sample.desired)


def _nearest(x: Float[Tensor, "n d"], data: Float[Tensor, "m d"]) -> Float[Tensor, " n"]:
    return torch.cdist(x, data).amin(dim=-1)
