"""How alike the Jacobians of different texts are: spectra and subspaces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.activations import ReadPosition
from lens_steer.arguments import Layers, Seed
from lens_steer.artifacts import savable
from lens_steer.intervals import Interval, interval, plot_band
from lens_steer.linearity.block_maps import BlockMaps
from lens_steer.linearity.probe import a_few
from lens_steer.linearity.text_batches import Texts
from lens_steer.models import SteerableModel
from lens_steer.reports import Report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PARTS = ("A left", "A right", "A - I left", "A - I right")


@savable
@dataclass(frozen=True, eq=False, repr=False)
class AlignmentReport(Report):
    """Similarity of the leading singular subspaces of the Jacobians of two texts.

    |(U_a S_a)'(U_b S_b)|_* / (|s_a| |s_b|) with the m largest singular values: 1 if the leading
    subspaces and their weights are the same (arXiv:2604.19018, equation 3). The paper looks at the
    left vectors of A with m = d/20. The residual stream makes all A alike, so that the similarity
    of A - I is computed too, and that of random orthonormal vectors with the singular values of the
    first set. Texts are paired off at random within their set: the pairs are independent.

    Attributes:
        sets: Names of the sets of texts, `random` the last.
        layers: Blocks looked at.
        sizes: Values of m.
        similarity: Of each pair of texts; the parts are `PARTS`.
        cosine: tr(B_a' B_b) / (|B_a| |B_b|) with B = A - I, of the sets but `random`.
        spectra: Singular values of A and of A - I, mean over a set's texts.
        seed: Of the pairing, the baseline and the intervals.
    """

    sets: tuple[str, ...]
    layers: tuple[int, ...]
    sizes: tuple[int, ...]
    similarity: Float[Tensor, "set_and_random part layer size pair"]
    cosine: Float[Tensor, "set layer pair"]
    spectra: Float[Tensor, "set two layer d"]
    seed: int

    def table(self) -> "pd.DataFrame":
        """A row per set, part, layer and m, with intervals over pairs of texts."""
        import pandas as pd

        rows = []
        for i, name in enumerate(self.sets):
            for p, part in enumerate(PARTS):
                for j, layer in enumerate(self.layers):
                    for k, m in enumerate(self.sizes):
                        row = {"texts": name, "part": part, "layer": layer, "m": m}
                        similarity = self._interval(self.similarity[i, p, j, k])
                        rows.append(row | similarity.columns("similarity"))
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Similarity against m by part and layer, a line for each set."""
        from lens_steer.figures import canvas, thin_labels

        drawn = a_few(len(self.layers), 3)
        shape = {"width": 9.0, "height": 1.9 * len(drawn) + 0.9, "squeeze": False}
        with canvas(len(drawn), 4, sharex=True, sharey=True, **shape) as (figure, grid):
            for row, j in zip(grid, drawn, strict=True):
                for p, (axes, part) in enumerate(zip(row, PARTS, strict=True)):
                    for i, name in enumerate(self.sets):
                        means = [self._interval(values) for values in self.similarity[i, p, j]]
                        colour = "0.45" if name == "random" else f"C{i}"
                        plot_band(axes, self.sizes, means, colour, name)
                    axes.set(xscale="log", ylim=(0, 1.02), title=f"{part}, layer {self.layers[j]}")
                    thin_labels(axes.xaxis, self.sizes, letters=14)
                    axes.minorticks_off()
            n = self.similarity.shape[-1]
            figure.supxlabel(f"m leading singular vectors; n = {n} pairs of texts; 95 % intervals")
            figure.supylabel("similarity")
            lines = grid[0, 0].get_legend_handles_labels()
            figure.legend(*lines, loc="outside upper center", ncols=len(self.sets))
        return figure

    def spectra_figure(self) -> "Figure":
        """Singular values of A and of A - I, normalised to the largest."""
        from lens_steer.figures import canvas

        drawn = a_few(len(self.layers), 4)
        shape = {"width": 2.3 * len(drawn) + 0.6, "height": 4.4, "squeeze": False}
        with canvas(2, len(drawn), sharex=True, sharey=True, **shape) as (figure, grid):
            for row, which, name in zip(grid, (0, 1), ("A", "A - I"), strict=True):
                for axes, j in zip(row, drawn, strict=True):
                    for i, texts in enumerate(self.sets[:-1]):
                        values = self.spectra[i, which, j]
                        axes.plot((values / values[0]).numpy(), color=f"C{i}", lw=1, label=texts)
                    axes.set(yscale="log", title=f"{name}, layer {self.layers[j]}")
            figure.supxlabel("number of the singular value")
            figure.supylabel("singular value / largest, mean over texts")
            lines = grid[0, 0].get_legend_handles_labels()
            figure.legend(*lines, loc="outside upper center", ncols=len(self.sets))
        return figure

    def __repr__(self) -> str:
        pairs, sets = self.similarity.shape[-1], ", ".join(self.sets)
        return f"AlignmentReport({sets}; layers {list(self.layers)}, {pairs} pairs of texts each)"

    def _interval(self, values: Float[Tensor, " pair"]) -> Interval:
        return interval(values, seed=self.seed)


def align(
    model: SteerableModel,
    sets: Mapping[str, Texts],
    *,
    layers: Layers | None = None,
    sizes: Sequence[int] | None = None,
    read: ReadPosition = "last",
    seed: Seed = 0,
    progress: bool = True,
) -> AlignmentReport:
    """Compare the Jacobians of texts that are similar, mixed or distant.

    Args:
        sets: Texts by name; all sets use as many as the smallest has.
        layers: None takes up to four, from first to last.
        sizes: Values of m; None takes 1, d/20 (the paper's) and up to d.
        read: As in `capture`.

    Raises:
        ValueError: If a set has fewer than four texts, there is no such layer or m, or `linearize`
            refuses a text.

    Example:
        >>> report = ls.linearity.align(model, {"reviews": reviews, "recipes": recipes})
        >>> report.table()
    """
    sizes_of = {name: len(texts) for name, texts in sets.items()}
    fewest = min(sizes_of.values(), default=0)
    if fewest < 4:
        raise ValueError(f"got sets of {sizes_of} texts: expected one or more, of at least 4 each")
    maps = {name: BlockMaps.of(model, texts, read=read) for name, texts in sets.items()}
    d, source = model.cfg.d_model, np.random.default_rng(seed)
    chosen = tuple(a_few(model.cfg.n_layers, 4) if layers is None else layers)
    usual = {1, max(1, d // 20), max(1, d // 8), d // 2, d}
    ms = tuple(sorted(usual if sizes is None else set(sizes)))
    if not chosen or not ms or not 1 <= ms[0] <= ms[-1] <= d:
        raise ValueError(f"layers {chosen}, sizes {ms}: expected at least one, sizes from 1 to {d}")
    factors: list[list[Factors]] = []
    with tqdm(total=len(maps) * len(chosen), desc="align", disable=not progress) as bar:
        for of_set in maps.values():
            order = source.permutation(len(of_set.states))[: fewest // 2 * 2].tolist()
            factors.append([])
            for layer in chosen:
                factors[-1].append(Factors.of(of_set.matrices(layer)[order].double()))
                bar.update()
    random = [first.random(seed * 1009 + i) for i, first in enumerate(factors[0])]
    return AlignmentReport(
        (*maps, "random"),
        chosen,
        ms,
        _stacked([[f.similarity(ms) for f in row] for row in [*factors, random]]).transpose(1, 2),
        _stacked([[f.cosine for f in row] for row in factors]),
        _stacked([[f.spectra for f in row] for row in factors]).transpose(1, 2),
        seed,
    )


def _stacked(rows: Sequence[Sequence[Tensor]]) -> Float[Tensor, "set layer *rest"]:
    return torch.stack([torch.stack(list(row)) for row in rows])


@dataclass(frozen=True, eq=False)
class Factors:
    """Singular vectors of A and of A - I, as columns, and their values."""

    vectors: tuple[Float[Tensor, "text d d"], ...]  # in the order of PARTS
    values: tuple[Float[Tensor, "text d"], ...]
    cosine: Float[Tensor, " pair"]  # of A - I

    @classmethod
    def of(cls, matrices: Float[Tensor, "text d d"]) -> "Factors":
        """The factors of the Jacobians of several texts."""
        update = matrices - torch.eye(matrices.shape[-1]).to(matrices)
        u, s, vh = torch.linalg.svd(matrices)
        du, ds, dvh = torch.linalg.svd(update)
        return cls((u, vh.mT, du, dvh.mT), (s, s, ds, ds), _cosines(update))

    @property
    def spectra(self) -> Float[Tensor, "two d"]:
        """Singular values of A and of A - I, mean over the texts."""
        return torch.stack([self.values[0], self.values[2]]).mean(dim=1).float()

    def random(self, seed: int) -> "Factors":
        """Random orthonormal vectors with these values."""
        draw = torch.Generator().manual_seed(seed)
        drawn = (torch.randn(v.shape, generator=draw, dtype=v.dtype) for v in self.vectors)
        return Factors(tuple(torch.linalg.qr(x)[0] for x in drawn), self.values, self.cosine)

    def similarity(self, sizes: Sequence[int]) -> Float[Tensor, "part size pair"]:
        """Similarity of texts 0 and 1, 2 and 3, and so on, with the m largest singular values."""
        parts = []
        for vectors, values in zip(self.vectors, self.values, strict=True):
            weighted = vectors * values[:, None]
            parts.append(torch.stack([_overlap(weighted[..., :m], values[..., :m]) for m in sizes]))
        return torch.stack(parts).float()


def _overlap(
    weighted: Float[Tensor, "text d m"], values: Float[Tensor, "text m"]
) -> Float[Tensor, " pair"]:
    nuclear = torch.linalg.matrix_norm(weighted[::2].mT @ weighted[1::2], ord="nuc")
    return nuclear / (values[::2].norm(dim=-1) * values[1::2].norm(dim=-1))


def _cosines(update: Float[Tensor, "text d d"]) -> Float[Tensor, " pair"]:
    flat = update.flatten(1)
    return torch.cosine_similarity(flat[::2], flat[1::2], dim=-1).float()
