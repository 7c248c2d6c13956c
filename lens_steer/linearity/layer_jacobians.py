"""The blocks' mean Jacobians at some texts, as matrices or as an operator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.activations import ReadPosition
from lens_steer.arguments import Count, Layer
from lens_steer.artifacts import savable
from lens_steer.linearity.block_maps import BlockMaps, one_batch_each
from lens_steer.linearity.text_batches import Texts, default_budget, name_of, token_rows
from lens_steer.models import Provenance, SteerableModel, attach, looked_at

InnerHook = Literal["head", "neuron", "mlp_out", "attn_out"]  # where a block is written to


@savable
@dataclass(frozen=True, eq=False)
class LayerJacobians:
    """A_l = d(stream leaving block l) / d(stream entering it), at one token, mean over texts.

    The context is frozen: keys and values of earlier tokens do not vary (arXiv:2604.19018,
    section 5; the mean of the Jacobians, not the Jacobian at the mean).

    Attributes:
        nominal: Mean trajectory: z_0 is the embedding, z_{l+1} leaves block l.
        matrices: A_l, row = output, column = input; None where products alone are computed.
        spread: rms over texts of |A_i - A| / |A - I| (Frobenius): how far one A fits all, by layer;
            None without matrices.
        texts: How many were averaged.
        maps: Each text's own maps; None with matrices, which need no model.
        provenance: The model and texts.
        inner: By the name of a hook point inside the blocks, d(stream leaving block l) / d(what is
            there), the rest of the block included; mean over texts. None unless asked for.
    """

    nominal: Float[Tensor, "layer_and_last d"]
    matrices: Float[Tensor, "layer d d"] | None
    spread: Float[Tensor, " layer"] | None
    texts: int
    maps: BlockMaps | None = None
    provenance: Provenance | None = None
    inner: Mapping[str, Float[Tensor, "layer d *_site"]] | None = field(
        default=None, metadata={"saved_if_set": True}
    )

    def __post_init__(self) -> None:
        if (self.matrices is None) == (self.maps is None):
            raise ValueError("expected either matrices or maps of a model")
        if self.matrices is not None and len(self.matrices) + 1 != len(self.nominal):
            raise ValueError(
                f"got {len(self.matrices)} matrices and {len(self.nominal)} states: expected one "
                "state more than layers"
            )
        inner = [(f"Jacobians at {name}", x) for name, x in (self.inner or {}).items()]
        for name, value in (("Jacobians", self.matrices), ("states", self.nominal), *inner):
            if value is not None and not bool(torch.isfinite(value).all()):
                raise ValueError(f"the {name} are not finite: does the model run in its dtype?")

    @classmethod
    def from_tensors(
        cls, matrices: Float[Tensor, "layer d d"], nominal: Float[Tensor, "layer_and_last d"]
    ) -> "LayerJacobians":
        """Jacobians that were made without a model.

        Raises:
            ValueError: If they are not finite, or there is not one state more than layers.
        """
        return cls(nominal, matrices, torch.zeros(len(matrices)), 1)

    @property
    def n_layers(self) -> int:
        """How many blocks there are."""
        return len(self.nominal) - 1

    def vjp(
        self, layer: Layer, cotangents: Float[Tensor, "n d"], *, hook: str = "resid_pre"
    ) -> Float[Tensor, "n *site"]:
        """A_l' c: what a change at the block's input, or inside it, does along each cotangent.

        Args:
            hook: `head` or `neuron`: what a change at that hook point does, the rest of the block
                included. Of matrices it needs `linearize(..., hooks=[hook])`.

        Raises:
            ValueError: If there is no such layer or kind, or no matrices of that hook.
        """
        self._check(layer)
        if self.maps is not None:
            return self.maps.vjp(layer, self._for_texts(cotangents), hook=hook).mean(dim=1)
        if hook != "resid_pre":
            inner = (self.inner or {}).get(hook)
            if inner is None:
                raise ValueError(
                    f"these Jacobians are of whole blocks and know nothing of {hook!r}: use "
                    f"linearize(..., hooks=[{hook!r}]), or dense=False"
                )
            return torch.einsum("nd,d...->n...", cotangents.to(inner), inner[layer])
        assert self.matrices is not None
        return cotangents.to(self.matrices) @ self.matrices[layer]

    def jvp(self, layer: Layer, tangents: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """A_l t: what a change t at the block's input becomes at its output.

        Raises:
            ValueError: If there is no such layer.
        """
        self._check(layer)
        if self.maps is not None:
            return self.maps.jvp(layer, self._for_texts(tangents)).mean(dim=1)
        assert self.matrices is not None
        return tangents.to(self.matrices) @ self.matrices[layer].T

    def check_savable(self) -> None:
        """Raise a ValueError where products of a model are kept instead of matrices."""
        if self.maps is not None:
            raise ValueError(
                "these Jacobians are products of a model: save linearize(..., dense=True)"
            )

    def __repr__(self) -> str:
        d = self.nominal.shape[1]
        how = "products only" if self.matrices is None else "matrices"
        how += "".join(f", at {name}" for name in self.inner or {})
        return f"LayerJacobians({self.n_layers} layers of {d}, {how}, mean of {self.texts} texts)"

    def _for_texts(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n text d"]:
        return x[:, None].expand(-1, self.texts, -1)

    def _check(self, layer: int) -> None:
        if not 0 <= layer < self.n_layers:
            raise ValueError(f"layer {layer}: there are {self.n_layers}, 0 to {self.n_layers - 1}")


def linearize(
    model: SteerableModel,
    texts: Texts,
    *,
    dense: bool = True,
    hooks: Sequence[InnerHook] = (),
    read: ReadPosition = "last",
    memory_budget: Count | None = None,
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
        hooks: Also the matrices by what is at these hook points inside every block, for
            `LQR.fit(..., actuators=)`: d backward passes for each; products need none.
        read: The token, as in `capture`; of a string `prompt_last` is its last, too.
        memory_budget: Bytes for the copies of a batch; None takes what suits the device. Speed and
            memory only.
        progress: Whether to show a bar.

    Raises:
        ValueError: If there is no text, one is empty or too long for the context, `read` is no
            single token, a Jacobian is not finite, or the model is being steered.

    Example:
        >>> jacobians = ls.linearize(model, pairs)
        >>> lqr = ls.LQR.fit(jacobians, ls.capture(model, pairs, "resid"))
    """
    rows = token_rows(model, texts, read)
    budget = default_budget(model) if memory_budget is None else memory_budget
    source = Provenance(attach(model).fingerprint, name_of(texts), str(read))
    if not dense and hooks:
        raise ValueError(f"hooks {list(hooks)} of products: leave hooks out, vjp(hook=) has all")
    if not dense:
        maps = BlockMaps.of_rows(model, rows, budget)
        return LayerJacobians(maps.states.mean(dim=0), None, None, len(rows), maps, source)
    total = len(rows) * model.cfg.n_layers
    sums: list[_Mean] | None = None
    inner: dict[str, Tensor] = {}
    states = []
    bar = tqdm(total=total, desc="linearize", disable=not progress)
    with bar, looked_at(model):
        for maps in one_batch_each(model, rows, budget):
            states.append(maps.states.sum(dim=0))
            new = []
            for layer in range(maps.n_layers):
                new.append(_Mean.of(maps.matrices(layer)))
                bar.update(len(maps.states))
            for hook in dict.fromkeys(hooks):
                inner[hook] = inner.get(hook, 0) + _inner_sum(maps, hook)
            sums = new if sums is None else [a.merge(b) for a, b in zip(sums, new, strict=True)]
    assert sums is not None  # at least one text
    nominal = torch.stack(states).sum(dim=0) / len(rows)
    matrices = torch.stack([layer.mean for layer in sums])
    spread = torch.stack([layer.spread for layer in sums])
    means = {hook: x / len(rows) for hook, x in inner.items()} or None
    return LayerJacobians(nominal, matrices, spread, len(rows), None, source, means)


def _inner_sum(maps: BlockMaps, hook: str) -> Float[Tensor, "layer d *_site"]:
    """Jacobians of every block by what is at a hook point inside it, summed over texts."""
    texts, d = len(maps.states), maps.states.shape[-1]
    rows = torch.eye(d)[:, None].expand(d, texts, d)
    layers = [maps.vjp(layer, rows, hook=hook).sum(dim=1) for layer in range(maps.n_layers)]
    return torch.stack(layers)


@dataclass(frozen=True, eq=False)
class _Mean:
    """Mean of matrices, and the sum of their squared distances from it; merged as Chan et al."""

    n: int
    mean: Float[Tensor, "d d"]
    scatter: Float[Tensor, ""]

    @classmethod
    def of(cls, matrices: Float[Tensor, "text d d"]) -> "_Mean":
        mean = matrices.mean(dim=0)
        return cls(len(matrices), mean, (matrices - mean).double().square().sum())

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
