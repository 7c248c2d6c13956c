"""How far apart the two classes are, layer by layer: held-out pairs along the mean difference.

The score of an activation is its projection on mean(desired) - mean(undesired) of the *training*
pairs; the area under the ROC curve is the chance that a held-out desired example scores above an
undesired one. Chance is 0.5; the control fits the direction to classes swapped at random, which
any direction of either sign passes or fails by: `class_distance` has chance for this direction.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.activations.class_distance import ClassDistance
from lens_steer.activations.separability_drawing import draw_separability
from lens_steer.activations.types import Activations
from lens_steer.arguments import Count, Seed
from lens_steer.artifacts import savable
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_Weights = tuple[Float[Tensor, " n"], Float[Tensor, " m"]]  # of the desired and the undesired


@savable
@dataclass(frozen=True, eq=False, repr=False)
class SeparabilityReport(Report):
    """Held-out area under the ROC curve by layer, with 95 % intervals.

    Attributes:
        labels: `embedding`, then block indices.
        auc: Area under the curve of the held-out examples; 0.5 is chance.
        low: Lower end of the bootstrap interval over groups, or examples (pairs, where paired).
        high: Upper end of that interval.
        control_low: 2.5 % point of directions fitted to classes swapped at random (within pairs).
        control_high: Their 97.5 % point.
        held_out: Numbers of held-out desired and undesired examples.
        seed: Of the bootstrap and the shuffles.
        distance: d' by layer, which goes on growing where the area is 1, and what is by chance with
            this direction; None in reports that were saved before it was there.
    """

    labels: tuple[str, ...]
    auc: Float[Tensor, " layer"]
    low: Float[Tensor, " layer"]
    high: Float[Tensor, " layer"]
    control_low: Float[Tensor, " layer"]
    control_high: Float[Tensor, " layer"]
    held_out: tuple[int, int]
    seed: int
    distance: ClassDistance | None = field(default=None, metadata={"saved_if_set": True})

    @classmethod
    def fit(
        cls,
        train: Activations,
        held_out: Activations,
        *,
        seed: Seed,
        resamples: Count = 500,
        groups: Sequence[Hashable] | None = None,
    ) -> "SeparabilityReport":
        """The report of activations of one kind and the same layers.

        Args:
            train: Activations whose mean difference is the direction.
            held_out: Activations that are scored along it, of other pairs.
            seed: Of the bootstrap and the shuffles.
            resamples: Bootstrap resamples.
            groups: A key for each held-out example, the desired first (`pairs.example_groups`):
                examples of one prompt or name are drawn together. None draws pairs, or examples
                where there are none.

        Raises:
            ValueError: If the two were captured at different kinds or layers, half of the held-out
                examples are among the training ones, or there is not a group for each.

        Example:
            >>> train, test = pairs.split(0.6, 0.4, seed=0)
            >>> activations = [ls.capture(model, part, "resid") for part in (train, test)]
            >>> ls.activations.SeparabilityReport.fit(*activations, seed=0).figure()
        """
        forms = [(a.kind, a.layers, a.embedded_desired is None) for a in (train, held_out)]
        if forms[0] != forms[1]:
            raise ValueError(
                f"got {train!r} to fit on and {held_out!r} to test on: capture both in the same way"
            )
        draw = np.random.default_rng(seed)
        fit_on, test_on = _stacked(train), _stacked(held_out)
        _check_held_out(test_on, fit_on)
        weights = _weights(held_out, groups)
        scores = _scores(test_on, fit_on[0].mean(dim=0) - fit_on[1].mean(dim=0))
        above = _above(*scores)
        drawn = [weights(draw) for _ in range(resamples)]
        resampled = [_auc(above, *weight) for weight in drawn]
        directions = (_shuffled(draw, fit_on, train.paired) for _ in range(100))
        shuffled = [_auc(_above(*_scores(test_on, along))) for along in directions]
        low, high = torch.stack(resampled).quantile(torch.tensor([0.025, 0.975]), dim=0)
        control = torch.stack(shuffled).quantile(torch.tensor([0.025, 0.975]), dim=0)
        embedding = ("embedding",) if train.embedded_desired is not None else ()
        labels = (*embedding, *map(str, train.layers))
        sizes = (len(held_out.desired), len(held_out.undesired))
        is_desired = torch.arange(sum(sizes)) < sizes[0]
        pairs = (*range(sizes[0]), *(range(sizes[0]) if held_out.paired else range(-sizes[1], 0)))
        joined = [torch.cat(weight) for weight in drawn]
        apart = ClassDistance.of(torch.cat(scores), is_desired, groups or pairs, joined, draw)
        return cls(labels, _auc(above), low, high, control[0], control[1], sizes, seed, apart)

    def table(self) -> "pd.DataFrame":
        """One row per layer."""
        import pandas as pd

        columns = ("auc", "low", "high", "control_low", "control_high")
        table: dict[str, Any] = {c: getattr(self, c).numpy() for c in columns}
        if self.distance is not None:
            ends = {"": "d_prime", "_low": "low", "_high": "high"}
            table |= {f"d_prime{e}": getattr(self.distance, c).numpy() for e, c in ends.items()}
            for name in ("chance_auc", "chance_d_prime"):
                table[name] = getattr(self.distance, name)
        return pd.DataFrame({"layer": self.labels} | table)

    def figure(self) -> "Figure":
        """Area under the curve against the layer; below, d'. Grey: by chance at any layer."""
        return draw_separability(self)


