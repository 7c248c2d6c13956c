"""Splitting and resampling examples so that what is tied together stays together."""

from collections.abc import Hashable, Sequence

import numpy as np

from lens_steer.data.example import Example


def ties_of(
    desired: Sequence[Example], undesired: Sequence[Example], *, paired: bool
) -> list[list[Hashable]]:
    """What ties each example to others (its prompt, group and pair), desired examples first."""
    all_ties = []
    for i, example in enumerate((*desired, *undesired)):
        ties: list[Hashable] = [("prompt", example.prompt)] if example.prompt else []
        ties += [("group", example.group)] if example.group else []
        ties += [("pair", i % len(desired))] if paired else []
        all_ties.append(ties)
    return all_ties


def assign_parts(
    ties: Sequence[Sequence[Hashable]], fractions: Sequence[float], seed: int
) -> np.ndarray:
    """The number of the part that each example goes to; parts have about these shares of all.

    Args:
        ties: The ties of each example; two that have one in common go to the same part.
        fractions: The share of each part, adding up to 1.
        seed: Of the shuffle.
    """
    clusters = clusters_of(ties)
    order = np.random.default_rng(seed).permutation(int(clusters.max()) + 1)
    sizes = np.bincount(clusters)[order]
    # A cluster goes to the part in which its middle falls.
    middles = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    part_of = np.empty_like(order)
    part_of[order] = np.searchsorted(np.cumsum(fractions)[:-1], middles, side="right")
    return part_of[clusters]


def resampled(ties: Sequence[Sequence[Hashable]], seed: int) -> list[int]:
    """The examples of as many clusters as there are, drawn with replacement."""
    clusters = clusters_of(ties)
    count = int(clusters.max()) + 1
    drawn = np.random.default_rng(seed).integers(count, size=count)
    return [int(i) for cluster in drawn for i in np.flatnonzero(clusters == cluster)]


def clusters_of(ties: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """A cluster number for each example, equal where ties connect them."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    keys: dict[Hashable, int] = {}
    edges = [
        (i, len(ties) + keys.setdefault(tie, len(keys)))
        for i, ties_of_example in enumerate(ties)
        for tie in ties_of_example
    ]
    size = len(ties) + len(keys)
    ends = np.array(edges, dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges)), (ends[0], ends[1])), shape=(size, size))
    labels = connected_components(graph, directed=False)[1][: len(ties)]
    return np.unique(labels, return_inverse=True)[1]
