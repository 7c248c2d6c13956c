"""What a linear-quadratic regulator weighs: state errors against pushes, layer by layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import inf, isfinite
from typing import Any, TypedDict

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Layers, Number
from lens_steer.artifacts import savable
from lens_steer.reports import short_repr

Cost = float | int | Sequence[float]


class WeightOptions(TypedDict, total=False):
    """What every regulator weighs, and where it pushes: keywords of `fit`, with their defaults.

    Attributes:
        state_cost: q >= 0 of an error where block k begins, a number or one per layer; 0.1.
        control_cost: r > 0 of a push behind block k, the same; larger pushes less; 1.
        terminal_cost: qf >= 0 of an error behind the last block; 0.1.
        setpoint: lambda: 0 is the undesired mean and 1 the desired one, if centred; negative leads
            away; with several concepts one for all, or one for each; 1. (The angular set-points
            that the paper names are refused: it does not define them.)
        centred: False measures set-points from the origin, as published: v . z has an offset that
            both classes share, and the law can then push the wrong way; True.
        layers: Consecutive blocks behind which to push; None, the default, is all.
        reference: States whose features are the set-points, in place of `setpoint`; None.
    """

    state_cost: Cost
    control_cost: Cost
    terminal_cost: float | int
    setpoint: float | int | Sequence[float]
    centred: bool
    layers: Sequence[int] | None
    reference: Tensor | None


class RegulatorOptions(WeightOptions, total=False):
    """`WeightOptions`, and how a law that is fed back is limited.

    Attributes:
        one_sided: Only pushes up: features beyond their set-point are left alone; False.
        cap: Largest |u_k| / |z_k|; None, the default, is no limit.
    """

    one_sided: bool
    cap: float | int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """The options of a regulator, all of them: see `WeightOptions` and `RegulatorOptions`."""

    state_cost: Cost = 0.1
    control_cost: Cost = 1.0
    terminal_cost: float | int = 0.1
    setpoint: float | int | Sequence[float] = 1.0
    centred: bool = True
    layers: Sequence[int] | None = None
    reference: Float[Tensor, "layer_and_last d"] | None = None
    one_sided: bool = False
    cap: float | int | None = None

    @classmethod
    def of(cls, function: str, allowed: type, options: Mapping[str, Any]) -> "Weights":
        """The options that a function was called with, and the defaults of the others.

        Args:
            function: What was called, for the error.
            allowed: The TypedDict of its options.
            options: As it was given them.

        Raises:
            TypeError: If one is misspelt.
        """
        names = [f.name for f in fields(cls) if f.name in allowed.__annotations__]
        unknown = [name for name in options if name not in names]
        if unknown:
            raise TypeError(
                f"{function}() got an unexpected keyword {unknown[0]!r}: expected one of "
                f"{', '.join(names)}"
            )
        return cls(**options)

    def costs(self, n_layers: int) -> "Costs":
        """The costs of a model of so many layers.

        Raises:
            ValueError: If a cost is out of range, of another length, or the layers have gaps.
        """
        return Costs.of(
            n_layers, self.state_cost, self.control_cost, self.terminal_cost, self.layers
        )


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

    __repr__ = short_repr

    @classmethod
    def of(
        cls,
        n_layers: int,
        state: Cost,
        control: Cost,
        terminal: Number,
        layers: Layers | None,
    ) -> "Costs":
        """Costs of numbers, or one for each layer; pushes behind `layers` alone, None being all.

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
    costs = torch.as_tensor(cost, dtype=torch.double)
    if costs.ndim == 0:
        costs = costs.expand(n_layers).clone()
    if tuple(costs.shape) != (n_layers,) or not bool(costs.isfinite().all()):
        raise ValueError(f"{name}_cost {cost!r}: expected a number, or {n_layers}, one per layer")
    return costs


def _window(n_layers: int, layers: Sequence[int]) -> Tensor:
    chosen = sorted(layers)
    if not chosen or chosen != list(range(chosen[0], chosen[0] + len(chosen))):
        raise ValueError(f"layers {list(layers)}: expected consecutive ones, each once")
    if chosen[0] < 0 or chosen[-1] >= n_layers:
        raise ValueError(f"layers {list(layers)}: this model has {n_layers}, from 0")
    mask = torch.zeros(n_layers, dtype=torch.bool)
    mask[chosen] = True
    return mask
