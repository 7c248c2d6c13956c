"""Error of the linear prediction against how far the stream is moved."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.arguments import Layer, Number, Seed
from lens_steer.artifacts import savable
from lens_steer.intervals import (
    NAN_INTERVAL,
    Interval,
    group_sums,
    nanmean_interval,
    plot_band,
    ratio_interval,
)
from lens_steer.linearity.probe import COLOURS, DIRECTIONS, Probe, known_layers
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PREDICTORS = ("own", "mean", "identity", "shuffled")


@savable
@dataclass(frozen=True, eq=False, repr=False)
class ErrorCurves(Report):
    """|phi(z+d) - phi(z) - A d| / |phi(z+d) - phi(z)| with |d| = radius |z|.

    A is the text's own Jacobian at z (`own`), the mean over other texts (`mean`), the identity
    (what the residual stream does by itself), or the text's own at another layer (`shuffled`). d is
    along the feature, along the text's own contrastive difference, or random.

    Attributes:
        radii: In units of |z|.
        errors: Predictors and directions (`feature`, `contrast`, `random`) in this order, texts the
            desired first; NaN where the direction does not exist at that layer.
        groups: Of the texts: what belongs together.
        seed: Of the intervals.
    """

    radii: tuple[float, ...]
    errors: Float[Tensor, "predictor direction radius layer text"]
    groups: tuple[Hashable, ...]
    seed: Seed

    @classmethod
    def fit(cls, probe: Probe, radii: Sequence[float], *, progress: bool = True) -> "ErrorCurves":
        """The errors at every layer, for each text, direction and predictor."""
        layers = tqdm(range(probe.n_layers), desc="error curves", disable=not progress)
        errors = [_of_layer(probe, layer, torch.tensor(radii)) for layer in layers]
        return cls(tuple(radii), torch.stack(errors, dim=3), probe.groups, probe.seed)

    def mean(self, predictor: str = "own", direction: str = "feature") -> Float[Tensor, "r layer"]:
        """Mean over texts, by radius and layer."""
        return self._of(predictor, direction).nanmean(dim=-1)

    def error_at(
        self, radius: Number, predictor: str = "own", direction: str = "feature"
    ) -> Float[Tensor, " layer"]:
        """Mean error at a radius, linear between those that were measured.

        Raises:
            ValueError: If the radius is outside of what was measured.
        """
        least, most = self.radii[0], self.radii[-1]
        if not least <= radius <= most:
            raise ValueError(
                f"radius {radius}: measured from {least:g} to {most:g} of |z|; diagnose with "
                "radii=(...) that reach it"
            )
        values = self.mean(predictor, direction).double().numpy()
        errors = [np.interp(radius, self.radii, column) for column in values.T]
        return torch.tensor(np.array(errors))

    def radius(self, error: Number = 0.1) -> Float[Tensor, " layer"]:
        """Largest radius before the text's own prediction along the feature first errs by more.

        Where it never does, the largest radius measured; NaN where there is no feature. Below the
        least radius measured the error is taken to rise in proportion.
        """
        values = self.mean().double().numpy()
        return torch.tensor([crossing(self.radii, v, error, start=0.0) for v in values.T])

    def skill(self, layer: Layer, radius: int, predictor: str, direction: str) -> Interval:
        """1 - sum error^2 / sum (error of the identity)^2 over texts: what A knows of the update.

        Args:
            radius: Its number in `radii`.
        """
        names = (predictor, "identity")
        errors, base = (self._of(name, direction)[radius, layer] for name in names)
        return skill(errors, base, self.groups, self.seed)

    def table(self) -> "pd.DataFrame":
        """A row per layer, radius, direction and predictor: error and skill with intervals."""
        import pandas as pd

        rows = []
        for direction in DIRECTIONS:
            for layer in range(self.errors.shape[3]):
                for r, radius in enumerate(self.radii):
                    for predictor in PREDICTORS:
                        row = {"layer": layer, "radius": radius, "direction": direction}
                        error = self._interval(predictor, direction, r, layer)
                        skill = self.skill(layer, r, predictor, direction)
                        row |= {"predictor": predictor} | error.columns("error")
                        rows.append(row | skill.columns("skill"))
        return pd.DataFrame(rows)

    def figure(self, direction: str = "feature") -> "Figure":
        """Error against radius at up to eight layers, a line for each predictor.

        Layers without such a direction are left out.

        Raises:
            ValueError: If no layer has one.
        """
        from lens_steer.figures import canvas

        layers = known_layers(self.mean("own", direction)[0], 8)
        if not layers:
            raise ValueError(f"no layer has a {direction}: the classes do not differ anywhere")
        rows = -(-len(layers) // 4)
        columns = -(-len(layers) // rows)
        size = {"width": 2.1 * columns + 0.6, "height": 2.0 * rows + 0.7}
        with canvas(rows, columns, squeeze=False, sharex=True, sharey=True, **size) as (figure, ax):
            for axes, layer in zip(ax.flat, layers, strict=False):
                for predictor in PREDICTORS:
                    places = range(len(self.radii))
                    errors = [self._interval(predictor, direction, r, layer) for r in places]
                    plot_band(axes, self.radii, errors, COLOURS[predictor], predictor)
                axes.axhline(0.1, color="k", ls=":", lw=0.8)
                axes.set(xscale="log", yscale="log", title=f"layer {layer}")
            for axes in ax.flat[len(layers) :]:
                axes.set_visible(False)
            for axes in ax.flat[len(layers) - columns : len(layers)]:  # the lowest ones
                axes.tick_params(labelbottom=True)
            texts = f"n = {self.errors.shape[-1]} texts, {len(set(self.groups))} groups"
            figure.supxlabel(
                f"|d| / |z|, d along the {direction}; {texts}; 95 % intervals", fontsize=9
            )
            figure.supylabel("relative error of the change")
            lines = ax.flat[0].get_legend_handles_labels()
            figure.legend(*lines, loc="outside upper center", ncols=4)
        return figure

    def __repr__(self) -> str:
        layers, texts = self.errors.shape[3:]
        groups, radii = len(set(self.groups)), self.radii
        return (
            f"ErrorCurves({layers} layers, {texts} texts of {groups} groups, radii {radii[0]:g} to "
            f"{radii[-1]:g})"
        )

    def _of(self, predictor: str, direction: str) -> Float[Tensor, "radius layer text"]:
        for name, names in ((predictor, PREDICTORS), (direction, DIRECTIONS)):
            if name not in names:
                raise ValueError(f"got {name!r}, expected one of {', '.join(names)}")
        return self.errors[PREDICTORS.index(predictor), DIRECTIONS.index(direction)]

    def _interval(self, predictor: str, direction: str, radius: int, layer: int) -> Interval:
        return nanmean_interval(
            self._of(predictor, direction)[radius, layer], self.groups, self.seed
        )


def _of_layer(
    probe: Probe, layer: int, radii: Float[Tensor, " radius"]
) -> Float[Tensor, "predictor direction radius text"]:
    """The errors of one layer's predictions, at every radius."""
    maps, units = probe.maps, probe.directions(layer)
    z, clean = maps.states[:, layer], maps.states[:, layer + 1]
    sizes = radii.to(z)[:, None] * z.norm(dim=-1)
    steps = torch.einsum("dtw,rt->drtw", units, sizes)
    true = maps.apply(layer, (z + steps).flatten(0, 1)).unflatten(0, steps.shape[:2]) - clean
    at_text, shuffled = maps.jvp(layer, units), maps.jvp(probe.other(layer), units)
    mean = probe.jacobians.jvp(layer, units.flatten(0, 1)).unflatten(0, units.shape[:2])
    errors = []
    for products in (at_text, mean, units, shuffled):
        predicted = torch.einsum("dtw,rt->drtw", products.to(z), sizes)
        errors.append((true - predicted).norm(dim=-1) / true.norm(dim=-1))
    return torch.stack(errors)


