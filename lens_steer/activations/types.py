"""Captured activations of either class, for all layers and for one."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Layer
from lens_steer.artifacts import savable
from lens_steer.axes import ranges
from lens_steer.models import Provenance
from lens_steer.sites import Kind


@savable
@dataclass(frozen=True, eq=False)
class LayerActivations:
    """Activations of both classes at one layer, float32, on the CPU.

    Attributes:
        desired: One row per desired example.
        undesired: One row per undesired example.
        layer: Block index.
        kind: What was read.
        provenance: The model and data, or None if made from tensors.
        paired: Whether row i of either side is known to belong to one pair.
    """

    desired: Float[Tensor, "desired *site"]
    undesired: Float[Tensor, "undesired *site"]
    layer: Layer
    kind: Kind
    provenance: Provenance | None = None
    paired: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", Kind.parse(self.kind))
        _check_sides(self.desired, self.undesired)
        if self.paired and len(self.desired) != len(self.undesired):
            counts = f"{len(self.desired)} desired and {len(self.undesired)} undesired"
            raise ValueError(f"got {counts} activations, expected pairs: pass paired=False")

    def __repr__(self) -> str:
        sides = f"{len(self.desired)} desired, {len(self.undesired)} undesired"
        site = f"layer {self.layer}, site {tuple(self.desired.shape[1:])}"
        return f"LayerActivations({self.kind.value}, {site}, {sides})"

    @classmethod
    def from_tensors(
        cls,
        desired: Float[Tensor, "desired *site"],
        undesired: Float[Tensor, "undesired *site"],
        layer: Layer = 0,
        kind: str = "resid",
    ) -> "LayerActivations":
        """Activations that were made without a model; float32, on the CPU.

        Raises:
            ValueError: If a side is empty or not finite.

        Example:
            >>> desired, undesired = torch.randn(64, 768) + 1, torch.randn(64, 768)
            >>> ls.LayerActivations.from_tensors(desired, undesired, layer=5)
        """
        sides = desired.detach().float().cpu(), undesired.detach().float().cpu()
        return cls(*sides, layer, Kind.parse(kind))

    @classmethod
    def of(
        cls,
        desired: "Activations | LayerActivations | Float[Tensor, 'desired *site']",
        undesired: Float[Tensor, "undesired *site"] | None = None,
        *,
        layer: Layer | None = None,
    ) -> "LayerActivations":
        """One layer of captured activations, or two tensors of any origin.

        Args:
            desired: Both classes: captured activations and `layer`, or one layer, `.at(layer=...)`;
                or the tensor of the desired.
            undesired: The tensor of the undesired.
            layer: Block index; of tensors 0 if not said. One layer of activations knows its own,
                which need not be said again.

        Raises:
            ValueError: If it is none of these, that layer was not captured, or tensors are empty or
                not finite.
        """
        if isinstance(desired, LayerActivations) and undesired is None:
            if layer not in (None, desired.layer):
                raise ValueError(
                    f"got layer={layer} and the activations of layer {desired.layer}: leave layer= "
                    "out, or pass the activations of all layers"
                )
            return desired
        if isinstance(desired, Activations) and undesired is None and layer is not None:
            return desired.at(layer)
        if isinstance(desired, Activations) and undesired is None:
            raise ValueError(
                f"got {desired!r}: expected one layer; write activations[layer], or pass layer=, "
                f"one of {list(desired.layers)}"
            )
        if isinstance(desired, Tensor) and isinstance(undesired, Tensor):
            return cls.from_tensors(desired, undesired, layer or 0)
        types = ", ".join(type(value).__name__ for value in (desired, undesired))
        raise ValueError(
            f"got {types} (layer {layer}): expected one layer of captured activations, "
            ".at(layer=...), or two tensors, desired and undesired"
        )

    @property
    def direction(self) -> Float[Tensor, "*site"]:
        """Mean of the desired minus mean of the undesired."""
        return mean_difference(self.desired, self.undesired)

    @property
    def median_length(self) -> float:
        """The median length of an undesired example's activation."""
        return float(self._median_length)

    @property
    def relative_length(self) -> float:
        """|direction| / `median_length`."""
        return float(self.direction.norm() / self._median_length)

    @property
    def centred_length(self) -> float:
        """The root mean square distance of an example's activation from the mean of its class.

        A unit for pushes where no pass of the model is affordable: unlike `median_length` it has
        nothing of what all activations share, such as a few dimensions that are always large.

        Raises:
            ValueError: If activations do not vary within the classes.

        Example:
            >>> at = resid.at(layer=3)
            >>> method = ls.CAA.fit(at)
            >>> method.with_strength(0.5 * at.centred_length / float(at.direction.norm()))
        """
        sides = [side.double().flatten(start_dim=1) for side in (self.desired, self.undesired)]
        squares = [((side - side.mean(dim=0)) ** 2).sum(dim=1) for side in sides]
        length = float(torch.cat(squares).mean().sqrt())
        if not length > 0:
            raise ValueError(
                f"the activations at layer {self.layer} do not vary within the classes: give more "
                "examples"
            )
        return length

    @property
    def _median_length(self) -> Float[Tensor, ""]:
        return self.undesired.flatten(start_dim=1).norm(dim=-1).median()


