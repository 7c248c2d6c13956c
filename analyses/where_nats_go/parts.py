"""What a method pays beyond the least, in two ways of parting it: pure functions, float64.

The definitions are in the docstring of the study. Nats are per text until a table divides them by
tokens; every function takes sets of weights of the prompts, many at once for intervals.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize.elementwise import find_root
from scipy.special import expit, logit

from lens_steer.evaluation import least_nats

Array = np.ndarray
Parts = dict[str, Float[Array, " set"]]

CAUSES = ("off_target", "wrong_direction", "same_push", "nonlinearity")
PLACES = ("allocation", "well_formed", "broken")


@dataclass(frozen=True, eq=False)
class Local:
    """What a method does at small strengths s, prompt by prompt; strengths are of its own unit.

    Attributes:
        gain: Change of the share per strength: the covariance of judge and score.
        gain_squared: Its square, or an unbiased estimate of it, which may be negative.
        curvature: c of KL = c s^2 / 2, nats per text and squared strength: the score's variance.
    """

    gain: Float[Array, " prompt"]
    gain_squared: Float[Array, " prompt"]
    curvature: Float[Array, " prompt"]

    def __post_init__(self) -> None:
        if not bool((self.curvature > 0).all()):
            raise ValueError(
                f"curvature {self.curvature}: expected positive nats of every prompt, of a method "
                "that changes all texts a little"
            )

    def efficiency(
        self, variance: Float[Array, " prompt"], weights: Float[Array, "set prompt"]
    ) -> Float[Array, " set"]:
        """The least over what is paid for a small gain, the strength being the same everywhere.

        Args:
            variance: p (1 - p) of every prompt, of its unsteered share p.
            weights: Of the prompts.
        """
        least = mean(self.gain, weights) ** 2 / mean(variance, weights)
        return least / mean(self.curvature, weights)

    def correlation(
        self, variance: Float[Array, " prompt"], weights: Float[Array, "set prompt"]
    ) -> Float[Array, " set"]:
        """Of judge and score within prompts: the root of `efficiency`, the gain's sign kept."""
        paid = mean(variance, weights) * mean(self.curvature, weights)
        return mean(self.gain, weights) / np.sqrt(paid)

    def own_strengths(
        self, variance: Float[Array, " prompt"], weights: Float[Array, "set prompt"]
    ) -> Float[Array, " set"]:
        """The same efficiency, had every prompt the strength, of either sign, that is best for all.

        That strength goes as gain / curvature of the prompt.
        """
        return mean(self.gain_squared / self.curvature, weights) / mean(variance, weights)


@dataclass(frozen=True, eq=False)
class Prompts:
    """What one method at one strength did, prompt by prompt.

    Attributes:
        unsteered: Share p of texts that show the behaviour under the model.
        steered: Share r under the method.
        judged: kl(r || p), nats: what the judge's bit costs; an estimate need not be >= 0.
        nats: KL(steered || unsteered) of whole texts.
        broken: What texts that break the grammar add to `nats` less `judged`.
        first: The part of `nats` that is paid at the first token.
        draws: Tokens drawn for a text, on average.
        local: The method at small strengths; None where it has no strength, as other words have.
        best: The best vector at small strengths; None where `local` is.
    """

    unsteered: Float[Array, " prompt"]
    steered: Float[Array, " prompt"]
    judged: Float[Array, " prompt"]
    nats: Float[Array, " prompt"]
    broken: Float[Array, " prompt"]
    first: Float[Array, " prompt"]
    draws: Float[Array, " prompt"]
    local: Local | None = None
    best: Local | None = None

    def __post_init__(self) -> None:
        for name in ("unsteered", "steered"):
            shares = getattr(self, name)
            if not bool(((shares >= 0) & (shares <= 1)).all()):
                raise ValueError(f"{name} {shares}: expected shares from 0 to 1")
        if (self.local is None) != (self.best is None):
            raise ValueError("got one of local and best: expected both, or neither")

    @property
    def variance(self) -> Float[Array, " prompt"]:
        """p (1 - p) of every prompt."""
        return self.unsteered * (1 - self.unsteered)


def mean(x: Float[Array, " prompt"], weights: Float[Array, "set prompt"]) -> Float[Array, " set"]:
    """The weighted mean over prompts."""
    return weights @ x / weights.sum(axis=1)


