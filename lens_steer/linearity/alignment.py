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
from lens_steer.intervals import Interval, interval, plot_band
from lens_steer.linearity.block_maps import BlockMaps
from lens_steer.linearity.drawing import a_few
from lens_steer.linearity.subspaces import PARTS, Factors
from lens_steer.linearity.text_batches import Texts
from lens_steer.models import SteerableModel

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class AlignmentReport:
    """Similarity of the leading singular subspaces of the Jacobians of two texts.

    |(U_a S_a)'(U_b S_b)|_* / (|s_a| |s_b|) with the m largest singular values: 1 if the leading
    subspaces and their weights are the same (arXiv:2604.19018, equation 3). The paper looks at the
    left vectors of A with m = d/20. The residual stream makes all A alike, so A - I is beside it,
    and random orthonormal vectors with the singular values of the first set. Texts are paired off
    at random within their set, so that the pairs are independent.

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
                        found = self._interval(self.similarity[i, p, j, k])
                        rows.append(row | found.columns("similarity"))
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """Similarity against m by part and layer, a line for each set."""
        from lens_steer.figures import canvas

        shown = a_few(len(self.layers), 3)
        shape = {"width": 9.0, "height": 1.9 * len(shown) + 0.9, "squeeze": False}
        with canvas(len(shown), 4, sharex=True, sharey=True, **shape) as (figure, grid):
            for row, j in zip(grid, shown, strict=True):
                for p, (axes, part) in enumerate(zip(row, PARTS, strict=True)):
                    for i, name in enumerate(self.sets):
                        found = [self._interval(each) for each in self.similarity[i, p, j]]
                        colour = "0.45" if name == "random" else f"C{i}"
                        plot_band(axes, self.sizes, found, colour, name)
                    axes.set(xscale="log", ylim=(0, 1.02), title=f"{part}, layer {self.layers[j]}")
            n = self.similarity.shape[-1]
            figure.supxlabel(f"m leading singular vectors; n = {n} pairs of texts; 95 % intervals")
            figure.supylabel("similarity")
            lines = grid[0, 0].get_legend_handles_labels()
            figure.legend(*lines, loc="outside upper center", ncols=len(self.sets))
        return figure

    def spectra_figure(self) -> "Figure":
        """Singular values of A and of A - I, normalised to the largest."""
        from lens_steer.figures import canvas

        shown = a_few(len(self.layers), 4)
        shape = {"width": 2.3 * len(shown) + 0.6, "height": 4.4, "squeeze": False}
        with canvas(2, len(shown), sharex=True, sharey=True, **shape) as (figure, grid):
            for row, which, name in zip(grid, (0, 1), ("A", "A - I"), strict=True):
                for axes, j in zip(row, shown, strict=True):
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


def align(  # noqa: PLR0913 - each is a knob of its own
    model: SteerableModel,
    sets: Mapping[str, Texts],
    *,
    layers: Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
    read: ReadPosition = "last",
    seed: int = 0,
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
    """
    maps = {name: BlockMaps.of(model, texts, read=read) for name, texts in sets.items()}
    fewest = min((len(each.states) for each in maps.values()), default=0)
    if fewest < 4:  # noqa: PLR2004 - two pairs, or there is nothing to draw again
        raise ValueError(f"the smallest of {len(maps)} sets has {fewest} texts: expected 4 or more")
    d, source = model.cfg.d_model, np.random.default_rng(seed)
    chosen = tuple(a_few(model.cfg.n_layers, 4) if layers is None else layers)
    usual = {1, max(1, d // 20), max(1, d // 8), d // 2, d}
    ms = tuple(sorted(usual if sizes is None else set(sizes)))
    if not chosen or not ms or not 1 <= ms[0] <= ms[-1] <= d:
        raise ValueError(f"layers {chosen}, sizes {ms}: expected at least one, sizes from 1 to {d}")
    found: list[list[Factors]] = []
    with tqdm(total=len(maps) * len(chosen), desc="align", disable=not progress) as bar:
        for each in maps.values():
            order = source.permutation(len(each.states))[: fewest // 2 * 2].tolist()
            found.append([])
            for layer in chosen:
                found[-1].append(Factors.of(each.matrices(layer)[order].double()))
                bar.update()
    random = [each.random(seed * 1009 + i) for i, each in enumerate(found[0])]
    return AlignmentReport(
        (*maps, "random"),
        chosen,
        ms,
        _stacked([[f.similarity(ms) for f in row] for row in [*found, random]]).transpose(1, 2),
        _stacked([[f.cosine for f in row] for row in found]),
        _stacked([[f.spectra for f in row] for row in found]).transpose(1, 2),
        seed,
    )


def _stacked(rows: Sequence[Sequence[Tensor]]) -> Float[Tensor, "set layer *rest"]:
    return torch.stack([torch.stack(list(row)) for row in rows])
