"""Prompts continued under many settings at once: the rows of the first setting, then the next's.

Where methods act from some block on, and nothing else does, the blocks below are run once for all
settings. Otherwise every setting has rows of its own in every block.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from lens_steer.axes import Logits, Mask, Tokens
from lens_steer.models import (
    Decoder,
    SharedPrefixDecoder,
    SteerableModel,
    WidenedDecoder,
    can_widen,
    hooked,
    open_blocks,
)
from lens_steer.steering import Edit, Methods, Scope, apply_everywhere, steered


class SettingRows(Protocol):
    """Rows of every setting that are continued together."""

    def start(self) -> Logits:
        """The next-token logits of every prompt under every setting."""
        ...

    def follow(self, parents: Int[Tensor, " row"], tokens: Int[Tensor, " row"]) -> Logits:
        """Go on from rows of one setting, by a token each, under every setting."""
        ...


@contextmanager
def setting_rows(
    model: SteerableModel,
    tokens: Tokens,
    mask: Mask,
    settings: Sequence[Methods],
    scope: Scope,
) -> Iterator[SettingRows]:
    """Continue prompts under every setting, for the length of a block.

    Args:
        model: The model.
        tokens: The prompts, padded on the left.
        mask: False at padding.
        settings: Methods that steer together; () is the model as it is.
        scope: Where they steer.
    """
    layer = shared_blocks(model, tokens, mask, settings, scope)
    if layer > 0:
        decoder = WidenedDecoder(model, tokens, mask, layer, len(settings))
        yield _Widened(model, decoder, settings, at_prompt=scope == "last")
        return
    copies = torch.arange(len(tokens), device=mask.device).repeat(len(settings))
    with ExitStack() as stack:
        if _prompts_are_clean(model, mask, settings, scope):
            shared = SharedPrefixDecoder(model, tokens, mask, copies)
        else:
            shared = Decoder(model, tokens[copies], mask[copies])
        yield _Copied(stack, model, shared, mask.sum(dim=1)[copies], settings, scope)


def shared_blocks(
    model: SteerableModel, tokens: Tokens, mask: Mask, settings: Sequence[Methods], scope: Scope
) -> int:
    """How many blocks, from the first on, `setting_rows` runs once for all settings.

    The arguments are those of `setting_rows`.
    """
    of_the_token_alone = not any(
        method.per_prompt or method.last_prompt_token_only
        for methods in settings
        for method in methods
    )
    layer = _first_layer(settings)
    if layer == 0 or not of_the_token_alone:
        return 0
    shared = _prompts_are_clean(model, mask, settings, scope) and can_widen(model, tokens, mask)
    return layer if shared else 0


def _prompts_are_clean(
    model: SteerableModel, mask: Mask, settings: Sequence[Methods], scope: Scope
) -> bool:
    """Whether nothing is steered, or looked at by a method, before a prompt's last token."""
    if int(mask.sum(dim=1).min()) < 2:  # the last token is run for every setting
        return False
    prepared = any(method.needs_prompt for methods in settings for method in methods)
    return scope in ("last", "generated") and not prepared and not open_blocks(model)


def _first_layer(settings: Sequence[Methods]) -> int:
    """The first block in which a method acts; 0 if none does."""
    acting = [m for methods in settings for m in methods if m.strength != 0]
    return min((site.layer for method in acting for site in method.sites), default=0)


class _Copied(SettingRows):
    """Every setting has its own rows in every block, steered by `steered`."""

    def __init__(  # noqa: PLR0913 - what is run, and what steers it
        self,
        stack: ExitStack,
        model: SteerableModel,
        decoder: Decoder | SharedPrefixDecoder,
        lengths: Int[Tensor, " copy"],
        settings: Sequence[Methods],
        scope: Scope,
    ) -> None:
        self._decoder, self._settings = decoder, len(settings)
        owner = torch.arange(len(settings)).repeat_interleave(len(lengths) // len(settings))
        for k, methods in enumerate(settings):
            if methods:
                block = steered(
                    model, *methods, scope=scope, prompt_lengths=lengths, rows=owner == k
                )
                stack.enter_context(block)
        self._blocks = open_blocks(model)  # those around this call included
        for block in self._blocks:
            stack.enter_context(block.generation())
        self._held = len(lengths) // self._settings

    @override
    def start(self) -> Logits:
        return self._decoder.start()

    @override
    def follow(self, parents: Int[Tensor, " row"], tokens: Int[Tensor, " row"]) -> Logits:
        if parents.tolist() != list(range(self._held)):
            kept = in_each(parents, self._held, self._settings)
            for holder in (self._decoder, *self._blocks):
                holder.select_rows(kept)
        self._held = len(parents)
        return self._decoder.advance(tokens.repeat(self._settings)[:, None])


class _Widened(SettingRows):
    """Settings have rows of their own from the first steered block on."""

    def __init__(
        self,
        model: SteerableModel,
        decoder: WidenedDecoder,
        settings: Sequence[Methods],
        *,
        at_prompt: bool,
    ) -> None:
        self._model, self._decoder, self._at_prompt = model, decoder, at_prompt
        edits = [[method.checked_edits(model) for method in methods] for methods in settings]
        sites = {site for of_one in edits for of_method in of_one for site in of_method}
        self._hooks = {
            site: partial(_edited, [[e[site] for e in of_one if site in e] for of_one in edits])
            for site in sites
        }

    @override
    def start(self) -> Logits:
        self._decoder.read_prompts()  # nothing steers them
        if not self._at_prompt:
            return self._decoder.start()
        with hooked(self._model, self._hooks):
            return self._decoder.start()

    @override
    def follow(self, parents: Int[Tensor, " row"], tokens: Int[Tensor, " row"]) -> Logits:
        self._decoder.select_rows(parents)
        with hooked(self._model, self._hooks):
            return self._decoder.advance(tokens[:, None])


def _edited(
    edits: Sequence[Sequence[Edit]], x: Float[Tensor, "copy 1 *site"]
) -> Float[Tensor, "copy 1 *site"]:
    """The activations of every setting after its own edits, in order."""
    parts = list(x.chunk(len(edits)))
    for k, of_setting in enumerate(edits):
        for edit in of_setting:
            parts[k] = apply_everywhere(edit, parts[k])
    return torch.cat(parts)


def in_each(rows: Int[Tensor, " row"], held: int, n_settings: int) -> Int[Tensor, " copy"]:
    """The same rows of every setting, of which each holds so many."""
    return (rows + held * torch.arange(n_settings, device=rows.device)[:, None]).flatten()
