"""The published law: set-point feedback on one feature, layer by layer.

Source: Skifstad, Yang and Chou 2026, "A-LQR" (arXiv:2604.19018).
"""

from dataclasses import dataclass, field
from typing import overload

from jaxtyping import Float
from torch import Tensor
from typing_extensions import Unpack, override

from lens_steer.activations import Activations
from lens_steer.arguments import Layer
from lens_steer.artifacts import savable
from lens_steer.attribution import ElementMask
from lens_steer.axes import ranges
from lens_steer.linearity import LayerJacobians
from lens_steer.steering.lqr.costs import RegulatorOptions, Weights
from lens_steer.steering.lqr.elements import ElementLQR, dense_law, feature_cost_law
from lens_steer.steering.lqr.feature_law import FittedLaw, absent_layers
from lens_steer.steering.lqr.fitting import LQRProblem, Setpoints, effort_from_covariance
from lens_steer.steering.lqr.riccati import isotropic_gains


@savable
@dataclass(frozen=True, eq=False, repr=False)
class LQR(FittedLaw):
    """u_k = (beta_k - v_k . z_k) w_k, w_k = K_k v_k: read where block k begins, pushed behind it.

    The loop this closes is A_k - w_k v_k', which does not contract the state as A_k - K_k would.
    It acts one layer late, so that an error remains; `LQRTracker` does not.

    Attributes:
        gains: w_k; 0 where there is no feature, or no push was allowed.
        directions: v_k, unit length, and v_T behind the last block.
        setpoints: beta_k of v_k . z_k, and beta_T.
    """

    gains: Float[Tensor, "layer d"] = field(repr=False)
    directions: Float[Tensor, "layer_and_last d"] = field(repr=False)
    setpoints: Float[Tensor, " layer_and_last"] = field(repr=False)

    @overload
    @classmethod
    def fit(
        cls,
        jacobians: LayerJacobians,
        activations: Activations,
        *,
        actuators: None = None,
        **options: Unpack[RegulatorOptions],
    ) -> "LQR": ...

    @overload
    @classmethod
    def fit(
        cls,
        jacobians: LayerJacobians,
        activations: Activations,
        *,
        actuators: ElementMask,
        **options: Unpack[RegulatorOptions],
    ) -> ElementLQR: ...

    @classmethod
    def fit(
        cls,
        jacobians: LayerJacobians,
        activations: Activations,
        *,
        actuators: ElementMask | None = None,
        **options: Unpack[RegulatorOptions],
    ) -> "LQR | ElementLQR":
        """Solve isotropic costs q |dz|^2 + r |u|^2 by a dense Riccati recursion, as published.

        Args:
            jacobians: From `linearize(..., dense=True)`.
            activations: The residual stream: features, and where set-points are measured from.
            actuators: Elements that push in place of the whole stream, see `ElementLQR`; the
                Jacobians need theirs, `linearize(..., hooks=["head"])`. None pushes behind blocks.
            options: What errors and pushes cost, where the set-points are, how pushes are limited:
                `state_cost`, `control_cost`, `terminal_cost`, `setpoint`, `centred`, `layers`,
                `reference`, `one_sided` and `cap`, see `RegulatorOptions`.

        Raises:
            ValueError: If a cost is out of range, layers have gaps, there are no matrices, the
                jacobians and activations are of two models, no layer has a feature, or the
                actuators contradict `layers` or `cap`.
            TypeError: If an option is misspelt.

        Example:
            >>> jac = ls.linearize(model, train)
            >>> method = ls.LQR.fit(jac, ls.capture(model, train, "resid"), control_cost=0.5)
        """
        if jacobians.matrices is None:
            raise ValueError(f"{jacobians!r} have no matrices: use LQR.fit_feature, or dense=True")
        weights = Weights.of("LQR.fit", RegulatorOptions, options)
        problem = LQRProblem.of(jacobians, activations, weights)
        if actuators is not None:
            return dense_law(problem, actuators, weights, activations.provenance)
        v = problem.targets.directions[..., 0]
        gains = isotropic_gains(jacobians.matrices, v, problem.costs).to(jacobians.nominal)
        return cls._of(gains, problem.targets, activations, weights)

    @overload
    @classmethod
    def fit_feature(
        cls,
        jacobians: LayerJacobians,
        activations: Activations,
        *,
        covariance_effort: bool = False,
        actuators: None = None,
        **options: Unpack[RegulatorOptions],
    ) -> "LQR": ...

    @overload
    @classmethod
    def fit_feature(
        cls,
        jacobians: LayerJacobians,
        activations: Activations,
        *,
        covariance_effort: bool = False,
        actuators: ElementMask,
        **options: Unpack[RegulatorOptions],
    ) -> ElementLQR: ...

    @classmethod
    def fit_feature(
        cls,
        jacobians: LayerJacobians,
        activations: Activations,
        *,
        covariance_effort: bool = False,
        actuators: ElementMask | None = None,
        **options: Unpack[RegulatorOptions],
    ) -> "LQR | ElementLQR":
        """Solve costs on the features alone, q (v_k . dz_k)^2, by products with Jacobians.

        Exact, and linear in d (T (T + 1) / 2 backward passes of one token); no matrix is formed.
        With q = 0 the gains are the gradient of the last feature.

        Args:
            jacobians: From `linearize`; matrices are not needed.
            activations: As `fit`.
            covariance_effort: Effort r u' Sigma^-1 u with the activations' covariance: pushes along
                directions in which activations vary by themselves are cheap.
            actuators: As `fit`; `linearize(..., dense=False)` has the products of all elements.
            options: As `fit`.

        Raises:
            ValueError: As `fit`.
            TypeError: If an option is misspelt.

        Example:
            >>> jac = ls.linearize(model, train, dense=False)
            >>> method = ls.LQR.fit_feature(jac, ls.capture(model, train, "resid"))
        """
        weights = Weights.of("LQR.fit_feature", RegulatorOptions, options)
        problem = LQRProblem.of(jacobians, activations, weights)
        if actuators is not None:
            if covariance_effort:
                raise ValueError(
                    "covariance_effort is of pushes behind blocks, and actuators push inside them: "
                    "leave one of the two out"
                )
            return feature_cost_law(problem, actuators, weights, activations.provenance)
        effort = effort_from_covariance(activations) if covariance_effort else None
        return cls._of(problem.gains(effort)[..., 0], problem.targets, activations, weights)

    @classmethod
    def _of(
        cls,
        gains: Float[Tensor, "layer d"],
        targets: Setpoints,
        activations: Activations,
        weights: Weights,
    ) -> "LQR":
        return cls(
            gains,
            targets.directions[..., 0],
            targets.setpoints[..., 0],
            one_sided=weights.one_sided,
            cap=weights.cap,
            provenance=activations.provenance,
        )

    @property
    def absent(self) -> tuple[int, ...]:
        """Blocks at whose input the classes do not differ: nothing is measured there."""
        return absent_layers(self.directions)

    @override
    def terms(self, layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
        v, beta = self.directions[layer, :, None], self.setpoints[layer, None]
        return v, beta, self.gains[layer, :, None]

    def _summary(self) -> list[str]:
        absent = [f"no feature at {list(self.absent)}"] if self.absent else []
        return [f"layers {ranges(self.layers)}", *absent]
