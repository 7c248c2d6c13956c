"""Numpy oracles of the evaluation, written from the definitions and not from the code."""

from collections.abc import Hashable, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch

from lens_steer.models import is_bridge

Array = np.ndarray[Any, np.dtype[np.float64]]


def all_resample_means(values: Sequence[float], groups: Sequence[Hashable]) -> Array:
    """The mean of every possible resample of groups: the bootstrap distribution itself."""
    members: dict[Hashable, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        members.setdefault(group, []).append(value)
    samples = list(members.values())
    return np.array(
        [float(np.mean(sum(drawn, []))) for drawn in product(samples, repeat=len(samples))]
    )


def raw_logits(model: Any, ids: Sequence[int], **hooks: Any) -> Array:
    """Logits of one row alone, through the model's own call; `hooks` as `model.hooks` takes."""
    uncached = {"use_cache": False} if is_bridge(model) else {}
    with torch.no_grad(), model.hooks(**hooks):
        return model(torch.tensor([list(ids)]), **uncached)[0].double().numpy()


def token_log_probabilities(logits: Array, ids: Sequence[int], prompt_length: int) -> Array:
    """Of each token from `prompt_length` on, by its definition, one token at a time."""
    found = []
    for position in range(max(prompt_length, 1), len(ids)):
        row = logits[position - 1]
        peak = row.max()
        total = peak + np.log(np.exp(row - peak).sum())
        found.append(row[ids[position]] - total)
    return np.array(found)
