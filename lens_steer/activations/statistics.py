"""Mean and spread of contrastive activations in one pass, memory flat in the number of pairs."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.activations.read_positions import ReadPosition
from lens_steer.activations.reading import read_rows
from lens_steer.activations.types import Activations
from lens_steer.arguments import Layers
from lens_steer.artifacts import savable
from lens_steer.data import ContrastivePairs, Example, as_pairs
from lens_steer.models import Provenance, SteerableModel, attach, check_one_model, encode
from lens_steer.reports import short_repr
from lens_steer.sites import Kind, Site, sites_of


@savable
@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and squared deviations of a sample, mergeable (Chan, Golub, LeVeque 1979).

    Attributes:
        count: How many examples there are.
        mean: Mean over the examples, float32.
        m2: Sum over examples of the squared deviation from the mean, float32.
    """

    count: int
    mean: Float[Tensor, "layer *site"]
    m2: Float[Tensor, "layer *site"]

    __repr__ = short_repr

    @classmethod
    def of(cls, x: Float[Tensor, "n layer *site"]) -> "Moments":
        """The moments of a sample; summed in float64."""
        y = x.double()
        mean = y.mean(dim=0)
        return cls(len(x), mean.float(), ((y - mean) ** 2).sum(dim=0).float())

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both samples together."""
        count = self.count + other.count
        mean, shift = self.mean.double(), other.mean.double() - self.mean.double()
        m2 = self.m2.double() + other.m2.double() + shift**2 * (self.count * other.count / count)
        return Moments(count, (mean + shift * (other.count / count)).float(), m2.float())

    @property
    def variance(self) -> Float[Tensor, "layer *site"]:
        """The unbiased variance; NaN for a single example."""
        return self.m2 / (self.count - 1) if self.count > 1 else torch.full_like(self.m2, torch.nan)


@savable
@dataclass(frozen=True, eq=False)
class ContrastStats:
    """Mean and spread of both classes and of their paired difference, without the examples.

    Attributes:
        desired: Moments of the desired examples.
        undesired: Moments of the undesired examples.
        difference: Moments of desired minus undesired, pair by pair; None for unpaired examples.
        positive: Pairs whose difference is above 0, per element; None for unpaired examples.
        negative: Pairs whose difference is below 0, likewise.
        kind: What was read.
        layers: Block indices of the layer axis.
        provenance: The model and data.
    """

    desired: Moments
    undesired: Moments
    difference: Moments | None
    positive: Int[Tensor, "layer *site"] | None
    negative: Int[Tensor, "layer *site"] | None
    kind: Kind
    layers: tuple[int, ...]
    provenance: Provenance | None = None

    __repr__ = short_repr

    @classmethod
    def of(cls, activations: Activations) -> "ContrastStats":
        """The statistics of activations that were kept."""
        a = activations
        sides = (Moments.of(a.desired), Moments.of(a.undesired))
        if not a.paired:
            return cls(*sides, None, None, None, a.kind, a.layers, a.provenance)
        gap = a.desired - a.undesired
        counts = ((gap > 0).sum(dim=0), (gap < 0).sum(dim=0))
        return cls(*sides, Moments.of(gap), *counts, a.kind, a.layers, a.provenance)

    @classmethod
    def fit(
        cls,
        model: SteerableModel,
        pairs: ContrastivePairs | Iterable[Any],
        kind: str,
        *,
        read: ReadPosition = "last",
        sink: bool = False,
        layers: Layers | None = None,
        window: int = 64,
        progress: bool = True,
    ) -> "ContrastStats":
        """Read the model over the pairs, `window` of them in memory at a time.

        Args:
            kind: `resid head neuron gate mlp_out attn_out`, or TransformerLens' name.
            pairs: As in `capture`.
            read: As in `capture`.
            sink: As in `capture`.
            layers: Blocks to read; None is all.
            window: Pairs (or, unpaired, examples) held at once; any value gives the same result.

        Raises:
            ValueError: As `capture`.

        Example:
            >>> stats = ls.activations.ContrastStats.fit(model, pairs, "neuron", read="mean")
            >>> scores = ls.attribution.contrast(stats)
        """
        pairs, sites = as_pairs(pairs), sites_of(model, kind, layers)
        chosen = tuple(site.layer for site in sites)
        source = Provenance(attach(model).fingerprint, pairs.name, str(read))
        total: ContrastStats | None = None
        size = len(pairs.desired) + len(pairs.undesired)
        with tqdm(total=size, desc=f"stream {sites[0].kind.value}", disable=not progress) as bar:
            for part in _windows(pairs, window):
                sides = _sides(model, part, sites, read, sink, bar.update)
                stats = cls.of(Activations(*sides, sites[0].kind, chosen, paired=pairs.paired))
                total = stats if total is None else total.merge(stats)
        assert total is not None  # pairs are never empty
        return replace(total, provenance=source)

    def merge(self, other: "ContrastStats") -> "ContrastStats":
        """The statistics of both samples together, as if read in one go.

        Raises:
            ValueError: If the two are of different kinds, layers, pairing or models.
        """
        ours, theirs = (
            (s.kind, s.layers, s.difference is None, s.desired.mean.shape) for s in (self, other)
        )
        if ours != theirs:
            raise ValueError(
                f"cannot merge statistics of {ours} with {theirs} (kind, layers, unpaired, shape)"
            )
        check_one_model(self.provenance, other.provenance, "cannot merge statistics of two models")
        difference = positive = negative = None
        if self.difference is not None and other.difference is not None:
            difference = self.difference.merge(other.difference)
        if self.positive is not None and other.positive is not None:
            positive = self.positive + other.positive
        if self.negative is not None and other.negative is not None:
            negative = self.negative + other.negative
        return replace(
            self,
            desired=self.desired.merge(other.desired),
            undesired=self.undesired.merge(other.undesired),
            difference=difference,
            positive=positive,
            negative=negative,
        )

    @property
    def direction(self) -> Float[Tensor, "layer *site"]:
        """Mean of the desired minus mean of the undesired, by layer."""
        if self.difference is not None:  # exact where the means are large and alike
            return self.difference.mean
        return self.desired.mean - self.undesired.mean


def _windows(pairs: ContrastivePairs, window: int) -> Iterator[ContrastivePairs]:
    """Consecutive parts of the pairs; both sides of unpaired sets are cut into as many parts."""
    if window < 1:
        raise ValueError(f"window {window}: expected at least 1")
    most = max(len(pairs.desired), len(pairs.undesired))
    parts = min(-(-most // window), len(pairs.desired), len(pairs.undesired))

    def cut(side: tuple[Example, ...], i: int) -> tuple[Example, ...]:
        return side[len(side) * i // parts : len(side) * (i + 1) // parts]

    for i in range(parts):
        yield replace(pairs, desired=cut(pairs.desired, i), undesired=cut(pairs.undesired, i))


def _sides(
    model: SteerableModel,
    pairs: ContrastivePairs,
    sites: list[Site],
    read: ReadPosition,
    sink: bool,
    advance: Callable[[int], object],
) -> tuple[Float[Tensor, "desired layer *site"], Float[Tensor, "undesired layer *site"]]:
    """Both classes, read together: a pair's examples have their prompt in common."""
    examples = (*pairs.desired, *pairs.undesired)
    rows = [encode(model, example.prompt, example.continuation) for example in examples]
    values = read_rows(model, rows, sites, read, sink=sink, advance=advance)
    return values[: len(pairs.desired)], values[len(pairs.desired) :]