@savable
@dataclass(frozen=True, eq=False)
class Activations:
    """Activations of both classes at several layers, float32, on the CPU.

    `activations[15]`, the same as `activations.at(layer=15)`, is what a method is fitted to.

    Attributes:
        desired: One row per desired example.
        undesired: One row per undesired example; the counts may differ.
        kind: What was read; `resid` at layer l is `blocks.l.hook_resid_post`.
        layers: Block indices of the layer axis.
        embedded_desired: With kind `resid`, the embedding (`blocks.0.hook_resid_pre`), else None.
        embedded_undesired: The embedding of the undesired, likewise.
        paired: Whether row i of either side belongs to one pair.
        provenance: The model and data.
    """

    desired: Float[Tensor, "desired layer *site"]
    undesired: Float[Tensor, "undesired layer *site"]
    kind: Kind
    layers: tuple[int, ...]
    embedded_desired: Float[Tensor, "desired d"] | None = None
    embedded_undesired: Float[Tensor, "undesired d"] | None = None
    paired: bool = True
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", Kind.parse(self.kind))
        _check_sides(self.desired, self.undesired)
        if self.desired.shape[1] != len(self.layers):
            raise ValueError(
                f"got {self.desired.shape[1]} layers of activations for layers {self.layers}"
            )

    def at(self, layer: Layer) -> LayerActivations:
        """The activations of one layer, by its block index.

        Raises:
            ValueError: If that layer was not captured; negative numbers name no layer.

        Example:
            >>> resid = ls.capture(model, pairs, "resid")
            >>> caa = ls.CAA.fit(resid.at(layer=15))
        """
        if layer not in self.layers:
            raise ValueError(f"layer {layer} was not captured: expected one of {list(self.layers)}")
        i = self.layers.index(layer)
        pairs = self.paired and len(self.desired) == len(self.undesired)
        return LayerActivations(
            self.desired[:, i], self.undesired[:, i], layer, self.kind, self.provenance, pairs
        )

    def __getitem__(self, layer: int) -> LayerActivations:
        """The activations of one layer, as `at` gives them."""
        return self.at(layer)

    __iter__ = None  # an index is a layer, not a position: there is nothing to count up from 0

    @property
    def direction(self) -> Float[Tensor, "layer *site"]:
        """Mean of the desired minus mean of the undesired, by layer."""
        return mean_difference(self.desired, self.undesired)

    def __repr__(self) -> str:
        sides = f"{len(self.desired)} desired, {len(self.undesired)} undesired"
        site = f"layers {ranges(self.layers)}, site {tuple(self.desired.shape[2:])}"
        return f"Activations({self.kind.value}, {site}, {sides})"


def mean_difference(
    desired: Float[Tensor, "desired *site"], undesired: Float[Tensor, "undesired *site"]
) -> Float[Tensor, "*site"]:
    """Mean of the desired minus mean of the undesired, float32.

    It is computed in float64: float32 means of large activations lose a small difference.
    """
    return (desired.double().mean(dim=0) - undesired.double().mean(dim=0)).float()


def _check_sides(desired: Tensor, undesired: Tensor) -> None:
    if desired.shape[1:] != undesired.shape[1:]:
        shapes = f"{tuple(desired.shape)} and {tuple(undesired.shape)}"
        raise ValueError(f"got sides of shapes {shapes}: expected equal but for the counts")
    for name, side in (("desired", desired), ("undesired", undesired)):
        if len(side) == 0:
            raise ValueError(f"no {name} activations: expected at least one of either side")
        if not bool(torch.isfinite(side).all()):
            raise ValueError(
                f"the {name} activations are not finite: does the model run in its dtype?"
            )
