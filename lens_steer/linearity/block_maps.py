"""The blocks as maps of one token: applied, and their products with vectors."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.activations import ReadPosition
from lens_steer.arguments import Count, Layer
from lens_steer.linearity.products import Products, forward_products, pulling_back, pushing_forward
from lens_steer.linearity.text_batches import Texts, batched, default_budget, row_bytes, token_rows
from lens_steer.models import (
    Attachment,
    FrozenContextBlocks,
    SteerableModel,
    attach,
    check_differentiable,
    check_unsteered,
    gradients_possible,
    pad,
)
from lens_steer.reports import short_repr
from lens_steer.sites import Kind

Batch = Float[Tensor, "n text d"]
_Of = Callable[[FrozenContextBlocks], Products]


@dataclass(frozen=True, eq=False)
class BlockMaps:
    """The maps phi_l: the residual stream entering block l at one token -> the stream leaving it.

    What precedes the token stays as it was: its keys and values are frozen, the token's own vary.
    Vectors go in and come out in the order of the texts, at least float32, on the CPU. Every method
    raises a ValueError if there is no such layer, or the model is being steered.

    Attributes:
        model: Whose blocks these are.
        states: The stream as it was: `states[:, l]` enters block l, the last leaves the last block.
        memory_budget: Bytes that the copies of one batch may take.
    """

    model: SteerableModel
    states: Float[Tensor, "text layer d"]
    memory_budget: Count
    # texts, their blocks, bytes of a copy
    _parts: tuple[tuple[tuple[int, ...], FrozenContextBlocks, int], ...] = field(repr=False)

    __repr__ = short_repr

    @classmethod
    def of(
        cls,
        model: SteerableModel,
        texts: Texts,
        *,
        read: ReadPosition = "last",
        memory_budget: Count | None = None,
    ) -> "BlockMaps":
        """Run the texts once; their keys and values are kept as long as the maps are.

        Args:
            texts: Pairs give their desired examples.
            read: The token, as in `capture`; of a string `prompt_last` is its last, too.
            memory_budget: Bytes, see above; None takes what suits the device. Speed and memory
                only.

        Raises:
            ValueError: If there is no text, one is empty or too long, `read` is no single token,
                or the model is being steered.

        Example:
            >>> maps = ls.linearity.BlockMaps.of(model, pairs)
            >>> maps.matrices(3)[0]  # the Jacobian of block 3 at the first desired example
        """
        return cls.of_rows(model, token_rows(model, texts, read), memory_budget)

    @classmethod
    @gradients_possible()
    def of_rows(
        cls,
        model: SteerableModel,
        rows: Sequence[tuple[int, ...]],
        memory_budget: Count | None = None,
    ) -> "BlockMaps":
        """The maps at rows of tokens, the last of each row being the one that varies."""
        attach(model)
        check_differentiable(model, "Jacobians")
        check_unsteered(model, "linearise it")
        budget, parts = memory_budget or default_budget(model), []
        for batch in batched(model, rows, budget):
            tokens, mask = pad(model, [rows[i] for i in batch], left=True)
            blocks = FrozenContextBlocks(model, tokens, mask)
            size = len(batch) * row_bytes(model, tokens.shape[1], light=blocks.light)
            parts.append((tuple(batch), blocks, size))
        states = _gathered([(i, _plain(r.states).transpose(0, 1)) for i, r, _ in parts], dim=0)
        return cls(model, states, budget, tuple(parts))

    @property
    def n_layers(self) -> int:
        """How many blocks there are."""
        return self.states.shape[1] - 1

    @property
    def end(self) -> FrozenContextBlocks:
        """For what comes behind the last block, where no text is looked at: one batch of them."""
        return self._checked_parts()[0][1]

    def apply(self, layer: Layer, z: Batch) -> Batch:
        """phi_l(z) at other vectors z than `states[:, l]`, `n` for each text."""
        with torch.no_grad():
            return self._each(layer, z, lambda r: torch.vmap(partial(r.block, layer)))

    def logits(self, layer: Layer, z: Batch) -> Float[Tensor, "n text vocab"]:
        """The next token's logits if z entered block `layer`; `n_layers` is behind the last."""
        with torch.no_grad():
            if layer == self.n_layers:
                return _plain(self.end.head(z.flatten(0, 1))).unflatten(0, z.shape[:2])
            return self._each(layer, z, lambda r: torch.vmap(partial(r.logits, layer)))

    def jvp(self, layer: Layer, tangents: Batch) -> Batch:
        """A_l t for each text's own Jacobian A_l at its own state."""
        return self._each(
            layer, tangents, lambda r: pushing_forward(partial(r.block, layer), r.states[layer])
        )

    def logits_jvp(self, layer: Layer, tangents: Batch) -> Float[Tensor, "n text vocab"]:
        """First-order change of the next token's logits: through all blocks from `layer` on."""
        if layer == self.n_layers:
            with gradients_possible():
                return _plain(forward_products(self.end.head, self.states[:, layer], tangents))
        return self._each(
            layer, tangents, lambda r: pushing_forward(partial(r.logits, layer), r.states[layer])
        )

    def logits_vjp(
        self, layer: Layer, cotangents: Float[Tensor, "n text vocab"]
    ) -> Float[Tensor, "n text d"]:
        """J' c: c pulled back from the next token's logits to the stream entering block `layer`.

        J is the Jacobian of those logits; `n_layers` is behind the last block.
        """

        def products(replay: FrozenContextBlocks) -> Products:
            with torch.enable_grad():
                x = replay.states[layer].detach().requires_grad_()
                return pulling_back(replay.logits(layer, x), x)

        return self._each(layer, cotangents, products, behind=1)

    def vjp(
        self, layer: Layer, cotangents: Batch, *, hook: str = "resid_pre"
    ) -> Float[Tensor, "n text *site"]:
        """A_l' c for each text, at the block's input or at a hook point inside it.

        Args:
            hook: A kind of activation: `head` or `neuron` for the gradient by what a method writes
                inside the block, whatever follows it in the block.

        Raises:
            ValueError: If there is no such kind, or the block has no hook point for it.
        """
        kind = Kind.parse(hook)
        if not kind.editable:
            raise ValueError(f"kind {hook!r} has no hook point of its own: use 'neuron'")

        def products(replay: FrozenContextBlocks) -> Products:
            with torch.enable_grad():
                x = replay.states[layer].detach().requires_grad_()
                if kind is Kind.RESID_PRE:
                    return pulling_back(replay.block(layer, x), x)
                inner, y = replay.through(layer, kind, x)
                at_all_positions = pulling_back(y, inner)
            return lambda c: at_all_positions(c)[:, :, -1]

        return self._each(layer, cotangents, products)

    def matrices(self, layer: Layer) -> Float[Tensor, "text d d"]:
        """The Jacobians A_l of every text, row = output, column = input."""
        d = self.states.shape[-1]
        rows = torch.eye(d)[:, None].expand(d, len(self.states), d)
        return self.vjp(layer, rows).transpose(0, 1)

    @gradients_possible()
    def _each(self, layer: int, x: Batch, of: _Of, behind: int = 0) -> Tensor:
        """What `of` a batch of texts makes of vectors, as many copies at a time as memory allows.

        The texts are put back in their order.
        """
        if not 0 <= layer < self.n_layers + behind:
            raise ValueError(f"layer {layer}: expected 0 to {self.n_layers + behind - 1}")
        results = []
        for texts, replay, size in self._checked_parts():
            vectors = x[:, list(texts)].to(replay.states)
            passes = min(len(vectors), -(-len(vectors) * size // self.memory_budget))
            run = of(replay)
            parts = [_plain(run(some)) for some in vectors.tensor_split(max(1, passes))]
            results.append((texts, torch.cat(parts)))
        return _gathered(results, dim=1)

    def _checked_parts(self) -> tuple[tuple[tuple[int, ...], FrozenContextBlocks, int], ...]:
        """The texts in batches, while the model is as it was when they were run."""
        seen = attach(self.model)
        check_unsteered(self.model, "linearise it")
        for _, replay, _ in self._parts:
            _refuse_changed(seen, replay)
        return self._parts


def _refuse_changed(seen: Attachment, replay: FrozenContextBlocks) -> None:
    """What is kept of the texts is of the weights as they were: the two would be mixed."""
    if replay.fingerprint != seen.fingerprint:
        raise ValueError(
            "the model's weights changed since its texts were run for these maps: make them again"
        )


def _plain(x: Tensor) -> Tensor:
    """The values alone, on the CPU, in float32 at least."""
    return x.detach().to(torch.promote_types(x.dtype, torch.float32)).cpu()


def _gathered(parts: Sequence[tuple[Sequence[int], Tensor]], *, dim: int) -> Tensor:
    """What was computed in batches, back in the order of the texts."""
    order = torch.tensor([i for texts, _ in parts for i in texts])
    return torch.cat([x for _, x in parts], dim=dim).index_select(dim, order.argsort())


def one_batch_each(
    model: SteerableModel, rows: Sequence[tuple[int, ...]], memory_budget: int
) -> Iterator[BlockMaps]:
    """Maps of one batch of texts after another, none kept."""
    for batch in batched(model, rows, memory_budget):
        yield BlockMaps.of_rows(model, [rows[i] for i in batch], memory_budget)
