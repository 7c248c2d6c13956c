"""The law with chosen heads, neurons or dimensions as actuators: pushes act through B_k."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.arguments import Layer
from lens_steer.artifacts import savable
from lens_steer.attribution import ElementMask
from lens_steer.axes import ranges
from lens_steer.models import Provenance, SteerableModel
from lens_steer.sites import Kind, Site, site_shape
from lens_steer.steering.base import Edit, check_finite, feedback_edits, feedback_sites
from lens_steer.steering.lqr.actuators import Inputs, check_mask, chosen_of
from lens_steer.steering.lqr.costs import Weights
from lens_steer.steering.lqr.feature_law import FeatureLaw, pushing_layers
from lens_steer.steering.lqr.fitting import LQRProblem
from lens_steer.steering.lqr.riccati import actuated_gains


@savable
@dataclass(frozen=True, eq=False, repr=False)
class ElementLQR(FeatureLaw):
    """u_k = (beta_k - v_k . z_k) K_k v_k, added to chosen elements inside block k.

    The state is z_{k+1} = A_k z_k + B_k u_k, B_k = d(stream leaving block k) / d(activation of the
    chosen elements): a head's output passes through the MLP of its own block, B = (I + J_mlp) W_O,
    where that follows the attention; a neuron's B is its row of W_out; norms behind them are taken
    at the nominal activation. The feature is read where block k begins, which is before any of its
    elements in the same pass. Made by `LQR.fit(..., actuators=mask)` and `LQR.fit_feature`; with
    every dimension of kind `resid`, B = I and the law is `LQR`'s.

    The effort r |u_k|^2 is of the elements' own activations: a head has d_head of them, and the
    same push costs the same in every element, whatever it writes.

    Attributes:
        mask: The elements that push.
        gains: K_k v_k in the activation of each element; 0 outside of the mask, where there is no
            feature, or no push was allowed.
        directions: v_k, unit length, and v_T behind the last block; 0 where there is no feature.
        setpoints: beta_k of v_k . z_k, and beta_T.

    Example:
        >>> jac = ls.linearize(model, train, hooks=["head"])
        >>> mask = ls.attribution.slope_per_nat(model, train, heads, seed=0).top(8)
        >>> method = ls.LQR.fit(jac, resid, actuators=mask)
    """

    mask: ElementMask
    gains: Float[Tensor, "layer *site"] = field(repr=False)
    directions: Float[Tensor, "layer_and_last d"] = field(repr=False)
    setpoints: Float[Tensor, " layer_and_last"] = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mask(self.mask, len(self.gains), None)
        shapes = [tuple(x.shape) for x in (self.gains, self.directions, self.setpoints)]
        n, elements = shapes[0][0], self.mask.selected.shape[1]
        wrong = shapes[0][1:2] != (elements,) or (shapes[1][0], *shapes[2]) != (n + 1, n + 1)
        if wrong or self.gains.ndim != (3 if self.mask.kind is Kind.HEAD else 2):
            raise ValueError(
                f"got shapes {shapes} for {elements} elements: expected (T, {elements}, ...), "
                "(T + 1, d) and (T + 1,)"
            )
        check_finite(self, "gains", "directions", "setpoints")
        if not bool(self.gains.any()):
            raise ValueError("all gains are 0: no chosen layer has a feature that may be pushed")
        if any(bool((self.gains[k] * ~chosen_of(self.mask, k)).any()) for k in range(n)):
            raise ValueError("gains outside of the mask: expected 0 there")
        if self.cap is not None and self.mask.kind in (Kind.HEAD, Kind.NEURON):
            raise ValueError(
                f"cap {self.cap:g} is a share of the stream's length, and pushes of "
                f"{self.mask.kind.value} elements are in another unit: leave cap out"
            )

    @property
    @override
    def layers(self) -> tuple[int, ...]:
        return pushing_layers(self.gains)

    @property
    @override
    def shape(self) -> tuple[int, int]:
        return self.gains.shape[0], self.directions.shape[1]

    @property
    @override
    def sites(self) -> tuple[Site, ...]:
        return feedback_sites(self.layers, self.mask.kind)

    @override
    def terms(self, layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
        v, beta = self.directions[layer, :, None], self.setpoints[layer, None]
        return v, beta, self.gains[layer].flatten()[:, None]

    @override
    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        kind, held = self.mask.kind, tuple(self.gains.shape[1:])
        edits = feedback_edits(self, model, self.shape, self.layers, self._feedback, kind)
        if site_shape(model, kind) != held:
            raise ValueError(
                f"made for {kind.value} activations of shape {held}, but this model holds "
                f"{site_shape(model, kind)}"
            )
        return edits

    def _summary(self) -> list[str]:
        idle = sorted({layer for layer, _ in self.mask.elements()} - set(self.layers))
        unread = [f"chosen elements of {idle} never push"] if idle else []
        return [f"layers {ranges(self.layers)}", *unread]


def dense_law(
    problem: LQRProblem, mask: ElementMask, weights: Weights, provenance: Provenance | None
) -> ElementLQR:
    """Solve isotropic costs on the state: what `LQR.fit` does with actuators.

    Raises:
        ValueError: If mask and window contradict each other, the mask is of another model, or there
            are no Jacobians of its elements.
    """
    matrices = problem.jacobians.matrices
    assert matrices is not None  # `LQR.fit` sees to it
    inputs = Inputs.of(problem, mask, weights)
    columns = {k: inputs.columns(k) for k in inputs.layers}
    gains = actuated_gains(matrices, columns, problem.targets.directions[..., 0], problem.costs)
    return _law(inputs, {k: inputs.spread(k, w) for k, w in gains.items()}, provenance)


def feature_cost_law(
    problem: LQRProblem, mask: ElementMask, weights: Weights, provenance: Provenance | None
) -> ElementLQR:
    """Solve costs on the features alone: what `LQR.fit_feature` does with actuators.

    Raises:
        ValueError: As `dense_law`.
    """
    inputs = Inputs.of(problem, mask, weights)
    steps, v = problem.steps(actuate=inputs.pulled), problem.targets.directions
    gains = {k: steps[k].gain(v[k])[:, 0].reshape(inputs.site) for k in inputs.layers}
    return _law(inputs, gains, provenance)


def _law(inputs: Inputs, gains: dict[int, Tensor], provenance: Provenance | None) -> ElementLQR:
    jacobians, targets = inputs.problem.jacobians, inputs.problem.targets
    every = torch.zeros(jacobians.n_layers, *inputs.site, dtype=torch.double)
    for k, gain in gains.items():
        every[k] = gain
    return ElementLQR(
        inputs.mask,
        every.to(jacobians.nominal),
        targets.directions[..., 0],
        targets.setpoints[..., 0],
        one_sided=inputs.weights.one_sided,
        cap=inputs.weights.cap,
        provenance=provenance,
    )
