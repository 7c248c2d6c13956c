"""The blocks of a model as functions of one token's vector, its context being frozen.

What comes before the token is in a key-value cache, so that a block maps one vector to one vector
and costs one token, however long the text.
"""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module

from lens_steer.arguments import Layer
from lens_steer.axes import Mask, Tokens
from lens_steer.models.attachment import attach
from lens_steer.models.decoders import Decoder
from lens_steer.models.fingerprint import Fingerprint
from lens_steer.models.forward_pass import forward, hooked
from lens_steer.models.hooks import placed_hooks
from lens_steer.models.modules import all_modules, evaluating
from lens_steer.models.protocol import SteerableModel
from lens_steer.sites import Kind, Site

Vectors = Float[Tensor, "text d"]
_Call = tuple[tuple[Any, ...], dict[str, Any]]


class FrozenContextBlocks:
    """Every block of a model as a function of the last token of some texts, in the model's dtype.

    The texts are a left-padded batch, because padding on the right would move sliding windows. A
    float64 model has to be given texts of one length: its mask overflows in a softmax that is taken
    in float32, and padding then makes NaN.

    Attributes:
        states: The residual stream as it was, `[layer+1 text d]`: `states[l]` enters block l.
        fingerprint: The fingerprint of the model as it was.
        light: Whether copies of the token have no keys and values of the context of their own.

    Example:
        >>> blocks = FrozenContextBlocks(model, tokens, mask)
        >>> y = blocks.block(3, blocks.states[3])  # equals blocks.states[4]
    """

    states: Float[Tensor, "layer text d"]
    fingerprint: Fingerprint
    light: bool

    def __init__(self, model: SteerableModel, tokens: Tokens, mask: Mask) -> None:
        self._model, self._last = model, tokens[:, -1:]
        self._modules = [all_modules(block) for block in model.blocks]
        self.fingerprint = attach(model).fingerprint
        with torch.no_grad():
            self._decoder = Decoder(model, tokens[:, :-1], mask[:, :-1])
            if tokens.shape[1] > 1:
                self._decoder.start()
            self._decoder.freeze_cache()
            self._calls, final = self._recorded()
        self.light = self._decoder.keeps_apart
        self.states = torch.stack([*(_stream(call)[:, -1] for call in self._calls), final])

    def _recorded(self) -> tuple[list[_Call], Vectors]:
        """What each block is called with, and what the last one returns."""
        calls: list[_Call] = []
        final: list[Tensor] = []
        record = partial(_record, calls)
        blocks = self._model.blocks
        with placed_hooks() as hooks, hooked(self._model, {Site(len(blocks) - 1): final.append}):
            for block in blocks:
                hooks.before(block, record)
            self._decoder.advance(self._last)
        return calls, final[0][:, -1]

    def block(self, layer: Layer, x: Vectors) -> Vectors:
        """Run block `layer` on other vectors, one for each text; differentiable."""
        args, options = self._calls[layer]
        stream, block = x[:, None].to(self.states.dtype), self._model.blocks[layer]
        with evaluating(self._modules[layer]):
            if _is_first(args):
                out = block(stream, *args[1:], **options)
            else:
                out = block(*args, **{**options, "hidden_states": stream})
        return (out[0] if isinstance(out, tuple) else out)[:, -1]

    def through(self, layer: Layer, kind: Kind, x: Vectors) -> tuple[Tensor, Vectors]:
        """Run block `layer` as `block` does, and also return what it holds at a hook point.

        Returns:
            The activation at the hook point `[text pos *site]`, and the block's output.
        """
        kept: list[Tensor] = []
        with hooked(self._model, {Site(layer, kind): partial(_keep, kept)}):
            y = self.block(layer, x)
        return kept[0], y

    def logits(self, layer: Layer, x: Vectors) -> Float[Tensor, "text vocab"]:
        """Next-token logits if `x` entered block `layer`; differentiable.

        Args:
            layer: Block index; the number of blocks means that `x` leaves the last one.
            x: A vector for each text.
        """
        if layer == len(self._model.blocks):
            return self.head(x)
        with hooked(self._model, {Site(layer, Kind.RESID_PRE): partial(_replaced_by, x)}):
            return self._decoder.repeat(self._last)

    def head(self, x: Float[Tensor, "row d"]) -> Float[Tensor, "row vocab"]:
        """Next-token logits if `x` left the last block, for any number of rows; differentiable.

        No text is looked at behind the last block: the blocks run on one token, to get there.
        """
        return self._behind(x)

    def normed(self, x: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
        """What enters the unembedding if `x` left the last block; differentiable.

        Raises:
            ValueError: If the model calls no module `unembed` with it.
        """
        kept: list[Tensor] = []
        model: Any = self._model
        with placed_hooks() as hooks:
            if isinstance(getattr(model, "unembed", None), Module):
                hooks.before(model.unembed, partial(_keep_and_empty, kept))
            self._behind(x)
        if len(kept) != 1:
            raise ValueError("the model calls no module `unembed`: use `head`, its logits")
        return kept[0][:, -1]

    def _behind(self, x: Vectors) -> Float[Tensor, "_ vocab"]:
        with hooked(self._model, {Site(len(self._model.blocks) - 1): partial(_replaced_by, x)}):
            return forward(self._model, self._last[:1])[:, -1]


def _record(calls: list[_Call], args: tuple[Any, ...], options: dict[str, Any]) -> None:
    calls.append((args, options))


def _keep(kept: list[Tensor], x: Tensor) -> Tensor:
    kept.append(x)
    return x  # else the model may go on with a tensor that this one is a view of


def _keep_and_empty(
    kept: list[Tensor], args: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Keep what a module is called with, and let it compute nothing."""
    if not _is_first(args):
        return None
    kept.append(args[0])
    return (args[0][:0], *args[1:]), options


def _replaced_by(vectors: Vectors, x: Tensor) -> Tensor:
    return vectors[:, None].to(x.dtype)


def _stream(call: _Call) -> Tensor:
    args, options = call
    return (args[0] if _is_first(args) else options["hidden_states"]).detach()


def _is_first(args: tuple[Any, ...]) -> bool:
    """Whether the residual stream is a positional argument, and not a named one."""
    return bool(args) and isinstance(args[0], Tensor)
