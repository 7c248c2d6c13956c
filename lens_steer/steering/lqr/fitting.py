"""What every regulator is fitted from: Jacobians, features, set-points and costs of one model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import Activations
from lens_steer.linearity import FeatureDirections, LayerJacobians
from lens_steer.models import check_one_model
from lens_steer.steering.lqr.costs import Costs, Weights
from lens_steer.steering.lqr.riccati import Step, factored_steps

_ALIKE = 0.999  # cosine of two features from which on they cannot be told apart


@dataclass(frozen=True, eq=False)
class Setpoints:
    """Features that are to be held at set-points, one concept beside another.

    Attributes:
        directions: V_k, unit columns, or 0.
        setpoints: beta_k.
    """

    directions: Float[Tensor, "layer_and_last d concept"]
    setpoints: Float[Tensor, "layer_and_last concept"]

    def __post_init__(self) -> None:
        if not bool(self.directions.any()):
            raise ValueError("the classes do not differ at any layer: there is no feature to steer")
        for layer, v in enumerate(self.directions):
            cosines = (v.T @ v).fill_diagonal_(0).abs()
            if float(cosines.max()) > _ALIKE:
                raise ValueError(
                    f"two concepts have the same feature where block {layer} begins (cosine "
                    f"{float(cosines.max()):.4f}): steer one of them"
                )

    @classmethod
    def of(
        cls,
        activations: Activations | Sequence[Activations],
        weights: Weights,
    ) -> "Setpoints":
        """Set-points beta_k = lambda mu_k, from the undesired mean or the origin; or a reference's.

        Raises:
            ValueError: If no layer has a feature, two concepts have the same, there is not one
                set-point for each, or the reference has another length.
        """
        features = [FeatureDirections.of(concept) for concept in concepts(activations)]
        v = torch.stack([feature.directions for feature in features], dim=-1)
        reference, setpoint = weights.reference, weights.setpoint
        if reference is not None:
            if tuple(reference.shape) != tuple(v.shape[:2]):
                raise ValueError(
                    f"a reference of shape {tuple(reference.shape)}: expected "
                    f"{tuple(v.shape[:2])}, the embedding and what leaves each of "
                    f"{len(v) - 1} blocks"
                )
            return cls(v, torch.einsum("kdc,kd->kc", v, reference.to(v)))
        n = len(features)
        sizes = [setpoint] * n if isinstance(setpoint, float | int) else list(setpoint)
        if len(sizes) != n:
            raise ValueError(f"{len(sizes)} set-points for {n} concepts: expected as many")
        beta = [
            feature.setpoints(size, centred=weights.centred)
            for feature, size in zip(features, sizes, strict=True)
        ]
        return cls(v, torch.stack(beta, dim=-1))


@dataclass(frozen=True, eq=False)
class LQRProblem:
    """Set-points on linearised layers, and what errors and pushes cost.

    Attributes:
        jacobians: A_k.
        targets: V_k and beta_k.
        costs: q, r and qf.
    """

    jacobians: LayerJacobians
    targets: Setpoints
    costs: Costs

    def __post_init__(self) -> None:
        ours, theirs = tuple(self.targets.directions.shape[:2]), tuple(self.jacobians.nominal.shape)
        if ours != theirs:
            raise ValueError(f"features and states have shapes {ours} and {theirs}: expected one")

    @classmethod
    def of(
        cls,
        jacobians: LayerJacobians,
        activations: Activations | Sequence[Activations],
        weights: Weights,
    ) -> "LQRProblem":
        """The problem of activations of one concept, or of several at once.

        Raises:
            ValueError: If a weight is out of range, no layer has a feature, or jacobians and
                activations are of two models.
        """
        targets = Setpoints.of(activations, weights)
        costs = weights.costs(jacobians.n_layers)
        for concept in concepts(activations):
            what = "jacobians and activations are of two models"
            check_one_model(jacobians.provenance, concept.provenance, what)
        return cls(jacobians, targets, costs)

    def steps(
        self,
        effort: Callable[[int, Tensor], Tensor] | None = None,
        actuate: Callable[[int, Tensor], Tensor] | None = None,
    ) -> list[Step]:
        """The factored recursion, by products with the Jacobians alone."""

        def pull(layer: int, columns: Float[Tensor, "d p"]) -> Float[Tensor, "d p"]:
            return self.jacobians.vjp(layer, columns.T.to(self.jacobians.nominal)).T

        return factored_steps(pull, self.targets.directions, self.costs, effort, actuate)

    def gains(
        self, effort: Callable[[int, Tensor], Tensor] | None = None
    ) -> Float[Tensor, "layer d concept"]:
        """The gains W_k: what is pushed for what each feature lacks."""
        steps = enumerate(self.steps(effort))
        gains = [step.gain(self.targets.directions[k]) for k, step in steps]
        return torch.stack(gains).to(self.jacobians.nominal)


def concepts(activations: Activations | Sequence[Activations]) -> list[Activations]:
    """The activations of each concept, of which there are one or several.

    Raises:
        ValueError: If there is none.
    """
    listed = [activations] if isinstance(activations, Activations) else list(activations)
    if not listed:
        raise ValueError("no activations: expected those of at least one concept")
    return listed


def effort_from_covariance(
    activations: Activations | Sequence[Activations],
) -> Callable[[int, Tensor], Tensor]:
    """Products with Sigma, the within-class covariance behind each block, mean variance 1.

    Shrunk as Ledoit and Wolf 2004; never formed: two products with the centred activations.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    sides = [side for a in concepts(activations) for side in (a.desired, a.undesired)]

    def product(layer: int, columns: Float[Tensor, "d p"]) -> Float[Tensor, "d p"]:
        classes = [side[:, layer].double() for side in sides]
        x = torch.cat([side - side.mean(dim=0) for side in classes])
        shrinkage = float(ledoit_wolf_shrinkage(x.numpy(), assume_centered=True))
        empirical = x.T @ (x @ columns.double()) / len(x)
        variance = float(x.square().mean())
        if variance == 0:
            raise ValueError(f"the activations at layer {layer} do not vary: no covariance effort")
        return (1 - shrinkage) * empirical / variance + shrinkage * columns.double()

    return product
