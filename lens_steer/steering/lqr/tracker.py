"""The optimal law of the feature cost: behind each block, set-points to come included."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Unpack, override

from lens_steer.activations import Activations
from lens_steer.artifacts import savable
from lens_steer.axes import Activation, ranges
from lens_steer.linearity import LayerJacobians
from lens_steer.models import SteerableModel
from lens_steer.sites import Site, hook_points
from lens_steer.steering.base import ActivationMap, Edit, check_model_shape
from lens_steer.steering.lqr.costs import WeightOptions, Weights
from lens_steer.steering.lqr.fitting import LQRProblem, concepts, effort_from_covariance
from lens_steer.steering.lqr.riccati import feed_forward


@savable
@dataclass(frozen=True, eq=False, repr=False)
class LQRTracker(ActivationMap):
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
    def fit(
        cls,
        jacobians: LayerJacobians,
        activations: Activations | Sequence[Activations],
        *,
        covariance_effort: bool = False,
        **options: Unpack[WeightOptions],
    ) -> "LQRTracker":
        """Solve the tracking problem by products with Jacobians.

        Args:
            jacobians: As `LQR.fit_feature`.
            activations: Of one concept; of several, all are led to their set-points at once.
            covariance_effort: As `LQR.fit_feature`.
            options: As `LQR.fit`, but for `one_sided` and `cap`: see `WeightOptions`.

        Raises:
            ValueError: As `LQR.fit_feature` and `JointLQR.fit`.
            TypeError: If an option is misspelt.

        Example:
            >>> jac = ls.linearize(model, train, dense=False)
            >>> method = ls.LQRTracker.fit(jac, ls.capture(model, train, "resid"), setpoint=2.0)
        """
        weights = Weights.of("LQRTracker.fit", WeightOptions, options)
        problem = LQRProblem.of(jacobians, activations, weights)
        steps = problem.steps(effort_from_covariance(activations) if covariance_effort else None)
        v, beta, like = problem.targets.directions, problem.targets.setpoints, jacobians.nominal
        targets = feed_forward(steps, problem.costs, v, beta, like)
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
    @override
    def sites(self) -> tuple[Site, ...]:
        return tuple(Site(layer) for layer in self.layers)

    @override
    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        hook_points(model, self.sites)
        check_model_shape(model, len(self.factors), len(self.factors[0]))
        return super().edits(model)

    @override
    def shape_at(self, site: Site) -> tuple[int, ...]:
        del site
        return (len(self.factors[0]),)

    @override
    def _map(
        self, site: Site, device: torch.device, dtype: torch.dtype
    ) -> Callable[[Activation], Activation]:
        factor = self.factors[site.layer].to(device, dtype)
        target = self.targets[site.layer].to(device, dtype)
        push = self.strength * self.pushes[site.layer].to(device, dtype).T
        return lambda x: x + (target - x @ factor) @ push

    def _summary(self) -> list[str]:
        return [f"layers {ranges(self.layers)}"]
