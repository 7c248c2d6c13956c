"""Steered trajectories at the token at which steering begins: what bounds are made of."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import ReadPosition
from lens_steer.linearity import Texts
from lens_steer.models import SteerableModel, attach
from lens_steer.steering import Intervention
from lens_steer.tracking.passages import in_batches, in_order
from lens_steer.tracking.texts import TrackedTexts


@dataclass(frozen=True, eq=False)
class Trajectories:
    """One steered state for each text and layer.

    Attributes:
        states: z_0 enters block 0, z_{k+1} leaves block k with its push.
        pushes: u_k behind block k.
        groups: What belongs together; a bound is to hold for whole groups.
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
    def of(
        cls,
        model: SteerableModel,
        method: Intervention,
        texts: Texts,
        *,
        read: ReadPosition = "last",
    ) -> "Trajectories":
        """Steer texts at the token that `capture` reads, their context as it was.

        Args:
            texts: Of pairs both sides, the desired first.

        Raises:
            ValueError: If the method does not fit the model, edits the embedding, or `capture`
                refuses the texts.
        """
        rows = TrackedTexts.of(model, texts, read)
        states, pushes = [], []
        attach(model)
        for batch, part in in_batches(model, rows.encoded):
            found = part.passage(method, "last")
            states.append((batch, found.steered[:, 0]))
            pushes.append((batch, found.pushes[:, 0]))
        return cls(in_order(states), in_order(pushes), rows.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, texts: Sequence[int]) -> "Trajectories":
        """Of some of the texts, by number."""
        chosen = list(texts)
        groups = tuple(self.groups[i] for i in chosen)
        return Trajectories(self.states[chosen], self.pushes[chosen], groups)

    def since(self, layer: int) -> "Trajectories":
        """From z_layer on.

        Raises:
            ValueError: If no block follows it.
        """
        if not 0 <= layer < self.pushes.shape[1]:
            raise ValueError(f"z_{layer}: expected a block behind it, 0 to {self.pushes.shape[1]}")
        return Trajectories(self.states[:, layer:], self.pushes[:, layer:], self.groups)

    def ungrouped(self) -> "Trajectories":
        """Each text by itself: for those who take single texts to be exchangeable."""
        return Trajectories(self.states, self.pushes, tuple(map(str, range(len(self)))))

    def __repr__(self) -> str:
        n, layers, d = self.states.shape
        of = f"{n} texts of {len(set(self.groups))} groups"
        return f"Trajectories({of}, {layers - 1} layers of {d})"
