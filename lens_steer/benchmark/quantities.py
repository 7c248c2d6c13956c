"""What is measured of one method at one strength, as a function of sums over its cells."""

from collections.abc import Callable
from typing import Any

import numpy as np

from lens_steer.benchmark.cells import GroupedSums
from lens_steer.benchmark.statistics import share_interval, statistic_interval
from lens_steer.evaluation import efficiencies
from lens_steer.intervals import Interval


def quantity(name: str, here: GroupedSums, plain: GroupedSums, *, seed: int) -> Interval:
    """One of `QUANTITIES` of a method, with its interval.

    Args:
        plain: The unsteered model's cells.
    """
    statistic, of = QUANTITIES[name]
    sums = [plain.sums[n[6:]] if n.startswith("plain_") else here.sums[n] for n in of]
    interval = share_interval if name in _SHARES else statistic_interval
    return interval(statistic, sums, seed=seed)


def _ratio(above: Any, below: Any) -> Any:
    return above / below


def _exp_ratio(above: Any, below: Any) -> Any:
    with np.errstate(over="ignore", invalid="ignore"):  # not a number where every text is empty
        return np.exp(np.divide(above, below))


def _efficiency(shown: Any, n: Any, plain: Any, m: Any, nats: Any, texts: Any) -> Any:
    return efficiencies(np.divide(shown, n), np.divide(plain, m), np.divide(nats, texts))


_SHARES = ("behaviour", "failed")
# name -> function of sums over cells, and whose; `plain_` are the unsteered model's.
QUANTITIES: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "behaviour": (_ratio, ("behaviour", "examples")),
    "kl": (_ratio, ("kl", "draws")),
    "kl_sequence": (_ratio, ("kl", "texts")),
    "kl_fixed": (_ratio, ("kl_fixed", "fixed_draws")),
    "efficiency": (
        _efficiency,
        ("behaviour", "examples", "plain_behaviour", "plain_examples", "kl", "texts"),
    ),
    "perplexity": (_exp_ratio, ("surprise", "tokens")),
    "relative_norm": (_ratio, ("relative", "positions")),
    "mahalanobis": (_ratio, ("mahalanobis", "positions")),
    "failed": (_ratio, ("failed", "texts")),
}
