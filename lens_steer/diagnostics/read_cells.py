"""One cell of the read x steer matrix: a vector, its strength at a stated cost, its effect."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import LayerActivations
from lens_steer.data import ContrastivePairs, Example
from lens_steer.evaluation import FixedTexts, Judge, evaluate_each, find_crossing, preference
from lens_steer.intervals import Interval, interval
from lens_steer.models import SteerableModel, embedding_matrices, encode
from lens_steer.steering import CAA

EQUAL_MEANS, NOT_REACHED = "equal means", "kl not reached"  # how notes begin
_ROUNDING = 1e-5  # of the activations' length: a difference of means that is no more than rounding


@dataclass(frozen=True, eq=False)
class Cell:
    """A CAA vector read at one position and layer; NaN is what is not known.

    Attributes:
        method: None if the class means are equal.
        embedding: Cosine with the embedding difference of the last tokens.
        unembedding: Cosine with their unembedding difference.
        note: Why there is no effect; empty where there is one.
        strength: At which it has the stated cost.
        realised: What it costs there, nats per token.
        effect: Mean change from unsteered.
        low: Lower end of its interval.
        high: Upper end.
    """

    method: CAA | None
    embedding: float = nan
    unembedding: float = nan
    note: str = ""
    strength: float = nan
    realised: float = nan
    effect: float = nan
    low: float = nan
    high: float = nan

    @classmethod
    def fit(
        cls,
        activations: LayerActivations,
        labels: tuple[Float[Tensor, " d"], Float[Tensor, " d"]],
    ) -> "Cell":
        """The vector, unless the class means differ by no more than rounding.

        Args:
            labels: As `label_differences` gives them.
        """
        length = torch.cat([activations.desired, activations.undesired]).norm(dim=1).mean()
        if activations.direction.norm() <= _ROUNDING * length:
            return cls(None, note=EQUAL_MEANS)
        embedding, unembedding = (cosine(activations.direction, label) for label in labels)
        return cls(CAA.fit(activations), embedding, unembedding)

    def at_cost(
        self, model: SteerableModel, texts: FixedTexts, kl: float, grid: Sequence[float]
    ) -> "Cell":
        """At the strength where the vector costs `kl`, as `calibrate` finds it.

        Args:
            grid: Strengths to look at first, rising from 0 or above.
        """
        method = self.method
        if method is None:
            return self

        def measure(tried: Sequence[float]) -> list[float]:
            return texts.kl(model, [(method.with_strength(s),) for s in tried])

        known = dict(zip(grid, measure(grid), strict=True))
        try:
            found = find_crossing(
                lambda tried: [known[s] for s in tried] if tried is grid else measure(tried),
                *("kl", kl, grid),
                refine=True,
            )
        except ValueError as error:  # the cost was measured above: it is the target that is missed
            return replace(self, method=None, note=f"{NOT_REACHED}: {error}")
        taken = method.with_strength(found.strength)
        return replace(self, method=taken, strength=found.strength, realised=found.realised)


def measured(
    model: SteerableModel,
    cells: Sequence[Cell],
    test: ContrastivePairs,
    *,
    judge: Judge | None,
    decoding: dict[str, Any],
) -> list[Cell]:
    """The cells with the mean change from unsteered, those of all vectors on the same pairs."""
    methods = [cell.method for cell in cells if cell.method is not None]
    how = _preferred if judge is None else _judged
    found = iter(how(model, methods, test, judge, decoding))
    done = []
    for cell in cells:
        change = None if cell.method is None else next(found)
        done.append(cell if change is None else _with(cell, change))
    return done


def _with(cell: Cell, change: Interval) -> Cell:
    return replace(cell, effect=change.mean, low=change.low, high=change.high)


def _preferred(
    model: SteerableModel,
    methods: Sequence[CAA],
    test: ContrastivePairs,
    judge: Judge | None,
    decoding: dict[str, Any],
) -> list[Interval]:
    """Changes in preference, nats per token."""
    del judge
    scope, seed, groups = decoding["scope"], decoding["seed"], test.groups
    before = preference(model, test, scope=scope)
    after = [preference(model, test, method, scope=scope) for method in methods]
    return [interval(each - before, groups, seed=seed) for each in after]


def _judged(
    model: SteerableModel,
    methods: Sequence[CAA],
    test: ContrastivePairs,
    judge: Judge | None,
    decoding: dict[str, Any],
) -> list[Interval]:
    """Changes in the share of texts that show the behaviour."""
    before, *after = evaluate_each(model, test, [None, *methods], judge=judge, **decoding)
    return [each.minus(before, seed=decoding["seed"]) for each in after]


def label_differences(
    model: Any, pairs: ContrastivePairs
) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """Mean embedding and unembedding of the last tokens, desired minus undesired; float64.

    Exactly 0 where both classes end in the same tokens equally often.
    """
    desired, undesired = (_last_tokens(model, side) for side in (pairs.desired, pairs.undesired))
    shares = {
        token: desired[token] / desired.total() - undesired[token] / undesired.total()
        for token in sorted(desired | undesired)
    }
    different = {token: share for token, share in shares.items() if share != 0}
    ids, weights = list(different), torch.tensor(list(different.values())).double()
    embedded, unembedded = embedding_matrices(model)
    rows = (embedded[ids], unembedded[:, ids].T)
    embedding, unembedding = (weights @ x.detach().double().cpu() for x in rows)
    return embedding, unembedding


def _last_tokens(model: SteerableModel, side: Sequence[Example]) -> Counter[int]:
    return Counter(encode(model, e.prompt, e.continuation).ids[-1] for e in side)


def cosine(a: Float[Tensor, " d"], b: Float[Tensor, " d"]) -> float:
    """NaN if either is 0."""
    a, b = a.double(), b.double()
    return float(a @ b / (a.norm() * b.norm()))
