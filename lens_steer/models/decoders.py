"""Batches of rows that are continued token by token, over a key-value cache or without one."""

from copy import copy
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.axes import Logits, Mask, Tokens
from lens_steer.models.cache_names import name_of_cache
from lens_steer.models.forward_pass import forward, wrapped_logits
from lens_steer.models.modules import evaluating, last_modules
from lens_steer.models.protocol import SteerableModel, is_bridge


class Decoder:
    """A batch of left-padded rows being continued over a key-value cache.

    The cache is made here and passed in, so that both model classes run their public forward,
    without dropout, whatever mode the model is in.
    """

    def __init__(self, model: SteerableModel, tokens: Tokens, mask: Mask) -> None:
        self._model, self._tokens, self._mask = model, tokens, mask
        self._modules = last_modules(model)
        self._padded = not bool(mask.all())
        self._cache = _bridge_cache(model) if is_bridge(model) else _hooked_cache(model, tokens)

    def start(self) -> Logits:
        """Next-token logits after the prompts."""
        return self._run(self._tokens)

    def advance(self, tokens: Tokens, mask: Mask | None = None) -> Logits:
        """Logits after one more column of tokens, or several; `mask` is False at their padding."""
        self._extend(torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask)
        return self._run(tokens)

    def score(self, tokens: Tokens, mask: Mask) -> Float[Tensor, "batch pos vocab"]:
        """Logits after every one of several columns; `mask` is False at their padding."""
        self._extend(mask)
        return self._logits(tokens, tokens.shape[1])

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Go on with these rows only."""
        self._mask = self._mask[rows]
        alike = len(rows) > 1 and bool((rows == rows[0]).all())  # copies of one row need no memory

        def kept(x: Tensor) -> Tensor:
            return x[rows[:1]].expand(len(rows), *x.shape[1:]) if alike else x[rows]

        if is_bridge(self._model):
            for layer in self._cache.layers:
                if layer.is_initialized:
                    layer.keys, layer.values = kept(layer.keys), kept(layer.values)
            return
        cache = self._cache
        cache.previous_attention_mask = cache.previous_attention_mask[rows]
        for entry in cache.entries:
            entry.past_keys, entry.past_values = kept(entry.past_keys), kept(entry.past_values)

    def freeze_cache(self) -> None:
        """Leave the cache as it is from now on: whatever is run later continues from here."""
        if is_bridge(self._model):
            for layer in self._cache.layers:
                layer.update = partial(_added_to_a_copy, copy(layer))
        else:
            self._cache.freeze()

    def repeat(self, tokens: Tokens) -> Logits:
        """Logits after the last columns once more, over the frozen cache."""
        return self._run(tokens)

    def _extend(self, new: Mask) -> None:
        self._padded = self._padded or not bool(new.all())
        self._mask = torch.cat([self._mask, new], dim=1)

    def _run(self, tokens: Tokens) -> Logits:
        return self._logits(tokens, 1)[:, -1]

    def _logits(self, tokens: Tokens, last: int) -> Float[Tensor, "batch _ vocab"]:
        """Of the last columns; HookedTransformer has no way to leave the others out."""
        chunk = tokens.shape[1]
        if not is_bridge(self._model):
            mask = self._mask[:, -chunk:].long()  # HookedTransformer's cache remembers the rest
            with evaluating(self._modules):
                return self._model(tokens, attention_mask=mask, past_kv_cache=self._cache)
        padding = self._mask if self._padded else None
        options = {
            name_of_cache(self._model): self._cache,
            "use_cache": True,
            "logits_to_keep": last,
        }
        with evaluating(self._modules):
            return wrapped_logits(self._model, tokens, padding, **options)


class SharedPrefixDecoder:
    """A batch whose prompts, but for their last token, are in a cache that several copies share."""

    def __init__(
        self, model: SteerableModel, tokens: Tokens, mask: Mask, copies: Int[Tensor, " copy"]
    ) -> None:
        self._decoder = Decoder(model, tokens[:, :-1], mask[:, :-1])
        self._decoder.start()
        self._decoder.keep(copies)
        self._last = tokens[copies, -1:]

    def start(self) -> Logits:
        """Next-token logits after the prompts, a row for each copy."""
        return self._decoder.advance(self._last)

    def advance(self, tokens: Tokens) -> Logits:
        """Next-token logits after one more token per row."""
        return self._decoder.advance(tokens)

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Go on with these rows only."""
        self._decoder.keep(rows)


class UncachedDecoder:
    """The same as `Decoder` without a cache: the whole row again for each token."""

    def __init__(self, model: SteerableModel, tokens: Tokens, mask: Mask) -> None:
        self._model, self._tokens, self._mask = model, tokens, mask

    def start(self) -> Logits:
        """Next-token logits after the prompts."""
        return forward(self._model, self._tokens, self._mask)[:, -1]

    def advance(self, tokens: Tokens) -> Logits:
        """Next-token logits after one more token per row."""
        self._tokens = torch.cat([self._tokens, tokens], dim=1)
        self._mask = torch.cat([self._mask, torch.ones_like(tokens, dtype=torch.bool)], dim=1)
        return self.start()

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Go on with these rows only."""
        self._tokens, self._mask = self._tokens[rows], self._mask[rows]


def _added_to_a_copy(layer: Any, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """Keys and values of one layer with the new ones, which the layer itself does not keep."""
    return copy(layer).update(*args, **options)


def _bridge_cache(model: Any) -> Any:
    from transformers import DynamicCache

    return DynamicCache(config=model.original_model.config)


def _hooked_cache(model: Any, tokens: Tokens) -> Any:
    from transformer_lens import TransformerLensKeyValueCache

    return TransformerLensKeyValueCache.init_cache(model.cfg, tokens.device, tokens.shape[0])
