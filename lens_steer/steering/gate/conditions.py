"""Conditions: scores of a prompt's activation, and the threshold on them that is best."""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.artifacts import savable
from lens_steer.barriers import Barrier
from lens_steer.models import Provenance

Vectors = Float[Tensor, "... d"]
Scores = Float[Tensor, "..."]


@runtime_checkable
class Condition(Protocol):
    """What a `Gate` asks of a prompt's activation."""

    @property
    def width(self) -> int:
        """Entries of an activation."""
        ...

    def score(self, x: Vectors) -> Scores:
        """One number for each activation."""
        ...


@savable
@dataclass(frozen=True, eq=False, repr=False)
class CosineCondition:
    """cos(x, tanh(proj_c x)): how far x lies along the condition direction c, either way.

    proj_c x = (c . x) c / |c|^2, and tanh is of every entry; the length and the sign of c do not
    matter. In [-1, 1]; 0 where x has nothing along c. (arXiv:2409.05907)

    Attributes:
        direction: c.
    """

    direction: Float[Tensor, " d"]

    def __post_init__(self) -> None:
        if not bool(self.direction.isfinite().all()) or not bool(self.direction.any()):
            raise ValueError("the condition direction is 0 or not finite: it shows no way")

    def __repr__(self) -> str:
        return f"CosineCondition(d = {self.width})"

    @property
    def width(self) -> int:
        """Entries of an activation."""
        return len(self.direction)

    def score(self, x: Vectors) -> Scores:
        """The cosine of each activation; half precision is computed in float32."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        unit = self.direction.to(x)
        unit = unit / unit.norm()
        image = torch.tanh((x @ unit)[..., None] * unit)
        sizes = x.norm(dim=-1) * image.norm(dim=-1)
        return torch.where(sizes > 0, (x * image).sum(dim=-1) / sizes, 0.0)


@savable
@dataclass(frozen=True, eq=False, repr=False)
class BarrierCondition:
    """h(x) of a barrier, in nats: the threshold is its margin.

    Attributes:
        barrier: Of the activations that the gate reads, such as a `LinearBarrier`.
    """

    barrier: Barrier

    def __repr__(self) -> str:
        return f"BarrierCondition({self.barrier!r})"

    @property
    def provenance(self) -> Provenance | None:
        """The barrier's: a `Gate` refuses another model."""
        return self.barrier.provenance

    def without_provenance(self) -> "BarrierCondition":
        """The same condition without the record of its model, to be used on another one."""
        return BarrierCondition(replace(self.barrier, provenance=None))

    @property
    def width(self) -> int:
        """Entries of an activation."""
        return self.barrier.width

    def score(self, x: Vectors) -> Scores:
        """The barrier h of each activation, in nats."""
        return self.barrier.h(x)


@dataclass(frozen=True)
class Cut:
    """A threshold on scores: which of them are of the class to be steered.

    Attributes:
        threshold: Half-way between two neighbouring scores.
        above: Whether those at least as high are, and not those below.
        f1: Of the class to be steered, on the scores it was chosen on; 1 is no error.
        balanced_accuracy: Mean over the classes of the share that is told rightly; 0.5 is chance.
    """

    threshold: float
    above: bool
    f1: float
    balanced_accuracy: float


def best_cut(up: Float[Tensor, " desired"], down: Float[Tensor, " undesired"]) -> Cut:
    """Choose, of all thresholds between neighbouring scores, either way round, that of highest F1.

    Equal ones are told apart by balanced accuracy, then by the distance of the two neighbours.

    Raises:
        ValueError: If a score is not finite, or all are one number.
    """
    up, down = up.double().sort().values, down.double().sort().values
    seen = torch.cat([up, down]).unique()
    if not bool(seen.isfinite().all()):
        raise ValueError("a score of the condition is not finite")
    if len(seen) < 2:
        raise ValueError("all prompts have one score: this condition does not tell them apart")
    gaps = seen.diff()
    cuts = seen[:-1] + gaps / 2
    low, false_low = torch.searchsorted(up, cuts), torch.searchsorted(down, cuts)
    candidates: list[tuple[float, float, float, float, bool]] = []
    for above in (True, False):
        right = len(up) - low if above else low
        wrong = len(down) - false_low if above else false_low
        f1 = 2 * right / (right + wrong + len(up))
        balanced = (right / len(up) + 1 - wrong / len(down)) / 2
        columns = (numbers.tolist() for numbers in (f1, balanced, gaps, cuts))
        candidates += [(*row, above) for row in zip(*columns, strict=True)]
    f1, balanced, _, threshold, above = max(candidates)
    return Cut(threshold, above, f1, balanced)
