"""Whether a method leads features to their set-points, layer by layer and token by token."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm
from typing_extensions import Unpack

from lens_steer.activations import ReadPosition
from lens_steer.arguments import Layers
from lens_steer.artifacts import savable
from lens_steer.intervals import NAN_INTERVAL, Interval, Intervals, nanmean_interval
from lens_steer.linearity import FeatureDirections, Texts
from lens_steer.models import SteerableModel, attach
from lens_steer.reports import Report
from lens_steer.steering import Decoding, DecodingOptions, Intervention, decoding_of_call
from lens_steer.tracking.drawing import draw_layers, draw_tokens
from lens_steer.tracking.runs import check_features, check_setpoints, in_batches, in_order
from lens_steer.tracking.texts import TrackedTexts

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@savable
@dataclass(frozen=True, eq=False, repr=False)
class TrackingReport(Report):
    """Whether a method leads features to their set-points: v_k . z_k with and without steering.

    z_0 is the embedding, z_{k+1} leaves block k with its push. Offsets are counted from the token
    at which steering begins. Values are NaN after a text's end.

    Being led to its set-point is what a regulator optimises, and no evidence of steering: judge it
    by behaviour.

    Attributes:
        clean: The signals v_k . z_k of the unsteered run, float64.
        steered: The signals of the steered run.
        energy: |u_k|^2 / |z_{k+1}|^2: the push measured behind block k, against what leaves that
            block in the unsteered run.
        features: The directions v_k, their sizes mu_k and the class means.
        setpoints: The set-points beta_k.
        groups: The group of each text, for intervals.
        classes: The class of each text: `desired`, `undesired`, or `text` if it is not of a pair.
        seed: The seed of the intervals.
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
            counts = f"{len(self.groups)} groups and {len(self.classes)} classes"
            raise ValueError(f"{counts} for {len(self.clean)} texts: expected one each")
        check_setpoints(self.features, self.setpoints)
        if not bool(self.steered[:, 0].isfinite().all()):
            raise ValueError("the steered signals are not finite: steer less")

    @classmethod
    def fit(  # noqa: PLR0913 - what is followed, where and under what
        cls,
        model: SteerableModel,
        method: Intervention,
        texts: Texts,
        features: FeatureDirections,
        setpoints: Float[Tensor, " layer_and_last"],
        *,
        read: ReadPosition = "last",
        progress: bool = True,
        decoding: Decoding | None = None,
        **options: Unpack[DecodingOptions],
    ) -> "TrackingReport":
        """Follow features through a model, steered by any method and not; also called `record`.

        Steering begins at the token that `capture` reads, which is offset 0 and, unless more are
        asked for, the only one. Further tokens are those that the unsteered model writes after the
        text: both runs see the same ones.

        Args:
            texts: Strings, examples, or pairs, both sides of which are followed, the desired first.
            features: Directions, from `FeatureDirections.of` activations captured at `read`.
            setpoints: beta_k, in units of v_k . z_k, such as `LQR.setpoints`.
            read: The token at which steering begins, as in `capture`.
            decoding: How further tokens are written, and where the method steers; or as keywords.
                There are none without it, unless the keyword `max_new_tokens` is given. The seed is
                also that of the intervals.
            options: The fields of `Decoding`, see `generate`.

        Raises:
            ValueError: If the method or the features do not fit the model, the method edits the
                embedding, the model is being steered, or the texts do not fit the context.
            TypeError: If a keyword is unknown.

        Example:
            >>> features = ls.FeatureDirections.of(resid)
            >>> report = ls.tracking.record(model, law, test, features, law.setpoints, seed=0)
            >>> report.of_class("undesired").figure()
        """
        if one_token := decoding is None and "max_new_tokens" not in options:
            options |= {"max_new_tokens": 1}  # the least that there is; none is written
        decoding = decoding_of_call(cls.fit, decoding, options)
        check_setpoints(features, setpoints)
        check_features(model, features)
        parts = []
        attach(model)
        rows = TrackedTexts.of(model, texts, read)
        rows = rows if one_token else rows.continued(model, decoding)
        with tqdm(total=len(rows.groups), desc="record", disable=not progress) as bar:
            for numbers, batch in in_batches(model, rows.encoded):
                run = batch.run(method, decoding.steered_scope)
                parts.append((numbers, *run.signals(features), run.energy))
                bar.update(len(numbers))
        clean, steered, energy = (in_order([(p[0], p[i]) for p in parts]) for i in (1, 2, 3))
        seed = decoding.seed or 0
        return cls(clean, steered, energy, features, setpoints, rows.groups, rows.classes, seed)

    @property
    def offsets(self) -> int:
        """The number of tokens that are followed, the first included."""
        return self.clean.shape[1]

    def of_class(self, name: str) -> "TrackingReport":
        """The report of one class of texts.

        Raises:
            ValueError: If there are no texts of that class.
        """
        rows = [i for i, kind in enumerate(self.classes) if kind == name]
        if not rows:
            raise ValueError(f"no {name!r} texts: there are {sorted(set(self.classes))}")
        parts = {x: getattr(self, x)[rows] for x in ("clean", "steered", "energy")}
        groups = tuple(self.groups[i] for i in rows)
        return replace(self, **parts, groups=groups, classes=(name,) * len(rows))

    def error(self, offset: int = 0, *, steered: bool = True) -> Intervals:
        """Set-point error of every z_k: rms over texts of (v_k . z_k - beta_k) / mu_k.

        1 is the distance of the class means. NaN where there is no feature.

        Args:
            steered: False gives the error of the unsteered run.
        """
        signals = self.steered if steered else self.clean
        wrong = (signals[:, self._checked(offset)] - self.setpoints) / self._sizes
        return Intervals(_root(self._interval(column)) for column in wrong.square().T)

    def relative(self, values: Float[Tensor, "*n layer_and_last"]) -> Tensor:
        """Signals in units of mu_k from the undesired mean: 0 is that mean, 1 the desired one."""
        return (values - self.class_means[1]) / self._sizes

    @property
    def class_means(self) -> tuple[Tensor, Tensor]:
        """v_k . mean z_k of the desired class, and of the undesired one."""
        v = self.features.directions.double()
        sides = (self.features.desired, self.features.undesired)
        desired, undesired = ((v * side.double()).sum(dim=-1) for side in sides)
        return desired, undesired

    def signal(self, offset: int = 0, *, steered: bool = True) -> Intervals:
        """Mean over texts of the relative signal, see `relative`."""
        signals = self.steered if steered else self.clean
        relative = self.relative(signals[:, self._checked(offset)])
        return Intervals(self._interval(x) for x in relative.T)

    def mean_energy(self, offset: int = 0) -> Intervals:
        """Mean over texts of the energy behind every block."""
        return Intervals(self._interval(x) for x in self.energy[:, self._checked(offset)].T)

    def table(self) -> "pd.DataFrame":
        """A row per class, offset and z_k: signals, errors, and the energy that reached it.

        `energy` at layer k is that of the push behind block k - 1; NaN at the embedding.
        """
        import pandas as pd

        return pd.DataFrame(self._rows(range(self.offsets)))

    def _rows(self, offsets: Sequence[int]) -> list[dict[str, float | str]]:
        classes = [(name, self.of_class(name)) for name in dict.fromkeys(self.classes)]
        return [row for name, part in classes for x in offsets for row in part._rows_of(name, x)]

    def _rows_of(self, name: str, offset: int) -> list[dict[str, float | str]]:
        columns = {
            "signal": self.signal(offset),
            "signal_clean": self.signal(offset, steered=False),
            "error": self.error(offset),
            "error_clean": self.error(offset, steered=False),
            "energy": [NAN_INTERVAL, *self.mean_energy(offset)],
        }
        texts, rows = int(self.clean[:, offset, 0].isfinite().sum()), []
        for layer, setpoint in enumerate(self.relative(self.setpoints).tolist()):
            row: dict[str, float | str] = {"class": name, "offset": offset, "layer": layer}
            row |= {"setpoint": setpoint, "texts": texts}
            for column, intervals in columns.items():
                row |= intervals[layer].columns(column)
            rows.append(row)
        return rows

    def figure(self, offset: int = 0) -> "Figure":
        """Signals over layers beside set-points and class means; the energy below."""
        import pandas as pd

        return draw_layers(pd.DataFrame(self._rows([self._checked(offset)])), self._counts)

    def tokens_figure(self, layers: Layers) -> "Figure":
        """Signals over tokens at some z_k.

        Raises:
            ValueError: If one has no feature, or only one token was followed.
        """
        if self.offsets == 1:
            raise ValueError("one token was followed: record with max_new_tokens")
        present = self.features.present.nonzero().flatten().tolist()
        if not layers or not set(layers) <= set(present):
            raise ValueError(f"layers {list(layers)}: expected some with a feature, of {present}")
        return draw_tokens(self.table(), list(layers), self._counts)

    @property
    def _counts(self) -> str:
        texts = f"n = {len(self.groups)} texts, {len(set(self.groups))} groups"
        return f"{texts}; 95 % intervals"

    @property
    def _sizes(self) -> Tensor:
        return torch.where(self.features.present, self.features.sizes.double(), torch.nan)

    def _checked(self, offset: int) -> int:
        if not 0 <= offset < self.offsets:
            raise ValueError(f"offset {offset}: recorded were {self.offsets}, from 0")
        return offset

    def _interval(self, values: Float[Tensor, " text"]) -> Interval:
        return nanmean_interval(values, self.groups, self.seed)


def _root(mean_square: Interval) -> Interval:
    ends = mean_square.mean, mean_square.low, mean_square.high
    return Interval(*(float(np.sqrt(x)) for x in ends))
