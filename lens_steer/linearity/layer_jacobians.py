"""The blocks' mean Jacobians, as matrices or as an operator."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.artifacts import savable
from lens_steer.linearity.block_maps import BlockMaps
from lens_steer.models import Provenance


@savable
@dataclass(frozen=True, eq=False)
class LayerJacobians:
    """A_l = d(stream leaving block l) / d(stream entering it), at one token, mean over texts.

    The context is frozen: keys and values of earlier tokens do not vary (arXiv:2604.19018,
    section 5; the mean of the Jacobians, not the Jacobian at the mean).

    Attributes:
        nominal: Mean trajectory: z_0 is the embedding, z_{l+1} leaves block l.
        matrices: A_l, row = output, column = input; None if only products can be had.
        spread: rms over texts of |A_i - A| / |A - I| (Frobenius): how far one A fits all, by layer;
            None without matrices.
        texts: How many were averaged.
        maps: Each text's own maps; None with matrices, which need no model.
        provenance: The model and texts.
    """

    nominal: Float[Tensor, "layer_and_last d"]
    matrices: Float[Tensor, "layer d d"] | None
    spread: Float[Tensor, " layer"] | None
    texts: int
    maps: BlockMaps | None = None
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        if (self.matrices is None) == (self.maps is None):
            raise ValueError("expected either matrices or maps of a model")
        if self.matrices is not None and len(self.matrices) + 1 != len(self.nominal):
            raise ValueError(
                f"got {len(self.matrices)} matrices and {len(self.nominal)} states: expected one "
                "state more than layers"
            )
        for name, value in (("Jacobians", self.matrices), ("states", self.nominal)):
            if value is not None and not bool(torch.isfinite(value).all()):
                raise ValueError(f"the {name} are not finite: does the model run in its dtype?")

    @classmethod
    def from_tensors(
        cls, matrices: Float[Tensor, "layer d d"], nominal: Float[Tensor, "layer_and_last d"]
    ) -> "LayerJacobians":
        """Jacobians that were made without a model.

        Raises:
            ValueError: If they are not finite, or there is not one state more than layers.
        """
        return cls(nominal, matrices, torch.zeros(len(matrices)), 1)

    @property
    def n_layers(self) -> int:
        """Blocks."""
        return len(self.nominal) - 1

    def vjp(
        self, layer: int, cotangents: Float[Tensor, "n d"], *, at: str = "resid_pre"
    ) -> Float[Tensor, "n *site"]:
        """A_l' c: what a change at the block's input, or inside it, does along each cotangent.

        Args:
            at: `head` or `neuron`: what an actuator at that hook point does, the rest of the block
                included. It needs the model: `linearize(..., dense=False)`.

        Raises:
            ValueError: If there is no such layer or kind, or these are matrices only.
        """
        self._check(layer)
        if self.maps is not None:
            return self.maps.vjp(layer, self._for_texts(cotangents), at=at).mean(dim=1)
        if at != "resid_pre":
            raise ValueError(
                f"these Jacobians are of whole blocks and know nothing of {at!r}: use "
                "linearize(..., dense=False)"
            )
        assert self.matrices is not None
        return cotangents.to(self.matrices) @ self.matrices[layer]

    def jvp(self, layer: int, tangents: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """A_l t.

        Raises:
            ValueError: If there is no such layer.
        """
        self._check(layer)
        if self.maps is not None:
            return self.maps.jvp(layer, self._for_texts(tangents)).mean(dim=1)
        assert self.matrices is not None
        return tangents.to(self.matrices) @ self.matrices[layer].T

    def __repr__(self) -> str:
        d = self.nominal.shape[1]
        how = "products only" if self.matrices is None else "matrices"
        return f"LayerJacobians({self.n_layers} layers of {d}, {how}, mean of {self.texts} texts)"

    def _for_texts(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n text d"]:
        return x[:, None].expand(-1, self.texts, -1)

    def _check(self, layer: int) -> None:
        if not 0 <= layer < self.n_layers:
            raise ValueError(f"layer {layer}: there are {self.n_layers}, 0 to {self.n_layers - 1}")
