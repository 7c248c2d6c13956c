"""ITI: pushing the heads whose probes are right most often."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import Activations
from lens_steer.arguments import Count, Number, Seed
from lens_steer.artifacts import savable
from lens_steer.attribution import ElementMask, ElementScores
from lens_steer.sites import Kind, Site
from lens_steer.steering.base import Push, VectorMethod
from lens_steer.steering.iti.probes import head_accuracies, probe_normal


@savable
@dataclass(frozen=True, eq=False, repr=False)
class ITI(VectorMethod):
    """z becomes z + strength * alpha * sigma * theta in every chosen head.

    theta is a direction of length 1 in the head's own space, sigma the standard deviation of the
    projections on it of both classes' activations together. Heads are edited before W_O.

    Attributes:
        mask: The heads.
        directions: theta of each head; 0 where a head is not chosen.
        spreads: sigma, in units of the activation; 0 where a head is not chosen.
        alpha: Dimensionless, in standard deviations; 0 is the identity; the paper's is 15.
        accuracies: Of the probes by which heads were chosen; None if they were not.

    Source: Li et al. 2023, "Inference-Time Intervention" (arXiv:2306.03341), section 3.
    """

    mask: ElementMask
    directions: Float[Tensor, "layer head d_head"] = field(repr=False)
    spreads: Float[Tensor, "layer head"] = field(repr=False)
    alpha: Number
    accuracies: ElementScores | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mask.kind is not Kind.HEAD or self.mask.count == 0:
            raise ValueError(f"got {self.mask!r}, expected a mask that chooses heads")
        chosen = self.mask.selected
        if self.directions.shape[:2] != chosen.shape or self.spreads.shape != chosen.shape:
            shapes = tuple(self.directions.shape), tuple(self.spreads.shape)
            raise ValueError(f"got directions and spreads of shapes {shapes} for {self.mask!r}")
        wanted = chosen.to(self.directions)
        lengths = self.directions.norm(dim=-1)
        if not bool(((lengths - wanted).abs() <= 1e-4).all()):
            raise ValueError("expected directions of length 1 where a head is chosen, 0 elsewhere")
        if not bool((torch.isfinite(self.spreads) & ((self.spreads > 0) == chosen)).all()):
            raise ValueError("expected finite spreads, above 0 where a head is chosen, 0 elsewhere")

    @classmethod
    def fit(
        cls,
        activations: Activations,
        scores: ElementScores | None = None,
        *,
        k: Count,
        alpha: Number = 15.0,
        direction: Literal["means", "probe"] = "means",
        groups: Sequence[Hashable] | None = None,
        folds: Count = 5,
        seed: Seed | None = None,
    ) -> "ITI":
        """Choose the heads of the highest score, and push each along a direction of its own.

        Args:
            activations: Of kind `head`, at the layers to choose from.
            scores: Of the heads: accuracies that are known already, or any other kind of score.
                None: `head_accuracies` of these activations, by `groups`, `folds` and `seed`.
            k: How many heads, over all layers: those of the highest score; of equal ones, the
                first. The paper's is 48, of 1024.
            alpha: See the class.
            direction: `means` is the difference of the class means ("mass mean shift"), the paper's
                best; `probe` the normal of a probe, fitted anew to all activations.
            groups: See `head_accuracies`.
            folds: See `head_accuracies`.
            seed: Of the folds; needed unless there are scores.

        Raises:
            ValueError: As `head_accuracies`, if k is out of range, a chosen head's class means are
                equal, the scores are of other elements, the direction has another name, or there is
                not one of scores and seed.

        Example:
            >>> heads = ls.capture(model, train, "head")
            >>> method = ls.ITI.fit(heads, k=8, groups=train.groups, seed=0)
        """
        if direction not in _NORMALS:
            raise ValueError(f"direction {direction!r}: expected one of {', '.join(_NORMALS)}")
        a, scores = activations, _judged(activations, scores, groups, folds, seed)
        if (a.kind, a.layers) != (scores.kind, scores.layers):
            raise ValueError(f"got {scores!r} for {a!r}: expected the same kind and layers")
        mask = scores.top(k)
        directions = torch.zeros(a.desired.shape[1:], dtype=torch.float64)
        spreads = torch.zeros(mask.selected.shape, dtype=torch.float64)
        for i, head in mask.selected.nonzero().tolist():
            up, down = a.desired[:, i, head].double(), a.undesired[:, i, head].double()
            theta = _NORMALS[direction](up, down)
            if not bool(theta.any()):
                where = f"head {head} of layer {a.layers[i]}"
                raise ValueError(f"{where} does not tell the classes apart: take a smaller k")
            directions[i, head] = theta / theta.norm()
            along = torch.cat([up, down]) @ directions[i, head]
            spreads[i, head] = along.std(correction=0)
        kept = directions.float(), spreads.float()
        return cls(mask, *kept, alpha, scores, provenance=a.provenance)

    @property
    @override
    def sites(self) -> tuple[Site, ...]:
        layers = zip(self.mask.layers, self.mask.by_layer.tolist(), strict=True)
        return tuple(sorted(Site(layer, Kind.HEAD) for layer, n in layers if n))

    @override
    def items(self) -> Sequence[tuple[Site, Tensor]]:
        device, dtype = self.directions.device, self.directions.dtype
        return [(site, self._vector(site, device, dtype)) for site in self.sites]

    @override
    def shape_at(self, site: Site) -> tuple[int, ...]:
        del site
        return tuple(self.directions.shape[1:])

    @override
    def _push(self, site: Site, device: torch.device, dtype: torch.dtype) -> Push:
        vector = self._vector(site, device, dtype)  # multiplied in the model's precision
        return lambda _: vector

    def _vector(
        self, site: Site, device: torch.device, dtype: torch.dtype
    ) -> Float[Tensor, "head d_head"]:
        i = self.mask.layers.index(site.layer)
        sigma = self.spreads[i].to(device, dtype)
        return self.alpha * sigma[:, None] * self.directions[i].to(device, dtype)


def _mean_difference(
    desired: Float[Tensor, "desired d_head"], undesired: Float[Tensor, "undesired d_head"]
) -> Float[Tensor, " d_head"]:
    return desired.mean(dim=0) - undesired.mean(dim=0)


_NORMALS = {"means": _mean_difference, "probe": probe_normal}


def _judged(
    activations: Activations,
    scores: ElementScores | None,
    groups: Sequence[Hashable] | None,
    folds: int,
    seed: int | None,
) -> ElementScores:
    """The scores to choose heads by: those at hand, or the accuracies of probes."""
    if scores is None and seed is None:
        raise ValueError("got no scores and no seed: expected scores of the heads, or a seed")
    if scores is not None and seed is not None:
        raise ValueError(f"got scores and seed {seed}: scores are not drawn, leave the seed out")
    if scores is not None:
        return scores
    assert seed is not None  # one of the two is there
    return head_accuracies(activations, groups=groups, folds=folds, seed=seed)
