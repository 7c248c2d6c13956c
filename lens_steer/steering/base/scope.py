"""Which positions of a forward pass are steered: pure arithmetic on masks and lengths."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, cast, get_args

import torch
from jaxtyping import Bool, Int
from torch import Tensor

ScopeName = Literal["last", "prompt", "generated", "all"]
Positions = ScopeName | Sequence[int]


@dataclass(frozen=True)
class WithSinks:
    """A scope that does not leave attention sinks out: what `sink=True` makes of `scope`.

    It is for functions that take a scope and have no argument `sink`. Only `prompt` and `all` leave
    sinks out; the other scopes name their tokens and mean the same with and without it.

    Attributes:
        scope: `last`, `prompt`, `generated`, `all`, or positions.

    Raises:
        ValueError: If the scope makes no sense.

    Example:
        >>> ls.preference(model, pairs, method, scope=ls.steering.WithSinks("all"))
    """

    scope: Positions

    def __post_init__(self) -> None:
        object.__setattr__(self, "scope", _checked(self.scope))


Scope = ScopeName | Sequence[int] | WithSinks


def check_scope(scope: Scope, *, sink: bool = False) -> Scope:
    """The scope, with explicit positions as a tuple.

    Args:
        scope: See `steered`.
        sink: Whether attention sinks are not left out: scopes that would leave them out are then a
            `WithSinks`.

    Raises:
        ValueError: If it is neither a known name nor positions counted from 0.
    """
    named = scope.scope if isinstance(scope, WithSinks) else _checked(scope)
    both = (sink or isinstance(scope, WithSinks)) and leaves_out_sinks(named)
    return WithSinks(named) if both else named


def leaves_out_sinks(scope: Scope) -> bool:
    """Whether it depends on the attention sinks of a prompt which positions a scope steers."""
    return isinstance(scope, str) and scope in ("prompt", "all")


def _checked(scope: Any) -> Positions:  # whatever a user gave
    if isinstance(scope, str):
        if scope not in get_args(ScopeName):
            names = ", ".join(get_args(ScopeName))
            raise ValueError(f"scope {scope!r}: expected one of {names}, or positions")
        return cast(ScopeName, scope)
    positions = tuple(int(p) if isinstance(p, Integral) else -1 for p in scope)
    if not positions or min(positions) < 0:
        raise ValueError(
            f"scope {scope!r}: expected positions counted from the first real token, which is 0"
        )
    return positions


def absolute_positions(real: Bool[Tensor, "batch total"], chunk: int) -> Int[Tensor, "batch chunk"]:
    """Position of each token of the last `chunk` columns, counted from its row's first real token.

    Args:
        real: False at padding, over everything that the model has seen of the row, this chunk
            included.
        chunk: Columns that are computed now.

    Returns:
        Numbers from 0; -1 at padding, on either side.
    """
    counted = real.long().cumsum(dim=1) - 1
    return counted.masked_fill(~real, -1)[:, -chunk:]


def steered_positions(
    scope: Scope,
    positions: Int[Tensor, "batch chunk"],
    prompt_lengths: Int[Tensor, " batch"],
    starts_with_bos: Bool[Tensor, " batch"],
    sinks: Bool[Tensor, "batch position"] | None = None,
) -> Bool[Tensor, "batch chunk"]:
    """Which positions a scope steers.

    Args:
        scope: See `steered`.
        positions: As `absolute_positions` gives them.
        prompt_lengths: Real tokens of each prompt, the beginning-of-sequence token included.
        starts_with_bos: Rows that begin with the beginning-of-sequence token, which scope `prompt`
            leaves alone.
        sinks: Which tokens of each prompt are attention sinks, counted as `positions`; tokens
            behind the last column are none. Scopes `prompt` and `all` leave them alone. None: there
            are none to leave alone.
    """
    length, real = prompt_lengths[:, None], positions >= 0
    if isinstance(scope, WithSinks):
        scope, sinks = scope.scope, None
    if leaves_out_sinks(scope) and sinks is not None:
        known = positions.clamp(0, sinks.shape[1] - 1)
        real = real & ~(sinks.gather(1, known) & (positions == known))
    match scope:
        case "all":
            return real
        case "last":
            return real & (positions >= length - 1)
        case "generated":
            return real & (positions >= length)
        case "prompt":
            return real & (positions < length) & ~((positions == 0) & starts_with_bos[:, None])
        case _:
            return torch.isin(positions, torch.tensor(tuple(scope), device=positions.device))
