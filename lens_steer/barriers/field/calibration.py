"""Is h a log-ratio of densities? Probabilities against shares, and what every log-ratio fulfils."""

from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_steer.barriers.field.cox_regression import cox
from lens_steer.barriers.field.sample import HeldOutRows, percentiles
from lens_steer.intervals import Interval

if TYPE_CHECKING:
    import pandas as pd

_BINS, _LEAST, _DRAWS = 10, 10, 200  # at most so many bins of at least so many rows; labels drawn


@dataclass(frozen=True, eq=False)
class BarrierCalibration:
    """h of held-out rows against their classes.

    The probability of being desired is sigmoid(h + log prior odds), prior odds = desired /
    undesired rows.

    Attributes:
        h: Nats.
    """

    h: Float[Tensor, " n"]
    sample: HeldOutRows

    @property
    def log_odds(self) -> float:
        """Of the classes in the sample."""
        up = int(self.sample.desired.sum())
        return log(up / (len(self.sample) - up))

    @property
    def probability(self) -> Float[Tensor, " n"]:
        """Of being desired."""
        return torch.sigmoid(self.h + self.log_odds)

    @property
    def accuracy(self) -> Interval:
        """Share of rows where h >= 0 tells the class, as if both were as frequent."""
        return self.sample.share((self.h >= 0) == self.sample.desired)

    @property
    def log_loss(self) -> Interval:
        """-log probability of the right class, nats per row."""
        signs = torch.where(self.sample.desired, 1.0, -1.0)
        logits = signs * (self.h + self.log_odds)
        return self.sample.interval(torch.nn.functional.softplus(-logits))

    @property
    def slope(self) -> Interval:
        """Cox's: 1 is calibrated, above 1 h is under-confident, below 1 over-confident.

        Infinite where a threshold of h tells the classes apart without error.
        """
        return self._cox[0]

    @property
    def intercept(self) -> Interval:
        """Cox's, nats: 0 is calibrated; NaN where the slope is infinite."""
        return self._cox[1]

    @property
    def calibration_error(self) -> Interval:
        """Expected calibration error: mean over bins of |mean probability - share desired|.

        Never 0 in a finite sample: compare with `chance_error`.
        """
        y, p = self._labels(), self.probability.numpy()
        found = _errors(p, y, self.bins.numpy(), np.ones((1, len(y))))[0]
        return percentiles(float(found), _errors(p, y, self.bins.numpy(), self.sample.weights()))

    @property
    def chance_error(self) -> float:
        """The calibration error that so many rows would have, were every probability right."""
        p, bins = self.probability.numpy(), self.bins.numpy()
        draw = np.random.default_rng(self.sample.seed)
        labels = draw.random((_DRAWS, len(p))) < p
        even = np.ones((1, len(p)))
        return float(np.mean([_errors(p, y.astype(float), bins, even)[0] for y in labels]))

    @property
    def bins(self) -> Int[Tensor, " n"]:
        """Number of each row's bin: bins hold equally many rows, 10 or more, by probability."""
        n = len(self.h)
        count = max(1, min(_BINS, n // _LEAST))
        place = torch.empty(n, dtype=torch.long)
        order = self.h.argsort(stable=True)
        return place.scatter(0, order, torch.arange(n) * count // n)

    @property
    def desired_moment(self) -> Interval:
        """Mean of e^-h over the desired: 1 if h is the log-ratio.

        The mean of a heavy tail: where h is large a few rows make it, and the interval is short.
        """
        return self.sample.interval((-self.h).exp(), self.sample.desired)

    @property
    def undesired_moment(self) -> Interval:
        """Mean of e^h over the undesired: 1 if h is the log-ratio."""
        return self.sample.interval(self.h.exp(), ~self.sample.desired)

    @property
    def divergence(self) -> Interval:
        """Donsker and Varadhan's E+[h] - log E-[e^h], nats, estimated.

        In expectation over the two distributions it is at most KL(desired || undesired) of the
        activations, whatever h is, and equal to it if h is the log-ratio up to a constant. From m
        undesired rows log E-[e^h] comes out too small on average: the estimate is biased upwards,
        and a large one is no proof of a large divergence unless m is well above its exponential.
        """
        return self._bound(self.h, self.sample.desired)

    @property
    def reverse_divergence(self) -> Interval:
        """The same of -h: at most KL(undesired || desired), in expectation."""
        return self._bound(-self.h, ~self.sample.desired)

    def summary(self) -> dict[str, Interval]:
        """All of it by name."""
        names = ("accuracy", "log_loss", "slope", "intercept", "calibration_error")
        names += ("undesired_moment", "desired_moment", "divergence", "reverse_divergence")
        return {name: getattr(self, name) for name in names}

    def table(self) -> "pd.DataFrame":
        """A row per bin: mean probability, and the share desired with its interval."""
        import pandas as pd

        rows = []
        for number in range(int(self.bins.max()) + 1):
            own = self.bins == number
            row = {"bin": number, "n": int(own.sum())}
            row |= {"probability": float(self.probability[own].mean())}
            rows.append(row | self.sample.share(self.sample.desired, own).columns("desired"))
        return pd.DataFrame(rows)

    def _labels(self) -> Float[np.ndarray, " n"]:
        return self.sample.desired.double().numpy()

    @cached_property
    def _cox(self) -> tuple[Interval, Interval]:
        logits, y = (self.h + self.log_odds).numpy(), self.sample.desired.numpy()
        own = cox(logits, y, np.ones((1, len(y))))[0]
        drawn = cox(logits, y, self.sample.weights())
        first, second = (percentiles(float(own[i]), drawn[:, i]) for i in range(2))
        return first, second

    def _bound(self, h: Float[Tensor, " n"], above: Bool[Tensor, " n"]) -> Interval:
        weights, up = self.sample.weights(), above.numpy()
        own = _donsker_varadhan(h.numpy(), up, np.ones((1, len(up))))
        return percentiles(float(own[0]), _donsker_varadhan(h.numpy(), up, weights))


def _errors(
    p: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    bins: Int[np.ndarray, " n"],
    weights: Float[np.ndarray, "resample n"],
) -> Float[np.ndarray, " resample"]:
    """Calibration error, the rows weighted."""
    member = np.eye(int(bins.max()) + 1)[bins]
    return np.abs((weights * (p - y)) @ member).sum(axis=1) / weights.sum(axis=1)


def _donsker_varadhan(
    h: Float[np.ndarray, " n"],
    above: Bool[np.ndarray, " n"],
    weights: Float[np.ndarray, "resample n"],
) -> Float[np.ndarray, " resample"]:
    """Mean of h above less log mean of e^h below; NaN where a class has no weight."""
    from scipy.special import logsumexp

    up, down = weights * above, weights * ~above
    there = (up.sum(axis=1) > 0) & (down.sum(axis=1) > 0)
    up, down = up[there], down[there]
    found = np.full(len(weights), np.nan)
    log_mean = logsumexp(h, b=down, axis=1) - np.log(down.sum(axis=1))
    found[there] = up @ h / up.sum(axis=1) - log_mean
    return found
