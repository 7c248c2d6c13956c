"""Derivatives at strength 0 of what a method does and of what it costs, through its real hooks.

Both are central differences: of the margin of each pair between +h and -h, whose error is of second
order in h, and of the KL of each text, (KL(h) + KL(-h)) / h^2. h is the strength at which the
method costs `STEP` nats per token, by its local nats.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FixedTexts, LocalNats, NotLocal
from lens_steer.forecasting.pair_margins import margins
from lens_steer.models import SteerableModel
from lens_steer.steering import Intervention, Scope

STEP = 0.001  # nats per token: large beside float32's rounding, small enough to be local


@dataclass(frozen=True, eq=False)
class Derivatives:
    """What `forecast` is made of: of every method that has derivatives, and why others have none.

    Attributes:
        names: The methods that have them.
        slopes: Of each margin: nats per unit of strength.
        curvatures: c of each text in KL(s) = c s^2 / 2: nats per token and squared strength.
        margins: Unsteered, in nats.
        left_out: The other methods, with the reason.
    """

    names: tuple[str, ...]
    slopes: Float[Tensor, "method pair"]
    curvatures: Float[Tensor, "method text"]
    margins: Float[Tensor, " pair"]
    left_out: dict[str, str]

    @classmethod
    def measure(
        cls,
        model: SteerableModel,
        pairs: ContrastivePairs,
        methods: Mapping[str, Intervention],
        texts: FixedTexts,
        *,
        scope: Scope,
        progress: bool,
    ) -> "Derivatives":
        """Differentiate every method: two settings of the pairs and about four of the texts each.

        Raises:
            ValueError: If a method does not fit the model, or the pairs are unpaired.
        """
        local = LocalNats.along_each(model, list(methods.values()), texts)
        found = dict(zip(methods, local, strict=True))
        left_out = {name: str(each) for name, each in found.items() if isinstance(each, NotLocal)}
        steps = {
            name: each.strength_at(STEP)
            for name, each in found.items()
            if not isinstance(each, NotLocal)
        }
        small = [
            methods[name].with_strength(sign * h) for name, h in steps.items() for sign in _SIGNS
        ]
        of_pairs = margins(model, pairs, small, scope=scope, progress=progress)
        of_texts = texts.nats(model, [(method,) for method in small])
        h = torch.tensor(list(steps.values())).double()[:, None]
        up, down = of_pairs[1::2], of_pairs[2::2]
        slopes = (up - down) / (2 * h)
        curvatures = (of_texts[::2] + of_texts[1::2]) / h**2 / texts.draws
        return cls(*_finite(list(steps), slopes, curvatures, of_pairs[0], left_out))


_SIGNS = (1, -1)


def _finite(
    names: Sequence[str],
    slopes: Float[Tensor, "method pair"],
    curvatures: Float[Tensor, "method text"],
    clean: Float[Tensor, " pair"],
    left_out: Mapping[str, str],
) -> tuple[tuple[str, ...], Tensor, Tensor, Tensor, dict[str, str]]:
    """Without methods that break the model on either side of 0."""
    whole = slopes.isfinite().all(dim=1) & curvatures.isfinite().all(dim=1)
    broken = "logits are NaN or infinite at a small strength of one sign"
    reasons = {name: broken for name, ok in zip(names, whole.tolist(), strict=True) if not ok}
    kept = tuple(name for name in names if name not in reasons)
    return kept, slopes[whole], curvatures[whole], clean, {**left_out, **reasons}
