"""What a linear-quadratic regulator weighs: state errors against pushes, layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.artifacts import savable

Cost = float | int | Sequence[float]


@savable
@dataclass(frozen=True, eq=False)
class Costs:
    """J = sum_k (q_k |dz_k|^2 + r_k |u_k|^2) + qf |dz_T|^2.

    Attributes:
        state: q_k at each block's input.
        control: r_k of a push behind each block; infinite where none is allowed.
        terminal: qf.
    """

    state: Float[Tensor, " layer"]
    control: Float[Tensor, " layer"]
    terminal: float

    @classmethod
    def of(
        cls,
        n_layers: int,
        state: Cost,
        control: Cost,
        terminal: float | int,
        layers: Sequence[int] | None,
    ) -> "Costs":
        """Numbers, or one for each layer; pushes behind `layers` only, None being all.

        Raises:
            ValueError: If a cost is out of range, of another length, or the layers have gaps.
        """
        q, r = (_each(n_layers, name, c) for name, c in (("state", state), ("control", control)))
        if bool((q < 0).any()) or terminal < 0 or not isfinite(terminal):
            raise ValueError(f"costs {state!r} and {terminal!r}: expected numbers from 0 up")
        if bool((r <= 0).any()):
            raise ValueError(f"control_cost {control!r}: expected numbers above 0")
        if not bool(q.any()) and terminal == 0:
            raise ValueError("state_cost and terminal_cost are 0: there is nothing to steer for")
        if layers is not None:
            r = r.masked_fill(~_window(n_layers, layers), inf)
        return cls(q, r, float(terminal))


def _each(n_layers: int, name: str, cost: Cost) -> Float[Tensor, " layer"]:
    found = torch.as_tensor(cost, dtype=torch.double)
    if found.ndim == 0:
        found = found.expand(n_layers).clone()
    if tuple(found.shape) != (n_layers,) or not bool(found.isfinite().all()):
        raise ValueError(f"{name}_cost {cost!r}: expected a number, or {n_layers}, one per layer")
    return found


def _window(n_layers: int, layers: Sequence[int]) -> Tensor:
    chosen = sorted(layers)
    if not chosen or chosen != list(range(chosen[0], chosen[0] + len(chosen))):
        raise ValueError(f"layers {list(layers)}: expected consecutive ones, each once")
    if chosen[0] < 0 or chosen[-1] >= n_layers:
        raise ValueError(f"layers {list(layers)}: this model has {n_layers}, from 0")
    mask = torch.zeros(n_layers, dtype=torch.bool)
    mask[chosen] = True
    return mask