def skill(
    errors: Float[Tensor, " text"],
    base: Float[Tensor, " text"],
    groups: Sequence[Hashable],
    seed: Seed,
) -> Interval:
    """1 - sum |error|^2 / sum |base error|^2: 1 if the prediction is perfect, 0 if it adds nothing.

    Over the texts that have both; NaN if none has, or the base makes no error.
    """
    measured = ~(errors.isnan() | base.isnan())
    kept = [group for group, has in zip(groups, measured.tolist(), strict=True) if has]
    above, below = (x[measured].double().square().numpy() for x in (errors, base))
    if not kept or not np.any(below):
        return NAN_INTERVAL
    ratio = ratio_interval(*group_sums(above, below, kept), seed=seed)
    return Interval(1 - ratio.mean, 1 - ratio.high, 1 - ratio.low)


def crossing(
    radii: Sequence[float], values: Float[np.ndarray, " radius"], level: float, *, start: float
) -> float:
    """The radius at which lines through points, from `start` at radius 0, first rise above a level.

    The last radius if they never do; NaN if one of the values is NaN.
    """
    x, y = np.array([0.0, *radii]), np.array([start, *values])
    if np.isnan(y).any():
        return float("nan")
    above = np.flatnonzero(y > level)
    if len(above) == 0:
        return float(x[-1])
    i = int(above[0])
    share = (level - y[i - 1]) / (y[i] - y[i - 1])
    return float(x[i - 1] + share * (x[i] - x[i - 1]))
