"""What one way of scaling does to the answers at every point of a grid of k and delta."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.artifacts import savable
from lens_steer.attribution import ElementMask
from lens_steer.intervals import Interval, interval
from lens_steer.sites import Site
from lens_steer.steering.sadi.frozen import FrozenSADI


@savable
@dataclass(frozen=True, eq=False)
class GridAnswers:
    """Margins and nats at every point of a grid, with one way of scaling.

    Attributes:
        margin: Log-probability per token of the desired answer minus that of the undesired, nats.
        kl: KL(steered || unsteered) of the answer's first token, nats.
    """

    margin: Float[Tensor, "k delta pair"]
    kl: Float[Tensor, "k delta pair"]

    def __post_init__(self) -> None:
        if self.margin.shape != self.kl.shape:
            shapes = f"{tuple(self.margin.shape)} and {tuple(self.kl.shape)}"
            raise ValueError(f"margins and nats of shapes {shapes}: expected (k, delta, pair)")

    def __repr__(self) -> str:
        k, delta, pairs = self.margin.shape
        return f"GridAnswers({k} x {delta} points, {pairs} pairs)"

    @property
    def accuracy(self) -> Float[Tensor, "k delta"]:
        """Share of pairs whose desired answer is the likelier."""
        return (self.margin > 0).double().mean(dim=-1)

    def best(self, most: float | int | None) -> tuple[int, int]:
        """Where accuracy is the highest, of equal ones the mean margin, at `most` nats at most.

        Raises:
            ValueError: If every point costs more.
        """
        costs = self.kl.mean(dim=-1)
        allowed = costs <= (torch.inf if most is None else most)
        if not bool(allowed.any()):
            least = float(costs.min())
            raise ValueError(f"no point of at most {most} nats: the least is {least:.3g}")
        order = self.accuracy + 1e-9 * self.margin.mean(dim=-1).tanh()
        place = int(order.masked_fill(~allowed, -torch.inf).argmax())
        return divmod(place, self.margin.shape[1])

    def interval(self, i: int, j: int, groups: Sequence[Hashable], seed: int) -> Interval:
        """Accuracy at one point, with its 95 % interval over groups of pairs."""
        return interval((self.margin[i, j] > 0).double(), groups, seed=seed)

    def columns(
        self, i: int, j: int, groups: Sequence[Hashable], seed: int, prefix: str = ""
    ) -> dict[str, float]:
        """The columns of a table for one point; names begin with the prefix."""
        means = {"margin": self.margin[i, j].mean(), "kl": self.kl[i, j].mean()}
        return {f"{prefix}{name}": float(mean) for name, mean in means.items()} | self.interval(
            i, j, groups, seed
        ).columns(f"{prefix}accuracy")


def held_factors(mask: ElementMask, delta: float) -> dict[Site, Tensor]:
    """Factors of what the published patch holds: at a gate itself, in every layer of the mask."""
    gains = FrozenSADI(mask, delta).gains()
    return {Site(site.layer, mask.kind): gain for site, gain in gains.items()}
