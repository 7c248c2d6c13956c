"""Choosing a fit's settings by stratified cross-validation of the held-out log-loss."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from lens_steer.barriers.logistic import dual_logistic, logistic_head

GAMMAS = (0.1, 1.0, 10.0)
COSTS = (0.1, 1.0, 10.0, 100.0, 1000.0)


@dataclass(frozen=True)
class Folds:
    """Stratified parts of the rows, which are held out in turn.

    Attributes:
        count: Number of folds, >= 2.
        seed: Of the shuffle.
    """

    count: int
    seed: int

    def split(
        self, desired: Bool[Tensor, " n"]
    ) -> Iterator[tuple[Int[Tensor, " train"], Int[Tensor, " held_out"]]]:
        """The row numbers to fit on and to test on, fold by fold.

        Raises:
            ValueError: If there are fewer than 2 folds, or a class is smaller than their number.
        """
        from sklearn.model_selection import StratifiedKFold

        fewest = min(int(desired.sum()), int((~desired).sum()))
        if not 2 <= self.count <= fewest:
            raise ValueError(
                f"{self.count} folds and {fewest} activations in the smaller class: expected 2 to "
                "as many folds; or give gamma and C, and nothing is cross-validated"
            )
        split = StratifiedKFold(self.count, shuffle=True, random_state=self.seed)
        labels = desired.cpu().numpy()
        for train, held_out in split.split(labels, labels):
            yield torch.from_numpy(train), torch.from_numpy(held_out)


def choose_kernel(
    cosines: Float[Tensor, "n n"],
    desired: Bool[Tensor, " n"],
    gamma: float | int | None,
    coef0: float,
    C: float | int | None,
    folds: Folds,
) -> dict[str, float | int]:
    """Settings `gamma` and `C`; what is None is chosen from GAMMAS and COSTS.

    Every kernel is a function of the cosines, entry by entry: one Gram matrix serves all. Of equal
    losses the smaller gamma is taken, then the smaller C.

    Raises:
        ValueError: If a setting is out of range, or a class is too small for the folds.
    """
    for name, value, allowed in (
        ("gamma", gamma, gamma is None or 0 < gamma < float("inf")),
        ("coef0", coef0, 0 <= coef0 < float("inf")),
        ("C", C, C is None or 0 < C < float("inf")),
    ):
        if not allowed:
            raise ValueError(f"{name} = {value!r}: expected a finite number above 0 (coef0: or 0)")
    if gamma is not None and C is not None:
        return {"gamma": float(gamma), "C": float(C)}
    gammas = GAMMAS if gamma is None else (float(gamma),)
    costs = COSTS if C is None else (float(C),)
    losses: dict[tuple[float, float], float] = {}
    for scale in gammas:
        gram = (scale * cosines + coef0).square()
        by_cost = _losses_by_cost(gram, desired, costs, folds)
        losses |= {(scale, cost): loss for cost, loss in zip(costs, by_cost, strict=True)}
    best = min(losses, key=lambda pair: losses[pair])
    chosen = {"gamma": best[0], "C": best[1], "held_out_loss": losses[best]}
    return {**chosen, "folds": folds.count, "seed": folds.seed}


def choose_cost(
    features: Float[Tensor, "n feature"],
    desired: Bool[Tensor, " n"],
    C: float | int | None,
    folds: Folds,
    **options: Any,
) -> dict[str, float | int]:
    """Setting `C` of a logistic head; None is chosen from COSTS, of equal losses the smaller.

    Args:
        options: Further arguments of `logistic_head`.

    Raises:
        ValueError: As `choose_kernel`.
    """
    if C is not None:
        return {"C": float(C)}
    totals = dict.fromkeys(COSTS, 0.0)
    for train, held_out in folds.split(desired):
        signs = torch.where(desired[held_out], 1.0, -1.0).to(features)
        for cost in COSTS:
            head = logistic_head(features[train], desired[train], cost, **options)
            logits = features[held_out] @ head.weights + head.intercept
            totals[cost] += _log_loss(signs, logits)
    best = min(COSTS, key=lambda cost: totals[cost])
    chosen = {"C": best, "held_out_loss": totals[best] / len(desired)}
    return {**chosen, "folds": folds.count, "seed": folds.seed}


def _losses_by_cost(
    gram: Float[Tensor, "n n"],
    desired: Bool[Tensor, " n"],
    costs: tuple[float, ...],
    folds: Folds,
) -> list[float]:
    """The held-out log-loss of every C, nats per row; a fit starts where the last C's ended."""
    totals = [0.0] * len(costs)
    for train, held_out in folds.split(desired):
        inner, across = gram[train][:, train], gram[held_out][:, train]
        signs, fit = torch.where(desired[held_out], 1.0, -1.0).to(gram), None
        for i, cost in enumerate(costs):
            fit = dual_logistic(inner, desired[train], cost, fit)
            totals[i] += _log_loss(signs, across @ fit.weights + fit.intercept)
    return [total / len(desired) for total in totals]


def _log_loss(signs: Float[Tensor, " n"], logits: Float[Tensor, " n"]) -> float:
    """The sum of the log-loss over rows, nats."""
    return float(softplus(-signs * logits).sum())
