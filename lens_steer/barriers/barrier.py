"""What every barrier can do; the mathematics of each kind is in its own file."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import LayerActivations
from lens_steer.arguments import Number
from lens_steer.barriers.fitting import likeliest_scale
from lens_steer.models import Provenance
from lens_steer.sites import Kind

Vectors = Float[Tensor, "... d"]
Values = Float[Tensor, "..."]
_Kind = TypeVar("_Kind", bound="Barrier")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Barrier(ABC):
    """h(a) = log p(a | desired) / p(a | undesired): at least 0 where a looks desired.

    Methods follow its gradient (`ODESteer`), push activations to where it is 0 (`BarrierPush`), or
    act where it is below 0 (`Gate`).

    Half precision is computed in float32, everything else in its own type; results live where
    their input lives. (arXiv:2602.17560, where v = grad h / |grad h| is the field that steers.)

    Attributes:
        layer: Block index of what it was fitted on.
        kind: What was read there.
        provenance: The model and data, or None if made from tensors.
        settings: How it was fitted, cross-validated choices included.

    Example:
        >>> h = barrier.h(x)  # [n], nats
        >>> towards = barrier.field(x)  # [n, d], unit vectors along which h rises most
    """

    layer: int = 0
    kind: Kind = Kind.RESID
    provenance: Provenance | None = field(default=None, repr=False)
    settings: Mapping[str, float | int | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", Kind.parse(self.kind))
        for name, tensor in self._tensors().items():
            if tensor.dtype not in (torch.float32, torch.float64):
                raise ValueError(f"{name} is {tensor.dtype}: expected float32 or float64")
            if not bool(tensor.isfinite().all()):
                raise ValueError(f"{name} is not finite")
            # Products of one layout, so that a barrier that was saved has the same last bits.
            object.__setattr__(self, name, tensor.contiguous())

    def __repr__(self) -> str:
        how = "".join(
            f", {k} {v:.4g}" for k, v in sorted(self.settings.items()) if not isinstance(v, str)
        )
        return f"{type(self).__name__}(d = {self.width}, {self.kind.value} {self.layer}{how})"

    @property
    @abstractmethod
    def width(self) -> int:
        """Number of entries of an activation."""

    @abstractmethod
    def scaled(self: _Kind, factor: Number) -> _Kind:
        """The barrier factor * h; 1 is the same."""

    @abstractmethod
    def unchecked_h(self, x: Vectors) -> Values:
        """`h` for inner loops on a device: nothing is checked, and h may be NaN.

        Args:
            x: In float32 or float64.
        """

    @abstractmethod
    def unchecked_grad(self, x: Vectors) -> Vectors:
        """`grad` without checks, as `unchecked_h`."""

    @abstractmethod
    def unchecked_hessian_vector(self, x: Vectors, v: Vectors) -> Vectors:
        """`hessian_vector` without checks, as `unchecked_h`."""

    def h(self, x: Vectors) -> Values:
        """The log-density ratio in nats; float32, or float64 of float64 activations.

        Raises:
            ValueError: If the activations have another width, or h is undefined at one of them.
        """
        return self.unchecked_h(self._checked(x))

    def grad(self, x: Vectors) -> Vectors:
        """Gradient of h with respect to the activation, in the activation's type.

        Raises:
            ValueError: As `h`.
        """
        return self.unchecked_grad(self._checked(x)).to(x.dtype)

    def field(self, x: Vectors) -> Vectors:
        """The gradient's direction, of length 1.

        Raises:
            ValueError: As `h`, and where the gradient is exactly 0: no direction is right there,
                and 0 would be no unit vector.
        """
        grad = self.unchecked_grad(self._checked(x))
        size = grad.norm(dim=-1, keepdim=True)
        critical = int((size == 0).sum())
        if critical:
            raise ValueError(
                f"{critical} of {size.numel()} activations are critical points of h: its gradient "
                "has no direction there; take .grad, or leave them out"
            )
        return (grad / size).to(x.dtype)

    def hessian_vector(self, x: Vectors, v: Vectors) -> Vectors:
        """Change of the gradient along v, per unit of v: the Hessian of h at x times v.

        Raises:
            ValueError: As `h`, or if the two differ in shape.
        """
        if x.shape != v.shape:
            raise ValueError(
                f"got shapes {tuple(x.shape)} and {tuple(v.shape)}: expected one shape"
            )
        work = self._checked(x)
        return self.unchecked_hessian_vector(work, v.to(work)).to(x.dtype)

    def calibrated(self: _Kind, dev: LayerActivations) -> _Kind:
        """The barrier times one positive number, by maximum likelihood on held-out activations.

        Nothing else changes: neither the sign of h nor the field. (Temperature scaling, Guo et
        al. 2017, arXiv:1706.04599; the classes' shares in `dev` are taken as their prior.)

        Args:
            dev: Activations of the same site that the barrier was not fitted on.

        Raises:
            ValueError: If `dev` was read elsewhere, h does not rise from undesired to desired
                there, or its sign is right at every one (then larger is always likelier).

        Example:
            >>> barrier = ls.LinearBarrier.fit_means(train.at(layer=3)).calibrated(dev.at(layer=3))
            >>> barrier.settings["temperature"]  # h was divided by it
        """
        if (dev.layer, dev.kind) != (self.layer, self.kind):
            raise ValueError(
                f"got {dev.kind.value} {dev.layer}, but this is a barrier of {self.kind.value} "
                f"{self.layer}: capture the same site"
            )
        factor = likeliest_scale(self.h(dev.desired.double()), self.h(dev.undesired.double()))
        scaled = self.scaled(factor)
        return replace(scaled, settings={**scaled.settings, "temperature": 1 / factor})

    def to(
        self: _Kind, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> _Kind:
        """The same barrier on another device, or in float32 or float64."""
        moved: Any = {k: v.to(device=device, dtype=dtype) for k, v in self._tensors().items()}
        return replace(self, **moved)

    def _tensors(self) -> dict[str, Tensor]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def _checked(self, x: Vectors) -> Vectors:
        """The activations in the type that is computed in, or a ValueError."""
        if x.ndim == 0 or x.shape[-1] != self.width:
            raise ValueError(
                f"got activations of shape {tuple(x.shape)}: expected {self.width} entries, as "
                f"{self.kind.value} {self.layer} had where this barrier was fitted"
            )
        return x.to(torch.promote_types(x.dtype, torch.float32))
