"""Envelopes of residuals that hold on new texts with a stated probability: split conformal.

Source: Vovk, Gammerman and Shafer 2005; Lei et al. 2018, "Distribution-free predictive inference
for regression" (split conformal with a fitted scale).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import ceil, isfinite

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.artifacts import savable
from lens_steer.reports import short_repr

_EXACT = 1e-9  # of a rank: (n + 1) (1 - alpha) is a whole number up to rounding


@savable
@dataclass(frozen=True, eq=False)
class Envelope:
    """How large residuals of a new text are at most, at all layers at once, by split conformal.

    s_k <= factor (c_k + eps_k |d|) with probability 1 - alpha. The probability is over the
    calibration units and a new one drawn as they were (exchangeable); under any shift nothing is
    promised. The shape c_k + eps_k |d| only says where the envelope is wide: the probability is the
    same whether it fits or not.

    Attributes:
        constant: c_k >= 0.
        slope: eps_k >= 0.
        factor: The conformal quantile.
        alpha: The share of units that may be outside, at some layer or text.
        units: The number of units that it was calibrated on.
    """

    constant: Float[Tensor, " layer"]
    slope: Float[Tensor, " layer"]
    factor: float
    alpha: float
    units: int

    __repr__ = short_repr

    @classmethod
    def fit(
        cls,
        shape: tuple[Float[Tensor, "fitted layer"], Float[Tensor, "fitted layer"]],
        calibration: tuple[Float[Tensor, "text layer"], Float[Tensor, "text layer"]],
        groups: Sequence[Hashable],
        *,
        alpha: float,
    ) -> "Envelope":
        """Fit c and eps by non-negative least squares on some texts, the quantile on others.

        Args:
            shape: Sizes s_k and distances |d| of the texts that c and eps are fitted to.
            calibration: Sizes and distances of other texts.
            groups: The groups of the calibration texts; a group is one unit, in which the worst
                text counts.

        Raises:
            ValueError: If there are too few units for alpha, or a layer varies at calibration only.
        """
        from scipy.optimize import nnls

        fitted = []
        sizes, distances = (x.double().unbind(dim=1) for x in shape)
        for size, distance in zip(sizes, distances, strict=True):
            columns = np.stack([np.ones(len(size)), distance.numpy()], axis=1)
            fitted.append(nnls(columns, size.numpy())[0])
        constant, slope = torch.tensor(np.array(fitted)).unbind(dim=1)
        scores = _scores(calibration[0].double(), constant + slope * calibration[1].double())
        worst = worst_of_groups(scores, groups)
        factor = conformal_quantile(worst, alpha)
        if not isfinite(factor):
            raise ValueError(
                "a layer's residuals are 0 in the texts that fit the shape, but not at "
                "calibration: fit it on more texts"
            )
        return cls(constant, slope, factor, alpha, len(worst))

    def radius(self, distances: Float[Tensor, "text layer"]) -> Float[Tensor, "text layer"]:
        """The largest sizes inside the envelope at these distances."""
        return self.factor * (self.constant + self.slope * distances.double())


def conformal_quantile(scores: Float[Tensor, " unit"], alpha: float) -> float:
    """The ceil((n + 1) (1 - alpha))-th smallest score.

    A new exchangeable score is at most that, with probability 1 - alpha or more.

    Raises:
        ValueError: If alpha is no probability, or there are fewer than 1 / alpha - 1 scores.

    Example:
        >>> ls.tracking.conformal_quantile(scores, alpha=0.1)  # nine scores or more
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha}: expected above 0 and below 1")
    rank = ceil((len(scores) + 1) * (1 - alpha) - _EXACT)
    if rank > len(scores):
        least = ceil(1 / alpha - 1 - _EXACT)
        raise ValueError(
            f"{len(scores)} calibration units for alpha = {alpha:g}: expected at least {least}; "
            "give more groups, a larger alpha, or take texts as exchangeable (.ungrouped())"
        )
    return float(scores.double().sort().values[rank - 1])


def worst_of_groups(
    scores: Float[Tensor, "text layer"], groups: Sequence[Hashable]
) -> Float[Tensor, " unit"]:
    """The largest score of each group, over texts and layers."""
    index = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    unit = torch.tensor([index[group] for group in groups])
    worst = scores.double().amax(dim=1)
    least = torch.full((len(index),), -torch.inf).double()
    return least.scatter_reduce(0, unit, worst, "amax")


def _scores(
    sizes: Float[Tensor, "text layer"], scale: Float[Tensor, "text layer"]
) -> Float[Tensor, "text layer"]:
    """Sizes in units of the shape; 0 where the size is 0, as at layers without a feature."""
    return torch.where(sizes == 0, 0.0, sizes / scale)
