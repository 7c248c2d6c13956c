"""How methods are compared: which texts are sampled, and at which strengths."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from lens_steer.steering import Decoding, Scope, check_scope

SHARES = (0.4, 0.25, 0.35)  # of the pairs: train, dev, test
KL = 0.1  # nats per token to which methods are calibrated where nothing else is asked for


@dataclass(frozen=True)
class ComparisonConfig:
    """How texts are written and methods are varied, the same for all that are compared.

    Attributes:
        seed: The seed of the texts, the random directions and the intervals.
        seeds: How often every prompt is continued: with `seed`, `seed + 1`, and so on.
        temperature: The temperature of the texts and of the distributions whose divergence is
            taken; not 0.
        max_new_tokens: The length of every text, in tokens.
        scope: Where methods steer, see `steered`.
        multiples: Multiples of each method's own strength, in rising order; 1 is the method as
            given and is always tried.
        randoms: The number of random directions, each a fit of the method `random`.
        best_of: The number of texts of which the best is taken.
        budgets: Nats per token at which behaviour is read off, in rising order; the area under the
            frontier goes up to the largest.
        stop: A text ends before the first of these strings.

    Example:
        >>> config = ls.benchmark.ComparisonConfig(seeds=3, max_new_tokens=60, budgets=(0.05, 0.1))
        >>> ls.comparison(model, test, methods, config=config)
    """

    seed: int = 0
    seeds: int = 1
    temperature: float | int = 1.0
    max_new_tokens: int = 40
    scope: Scope = "last"
    multiples: tuple[float | int, ...] = (0.25, 0.5, 0.75, 1, 1.4, 2)
    randoms: int = 3
    best_of: int = 4
    budgets: tuple[float | int, ...] = (0.03, 0.1, 0.3)
    stop: Sequence[str] = ()

    def __post_init__(self) -> None:
        how = Decoding(self.temperature, seed=self.seed, stop=self.stop)
        object.__setattr__(self, "stop", how.stop)
        check_scope(self.scope)
        if self.temperature == 0:
            raise ValueError("temperature 0: greedy texts have no finite divergence to compare at")
        for name, least in (("seeds", 1), ("max_new_tokens", 1), ("randoms", 1), ("best_of", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} {getattr(self, name)}: expected at least {least}")
        for name in ("multiples", "budgets"):
            values = tuple(map(float, getattr(self, name)))
            if (
                not values
                or list(values) != sorted(set(values))
                or not values[0] > 0
                or not isfinite(values[-1])
            ):
                raise ValueError(f"{name} {values}: expected positive numbers in rising order")
            object.__setattr__(self, name, values)
        object.__setattr__(self, "multiples", tuple(sorted({*self.multiples, 1.0})))

    @property
    def sampling(self) -> dict[str, Any]:
        """How texts are sampled, steered or not: keywords of `generate`, but for the seed."""
        options = {"temperature": self.temperature, "max_new_tokens": self.max_new_tokens}
        return options | ({"stop": self.stop} if self.stop else {})

    @property
    def decoding(self) -> dict[str, Any]:
        """How steered texts are written: keywords of `evaluate`, the first seed included."""
        return {"seed": self.seed, "scope": self.scope, **self.sampling}
