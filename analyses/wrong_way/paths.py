"""What a small edit changes in each pair's margin, by the path that carries it; exact sums.

The last residual stream is a sum: what is added itself and what every later attention and MLP
writes. With u the gradient of a margin with respect to that stream in the clean run, and d what the
edit changes of a part per unit of strength, a part's share of the slope is <u, d> summed over
positions. The parts sum to the slope.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

import lens_steer as ls
from analyses.forecast.gradients import TOKENS, rows_of, steered_positions, stream_gradients
from lens_steer.data import ContrastivePairs
from lens_steer.models import Encoded, batches, pad, read
from lens_steer.sites import Kind, Site
from lens_steer.steering import Intervention


@dataclass(frozen=True, eq=False)
class Readouts:
    """The gradient of each continuation's log-probability with respect to the last stream.

    It is the same for every method: made once for some pairs.

    Attributes:
        model: The model.
        rows: Every desired text and then every undesired one.
        parts: Numbers of rows that are run together, and their gradients `[row pos d]`.
    """

    model: ls.SteerableModel
    rows: list[Encoded]
    parts: list[tuple[list[int], Tensor]]

    @classmethod
    def of(cls, model: ls.SteerableModel, pairs: ContrastivePairs) -> "Readouts":
        """Differentiate through the last norm and the unembedding."""
        rows, last = rows_of(model, pairs), int(model.cfg.n_layers) - 1
        parts = []
        for batch in batches([len(row.ids) for row in rows], TOKENS):
            [gradient] = stream_gradients(model, [rows[i] for i in batch], [last])
            parts.append((batch, gradient))
        return cls(model, rows, parts)


@dataclass(frozen=True, eq=False)
class Slopes:
    """The slope of each pair's margin at strength 0 and its parts; nats per unit of strength.

    Attributes:
        direct: Through what is added itself.
        attention: Through what later attention writes.
        mlp: Through what later MLPs write.
        mean_change: What the slope would be if every position of the last stream changed by the
            mean change of other texts.
    """

    direct: Float[Tensor, " pair"]
    attention: Float[Tensor, " pair"]
    mlp: Float[Tensor, " pair"]
    mean_change: Float[Tensor, " pair"]

    @property
    def whole(self) -> Float[Tensor, " pair"]:
        """The slope."""
        return self.direct + self.attention + self.mlp

    @classmethod
    def measure(
        cls, readouts: Readouts, method: Intervention, mean: Float[Tensor, " d"], *, step: float
    ) -> "Slopes":
        """Differentiate along a method that edits the stream behind one block.

        Args:
            readouts: Of the pairs; a margin is over whole continuations.
            method: The method.
            mean: The change of the last stream that `mean_change` puts everywhere.
            step: The strength of the central difference.
        """
        [site] = method.sites
        model, rows = readouts.model, readouts.rows
        layers = range(site.layer + 1, int(model.cfg.n_layers))
        later = [[Site(i, kind) for i in layers] for kind in (Kind.ATTN_OUT, Kind.MLP_OUT)]
        groups = [[Site(site.layer)], *later]
        found = torch.zeros(4, len(rows)).double()
        for batch, readout in readouts.parts:
            some = [rows[i] for i in batch]
            change = _changes(model, some, method, sum(groups, []), step)
            for part, sites in enumerate(groups):
                for each in sites:
                    found[part, batch] += (readout * change[each]).sum(dim=(1, 2))
            steered = steered_positions(some, readout.shape[1])
            found[3, batch] = torch.einsum("bpd,bp,d->b", readout, steered, mean)
        desired, undesired = found.chunk(2, dim=1)
        return cls(*(desired - undesired))


def mean_change(
    model: ls.SteerableModel, pairs: ContrastivePairs, method: Intervention, *, step: float
) -> Float[Tensor, " d"]:
    """The mean change of the last stream per unit of strength, over steered positions of texts."""
    last = Site(int(model.cfg.n_layers) - 1)
    rows = rows_of(model, pairs)
    total, count = torch.zeros(int(model.cfg.d_model)).double(), 0.0
    for batch in batches([len(row.ids) for row in rows], TOKENS):
        some = [rows[i] for i in batch]
        change = _changes(model, some, method, [last], step)[last]
        where = steered_positions(some, change.shape[1])
        total += torch.einsum("bpd,bp->d", change, where)
        count += float(where.sum())
    return total / count


def _changes(
    model: ls.SteerableModel,
    rows: Sequence[Encoded],
    method: Intervention,
    sites: Sequence[Site],
    step: float,
) -> dict[Site, Float[Tensor, "row pos d"]]:
    """What steering changes at sites per unit of strength; 0 at padding."""
    tokens, mask = pad(model, [row.ids for row in rows])
    lengths = [row.prompt_length for row in rows]
    real = mask.double().cpu()[..., None]
    kept = []
    for sign in (1, -1):
        small = method.with_strength(sign * step)
        with torch.no_grad(), ls.steered(model, small, prompt_lengths=lengths):
            kept.append(read(model, tokens, mask, dict.fromkeys(sites, _double)))
    up, down = kept
    return {site: (up[site] - down[site]) * real / (2 * step) for site in sites}


def _double(x: Tensor) -> Tensor:
    return x.double().cpu()
