"""The strength that derivatives are taken with: at it the cost of a method is a parabola."""

import lens_steer as ls
from lens_steer.evaluation import FixedTexts
from lens_steer.steering import Intervention

SMALL = 1e-4  # nats per token
_TRIES = 12
_AGREE = 0.1  # of what it costs, and four times what half of it does


def small_strength(
    model: ls.SteerableModel, method: Intervention, texts: FixedTexts
) -> float | None:
    """A strength that costs about `SMALL` nats per token; None where costs there are no parabola.

    It is far below those of `LocalNats`, at which the best vectors are no longer parabolas.
    """

    def cost(strength: float) -> float:
        return texts.kl(model, [(method.with_strength(strength),)])[0]

    strength = method.strength / 30
    for _ in range(_TRIES):
        nats = cost(strength)
        if SMALL / 2 < nats < SMALL * 2:
            break
        if not nats > 0:
            return None
        strength *= min(10.0, max(0.1, (SMALL / nats) ** 0.5))
    ratio = cost(strength) / cost(strength / 2)
    return strength if abs(ratio / 4 - 1) < _AGREE else None
