"""The loops that regulators close on linearised layers, and whether they forget their start."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Layer
from lens_steer.artifacts import savable
from lens_steer.linearity import LayerJacobians
from lens_steer.reports import Report, short_repr
from lens_steer.steering import LQR, PID, Costs, Intervention, LQRTracker, isotropic_feedback

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_STYLES = ("o-", "s--", "^-", "x:")


@savable
@dataclass(frozen=True, eq=False)
class LinearLoop:
    """How distances from the nominal trajectory go from layer to layer under a linear law.

    d_{k+1} = M_k d_k + m_k, where d_k is the distance of z_k from the nominal trajectory and M_k is
    made from the mean Jacobian A_k. What the blocks do to a single text beyond it is left out.

    Attributes:
        name: The formula of M_k, such as `A - w v'`.
        matrices: M_k, float64.
        shifts: m_k, which the set-points add.
    """

    name: str
    matrices: Float[Tensor, "layer d d"]
    shifts: Float[Tensor, "layer d"]

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if self.matrices.shape[:2] != self.shifts.shape:
            shapes = tuple(self.matrices.shape), tuple(self.shifts.shape)
            raise ValueError(f"matrices and shifts of shapes {shapes}: expected (T, d, d), (T, d)")

    @classmethod
    def open(cls, jacobians: LayerJacobians) -> "LinearLoop":
        """The open loop A: no steering.

        Raises:
            ValueError: If the Jacobians have no matrices.
        """
        a = matrices_of(jacobians)
        return cls("A", a, torch.zeros_like(a[:, 0]))

    @classmethod
    def of(cls, method: Intervention, jacobians: LayerJacobians) -> "LinearLoop":
        """The loop that a law closes, at its strength s.

        `LQR` closes A - s w v', which feeds back the feature alone; `LQRTracker` (I - s P F') A;
        `PID` with a proportional gain only A - s kp v v'.

        Raises:
            ValueError: If the method is no such law, is capped or one-sided (no linear loop), does
                not fit the Jacobians, or these have no matrices.

        Example:
            >>> loops = [ls.tracking.LinearLoop.open(jac), ls.tracking.LinearLoop.of(law, jac)]
            >>> ls.tracking.LoopReport.of(loops, first=1).figure()
        """
        a = matrices_of(jacobians)
        z = jacobians.nominal.double()
        if isinstance(method, LQRTracker):
            return _tracker_loop(method, a, z)
        if isinstance(method, LQR) and method.cap is None and not method.one_sided:
            v, beta, w = method.directions[:-1], method.setpoints[:-1], method.gains
        elif isinstance(method, PID) and method.ki == method.kd == 0:
            v, beta = method.directions, method.setpoints
            steers = torch.isin(torch.arange(len(v)), torch.tensor(method.layers))
            w = torch.where(steers[:, None], float(method.kp) * v, 0.0)
        else:
            raise ValueError(
                f"{method!r} closes no linear loop: expected an LQR without cap or side, an "
                "LQRTracker, or P control"
            )
        check_shape(v, a)
        push, v = method.strength * w.double(), v.double()
        lacking = beta.double() - (v * z[:-1]).sum(dim=-1)
        name = "A - w v'" if isinstance(method, LQR) else "A - kp v v'"
        closed = a - torch.einsum("ki,kj->kij", push, v)
        return cls(name, closed, lacking[:, None] * push)

    @classmethod
    def state_feedback(cls, jacobians: LayerJacobians, costs: Costs) -> "LinearLoop":
        """A - K, the loop that feeding back the whole state would close; no law here does so.

        Raises:
            ValueError: If the Jacobians have no matrices, or the costs another number of layers.
        """
        a = matrices_of(jacobians)
        if len(costs.state) != len(a):
            raise ValueError(f"costs of {len(costs.state)} layers for {len(a)}")
        return cls("A - K", a - isotropic_feedback(a, costs), torch.zeros_like(a[:, 0]))

    def since(self, layer: Layer) -> "LinearLoop":
        """The loop from block `layer` on."""
        return LinearLoop(self.name, self.matrices[layer:], self.shifts[layer:])

    def path(self, start: Float[Tensor, "text d"]) -> Float[Tensor, "text layer_and_last d"]:
        """Distances from the nominal trajectory that follow from those at z_0."""
        distances = [start.double()]
        for m, shift in zip(self.matrices, self.shifts, strict=True):
            distances.append(distances[-1] @ m.T + shift)
        return torch.stack(distances, dim=1)


def transition_norms(matrices: Float[Tensor, "layer d d"]) -> Float[Tensor, " layer_and_last"]:
    """|Phi(k, 0)|_2 with Phi(k, 0) = M_{k-1} ... M_0, from k = 0, where it is 1."""
    phi = torch.eye(matrices.shape[-1], dtype=torch.double)
    norms = [torch.linalg.matrix_norm(phi, ord=2)]
    for m in matrices.double():
        phi = m @ phi
        norms.append(torch.linalg.matrix_norm(phi, ord=2))
    return torch.stack(norms)


@savable
@dataclass(frozen=True, eq=False, repr=False)
class LoopReport(Report):
    """Whether loops contract: the most by which a distance at z_first can have grown at z_k.

    That is the norm |Phi(k, first)|_2 of the product of the loop's matrices.

    Attributes:
        norms: The norms of each loop, from k = first, where the norm is 1.
        first: The state from which distances are followed.
    """

    norms: dict[str, Float[Tensor, " state"]]
    first: int

    @classmethod
    def of(
        cls, loops: Sequence[LinearLoop] | Mapping[str, LinearLoop], *, first: int = 0
    ) -> "LoopReport":
        """The norms of loops, under their own names or under the keys of a mapping.

        Args:
            first: 1 leaves block 0 out, which may enlarge small embeddings by much.

        Raises:
            ValueError: If there is no loop, two have one name, or no block follows z_first.
        """
        named = list(loops.items() if isinstance(loops, Mapping) else ((x.name, x) for x in loops))
        if not named or len(dict(named)) != len(named):
            raise ValueError(f"loops {[name for name, _ in named]}: expected names that differ")
        if not 0 <= first < min(len(loop.matrices) for _, loop in named):
            raise ValueError(f"first={first}: expected the number of a block")
        norms = {name: transition_norms(loop.since(first).matrices) for name, loop in named}
        return cls(norms, first)

    def table(self) -> "pd.DataFrame":
        """A row per loop and k."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"loop": name, "layer": k, "norm": norm}
                for name, norms in self.norms.items()
                for k, norm in enumerate(norms.tolist(), self.first)
            ]
        )

    def figure(self) -> "Figure":
        """Norms over layers on a log scale."""
        from lens_steer.figures import canvas, whole_numbers

        with canvas(width=5.4, height=3.6) as (figure, axes):
            for i, (name, norms) in enumerate(self.norms.items()):
                x = range(self.first, self.first + len(norms))
                style = _STYLES[i % len(_STYLES)]  # lines of similar loops lie on each other
                axes.plot(x, norms, style, color=f"C{i}", lw=1.4, ms=4, label=name)
            axes.axhline(1, color="k", lw=0.8, ls=":")
            axes.set(xlabel="k: $z_k$ leaves block k - 1")
            axes.set(yscale="log", ylabel=f"$|\\Phi(k, {self.first})|_2$")
            whole_numbers(axes.xaxis)
            figure.legend(loc="outside upper center", ncols=2)
        return figure


