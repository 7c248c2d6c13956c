"""B_k of chosen elements: what a change of their activations does behind their block."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Layer
from lens_steer.attribution import ElementMask
from lens_steer.linearity import LayerJacobians
from lens_steer.models import check_one_model
from lens_steer.sites import Kind
from lens_steer.steering.lqr.costs import Weights
from lens_steer.steering.lqr.fitting import LQRProblem

ACTUATORS = (Kind.HEAD, Kind.NEURON, Kind.ATTN_OUT, Kind.MLP_OUT, Kind.RESID)


@dataclass(frozen=True, eq=False)
class Inputs:
    """B_k of a mask, by products with the Jacobians at its hook point."""

    problem: LQRProblem
    mask: ElementMask
    weights: Weights
    layers: tuple[int, ...]
    site: tuple[int, ...]

    @classmethod
    def of(cls, problem: LQRProblem, mask: ElementMask, weights: Weights) -> "Inputs":
        """The inputs of a mask to a problem.

        Raises:
            ValueError: If mask and window contradict each other, the two are of different models,
                or there are no Jacobians of the mask's elements.
        """
        jacobians = problem.jacobians
        layers = check_mask(mask, jacobians.n_layers, weights.layers)
        what = "jacobians and actuators are of two models"
        check_one_model(jacobians.provenance, mask.provenance, what)
        site = _through(jacobians, mask.kind, layers[0], jacobians.nominal[:1]).shape[1:]
        if mask.selected.shape[1] != site[0]:
            raise ValueError(f"got {mask!r}: expected {site[0]} elements in each layer")
        return cls(problem, mask, weights, layers, tuple(site))

    def pulled(self, layer: int, columns: Float[Tensor, "d p"]) -> Float[Tensor, "u p"]:
        """B_k' of some columns, 0 at elements that are not chosen."""
        if layer not in self.layers:
            return columns[:0]
        rows = _through(self.problem.jacobians, self.mask.kind, layer, columns.T)
        return (rows * chosen_of(self.mask, layer)).flatten(1).T

    def columns(self, layer: int) -> Float[Tensor, "d r"]:
        """B_k itself: the chosen columns."""
        d = self.problem.jacobians.nominal.shape[1]
        one = torch.eye(d, dtype=torch.double)
        all_columns = _through(self.problem.jacobians, self.mask.kind, layer, one)
        return all_columns.flatten(1)[:, self._flat(layer)]

    def spread(self, layer: int, chosen: Float[Tensor, " r"]) -> Float[Tensor, "*site"]:
        """Values of the chosen columns at their places, 0 elsewhere."""
        flat = self._flat(layer)
        return chosen.new_zeros(len(flat)).masked_scatter(flat, chosen).reshape(self.site)

    def _flat(self, layer: int) -> Tensor:
        return chosen_of(self.mask, layer).expand(self.site).flatten()


def check_mask(mask: ElementMask, n_layers: int, window: Sequence[int] | None) -> tuple[int, ...]:
    """The layers in which a mask chooses actuators.

    Args:
        mask: The actuators.
        n_layers: Of the model.
        window: The layers that pushes are limited to; None is no limit.

    Raises:
        ValueError: If elements of its kind cannot be actuators, it chooses none, or the two
            contradict each other.
    """
    if mask.kind not in ACTUATORS:
        kinds = ", ".join(kind.value for kind in ACTUATORS)
        raise ValueError(f"kind {mask.kind.value!r} cannot be an actuator: expected one of {kinds}")
    counts = zip(mask.layers, mask.by_layer.tolist(), strict=True)
    layers = sorted(layer for layer, count in counts if count)
    if not layers:
        raise ValueError(f"got {mask!r}: expected a mask that chooses an element")
    if not 0 <= layers[0] <= layers[-1] < n_layers:
        raise ValueError(f"the mask chooses elements of layers {layers}: there are {n_layers}")
    if window is not None:
        outside = [layer for layer in layers if layer not in window]
        empty = [layer for layer in window if layer not in layers]
        if outside or empty:
            what = f"elements of layers {outside}, outside" if outside else f"none at {empty}"
            raise ValueError(
                f"the mask chooses {what} of layers={list(window)}: the two contradict each other; "
                "choose elements of exactly these layers, or leave layers out"
            )
    return tuple(layers)


def chosen_of(mask: ElementMask, layer: Layer) -> Tensor:
    """Which elements of a layer are chosen, in a shape that multiplies its site's activation."""
    chosen = torch.zeros_like(mask.selected[0])
    if layer in mask.layers:
        chosen = mask.selected[mask.layers.index(layer)]
    return chosen[:, None] if mask.kind is Kind.HEAD else chosen


def _through(
    jacobians: LayerJacobians, kind: Kind, layer: int, rows: Float[Tensor, "p d"]
) -> Float[Tensor, "p *site"]:
    """Cotangents behind a block, pulled back to a hook point inside it; behind it they stay."""
    if kind is Kind.RESID:
        return rows
    return jacobians.vjp(layer, rows.to(jacobians.nominal), hook=kind.value)
