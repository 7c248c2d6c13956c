"""From texts to the numbers of prompts: shares, nats, derivatives; and intervals over groups."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import xlogy
from scipy.stats import binom

from analyses.where_nats_go.parts import Local, Parts, Prompts
from lens_steer.evaluation import least_nats
from lens_steer.intervals import Interval, Resampling

Array = np.ndarray
Texts = Float[Array, "prompt text"]
_STEP = 1e-3  # of a group's weight


@dataclass(frozen=True, eq=False)
class Measured:
    """Texts of one method, several of every prompt.

    Attributes:
        shows: Whether the judge says that they show the behaviour.
        well_formed: Whether they are of the grammar.
        nats: Sum over tokens of KL(steered || unsteered) of the next one.
        first: The first term of that sum.
        log_ratio: log q / p of the text itself, whose mean over all texts is that of `nats`.
        draws: Tokens drawn.
    """

    shows: Bool[Array, "prompt text"]
    well_formed: Bool[Array, "prompt text"]
    nats: Texts
    first: Texts
    log_ratio: Texts
    draws: Texts

    def prompts(
        self,
        unsteered: Bool[Array, "prompt text_of_model"],
        local: Local | None = None,
        best: Local | None = None,
    ) -> Prompts:
        """The numbers of each prompt.

        Args:
            unsteered: Whether texts of the model show the behaviour, drawn by themselves.
            local: As `Prompts`.
            best: As `Prompts`.
        """
        n, m = self.shows.shape[1], unsteered.shape[1]
        r, p = shares(self.shows.sum(axis=1), n), shares(unsteered.sum(axis=1), m)
        bit = np.where(self.shows, np.log(r / p)[:, None], np.log((1 - r) / (1 - p))[:, None])
        beyond = np.where(self.well_formed, 0.0, self.log_ratio - bit)
        return Prompts(
            unsteered=p,
            steered=r,
            judged=judged_nats(self.shows.sum(axis=1), n, unsteered.sum(axis=1), m),
            nats=self.nats.mean(axis=1),
            broken=beyond.mean(axis=1),
            first=self.first.mean(axis=1),
            draws=self.draws.mean(axis=1),
            local=local,
            best=best,
        )


def shares(counts: Int[Array, " prompt"], n: int) -> Float[Array, " prompt"]:
    """(k + 1/2) / (n + 1): the mean of Jeffreys' posterior, never 0 or 1."""
    return (counts + 0.5) / (n + 1)


def judged_nats(
    steered: Int[Array, " prompt"], n: int, unsteered: Int[Array, " prompt"], m: int
) -> Float[Array, " prompt"]:
    """kl(r || p) of every prompt from counts, less the bias that counting few texts has.

    The bias is what it is where r and p are the shares that were found: exact sums over the two
    binomial distributions. What is left of it is of second order.

    Args:
        steered: Of n texts of the method, those that show the behaviour.
        n: How many texts each prompt has.
        unsteered: Of m texts of the model, drawn by themselves.
        m: How many of those.
    """
    r, p = shares(steered, n), shares(unsteered, m)
    found = least_nats(r, p)
    again_r, again_p = (shares(np.arange(k + 1), k) for k in (n, m))
    weight_r, weight_p = (binom.pmf(np.arange(k + 1), k, x[:, None]) for k, x in ((n, r), (m, p)))
    entropy = -(xlogy(again_r, again_r) + xlogy(1 - again_r, 1 - again_r))
    mean_r = weight_r @ again_r
    cross = mean_r * (weight_p @ np.log(again_p)) + (1 - mean_r) * (weight_p @ np.log1p(-again_p))
    expected = -(weight_r @ entropy) - cross
    return 2 * found - expected


def derivatives(
    shows: Bool[Array, "prompt text"], log_ratio: Texts, nats: Texts, strength: float
) -> Local:
    """Gain and curvature at strength 0 from unsteered texts that a small strength reads again.

    Args:
        shows: Whether unsteered texts show the behaviour.
        log_ratio: log q / p of them, q at `strength`.
        nats: Sum over their tokens of KL(q || p).
        strength: Small.

    Raises:
        ValueError: If a prompt has fewer than two texts, or its texts do not change.
    """
    n = shows.shape[1]
    if n < 2:
        raise ValueError(f"{n} texts of each prompt: expected two or more")
    score = log_ratio / strength
    deviation = shows - shows.mean(axis=1, keepdims=True)
    products = deviation * (score - score.mean(axis=1, keepdims=True)) * n / (n - 1)
    gain = products.mean(axis=1)
    noise = products.var(axis=1, ddof=1) / n
    return Local(gain, gain**2 - noise, 2 * nats.mean(axis=1) / strength**2)


def intervals(
    statistic: Callable[[Float[Array, "set prompt"]], Parts],
    groups: Sequence[Hashable],
    *,
    seed: int,
    resamples: int = 1000,
) -> dict[str, Interval]:
    """Every part with its 95 % interval: groups of prompts are drawn again as wholes.

    Args:
        statistic: Takes weights of the prompts, several sets at once.
        groups: The group of each prompt.
        seed: Of the draws.
        resamples: How often the groups are drawn.
    """
    names = list(dict.fromkeys(groups))
    member = np.array([names.index(group) for group in groups])
    even = np.ones(len(names))
    drawn = Resampling.of((len(names),), seed=seed, resamples=resamples)
    moved = even + _STEP * np.concatenate([np.eye(len(names)), -np.eye(len(names))])
    value = statistic(even[member][None])
    again = statistic(drawn.counts[0][:, member])
    slopes = statistic(moved[:, member])
    found = {}
    for name, x in value.items():
        up, down = slopes[name].reshape(2, -1)
        low, high = drawn.levels((up - down) / (2 * _STEP), again[name])
        found[name] = Interval(float(x[0]), low, high)
    return found
