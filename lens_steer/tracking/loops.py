"""The loops that regulators close on linearised layers, and whether they contract."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.linearity import LayerJacobians
from lens_steer.steering import LQR, PID, Costs, Intervention, LQRTracker, isotropic_feedback

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_STYLES = ("o-", "s--", "^-", "x:")


@dataclass(frozen=True, eq=False)
class LinearLoop:
    """d_{k+1} = M_k d_k + m_k, d_k being the distance of z_k from the nominal trajectory.

    Of the mean Jacobians A_k; what a text's blocks do beside them is left out.

    Attributes:
        name: Such as `A - w v'`.
        matrices: M_k, float64.
        shifts: m_k, which the set-points add.
    """

    name: str
    matrices: Float[Tensor, "layer d d"]
    shifts: Float[Tensor, "layer d"]

    def __post_init__(self) -> None:
        if self.matrices.shape[:2] != self.shifts.shape:
            shapes = tuple(self.matrices.shape), tuple(self.shifts.shape)
            raise ValueError(f"matrices and shifts of shapes {shapes}: expected (T, d, d), (T, d)")

    @classmethod
    def open(cls, jacobians: LayerJacobians) -> "LinearLoop":
        """A: no steering.

        Raises:
            ValueError: If the Jacobians have no matrices.
        """
        a = matrices_of(jacobians)
        return cls("A", a, torch.zeros_like(a[:, 0]))

    @classmethod
    def of(cls, method: Intervention, jacobians: LayerJacobians) -> "LinearLoop":
        """The loop of a law in use, at its strength s.

        `LQR`: A - s w v', which feeds back the feature alone; `LQRTracker`: (I - s P F') A; `PID`
        with a proportional gain only: A - s kp v v'.

        Raises:
            ValueError: If the method is no such law, is capped or one-sided (no linear loop), does
                not fit the Jacobians, or these have no matrices.
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
        """A - K: what feeding back the whole state would close; no law here does.

        Raises:
            ValueError: If the Jacobians have no matrices, or the costs another number of layers.
        """
        a = matrices_of(jacobians)
        if len(costs.state) != len(a):
            raise ValueError(f"costs of {len(costs.state)} layers for {len(a)}")
        return cls("A - K", a - isotropic_feedback(a, costs), torch.zeros_like(a[:, 0]))

    def since(self, layer: int) -> "LinearLoop":
        """Of block `layer` and those behind it."""
        return LinearLoop(self.name, self.matrices[layer:], self.shifts[layer:])

    def path(self, start: Float[Tensor, "text d"]) -> Float[Tensor, "text layer_and_last d"]:
        """Distances from the nominal trajectory that follow from those at z_0."""
        found = [start.double()]
        for m, shift in zip(self.matrices, self.shifts, strict=True):
            found.append(found[-1] @ m.T + shift)
        return torch.stack(found, dim=1)


def transition_norms(matrices: Float[Tensor, "layer d d"]) -> Float[Tensor, " layer_and_last"]:
    """|Phi(k, 0)|_2 with Phi(k, 0) = M_{k-1} ... M_0, from k = 0, where it is 1."""
    phi = torch.eye(matrices.shape[-1], dtype=torch.double)
    found = [torch.linalg.matrix_norm(phi, ord=2)]
    for m in matrices.double():
        phi = m @ phi
        found.append(torch.linalg.matrix_norm(phi, ord=2))
    return torch.stack(found)


def contraction(matrices: Float[Tensor, "layer d d"]) -> float:
    """1 - rho, rho = max_k |M_k| from the norm P_k to P_{k+1}.

    P_T = I, P_k = M_k' P_{k+1} M_k + I. Then M' P M = P - I whatever M is, so that rho =
    sqrt(1 - 1 / lambda_max(P)) is below 1 for every loop: where it is so by a few hundredths only,
    the norm promises nothing.
    """
    one = torch.eye(matrices.shape[-1], dtype=torch.double)
    p, largest = one, 1.0
    for m in reversed(matrices.double().unbind()):
        p = m.T @ p @ m + one
        largest = max(largest, float(torch.linalg.eigvalsh(p)[-1]))
    return 1 - (1 - 1 / largest) ** 0.5


