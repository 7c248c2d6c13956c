"""Is the field linear? How much of it the quadratic part makes, and how many directions do."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.arguments import Number
from lens_steer.artifacts import savable
from lens_steer.barriers.field.held_out import CLASS_COLOURS, HeldOutRows
from lens_steer.barriers.flows import dot, size_of
from lens_steer.barriers.polynomial import PolynomialBarrier
from lens_steer.intervals import Interval, plot_band
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_LEGEND = (
    "grad h = 2 P (A x + q) / |a|\n\nx = a / |a|, m the rows' mean x\n"
    "P: takes out what is along x\nA: quadratic part, q: linear part"
)


@savable
@dataclass(frozen=True, eq=False, repr=False)
class ShapeReport(Report):
    """Whether the field of a quadratic barrier is more than one direction everywhere.

    It splits the gradient 2 P (A x + q) / |a| at x = a / |a|, where P removes what is along x, into
    its quadratic part A and its linear part q.

    Attributes:
        alignment: Linearity index of each row: the cosine of the field and P q. It is 1 where the
            field is that of a linear barrier, and NaN where P q is 0.
        tangent: The same with q + A m in place of q, where m is the rows' mean direction. A m is
            one vector, too: where rows have a large common part, most of A x is that vector, and
            the field is linear however large `curved` is.
        curved: |P A x| / (|P A x| + |P q|): 0 is all linear, 1 all quadratic. A + t I is the same
            barrier as A on the sphere, and has the same share.
        spectrum: Eigenvalues of A in ascending order, with their median at 0 (which fixes t).
        linear: |q|.
        ranks: Numbers of eigenvalues kept, those of largest size.
        fidelity: Cosine of the field and that of the barrier with so few eigenvalues; NaN where
            the latter is 0.
        sample: The rows.
    """

    alignment: Float[Tensor, " n"]
    tangent: Float[Tensor, " n"]
    curved: Float[Tensor, " n"]
    spectrum: Float[Tensor, " d"]
    linear: float
    ranks: tuple[int, ...]
    fidelity: Float[Tensor, "rank n"]
    sample: HeldOutRows

    @classmethod
    def fit(
        cls, barrier: PolynomialBarrier, rows: Float[Tensor, "n d"], sample: HeldOutRows
    ) -> "ShapeReport":
        """The report of rows where they are."""
        exact = barrier.to(dtype=torch.double)
        grad = exact.grad(rows)
        mean = (rows / size_of(rows)).mean(dim=0)
        linear = _linear_grad(rows, exact.linear)
        at_mean = _linear_grad(rows, exact.linear + exact.quadratic()[0] @ mean)
        bent, straight = (grad - linear).norm(dim=-1), linear.norm(dim=-1)
        ranks = _ranks(barrier.width)
        fidelity = [_cosine(exact.truncated(rank).grad(rows), grad) for rank in ranks]
        return cls(
            alignment=_cosine(grad, linear),
            tangent=_cosine(grad, at_mean),
            curved=bent / (bent + straight),
            spectrum=exact.spectrum,
            linear=float(exact.linear.norm()),
            ranks=ranks,
            fidelity=torch.stack(fidelity),
            sample=sample,
        )

    @property
    def linearity(self) -> Interval:
        """The mean linearity index over all rows."""
        return self.sample.interval(self.alignment)

    @property
    def mean_linearity(self) -> Interval:
        """The mean cosine of the field and that of q + A m."""
        return self.sample.interval(self.tangent)

    @property
    def curvature_share(self) -> Interval:
        """The mean share of the quadratic part over all rows."""
        return self.sample.interval(self.curved)

    @property
    def cumulative(self) -> Float[Tensor, " d"]:
        """The share of sum |eigenvalue| in the 1, 2, ... largest in size; NaN if all are 0."""
        sizes = self.spectrum.abs().sort(descending=True).values
        return sizes.cumsum(dim=0) / sizes.sum()

    def rank_for(self, fidelity: Number = 0.99) -> float:
        """The least rank measured with that mean fidelity; infinite if no rank has it."""
        means = [self.sample.interval(row).mean for row in self.fidelity]
        enough = [rank for rank, mean in zip(self.ranks, means, strict=True) if mean >= fidelity]
        return float(min(enough, default=float("inf")))

    @override
    def table(self) -> "pd.DataFrame":
        """A row per held-out activation."""
        import pandas as pd

        columns = {"desired": self.sample.desired.numpy(), "group": map(str, self.sample.groups)}
        parts = {"alignment": self.alignment, "tangent": self.tangent, "curved": self.curved}
        return pd.DataFrame(columns | {name: part.numpy() for name, part in parts.items()})

    def rank_table(self) -> "pd.DataFrame":
        """A row per rank kept: fidelity with its interval, and share of sum |eigenvalue|."""
        import pandas as pd

        weights = [0.0, *self.cumulative.tolist()]
        return pd.DataFrame(
            {"rank": rank, "cumulative": weights[rank]}
            | self.sample.interval(row).columns("fidelity")
            for rank, row in zip(self.ranks, self.fidelity, strict=True)
        )

    @override
    def figure(self) -> "Figure":
        """Histograms of index and share over rows, the spectrum, and fidelity by rank."""
        from lens_steer.figures import canvas

        with canvas(2, 3, width=10.2, height=5.8) as (figure, axes):
            self._draw_histogram(axes[0, 0], self.alignment, self.linearity)
            axes[0, 0].set(xlabel="cos(field, P q): 1 is linear", ylabel="held-out rows")
            self._draw_histogram(axes[0, 1], self.tangent, self.mean_linearity)
            axes[0, 1].set(xlabel="cos(field, P (q + A m)), m the mean row")
            self._draw_histogram(axes[0, 2], self.curved, self.curvature_share)
            axes[0, 2].set(xlabel="|P A x| / (|P A x| + |P q|): 0 is linear")
            self._draw_spectrum(axes[1, 0])
            self._draw_ranks(axes[1, 1])
            axes[1, 2].axis("off")
            axes[1, 2].text(0.0, 0.95, _LEGEND, va="top", transform=axes[1, 2].transAxes)
            handles, labels = axes[0, 0].get_legend_handles_labels()
            lines, names = axes[1, 1].get_legend_handles_labels()
            axes[1, 2].legend([*handles, *lines], [*labels, *names], loc="lower left")
            figure.suptitle(f"{self.sample}; means with 95 % intervals", fontsize=9)
        return figure

    def _draw_histogram(self, axes: Any, values: Float[Tensor, " n"], mean: Interval) -> None:
        low, high = _limits(values[~values.isnan()])
        edges = torch.linspace(low, high, 25).numpy()
        for side, among in self.sample.by_class.items():
            part = values[among & ~values.isnan()].numpy()
            axes.hist(part, bins=edges, color=CLASS_COLOURS[side], alpha=0.5, label=side)
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.locator_params(axis="x", nbins=3)
        axes.locator_params(axis="y", integer=True)
        axes.set_title(f"mean {mean.mean:.4f} [{mean.low:.4f}, {mean.high:.4f}]")

    def _draw_ranks(self, axes: Any) -> None:
        from lens_steer.figures import thin_labels

        table: Any = self.rank_table()
        places = list(range(len(self.ranks)))
        means = [self.sample.interval(row) for row in self.fidelity]
        plot_band(axes, places, means, "C2", "cosine with the whole field")
        axes.plot(places, table["cumulative"], "k:", label="share of sum |eigenvalue|")
        thin_labels(axes.xaxis, places, list(map(str, self.ranks)), letters=24)
        axes.set(xlabel="eigenvalues kept", ylabel="cosine; share\n(95 % intervals)")

    def _draw_spectrum(self, axes: Any) -> None:
        axes.plot(range(1, len(self.spectrum) + 1), self.spectrum, ".", color="C2", ms=3)
        for size in (-self.linear, self.linear):
            axes.axhline(size, color="k", ls="--", lw=0.8)
        axes.set(xlabel="number of the eigenvalue of A", ylabel="eigenvalue (nats),\nmedian at 0")
        axes.set_title(f"dashed: |q| = {self.linear:.3g} nats")


def _ranks(d: int) -> tuple[int, ...]:
    """The ranks to measure: 0, the powers of 2 below d, and d."""
    return (0, *(2**i for i in range(d.bit_length()) if 2**i < d), d)


def _limits(values: Float[Tensor, " n"]) -> tuple[float, float]:
    if len(values) == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if high - low > 1e-6 else (low - 5e-7, high + 5e-7)


def _linear_grad(rows: Float[Tensor, "n d"], q: Float[Tensor, " d"]) -> Float[Tensor, "n d"]:
    """The gradient of 2 q . a / |a|."""
    size = size_of(rows)
    unit = rows / size
    return 2 * (q - unit * (unit @ q)[:, None]) / size


def _cosine(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """The cosine of two vectors, row by row; NaN where either is 0."""
    sizes = x.norm(dim=-1) * y.norm(dim=-1)
    return torch.where(sizes > 0, dot(x, y)[:, 0] / sizes, float("nan"))
