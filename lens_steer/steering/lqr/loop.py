"""Feedback of features: what a block's input lacks is pushed behind the block."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.axes import Activation
from lens_steer.models import SteerableModel, working_place
from lens_steer.sites import Kind, Site, hook_points
from lens_steer.steering.base import Edit, Intervention


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
        """Layers and dimensions of the model it is for."""

    @abstractmethod
    def terms(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """V_k `[d concept]`, beta_k `[concept]` and W_k `[*prompt d concept]`."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """The input of each block that is steered, which is read, and its output."""
        kinds = (Kind.RESID_PRE, Kind.RESID)
        return tuple(Site(layer, kind) for layer in self.layers for kind in kinds)

    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        """See `Intervention`; what is read before a block is used behind it, in the same pass."""
        hook_points(model, self.sites)
        check_shape(model, *self.shape)
        found: dict[Site, Edit] = {}
        for layer in self.layers:
            loop = FeedbackLoop(self, model, layer)
            found[Site(layer, Kind.RESID_PRE)] = loop.look
            found[Site(layer)] = loop.push_of_prompts if self.per_prompt else loop.push
        return found


class FeedbackLoop:
    """One block's feedback."""

    def __init__(self, law: FeatureLaw, model: SteerableModel, layer: int) -> None:
        place = working_place(model, layer)
        self._v, self._beta, self._w = (x.to(**place) for x in law.terms(layer))
        self._law = law
        self._seen: tuple[Tensor, Tensor] | None = None

    def look(self, z: Activation, _prompts: Int[Tensor, " n"] | None = None) -> Activation:
        """Before the block."""
        lacking = self._beta - z.to(self._v.dtype) @ self._v
        self._seen = lacking.clamp(min=0) if self._law.one_sided else lacking, z
        return z

    def push(self, x: Activation) -> Activation:
        """Behind it, with one gain for all."""
        lacking, z = self._taken()
        return self._pushed(x, lacking @ self._w.T, z)

    def push_of_prompts(self, x: Activation, prompts: Int[Tensor, " n"]) -> Activation:
        """Behind it, with the gain of each activation's prompt."""
        lacking, z = self._taken()
        return self._pushed(x, (self._w[prompts] @ lacking[..., None])[..., 0], z)

    def _taken(self) -> tuple[Tensor, Tensor]:
        if self._seen is None:
            raise ValueError("LQR reads before a block what it pushes behind it: hook both")
        seen, self._seen = self._seen, None
        return seen

    def _pushed(self, x: Tensor, u: Tensor, z: Tensor) -> Tensor:
        u = self._law.strength * u
        if self._law.cap is not None:
            most = float(self._law.cap) * z.to(u.dtype).norm(dim=-1, keepdim=True)
            u = u * (most / u.norm(dim=-1, keepdim=True)).nan_to_num(nan=1.0).clamp(max=1)
        return (x + u).to(x.dtype)


def check_shape(model: SteerableModel, layers: int, d: int) -> None:
    """Raise a ValueError if a regulator of that many layers and dimensions does not fit."""
    own = (model.cfg.n_layers, model.cfg.d_model)
    if own != (layers, d):
        raise ValueError(
            f"made for {layers} layers of {d}, but this model has {own[0]} of {own[1]}"
        )


def absent_layers(directions: Float[Tensor, "layer_and_last d"]) -> tuple[int, ...]:
    """Blocks at whose input there is no feature."""
    return tuple((~directions[:-1].any(dim=-1)).nonzero().flatten().tolist())


def check_finite(**named: Tensor) -> None:
    """Raise a ValueError if there is a number that is none."""
    for name, value in named.items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"the {name} are not finite")