def matrices_of(jacobians: LayerJacobians) -> Float[Tensor, "layer d d"]:
    """The mean Jacobians in float64.

    Raises:
        ValueError: If the Jacobians have no matrices.
    """
    if jacobians.matrices is None:
        raise ValueError(f"{jacobians!r} have no matrices: use linearize(..., dense=True)")
    return jacobians.matrices.double()


def check_shape(v: Float[Tensor, "layer d"], a: Float[Tensor, "layer d d"]) -> None:
    """Raise a ValueError unless a law and Jacobians have the same layers and width."""
    if v.shape != a.shape[:2]:
        raise ValueError(f"a law of {tuple(v.shape)} on Jacobians of {tuple(a.shape)}")


def _tracker_loop(
    law: LQRTracker, a: Float[Tensor, "layer d d"], z: Float[Tensor, "layer_and_last d"]
) -> LinearLoop:
    """The loop of z' = y + s P (c - F' y) with y = zbar' + A d."""
    if len(law.factors) != len(a) or len(law.factors[0]) != a.shape[-1]:
        raise ValueError(f"{law!r} has {len(law.factors)} layers, the Jacobians {len(a)}")
    closed, shifts = [], []
    parts = zip(law.factors, law.pushes, law.targets, strict=True)
    for k, (factor, push, target) in enumerate(parts):
        f, p, c = factor.double(), law.strength * push.double(), target.double()
        closed.append(a[k] - p @ (f.T @ a[k]))
        shifts.append(p @ (c - f.T @ z[k + 1]))
    return LinearLoop("(I - P F') A", torch.stack(closed), torch.stack(shifts))
