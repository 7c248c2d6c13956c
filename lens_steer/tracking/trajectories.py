"""Steered trajectories at one token, and the linear system that predicts them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import ReadPosition
from lens_steer.arguments import Layer
from lens_steer.artifacts import savable
from lens_steer.linearity import FeatureDirections, LayerJacobians, Texts
from lens_steer.models import SteerableModel, attach
from lens_steer.steering import Intervention
from lens_steer.tracking.loops import LinearLoop, matrices_of
from lens_steer.tracking.runs import check_setpoints, in_batches, in_order
from lens_steer.tracking.texts import TrackedTexts

Errors = Float[Tensor, "text layer"]  # a value behind each block


@savable
@dataclass(frozen=True, eq=False)
class Trajectories:
    """The steered states and pushes of texts, layer by layer, at the token where steering begins.

    Attributes:
        states: z_0 enters block 0, z_{k+1} leaves block k with its push.
        pushes: u_k behind block k.
        groups: The group of each text; a bound holds for whole groups.
    """

    states: Float[Tensor, "text layer_and_last d"]
    pushes: Float[Tensor, "text layer d"]
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        shapes = tuple(self.states.shape), tuple(self.pushes.shape)
        n, layers, d = shapes[0]
        if shapes[1] != (n, layers - 1, d) or len(self.groups) != n or n == 0:
            raise ValueError(
                f"states and pushes of shapes {shapes} and {len(self.groups)} groups: expected "
                "one push less than states, and a group for each text"
            )
        if not bool(self.states.isfinite().all() and self.pushes.isfinite().all()):
            raise ValueError("the states or pushes are not finite: steer less")

    @classmethod
    def fit(
        cls,
        model: SteerableModel,
        method: Intervention,
        texts: Texts,
        *,
        read: ReadPosition = "last",
    ) -> "Trajectories":
        """Steer texts at the token that `capture` reads, and leave their context as it is.

        Args:
            texts: Strings, examples, or pairs, both sides of which are steered, the desired first.
            read: The token that is steered, as in `capture`.

        Raises:
            ValueError: If the method does not fit the model, edits the embedding, or `capture`
                refuses the texts.

        Example:
            >>> paths = ls.tracking.Trajectories.fit(model, law, dev)
            >>> paths.states[:, -1]  # behind the last block
        """
        rows = TrackedTexts.of(model, texts, read)
        states, pushes = [], []
        attach(model)
        for numbers, batch in in_batches(model, rows.encoded):
            run = batch.run(method, "last")
            states.append((numbers, run.steered[:, 0]))
            pushes.append((numbers, run.pushes[:, 0]))
        return cls(in_order(states), in_order(pushes), rows.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, texts: Sequence[int]) -> "Trajectories":
        """The trajectories of some texts, by number."""
        chosen = list(texts)
        groups = tuple(self.groups[i] for i in chosen)
        return Trajectories(self.states[chosen], self.pushes[chosen], groups)

    def since(self, layer: Layer) -> "Trajectories":
        """The trajectories from z_layer on.

        Raises:
            ValueError: If no block follows it.
        """
        if not 0 <= layer < self.pushes.shape[1]:
            raise ValueError(f"z_{layer}: expected a block behind it, 0 to {self.pushes.shape[1]}")
        return Trajectories(self.states[:, layer:], self.pushes[:, layer:], self.groups)

    def ungrouped(self) -> "Trajectories":
        """The same trajectories with each text a group by itself, taken to be exchangeable."""
        return Trajectories(self.states, self.pushes, tuple(map(str, range(len(self)))))

    def __repr__(self) -> str:
        n, layers, d = self.states.shape
        texts = f"{n} texts of {len(set(self.groups))} groups"
        return f"Trajectories({texts}, {layers - 1} layers of {d})"


@savable
@dataclass(frozen=True, eq=False)
class LinearSystem:
    """The linear model of features along the layers; all float64.

    z_{k+1} = zbar_{k+1} + A_k d_k + u_k plus a residual, with d_k = z_k - zbar_k.

    Attributes:
        matrices: A_k, the mean Jacobians.
        nominal: zbar_k, the nominal trajectory.
        directions: v_k, the feature directions.
        setpoints: beta_k, the set-points.
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
    ) -> "LinearSystem":
        """Jacobians, features and set-points of one model.

        Raises:
            ValueError: If there are no matrices, or the shapes differ.
        """
        check_setpoints(features, setpoints)
        matrices = matrices_of(jacobians)
        nominal, directions = jacobians.nominal.double(), features.directions.double()
        if nominal.shape != directions.shape:
            shapes = [tuple(nominal.shape), tuple(directions.shape)]
            raise ValueError(f"nominal states and directions of shapes {shapes}: expected one")
        return cls(matrices, nominal, directions, setpoints.double())

    def since(self, layer: int) -> "LinearSystem":
        """The system from z_layer on."""
        return LinearSystem(
            self.matrices[layer:],
            self.nominal[layer:],
            self.directions[layer:],
            self.setpoints[layer:],
        )

    def check(self, trajectories: Trajectories) -> None:
        """Raise a ValueError if trajectories have another number of layers, or another width."""
        expected, got = tuple(self.nominal.shape), tuple(trajectories.states.shape[1:])
        if got != expected:
            raise ValueError(
                f"trajectories of shape {got}, but the Jacobians' states are {expected}"
            )

    def errors(self, states: Float[Tensor, "text layer_and_last d"]) -> Errors:
        """e_k = v_k . z_k - beta_k behind every block."""
        signals = torch.einsum("tkd,kd->tk", states.double(), self.directions)
        return (signals - self.setpoints)[:, 1:]

    def distances(
        self, states: Float[Tensor, "text layer_and_last d"]
    ) -> Float[Tensor, "text layer_and_last d"]:
        """d_k, the distances from the nominal trajectory."""
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
        distances = loop.path(starts.double() - self.nominal[0])
        return distances, self.errors(distances + self.nominal)
