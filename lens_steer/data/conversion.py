"""Pairs from what a user has."""

from typing import Any

from lens_steer.data.contrastive_pairs import ContrastivePairs


def as_pairs(pairs: Any) -> ContrastivePairs:
    """Pairs as they are, or made from rows as `ContrastivePairs.of` takes them.

    Raises:
        ValueError: If it is neither, or a row is broken.
    """
    return pairs if isinstance(pairs, ContrastivePairs) else ContrastivePairs.of(pairs)
