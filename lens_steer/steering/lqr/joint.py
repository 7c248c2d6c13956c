"""Several features at once: one law that leads each to its own set-point."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import Activations
from lens_steer.artifacts import savable
from lens_steer.linearity import LayerJacobians
from lens_steer.steering.lqr.costs import Cost, Costs
from lens_steer.steering.lqr.fitting import LQRProblem, Setpoints, concepts, effort_from_covariance
from lens_steer.steering.lqr.loop import FeatureLaw, check_finite


@savable
@dataclass(frozen=True, eq=False, repr=False)
class JointLQR(FeatureLaw):
    """u_k = W_k (beta_k - V_k' z_k), V_k a column for each concept, W_k = K_k V_k (V_k' V_k)^-1.

    K_k weighs all features together, and what each lacks is made up by the shortest vector that
    leaves the others alone. Laws that are added (arXiv:2604.19018, multi-concept) count twice what
    two features have in common. With one concept it is `LQR.fit_feature`.

    Attributes:
        gains: W_k.
        directions: V_k, unit columns; 0 where a concept has no feature.
        setpoints: beta_k.
    """

    gains: Float[Tensor, "layer d concept"] = field(repr=False)
    directions: Float[Tensor, "layer_and_last d concept"] = field(repr=False)
    setpoints: Float[Tensor, "layer_and_last concept"] = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        shapes = [tuple(x.shape) for x in (self.gains, self.directions, self.setpoints)]
        n, d, c = shapes[0]
        if shapes[1:] != [(n + 1, d, c), (n + 1, c)]:
            raise ValueError(f"got shapes {shapes}: expected (T, d, c), (T+1, d, c) and (T+1, c)")
        check_finite(gains=self.gains, directions=self.directions, setpoints=self.setpoints)
        if not bool(self.gains.any()):
            raise ValueError("all gains are 0: no layer has a feature that may be pushed")

    @classmethod
    def fit(  # noqa: PLR0913 - the weights of a regulator
        cls,
        jacobians: LayerJacobians,
        activations: Sequence[Activations],
        *,
        state_cost: Cost = 0.1,
        control_cost: Cost = 1.0,
        terminal_cost: float | int = 0.1,
        setpoint: float | int | Sequence[float] = 1.0,
        centred: bool = True,
        layers: Sequence[int] | None = None,
        covariance_effort: bool = False,
        one_sided: bool = False,
        cap: float | int | None = None,
    ) -> "JointLQR":
        """Costs on the features alone; arguments as `LQR.fit_feature`.

        Args:
            activations: The residual stream of each concept's pairs.
            setpoint: lambda, one for all concepts or one for each; negative leads away.

        Raises:
            ValueError: As `LQR.fit_feature`, or if two concepts have the same feature.
        """
        targets = Setpoints.of(activations, setpoint, centred=centred)
        costs = Costs.of(jacobians.n_layers, state_cost, control_cost, terminal_cost, layers)
        problem = LQRProblem.of(jacobians, activations, targets, costs)
        gains = problem.gains(effort_from_covariance(activations) if covariance_effort else None)
        source = concepts(activations)[0].provenance
        limits = {"one_sided": one_sided, "cap": cap}
        return cls(gains, targets.directions, targets.setpoints, provenance=source, **limits)

    @property
    def layers(self) -> tuple[int, ...]:
        """Blocks behind which it pushes."""
        return tuple(self.gains.flatten(1).any(dim=-1).nonzero().flatten().tolist())

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and dimensions."""
        return self.gains.shape[0], self.gains.shape[1]

    def terms(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """See `FeatureLaw`."""
        return self.directions[layer], self.setpoints[layer], self.gains[layer]

    def _summary(self) -> list[str]:
        return [f"{self.gains.shape[-1]} concepts", f"layers={list(self.layers)}"]
