"""d' of two classes along a direction, and how large it and the area under ROC are by chance.

d' is the difference of the means over the root mean square of the two standard deviations: it goes
on growing where the area under ROC has reached 1. Chance is what the same scores give when the
classes of the held-out examples are swapped by groups, the direction kept. The largest over the
layers is taken, so that the band holds for all of them together (Westfall and Young 1993).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.artifacts import savable

_SWAPS, _LEVEL = 500, 0.95


@savable
@dataclass(frozen=True, eq=False)
class ClassDistance:
    """How far apart held-out classes are in standard deviations, by layer, beside chance.

    Attributes:
        d_prime: (mean of desired - mean of undesired) / rms of their standard deviations; 0 is no
            difference.
        low: Lower end of its 95 % bootstrap interval.
        high: Upper end.
        chance_d_prime: 95 % point, over swaps of the classes, of the largest |d'| of any layer.
        chance_auc: The same of |area under ROC - 0.5|.
    """

    d_prime: Float[Tensor, " layer"]
    low: Float[Tensor, " layer"]
    high: Float[Tensor, " layer"]
    chance_d_prime: float
    chance_auc: float

    def __repr__(self) -> str:
        most, chance = float(self.d_prime.max()), self.chance_d_prime
        return f"ClassDistance({len(self.d_prime)} layers, d' to {most:.3g}, chance {chance:.3g})"

    @classmethod
    def of(
        cls,
        scores: Float[Tensor, "example layer"],
        desired: Bool[Tensor, " example"],
        groups: Sequence[Hashable],
        resampled: Sequence[Float[Tensor, " example"]],
        draw: np.random.Generator,
    ) -> "ClassDistance":
        """The distance of scores.

        Args:
            scores: Of each held-out example along the direction of each layer.
            desired: Its class.
            groups: Examples whose classes are swapped together.
            resampled: How often each bootstrap resample has each example.
            draw: What swaps are drawn with.
        """
        once = torch.ones(1, len(scores)).double()
        whole = d_prime(scores, desired[None], once)[0]
        drawn = d_prime(scores, desired[None], torch.stack([*resampled]).double())
        low, high = drawn.nanquantile(torch.tensor([0.025, 0.975]).double(), dim=0)
        swapped = swaps(desired, groups, draw)
        largest = (
            d_prime(scores, swapped, once).abs().amax(dim=1).nanquantile(_LEVEL),
            (areas(scores, swapped) - 0.5).abs().amax(dim=1).quantile(_LEVEL),
        )
        return cls(whole.float(), low.float(), high.float(), *map(float, largest))


def d_prime(
    scores: Float[Tensor, "example layer"],
    desired: Bool[Tensor, "#draw example"],
    weights: Float[Tensor, "#draw example"],
) -> Float[Tensor, "draw layer"]:
    """d' of every draw of classes, or of weights; NaN where neither class varies.

    Args:
        scores: Of each example at each layer.
        desired: The class of each example.
        weights: How often each example is there.
    """
    x = scores.double() - scores.double().mean(dim=0)  # for the precision of the squares
    moments = []
    for side in (desired, ~desired):
        share = weights * side
        share = share / share.sum(dim=1, keepdim=True)
        mean = share @ x
        moments.append((mean, share @ x.square() - mean.square()))
    (up, up_variance), (down, down_variance) = moments
    return (up - down) / ((up_variance + down_variance) / 2).clamp_min(0).sqrt()


def areas(
    scores: Float[Tensor, "example layer"], desired: Bool[Tensor, "draw example"]
) -> Float[Tensor, "draw layer"]:
    """The area under ROC of every draw of classes, from the ranks (Mann and Whitney 1947)."""
    from scipy.stats import rankdata  # takes long to import

    ranks = torch.from_numpy(rankdata(scores.numpy(), axis=0)).double()
    n = desired.double().sum(dim=1, keepdim=True)
    m = desired.shape[1] - n
    return (desired.double() @ ranks - n * (n + 1) / 2) / (n * m)


def swaps(
    desired: Bool[Tensor, " example"], groups: Sequence[Hashable], draw: np.random.Generator
) -> Bool[Tensor, "draw example"]:
    """Classes that are swapped at random.

    In a group of both classes, as a pair is, they are exchanged or not; groups of a single class
    are given the classes of one another. Draws without one of the classes are drawn again.

    Args:
        desired: The class of each example.
        groups: The group of each example.
        draw: What swaps are drawn with.
    """
    number = {key: i for i, key in enumerate(dict.fromkeys(groups))}
    group, own = np.array([number[key] for key in groups]), desired.numpy()
    count = len(number)
    ups, sizes = np.bincount(group, own, count), np.bincount(group, minlength=count)
    single = np.flatnonzero((ups == 0) | (ups == sizes))
    drawn: list[np.ndarray] = []
    while len(drawn) < _SWAPS:
        flip = draw.integers(2, size=count).astype(bool)
        flip[single] = (ups[single] > 0) ^ (ups[draw.permutation(single)] > 0)
        classes = own ^ flip[group]
        if 0 < classes.sum() < len(classes):
            drawn.append(classes)
    return torch.from_numpy(np.array(drawn))
