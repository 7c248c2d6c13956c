"""What every regulator is fitted from: Jacobians, features and set-points of one model."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import Activations
from lens_steer.features import Features
from lens_steer.jacobians import LayerJacobians
from lens_steer.steering.lqr._costs import Costs
from lens_steer.steering.lqr._riccati import Step, factored_steps


@dataclass(frozen=True, eq=False)
class Problem:
    """Features to be held at set-points, on linearised layers.

    Attributes:
        jacobians: A_k.
        features: v_k and mu_k.
        setpoints: beta_k.
    """

    jacobians: LayerJacobians
    features: Features
    setpoints: Float[Tensor, " layer_and_last"]

    @classmethod
    def of(
        cls,
        jacobians: LayerJacobians,
        activations: Activations,
        setpoint: float | int,
        *,
        centred: bool,
        reference: Float[Tensor, "layer_and_last d"] | None,
    ) -> "Problem":
        """beta_k = lambda mu_k, from the undesired mean or from the origin; or a reference's.

        Raises:
            ValueError: If the two are of different models, no layer has a feature, or the reference
                has another length.
        """
        _check_one_model(jacobians, activations)
        features = Features.of(activations)
        v, n = features.directions, jacobians.n_layers
        if tuple(v.shape) != tuple(jacobians.nominal.shape):
            shapes = f"{tuple(v.shape)} and {tuple(jacobians.nominal.shape)}"
            raise ValueError(f"features and states have shapes {shapes}: expected equal ones")
        if not bool(features.present.any()):
            raise ValueError("the classes do not differ at any layer: there is no feature to steer")
        if reference is not None:
            if tuple(reference.shape) != tuple(v.shape):
                raise ValueError(
                    f"a reference of shape {tuple(reference.shape)}: expected {tuple(v.shape)}, "
                    f"the embedding and what leaves each of {n} blocks"
                )
            return cls(jacobians, features, (v * reference.to(v)).sum(dim=-1))
        return cls(jacobians, features, features.setpoints(setpoint, centred=centred))

    @property
    def absent(self) -> tuple[int, ...]:
        """Blocks at whose input the classes do not differ: nothing is measured, nothing pushed."""
        return tuple((~self.features.present[:-1]).nonzero().flatten().tolist())

    def steps(self, costs: Costs, effort: Callable[[int, Tensor], Tensor] | None) -> list[Step]:
        """The factored recursion, by products with the Jacobians alone."""

        def pull(layer: int, columns: Float[Tensor, "d p"]) -> Float[Tensor, "d p"]:
            return self.jacobians.vjp(layer, columns.T.to(self.jacobians.nominal)).T

        return factored_steps(pull, self.features.directions, costs, effort)


def covariance_effort(activations: Activations) -> Callable[[int, Tensor], Tensor]:
    """Products with Sigma, the within-class covariance behind each block, mean variance 1.

    Shrunk as Ledoit and Wolf 2004; never formed: two products with the centred activations.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    def product(layer: int, columns: Float[Tensor, "d p"]) -> Float[Tensor, "d p"]:
        sides = (activations.desired[:, layer].double(), activations.undesired[:, layer].double())
        x = torch.cat([side - side.mean(dim=0) for side in sides])
        shrinkage = float(ledoit_wolf_shrinkage(x.numpy(), assume_centered=True))
        empirical = x.T @ (x @ columns.double()) / len(x)
        variance = float(x.square().mean())
        if variance == 0:
            raise ValueError(f"the activations at layer {layer} do not vary: no covariance effort")
        return (1 - shrinkage) * empirical / variance + shrinkage * columns.double()

    return product


def _check_one_model(jacobians: LayerJacobians, activations: Activations) -> None:
    ours, theirs = jacobians.provenance, activations.provenance
    if ours is not None and theirs is not None:
        differences = ours.fingerprint.differences(theirs.fingerprint)
        if differences:
            found = "; ".join(differences)
            raise ValueError(f"jacobians and activations are of two models ({found})")
