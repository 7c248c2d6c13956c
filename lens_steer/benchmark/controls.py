"""Random controls of a comparison: directions that cost what the method does that they stand by."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import inf

from lens_steer.arguments import CountFromZero, Seed
from lens_steer.benchmark.config import RANDOMS
from lens_steer.evaluation import FixedTexts, random_as_activations_vary, random_like
from lens_steer.models import SteerableModel
from lens_steer.steering import Intervention, Random

_DRAWN_BY: dict[str, Callable[..., list[Random]]] = dict(
    zip(RANDOMS, (random_like, random_as_activations_vary), strict=True)
)
_LEAST = 1e-6  # nats per token: what costs less does nothing but for rounding


@dataclass(frozen=True, eq=False)
class RandomControls:
    """Directions in the layers of a method, each at the strength of the method's nats.

    Where the method costs nothing, or breaks the model, there are no nats to match: directions are
    then as large as its edits.

    Attributes:
        model: The model that is steered.
        method: What the directions are compared with.
        texts: Unsteered texts, along which costs are measured.
        seed: Of the first direction; the next ones have the next seeds.
    """

    model: SteerableModel
    method: Intervention
    texts: FixedTexts
    seed: Seed
    _drawn: dict[tuple[str, int], Random] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def kl(self) -> float:
        """Nats per token of the method along the texts; NaN if it breaks the model."""
        return self.texts.kl(self.model, [(self.method,)])[0]

    def direction(self, name: str, number: CountFromZero) -> Random:
        """A direction of the kind of that name in `RANDOMS`, drawn and calibrated once.

        Raises:
            OutOfReach: If no strength of the direction costs so much.
            ValueError: As `random_like`.
        """
        if (name, number) not in self._drawn:
            kl = self.kl if _LEAST < self.kl < inf else None
            seeds = [self.seed + number]
            [drawn] = _DRAWN_BY[name](self.model, self.method, self.texts, seeds=seeds, kl=kl)
            self._drawn[name, number] = drawn
        return self._drawn[name, number]
