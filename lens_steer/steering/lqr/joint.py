"""The law on several features at once, which weighs them together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from typing_extensions import Unpack, override

from lens_steer.activations import Activations
from lens_steer.arguments import Layer
from lens_steer.artifacts import savable
from lens_steer.axes import ranges
from lens_steer.linearity import LayerJacobians
from lens_steer.steering.lqr.costs import RegulatorOptions, Weights
from lens_steer.steering.lqr.feature_law import FittedLaw
from lens_steer.steering.lqr.fitting import LQRProblem, concepts, effort_from_covariance


@savable
@dataclass(frozen=True, eq=False, repr=False)
class JointLQR(FittedLaw):
    """u_k = W_k (beta_k - V_k' z_k), V_k a column for each concept, W_k = K_k V_k (V_k' V_k)^-1.

    K_k weighs all features together, and what each lacks is made up by the shortest vector that
    leaves the others alone. Laws that are added (arXiv:2604.19018, multi-concept) count twice what
    two features have in common. With one concept it is `LQR.fit_feature`.

    Attributes:
        gains: W_k.
        directions: V_k, unit columns; 0 where a concept has no feature.
        setpoints: beta_k.
    """

    _concept_axes: ClassVar[int] = 1

    gains: Float[Tensor, "layer d concept"] = field(repr=False)
    directions: Float[Tensor, "layer_and_last d concept"] = field(repr=False)
    setpoints: Float[Tensor, "layer_and_last concept"] = field(repr=False)

    @classmethod
    def fit(
        cls,
        jacobians: LayerJacobians,
        activations: Sequence[Activations],
        *,
        covariance_effort: bool = False,
        **options: Unpack[RegulatorOptions],
    ) -> "JointLQR":
        """Solve costs on the features alone, of all concepts together.

        Args:
            jacobians: As `LQR.fit_feature`.
            activations: The residual stream of each concept's pairs.
            covariance_effort: As `LQR.fit_feature`.
            options: As `LQR.fit`; a `setpoint` may be one number for all concepts or one for each.

        Raises:
            ValueError: As `LQR.fit_feature`, or if two concepts have the same feature.
            TypeError: If an option is misspelt.

        Example:
            >>> both = [ls.capture(model, pairs, "resid") for pairs in (sentiment, politeness)]
            >>> method = ls.steering.JointLQR.fit(jac, both, setpoint=[1.0, -0.5])
        """
        weights = Weights.of("JointLQR.fit", RegulatorOptions, options)
        problem = LQRProblem.of(jacobians, activations, weights)
        effort = effort_from_covariance(activations) if covariance_effort else None
        return cls(
            problem.gains(effort),
            problem.targets.directions,
            problem.targets.setpoints,
            one_sided=weights.one_sided,
            cap=weights.cap,
            provenance=concepts(activations)[0].provenance,
        )

    @override
    def terms(self, layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
        return self.directions[layer], self.setpoints[layer], self.gains[layer]

    def _summary(self) -> list[str]:
        return [f"{self.gains.shape[-1]} concepts", f"layers {ranges(self.layers)}"]
