"""One cell of the read x steer matrix: a vector, its strength at a stated cost, its effect."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import LayerActivations
from lens_steer.data import ContrastivePairs, Example
from lens_steer.evaluation import (
    FixedTexts,
    Judge,
    OutOfReach,
    calibrate_along,
    evaluate_each,
    preference,
)
from lens_steer.intervals import Interval, interval
from lens_steer.models import SteerableModel, embedding_matrices, encode
from lens_steer.steering import CAA, Decoding

EQUAL_MEANS, NOT_REACHED = "equal means", "kl not reached"  # how notes begin
_ROUNDING = 1e-5  # of the activations' length: a difference of means that is no more than rounding


@dataclass(frozen=True, eq=False)
class Cell:
    """A CAA vector that is read at one position and layer; unknown numbers are NaN.

    Attributes:
        method: The vector as a method, or None if there is none at the stated cost.
        embedding: Its cosine with the embedding difference of the last tokens.
        unembedding: Its cosine with their unembedding difference.
        note: Why there is no effect; empty where there is one.
        strength: The strength at which it has the stated cost.
        realised: What it costs at that strength, nats per token.
        effect: The mean change from unsteered.
        low: The lower end of its interval.
        high: The upper end.
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
        """Fit the vector, unless the class means differ by no more than rounding.

        Args:
            labels: The two differences that `label_differences` returns.
        """
        length = torch.cat([activations.desired, activations.undesired]).norm(dim=1).mean()
        if activations.direction.norm() <= _ROUNDING * length:
            return cls(None, note=EQUAL_MEANS)
        embedding, unembedding = (cosine(activations.direction, label) for label in labels)
        return cls(CAA.fit(activations), embedding, unembedding)

    def at_cost(
        self,
        model: SteerableModel,
        texts: FixedTexts,
        kl: float | int,
        strengths: Sequence[float | int],
    ) -> "Cell":
        """The cell at the strength where the vector costs `kl`, as `calibrate` finds it.

        Args:
            texts: The texts along which all cells cost the same.
            kl: Nats per token.
            strengths: Strengths to look at first, from 0 up.
        """
        if self.method is None:
            return self
        try:
            method = calibrate_along(
                model, self.method, texts, kl=kl, strengths=strengths, progress=False
            )
        except OutOfReach as error:
            return replace(self, method=None, note=f"{NOT_REACHED}: {error}")
        return replace(
            self, method=method, strength=method.strength, realised=method.report.realised
        )

    def with_effect(self, change: Interval) -> "Cell":
        """The cell with the mean change from unsteered."""
        return replace(self, effect=change.mean, low=change.low, high=change.high)


def with_effects(
    model: SteerableModel,
    cells: Sequence[Cell],
    test: ContrastivePairs,
    *,
    judge: Judge | None,
    decoding: Decoding,
) -> list[Cell]:
    """The cells with their mean change from unsteered, all vectors on the same pairs.

    Without a judge it is the change of the preference, in nats per token; with one, of the share of
    texts that show the behaviour.
    """
    methods = [cell.method for cell in cells if cell.method is not None]
    seed = decoding.seed or 0
    if judge is None:
        scope = decoding.steered_scope
        unsteered = preference(model, test, scope=scope)
        steered = [preference(model, test, method, scope=scope) for method in methods]
        changes = iter([interval(x - unsteered, test.groups, seed=seed) for x in steered])
    else:
        before, *after = evaluate_each(
            model, test, [None, *methods], judge=judge, decoding=decoding
        )
        changes = iter([trial.minus(before, seed=seed) for trial in after])
    return [cell if cell.method is None else cell.with_effect(next(changes)) for cell in cells]


def label_differences(
    model: SteerableModel, pairs: ContrastivePairs
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
    """The cosine of two vectors in float64; NaN if either is 0."""
    a, b = a.double(), b.double()
    return float(a @ b / (a.norm() * b.norm()))