def mean_of_rows(
    x: Float[Array, "set prompt"], weights: Float[Array, "set prompt"]
) -> Float[Array, " set"]:
    """The weighted mean over prompts of numbers that every set has by itself."""
    return (weights * x).sum(axis=1) / weights.sum(axis=1)


def tilt(
    unsteered: Float[Array, " prompt"],
    share: Float[Array, " set"],
    weights: Float[Array, "set prompt"],
) -> Float[Array, " set"]:
    """The multiplier lambda for which logit p + lambda are log-odds of shares of that mean.

    Prompts that always or never show the behaviour stay as they are.

    Raises:
        ValueError: If no multiplier has that mean.
    """
    free = (unsteered > 0) & (unsteered < 1)
    fixed, total = weights @ (unsteered == 1), weights.sum(axis=1)
    room = weights @ free
    odds = logit(unsteered[free])
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = (share * total - fixed) / room
    if not bool(((wanted > 0) & (wanted < 1)).all()):
        raise ValueError(
            f"shares {share} of prompts with unsteered shares {unsteered}: expected means that a "
            "tilt can reach, strictly between its ends"
        )

    def excess(x: Array, aim: Array, number: Array) -> Array:
        of_set = weights[number.astype(int)][:, free]  # those that the search still goes on for
        return mean_of_rows(expit(odds + x[:, None]), of_set) - aim

    numbers = np.arange(len(weights), dtype=float)
    wide = 1e-6  # the ends are exact where all prompts have one share
    low, high = (logit(wanted) - end for end in (odds.max() + wide, odds.min() - wide))
    return find_root(excess, (low, high), args=(wanted, numbers)).x


def floor(
    unsteered: Float[Array, " prompt"],
    share: Float[Array, " set"],
    weights: Float[Array, "set prompt"],
) -> Float[Array, " set"]:
    """The least mean KL, nats per text, of anything whose mean share of the behaviour is `share`.

    It is that of the model conditioned on the judge, with one multiplier for all prompts.

    Raises:
        ValueError: As `tilt`.
    """
    by = tilt(unsteered, share, weights)
    shares = expit(logit(unsteered) + by[:, None])
    nats = least_nats(shares, np.broadcast_to(unsteered, shares.shape))
    return mean_of_rows(nats, weights)


def totals(prompts: Prompts, weights: Float[Array, "set prompt"]) -> Parts:
    """Nats per text, their floor and excess, efficiency, shares, and tokens of a text."""
    p, r = (mean(x, weights) for x in (prompts.unsteered, prompts.steered))
    nats = mean(prompts.nats, weights)
    least = floor(prompts.unsteered, r, weights)
    return {
        "unsteered": p,
        "share": r,
        "nats": nats,
        "floor": least,
        "excess": nats - least,
        "efficiency": least / nats,
        "first_token": mean(prompts.first, weights) / nats,
        "tokens": mean(prompts.draws, weights),
    }


def places(prompts: Prompts, weights: Float[Array, "set prompt"]) -> Parts:
    """Where the excess is paid, nats per text: exact, by the chain rule; the sum is the excess."""
    r = mean(prompts.steered, weights)
    judged, broken = (mean(x, weights) for x in (prompts.judged, prompts.broken))
    return {
        "allocation": judged - floor(prompts.unsteered, r, weights),
        "well_formed": mean(prompts.nats, weights) - judged - broken,
        "broken": broken,
    }


def causes(prompts: Prompts, weights: Float[Array, "set prompt"]) -> Parts:
    """Why the excess is paid, nats per text: first order but for the sum, which is the excess.

    They are of no use for a method whose gain may be 0: see `Local.correlation`.

    Raises:
        ValueError: If the method has no strength to differentiate by.
    """
    if prompts.local is None or prompts.best is None:
        raise ValueError("no local derivatives: expected a method that has a strength")
    nats, v = mean(prompts.nats, weights), prompts.variance
    least = floor(prompts.unsteered, mean(prompts.steered, weights), weights)
    own, best = (each.own_strengths(v, weights) for each in (prompts.local, prompts.best))
    promised = prompts.local.efficiency(v, weights)
    return {
        "off_target": least * (1 / best - 1),
        "wrong_direction": least * (1 / own - 1 / best),
        "same_push": least * (1 / promised - 1 / own),
        "nonlinearity": nats - least / promised,
    }
