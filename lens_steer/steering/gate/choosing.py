"""A threshold on scores that tells two classes apart best."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Cut:
    """Which scores are of the class to be steered.

    Attributes:
        threshold: Half-way between two neighbouring scores.
        above: Whether those at least as high are, and not those below.
        f1: Of the class to be steered, on the scores it was chosen on; 1 is no error.
        balanced_accuracy: Mean of the shares of either class that are told rightly; 0.5 is chance.
    """

    threshold: float
    above: bool
    f1: float
    balanced_accuracy: float


def best_cut(up: Float[Tensor, " desired"], down: Float[Tensor, " undesired"]) -> Cut:
    """Of all thresholds between neighbouring scores, either way round, the one of highest F1.

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
    found: list[tuple[float, float, float, float, bool]] = []
    for above in (True, False):
        right = len(up) - low if above else low
        wrong = len(down) - false_low if above else false_low
        f1 = 2 * right / (right + wrong + len(up))
        balanced = (right / len(up) + 1 - wrong / len(down)) / 2
        columns = (each.tolist() for each in (f1, balanced, gaps, cuts))
        found += [(*row, above) for row in zip(*columns, strict=True)]
    f1, balanced, _, threshold, above = max(found)
    return Cut(threshold, above, f1, balanced)
