"""Feedback of features: what a block's input lacks is pushed behind the block."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from lens_steer.axes import Activation
from lens_steer.models import SteerableModel, working_place
from lens_steer.sites import Site, hook_points
from lens_steer.steering.base import (
    Edit,
    Feedback,
    Intervention,
    check_model_shape,
    feedback_edits,
    feedback_sites,
)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FeatureLaw(Intervention):
    """u_k = W_k (beta_k - V_k' z_k): read where block k begins, pushed behind it.

    Attributes:
        one_sided: Only pushes up: features beyond their set-point are left alone.
        cap: Largest |u_k| / |z_k|; None is no limit.
    """

    one_sided: bool = False
    cap: float | int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cap is not None and not self.cap > 0:
            raise ValueError(f"cap {self.cap!r}: expected a number above 0, or None")

    @property
    @abstractmethod
    def layers(self) -> tuple[int, ...]:
        """Blocks behind which it pushes."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Layers and dimensions of the model that it is for."""

    @abstractmethod
    def terms(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """The terms V_k `[d concept]`, beta_k `[concept]` and W_k `[*prompt d concept]`."""

    @property
    @override
    def sites(self) -> tuple[Site, ...]:
        return feedback_sites(self.layers)

    @override
    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        hook_points(model, self.sites)
        check_model_shape(model, *self.shape)
        feedbacks = {layer: self._feedback(model, layer) for layer in self.layers}
        return feedback_edits("LQR", feedbacks)

    def _feedback(self, model: SteerableModel, layer: int) -> Feedback:
        place = working_place(model, layer)
        v, beta, w = (x.to(**place) for x in self.terms(layer))

        def feedback(z: Activation, *prompts: Int[Tensor, " n"]) -> Activation:
            lacking = beta - z.to(v.dtype) @ v
            lacking = lacking.clamp(min=0) if self.one_sided else lacking
            by_prompt = bool(prompts)  # a gain for the prompt of each activation
            u = (w[prompts[0]] @ lacking[..., None])[..., 0] if by_prompt else lacking @ w.T
            return self._capped(self.strength * u, z)

        return feedback

    def _capped(self, u: Activation, z: Activation) -> Activation:
        if self.cap is None:
            return u
        most = float(self.cap) * z.to(u.dtype).norm(dim=-1, keepdim=True)
        return u * (most / u.norm(dim=-1, keepdim=True)).nan_to_num(nan=1.0).clamp(max=1)


def absent_layers(directions: Float[Tensor, "layer_and_last d"]) -> tuple[int, ...]:
    """Blocks at whose input the classes do not differ: there is no feature."""
    return tuple((~directions[:-1].any(dim=-1)).nonzero().flatten().tolist())


def check_finite(**named: Tensor) -> None:
    """Raise a ValueError that names a tensor with a number that is not finite."""
    for name, value in named.items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"the {name} are not finite")
