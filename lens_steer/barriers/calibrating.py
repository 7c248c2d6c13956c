"""One positive scale for a log-ratio, by maximum likelihood."""

from math import log

import torch
from jaxtyping import Float
from torch import Tensor


def likeliest_scale(desired: Float[Tensor, " n"], undesired: Float[Tensor, " m"]) -> float:
    """S > 0 at which sigmoid(s h + log(n / m)) is likeliest.

    Raises:
        ValueError: If there is no such number: the likelihood falls from s = 0 on, or never falls.
    """
    from scipy.optimize import brentq

    up, down = desired.double(), undesired.double()
    offset = log(len(up) / len(down))

    def slope(s: float) -> float:
        missing = torch.sigmoid(-s * up - offset) @ up
        return float(missing - torch.sigmoid(s * down + offset) @ down)

    if not slope(0.0) > 0:
        raise ValueError(
            "h does not rise from the undesired to the desired examples: no positive scale fits; "
            "fit the barrier on more data, or on another layer"
        )
    if bool((up >= 0).all()) and bool((down <= 0).all()):
        raise ValueError(
            "the sign of h is right at every example, so that no scale is the likeliest: "
            "calibrate on more examples, or on harder ones"
        )
    upper = 1.0
    while slope(upper) > 0:
        upper *= 2
    return float(brentq(slope, 0.0, upper, xtol=1e-300, rtol=1e-14))  # type: ignore[arg-type]
