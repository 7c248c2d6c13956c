"""What each path of one method does over texts of different lengths: shares and half-lives."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan, nan

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses.paths.effects import PATHS
from lens_steer.benchmark import collapse_dose
from lens_steer.intervals import (
    NAN_INTERVAL,
    Interval,
    Resampling,
    group_sums,
    interval,
    ratio_interval,
)

Array = np.ndarray

PARTS = ("residual", "cache", "interaction")  # they add up to both


@dataclass(frozen=True, eq=False)
class PathSplit:
    """One method's effects; offsets are counted from the last prompt token.

    Attributes:
        kl: KL(steered || clean) of the next token, nats. NaN after a text's end.
        projected: <change, change by both> of the logits, centred over the vocabulary.
        draws: The number of offsets of each text.
        groups: The group of each text.
        stop_after: The number of positions that are steered in `stopped`.
        seed: The seed of the intervals.
    """

    kl: Float[Tensor, "path text offset"]
    projected: Float[Tensor, "path text offset"]
    draws: Int[Tensor, " text"]
    groups: tuple[str, ...]
    stop_after: int
    seed: int

    @property
    def offsets(self) -> int:
        """The number of offsets of the longest text."""
        return self.kl.shape[-1]

    def effect(self, path: str, offset: int) -> Interval:
        """Mean nats at an offset, over the texts that reach it.

        KL grows with the square of a small change: two paths that push alike make more together
        than the sum of their nats, and their interaction is positive.
        """
        reached = self.reaching([offset])[:, 0]
        nats = _of(self.kl, path)[reached, offset]
        return interval(nats, self._groups_of(reached), seed=self.seed)

    def share(self, path: str, offset: int | None = None) -> Interval:
        """How much of the change in logits by both a path makes, in its direction.

        <change, change by both> / <change by both, itself>, each summed over texts: residual, cache
        and interaction add up to 1. All tokens count alike, likely or not. NaN where both change
        nothing.

        Args:
            offset: None sums over all offsets but the first, where there is no cache.
        """
        at = range(1, self.offsets) if offset is None else [offset]
        reached = self.reaching(at)
        above, below = (
            torch.where(reached, _of(self.projected, part)[:, at], 0.0).sum(dim=1)
            for part in (path, "both")
        )
        return self._ratio(above, below, reached.any(dim=1))

    def kept(self, offset: int) -> Interval:
        """The nats left at an offset, as a share of those at the same texts' first unsteered token.

        Raises:
            ValueError: If that offset is still steered, or no text is that long.
        """
        if offset < self.stop_after:
            raise ValueError(
                f"offset {offset} is steered: expected {self.stop_after} or more, where steering "
                "has stopped"
            )
        nats, reached = _of(self.kl, "stopped"), self.reaching([offset])[:, 0]
        return self._ratio(nats[:, offset], nats[:, self.stop_after], reached)

    def half_life(self) -> Interval:
        """Tokens from the first unsteered one until its nats have first fallen to a half.

        Infinite where it does not happen within the texts; NaN where nothing is left to begin with.
        Nats go with the square of a small change: the change in logits itself lasts longer. They
        also depend on how open the next token is: where it is settled at the first unsteered one
        but not later, they rise. `share("stopped", offset)` is against what both do there.
        """
        at = range(self.stop_after, self.offsets)
        reached, nats = self.reaching(at), _of(self.kl, "stopped")
        now = torch.where(reached, nats[:, at], 0.0)
        first = torch.where(reached, nats[:, self.stop_after, None], 0.0)
        effect_sums, first_sums = group_sums(now.T.numpy(), first.T.numpy(), self.groups)
        return half_life_interval(effect_sums, first_sums, seed=self.seed)

    def reaching(self, offsets: Sequence[int]) -> Bool[Tensor, "text offset"]:
        """Which texts are long enough for which offsets.

        Raises:
            ValueError: If the longest text has no such offset.
        """
        if min(offsets) < 0 or max(offsets) >= self.offsets:
            raise ValueError(f"offsets {list(offsets)}: expected some from 0 to {self.offsets - 1}")
        return self.draws[:, None] > torch.tensor(offsets)

    def _groups_of(self, texts: Bool[Tensor, " text"]) -> list[str]:
        return [group for group, keep in zip(self.groups, texts.tolist(), strict=True) if keep]

    def _ratio(
        self,
        above: Float[Tensor, " text"],
        below: Float[Tensor, " text"],
        texts: Bool[Tensor, " text"],
    ) -> Interval:
        groups = self._groups_of(texts)
        numerator, denominator = group_sums(above[texts].numpy(), below[texts].numpy(), groups)
        if not denominator.any():
            return NAN_INTERVAL
        with np.errstate(divide="ignore", invalid="ignore"):  # groups where nothing changes
            return ratio_interval(numerator, denominator, seed=self.seed)


def half_life(kept: Float[Array, "*resample token"]) -> Float[Array, "*resample"]:
    """Tokens until an effect has first fallen to half of its first value; inf if it never does.

    Values are joined by straight lines between tokens; NaN at the end means that no text reaches
    that token. The result is NaN where there is no effect at first.
    """
    tokens = collapse_dose(kept, np.arange(kept.shape[-1], dtype=float))
    tokens = np.where(np.isnan(tokens), inf, tokens)
    return np.where(kept[..., 0] > 0, tokens, nan)


def half_life_interval(
    effect: Float[Array, "token group"], first: Float[Array, "token group"], *, seed: int
) -> Interval:
    """The half-life of effect / first, with groups resampled; an end not reached is infinite.

    Args:
        effect: Sums over the texts of each group, at tokens from the first unsteered one on.
        first: The same texts' effect at the first of these tokens; fewer texts reach later ones.
    """
    value = float(half_life(_shares(effect.sum(axis=1), first.sum(axis=1))))
    if isnan(value):
        return NAN_INTERVAL
    resampling = Resampling.of(effect.shape[1:], seed=seed)
    sums = [np.stack([resampling.sums(row) for row in rows], axis=-1) for rows in (effect, first)]
    drawn, beyond = half_life(_shares(sums[0], sums[1])), 2.0 * len(effect)
    # how far percentiles are widened depends on the number of groups alone: any influence will do
    influence = np.linspace(-1, 1, effect.shape[1])
    low, high = resampling.levels(influence, np.where(np.isinf(drawn), beyond, drawn))
    low, high = (inf if end > len(effect) - 1 else end for end in (low, high))
    return Interval(value, low, high)


def _shares(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.full_like(below, nan), where=below > 0)


def _of(values: Float[Tensor, "path text offset"], path: str) -> Float[Tensor, "text offset"]:
    if path == "interaction":
        both, residual, cache = (values[PATHS.index(x)] for x in ("both", "residual", "cache"))
        return both - residual - cache
    if path not in PATHS:
        raise ValueError(f"no path {path!r}: expected one of {(*PATHS, 'interaction')}")
    return values[PATHS.index(path)]
