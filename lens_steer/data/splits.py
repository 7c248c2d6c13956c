"""Splitting and resampling examples so that what is tied together stays together."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Int

from lens_steer.data.example import Example, Sides
from lens_steer.models import Prompt


def split_examples(
    desired: Sequence[Example],
    undesired: Sequence[Example],
    fractions: Sequence[float],
    seed: int,
    *,
    paired: bool,
) -> list[Sides]:
    """The examples of each part; parts have about these shares, and ties are never cut.

    Raises:
        ValueError: If the fractions do not add up, or a part would be without one of the sides.
    """
    numbers = _numbers(ties_of(desired, undesired, paired=paired), fractions, seed)
    parts = [_sides(desired, undesired, of_part) for of_part in numbers]
    for part, sides in enumerate(parts):
        if not all(sides):
            raise ValueError(
                f"part {part} of the split {fractions} of {len(desired)} desired and "
                f"{len(undesired)} undesired examples would have {len(sides[0])} desired and "
                f"{len(sides[1])} undesired examples: give more groups, or a larger share"
            )
    return parts


def split_numbers(
    ties: Sequence[Sequence[Hashable]], fractions: Sequence[float], seed: int, what: str
) -> list[list[int]]:
    """The numbers of what goes to each part; parts have about these shares, ties are never cut.

    Args:
        ties: The ties of each; two that have one in common go to the same part.
        fractions: The share of each part.
        seed: Of the shuffle.
        what: What is split, for messages.

    Raises:
        ValueError: If the fractions do not add up to 1, or a part would be empty.
    """
    parts = _numbers(ties, fractions, seed)
    for part, numbers in enumerate(parts):
        if not numbers:
            raise ValueError(
                f"part {part} of the split {tuple(fractions)} of {len(ties)} {what} would have no "
                f"{what}, expected at least one: give more groups, or a larger share"
            )
    return parts


def _numbers(
    ties: Sequence[Sequence[Hashable]], fractions: Sequence[float], seed: int
) -> list[list[int]]:
    if not fractions or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"got the fractions {fractions}, expected positive ones that add up to 1")
    part_of = assign_parts(ties, fractions, seed)
    return [np.flatnonzero(part_of == part).tolist() for part in range(len(fractions))]


def resampled_examples(
    desired: Sequence[Example], undesired: Sequence[Example], seed: int, *, paired: bool
) -> Sides:
    """The examples of as many clusters of ties as there are, drawn with replacement."""
    clusters = clusters_of(ties_of(desired, undesired, paired=paired))
    count = int(clusters.max()) + 1
    drawn = np.random.default_rng(seed).integers(count, size=count)
    members = [np.flatnonzero(clusters == cluster) for cluster in drawn]
    return _sides(desired, undesired, np.concatenate(members).tolist())


def spread_examples(
    desired: Sequence[Example], undesired: Sequence[Example], n: int, *, paired: bool
) -> Sides:
    """At most `n` examples of each side, in their order, from as many groups as possible."""
    clusters = clusters_of(ties_of(desired, undesired, paired=paired))
    of_desired, of_undesired = clusters[: len(desired)], clusters[len(desired) :]
    numbers = _in_turn(of_desired, n)
    others = numbers if paired else _in_turn(of_undesired, n)
    return tuple(desired[i] for i in numbers), tuple(undesired[i] for i in others)


def _in_turn(clusters: Int[np.ndarray, " example"], n: int) -> list[int]:
    """`n` examples: the first of every cluster, then the second of every cluster, and so on."""
    seen: Counter[int] = Counter()
    turns = []
    for i, cluster in enumerate(clusters.tolist()):
        turns.append((seen[cluster], i))
        seen[cluster] += 1
    return sorted(i for _, i in sorted(turns)[:n])


def _sides(
    desired: Sequence[Example], undesired: Sequence[Example], numbers: Sequence[int]
) -> Sides:
    """The examples of these numbers, counted through both sides, the desired first."""
    half = len(desired)
    return (
        tuple(desired[i] for i in numbers if i < half),
        tuple(undesired[i - half] for i in numbers if i >= half),
    )


def ties_of(
    desired: Sequence[Example], undesired: Sequence[Example], *, paired: bool
) -> list[list[Hashable]]:
    """What ties each example to others (its prompt, group and pair), desired examples first."""
    all_ties = []
    for i, example in enumerate((*desired, *undesired)):
        ties = ties_of_prompt(example.prompt, example.group)
        ties += [("pair", i % len(desired))] if paired else []
        all_ties.append(ties)
    return all_ties


def ties_of_prompt(prompt: Prompt, group: str) -> list[Hashable]:
    """What ties a prompt to others: itself and its group, where they are not empty."""
    ties: list[Hashable] = [("prompt", prompt)] if prompt else []
    return ties + ([("group", group)] if group else [])


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
