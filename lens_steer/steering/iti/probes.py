"""Logistic probes of single heads, and how often they are right about held-out activations."""

import warnings
from collections.abc import Hashable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import Activations
from lens_steer.arguments import Count, Seed
from lens_steer.attribution import ElementScores
from lens_steer.sites import Kind

_STEPS = 1000


def head_accuracies(
    activations: Activations,
    *,
    groups: Sequence[Hashable] | None = None,
    folds: Count = 5,
    seed: Seed,
) -> ElementScores:
    """Held-out accuracy of a logistic probe of every head: 0.5 is chance, 1 is always right.

    The mean over the classes of the share that is told rightly, so that chance is 0.5 whatever
    their sizes. Folds never part a pair or a group.

    Args:
        activations: Of kind `head`.
        groups: What belongs together, one for each pair (`pairs.groups`), or, of unpaired
            activations, for each desired and then each undesired one. None: pairs only.
        folds: Parts of the activations, each held out once; the paper holds out one of five.
        seed: Of the folds.

    Raises:
        ValueError: If the activations are not of heads, there are fewer groups of a class than
            folds, or a probe does not converge.

    Example:
        >>> heads = ls.capture(model, train, "head")
        >>> scores = ls.steering.head_accuracies(heads, groups=train.groups, seed=0)
    """
    a = activations
    if a.kind is not Kind.HEAD:
        raise ValueError(f"got activations of kind {a.kind.value!r}: capture 'head'")
    rows = torch.cat([a.desired, a.undesired]).double().numpy()
    labels = np.arange(len(rows)) < len(a.desired)
    parts = _folds(labels, _numbers(a, groups), folds, seed)
    values = [
        [_accuracy(rows[:, i, head], labels, parts) for head in range(rows.shape[2])]
        for i in range(rows.shape[1])
    ]
    name = "held-out accuracy of a probe"
    return ElementScores(torch.tensor(values), a.kind, a.layers, name, provenance=a.provenance)


def probe_normal(
    desired: Float[Tensor, "desired d_head"], undesired: Float[Tensor, "undesired d_head"]
) -> Float[Tensor, " d_head"]:
    """Weights of the logistic probe of all activations, towards the desired, in float64.

    Raises:
        ValueError: If it does not converge.
    """
    rows = torch.cat([desired, undesired]).double().numpy()
    return torch.from_numpy(_probe(rows, np.arange(len(rows)) < len(desired))[0])


def _numbers(a: Activations, groups: Sequence[Hashable] | None) -> np.ndarray:
    """The number of the group of each row."""
    n, m = len(a.desired), len(a.undesired)
    if a.paired and n != m:
        raise ValueError(f"{n} desired and {m} undesired activations: pass paired=False")
    expected = n if a.paired else n + m
    keys = list(range(expected)) if groups is None else list(groups)
    if len(keys) != expected:
        kind = "pairs" if a.paired else "activations"
        raise ValueError(f"got {len(keys)} groups, expected {expected}: one for each of the {kind}")
    places = {group: i for i, group in enumerate(dict.fromkeys(keys))}
    numbers = np.array([places[group] for group in keys])
    return np.concatenate([numbers, numbers]) if a.paired else numbers


def _folds(
    labels: np.ndarray, groups: np.ndarray, folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min(len(np.unique(groups[labels == side])) for side in (True, False))
    if not 2 <= folds <= fewest:
        raise ValueError(
            f"{folds} folds and {fewest} groups of the smaller class: expected 2 to as many folds, "
            "or more pairs"
        )
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    parts = list(split.split(labels, labels, groups))
    if any(len(np.unique(labels[train])) < 2 for train, _ in parts):
        raise ValueError("the groups leave a fold with one class only: take fewer folds")
    return parts


def _accuracy(
    rows: np.ndarray, labels: np.ndarray, parts: Sequence[tuple[np.ndarray, np.ndarray]]
) -> float:
    right = np.empty(len(rows), dtype=float)
    for train, held_out in parts:
        weights, bias = _probe(rows[train], labels[train])
        logits = rows[held_out] @ weights + bias
        side = np.where(labels[held_out], 1.0, -1.0)
        right[held_out] = (np.sign(logits * side) + 1) / 2  # a tie is half right
    return float((right[labels].mean() + right[~labels].mean()) / 2)


def _probe(rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and bias, without the classes' sizes, of centred rows divided by one number.

    One number for all entries, so that the penalty (C = 1) knows no units and the normal is the
    probe's own. A head that never changes tells nothing: weights 0.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    centre = rows.mean(axis=0)
    size = float(np.sqrt(np.square(rows - centre).mean()))
    if size == 0:
        return np.zeros(rows.shape[1]), 0.0
    model = LogisticRegression(
        class_weight="balanced", max_iter=_STEPS, tol=1e-6, solver="newton-cholesky"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit((rows - centre) / size, labels)
        except ConvergenceWarning as error:
            raise ValueError(f"a probe of a head did not converge ({error})") from error
    weights = np.asarray(model.coef_)[0] / size
    return weights, float(np.asarray(model.intercept_)[0] - weights @ centre)
