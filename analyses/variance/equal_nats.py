"""The strengths at which many methods cost the same along the same texts, searched together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import copysign, inf, isfinite, sqrt

import lens_steer as ls
from lens_steer.evaluation import FixedTexts
from lens_steer.steering import Intervention

CLOSE = 0.03  # of the cost asked for: where the search ends
_PASSES = 24
_STEP = 10.0  # between one strength and the next while the cost has not been met, at most
_INSIDE = 0.15  # of the distance of the two strengths between which the next one is tried
_FINEST = 1e-4  # of the strength: where costs on both sides of it differ, the curve jumps


def at_cost(
    model: ls.SteerableModel, methods: Sequence[Intervention], texts: FixedTexts, nats: float
) -> list[Intervention | str]:
    """Every method at a strength at which it costs so many nats per token, within 3 percent.

    All are tried in the same passes. Strengths go up from the method's own, or down if that costs
    more; where a curve is not monotone it is not said which of its crossings is found.

    Args:
        model: The model.
        methods: Of any kind, at any strength but 0.
        texts: Unsteered texts, and where methods steer.
        nats: KL of steered from unsteered, per token.

    Returns:
        One for each method; where no strength was found, why.
    """
    searches = [_Search(method, nats) for method in methods]
    for _ in range(_PASSES):
        open_ones = [search for search in searches if search.open]
        if not open_ones:
            break
        tried = [(search.method.with_strength(search.next),) for search in open_ones]
        for search, kl in zip(open_ones, texts.kl(model, tried), strict=True):
            search.add(kl)
    return [search.result() for search in searches]


@dataclass
class _Search:
    """Between a strength that costs too little and one that costs too much."""

    method: Intervention
    nats: float
    below: tuple[float, float] = (0.0, 0.0)  # strength and cost
    above: tuple[float, float] | None = None
    found: float | None = None
    failure: str = ""
    next: float = field(init=False)

    def __post_init__(self) -> None:
        self.end = copysign(self.method.max_useful_strength, self.method.strength)
        self.next = copysign(min(abs(self.method.strength), abs(self.end)), self.method.strength)

    @property
    def open(self) -> bool:
        """Whether more is to be tried."""
        return self.found is None and not self.failure

    def add(self, kl: float) -> None:
        """Take the cost at `next`, and say what is tried then."""
        at = self.next
        if abs(kl / self.nats - 1) <= CLOSE:
            self.found = at
        elif kl < self.nats:
            self.below = (at, kl)
            if at == self.end:
                self.failure = f"costs {kl:.3g} nats per token at its largest strength {at:.3g}"
        else:
            self.above = (at, kl if isfinite(kl) else inf)  # NaN too: it breaks the model
        if not self.open:
            return
        (low, cost), high = self.below, self.above
        if high is None:
            factor = sqrt(self.nats / cost) if cost > 0 else _STEP
            further = abs(at) * min(_STEP, max(1.2, factor))
            self.next = copysign(min(further, abs(self.end)), self.method.strength)
            return
        if abs(high[0] - low) <= _FINEST * abs(high[0]):
            self.failure = (
                f"costs jump from {cost:.3g} to {high[1]:.3g} nats per token at {low:.3g}"
            )
        # A cost is about a parabola in the strength: straight in its root.
        share = (sqrt(self.nats) - sqrt(cost)) / (sqrt(high[1]) - sqrt(cost))
        self.next = low + (high[0] - low) * min(1 - _INSIDE, max(_INSIDE, share))

    def result(self) -> Intervention | str:
        """The method at the strength that was found, or why there is none."""
        if self.found is not None:
            return self.method.with_strength(self.found)
        return self.failure or (
            f"no strength that costs {self.nats:g} nats per token was found in {_PASSES} passes: "
            f"the last one tried was {self.next:.3g}"
        )
