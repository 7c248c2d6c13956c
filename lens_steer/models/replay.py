"""One token's way through the blocks, each to be run again by itself: its context stays frozen.

What comes before the token is in a key-value cache, so that a block maps one vector to one vector
and costs one token, however long the text.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.axes import Mask, Tokens
from lens_steer.models.attachment import attach
from lens_steer.models.decoders import Decoder
from lens_steer.models.fingerprint import Fingerprint
from lens_steer.models.forward_pass import hooked
from lens_steer.models.hook_placing import placed_hooks
from lens_steer.models.modules import all_modules, evaluating
from lens_steer.models.protocol import SteerableModel
from lens_steer.sites import Kind, Site

Vectors = Float[Tensor, "text d"]
_Call = tuple[tuple[Any, ...], dict[str, Any]]


class FrozenContextBlocks:
    """The last token of a batch of left-padded texts, in the model's dtype.

    Padding on the right would move sliding windows. A float64 model is to be given texts of one
    length: its mask overflows in a softmax taken in float32, and padding then makes NaN.

    Attributes:
        states: The residual stream as it was, `[layer+1 text d]`: `states[l]` enters block l.
        fingerprint: Of the model as it was.
    """

    states: Float[Tensor, "layer text d"]
    fingerprint: Fingerprint

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
        self.states = torch.stack([*(_stream(call)[:, -1] for call in self._calls), final])

    def _recorded(self) -> tuple[list[_Call], Vectors]:
        """What each block is called with, and what the last one returns."""
        calls: list[_Call] = []
        final: list[Tensor] = []

        blocks = self._model.blocks
        with placed_hooks() as hooks, hooked(self._model, {Site(len(blocks) - 1): final.append}):
            for block in blocks:
                hooks.before(block, lambda args, options: calls.append((args, options)))
            self._decoder.advance(self._last)
        return calls, final[0][:, -1]

    def block(self, layer: int, x: Vectors) -> Vectors:
        """What block `layer` makes of other vectors, one for each text; differentiable."""
        args, options = self._calls[layer]
        given, block = x[:, None].to(self.states.dtype), self._model.blocks[layer]
        with evaluating(self._modules[layer]):
            if _is_first(args):
                out = block(given, *args[1:], **options)
            else:
                out = block(*args, **{**options, "hidden_states": given})
        return (out[0] if isinstance(out, tuple) else out)[:, -1]

    def through(self, layer: int, kind: Kind, x: Vectors) -> tuple[Tensor, Vectors]:
        """The same, after what the block holds at a hook point on the way `[text pos *site]`."""
        kept: list[Tensor] = []

        def keep(z: Tensor) -> Tensor:
            kept.append(z)
            return z  # else the model may go on with a tensor that this one is a view of

        with hooked(self._model, {Site(layer, kind): keep}):
            y = self.block(layer, x)
        return kept[0], y

    def logits(self, layer: int, x: Vectors) -> Float[Tensor, "text vocab"]:
        """Of the next token, if `x` entered block `layer`, or left the last; differentiable."""
        last = layer == len(self._model.blocks)
        site = Site(layer - 1) if last else Site(layer, Kind.RESID_PRE)
        replace: Callable[[Tensor], Tensor] = lambda z: x[:, None].to(z.dtype)  # noqa: E731
        with hooked(self._model, {site: replace}):
            return self._decoder.repeat(self._last)


def _stream(call: _Call) -> Tensor:
    args, options = call
    return (args[0] if _is_first(args) else options["hidden_states"]).detach()


def _is_first(args: tuple[Any, ...]) -> bool:
    """Whether the stream is given by position, and not by name."""
    return bool(args) and isinstance(args[0], Tensor)
