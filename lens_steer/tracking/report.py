"""Whether a method leads features to their set-points, layer by layer and token by token."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.intervals import NAN_INTERVAL, Interval, nanmean_interval
from lens_steer.linearity import FeatureDirections
from lens_steer.tracking.drawing import draw_layers, draw_tokens

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class TrackingReport:
    """Signals v_k . z_k with and without steering, and what it takes.

    z_0 is the embedding, z_{k+1} leaves block k with its push. Offsets are counted from the token
    at which steering begins. NaN after a text's end.

    Being led to its set-point is what a regulator optimises, and no evidence of steering: judge it
    by behaviour.

    Attributes:
        clean: v_k . z_k of the unsteered run, float64.
        steered: Of the steered run.
        energy: |u_k|^2 / |z_{k+1}|^2: the push measured behind block k, against what leaves that
            block in the unsteered run.
        features: v_k, mu_k and class means.
        setpoints: beta_k.
        groups: Of the texts, for intervals.
        classes: Of the texts: `desired`, `undesired`, or `text` where they were not pairs.
        seed: Of the intervals.
    """

    clean: Float[Tensor, "text offset layer_and_last"]
    steered: Float[Tensor, "text offset layer_and_last"]
    energy: Float[Tensor, "text offset layer"]
    features: FeatureDirections
    setpoints: Float[Tensor, " layer_and_last"]
    groups: tuple[Hashable, ...]
    classes: tuple[str, ...]
    seed: int

    def __post_init__(self) -> None:
        if {len(self.groups), len(self.classes)} != {len(self.clean)}:
            given = f"{len(self.groups)} groups and {len(self.classes)} classes"
            raise ValueError(f"{given} for {len(self.clean)} texts: expected one each")
        check_setpoints(self.features, self.setpoints)
        if not bool(self.steered[:, 0].isfinite().all()):
            raise ValueError("the steered signals are not finite: steer less")

    @property
    def offsets(self) -> int:
        """Tokens followed, the first included."""
        return self.clean.shape[1]

    def of(self, name: str) -> "TrackingReport":
        """Of the texts of one class.

        Raises:
            ValueError: If there are none.
        """
        own = [i for i, each in enumerate(self.classes) if each == name]
        if not own:
            raise ValueError(f"no {name!r} texts: there are {sorted(set(self.classes))}")
        parts = {x: getattr(self, x)[own] for x in ("clean", "steered", "energy")}
        groups = tuple(self.groups[i] for i in own)
        return replace(self, **parts, groups=groups, classes=(name,) * len(own))

    def error(self, offset: int = 0, *, steered: bool = True) -> list[Interval]:
        """Set-point error of every z_k: rms over texts of (v_k . z_k - beta_k) / mu_k.

        1 is the distance of the class means. NaN where there is no feature.

        Args:
            steered: False gives that of the unsteered run.
        """
        signals = self.steered if steered else self.clean
        wrong = (signals[:, self._known(offset)] - self.setpoints) / self._sizes
        return [_root(self._interval(column)) for column in wrong.square().T]

    def relative(self, values: Float[Tensor, "*n layer_and_last"]) -> Tensor:
        """Signals in units of mu_k from the undesired mean: 0 is that mean, 1 the desired one."""
        return (values - self.class_means[1]) / self._sizes

    @property
    def class_means(self) -> tuple[Tensor, Tensor]:
        """v_k . mean z_k of the desired class, and of the other."""
        v = self.features.directions.double()
        sides = (self.features.desired, self.features.undesired)
        desired, undesired = ((v * side.double()).sum(dim=-1) for side in sides)
        return desired, undesired

    def signal(self, offset: int = 0, *, steered: bool = True) -> list[Interval]:
        """Mean over texts of the relative signal, see `relative`."""
        signals = self.steered if steered else self.clean
        return [self._interval(x) for x in self.relative(signals[:, self._known(offset)]).T]

    def push(self, offset: int = 0) -> list[Interval]:
        """Mean over texts of the energy behind every block."""
        return [self._interval(column) for column in self.energy[:, self._known(offset)].T]

    def table(self) -> "pd.DataFrame":
        """A row per class, offset and z_k: signals, errors, and the energy that reached it.

        `energy` at layer k is of the push behind block k - 1; none at the embedding.
        """
        import pandas as pd

        names = dict.fromkeys(self.classes)
        return pd.DataFrame([row for name in names for row in self.of(name)._rows(name)])

    def _rows(self, name: str) -> list[dict[str, float | str]]:
        rows = []
        for offset in range(self.offsets):
            columns = {
                "signal": self.signal(offset),
                "signal_clean": self.signal(offset, steered=False),
                "error": self.error(offset),
                "error_clean": self.error(offset, steered=False),
                "energy": [NAN_INTERVAL, *self.push(offset)],
            }
            for layer in range(len(self.setpoints)):
                row: dict[str, float | str] = {"class": name, "offset": offset, "layer": layer}
                row["setpoint"] = float(self.relative(self.setpoints)[layer])
                row["texts"] = int(self.clean[:, offset, 0].isfinite().sum())
                for column, found in columns.items():
                    row |= found[layer].columns(column)
                rows.append(row)
        return rows

    def figure(self, offset: int = 0) -> "Figure":
        """Signals over layers beside set-points and class means; the energy below."""
        found: Any = self.table()
        return draw_layers(found[found["offset"] == self._known(offset)], self._counted)

    def tokens_figure(self, layers: Sequence[int]) -> "Figure":
        """Signals over tokens at some z_k.

        Raises:
            ValueError: If one has no feature, or only one token was followed.
        """
        if self.offsets == 1:
            raise ValueError("one token was followed: record with max_new_tokens")
        present = self.features.present.nonzero().flatten().tolist()
        if not layers or not set(layers) <= set(present):
            raise ValueError(f"layers {list(layers)}: expected some with a feature, of {present}")
        return draw_tokens(self.table(), list(layers), self._counted)

    @property
    def _counted(self) -> str:
        texts = f"n = {len(self.groups)} texts, {len(set(self.groups))} groups"
        return f"{texts}; 95 % intervals"

    @property
    def _sizes(self) -> Tensor:
        sizes = self.features.sizes.double()
        return torch.where(self.features.present, sizes, torch.nan)

    def _known(self, offset: int) -> int:
        if not 0 <= offset < self.offsets:
            raise ValueError(f"offset {offset}: recorded were {self.offsets}, from 0")
        return offset

    def _interval(self, values: Float[Tensor, " text"]) -> Interval:
        return nanmean_interval(values, self.groups, self.seed)


def check_setpoints(
    features: FeatureDirections, setpoints: Float[Tensor, " layer_and_last"]
) -> None:
    """Raise a ValueError if there is not a finite one for each state."""
    if setpoints.shape != features.sizes.shape or not bool(setpoints.isfinite().all()):
        raise ValueError(f"set-points {setpoints}: expected {len(features.sizes)} finite numbers")


def _root(found: Interval) -> Interval:
    """Of a mean square."""
    return Interval(*(float(np.sqrt(x)) for x in (found.mean, found.low, found.high)))
