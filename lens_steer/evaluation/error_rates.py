"""What a judge's errors do to a rate that it counts, and the rate without them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Count, CountFromZero, Seed
from lens_steer.artifacts import savable
from lens_steer.intervals import Interval, Resampling, group_sums

_DRAWS = 4000


@savable
@dataclass(frozen=True)
class ErrorRates:
    """How often a judge was right about texts of which it is known what they are.

    Attributes:
        desired_right: Desired texts that it scored 1.
        desired: All desired texts.
        undesired_right: Undesired texts that it scored 0.
        undesired: All undesired texts.

    Example:
        >>> print(ErrorRates(80, 100, 90, 100))
        right about 80 of 100 desired, 90 of 100 undesired texts
    """

    desired_right: CountFromZero
    desired: Count
    undesired_right: CountFromZero
    undesired: Count

    def __post_init__(self) -> None:
        if self.desired_right > self.desired or self.undesired_right > self.undesired:
            raise ValueError(f"{self}: expected at most as many right as there are")

    def __str__(self) -> str:
        return (
            f"right about {self.desired_right} of {self.desired} desired, "
            f"{self.undesired_right} of {self.undesired} undesired texts"
        )

    @property
    def sensitivity(self) -> float:
        """The share of desired texts that score 1."""
        return self.desired_right / self.desired

    @property
    def specificity(self) -> float:
        """The share of undesired texts that score 0."""
        return self.undesired_right / self.undesired

    @property
    def accuracy(self) -> float:
        """The share of all these texts that it was right about."""
        right = self.desired_right + self.undesired_right
        return right / (self.desired + self.undesired)

    def corrected_rate(
        self, scores: Float[Tensor, " text"], groups: Sequence[Any] | None = None, *, seed: Seed
    ) -> Interval:
        """The share of texts that are desired, from the share that scored 1.

        That share counts some undesired texts and misses some desired ones: it is
        p sensitivity + (1 - p) (1 - specificity) of a true share p, which is solved for (Rogan and
        Gladen 1978). The result is not cut off at 0 and 1: outside, the texts are of another kind
        than those the errors were counted on, or it is chance. Only texts of one kind with those
        are corrected rightly.

        Args:
            scores: 1 or 0 for each text, none NaN.
            groups: One key for each text; whole groups are drawn again. None: each by itself.
            seed: Of the draws.

        Returns:
            The corrected share. Its 95 % interval holds three sources of chance: which groups there
            are (bootstrap), and which texts sensitivity and specificity were counted on (Beta
            distributions with Jeffreys' prior). Its ends are NaN where there is one group.

        Raises:
            ValueError: If sensitivity + specificity is at most 1: the judge is then no better than
                a coin, and nothing follows from its scores; or if there are no scores.

        Example:
            >>> ErrorRates(80, 100, 90, 100).corrected_rate(torch.tensor([1.0, 0.0]), seed=0).mean
            0.5714285714285714
        """
        informed = self.sensitivity + self.specificity - 1
        if informed <= 0:
            raise ValueError(
                f"sensitivity {self.sensitivity:.3g} and specificity {self.specificity:.3g} add up "
                "to at most 1, expected more: this judge is no better than chance, take another"
            )
        x = scores.double().cpu().numpy()
        if not len(x) or not np.isin(x, (0.0, 1.0)).all():
            raise ValueError(
                f"got {len(x)} scores, expected 1 or 0 for each text, and at least one text"
            )
        rate = float(x.mean())
        keys = list(range(len(x))) if groups is None else list(groups)
        if len(keys) != len(x):
            raise ValueError(f"got {len(keys)} groups for {len(x)} scores, expected one for each")
        corrected = (rate + self.specificity - 1) / informed
        if len(set(keys)) < 2:
            return Interval(corrected, float("nan"), float("nan"))
        source = np.random.default_rng(seed)
        hit = _beta(source, self.desired_right, self.desired)
        passed = _beta(source, self.undesired_right, self.undesired)
        gains = hit + passed - 1
        drawn = (_rates(x, keys, source) + passed - 1)[gains > 0] / gains[gains > 0]
        low, high = np.quantile(drawn, [0.025, 0.975])
        return Interval(corrected, float(low), float(high))


def _beta(source: np.random.Generator, right: float | int, n: int) -> Any:
    return source.beta(right + 0.5, n - right + 0.5, size=_DRAWS)


def _rates(x: Any, keys: Sequence[Any], source: np.random.Generator) -> Any:
    """Means of groups drawn again; of a Beta distribution where they are all 0, or all 1."""
    n = len(set(keys))
    if x.min() == x.max():
        return _beta(source, float(x[0]) * n, n)
    sums, counts = group_sums(x, np.ones_like(x), keys)
    again = Resampling.of(sums.shape, seed=int(source.integers(2**31)), resamples=_DRAWS)
    rates = again.sums(sums) / again.sums(counts)
    # Drawing n units again spreads by (n - 1) / n too little.
    return x.mean() + (rates - x.mean()) * np.sqrt(n / (n - 1))
