"""Which positions of a forward pass are steered: pure arithmetic on masks and lengths."""

from collections.abc import Sequence
from numbers import Integral
from typing import Literal, cast, get_args

import torch
from jaxtyping import Bool, Int
from torch import Tensor

ScopeName = Literal["last", "prompt", "generated", "all"]
Scope = ScopeName | Sequence[int]


def check_scope(scope: Scope) -> Scope:
    """The scope, with explicit positions as a tuple.

    Raises:
        ValueError: If it is neither a known name nor positions counted from 0.
    """
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
) -> Bool[Tensor, "batch chunk"]:
    """Which positions a scope steers.

    Args:
        scope: See `steered`.
        positions: As `absolute_positions` gives them.
        prompt_lengths: Real tokens of each prompt, the beginning-of-sequence token included.
        starts_with_bos: Rows that begin with the beginning-of-sequence token, which scope `prompt`
            leaves alone.
    """
    length, real = prompt_lengths[:, None], positions >= 0
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
