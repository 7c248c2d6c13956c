"""Is h a log-ratio of densities? Probabilities against shares, and what every log-ratio fulfils."""

from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from lens_steer.artifacts import savable
from lens_steer.barriers.field.calibration_drawing import (
    calibration_panels,
    draw_moments,
    draw_reliability,
)
from lens_steer.barriers.field.calibration_statistics import (
    calibration_errors,
    cox_regression,
    donsker_varadhan,
)
from lens_steer.barriers.field.held_out import HeldOutRows, percentiles
from lens_steer.intervals import Interval
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_MOST_BINS, _ROWS_PER_BIN = 10, 10  # at most so many bins of at least so many rows
_DRAWS = 200  # of labels, for the calibration error by chance


@savable
@dataclass(frozen=True, eq=False, repr=False)
class BarrierCalibration(Report):
    """Whether h may be read as a log-ratio of densities: h of held-out rows against their classes.

    The probability of being desired is sigmoid(h + log prior odds), with prior odds of desired to
    undesired rows.

    Attributes:
        h: Nats.
        sample: The rows.
    """

    h: Float[Tensor, " n"]
    sample: HeldOutRows

    @property
    def log_odds(self) -> float:
        """The log prior odds of the classes in the sample."""
        up = int(self.sample.desired.sum())
        return log(up / (len(self.sample) - up))

    @property
    def probability(self) -> Float[Tensor, " n"]:
        """The probability of being desired, by row."""
        return torch.sigmoid(self.h + self.log_odds)

    @property
    def accuracy(self) -> Interval:
        """The share of rows whose class h >= 0 predicts, as if both were equally frequent."""
        return self.sample.share((self.h >= 0) == self.sample.desired)

    @property
    def log_loss(self) -> Interval:
        """The mean of -log probability of the right class, nats per row."""
        signs = torch.where(self.sample.desired, 1.0, -1.0)
        logits = signs * (self.h + self.log_odds)
        return self.sample.interval(torch.nn.functional.softplus(-logits))

    @property
    def slope(self) -> Interval:
        """Cox's calibration slope: 1 is calibrated, above 1 under-confident, below over-confident.

        It is infinite where a threshold of h separates the classes without error.
        """
        return self._cox[0]

    @property
    def intercept(self) -> Interval:
        """Cox's intercept, nats: 0 is calibrated; NaN where the slope is infinite."""
        return self._cox[1]

    @property
    def calibration_error(self) -> Interval:
        """Expected calibration error: mean over bins of |mean probability - share desired|.

        In a finite sample it is never 0: compare it with `chance_error`.
        """
        y, p, bins = self._labels(), self.probability.numpy(), self.bins.numpy()
        error = float(calibration_errors(p, y, bins, np.ones((1, len(y))))[0])
        return percentiles(error, calibration_errors(p, y, bins, self.sample.weights()))

    @property
    def chance_error(self) -> float:
        """The calibration error that so many rows would have, were every probability right."""
        p, bins = self.probability.numpy(), self.bins.numpy()
        draw = np.random.default_rng(self.sample.seed)
        labels = draw.random((_DRAWS, len(p))) < p
        even = np.ones((1, len(p)))
        errors = [calibration_errors(p, y.astype(float), bins, even)[0] for y in labels]
        return float(np.mean(errors))

    @property
    def bins(self) -> Int[Tensor, " n"]:
        """The bin of each row: bins hold equally many rows, 10 or more, by probability."""
        n = len(self.h)
        count = max(1, min(_MOST_BINS, n // _ROWS_PER_BIN))
        place = torch.empty(n, dtype=torch.long)
        order = self.h.argsort(stable=True)
        return place.scatter(0, order, torch.arange(n) * count // n)

    @property
    def desired_moment(self) -> Interval:
        """The mean of e^-h over desired rows: 1 if h is the log-ratio.

        The tail is heavy: where h is large a few rows make the mean, and the interval is too short.
        """
        return self.sample.interval((-self.h).exp(), self.sample.desired)

    @property
    def undesired_moment(self) -> Interval:
        """The mean of e^h over undesired rows: 1 if h is the log-ratio."""
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
        """The same for -h: in expectation at most KL(undesired || desired)."""
        return self._bound(-self.h, ~self.sample.desired)

    def summary(self) -> dict[str, Interval]:
        """The statistics with their intervals, by name."""
        names = ("accuracy", "log_loss", "slope", "intercept", "calibration_error")
        names += ("undesired_moment", "desired_moment", "divergence", "reverse_divergence")
        return {name: getattr(self, name) for name in names}

    @override
    def table(self) -> "pd.DataFrame":
        """A row per bin: mean probability, and the share desired with its interval."""
        import pandas as pd

        rows = []
        for number in range(int(self.bins.max()) + 1):
            inside = self.bins == number
            row = {"bin": number, "n": int(inside.sum())}
            row |= {"probability": float(self.probability[inside].mean())}
            rows.append(row | self.sample.share(self.sample.desired, inside).columns("desired"))
        return pd.DataFrame(rows)

    @override
    def figure(self) -> "Figure":
        """Reliability, and the two moments of a log-ratio with their intervals."""
        with calibration_panels(str(self.sample), self.divergence) as (figure, panels):
            self.draw(panels, "as fitted", "C1")
        return figure

    def draw(self, panels: tuple[Any, Any], name: str, colour: str) -> None:
        """Draw reliability on the first of two axes and the moments on the second."""
        error = f"ECE {self.calibration_error.mean:.3f} (chance {self.chance_error:.3f})"
        draw_reliability(panels[0], self.table(), colour, f"{name}: {error}")
        moments = self.undesired_moment, self.desired_moment
        draw_moments(panels[1], moments, self.slope, colour, name)

    def _labels(self) -> Float[np.ndarray, " n"]:
        return self.sample.desired.double().numpy()

    @cached_property
    def _cox(self) -> tuple[Interval, Interval]:
        logits, y = (self.h + self.log_odds).numpy(), self.sample.desired.numpy()
        whole = cox_regression(logits, y, np.ones((1, len(y))))[0]
        drawn = cox_regression(logits, y, self.sample.weights())
        slope, intercept = (percentiles(float(whole[i]), drawn[:, i]) for i in range(2))
        return slope, intercept

    def _bound(self, h: Float[Tensor, " n"], above: Bool[Tensor, " n"]) -> Interval:
        weights, up = self.sample.weights(), above.numpy()
        whole = donsker_varadhan(h.numpy(), up, np.ones((1, len(up))))
        return percentiles(float(whole[0]), donsker_varadhan(h.numpy(), up, weights))
