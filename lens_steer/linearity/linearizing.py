"""Linearising a model's blocks at texts."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.activations import ReadPosition
from lens_steer.linearity.block_maps import BlockMaps, one_batch_each
from lens_steer.linearity.layer_jacobians import LayerJacobians
from lens_steer.linearity.text_batches import Texts, default_budget, name_of, token_rows
from lens_steer.models import Provenance, SteerableModel, attach


def linearize(  # noqa: PLR0913 - each is a knob of its own
    model: SteerableModel,
    texts: Texts,
    *,
    dense: bool = True,
    read: ReadPosition = "last",
    memory_budget: int | None = None,
    progress: bool = True,
) -> LayerJacobians:
    """The Jacobian of every block at one token of each text, averaged over the texts.

    A_l = d(stream leaving block l) / d(stream entering it), keys and values of earlier tokens held
    fixed. `.matrices[l]` is A_l, row = output; `.vjp` and `.jvp` are its products; `.spread` says
    how far one A fits all the texts. A mean over one class need not fit the other.

    Args:
        texts: Strings, examples, or pairs, of which the desired examples are taken (the paper's
            choice); `(*pairs.desired, *pairs.undesired)` takes both.
        dense: Matrices, which can be saved, at a cost of d backward passes of one token per text
            and layer. False gives products with vectors only, for models too wide for matrices;
            keys and values of all texts are then kept as long as the result.
        read: The token, as in `capture`; of a string `prompt_last` is its last, too.
        memory_budget: Bytes for the copies of a batch; None takes what suits the device. Speed and
            memory only.
        progress: Whether to show a bar.

    Raises:
        ValueError: If there is no text, one is empty or too long for the context, `read` is no
            single token, a Jacobian is not finite, or the model is being steered.
    """
    rows = token_rows(model, texts, read)
    budget = default_budget(model) if memory_budget is None else memory_budget
    source = Provenance(attach(model).fingerprint, name_of(texts), str(read))
    if not dense:
        maps = BlockMaps.of_rows(model, rows, budget)
        return LayerJacobians(maps.states.mean(dim=0), None, None, len(rows), maps, source)
    total = len(rows) * model.cfg.n_layers
    sums: list[_Mean] | None = None
    states = []
    with tqdm(total=total, desc="linearize", disable=not progress) as bar:
        for maps in one_batch_each(model, rows, budget):
            states.append(maps.states.sum(dim=0))
            own = []
            for layer in range(maps.n_layers):
                own.append(_Mean.of(maps.matrices(layer)))
                bar.update(len(maps.states))
            sums = own if sums is None else [a.merge(b) for a, b in zip(sums, own, strict=True)]
    assert sums is not None  # at least one text
    nominal = torch.stack(states).sum(dim=0) / len(rows)
    matrices = torch.stack([each.mean for each in sums])
    spread = torch.stack([each.spread for each in sums])
    return LayerJacobians(nominal, matrices, spread, len(rows), None, source)


@dataclass(frozen=True, eq=False)
class _Mean:
    """Mean of matrices, and the sum of their squared distances from it; merged as Chan et al."""

    n: int
    mean: Float[Tensor, "d d"]
    scatter: Float[Tensor, ""]

    @classmethod
    def of(cls, each: Float[Tensor, "text d d"]) -> "_Mean":
        mean = each.mean(dim=0)
        return cls(len(each), mean, (each - mean).double().square().sum())

    def merge(self, other: "_Mean") -> "_Mean":
        n = self.n + other.n
        step = other.mean - self.mean
        apart = step.double().square().sum() * self.n * other.n / n
        mean = self.mean + step * (other.n / n)
        return _Mean(n, mean, self.scatter + other.scatter + apart)

    @property
    def spread(self) -> Float[Tensor, ""]:
        update = self.mean - torch.eye(len(self.mean), dtype=self.mean.dtype)
        return ((self.scatter / self.n).sqrt() / update.double().norm()).to(self.mean)
