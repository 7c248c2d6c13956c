"""Whether barriers and the blocks that push for them fit together."""

from collections.abc import Sequence

from lens_steer.arguments import Number
from lens_steer.barriers import Barrier, PolynomialBarrier
from lens_steer.sites import Kind


def check_barriers(barriers: Sequence[Barrier], n_layers: int, width: int) -> None:
    """Raise a ValueError unless each is of the residual stream, and of a layer of its own."""
    layers = [barrier.layer for barrier in barriers]
    if len(set(layers)) != len(layers) or len(layers) < 2 or layers != sorted(layers):
        raise ValueError(
            f"barriers of layers {layers}: expected two or more, each of another layer: one is "
            "read before the block that pushes, and one says what the push is for"
        )
    for barrier in barriers:
        if barrier.kind is not Kind.RESID or barrier.width != width or barrier.layer >= n_layers:
            raise ValueError(
                f"got {barrier!r}: expected barriers of the residual stream, {width} entries, "
                f"layers below {n_layers}"
            )


def check_window(barriers: Sequence[Barrier], window: Sequence[int]) -> None:
    """Raise a ValueError that names the barrier that some blocks lack, if one is missing."""
    have = {barrier.layer for barrier in barriers}
    missing = sorted(k - 1 for k in window if k - 1 not in have)
    if missing:
        place = "the embedding" if missing[0] < 0 else f"layer {missing[0]}"
        raise ValueError(
            f"a barrier is missing at {place}: blocks {list(window)} push what the barriers of "
            f"layers {[k - 1 for k in window]} lack, and there are those of {sorted(have)}"
        )
    if window and max(window) > max(have):
        raise ValueError(
            f"layers {list(window)} with barriers of {sorted(have)}: expected one at layer "
            f"{max(window)} or later, for whose sake the last block pushes"
        )


def check_reach(barrier: Barrier, margin: Number) -> None:
    """Raise a ValueError that says sup h where it is known and not above the margin."""
    if isinstance(barrier, PolynomialBarrier) and not margin < barrier.supremum().value:
        raise ValueError(
            f"margin {margin:.4g} at layer {barrier.layer} is out of reach: sup h = "
            f"{barrier.supremum().value:.4g}, whatever the activation"
        )
