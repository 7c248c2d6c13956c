"""The law whose set-point is a barrier: features are its gradients, along the path it predicts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, TypedDict

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Unpack, override

from lens_steer.arguments import Accepts, Count, Layer, Number, Positive
from lens_steer.artifacts import savable
from lens_steer.axes import Activation, ranges
from lens_steer.barriers import Barrier
from lens_steer.linearity import LayerJacobians
from lens_steer.models import SteerableModel, check_one_model, working_place
from lens_steer.steering.base import Feedback, check_finite
from lens_steer.steering.lqr.barrier_checks import check_barriers, check_reach, check_window
from lens_steer.steering.lqr.costs import Cost, Costs, Weights
from lens_steer.steering.lqr.feature_law import FeatureLaw, pushing_layers
from lens_steer.steering.lqr.riccati import factored_steps


class BarrierOptions(TypedDict, total=False):
    """What a law of barriers weighs and where it pushes, as `RegulatorOptions` has it.

    Attributes:
        state_cost: q of a squared lack of h, in nats^2, where block k begins; 0.1.
        control_cost: r of a push behind block k; 1.
        terminal_cost: qf of a squared lack behind the last block; 0.1.
        layers: Consecutive blocks behind which to push; None is all that the barriers allow.
        one_sided: Activations with h above the margin are left alone; False.
        cap: Largest |u_k| / |z_k|; None is no limit.
    """

    state_cost: Cost
    control_cost: Cost
    terminal_cost: float | int
    layers: Sequence[int] | None
    one_sided: bool
    cap: float | int | None


@savable
@dataclass(frozen=True, eq=False, repr=False)
class BarrierLQR(FeatureLaw):
    """u_k = (m_k - h_k(z_k)) w_k: what h lacks where block k begins is pushed behind it.

    h_k is the barrier of the layer before, read at the activation itself, and m_k its margin.
    w_k = K_k g_k / |g_k|^2 are `LQR.fit_feature`'s gains with the feature g_k = grad h_k, which is
    not known before the activation is: it is taken along the path that the law itself predicts for
    the nominal texts, and path and gains are found by turns until they settle (as in iLQR, but the
    blocks' Jacobians stay those of the nominal). With linear barriers it is `LQR.fit_feature`.

    Like that law it pushes one layer late, and it is not the optimal one of its cost.

    Attributes:
        barriers: One per layer, in order, of the residual stream.
        margins: h to reach at each, in nats.
        gains: w_k, activation per nat; 0 where no push was allowed.
        path: The activations that are predicted for the nominal texts under the law.
    """

    barriers: Annotated[tuple[Barrier, ...], Accepts(Sequence[Barrier])]
    margins: Float[Tensor, " barrier"] = field(repr=False)
    gains: Float[Tensor, "layer d"] = field(repr=False)
    path: Float[Tensor, "layer_and_last d"] = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "barriers", tuple(self.barriers))
        shapes = [tuple(x.shape) for x in (self.margins, self.gains, self.path)]
        n, d = shapes[1]
        if shapes != [(len(self.barriers),), (n, d), (n + 1, d)]:
            raise ValueError(
                f"got shapes {shapes} for {len(self.barriers)} barriers: expected a margin each, "
                "(T, d) and (T + 1, d)"
            )
        check_barriers(self.barriers, n, d)
        check_finite(self, "margins", "gains", "path")
        if not bool(self.gains.any()):
            raise ValueError("all gains are 0: no push behind these layers is worth its cost")
        check_window(self.barriers, self.layers)

    @classmethod
    def fit(
        cls,
        jacobians: LayerJacobians,
        barriers: Sequence[Barrier],
        *,
        margin: Number | Sequence[float | int] = 0.0,
        tolerance: Positive = 1e-6,
        rounds: Count = 50,
        **options: Unpack[BarrierOptions],
    ) -> "BarrierLQR":
        """Find gains along the path that they lead to, by products with Jacobians.

        Args:
            jacobians: From `linearize`, of texts as they are to be steered: the undesired ones.
                Matrices are not needed.
            barriers: Of the residual stream at two or more layers: block k pushes what the barrier
                of layer k - 1 lacks there, for the sake of barriers at layer k and later.
            margin: h to reach, in nats, for all barriers or for each.
            tolerance: Largest change of the path, as a share of its length, that counts as settled.
            rounds: Solutions to try.
            options: See `BarrierOptions`.

        Raises:
            ValueError: If a barrier is missing in the window, has another width, kind or model, or
                a margin is out of its reach; if a gradient is 0 on the path; if the path does not
                settle (the message says how far it still moves); or as `LQR.fit_feature`.
            TypeError: If an option is misspelt.

        Example:
            >>> jac = ls.linearize(model, train.undesired, dense=False)
            >>> barriers = [ls.PolynomialBarrier.fit(resid.at(layer=k), seed=0) for k in (1, 2, 3)]
            >>> method = ls.steering.BarrierLQR.fit(jac, barriers, margin=1.0)
        """
        weights = Weights.of("BarrierLQR.fit", BarrierOptions, options)
        n, d = jacobians.n_layers, jacobians.nominal.shape[1]
        ordered = sorted(barriers, key=lambda barrier: barrier.layer)
        check_barriers(ordered, n, d)
        for barrier in ordered:
            what = "jacobians and barriers are of two models"
            check_one_model(jacobians.provenance, barrier.provenance, what)
        first, last = ordered[0].layer, ordered[-1].layer
        window = range(first + 1, last + 1) if weights.layers is None else sorted(weights.layers)
        check_window(ordered, window)
        costs = replace(weights, layers=list(window)).costs(n)
        each = margin if isinstance(margin, Sequence) else [margin] * len(ordered)
        if len(each) != len(barriers):
            raise ValueError(f"{len(each)} margins for {len(barriers)} barriers: expected as many")
        if isinstance(margin, Sequence):  # in the order in which the barriers were given
            given = sorted(zip(barriers, each, strict=True), key=lambda pair: pair[0].layer)
            each = [m for _, m in given]
        for barrier, wanted in zip(ordered, each, strict=True):
            check_reach(barrier, float(wanted))
        margins = torch.tensor([float(m) for m in each], dtype=torch.double)
        gains = torch.ones(n, d, dtype=torch.double)  # until there are some
        law = cls(
            tuple(ordered),
            margins,
            gains * torch.isfinite(costs.control)[:, None],
            jacobians.nominal.double(),
            one_sided=weights.one_sided,
            cap=weights.cap,
            provenance=jacobians.provenance,
        )
        change = torch.inf
        for _ in range(rounds):
            law, change = law._relinearised(jacobians, costs)
            if change < tolerance:
                like = jacobians.nominal
                kept = {name: getattr(law, name).to(like) for name in ("margins", "gains", "path")}
                return replace(law, **kept)
        raise ValueError(
            f"the path did not settle in {rounds} rounds: it still moves by {change:.3g} of its "
            f"length, tolerance {tolerance:g}; raise control_cost, or ask for a lower margin"
        )

    def _relinearised(self, jacobians: LayerJacobians, costs: Costs) -> tuple["BarrierLQR", float]:
        """Gains of the gradients on the present path, the path they lead to, and its change."""
        nominal, n = jacobians.nominal.double(), jacobians.n_layers
        features = torch.zeros_like(nominal)
        for barrier in self.barriers:
            state = self.path[barrier.layer + 1]
            features[barrier.layer + 1] = barrier.to(dtype=torch.double).grad(state)
            if not bool(features[barrier.layer + 1].any()):
                raise ValueError(
                    f"the gradient of the barrier at layer {barrier.layer} is 0 on the path: there "
                    "is no direction to push along; ask for a lower margin"
                )

        def pull(layer: int, columns: Float[Tensor, "d p"]) -> Float[Tensor, "d p"]:
            return jacobians.vjp(layer, columns.T.to(jacobians.nominal)).T

        steps = factored_steps(pull, features[..., None], costs)
        gains = torch.stack([steps[k].gain(features[k, :, None])[:, 0] for k in range(n)])
        law, path = replace(self, gains=gains), [nominal[0]]
        for k in range(n):
            away = (path[k] - nominal[k])[None].to(jacobians.nominal)
            after = nominal[k + 1] + jacobians.jvp(k, away)[0].double()
            if bool(gains[k].any()):
                after = after + law._pushed(k, path[k][None], gains[k])[0]
            path.append(after)
        found = torch.stack(path)
        moved = (found - self.path).norm(dim=-1) / self.path.norm(dim=-1)
        change = float(moved.nan_to_num(nan=0.0).max())  # 0 / 0 where the nominal is 0
        if not change < torch.inf:
            raise ValueError("the path leaves every bound: raise control_cost")
        return replace(law, path=found), change

    def _pushed(self, layer: int, z: Activation, gain: Float[Tensor, " d"]) -> Activation:
        i = self._before(layer)
        barrier = self.barriers[i].to(device=z.device, dtype=z.dtype)
        lacking = self.margins[i].to(z) - barrier.unchecked_h(z)
        lacking = lacking.clamp(min=0) if self.one_sided else lacking
        return self._capped(lacking[:, None] * gain, z)

    def _before(self, layer: int) -> int:
        return [barrier.layer for barrier in self.barriers].index(layer - 1)

    @override
    def _feedback(self, model: SteerableModel, layer: int) -> Feedback:
        place = working_place(model, layer)
        gain = self.strength * self.gains[layer].to(**place)
        return lambda z: self._pushed(layer, z.to(**place), gain)

    @property
    @override
    def layers(self) -> tuple[int, ...]:
        return pushing_layers(self.gains)

    @property
    @override
    def shape(self) -> tuple[int, int]:
        return self.gains.shape[0], self.gains.shape[1]

    @override
    def terms(self, layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
        """The law linearised on its path: grad h_k, what its product with z_k is to be, and w_k."""
        i = self._before(layer)
        barrier, z = self.barriers[i].to(dtype=self.path.dtype), self.path[layer]
        g = barrier.grad(z)
        return (
            g[:, None],
            (g @ z + self.margins[i] - barrier.h(z))[None],
            self.gains[layer, :, None],
        )

    def _summary(self) -> list[str]:
        return [f"layers {ranges(self.layers)}"]
