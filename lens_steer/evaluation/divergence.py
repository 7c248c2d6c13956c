"""Divergences in nats: between token distributions, between two shares, of the best of n."""

from math import log

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Count, NonNegative, Number

Array = np.ndarray

# Probabilities held in float64. Above the size of a processor's cache the same sums take nine times
# as long, most of it in getting memory: measured at a vocabulary of 262,144.
AT_ONCE = 2**18


def kl_divergence(
    steered: Float[Tensor, "draw vocab"],
    unsteered: Float[Tensor, "draw vocab"],
    *,
    temperature: NonNegative = 1.0,
) -> Float[Tensor, " draw"]:
    """KL(steered || unsteered) of next-token distributions, nats, float64; 0 for equal logits.

    Args:
        steered: Logits.
        unsteered: Logits.
        temperature: What both are sampled at; not 0, where the divergence is 0 or infinite.

    Raises:
        ValueError: If the temperature is 0.
    """
    if temperature <= 0:
        raise ValueError(
            f"temperature {temperature}: between greedy texts a divergence is 0 or infinite, "
            "expected a positive temperature"
        )
    step = max(1, AT_ONCE // steered.shape[-1])
    parts = [
        _divergence(p.double() / temperature, q.double() / temperature)
        for p, q in zip(steered.split(step), unsteered.split(step), strict=True)
    ]
    return torch.cat(parts)


def _divergence(
    p: Float[Tensor, "draw vocab"], q: Float[Tensor, "draw vocab"]
) -> Float[Tensor, " draw"]:
    """The mean over p of the difference of the logits, less that of the log-normalisers."""
    largest, others = p.amax(dim=-1, keepdim=True), q.amax(dim=-1, keepdim=True)
    weight = (p - largest).exp()
    whole, other = weight.sum(dim=-1), (q - others).exp().sum(dim=-1)
    # A token that is never drawn (-inf) costs nothing.
    gap = (p - q).masked_fill(weight == 0, 0.0)
    normalisers = (whole / other).log() + (largest - others)[..., 0]
    return torch.linalg.vecdot(weight, gap) / whole - normalisers


def least_nats(
    shares: Float[Array, "*point"] | float | int, reference: Float[Array, "*point"] | float | int
) -> Float[Array, "*point"]:
    """`binary_kl` of arrays of shares."""
    from scipy.special import rel_entr

    p, q = np.asarray(shares, dtype=float), np.asarray(reference, dtype=float)
    return np.asarray(np.maximum(rel_entr(p, q) + rel_entr(1 - p, 1 - q), 0.0))


def binary_kl(share: Number, reference: Number) -> float:
    """kl(share || reference) of two yes-or-no variables, nats.

    It is infinite where the reference rules out what the share does.
    """
    return float(least_nats(share, reference))


def efficiencies(
    shares: Float[Array, "*point"] | float | int,
    reference: Float[Array, "*point"] | float | int,
    paid: Float[Array, "*point"] | float | int,
) -> Float[Array, "*point"]:
    """`efficiency` of arrays of shares and costs."""
    least, nats = least_nats(shares, reference), np.asarray(paid, dtype=float)
    defined = (nats > 0) & np.isfinite(least)
    return np.where(defined, least / np.where(defined, nats, 1.0), np.nan)


def efficiency(share: Number, reference: Number, kl_sequence: Number) -> float:
    """The least that a change in behaviour costs, over what was paid: 1 is the floor, 0 a waste.

    No way of writing texts that turns the share `reference` into `share` has a smaller divergence
    than `binary_kl` (data processing), and the unsteered model conditioned on the behaviour has
    exactly that. It is NaN where nothing was paid, and where the reference is 0 or 1 and the share
    is not: how rare the behaviour is without steering is then unknown.
    """
    return float(efficiencies(share, reference, kl_sequence))


def best_of_n_kl(n: Count) -> float:
    """The most that taking the best of n texts can cost, nats per sequence: ln n - (n - 1) / n.

    It is reached where no two texts score alike; a judge that says yes or no makes it cheaper
    (Beirami et al. 2024, arXiv:2401.01879).

    Raises:
        ValueError: If n is below 1.
    """
    if n < 1:
        raise ValueError(f"the best of {n}: expected at least 1")
    return log(n) - (n - 1) / n
