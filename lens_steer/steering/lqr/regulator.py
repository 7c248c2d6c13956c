"""The published law: set-point feedback on one feature, layer by layer.

Source: Skifstad, Yang and Chou 2026, "A-LQR" (arXiv:2604.19018).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import Activations
from lens_steer.artifacts import savable
from lens_steer.linearity import LayerJacobians
from lens_steer.steering.lqr.costs import Cost, Costs
from lens_steer.steering.lqr.fitting import LQRProblem, Setpoints, effort_from_covariance
from lens_steer.steering.lqr.loop import FeatureLaw, absent_layers, check_finite
from lens_steer.steering.lqr.riccati import isotropic_gains


@savable
@dataclass(frozen=True, eq=False, repr=False)
class LQR(FeatureLaw):
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

    def __post_init__(self) -> None:
        super().__post_init__()
        shapes = [tuple(x.shape) for x in (self.gains, self.directions, self.setpoints)]
        n, d = shapes[0]
        if shapes[1:] != [(n + 1, d), (n + 1,)]:
            raise ValueError(f"got shapes {shapes}: expected (T, d), (T + 1, d) and (T + 1,)")
        check_finite(gains=self.gains, directions=self.directions, setpoints=self.setpoints)
        if not bool(self.gains.any()):
            raise ValueError("all gains are 0: no layer has a feature that may be pushed")

    @classmethod
    def fit(  # noqa: PLR0913 - the weights of a regulator
        cls,
        jacobians: LayerJacobians,
        activations: Activations,
        *,
        state_cost: Cost = 0.1,
        control_cost: Cost = 1.0,
        terminal_cost: float | int = 0.1,
        setpoint: float | int = 1.0,
        centred: bool = True,
        layers: Sequence[int] | None = None,
        reference: Float[Tensor, "layer_and_last d"] | None = None,
        one_sided: bool = False,
        cap: float | int | None = None,
    ) -> "LQR":
        """Isotropic costs q |dz|^2 + r |u|^2 and a dense Riccati recursion, as published.

        Args:
            jacobians: From `linearize(..., dense=True)`.
            activations: The residual stream: features, and where set-points are measured from.
            state_cost: q, a number or one per layer.
            control_cost: r, the same; larger pushes less.
            terminal_cost: qf.
            setpoint: lambda: 0 is the undesired mean and 1 the desired one, if centred.
            centred: False measures set-points from the origin, as published: v . z has an offset
                that both classes share, and the law can then push the wrong way.
            layers: Consecutive blocks behind which to push; None is all.
            reference: States whose features are the set-points, in place of `setpoint`.

        Raises:
            ValueError: If a cost is out of range, layers have gaps, there are no matrices, the
                jacobians and activations are of two models, or no layer has a feature.
        """
        if jacobians.matrices is None:
            raise ValueError(f"{jacobians!r} have no matrices: use LQR.fit_feature, or dense=True")
        targets = Setpoints.of(activations, setpoint, centred=centred, reference=reference)
        costs = Costs.of(jacobians.n_layers, state_cost, control_cost, terminal_cost, layers)
        LQRProblem.of(jacobians, activations, targets, costs)
        gains = isotropic_gains(jacobians.matrices, targets.directions[..., 0], costs)
        return cls._of(gains.to(jacobians.nominal), targets, activations, one_sided, cap)

    @classmethod
    def fit_feature(  # noqa: PLR0913 - the weights of a regulator
        cls,
        jacobians: LayerJacobians,
        activations: Activations,
        *,
        state_cost: Cost = 0.1,
        control_cost: Cost = 1.0,
        terminal_cost: float | int = 0.1,
        setpoint: float | int = 1.0,
        centred: bool = True,
        layers: Sequence[int] | None = None,
        reference: Float[Tensor, "layer_and_last d"] | None = None,
        covariance_effort: bool = False,
        one_sided: bool = False,
        cap: float | int | None = None,
    ) -> "LQR":
        """Costs on the features alone, q (v_k . dz_k)^2: products with Jacobians, no matrix.

        Exact, and linear in d (T (T + 1) / 2 backward passes of one token). With q = 0 the gains
        are the gradient of the last feature.

        Args:
            on_manifold: Effort r u' Sigma^-1 u with the activations' covariance: pushes along
                directions in which activations vary by themselves are cheap.

        Raises:
            ValueError: As `fit`; matrices are not needed.
        """
        targets = Setpoints.of(activations, setpoint, centred=centred, reference=reference)
        costs = Costs.of(jacobians.n_layers, state_cost, control_cost, terminal_cost, layers)
        problem = LQRProblem.of(jacobians, activations, targets, costs)
        gains = problem.gains(effort_from_covariance(activations) if covariance_effort else None)[
            ..., 0
        ]
        return cls._of(gains, targets, activations, one_sided, cap)

    @classmethod
    def _of(
        cls,
        gains: Float[Tensor, "layer d"],
        targets: Setpoints,
        activations: Activations,
        one_sided: bool,  # noqa: FBT001 - private
        cap: float | int | None,
    ) -> "LQR":
        v, beta = targets.directions[..., 0], targets.setpoints[..., 0]
        source = activations.provenance
        return cls(gains, v, beta, one_sided=one_sided, cap=cap, provenance=source)

    @property
    def layers(self) -> tuple[int, ...]:
        """Blocks behind which it pushes."""
        return tuple(self.gains.any(dim=-1).nonzero().flatten().tolist())

    @property
    def absent(self) -> tuple[int, ...]:
        """Blocks at whose input the classes do not differ: nothing is measured there."""
        return absent_layers(self.directions)

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and dimensions."""
        return self.gains.shape[0], self.gains.shape[1]

    def terms(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """See `FeatureLaw`; one concept."""
        v, beta = self.directions[layer, :, None], self.setpoints[layer, None]
        return v, beta, self.gains[layer, :, None]

    def _summary(self) -> list[str]:
        shown = [f"layers={list(self.layers)}"]
        return shown + [f"no feature at {list(self.absent)}"] * bool(self.absent)
