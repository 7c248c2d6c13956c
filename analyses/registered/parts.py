"""What a task is made of, parted by groups: dev, and three folds that are tested in turn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.studies import selected
from lens_steer.data import ContrastivePairs

FOLDS = 3
_DEV = 4  # one group in four


@dataclass(frozen=True, eq=False)
class Parted:
    """A task that is parted by the groups of its pairs.

    Attributes:
        name: In tables.
        pairs: All contrastive pairs; a group is tested, chosen on or fitted to as a whole.
    """

    name: str
    pairs: ContrastivePairs

    @property
    def made_of(self) -> Any:
        """What makes it another task where it is another, as plain JSON."""
        return [
            [repr(e.prompt), e.continuation, e.group]
            for e in (*self.pairs.desired, *self.pairs.undesired)
        ]

    def parts(self, seed: int) -> tuple[ContrastivePairs, tuple[ContrastivePairs, ...]]:
        """Dev, and the folds of which each is tested once with what was fitted to the others."""
        groups = list(dict.fromkeys(self.pairs.groups))
        order = [groups[i] for i in np.random.default_rng(seed).permutation(len(groups))]
        n_dev = max(1, len(groups) // _DEV)
        rest = order[n_dev:]
        chosen = [order[:n_dev], *(rest[i::FOLDS] for i in range(FOLDS))]
        dev, *folds = (self._of_groups(part) for part in chosen)
        return dev, tuple(folds)

    def train(self, seed: int, fold: int) -> ContrastivePairs:
        """What methods are fitted to where a fold is tested: neither that fold nor dev."""
        dev, folds = self.parts(seed)
        left_out = {*dev.groups, *folds[fold].groups}
        return self._of_groups([group for group in self.pairs.groups if group not in left_out])

    def _of_groups(self, groups: Sequence[str]) -> ContrastivePairs:
        inside = set(groups)
        rows = [i for i, group in enumerate(self.pairs.groups) if group in inside]
        return selected(self.pairs, rows)
