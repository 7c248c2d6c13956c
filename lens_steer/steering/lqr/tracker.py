"""The optimal law of the feature cost: behind each block, set-points to come included."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import Activations
from lens_steer.artifacts import savable
from lens_steer.axes import Activation
from lens_steer.linearity import LayerJacobians
from lens_steer.models import SteerableModel, working_place
from lens_steer.sites import Site, hook_points
from lens_steer.steering.base import Edit, Intervention
from lens_steer.steering.lqr.costs import Cost, Costs
from lens_steer.steering.lqr.fitting import LQRProblem, Setpoints, concepts, effort_from_covariance
from lens_steer.steering.lqr.loop import check_shape
from lens_steer.steering.lqr.riccati import feed_forward


@savable
@dataclass(frozen=True, eq=False, repr=False)
class LQRTracker(Intervention):
    """u_k = P_k (c_k - F_k' y_k), y_k leaving block k: optimal on the linearised layers.

    It minimises sum_k q (v_k . z_k - beta_k)^2 + r |u_k|^2 + qf (v_T . z_T - beta_T)^2 along the
    nominal trajectory, drift and later set-points included. Being optimal for set-point errors is
    no evidence of steering: judge it by behaviour.

    Attributes:
        factors: F_{k+1}, as many columns as features lie ahead.
        pushes: What a unit of each column's error pushes; 0 where no push is allowed.
        targets: What F' y is to be.
    """

    factors: tuple[Float[Tensor, "..."], ...] = field(repr=False)
    pushes: tuple[Float[Tensor, "..."], ...] = field(repr=False)
    targets: tuple[Float[Tensor, "..."], ...] = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = zip(self.factors, self.pushes, self.targets, strict=True)
        for k, (factor, push, target) in enumerate(parts):
            if factor.shape != push.shape or target.shape != factor.shape[1:]:
                shapes = [tuple(x.shape) for x in (factor, push, target)]
                raise ValueError(f"layer {k} has shapes {shapes}: expected (d, p), (d, p), (p,)")
            if not all(bool(x.isfinite().all()) for x in (factor, push, target)):
                raise ValueError(f"layer {k}: the factors are not finite")
        if not any(bool(push.any()) for push in self.pushes):
            raise ValueError("no layer pushes: no feature lies behind a layer that may be pushed")

    @classmethod
    def fit(  # noqa: PLR0913 - the weights of a regulator
        cls,
        jacobians: LayerJacobians,
        activations: Activations | Sequence[Activations],
        *,
        state_cost: Cost = 0.1,
        control_cost: Cost = 1.0,
        terminal_cost: float | int = 0.1,
        setpoint: float | int | Sequence[float] = 1.0,
        centred: bool = True,
        layers: Sequence[int] | None = None,
        reference: Float[Tensor, "layer_and_last d"] | None = None,
        covariance_effort: bool = False,
    ) -> "LQRTracker":
        """From products with Jacobians; arguments as `LQR.fit_feature`.

        Args:
            activations: Of several concepts, all are led to their set-points at once.
            setpoint: One for all concepts, or one for each.

        Raises:
            ValueError: As `LQR.fit_feature` and `JointLQR.fit`.
        """
        wanted = Setpoints.of(activations, setpoint, centred=centred, reference=reference)
        costs = Costs.of(jacobians.n_layers, state_cost, control_cost, terminal_cost, layers)
        problem = LQRProblem.of(jacobians, activations, wanted, costs)
        steps = problem.steps(effort_from_covariance(activations) if covariance_effort else None)
        like, beta = jacobians.nominal, wanted.setpoints
        targets = feed_forward(steps, costs, wanted.directions, beta, like)
        return cls(
            tuple(step.factor.to(like) for step in steps),
            tuple(step.push.to(like) for step in steps),
            tuple(target.to(like) for target in targets),
            provenance=concepts(activations)[0].provenance,
        )

    @property
    def layers(self) -> tuple[int, ...]:
        """Blocks behind which it pushes."""
        return tuple(k for k, push in enumerate(self.pushes) if bool(push.any()))

    @property
    def sites(self) -> tuple[Site, ...]:
        """The output of each block that is steered."""
        return tuple(Site(layer) for layer in self.layers)

    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        """See `Intervention`."""
        hook_points(model, self.sites)
        check_shape(model, len(self.factors), len(self.factors[0]))
        return {Site(layer): self._edit(model, layer) for layer in self.layers}

    def _edit(self, model: SteerableModel, layer: int) -> Edit:
        place = working_place(model, layer)
        factor, target = self.factors[layer].to(**place), self.targets[layer].to(**place)
        push = self.strength * self.pushes[layer].to(**place).T

        def track(x: Activation) -> Activation:
            return (x + (target - x.to(factor.dtype) @ factor) @ push).to(x.dtype)

        return track

    def _summary(self) -> list[str]:
        return [f"layers={list(self.layers)}"]
