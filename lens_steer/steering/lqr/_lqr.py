"""The published law: set-point feedback on one feature, layer by layer.

Source: Skifstad, Yang and Chou 2026, "A-LQR" (arXiv:2604.19018).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._axes import Activation
from lens_steer.activations import Activations
from lens_steer.jacobians import LayerJacobians
from lens_steer.models import SteerableModel, working_place
from lens_steer.sites import Kind, Site, hook_points
from lens_steer.steering.base import Edit, Intervention
from lens_steer.steering.lqr._costs import Cost, Costs
from lens_steer.steering.lqr._fitting import Problem, covariance_effort
from lens_steer.steering.lqr._riccati import isotropic_gains


@dataclass(frozen=True, eq=False, repr=False)
class LQR(Intervention):
    """u_k = (beta_k - v_k . z_k) w_k, w_k = K_k v_k: read where block k begins, pushed behind it.

    The loop this closes is A_k - w_k v_k', which does not contract the state as A_k - K_k would.
    It acts one layer late, so that an error remains; `LQRTracker` does not.

    Attributes:
        gains: w_k; 0 where there is no feature, or no push was allowed.
        directions: v_k, unit length, and v_T behind the last block.
        setpoints: beta_k of v_k . z_k, and beta_T.
        one_sided: Only pushes up: activations beyond their set-point are left alone.
        cap: Largest |u_k| / |z_k|; None is no limit.
    """

    gains: Float[Tensor, "layer d"] = field(repr=False)
    directions: Float[Tensor, "layer_and_last d"] = field(repr=False)
    setpoints: Float[Tensor, " layer_and_last"] = field(repr=False)
    one_sided: bool = False
    cap: float | int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        shapes = [tuple(x.shape) for x in (self.gains, self.directions, self.setpoints)]
        n, d = shapes[0]
        if shapes[1:] != [(n + 1, d), (n + 1,)]:
            raise ValueError(f"got shapes {shapes}: expected (T, d), (T + 1, d) and (T + 1,)")
        for name in ("gains", "directions", "setpoints"):
            if not bool(getattr(self, name).isfinite().all()):
                raise ValueError(f"the {name} are not finite")
        if not bool(self.gains.any()):
            raise ValueError("all gains are 0: no layer has a feature that may be pushed")
        if self.cap is not None and not self.cap > 0:
            raise ValueError(f"cap {self.cap!r}: expected a number above 0, or None")

    @classmethod
    def fit(  # noqa: PLR0913 - the weights of a regulator
        cls,
        jacobians: LayerJacobians,
        activations: Activations,
        *,
        state_cost: Cost = 0.1,
        control_cost: Cost = 1.0,
        terminal_cost: float | int = 0.1,
        setpoint: float | int = 1.0,
        centred: bool = True,
        layers: Sequence[int] | None = None,
        reference: Float[Tensor, "layer_and_last d"] | None = None,
        one_sided: bool = False,
        cap: float | int | None = None,
    ) -> "LQR":
        """Isotropic costs q |dz|^2 + r |u|^2 and a dense Riccati recursion, as published.

        Args:
            jacobians: From `linearize(..., dense=True)`.
            activations: The residual stream: features, and where set-points are measured from.
            state_cost: q, a number or one per layer.
            control_cost: r, the same; larger pushes less.
            terminal_cost: qf.
            setpoint: lambda: 0 is the undesired mean and 1 the desired one, if centred.
            centred: False measures set-points from the origin, as published: v . z has an offset
                that both classes share, and the law can then push the wrong way.
            layers: Consecutive blocks behind which to push; None is all.
            reference: States whose features are the set-points, in place of `setpoint`.

        Raises:
            ValueError: If a cost is out of range, layers have gaps, there are no matrices, the
                jacobians and activations are of two models, or no layer has a feature.
        """
        if jacobians.matrices is None:
            raise ValueError(f"{jacobians!r} have no matrices: use LQR.fit_feature, or dense=True")
        problem = Problem.of(jacobians, activations, setpoint, centred=centred, reference=reference)
        costs = Costs.of(jacobians.n_layers, state_cost, control_cost, terminal_cost, layers)
        gains = isotropic_gains(jacobians.matrices, problem.features.directions, costs)
        return cls(
            gains.to(jacobians.nominal),
            problem.features.directions,
            problem.setpoints,
            one_sided,
            cap,
            provenance=activations.provenance,
        )

    @classmethod
    def fit_feature(  # noqa: PLR0913 - the weights of a regulator
        cls,
        jacobians: LayerJacobians,
        activations: Activations,
        *,
        state_cost: Cost = 0.1,
        control_cost: Cost = 1.0,
        terminal_cost: float | int = 0.1,
        setpoint: float | int = 1.0,
        centred: bool = True,
        layers: Sequence[int] | None = None,
        reference: Float[Tensor, "layer_and_last d"] | None = None,
        on_manifold: bool = False,
        one_sided: bool = False,
        cap: float | int | None = None,
    ) -> "LQR":
        """Costs on the features alone, q (v_k . dz_k)^2: products with Jacobians, no matrix.

        Exact, and linear in d (T (T + 1) / 2 backward passes of one token). With q = 0 the gains
        are the gradient of the last feature.

        Args:
            on_manifold: Effort r u' Sigma^-1 u with the activations' covariance: pushes along
                directions in which activations vary by themselves are cheap.

        Raises:
            ValueError: As `fit`; matrices are not needed.
        """
        problem = Problem.of(jacobians, activations, setpoint, centred=centred, reference=reference)
        costs = Costs.of(jacobians.n_layers, state_cost, control_cost, terminal_cost, layers)
        steps = problem.steps(costs, covariance_effort(activations) if on_manifold else None)
        v = problem.features.directions
        gains = torch.stack([s.gain(v[k].double()) for k, s in enumerate(steps)])
        return cls(
            gains.to(jacobians.nominal),
            v,
            problem.setpoints,
            one_sided,
            cap,
            provenance=activations.provenance,
        )

    @property
    def layers(self) -> tuple[int, ...]:
        """Blocks behind which it pushes."""
        return tuple(self.gains.any(dim=-1).nonzero().flatten().tolist())

    @property
    def absent(self) -> tuple[int, ...]:
        """Blocks at whose input the classes do not differ: nothing is measured there."""
        return tuple((~self.directions[:-1].any(dim=-1)).nonzero().flatten().tolist())

    @property
    def sites(self) -> tuple[Site, ...]:
        """The input of each block that is steered, which is read, and its output."""
        kinds = (Kind.RESID_PRE, Kind.RESID)
        return tuple(Site(layer, kind) for layer in self.layers for kind in kinds)

    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        """See `Intervention`; what is read before a block is used behind it, in the same pass."""
        hook_points(model, self.sites)
        check_shape(model, *self.gains.shape)
        found: dict[Site, Edit] = {}
        for layer in self.layers:
            loop = _Loop(self, layer, working_place(model, layer))
            found[Site(layer, Kind.RESID_PRE)], found[Site(layer)] = loop.look, loop.push
        return found

    def _summary(self) -> list[str]:
        shown = [f"layers={list(self.layers)}"]
        return shown + [f"no feature at {list(self.absent)}"] * bool(self.absent)


class _Loop:
    """One block's feedback: what its input lacks is pushed behind it."""

    def __init__(self, law: LQR, layer: int, place: dict[str, Any]) -> None:
        self._v, self._w = (x[layer].to(**place) for x in (law.directions, law.gains))
        self._beta, self._law = float(law.setpoints[layer]), law
        self._seen: tuple[Tensor, Tensor] | None = None

    def look(self, z: Activation) -> Activation:
        lacking = self._beta - z.to(self._v.dtype) @ self._v
        lacking = lacking.clamp(min=0) if self._law.one_sided else lacking
        self._seen = lacking, z
        return z

    def push(self, x: Activation) -> Activation:
        if self._seen is None:
            raise ValueError("LQR reads before a block what it pushes behind it: hook both")
        (lacking, z), self._seen = self._seen, None
        u = self._law.strength * lacking[:, None] * self._w
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
