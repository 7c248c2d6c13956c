"""How linear a model's blocks are at some texts, in one report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import ReadPosition
from lens_steer.arguments import Number, Seed
from lens_steer.artifacts import savable
from lens_steer.data import ContrastivePairs
from lens_steer.linearity.block_maps import BlockMaps
from lens_steer.linearity.error_curves import ErrorCurves
from lens_steer.linearity.features import FeatureDirections
from lens_steer.linearity.layer_jacobians import LayerJacobians
from lens_steer.linearity.logit_report import LogitReport
from lens_steer.linearity.persistence import PersistenceReport
from lens_steer.linearity.probe import Probe
from lens_steer.models import SteerableModel, looked_at
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

RADII = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)


@savable
@dataclass(frozen=True, eq=False, repr=False)
class LinearityReport(Report):
    """How linear every block is around some texts, and what that is worth.

    Attributes:
        curves: Error of the linear prediction against radius.
        persistence: Whether features are carried from layer to layer.
        logits: Predicted against true change of the logits; None where it was left out.
    """

    curves: ErrorCurves
    persistence: PersistenceReport
    logits: LogitReport | None

    def error_at(self, radius: Number) -> Float[Tensor, " layer"]:
        """Mean over texts of |phi(z+d)-phi(z)-Ad| / |phi(z+d)-phi(z)|, |d| = radius |z|.

        d is along the feature, A each text's own Jacobian; NaN where there is no feature. Linear
        between the radii measured.

        Raises:
            ValueError: If the radius is outside of what was measured.
        """
        return self.curves.error_at(radius)

    def identity_error_at(self, radius: Number) -> Float[Tensor, " layer"]:
        """The same for A = I: what is known without any Jacobian.

        Raises:
            ValueError: If the radius is outside of what was measured.
        """
        return self.curves.error_at(radius, "identity")

    @property
    def trust_radius(self) -> Float[Tensor, " layer"]:
        """Largest |d| / |z| before the error first passes 10 %; at least that, if it never does.

        It says how far a block is linear, not how far steering is safe: see `logits.radius`. In
        half precision rounding alone passes 10 % at small radii: diagnose a float32 model.
        """
        return self.curves.radius(0.1)

    def window(self, radius: Number) -> tuple[int, ...]:
        """Longest run of consecutive layers whose trust radius is at least this, the first such.

        It is empty where no layer has such a radius.
        """
        runs: list[list[int]] = [[]]
        for layer, trusted in enumerate(self.trust_radius.tolist()):
            if trusted >= radius:
                runs[-1].append(layer)
            else:
                runs.append([])
        return tuple(max(runs, key=len))

    def table(self) -> "pd.DataFrame":
        """A row per layer: radii, errors at .1, .3 and 1 where measured, and persistence.

        The column `logit_radius` is there where the logits were looked at.
        """
        import pandas as pd

        radii = [r for r in (0.1, 0.3, 1.0) if self.curves.radii[0] <= r <= self.curves.radii[-1]]
        columns = {f"error_{r:g}": self.error_at(r).numpy() for r in radii}
        columns |= {f"identity_error_{r:g}": self.identity_error_at(r).numpy() for r in radii}
        columns |= {"trust_radius": self.trust_radius.numpy()}
        if self.logits is not None:
            columns |= {"logit_radius": self.logits.radius().numpy()}
        table = pd.concat([pd.DataFrame(columns), self.persistence.table()], axis=1)
        table.insert(0, "layer", table.pop("layer"))
        return table

    def figure(self) -> "Figure":
        """Error against radius; `persistence` and `logits` have figures of their own."""
        return self.curves.figure()

    def __repr__(self) -> str:
        layers, texts = self.curves.errors.shape[3:]
        groups, radii = len(set(self.curves.groups)), self.curves.radii
        trusted = " ".join(f"{radius:.2g}" for radius in self.trust_radius.tolist())
        return (
            f"LinearityReport({layers} layers, {texts} texts of {groups} groups, radii "
            f"{radii[0]:g} to {radii[-1]:g}; trust radii {trusted})"
        )


def diagnose(  # noqa: PLR0913 - what is measured, and what may be left out
    model: SteerableModel,
    jacobians: LayerJacobians,
    pairs: ContrastivePairs,
    *,
    features: FeatureDirections | None = None,
    radii: Sequence[float | int] = RADII,
    logits: bool = True,
    read: ReadPosition = "last",
    seed: Seed = 0,
    progress: bool = True,
) -> LinearityReport:
    """Measure how linear the blocks are at examples the Jacobians were not taken from.

    Args:
        jacobians: From other texts: their mean is the `mean` predictor.
        pairs: Both sides are looked at, at the token that `capture` reads.
        features: Directions to move along, from `capture` at the same `read`; None takes the mean
            differences of these pairs.
        radii: How far the stream z that enters a block is moved, |d| / |z|; rising.
        logits: Whether to measure what predictions of the next token's logits are worth, which
            takes most of the time: every text goes through all blocks behind each, once for each
            radius and direction. False leaves `report.logits` None.
        read: As in `capture`; must be the jacobians'.
        seed: Of random directions, the shuffled layers and the intervals.

    Raises:
        ValueError: If the jacobians are of another model or read position, the radii do not rise,
            the jacobians or features have another number of layers or width, or `linearize`
            refuses the examples.

    Example:
        >>> jacobians = ls.linearize(model, train)
        >>> report = ls.linearity.diagnose(model, jacobians, dev)
        >>> report.window(0.3)  # layers that are linear up to 30 % of the stream's length
    """
    if jacobians.provenance is not None:
        jacobians.provenance.check(model)
        if jacobians.provenance.read != str(read):
            where = jacobians.provenance.read
            raise ValueError(f"the jacobians were read at {where!r}: pass read={where!r}")
    if not radii or min(radii) <= 0 or list(radii) != sorted(set(radii)):
        raise ValueError(f"radii {list(radii)}: expected positive numbers, rising")
    examples = (*pairs.desired, *pairs.undesired)
    maps = BlockMaps.of(model, examples, read=read)
    shape = tuple(maps.states.shape[1:])
    parts = {"jacobians": jacobians.nominal, "features": features and features.directions}
    for name, value in parts.items():
        if value is not None and value.shape != shape:
            raise ValueError(f"the {name} are {tuple(value.shape)}, the model's states {shape}")
    split = len(pairs.desired)
    of_pairs = FeatureDirections.of_states(maps.states[:split], maps.states[split:])
    sizes = [float(radius) for radius in radii]
    shift = int(np.random.default_rng(seed).integers(1, max(2, maps.n_layers)))
    probe = Probe(maps, jacobians, features or of_pairs, pairs.example_groups, split, shift, seed)
    with looked_at(model):  # once, not for each product
        return LinearityReport(
            ErrorCurves.fit(probe, sizes, progress=progress),
            PersistenceReport.fit(probe),
            LogitReport.fit(probe, sizes, progress=progress) if logits else None,
        )
