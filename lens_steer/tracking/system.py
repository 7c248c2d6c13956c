"""The linear model of features along the layers, and what texts do beside it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.linearity import FeatureDirections, LayerJacobians
from lens_steer.tracking.loops import LinearLoop, matrices_of
from lens_steer.tracking.report import check_setpoints
from lens_steer.tracking.trajectories import Trajectories

Errors = Float[Tensor, "text layer"]  # behind each block, or of its step


@dataclass(frozen=True, eq=False)
class System:
    """z_{k+1} = zbar_{k+1} + A_k d_k + u_k and what is left, d_k = z_k - zbar_k; all float64.

    Attributes:
        matrices: A_k, mean Jacobians.
        nominal: zbar_k.
        directions: v_k.
        setpoints: beta_k.
    """

    matrices: Float[Tensor, "layer d d"]
    nominal: Float[Tensor, "layer_and_last d"]
    directions: Float[Tensor, "layer_and_last d"]
    setpoints: Float[Tensor, " layer_and_last"]

    @classmethod
    def of(
        cls,
        jacobians: LayerJacobians,
        features: FeatureDirections,
        setpoints: Float[Tensor, " layer_and_last"],
    ) -> "System":
        """Of one model's.

        Raises:
            ValueError: If there are no matrices, or the shapes differ.
        """
        check_setpoints(features, setpoints)
        parts = matrices_of(jacobians), jacobians.nominal.double(), features.directions.double()
        if parts[1].shape != parts[2].shape:
            shapes = [tuple(x.shape) for x in parts[1:]]
            raise ValueError(f"nominal states and directions of shapes {shapes}: expected one")
        return cls(*parts, setpoints.double())

    def since(self, layer: int) -> "System":
        """From z_layer on."""
        parts = (self.matrices, self.nominal, self.directions, self.setpoints)
        return System(*(part[layer:] for part in parts))

    def check(self, trajectories: Trajectories) -> None:
        """Raise a ValueError if they are of another number of layers, or another width."""
        own, given = tuple(self.nominal.shape), tuple(trajectories.states.shape[1:])
        if own != given:
            raise ValueError(f"trajectories of shape {given}, but the Jacobians' states are {own}")

    def errors(self, states: Float[Tensor, "text layer_and_last d"]) -> Errors:
        """e_k = v_k . z_k - beta_k behind every block."""
        signals = torch.einsum("tkd,kd->tk", states.double(), self.directions)
        return (signals - self.setpoints)[:, 1:]

    def distances(
        self, states: Float[Tensor, "text layer_and_last d"]
    ) -> Float[Tensor, "text layer_and_last d"]:
        """d_k."""
        return states.double() - self.nominal

    def lengths(self, trajectories: Trajectories) -> Errors:
        """|d_k| where each block begins."""
        return self.distances(trajectories.states)[:, :-1].norm(dim=-1)

    def after_steps(self, trajectories: Trajectories) -> Errors:
        """e_{k+1} predicted from the measured z_k and u_k."""
        before = self.distances(trajectories.states)[:, :-1]
        moved = torch.einsum("kij,tkj->tki", self.matrices, before)
        after = self.nominal[1:] + moved + trajectories.pushes.double()
        return torch.einsum("tkd,kd->tk", after, self.directions[1:]) - self.setpoints[1:]

    def along(
        self, starts: Float[Tensor, "text d"], loop: LinearLoop
    ) -> tuple[Float[Tensor, "text layer_and_last d"], Errors]:
        """d_k and e_k predicted from the first state through a loop."""
        found = loop.path(starts.double() - self.nominal[0])
        return found, self.errors(found + self.nominal)

    def left(self, trajectories: Trajectories, loop: LinearLoop) -> Float[Tensor, "text layer d"]:
        """d_{k+1} - M_k d_k - m_k: what one step of the loop leaves out."""
        d = self.distances(trajectories.states)
        moved = torch.einsum("kij,tkj->tki", loop.matrices, d[:, :-1]) + loop.shifts
        return d[:, 1:] - moved
