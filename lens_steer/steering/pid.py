"""Proportional, integral and derivative feedback of a feature: S-PID, and P alone.

Source: the baseline S-PID of arXiv:2604.19018 (after PID Steering, arXiv:2510.04309).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite, sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import Activations
from lens_steer.artifacts import savable
from lens_steer.axes import Activation
from lens_steer.linearity import FeatureDirections
from lens_steer.models import SteerableModel, working_place
from lens_steer.sites import Kind, Site, hook_points
from lens_steer.steering.base import Edit, Intervention


@savable
@dataclass(frozen=True, eq=False, repr=False)
class PID(Intervention):
    """u_k = kp e_k + ki sum_{j <= k} e_j + kd (e_k - e_{k-1}), e_k = (beta_k - v_k . z_k) v_k.

    Read where block k begins, pushed behind it; sums and differences run over the layers of one
    token and begin anew with the next (the published code resets its sum every ten layers, and
    never its difference).

    Attributes:
        directions: v_k of every layer's input.
        setpoints: beta_k.
        layers: Blocks behind which it pushes.
        kp: Proportional gain; with ki = kd = 0 this is P control.
        ki: Integral gain.
        kd: Derivative gain.
    """

    directions: Float[Tensor, "layer d"] = field(repr=False)
    setpoints: Float[Tensor, " layer"] = field(repr=False)
    layers: tuple[int, ...]
    kp: float | int
    ki: float | int = 0.0
    kd: float | int = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "layers", tuple(sorted(self.layers)))
        n = len(self.directions)
        if self.setpoints.shape != (n,):
            raise ValueError(f"{tuple(self.setpoints.shape)} set-points for {n} layers")
        for name in ("directions", "setpoints"):
            if not bool(getattr(self, name).isfinite().all()):
                raise ValueError(f"the {name} are not finite: expected finite numbers")
        if not self.layers or self.layers[0] < 0 or self.layers[-1] >= n:
            raise ValueError(f"layers {list(self.layers)}: expected some of 0 to {n - 1}")
        if not all(isfinite(gain) for gain in (self.kp, self.ki, self.kd)):
            raise ValueError(f"gains {self.kp}, {self.ki}, {self.kd}: expected finite numbers")

    @classmethod
    def fit(  # noqa: PLR0913 - three gains and a set-point
        cls,
        activations: Activations,
        *,
        kp: float | int,
        ki: float | int = 0.0,
        kd: float | int = 0.0,
        setpoint: float | int = 1.0,
        centred: bool = True,
        layers: Sequence[int] | None = None,
    ) -> "PID":
        """Features and set-points as for `LQR`; layers without a feature are left out.

        Raises:
            ValueError: If these are not the residual stream at every layer, or no layer is left.
        """
        features = FeatureDirections.of(activations)
        v, beta = features.directions, features.setpoints(setpoint, centred=centred)
        wanted = range(len(v) - 1) if layers is None else layers
        chosen = tuple(k for k in wanted if bool(features.present[k]))
        if not chosen:
            raise ValueError(f"no feature at layers {list(wanted)}: choose others")
        source = activations.provenance
        return cls(v[:-1], beta[:-1], chosen, kp, ki, kd, provenance=source)

    @classmethod
    def scalar_gain(
        cls,
        activations: Activations,
        *,
        state_cost: float | int = 0.1,
        control_cost: float | int = 1.0,
        **options: float | bool | Sequence[int] | None,
    ) -> "PID":
        """P control with the regulator's gain for A = I: what `LQR` is without any Jacobian.

        s / (s + r) with s = (q + sqrt(q^2 + 4 q r)) / 2, of an infinite horizon.

        Raises:
            ValueError: As `fit`, or if a cost is not above 0.
        """
        q, r = float(state_cost), float(control_cost)
        if not (q > 0 and r > 0):
            raise ValueError(f"costs {state_cost!r} and {control_cost!r}: expected above 0")
        s = (q + sqrt(q * q + 4 * q * r)) / 2
        return cls.fit(activations, kp=s / (s + r), **options)  # type: ignore[arg-type]

    @property
    def sites(self) -> tuple[Site, ...]:
        """The input of each block that is steered, which is read, and its output."""
        kinds = (Kind.RESID_PRE, Kind.RESID)
        return tuple(Site(layer, kind) for layer in self.layers for kind in kinds)

    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        """See `Intervention`; sums run over the layers of one pass."""
        hook_points(model, self.sites)
        own = (model.cfg.n_layers, model.cfg.d_model)
        if own != tuple(self.directions.shape):
            raise ValueError(f"made for {tuple(self.directions.shape)}, but this model is {own}")
        found: dict[Site, Edit] = {}
        memory = _Memory()
        for layer in self.layers:
            loop = _Loop(self, layer, memory, model)
            found[Site(layer, Kind.RESID_PRE)], found[Site(layer)] = loop.look, loop.push
        return found


class _Memory:
    """What the layers of one pass have in common: their errors so far."""

    total: Tensor
    last: Tensor


class _Loop:
    """One block's feedback."""

    def __init__(self, law: PID, layer: int, memory: _Memory, model: SteerableModel) -> None:
        self._v = law.directions[layer].to(**working_place(model, layer))
        self._beta, self._first = float(law.setpoints[layer]), layer == law.layers[0]
        self._law, self._memory = law, memory
        self._push: Tensor | None = None

    def look(self, z: Activation) -> Activation:
        law, memory = self._law, self._memory
        error = (self._beta - z.to(self._v.dtype) @ self._v)[:, None] * self._v
        memory.total = error if self._first else memory.total.to(error.device) + error
        change = torch.zeros_like(error) if self._first else error - memory.last.to(error.device)
        memory.last = error
        self._push = law.strength * (law.kp * error + law.ki * memory.total + law.kd * change)
        return z

    def push(self, x: Activation) -> Activation:
        if self._push is None:
            raise ValueError("PID reads before a block what it pushes behind it: hook both")
        step, self._push = self._push, None
        return (x + step).to(x.dtype)