@dataclass(frozen=True, eq=False)
class LoopReport:
    """|Phi(k, first)|_2 of several loops: the most by which a distance at z_first has grown at z_k.

    Attributes:
        norms: Of each loop, from k = first, where it is 1.
        contractions: 1 - rho of each, see `contraction`.
        first: The state from which distances are followed.
    """

    norms: dict[str, Float[Tensor, " state"]]
    contractions: dict[str, float]
    first: int

    @classmethod
    def of(
        cls, loops: Sequence[LinearLoop] | Mapping[str, LinearLoop], *, first: int = 0
    ) -> "LoopReport":
        """Of loops under their own names, or under those given.

        Args:
            first: 1 leaves block 0 out, which may enlarge small embeddings by much.

        Raises:
            ValueError: If there is none, two have one name, or no block follows z_first.
        """
        given = list(loops.items() if isinstance(loops, Mapping) else ((x.name, x) for x in loops))
        if not given or len(dict(given)) != len(given):
            raise ValueError(f"loops {[name for name, _ in given]}: expected names that differ")
        if not 0 <= first < min(len(loop.matrices) for _, loop in given):
            raise ValueError(f"first={first}: expected the number of a block")
        parts = {name: loop.since(first).matrices for name, loop in given}
        norms = {name: transition_norms(part) for name, part in parts.items()}
        return cls(norms, {name: contraction(part) for name, part in parts.items()}, first)

    def table(self) -> "pd.DataFrame":
        """A row per loop and k."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"loop": name, "layer": k, "norm": norm, "contraction": self.contractions[name]}
                for name, norms in self.norms.items()
                for k, norm in enumerate(norms.tolist(), self.first)
            ]
        )

    def figure(self) -> "Figure":
        """Norms over layers on a log scale."""
        from lens_steer.figures import canvas

        with canvas(width=5.4, height=3.6) as (figure, axes):
            for i, (name, norms) in enumerate(self.norms.items()):
                x = range(self.first, self.first + len(norms))
                label = f"{name} (1 - rho = {self.contractions[name]:.2g})"
                style = _STYLES[i % len(_STYLES)]  # lines of loops that do alike lie on each other
                axes.plot(x, norms, style, color=f"C{i}", lw=1.4, ms=4, label=label)
            axes.axhline(1, color="k", lw=0.8, ls=":")
            axes.set(yscale="log", xlabel="k", ylabel=f"$|\\Phi(k, {self.first})|_2$")
            axes.xaxis.get_major_locator().set_params(integer=True)
            figure.legend(loc="outside upper center", ncols=2)
        return figure


def matrices_of(jacobians: LayerJacobians) -> Float[Tensor, "layer d d"]:
    """In float64.

    Raises:
        ValueError: If there are none.
    """
    if jacobians.matrices is None:
        raise ValueError(f"{jacobians!r} have no matrices: use linearize(..., dense=True)")
    return jacobians.matrices.double()


def check_shape(v: Float[Tensor, "layer d"], a: Float[Tensor, "layer d d"]) -> None:
    """Raise a ValueError if a law is not of as many layers, as wide."""
    if v.shape != a.shape[:2]:
        raise ValueError(f"a law of {tuple(v.shape)} on Jacobians of {tuple(a.shape)}")


def _tracker_loop(
    law: LQRTracker, a: Float[Tensor, "layer d d"], z: Float[Tensor, "layer_and_last d"]
) -> LinearLoop:
    """Z' = y + s P (c - F' y), y = zbar' + A d."""
    if len(law.factors) != len(a) or len(law.factors[0]) != a.shape[-1]:
        raise ValueError(f"{law!r} has {len(law.factors)} layers, the Jacobians {len(a)}")
    closed, shifts = [], []
    for k, (factor, push, target) in enumerate(
        zip(law.factors, law.pushes, law.targets, strict=True)
    ):
        f, p, c = factor.double(), law.strength * push.double(), target.double()
        closed.append(a[k] - p @ (f.T @ a[k]))
        shifts.append(p @ (c - f.T @ z[k + 1]))
    return LinearLoop("(I - P F') A", torch.stack(closed), torch.stack(shifts))
