"""What residuals of single steps add up to through a loop, at worst."""

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.tracking.conformal import Envelope


def propagated(
    matrices: Float[Tensor, "layer d d"],
    directions: Float[Tensor, "layer_and_last d"],
    lengths: Float[Tensor, "text layer_and_last"],
    state: Envelope,
) -> Float[Tensor, "text layer"]:
    """How far v_k . z_k, k = 1 ... T, may be from its prediction, if every step is within `state`.

    With delta the distance between the true and the predicted state, and s_i the step's envelope at
    |d_i| + b_i:

    - |delta_{i+1}| <= b_{i+1} = |M_i| b_i + s_i, b_0 = 0;
    - |v_k . delta_k| <= sum_{i < k} |Phi(k, i+1)' v_k| s_i, which is exact in the direction.

    Args:
        matrices: M_k of the loop.
        directions: v_k.
        lengths: |d_k| as predicted.
        state: Of |d_{k+1} - M_k d_k - m_k|, by |d_k|.
    """
    norms = torch.linalg.matrix_norm(matrices, ord=2)
    apart, steps = torch.zeros_like(lengths[:, 0]), []
    for i, norm in enumerate(norms):
        own = state.constant[i] + state.slope[i] * (lengths[:, i] + apart)
        steps.append(state.factor * own)
        apart = norm * apart + steps[-1]
    return torch.stack(steps, dim=1) @ gains(matrices, directions).T


def gains(
    matrices: Float[Tensor, "layer d d"], directions: Float[Tensor, "layer_and_last d"]
) -> Float[Tensor, "layer layer"]:
    """|Phi(k, i+1)' v_k|: what a unit residual of step i can do to the feature of z_k, k from 1.

    0 for i >= k.
    """
    n, found = len(matrices), []
    for k in range(1, n + 1):
        pulled, row = directions[k], []
        for i in reversed(range(k)):
            row.append(pulled.norm())
            pulled = matrices[i].T @ pulled
        padding = [torch.zeros_like(row[0])] * (n - k)
        found.append(torch.stack([*row[::-1], *padding]))
    return torch.stack(found)
