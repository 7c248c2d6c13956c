"""Singular subspaces of Jacobians, and how alike those of two texts are."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

PARTS = ("A left", "A right", "A - I left", "A - I right")


@dataclass(frozen=True, eq=False)
class Factors:
    """Singular vectors of A and of A - I, as columns, and their values."""

    vectors: tuple[Float[Tensor, "text d d"], ...]  # in the order of PARTS
    values: tuple[Float[Tensor, "text d"], ...]
    cosine: Float[Tensor, " pair"]  # of A - I

    @classmethod
    def of(cls, matrices: Float[Tensor, "text d d"]) -> "Factors":
        """The factors of the Jacobians of several texts."""
        update = matrices - torch.eye(matrices.shape[-1]).to(matrices)
        u, s, vh = torch.linalg.svd(matrices)
        du, ds, dvh = torch.linalg.svd(update)
        return cls((u, vh.mT, du, dvh.mT), (s, s, ds, ds), _cosines(update))

    @property
    def spectra(self) -> Float[Tensor, "two d"]:
        """Mean of the spectra that are compared, by part."""
        return torch.stack([self.values[0], self.values[2]]).mean(dim=1).float()

    def random(self, seed: int) -> "Factors":
        """Random orthonormal vectors with these values."""
        draw = torch.Generator().manual_seed(seed)
        drawn = (torch.randn(v.shape, generator=draw, dtype=v.dtype) for v in self.vectors)
        return Factors(tuple(torch.linalg.qr(x)[0] for x in drawn), self.values, self.cosine)

    def similarity(self, sizes: Sequence[int]) -> Float[Tensor, "part size pair"]:
        """Of texts 0 and 1, 2 and 3, and so on."""
        parts = []
        for vectors, values in zip(self.vectors, self.values, strict=True):
            weighted = vectors * values[:, None]
            found = [_overlap(weighted[..., :m], values[..., :m]) for m in sizes]
            parts.append(torch.stack(found))
        return torch.stack(parts).float()


def _overlap(
    weighted: Float[Tensor, "text d m"], values: Float[Tensor, "text m"]
) -> Float[Tensor, " pair"]:
    nuclear = torch.linalg.matrix_norm(weighted[::2].mT @ weighted[1::2], ord="nuc")
    return nuclear / (values[::2].norm(dim=-1) * values[1::2].norm(dim=-1))


def _cosines(update: Float[Tensor, "text d d"]) -> Float[Tensor, " pair"]:
    flat = update.flatten(1)
    return torch.cosine_similarity(flat[::2], flat[1::2], dim=-1).float()
