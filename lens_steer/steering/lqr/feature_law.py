"""Feedback of features: what a block's input lacks is pushed behind the block."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from lens_steer.axes import Activation
from lens_steer.models import SteerableModel, working_place
from lens_steer.sites import Site
from lens_steer.steering.base import (
    Edit,
    Feedback,
    Intervention,
    check_finite,
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
        return feedback_edits(self, model, self.shape, self.layers, self._feedback)

    def _feedback(self, model: SteerableModel, layer: int) -> Feedback:
        place = working_place(model, layer)
        v, beta, w = (x.to(**place) for x in self.terms(layer))

        def feedback(z: Activation, *prompts: Int[Tensor, " n"]) -> Tensor:
            lacking = beta - z.to(v.dtype) @ v
            lacking = lacking.clamp(min=0) if self.one_sided else lacking
            by_prompt = bool(prompts)  # a gain for the prompt of each activation
            u = (w[prompts[0]] @ lacking[..., None])[..., 0] if by_prompt else lacking @ w.T
            return self._capped(self.strength * u, z)

        return feedback

    def _capped(self, u: Tensor, z: Activation) -> Tensor:
        if self.cap is None:
            return u
        most = float(self.cap) * z.to(u.dtype).norm(dim=-1, keepdim=True)
        return u * (most / u.norm(dim=-1, keepdim=True)).nan_to_num(nan=1.0).clamp(max=1)


@dataclass(frozen=True, eq=False, repr=False)
class FittedLaw(FeatureLaw):
    """A law whose gains are the same for every prompt; one concept has no axis, several have one.

    Attributes:
        gains: W_k; 0 where there is no feature, or no push was allowed.
        directions: V_k, of unit length, and V_T behind the last block; 0 where there is no feature.
        setpoints: beta_k of V_k' z_k, and beta_T.
    """

    _concept_axes: ClassVar[int] = 0

    gains: Float[Tensor, "layer d *concept"] = field(repr=False)
    directions: Float[Tensor, "layer_and_last d *concept"] = field(repr=False)
    setpoints: Float[Tensor, "layer_and_last *concept"] = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        shapes = [tuple(x.shape) for x in (self.gains, self.directions, self.setpoints)]
        n, d, *concept = shapes[0]
        axes = self._concept_axes
        if len(concept) != axes or shapes[1:] != [(n + 1, d, *concept), (n + 1, *concept)]:
            c = ", c" * axes
            expected = f"(T, d{c}), (T + 1, d{c}) and (T + 1{c or ','})"
            raise ValueError(f"got shapes {shapes}: expected {expected}")
        check_finite(self, "gains", "directions", "setpoints")
        if not bool(self.gains.any()):
            raise ValueError("all gains are 0: no layer has a feature that may be pushed")

    @property
    @override
    def layers(self) -> tuple[int, ...]:
        return pushing_layers(self.gains)

    @property
    @override
    def shape(self) -> tuple[int, int]:
        return self.gains.shape[0], self.gains.shape[1]


def pushing_layers(gains: Float[Tensor, "layer *site"]) -> tuple[int, ...]:
    """Blocks in which some gain is not 0."""
    return tuple(gains.flatten(1).any(dim=-1).nonzero().flatten().tolist())


def absent_layers(directions: Float[Tensor, "layer_and_last d"]) -> tuple[int, ...]:
    """Blocks at whose input the classes do not differ: there is no feature."""
    return tuple((~directions[:-1].any(dim=-1)).nonzero().flatten().tolist())
