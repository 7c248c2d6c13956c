"""What `recommend` found: the method, the reason in numbers, and what else was tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Accepts, Positive
from lens_steer.artifacts import savable
from lens_steer.forecasting.report import Forecast
from lens_steer.intervals import Interval, interval
from lens_steer.reports import Report
from lens_steer.steering import Intervention

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_ELSE = "More nats, more pairs or another behaviour may do; words in the prompt often do"
_LEAST = 0.05  # of the share of pairs that prefer the desired side, or of texts with a judge


class NotSteerable(ValueError):
    """Nothing that was tried moves a behaviour; `forecast` has what was foretold of all of it.

    Attributes:
        forecast: Of every candidate.
    """

    def __init__(self, message: str, forecast: Forecast) -> None:
        super().__init__(message)
        self.forecast = forecast


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Recommendation(Report):
    """Methods that were tried at one cost, the best first; made by `recommend`.

    Attributes:
        method: The one to take, at the strength that costs `nats`.
        names: Of the methods that were tried, the one to take first.
        nats: Per token, along unsteered texts.
        forecast: Of every candidate, on other pairs.
        clean: Unsteered margin of each pair that the methods were tried on, nats.
        steered: The same under each method.
        groups: Of these pairs.
        shown: With a judge, the behaviour of each prompt's text, unsteered first, then under each
            method; else None.
        shown_groups: Of these prompts; empty without a judge.

    Example:
        >>> found = ls.recommend(model, pairs)
        >>> found.method, found.reason
        >>> found.figure()
    """

    method: Intervention
    names: Annotated[tuple[str, ...], Accepts(Sequence[str])]
    nats: Positive
    forecast: Forecast
    clean: Float[Tensor, " pair"]
    steered: Float[Tensor, "method pair"]
    groups: Annotated[tuple[str, ...], Accepts(Sequence[str])]
    shown: Float[Tensor, "setting prompt"] | None = None
    shown_groups: Annotated[tuple[str, ...], Accepts(Sequence[str])] = ()

    def __post_init__(self) -> None:
        for name in ("names", "groups", "shown_groups"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        expected = (len(self.names), len(self.groups))
        if not self.names or tuple(self.steered.shape) != expected:
            raise ValueError(
                f"got steered margins of shape {tuple(self.steered.shape)}, expected a row for "
                f"each of the names and a column for each pair: {expected}"
            )

    @classmethod
    def of(  # noqa: PLR0913 - what was measured of every method
        cls,
        forecast: Forecast,
        nats: Positive,
        methods: Mapping[str, Intervention],
        margins: Float[Tensor, "setting pair"],
        groups: Sequence[str],
        shown: tuple[Float[Tensor, "setting prompt"], Sequence[str]] | None = None,
    ) -> "Recommendation":
        """Take the largest share of texts, or without a judge the largest gain.

        Args:
            forecast: Of every candidate.
            nats: Per token.
            methods: Those that were tried, at that cost.
            margins: Of the unsteered model first, then of each method.
            groups: Of the pairs.
            shown: The behaviour of each prompt's text under each setting, and the prompts' groups.

        Raises:
            NotSteerable: If the method does not move the share by 5 points, or the whole interval
                of what is judged (the share of texts; without a judge the gain) is not above 0.
        """
        scores = margins[1:].mean(dim=1) if shown is None else shown[0][1:].mean(dim=1)
        order = scores.nan_to_num(-torch.inf).argsort(descending=True, stable=True).tolist()
        names = [list(methods)[i] for i in order]
        texts = None if shown is None else shown[0][[0, *(1 + i for i in order)]]
        found = cls(
            methods[names[0]],
            tuple(names),
            nats,
            forecast,
            margins[0],
            margins[1:][order],
            tuple(groups),
            texts,
            () if shown is None else tuple(shown[1]),
        )
        if why := found.why_not:
            raise NotSteerable(why, forecast)
        return found

    @property
    def why_not(self) -> str:
        """Why even the best will not do; empty if it does."""
        name, gain, moved = self.names[0], self.gain(self.names[0]), self.moved(self.names[0])
        what = f"{name} is the best of {len(self.forecast.names)} candidates at {self.nats:g} nats"
        counted = "pairs that prefer the desired side" if self.shown is None else "texts"
        groups = len(set(self.groups if self.shown is None else self.shown_groups))
        over = f"over {groups} groups"
        before, points = self.share(0), [100 * x for x in (moved.mean, moved.low, moved.high)]
        if self.shown is None and not gain.low > 0:
            return f"{what}, and its gain is {gain} nats {over}: the interval reaches 0. {_ELSE}"
        if not moved.mean >= _LEAST or (self.shown is not None and not moved.low > 0):
            ends = f"[{points[1]:+.0f}, {points[2]:+.0f}]"
            return (
                f"{what}: its gain is {gain} nats, and the share of {counted} goes from "
                f"{before.mean:.0%} by {points[0]:+.0f} points {ends} {over}, expected at least "
                f"{100 * _LEAST:.0f}, and of texts surely more than 0. {_ELSE}"
            )
        return ""

    @property
    def reason(self) -> str:
        """Why this method, in numbers."""
        name = self.names[0]
        foretold, gain, moved = (
            self.forecast.gain(name, self.nats),
            self.gain(name),
            self.moved(name),
        )
        counted = "pairs that prefer the desired side" if self.shown is None else "texts"
        text = (
            f"{name}: at {self.nats:g} nats per token (strength {self.method.strength:.3g}) the "
            f"margin was to gain {foretold} nats and gained {gain}; the share of {counted} went "
            f"from {self.share(0).mean:.0%} to {self.share(1).mean:.0%} "
            f"({100 * moved.mean:+.0f} points [{100 * moved.low:+.0f}, {100 * moved.high:+.0f}]); "
            f"{self.wrong_way(name).mean:.0%} of the pairs went the wrong way"
        )
        if len(self.names) > 1:
            text += f". Next: {self.names[1]}, {self.gain(self.names[1])} nats"
        return text

    def gain(self, name: str) -> Interval:
        """The measured mean change of the margin, nats."""
        return interval(self.steered[self._row(name)] - self.clean, self.groups, seed=self._seed)

    def wrong_way(self, name: str) -> Interval:
        """The share of pairs whose margin fell."""
        fell = (self.steered[self._row(name)] < self.clean).double()
        return interval(fell, self.groups, seed=self._seed)

    def moved(self, name: str) -> Interval:
        """By how much the share of texts, or of pairs, changed."""
        row = self._row(name)
        if self.shown is None:
            change = (self.steered[row] > 0).double() - (self.clean > 0).double()
            return interval(change, self.groups, seed=self._seed)
        return interval(self.shown[1 + row] - self.shown[0], self.shown_groups, seed=self._seed)

    def share(self, setting: int) -> Interval:
        """The share that shows the behaviour: of texts, or of pairs that prefer the desired side.

        Args:
            setting: 0 is the unsteered model, 1 the method to take, then the others.
        """
        if self.shown is not None:
            return interval(self.shown[setting], self.shown_groups, seed=self._seed)
        margins = torch.cat([self.clean[None], self.steered])[setting]
        return interval((margins > 0).double(), self.groups, seed=self._seed)

    def table(self) -> "pd.DataFrame":
        """A row for each method that was tried: foretold, measured, and the share it leads to."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for i, name in enumerate(self.names):
            row: dict[str, Any] = {"method": name, "nats": self.nats}
            row |= self.forecast.gain(name, self.nats).columns("forecast_gain")
            row |= self.gain(name).columns("gain")
            row |= self.wrong_way(name).columns("wrong_way")
            rows.append(
                row | self.share(1 + i).columns("share") | {"unsteered": self.share(0).mean}
            )
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """The forecast of every candidate, and what the gains of those tried came to."""
        figure = self.forecast.figure(self.nats)
        axes = figure.axes[0]
        labels = [label.get_text() for label in axes.get_yticklabels()]
        for name in self.names:
            if name in labels:
                found, y = self.gain(name), labels.index(name)
                axes.plot([found.low, found.high], [y - 0.25] * 2, color="C1", lw=1.5)
                axes.plot(found.mean, y - 0.25, "s", color="C1", ms=4)
        axes.set(
            xlabel=f"gain at {self.nats:g} nats per token, nats of\nthe margin (squares: measured)"
        )
        return figure

    @property
    def _seed(self) -> int:
        return self.forecast.seed

    def _row(self, name: str) -> int:
        if name not in self.names:
            raise ValueError(f"{name!r} was not tried: expected one of {self.names}")
        return self.names.index(name)
