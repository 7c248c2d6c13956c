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
from lens_steer.data import ContrastivePairs
from lens_steer.models import (
    Encoded,
    batches,
    encode,
    forward,
    gradients_possible,
    hooked,
    pad,
    read,
)
from lens_steer.sites import Kind, Site
from lens_steer.steering import Intervention

_TOKENS = 1024  # of a batch, padding included: speed and memory only


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
        cls,
        model: ls.SteerableModel,
        pairs: ContrastivePairs,
        method: Intervention,
        mean: Float[Tensor, " d"],
        *,
        step: float,
    ) -> "Slopes":
        """Differentiate along a method that edits the stream behind one block.

        Args:
            model: The model.
            pairs: Paired examples; a margin is over whole continuations.
            method: The method.
            mean: The change of the last stream that `mean_change` puts everywhere; `mean_change`.
            step: The strength of the central difference.
        """
        [site] = method.sites
        layers = range(site.layer + 1, int(model.cfg.n_layers))
        later = [[Site(i, kind) for i in layers] for kind in (Kind.ATTN_OUT, Kind.MLP_OUT)]
        groups = [[Site(site.layer)], *later]
        rows = _rows(model, pairs)
        found = torch.zeros(4, len(rows)).double()
        for batch in batches([len(row.ids) for row in rows], _TOKENS):
            some = [rows[i] for i in batch]
            readout = _readout(model, some)
            change = _changes(model, some, method, sum(groups, []), step)
            for part, sites in enumerate(groups):
                for each in sites:
                    found[part, batch] += (readout * change[each]).sum(dim=(1, 2))
            steered = _steered_positions(some, readout.shape[1])
            found[3, batch] = torch.einsum("bpd,bp,d->b", readout, steered, mean)
        desired, undesired = found.chunk(2, dim=1)
        return cls(*(desired - undesired))


def mean_change(
    model: ls.SteerableModel, pairs: ContrastivePairs, method: Intervention, *, step: float
) -> Float[Tensor, " d"]:
    """The mean change of the last stream per unit of strength, over steered positions of texts."""
    last = Site(int(model.cfg.n_layers) - 1)
    rows = _rows(model, pairs)
    total, count = torch.zeros(int(model.cfg.d_model)).double(), 0.0
    for batch in batches([len(row.ids) for row in rows], _TOKENS):
        some = [rows[i] for i in batch]
        change = _changes(model, some, method, [last], step)[last]
        where = _steered_positions(some, change.shape[1])
        total += torch.einsum("bpd,bp->d", change, where)
        count += float(where.sum())
    return total / count


def _rows(model: ls.SteerableModel, pairs: ContrastivePairs) -> list[Encoded]:
    """Every desired text and then every undesired one."""
    return [encode(model, e.prompt, e.continuation) for e in (*pairs.desired, *pairs.undesired)]


def _steered_positions(rows: Sequence[Encoded], length: int) -> Float[Tensor, "row pos"]:
    """1 at the last prompt token and in the continuation."""
    where = torch.zeros(len(rows), length).double()
    for i, row in enumerate(rows):
        where[i, max(row.prompt_length - 1, 0) : len(row.ids)] = 1
    return where


@gradients_possible()
def _readout(model: ls.SteerableModel, rows: Sequence[Encoded]) -> Float[Tensor, "row pos d"]:
    """The gradient of each continuation's log-probability with respect to the last stream."""
    tokens, mask = pad(model, [row.ids for row in rows])
    kept: list[Tensor] = []

    def begin(x: Tensor) -> Tensor:
        kept.append(x.detach().requires_grad_())
        return kept[0]

    with torch.enable_grad(), hooked(model, {Site(int(model.cfg.n_layers) - 1): begin}):
        scores = forward(model, tokens, mask).double().log_softmax(dim=-1)
        total = scores.new_zeros(())
        for i, row in enumerate(rows):
            start, stop = max(row.prompt_length, 1), len(row.ids)
            drawn = tokens[i, start:stop, None]
            total = total + scores[i, start - 1 : stop - 1].gather(-1, drawn).sum()
        [gradient] = torch.autograd.grad(total, kept)
    return gradient.double().cpu()


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
