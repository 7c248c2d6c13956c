"""Sums over groups of prompts of the trials of a search."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from lens_steer.benchmark.cells import group_sums
from lens_steer.evaluation import Evaluation

Array = np.ndarray
Sums = tuple[tuple[Any, ...], dict[str, Array]]


def sums_on_dev(trials: Sequence[Evaluation]) -> Sums:
    """Groups of prompts, and `[trial group]`: `shown`, `examples`, `nats`, `draws`.

    Raises:
        ValueError: If trials are of different examples, or one was made by hand without nats.
    """
    groups, found = sums_on_test(trials)
    found["nats"] = np.stack([_of_texts(trial, "kl", groups) for trial in trials])
    found["draws"] = np.stack([_of_texts(trial, "draws", groups) for trial in trials])
    return groups, found


def sums_on_test(trials: Sequence[Evaluation]) -> Sums:
    """Groups of prompts, and `[trial group]`: `shown`, `examples`.

    Raises:
        ValueError: If trials are of different examples.
    """
    keys = trials[0].groups
    if any(trial.groups != keys for trial in trials):
        raise ValueError("trials are of different examples: evaluate the same pairs in each")
    groups = tuple(dict.fromkeys(keys))
    index = _index(groups)
    shown = np.stack([group_sums(trial.behaviour, keys, index) for trial in trials])
    examples = np.stack(
        [group_sums(torch.ones_like(trial.behaviour), keys, index) for trial in trials]
    )
    return groups, {"shown": shown, "examples": examples}


def _of_texts(trial: Evaluation, name: str, groups: Sequence[Any]) -> Float[Array, " group"]:
    if trial.paths is None:
        raise ValueError("a trial on dev was made by hand, without `paths`: use evaluate")
    return group_sums(getattr(trial.paths, name), trial.text_groups, _index(groups))


def _index(groups: Sequence[Any]) -> dict[Any, int]:
    return {group: i for i, group in enumerate(groups)}
