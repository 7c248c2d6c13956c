"""Natural activations as a cloud: mean, shrunk covariance, and how far out its own points lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.evaluation import SampledText, even_batches, positions_of, steered_by_row
from lens_steer.models import SteerableModel, attach, pad, read
from lens_steer.sites import Site
from lens_steer.steering import Methods, Scope


@dataclass(frozen=True, eq=False)
class Cloud:
    """The natural activations of each layer, against which others are ranked; float64.

    Attributes:
        mean: The mean of the fitted half.
        factor: The lower Cholesky factor of its shrunk covariance (Ledoit and Wolf 2004).
        distances: The Mahalanobis distances of the positions of the other half, rising.
    """

    mean: Float[Tensor, "layer d"]
    factor: Float[Tensor, "layer d d"]
    distances: Float[Tensor, "layer position"]

    @classmethod
    def fit(
        cls, fitted: Float[Tensor, "n layer d"], held_out: Float[Tensor, "m layer d"]
    ) -> "Cloud":
        """Estimate mean and covariance on one half, and the distances of the other.

        Raises:
            ValueError: If either half has less than two positions, or `fitted` does not vary.
        """
        from sklearn.covariance import LedoitWolf

        if min(len(fitted), len(held_out)) < 2:
            raise ValueError(
                f"got {len(fitted)} and {len(held_out)} positions, expected two or more in either "
                "half: give more prompts"
            )
        x = fitted.double()
        covariances = [
            torch.from_numpy(LedoitWolf().fit(layer.numpy()).covariance_) for layer in x.unbind(1)
        ]
        factor, failed = torch.linalg.cholesky_ex(torch.stack(covariances))
        if bool(failed.any()):
            raise ValueError(
                f"the activations of {len(fitted)} positions do not vary: give more prompts"
            )
        without = cls(x.mean(dim=0), factor, torch.zeros(factor.shape[0], 0).double())
        distances = without.distance(held_out).T.contiguous().sort(dim=1).values
        return cls(without.mean, factor, distances)

    def distance(self, x: Float[Tensor, "n layer d"]) -> Float[Tensor, "n layer"]:
        """The Mahalanobis distance from the mean."""
        centred = (x.double() - self.mean).permute(1, 2, 0)
        return torch.linalg.solve_triangular(self.factor, centred, upper=False).norm(dim=1).T

    def percentiles(self, x: Float[Tensor, "n layer d"]) -> Float[Tensor, "n layer"]:
        """Per cent of the held-out half that is nearer; points equally far count by half."""
        distances = self.distance(x).T.contiguous()
        below = torch.searchsorted(self.distances, distances)
        up_to = torch.searchsorted(self.distances, distances, right=True)
        return ((below + up_to).double() * (50 / self.distances.shape[1])).T


def halved(
    texts: Sequence[SampledText], seed: int
) -> tuple[tuple[SampledText, ...], tuple[SampledText, ...]]:
    """Split texts into two halves at random.

    Raises:
        ValueError: If there is only one text.
    """
    if len(texts) < 2:
        raise ValueError(f"got {len(texts)} text, expected two or more to halve: give more prompts")
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    middle = len(texts) // 2
    return tuple(texts[i] for i in order[:middle]), tuple(texts[i] for i in order[middle:])


def residuals(
    model: SteerableModel,
    texts: Sequence[SampledText],
    methods: Methods,
    *,
    layers: Sequence[int],
    scope: Scope,
) -> Float[Tensor, "position layer d"]:
    """The residual stream behind each block and its edits, at the positions of the scope.

    Positions come text by text, in float32 on the CPU.

    Raises:
        ValueError: If a layer is out of range, a method does not fit, or there is no position.
    """
    parts: dict[int, Tensor] = {}
    sites = [Site(layer) for layer in layers]
    for batch in even_batches(model, [len(text.ids) for text in texts]):
        part = [texts[i] for i in batch]
        tokens, mask = pad(model, [text.ids for text in part])
        where, lengths = positions_of(model, part, scope), [text.prompt_length for text in part]
        select = dict.fromkeys(sites, lambda x, at=where: x[at.to(x.device)].float().cpu())
        # hooks run in the order they were set: those that read see what was steered
        attach(model)
        with torch.no_grad(), steered_by_row(model, [methods] * len(part), lengths, scope):
            states = read(model, tokens, mask, select)
        x = torch.stack([states[site] for site in sites], dim=1)
        parts |= dict(zip(batch, x.split(where.sum(dim=1).tolist()), strict=True))
    positions = torch.cat([parts[i] for i in range(len(texts))])
    if len(positions) == 0:
        raise ValueError(f"scope {scope!r} steers no position of these texts")
    return positions


def quartiles_of(
    clouds: Sequence[Cloud], x: Float[Tensor, "n layer d"]
) -> Float[Tensor, "reference layer 3"]:
    """Quartiles over positions of the percentile in each of the clouds."""
    quartiles = torch.tensor([0.25, 0.5, 0.75]).double()
    return torch.stack([cloud.percentiles(x).quantile(quartiles, dim=0).T for cloud in clouds])