def _stacked(a: Activations) -> tuple[Float[Tensor, "n layer d"], Float[Tensor, "m layer d"]]:
    """Both classes as one vector for each layer, the embedding first where it is known."""
    sides = []
    for side, embedded in ((a.desired, a.embedded_desired), (a.undesired, a.embedded_undesired)):
        flat = side.flatten(2)
        sides.append(flat if embedded is None else torch.cat([embedded[:, None], flat], dim=1))
    return sides[0], sides[1]


def _scores(
    sides: tuple[Float[Tensor, "n layer d"], Float[Tensor, "m layer d"]],
    along: Float[Tensor, "layer d"],
) -> tuple[Float[Tensor, "n layer"], Float[Tensor, "m layer"]]:
    return (sides[0] * along).sum(dim=-1), (sides[1] * along).sum(dim=-1)


def _above(
    desired: Float[Tensor, "n layer"], undesired: Float[Tensor, "m layer"]
) -> Float[Tensor, "n m layer"]:
    """1 where the desired example scores above the undesired, 0 where below, 0.5 at a tie."""
    gap = desired[:, None] - undesired[None]
    return (gap.sign() + 1) / 2


def _auc(
    above: Float[Tensor, "n m layer"],
    desired: Float[Tensor, " n"] | None = None,
    undesired: Float[Tensor, " m"] | None = None,
) -> Float[Tensor, " layer"]:
    if desired is None or undesired is None:
        return above.mean(dim=(0, 1))
    total = torch.einsum("nml,n,m->l", above, desired, undesired)
    return total / (desired.sum() * undesired.sum())


def _check_held_out(held_out: tuple[Tensor, Tensor], train: tuple[Tensor, Tensor]) -> None:
    """Raise a ValueError if half of the examples are among the training ones."""
    seen = {row.numpy().tobytes() for side in train for row in side}
    copies = [row.numpy().tobytes() in seen for side in held_out for row in side]
    if 2 * sum(copies) >= len(copies):
        raise ValueError(
            f"{sum(copies)} of {len(copies)} held-out examples are among those that the direction "
            "is fitted on, which any direction separates: capture other pairs, as pairs.split makes"
        )


def _weights(
    a: Activations, groups: Sequence[Hashable] | None
) -> Callable[[np.random.Generator], _Weights]:
    """Draws how often a bootstrap resample has each example."""
    n, m = len(a.desired), len(a.undesired)
    if groups is None:
        return partial(_of_sides, n, m, a.paired)
    if len(groups) != n + m:
        raise ValueError(
            f"got {len(groups)} groups for {n} desired and {m} undesired examples: expected one "
            "for each, the desired first, as pairs.example_groups has them"
        )
    number = {key: i for i, key in enumerate(dict.fromkeys(groups))}
    return partial(_of_groups, np.array([number[key] for key in groups]), n)


def _of_sides(n: int, m: int, paired: bool, draw: np.random.Generator) -> _Weights:
    """The sides of a pair go together."""
    first = np.bincount(draw.integers(n, size=n), minlength=n)
    second = first if paired else np.bincount(draw.integers(m, size=m), minlength=m)
    return torch.from_numpy(first).float(), torch.from_numpy(second).float()


def _of_groups(group: Int[np.ndarray, " example"], n: int, draw: np.random.Generator) -> _Weights:
    """Groups go together; they are drawn again until both classes are there."""
    count = int(group.max()) + 1
    while True:
        drawn = np.bincount(draw.integers(count, size=count), minlength=count)[group]
        if drawn[:n].any() and drawn[n:].any():
            return torch.from_numpy(drawn[:n]).float(), torch.from_numpy(drawn[n:]).float()


def _shuffled(
    draw: np.random.Generator,
    sides: tuple[Float[Tensor, "n layer d"], Float[Tensor, "m layer d"]],
    paired: bool,
) -> Float[Tensor, "layer d"]:
    """The mean difference of classes that are swapped at random."""
    n = len(sides[0])
    if paired:  # swap the classes of a random half of the pairs
        signs = torch.from_numpy(draw.choice([-1.0, 1.0], size=n)).float()
        return torch.einsum("n,nld->ld", signs, sides[0] - sides[1]) / n
    pool = torch.cat(sides)
    order = torch.from_numpy(draw.permutation(len(pool)))
    return pool[order[:n]].mean(dim=0) - pool[order[n:]].mean(dim=0)
