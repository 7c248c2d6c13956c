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
    """The natural activations of each layer that others are compared with; float64.

    Attributes:
        mean: Of the one half.
        factor: Lower Cholesky factor of its shrunk covariance.
        distances: Mahalanobis', of the positions of the other half, rising.
    """

    mean: Float[Tensor, "layer d"]
    factor: Float[Tensor, "layer d d"]
    distances: Float[Tensor, "layer position"]

    @classmethod
    def fit(cls, one: Float[Tensor, "n layer d"], other: Float[Tensor, "m layer d"]) -> "Cloud":
        """Mean and covariance of the one half, distances of the other.

        Raises:
            ValueError: If either half has less than two positions, or the one does not vary.
        """
        from sklearn.covariance import LedoitWolf

        if min(len(one), len(other)) < 2:
            raise ValueError(
                f"got {len(one)} and {len(other)} positions, expected two or more in either half: "
                "give more prompts"
            )
        x = one.double()
        spread = [torch.from_numpy(LedoitWolf().fit(y.numpy()).covariance_) for y in x.unbind(1)]
        factor, failed = torch.linalg.cholesky_ex(torch.stack(spread))
        if bool(failed.any()):
            raise ValueError(
                f"the activations of {len(one)} positions do not vary: give more prompts"
            )
        empty = torch.zeros(factor.shape[0], 0).double()
        bare = cls(x.mean(dim=0), factor, empty)
        return cls(bare.mean, factor, bare.distance(other).T.contiguous().sort(dim=1).values)

    def distance(self, x: Float[Tensor, "n layer d"]) -> Float[Tensor, "n layer"]:
        """Mahalanobis distance from the mean."""
        centred = (x.double() - self.mean).permute(1, 2, 0)
        return torch.linalg.solve_triangular(self.factor, centred, upper=False).norm(dim=1).T

    def percentiles(self, x: Float[Tensor, "n layer d"]) -> Float[Tensor, "n layer"]:
        """Per cent of the other half that is nearer; of those just as far, half count."""
        asked = self.distance(x).T.contiguous()
        below = torch.searchsorted(self.distances, asked)
        up_to = torch.searchsorted(self.distances, asked, right=True)
        return ((below + up_to).double() * (50 / self.distances.shape[1])).T


def halved(
    texts: Sequence[SampledText], seed: int
) -> tuple[tuple[SampledText, ...], tuple[SampledText, ...]]:
    """Two parts of as many texts, drawn.

    Raises:
        ValueError: If there is only one.
    """
    if len(texts) < 2:
        raise ValueError(f"got {len(texts)} text, expected two or more to halve: give more prompts")
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    middle = len(texts) // 2
    return tuple(texts[i] for i in order[:middle]), tuple(texts[i] for i in order[middle:])


def residuals(
    model: SteerableModel,
    texts: Sequence[SampledText],
    own: Methods,
    *,
    layers: Sequence[int],
    scope: Scope,
) -> Float[Tensor, "position layer d"]:
    """The residual stream behind each block and its edits, at the positions of the scope.

    Text by text, float32 on the CPU.

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
        with (
            torch.no_grad(),
            steered_by_row(model, [own] * len(part), lengths, scope),
        ):
            found = read(model, tokens, mask, select)
        x = torch.stack([found[site] for site in sites], dim=1)
        parts |= dict(zip(batch, x.split(where.sum(dim=1).tolist()), strict=True))
    whole = torch.cat([parts[i] for i in range(len(texts))])
    if len(whole) == 0:
        raise ValueError(f"scope {scope!r} steers no position of these texts")
    return whole


def quartiles_of(
    clouds: Sequence[Cloud], x: Float[Tensor, "n layer d"]
) -> Float[Tensor, "reference layer 3"]:
    """Quartiles over positions of the percentile among each of the clouds."""
    at = torch.tensor([0.25, 0.5, 0.75]).double()
    return torch.stack([cloud.percentiles(x).quantile(at, dim=0).T for cloud in clouds])
