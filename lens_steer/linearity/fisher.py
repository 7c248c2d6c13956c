"""The next token's Fisher information as a metric on the residual stream.

Source: Wang and Zhao 2026, "FishBack: Pullback Fisher Geometry for Optimal Activation Steering in
Transformers" (arXiv:2605.17231).
"""

from dataclasses import dataclass
from math import isfinite

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot
from tqdm.auto import tqdm

from lens_steer.activations import ReadPosition
from lens_steer.arguments import Count, Layer, Number, Seed
from lens_steer.artifacts import savable
from lens_steer.linearity.block_maps import BlockMaps
from lens_steer.linearity.text_batches import Texts, batched, default_budget, name_of, token_rows
from lens_steer.models import Provenance, SteerableModel, attach
from lens_steer.reports import short_repr
from lens_steer.sites import Site, hook_point

Rows = Float[Tensor, "rank d"]
_NUMBERS = 2**23  # of cotangents held at a time


@savable
@dataclass(frozen=True, eq=False)
class PullbackFisher:
    """G = E_texts J' (diag(p) - p p') J: d' G d / 2 is the KL of a small push d, in nats.

    p is the next-token distribution at one token of a text, J the Jacobian of its logits by the
    residual stream leaving a block there, what precedes the token held fixed.

    Attributes:
        rows: F, float64, with G = F'F; no more than twice as many rows as the stream is wide.
        layer: Block whose output is moved.
        texts: How many.
        provenance: The model and data.
    """

    rows: Rows
    layer: Layer
    texts: int
    provenance: Provenance | None = None

    __repr__ = short_repr

    @property
    def matrix(self) -> Float[Tensor, "d d"]:
        """The metric G itself, in the units of the stream: nats per squared push."""
        return self.rows.T @ self.rows

    def kl(self, push: Float[Tensor, "*any d"]) -> Float[Tensor, "*any"]:
        """The KL of a push d, d' G d / 2: nats at one token, mean over texts, to second order."""
        return (push.to(self.rows) @ self.rows.T).square().sum(dim=-1) / 2

    def solve(self, w: Float[Tensor, " d"], damping: Number) -> Float[Tensor, " d"]:
        """(G + lambda I)^{-1} w, with lambda = damping * trace(G) / d.

        By the factor's singular vectors (Woodbury's identity): G is never formed.

        Args:
            damping: Dimensionless, > 0: lambda in units of G's mean eigenvalue. Large makes every
                direction cost the same.

        Raises:
            ValueError: If the damping is out of range, or G is 0.
        """
        if not (damping > 0 and isfinite(damping)):
            raise ValueError(f"damping {damping}: expected a positive number")
        trace = self.rows.square().sum()
        if not bool(trace > 0):
            raise ValueError(f"no push behind block {self.layer} moves the next token: G is 0")
        level = damping * trace / self.rows.shape[1]
        _, sizes, basis = torch.linalg.svd(self.rows, full_matrices=False)
        w = w.to(self.rows)
        along = basis @ w
        rest = w - along @ basis
        return rest / level + (along / (sizes.square() + level)) @ basis


def pullback_fisher(
    model: SteerableModel,
    texts: Texts,
    layer: Layer,
    *,
    samples: Count | None,
    seed: Seed,
    read: ReadPosition = "last",
    memory_budget: Count | None = None,
    progress: bool = True,
) -> PullbackFisher:
    """The metric of pushes behind a block, averaged over texts, which are run one batch at a time.

    Args:
        texts: As in `linearize`: pairs give their desired examples.
        layer: Block whose output is moved.
        samples: Tokens y drawn from p for each text, whose J' (e_y - p) estimate G: unbiased, as
            many backward passes of one token. None sums over the whole vocabulary: exact, in d
            products of the Jacobian, and as many columns of logits in memory.
        seed: Of the draws, which do not depend on batches.
        read: The token, as in `capture`.
        memory_budget: Bytes for the copies of a batch; speed and memory only.
        progress: Whether to show a bar.

    Raises:
        ValueError: If there is no such layer, `samples` is below 1, G is not finite, or as
            `linearize`.

    Example:
        >>> metric = ls.linearity.pullback_fisher(model, pairs, layer=5, samples=16, seed=0)
        >>> metric.kl(caa.vectors[0])  # nats that adding the vector costs
    """
    hook_point(model, Site(layer))
    if samples is not None and samples < 1:
        raise ValueError(f"samples {samples}: expected at least 1, or None for the exact sum")
    rows = token_rows(model, texts, read)
    budget = default_budget(model) if memory_budget is None else memory_budget
    draw = torch.Generator().manual_seed(seed)
    drawn = torch.rand(len(rows), samples or 0, generator=draw, dtype=torch.double)
    factor = torch.zeros(0, model.cfg.d_model, dtype=torch.double)
    one_by_one = [[i] for i in range(len(rows))]  # the exact sum has many logits of every text
    parts = one_by_one if samples is None else batched(model, rows, budget)
    with tqdm(total=len(rows), desc="fisher", disable=not progress) as bar:
        for batch in parts:
            maps = BlockMaps.of_rows(model, [rows[i] for i in batch], budget)
            more = _exact(maps, layer) if samples is None else _sampled(maps, layer, drawn[batch])
            factor = _compressed(torch.cat([factor, more]))
            bar.update(len(batch))
    factor = factor / len(rows) ** 0.5
    if not bool(factor.isfinite().all()):
        raise ValueError(f"the Fisher information behind block {layer} is not finite")
    source = Provenance(attach(model).fingerprint, name_of(texts), str(read))
    return PullbackFisher(factor, layer, len(rows), source)


def _probabilities(maps: BlockMaps, layer: int) -> Float[Tensor, "text vocab"]:
    logits = maps.logits(layer + 1, maps.states[None, :, layer + 1])[0]
    return logits.double().softmax(dim=-1)


def _exact(maps: BlockMaps, layer: int) -> Rows:
    """sqrt(p_y) (J_y - p' J) for every token y of one text."""
    (p,) = _probabilities(maps, layer)
    d = maps.states.shape[-1]
    tangents = torch.eye(d, dtype=maps.states.dtype)[:, None]
    J = maps.logits_jvp(layer + 1, tangents)[:, 0].double().T
    return p.sqrt()[:, None] * (J - p @ J)


def _sampled(maps: BlockMaps, layer: int, drawn: Float[Tensor, "text sample"]) -> Rows:
    """J' (e_y - p) / sqrt(samples) with y drawn from p, by inverting its distribution."""
    p = _probabilities(maps, layer)
    tokens = torch.searchsorted(p.cumsum(dim=-1), drawn).clamp(max=p.shape[1] - 1).T
    products = []
    for y in tokens.split(max(1, _NUMBERS // p.numel())):
        errors = one_hot(y, p.shape[1]).to(maps.states) - p.to(maps.states)
        products.append(maps.logits_vjp(layer + 1, errors).flatten(0, 1).double())
    return torch.cat(products) / drawn.shape[1] ** 0.5


def _compressed(rows: Rows) -> Float[Tensor, "kept d"]:
    """Fewer rows with the same F'F, once there are twice as many as columns."""
    if len(rows) <= 2 * rows.shape[1]:
        return rows
    return torch.linalg.qr(rows, mode="r").R
