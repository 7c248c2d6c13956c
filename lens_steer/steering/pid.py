"""Proportional, integral and derivative feedback of a feature: S-PID, and P alone.

Source: the baseline S-PID of arXiv:2604.19018 (after PID Steering, arXiv:2510.04309).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import sqrt
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import Activations
from lens_steer.arguments import Accepts, Count, Layers, Number
from lens_steer.artifacts import savable
from lens_steer.axes import Activation
from lens_steer.linearity import FeatureDirections
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

_CLEARED = 10  # blocks between two clearings of the published code's sum


@savable
@dataclass(frozen=True, eq=False, repr=False)
class PID(Intervention):
    """u_k = kp e_k + ki sum_{j <= k} e_j + kd (e_k - e_{k-1}), e_k = (beta_k - v_k . z_k) v_k.

    Read where block k begins, pushed behind it; sums and differences run over the layers of one
    token and begin anew with the next. `official` is the published code's law, which clears the
    sum at every tenth block and takes the first difference from 0.

    Attributes:
        directions: v_k of every layer's input.
        setpoints: beta_k.
        layers: Blocks behind which it pushes.
        kp: Proportional gain; with ki = kd = 0 this is P control.
        ki: Integral gain.
        kd: Derivative gain.
        clear_every: The sum is 0 at blocks 0, n, 2 n ..., whose own error is lost to it, and begins
            anew behind them; None: it runs over all layers.
        first_from_zero: Whether e_{-1} = 0: the first layer's difference is its whole error. False:
            it is 0, as there is no error before it.
    """

    directions: Float[Tensor, "layer d"] = field(repr=False)
    setpoints: Float[Tensor, " layer"] = field(repr=False)
    layers: Annotated[tuple[int, ...], Accepts(Sequence[int])]
    kp: Number
    ki: Number = 0.0
    kd: Number = 0.0
    clear_every: Count | None = field(default=None, metadata={"saved_if_set": True})
    first_from_zero: bool = field(default=False, metadata={"saved_if_set": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "layers", tuple(sorted(self.layers)))
        n = len(self.directions)
        if self.setpoints.shape != (n,):
            shape = tuple(self.setpoints.shape)
            raise ValueError(f"got set-points of shape {shape}: expected ({n},), one per layer")
        check_finite(self, "directions", "setpoints")
        if not self.layers or self.layers[0] < 0 or self.layers[-1] >= n:
            raise ValueError(f"layers {list(self.layers)}: expected some of 0 to {n - 1}")

    @classmethod
    def fit(
        cls,
        activations: Activations,
        *,
        kp: Number,
        ki: Number = 0.0,
        kd: Number = 0.0,
        setpoint: Number = 1.0,
        centred: bool = True,
        layers: Layers | None = None,
    ) -> "PID":
        """Take features and set-points as for `LQR`; layers without a feature are left out.

        Example:
            >>> method = ls.PID.fit(ls.capture(model, train, "resid"), kp=0.1, ki=0.02)

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
    def official(
        cls,
        activations: Activations,
        *,
        kp: Number,
        ki: Number = 0.0,
        kd: Number = 0.0,
        setpoint: Number = 1.0,
        layers: Layers | None = None,
    ) -> "PID":
        """S-PID as its code does it, at one token.

        Set-points are measured from the origin; the sum is cleared at blocks 0, 10, 20 ..., after
        their error was added to it; and the first difference is e_0 - 0. (The code never clears
        the last error between tokens, so that its first difference depends on what was run
        before; here every token begins as the first does.)

        Args:
            activations: As `fit`.
            kp: Proportional gain; the code's are 0.1 to 0.7.
            ki: Integral gain; the code's are 0.01 to 0.5.
            kd: Derivative gain; the code's are 0 to 0.1.
            setpoint: As `fit`; the code's are 0.5 to 2.
            layers: As `fit`.

        Raises:
            ValueError: As `fit`.

        Example:
            >>> method = ls.PID.official(ls.capture(model, train, "resid"), kp=0.7, ki=0.01, kd=0.1)
        """
        law = cls.fit(
            activations, kp=kp, ki=ki, kd=kd, setpoint=setpoint, centred=False, layers=layers
        )
        return replace(law, clear_every=_CLEARED, first_from_zero=True)

    @classmethod
    def fit_scalar_gain(
        cls,
        activations: Activations,
        *,
        state_cost: Number = 0.1,
        control_cost: Number = 1.0,
        setpoint: Number = 1.0,
        centred: bool = True,
        layers: Layers | None = None,
    ) -> "PID":
        """P control with the regulator's gain for A = I: what `LQR` is without any Jacobian.

        The gain is s / (s + r) with s = (q + sqrt(q^2 + 4 q r)) / 2, that of an infinite horizon.

        Example:
            >>> method = ls.PID.fit_scalar_gain(ls.capture(model, train, "resid"))

        Raises:
            ValueError: As `fit`, or if a cost is not above 0.
        """
        q, r = float(state_cost), float(control_cost)
        if not (q > 0 and r > 0):
            raise ValueError(f"costs {state_cost!r} and {control_cost!r}: expected above 0")
        s = (q + sqrt(q * q + 4 * q * r)) / 2
        gain = s / (s + r)
        return cls.fit(activations, kp=gain, setpoint=setpoint, centred=centred, layers=layers)

    @property
    @override
    def sites(self) -> tuple[Site, ...]:
        return feedback_sites(self.layers)

    @override
    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        n, d = self.directions.shape
        return feedback_edits(self, model, (n, d), self.layers, partial(self._feedback, _Memory()))

    def _feedback(self, memory: "_Memory", model: SteerableModel, layer: int) -> Feedback:
        v = self.directions[layer].to(**working_place(model, layer))
        beta, first = float(self.setpoints[layer]), layer == self.layers[0]
        cleared = self.clear_every is not None and layer % self.clear_every == 0

        def feedback(z: Activation) -> Activation:
            error = (beta - z.to(v.dtype) @ v)[:, None] * v
            none = torch.zeros_like(error)
            before = none if first else memory.total.to(error.device)
            memory.total = none if cleared else before + error
            last = (none if self.first_from_zero else error) if first else memory.last
            change = error - last.to(error.device)
            memory.last = error
            return self.strength * (self.kp * error + self.ki * memory.total + self.kd * change)

        return feedback


class _Memory:
    """What the layers of one pass have in common: the sum of their errors, and the last one."""

    total: Tensor
    last: Tensor
