"""Read x steer: where a direction is read, against the layer that is steered, at one cost.

In every cell a CAA vector read at one position and layer is added to that layer, at the strength
where it costs the same nats per token along the same fixed texts. Beside the effect stands how far
the vector is merely the last token's embedding, or pushes that token's logit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm
from typing_extensions import Unpack

from lens_steer.activations import ReadPosition, capture
from lens_steer.arguments import Layers, Positive
from lens_steer.artifacts import savable
from lens_steer.data import ContrastivePairs
from lens_steer.diagnostics.read_cells import Cell, label_differences, with_effects
from lens_steer.evaluation import FixedTexts, Judge
from lens_steer.models import SteerableModel
from lens_steer.reports import Report
from lens_steer.sites import sites_of
from lens_steer.steering import Decoding, DecodingOptions, decoding_of_call

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

STRENGTHS = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # few: every cell looks at all of them
READS: tuple[ReadPosition, ...] = ("last", "mean", "prompt_last")
_NUMBERS = ("effect", "low", "high", "strength", "realised", "embedding", "unembedding")
_PREFERENCE, _BEHAVIOUR = "change in preference, nats per token", "change in judged behaviour"

_PRINTED = 12  # layers up to which numbers fit into the cells


@savable
@dataclass(frozen=True, eq=False, repr=False)
class ReadSteerReport(Report):
    """From which tokens and layers a direction is best read: effects by position, at one cost.

    Unknown numbers are NaN; `notes` says why.

    Attributes:
        reads: Read positions, as `capture` takes them.
        layers: Block indices, read and steered.
        effect: Mean change from unsteered on the test pairs, see `effect_name`.
        low: Lower end of its 95 % interval over groups.
        high: Upper end.
        strength: Strength of the vector at the stated cost, dimensionless.
        realised: What it costs at that strength on the dev prompts, nats per token.
        embedding: Cosine of the vector with the mean difference of the last tokens' embeddings
            (W_E), on train; NaN if both classes end in the same tokens.
        unembedding: The same with their unembeddings (W_U as the model has it: the final norm's
            gain is in it only where weights are folded).
        notes: Why a cell has no effect; empty where it has one.
        effect_name: What changes, with its unit.
        kl: The stated cost of every cell, nats per token.
        examples: Number of examples behind each effect.
        groups: Number of groups of these examples.
        seed: The seed of texts and intervals.
    """

    reads: tuple[str | int, ...]
    layers: tuple[int, ...]
    effect: Float[Tensor, "read layer"]
    low: Float[Tensor, "read layer"]
    high: Float[Tensor, "read layer"]
    strength: Float[Tensor, "read layer"]
    realised: Float[Tensor, "read layer"]
    embedding: Float[Tensor, "read layer"]
    unembedding: Float[Tensor, "read layer"]
    notes: tuple[tuple[str, ...], ...]
    effect_name: str
    kl: float
    examples: int
    groups: int
    seed: int

    def __post_init__(self) -> None:
        expected = (len(self.reads), len(self.layers))
        wrong = [name for name in _NUMBERS if tuple(getattr(self, name).shape) != expected]
        wrong += ["notes"] * ([len(row) for row in self.notes] != [expected[1]] * expected[0])
        if wrong:
            raise ValueError(
                f"{', '.join(wrong)} of another shape than reads x layers: expected {expected}"
            )

    @classmethod
    def fit(  # noqa: PLR0913 - how vectors are read, and texts sampled and scored
        cls,
        model: SteerableModel,
        train: ContrastivePairs,
        dev: ContrastivePairs,
        test: ContrastivePairs,
        *,
        kl: Positive,
        reads: Sequence[ReadPosition] = READS,
        layers: Layers | None = None,
        strengths: Sequence[float | int] = STRENGTHS,
        judge: Judge | None = None,
        progress: bool = True,
        decoding: Decoding | None = None,
        **options: Unpack[DecodingOptions],
    ) -> "ReadSteerReport":
        """Fit CAA on train for each cell, match the cost on dev, measure the effect on test.

        The fixed texts are sampled once for all cells.

        Args:
            kl: Nats per token along fixed unsteered texts, as `calibrate` means it.
            reads: Positions at which the vector is read, as `capture` takes them.
            layers: Blocks; None is all.
            strengths: Strengths to look at first, from 0 up; a cell that does not reach `kl`
                between them has a note.
            judge: Scores the texts. None: the effect is on the preference for the desired
                continuation, and the examples of test must be paired.
            decoding: How texts are written, and where the vector is added; or as keywords. The seed
                is also that of the intervals.
            options: As `evaluate`.

        Raises:
            ValueError: As `capture`, `calibrate` and `evaluate`; not for a cell whose class means
                are equal or that does not reach the cost.
            TypeError: If a keyword is unknown.

        Example:
            >>> report = ls.diagnostics.ReadSteerReport.fit(
            ...     model, train, dev, test, kl=0.05, layers=(0, 2, 4), seed=0
            ... )
            >>> report.table()
        """
        decoding = decoding_of_call(cls.fit, decoding, options)
        _check(kl, reads, strengths)
        if judge is None and not test.paired:
            raise ValueError(f"{test!r}: a preference needs paired examples; pass a judge")
        chosen = tuple(site.layer for site in sites_of(model, "resid", layers))
        texts = FixedTexts.sample(model, dev, decoding=decoding)
        bar = tqdm(_fitted(model, train, reads, chosen), "read x steer", disable=not progress)
        cells = [cell.at_cost(model, texts, kl, strengths) for cell in bar]
        cells = with_effects(model, cells, test, judge=judge, decoding=decoding)
        groups = test.groups if judge is None else test.prompt_groups
        return cls(
            reads=tuple(reads),
            layers=chosen,
            **_by_cell(cells, len(chosen)),
            effect_name=_PREFERENCE if judge is None else _BEHAVIOUR,
            kl=float(kl),
            examples=len(groups),
            groups=len(set(groups)),
            seed=decoding.seed or 0,
        )

    def table(self) -> "pd.DataFrame":
        """One row per cell; `note` says why an effect is NaN."""
        import pandas as pd

        rows = []
        for i, read in enumerate(self.reads):
            for j, layer in enumerate(self.layers):
                numbers = {name: float(getattr(self, name)[i, j]) for name in _NUMBERS}
                rows.append({"read": read, "layer": layer, **numbers, "note": self.notes[i][j]})
        return pd.DataFrame(rows)

    def figure(self) -> "Figure":
        """The effect in colour; with its interval and two cosines in each cell up to 12 layers."""
        from lens_steer.figures import canvas, name_layers

        printed = len(self.layers) <= _PRINTED
        width, height = (1.9 + 1.05 * len(self.layers), 0.75) if printed else (8.0, 0.45)
        height = 1.5 + height * len(self.reads)
        bound = float(self.effect.nan_to_num().abs().max()) or 1.0
        colours: dict[str, Any] = {"cmap": "PuOr_r", "vmin": -bound, "vmax": bound}
        with canvas(width=max(width, 5.5), height=height) as (figure, axes):
            image = axes.imshow(self.effect.numpy(), aspect="auto", **colours)
            axes.set_facecolor("0.92")
            if not printed:  # where the interval is off 0: the numbers are in the table
                i, j = np.nonzero(((self.low > 0) | (self.high < 0)).numpy())
                axes.plot(j, i, "k.", ms=3)
            for i, j in np.ndindex(*self.effect.shape) if printed else ():
                strong = abs(float(self.effect[i, j])) > 0.6 * bound
                print_in = {"ha": "center", "color": "w" if strong else "k", "fontsize": 7}
                axes.text(j, i, self._cell_text(i, j), va="center", **print_in)
            name_layers(axes.xaxis, list(map(str, self.layers)))
            axes.set_yticks(range(len(self.reads)), self.reads)
            axes.set(xlabel="layer (read and steered)", ylabel="read position")
            figure.colorbar(image, ax=axes, label=fill(self.effect_name, 22))
            counted = f"{self.examples} examples in {self.groups} groups, 95 % intervals"
            at = f"at {self.kl:g} nats per token along fixed texts"
            cells = "E, U: cosine with last tokens' (un)embedding"
            cells = cells if printed else "points: the interval does not hold 0"
            axes.set_title(f"{at}\n{counted}\n{cells}")
        return figure

    def _cell_text(self, i: int, j: int) -> str:
        if self.notes[i][j]:
            return fill(self.notes[i][j].split(":")[0], 10)
        cosines = (float(x[i, j]) for x in (self.embedding, self.unembedding))
        e, u = ("-" if np.isnan(x) else f"{x:+.2f}" for x in cosines)
        effect, low, high = (float(x[i, j]) for x in (self.effect, self.low, self.high))
        return f"{effect:+.2g}\n[{low:.2g}, {high:.2g}]\nE {e}  U {u}"


def _fitted(
    model: SteerableModel,
    train: ContrastivePairs,
    reads: Sequence[ReadPosition],
    layers: Sequence[int],
) -> list[Cell]:
    """The cells of all reads, each at every layer."""
    labels, cells = label_differences(model, train), []
    for position in reads:
        resid = capture(model, train, "resid", read=position, layers=layers, progress=False)
        cells += [Cell.fit(resid.at(layer=layer), labels) for layer in layers]
    return cells


def _by_cell(cells: Sequence[Cell], columns: int) -> dict[str, Any]:
    """The fields of the report that have a value for each cell."""
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    fields: dict[str, Any] = {
        name: torch.tensor([[getattr(cell, name) for cell in row] for row in rows]).double()
        for name in _NUMBERS
    }
    return fields | {"notes": tuple(tuple(cell.note for cell in row) for row in rows)}


def _check(
    kl: float | int, reads: Sequence[ReadPosition], strengths: Sequence[float | int]
) -> None:
    """Raise for what would only be found out after the vectors were fitted."""
    if not 0 < kl < float("inf"):
        raise ValueError(f"kl {kl!r}: expected a positive number of nats per token")
    if isinstance(reads, str) or not reads:
        raise ValueError(f"got the reads {reads!r}, expected one or more, such as ('last', 'mean')")
    if len(strengths) < 2 or not (min(strengths) >= 0 and max(strengths) < float("inf")):
        raise ValueError(f"got the strengths {strengths}, expected two finite ones from 0 up")
