"""Do steered rows crowd together, and do they leave the data?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.activations import LayerActivations
from lens_steer.barriers.field.sample import HeldOutRows
from lens_steer.barriers.field.walks import FlowPaths
from lens_steer.intervals import Interval, band

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_EVERY = 4  # of the states
_BLOCKS = 20  # left out one after the other, at most


@dataclass(frozen=True, eq=False)
class CrowdingReport:
    """The undesired starts on their way, as a cloud of points.

    Attributes:
        angles: Rad.
        cosine: Mean cosine of two rows: 1 if all point one way.
        rank: exp(entropy of the normalised eigenvalues of the covariance): 1 if all lie on a line,
            at most rows - 1. Compare along the way alone: it grows with the number of rows.
        distance: To the nearest training activation, in units of what held-out rows have in the
            median; or None without training activations.
        own: The same of the held-out desired rows as they are; or None.
        desired_cosine: `cosine` of the held-out desired rows as they are.
        desired_rank: `rank` of these.
    """

    angles: Float[Tensor, " angle"]
    cosine: tuple[Interval, ...]
    rank: tuple[Interval, ...]
    distance: tuple[Interval, ...] | None
    own: Interval | None
    desired_cosine: Interval
    desired_rank: Interval
    sample: HeldOutRows

    @classmethod
    def fit(
        cls, walks: FlowPaths, sample: HeldOutRows, training: LayerActivations | None
    ) -> "CrowdingReport":
        """At some of the states."""
        up, down = sample.desired, ~sample.desired
        chosen = range(0, len(walks.angles), _EVERY)
        points = [walks.points(i) for i in chosen]
        distance, own = _distances(points, walks.start, sample, training)
        return cls(
            walks.angles[list(chosen)],
            tuple(_jackknife(mean_cosine, x, down, sample) for x in points),
            tuple(_jackknife(effective_rank, x, down, sample) for x in points),
            *(distance, own),
            _jackknife(mean_cosine, walks.start, up, sample),
            _jackknife(effective_rank, walks.start, up, sample),
            sample,
        )

    def table(self) -> "pd.DataFrame":
        """A row per angle."""
        import pandas as pd

        parts = {"cosine": self.cosine, "rank": self.rank}
        parts |= {} if self.distance is None else {"distance": self.distance}
        rows = []
        for i, angle in enumerate(self.angles.tolist()):
            row = {"angle": angle}
            for name, found in parts.items():
                row |= found[i].columns(name)
            rows.append(row)
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """The three against the angle, with what desired rows have."""
        from lens_steer.figures import canvas

        with canvas(1, 3, width=10.0, height=3.2) as (figure, axes):
            angles = self.angles.tolist()
            self._draw(axes[0], self.cosine, self.desired_cosine)
            axes[0].set(ylabel="mean cosine of two rows")
            self._draw(axes[1], self.rank, self.desired_rank)
            axes[1].set(ylabel="effective rank", ylim=(0, None))
            if self.distance is not None and self.own is not None:
                self._draw(axes[2], self.distance, self.own)
                axes[2].set(ylabel="distance to nearest training row\n(held-out median = 1)")
            else:
                axes[2].text(0.05, 0.5, "no training activations given")
            for place in axes:
                place.set(xlabel="arc length / |a| (rad)", xlim=(-0.02, 1.02 * angles[-1]))
            axes[0].legend(loc="best", fontsize=7)
            figure.suptitle(f"{self.sample}; 95 % intervals", fontsize=9)
        return figure

    def _draw(self, axes: Any, found: tuple[Interval, ...], desired: Interval) -> None:
        band(axes, self.angles.tolist(), found, "C3", "undesired starts, steered")
        axes.axhline(desired.mean, color="C0", ls=":", lw=1.0, label="desired, as they are")
        axes.axhspan(desired.low, desired.high, color="C0", alpha=0.12, lw=0)


def mean_cosine(x: Float[Tensor, "n d"]) -> float:
    """Of all pairs of rows; NaN of one."""
    n = len(x)
    total = (x / x.norm(dim=-1, keepdim=True)).sum(dim=0).square().sum()
    return float((total - n) / (n * (n - 1))) if n > 1 else float("nan")


def effective_rank(x: Float[Tensor, "n d"]) -> float:
    """exp(-sum p log p) of the eigenvalues' shares p of the rows' variance; NaN if they are one.

    Source: Roy and Vetterli 2007, of the covariance's eigenvalues.
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
    """Blocks of groups left out in turn: rows drawn twice would lower a rank."""
    from scipy import stats

    keys = [key for key, own in zip(sample.groups, among.tolist(), strict=True) if own]
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
    found = [sample.interval(_nearest(x, data) / unit, ~sample.desired) for x in points]
    return tuple(found), sample.interval(usual / unit, sample.desired)


def _nearest(x: Float[Tensor, "n d"], data: Float[Tensor, "m d"]) -> Float[Tensor, " n"]:
    return torch.cdist(x, data).amin(dim=-1)
