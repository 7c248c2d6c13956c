"""Angular steering: turning activations within a plane.

Source: Vu and Nguyen 2025, "Angular Steering: Behavior Control via Rotation in Activation Space"
(arXiv:2510.26243).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, pi
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import Activations, LayerActivations
from lens_steer.arguments import Angle, Layer
from lens_steer.artifacts import savable
from lens_steer.axes import Activation
from lens_steer.sites import Site
from lens_steer.steering.base import (
    ActivationMap,
    OneSite,
    check_unit,
    chosen_site,
    class_difference,
    editable_site,
    on_device,
    unit_of,
)


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Angular(OneSite, ActivationMap):
    """The component in the plane of b1 and b2 is turned; the rest of the activation, and |x|, stay.

    Angles are in rad, counted from b1 towards b2. Strength is a factor on the turn: with `angle`
    every activation turns by strength * angle; with `to_angle` each goes that share of its own way,
    the shorter one, to the target.

    What differs from the paper: it turns behind the norms of every block, in one plane for all, b2
    being the first principal component of the candidate directions of all layers; here it is one
    layer's residual stream, and b2 comes from that layer's activations.

    Attributes:
        at: Where.
        b1: Difference of the class means, of length 1: angle 0.
        b2: First principal component of the activations orthogonal to b1, of length 1; on the side
            of the activations' mean.
        angle: Turn in rad, the same for all; 0 is the identity.
        to_angle: Instead: where in the plane to turn to, in rad; 0 is b1. The paper's knob.
        only_aligned: Leave activations with x . b1 <= 0 as they are, bit by bit: the paper's
            adaptive form. What is on the undesired side is then not steered; to turn away from a
            behaviour, call it the desired class.
    """

    b1: Float[Tensor, "*site"] = field(repr=False)
    b2: Float[Tensor, "*site"] = field(repr=False)
    angle: Angle | None = field(default=None, kw_only=True)
    to_angle: Angle | None = field(default=None, kw_only=True)
    only_aligned: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unit(self.b1, "b1")
        check_unit(self.b2, "b2")
        if self.b1.shape != self.b2.shape or not abs(float((self.b1 * self.b2).sum())) <= 1e-4:
            raise ValueError("b1 and b2 are not orthogonal: expected two axes of a plane")
        knobs = [knob for knob in (self.angle, self.to_angle) if knob is not None]
        if len(knobs) != 1:
            raise ValueError(
                f"angle {self.angle}, to_angle {self.to_angle}: expected one finite number of rad, "
                "either a turn or a target"
            )

    @property
    @override
    def max_useful_strength(self) -> float:  # at the target, or half a turn away
        if self.angle is None:
            return 1.0
        return pi / abs(self.angle) if self.angle else inf

    @classmethod
    def fit(
        cls,
        desired: Activations | LayerActivations | Float[Tensor, "desired *site"],
        undesired: Float[Tensor, "undesired *site"] | None = None,
        *,
        layer: Layer | None = None,
        angle: Angle | None = None,
        to_angle: Angle | None = None,
        only_aligned: bool = False,
    ) -> "Angular":
        """Turn in the plane of one layer's activations.

        Args:
            desired: Captured activations `.at(layer=...)`; or tensors, see `LayerActivations.of`.
            undesired: The tensor of the undesired.
            layer: Of tensors.
            angle: See the class.
            to_angle: See the class.
            only_aligned: See the class.

        Raises:
            ValueError: If the class means are equal, activations vary along b1 alone, the kind
                cannot be edited, or not exactly one of the two angles is given.

        Example:
            >>> method = ls.Angular.fit(resid.at(layer=3), to_angle=0.5)
        """
        activations = LayerActivations.of(desired, undesired, layer=layer)
        site = editable_site(activations)
        b1, b2 = _plane(activations)
        return cls(
            site,
            b1,
            b2,
            angle=angle,
            to_angle=to_angle,
            only_aligned=only_aligned,
            provenance=activations.provenance,
        )

    @override
    def shape_at(self, site: Site) -> tuple[int, ...]:
        del site
        return tuple(self.b1.shape)

    def angles(self, x: Float[Tensor, "*batch"]) -> Float[Tensor, "..."]:
        """Angles of activations within the plane, in rad from b1 towards b2, -pi to pi.

        Raises:
            ValueError: As `transform`.
        """
        first, second = self._within(self._rows(x, self.at))
        return torch.atan2(second, first).reshape(x.shape[: x.ndim - self.b1.ndim])

    def vector_field(
        self, x: Float[Tensor, "*batch"], site: Site | None = None
    ) -> Float[Tensor, "*batch"]:
        """Displacement per unit of strength where the turn begins: a tangent, of any activation.

        Raises:
            ValueError: As `transform`.
        """
        rows = self._rows(x, chosen_site(self, site))
        first, second = self._within(rows)
        turn = self._turn(first, second)
        return self._sum(-turn * second, turn * first).reshape(x.shape).to(x.dtype)

    @override
    def _map(
        self, site: Site, device: torch.device, dtype: torch.dtype
    ) -> Callable[[Activation], Activation]:
        del site, dtype
        return on_device(self, device)._moved

    def _moved(self, x: Activation) -> Activation:
        first, second = self._within(x)
        turn = self.strength * self._turn(first, second)
        # cos - 1 without its cancellation, so that small turns keep |x| as well as large ones
        less, sine = -2 * torch.sin(turn / 2).square(), torch.sin(turn)
        return x + self._sum(less * first - sine * second, sine * first + less * second)

    def _within(self, x: Activation) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        flat = x.flatten(1)
        return flat @ self.b1.to(x).flatten(), flat @ self.b2.to(x).flatten()

    def _turn(self, first: Float[Tensor, " n"], second: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The turn of each activation at strength 1, in rad."""
        if self.to_angle is None:
            turn = torch.full_like(first, float(self.angle or 0.0))
        else:
            left = self.to_angle - torch.atan2(second, first)
            turn = torch.atan2(torch.sin(left), torch.cos(left))
        return torch.where(first > 0, turn, 0.0) if self.only_aligned else turn

    def _sum(self, first: Float[Tensor, " n"], second: Float[Tensor, " n"]) -> Activation:
        """The vectors first * b1 + second * b2."""
        b1, b2 = self.b1.to(first).flatten(), self.b2.to(first).flatten()
        flat = first[:, None] * b1 + second[:, None] * b2
        return flat.reshape(-1, *self.b1.shape)


def _plane(activations: LayerActivations) -> tuple[Tensor, Tensor]:
    """The axes b1 and b2 of the plane of a layer's activations."""
    from sklearn.decomposition import PCA

    difference = class_difference(activations).double().flatten()
    sides = activations.desired.double().flatten(1), activations.undesired.double().flatten(1)
    b1, rows = difference / difference.norm(), torch.cat(sides)
    rest = rows - (rows @ b1)[:, None] * b1
    spread = float((rest - rest.mean(dim=0)).norm())
    if spread <= 1e-6 * float((rows - rows.mean(dim=0)).norm()):
        raise ValueError(
            f"activations at layer {activations.layer} vary along the class difference alone: "
            "there is no plane to turn in; give more of them"
        )
    components: Any = PCA(n_components=1, svd_solver="full").fit(rest.numpy()).components_
    b2 = torch.from_numpy(components[0])
    b2 = b2 - (b2 @ b1) * b1
    b2 = -b2 if float(rest.mean(dim=0) @ b2) < 0 else b2
    shape, dtype = activations.desired.shape[1:], activations.desired.dtype
    return b1.to(dtype).reshape(shape), unit_of(b2, "component").to(dtype).reshape(shape)
