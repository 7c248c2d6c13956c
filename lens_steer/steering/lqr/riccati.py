"""Riccati recursions: dense with isotropic costs, and factored with costs on features only.

z_{k+1} = A_k z_k + u_k, k = 0 ... T-1; letters are those of arXiv:2604.19018.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.steering.lqr.costs import Costs

Product = Callable[[int, Float[Tensor, "*text d p"]], Float[Tensor, "*text d p"]]


def isotropic_gains(
    matrices: Float[Tensor, "layer d d"],
    directions: Float[Tensor, "layer_and_last d"],
    costs: Costs,
) -> Float[Tensor, "layer d"]:
    """w_k = K_k v_k of `isotropic_feedback`, no K being formed; float64, one S at a time."""
    backwards = _backwards(matrices, costs)
    return torch.stack([x @ (a @ directions[k].double()) for k, a, x in backwards]).flip(0)


def isotropic_feedback(
    matrices: Float[Tensor, "layer d d"], costs: Costs
) -> Float[Tensor, "layer d d"]:
    """K_k = (S_{k+1} + r I)^-1 S_{k+1} A_k: what u = -K dz would feed back; 0 without a push."""
    return torch.stack([x @ a for _, a, x in _backwards(matrices, costs)]).flip(0)


def _backwards(
    matrices: Float[Tensor, "layer d d"], costs: Costs
) -> Iterator[tuple[int, Float[Tensor, "d d"], Float[Tensor, "d d"]]]:
    """k, A_k and (S_{k+1} + r I)^-1 S_{k+1}, from the last block to the first.

    S_k = q I + A' (S - S (S + r I)^-1 S) A, whose middle is r (S + r I)^-1 S: no difference of
    large numbers, and S stays symmetric.
    """
    one = torch.eye(matrices.shape[-1], dtype=torch.double)
    s = costs.terminal * one
    for k in reversed(range(len(matrices))):
        a, r = matrices[k].double(), float(costs.control[k])
        if r == torch.inf:
            middle = s
            yield k, a, torch.zeros_like(s)
        else:
            solved = torch.cholesky_solve(s, torch.linalg.cholesky(s + r * one))
            middle = r * solved
            yield k, a, solved
        s = float(costs.state[k]) * one + a.T @ middle @ a
        s = (s + s.T) / 2


def actuated_gains(
    matrices: Float[Tensor, "layer d d"],
    inputs: Mapping[int, Float[Tensor, "d _"]],
    directions: Float[Tensor, "layer_and_last d"],
    costs: Costs,
) -> dict[int, Float[Tensor, " _"]]:
    """K_k v_k of z_{k+1} = A_k z_k + B_k u_k and isotropic costs; float64, one S at a time.

    K = (r I + B'SB)^-1 B'SA: as many rows as there are actuators. S of the layer before is Joseph's
    form q I + (A - BK)'S(A - BK) + r K'K, which stays positive whatever is rounded.

    Args:
        inputs: B_k of the layers that have actuators.

    Returns:
        The gains of these layers; 0 where no push is allowed.
    """
    gains: dict[int, Tensor] = {}
    s = costs.terminal * torch.eye(matrices.shape[-1], dtype=torch.double)
    for k in reversed(range(len(matrices))):
        closed, r, effort = matrices[k].double(), float(costs.control[k]), torch.zeros_like(s)
        if k in inputs:
            b = inputs[k].double()
            gain = b.new_zeros(b.shape[1], len(s))
            if r != torch.inf:
                inner = b.T @ s @ b + r * torch.eye(b.shape[1], dtype=torch.double)
                gain = torch.cholesky_solve(b.T @ s @ closed, torch.linalg.cholesky(inner))
                closed, effort = closed - b @ gain, r * gain.T @ gain
            gains[k] = gain @ directions[k].double()
        s = closed.T @ s @ closed + effort
        s = (s + s.T) / 2
        s.diagonal().add_(float(costs.state[k]))
    return gains


@dataclass(frozen=True, eq=False)
class Step:
    """One block of the factored recursion: the cost to go behind it is |F' z - ...|^2.

    Leading axes are systems solved side by side, one for each text.

    Attributes:
        factor: F_{k+1}, with S_{k+1} = F F'.
        effort: R^-1 F but for r: F itself, or Sigma F; of actuators B'F, in their own units.
        inverse: (r I + F' R^-1 F r)^-1, or (r I + F'B B'F)^-1; 0 where no push is allowed.
        pulled: A_k' F.
        root: L with L L' = (I + F' effort / r)^-1, or (I + F'B B'F / r)^-1.
    """

    factor: Float[Tensor, "*text d p"]
    effort: Float[Tensor, "*text u p"]
    inverse: Float[Tensor, "*text p p"]
    pulled: Float[Tensor, "*text d p"]
    root: Float[Tensor, "*text p p"]

    def gain(self, features: Float[Tensor, "d concept"]) -> Float[Tensor, "*text u concept"]:
        """K_k of the shortest vectors that move one feature and no other; K v, if there is one."""
        shortest = torch.linalg.pinv(features.double()).mT
        return self.effort @ (self.inverse @ (self.pulled.mT @ shortest))

    @property
    def push(self) -> Float[Tensor, "*text u p"]:
        """What a unit of each factor's error pushes."""
        return self.effort @ self.inverse


def factored_steps(
    pull: Product,
    features: Float[Tensor, "layer_and_last d concept"],
    costs: Costs,
    effort: Product | None = None,
    actuate: Callable[[int, Tensor], Tensor] | None = None,
) -> list[Step]:
    """Q_k = q V_k V_k' and Qf = qf V_T V_T': S_k has rank c (T-k+1), and no matrix is ever formed.

    Args:
        pull: A_k' of some columns; may put axes of texts in front.
        features: V_k, a unit column for each concept that is steered at once, or 0.
        effort: Sigma_{k+1} of some columns for R_k = r Sigma^-1; None for R_k = r I.
        actuate: B_k' of some columns where pushes act through B_k; None for B_k = I.

    Returns:
        From the first block to the last.
    """
    v = features.double()
    factor, steps = costs.terminal**0.5 * v[-1], []
    for k in reversed(range(len(v) - 1)):
        pulled, r = pull(k, factor).double(), float(costs.control[k])
        factor = factor.expand_as(pulled)  # texts have the last feature in common
        if actuate is not None:  # (r I + B'SB)^-1 B'F = B'F (r I + F'B B'F)^-1
            weighted = actuate(k, factor).double()
            gram = weighted.mT @ weighted
        else:
            weighted = factor if effort is None else effort(k, factor).double()
            gram = factor.mT @ weighted
        values, vectors = torch.linalg.eigh((gram + gram.mT) / 2)
        values = values.clamp(min=0)  # of a Gram matrix: below 0 by rounding only
        root = vectors / (1 + values / r).sqrt()[..., None, :]
        inverse = (vectors / (r + values)[..., None, :]) @ vectors.mT
        steps.append(Step(factor, weighted, inverse, pulled, root))
        added = (float(costs.state[k]) ** 0.5 * v[k]).expand(*pulled.shape[:-1], -1)
        factor = torch.cat([added, pulled @ root], dim=-1)
    return steps[::-1]


def feed_forward(
    steps: list[Step],
    costs: Costs,
    features: Float[Tensor, "layer_and_last d concept"],
    setpoints: Float[Tensor, "layer_and_last concept"],
    nominal: Float[Tensor, "layer_and_last d"],
) -> list[Float[Tensor, " p"]]:
    """c_{k+1}: what F' z is to be behind each block, later set-points and drift included.

    Of the affine system z' = zbar' + A (z - zbar): g_T = sqrt(qf) b_T, g_k = [sqrt(q) b_k, L' g],
    b_k = beta_k - V_k' zbar_k, c = g + F' zbar.
    """
    z = nominal.double()
    b = setpoints.double() - torch.einsum("kdc,kd->kc", features.double(), z)
    g, targets = costs.terminal**0.5 * b[-1], []
    for k in reversed(range(len(steps))):
        targets.append(g + steps[k].factor.T @ z[k + 1])
        g = torch.cat([float(costs.state[k]) ** 0.5 * b[k], steps[k].root.T @ g])
    return targets[::-1]
