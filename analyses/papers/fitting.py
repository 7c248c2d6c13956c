"""What the methods of a table are fitted to, read from the model once for all of them."""

from dataclasses import dataclass, field
from typing import Any

import lens_steer as ls
from lens_steer.activations import ReadPosition


@dataclass(frozen=True, eq=False)
class Fitting:
    """The training pairs of a task on a model.

    Attributes:
        model: The model.
        pairs: What methods are fitted to.
        seed: Of whatever draws.
        read: Where activations are read.
        most_linearized: At most so many texts have their Jacobians averaged.
    """

    model: ls.SteerableModel
    pairs: ls.ContrastivePairs
    seed: int
    read: ReadPosition = "last"
    most_linearized: int = 50
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def n_layers(self) -> int:
        """How many blocks the model has."""
        return int(self.model.cfg.n_layers)

    def activations(self, kind: str = "resid") -> ls.Activations:
        """Activations of all layers at the read position, read once for each kind."""
        if kind not in self._kept:
            self._kept[kind] = ls.capture(
                self.model, self.pairs, kind, read=self.read, progress=False
            )
        return self._kept[kind]

    def jacobians(self) -> ls.LayerJacobians:
        """The Jacobians of all blocks, averaged over the first desired texts."""
        if "jacobians" not in self._kept:
            texts = self.pairs.desired[: self.most_linearized]
            self._kept["jacobians"] = ls.linearize(
                self.model, texts, read=self.read, progress=False
            )
        return self._kept["jacobians"]

    def block(self, published: int, depth: int) -> int:
        """The block of this model at the relative depth of a published one.

        Args:
            published: The published block, counted from 0.
            depth: How many blocks the published model has.

        Example:
            >>> fitting.block(13, 32)  # of a model of 30 blocks
            12
        """
        return min(self.n_layers - 1, round(published / depth * self.n_layers))

    def heads(self, published: int, of: int) -> int:
        """As large a share of this model's heads, at least one.

        Args:
            published: How many heads the paper chooses.
            of: How many the published model has in all its blocks.

        Example:
            >>> fitting.heads(48, 1024)  # of a model of 30 blocks with 9 heads each
            13
        """
        total = self.n_layers * int(self.model.cfg.n_heads)
        return max(1, round(published / of * total))
