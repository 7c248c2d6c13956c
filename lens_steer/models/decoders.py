"""Batches of rows that are continued token by token, over a key-value cache or without one."""

from copy import copy
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from lens_steer.axes import Logits, Mask, Tokens
from lens_steer.models.appended_states import FrozenLayer
from lens_steer.models.cache_names import name_of_cache
from lens_steer.models.cached_states import (
    holds_states,
    holds_states_alone,
    keeps_states,
    note_columns,
)
from lens_steer.models.forward_pass import forward, wrapped_logits
from lens_steer.models.modules import evaluating, last_modules
from lens_steer.models.protocol import SteerableModel, is_bridge


@runtime_checkable
class TokenDecoder(Protocol):
    """A batch of rows that is continued token by token: first `start`, then `advance` repeatedly.

    Example:
        >>> decoder: TokenDecoder = Decoder(model, tokens, mask)
        >>> logits = decoder.start()
        >>> logits = decoder.advance(logits.argmax(dim=-1, keepdim=True))
    """

    def start(self) -> Logits:
        """Run the prompts; returns the next-token logits of each row."""
        ...

    def advance(self, tokens: Tokens) -> Logits:
        """Append one token to each row; returns the next-token logits after it."""
        ...

    def select_rows(self, rows: Int[Tensor, " selected"]) -> None:
        """Continue with these rows of the batch only, in this order; a row may be repeated."""
        ...


class Decoder(TokenDecoder):
    """A batch of left-padded rows that is continued over a key-value cache.

    The cache is made here and passed in, so that both model classes run their public forward. They
    run without dropout, whatever mode the model is in.
    """

    def __init__(self, model: SteerableModel, tokens: Tokens, mask: Mask) -> None:
        self._model, self._tokens, self._mask = model, tokens, mask
        self._modules = last_modules(model)
        self._padded = not bool(mask.all())
        self._cache = _bridge_cache(model) if is_bridge(model) else _hooked_cache(model, tokens)
        self._one_by_one = holds_states(self._cache)  # several tokens would forget the state

    @override
    def start(self) -> Logits:
        return self._run(self._tokens)

    @override
    def advance(self, tokens: Tokens, mask: Mask | None = None) -> Logits:
        """Append a column of tokens, or several, and return the logits after the last one.

        Args:
            tokens: The columns to append.
            mask: False where they are padding; None where none of them is.
        """
        new = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
        return self._continued(tokens, new, 1)[:, -1]

    def score(self, tokens: Tokens, mask: Mask) -> Float[Tensor, "batch pos vocab"]:
        """Append several columns and return the logits after every one of them.

        Args:
            tokens: The columns to append.
            mask: False where they are padding.
        """
        return self._continued(tokens, mask, tokens.shape[1])

    @override
    def select_rows(self, rows: Int[Tensor, " selected"]) -> None:
        self._mask = self._mask[rows]
        alike = len(rows) > 1 and bool((rows == rows[0]).all())  # copies of one row need no memory
        select = partial(_repeated, rows) if alike else partial(_indexed, rows)
        if is_bridge(self._model):
            for layer in self._cache.layers:
                if keeps_states(layer):
                    layer.reorder_cache(rows)
                elif layer.is_initialized:
                    layer.keys, layer.values = select(layer.keys), select(layer.values)
            return
        cache = self._cache
        cache.previous_attention_mask = cache.previous_attention_mask[rows]
        for entry in cache.entries:
            entry.past_keys, entry.past_values = select(entry.past_keys), select(entry.past_values)

    def freeze_cache(self) -> None:
        """Stop adding to the cache: whatever is run from now on continues from this point.

        Raises:
            ValueError: If a block keeps a state, which each pass writes over.
        """
        if is_bridge(self._model):
            for i, layer in enumerate(self._cache.layers):
                if keeps_states(layer):
                    raise ValueError(
                        f"block {i} keeps a state instead of keys and values (Mamba and the like), "
                        "which cannot be frozen: there are no Jacobians of this model's blocks"
                    )
                layer.update = FrozenLayer(copy(layer))
        else:
            self._cache.freeze()

    @property
    def keeps_apart(self) -> bool:
        """Whether a frozen cache and new tokens were kept apart in everything run since."""
        if not is_bridge(self._model):
            return False
        return all(layer.update.apart for layer in self._cache.layers)

    def repeat(self, tokens: Tokens) -> Logits:
        """Run the last columns once more over the frozen cache; returns the logits after them."""
        return self._run(tokens)

    def _continued(self, tokens: Tokens, new: Mask, last: int) -> Float[Tensor, "_ _ vocab"]:
        """Append columns; returns the logits of the `last` of them."""
        if not self._one_by_one:
            self._extend(new)
            return self._logits(tokens, last)
        steps = []
        for i in range(tokens.shape[1]):
            self._extend(new[:, [i]])
            steps.append(self._logits(tokens[:, [i]], 1))
        return torch.cat(steps[-last:], dim=1)

    def _extend(self, new: Mask) -> None:
        self._padded = self._padded or not bool(new.all())
        self._mask = torch.cat([self._mask, new], dim=1)

    def _run(self, tokens: Tokens) -> Logits:
        return self._logits(tokens, 1)[:, -1]

    def _logits(self, tokens: Tokens, last: int) -> Float[Tensor, "_ _ vocab"]:
        """Logits of the `last` columns; HookedTransformer cannot leave the others out."""
        chunk = tokens.shape[1]
        if not is_bridge(self._model):
            mask = self._mask[:, -chunk:].long()  # HookedTransformer's cache remembers the rest
            with evaluating(self._modules):
                return self._model(tokens, attention_mask=mask, past_kv_cache=self._cache)
        padding = self._mask if self._padded else None
        if holds_states_alone(self._cache):
            note_columns(self._cache, self._mask)
            padding = None if padding is None else padding[:, -chunk:]
        options = {
            name_of_cache(self._model): self._cache,
            "use_cache": True,
            "logits_to_keep": last,
        }
        with evaluating(self._modules):
            return wrapped_logits(self._model, tokens, padding, **options)


class SharedPrefixDecoder(TokenDecoder):
    """A batch in which several rows share a prompt: its cache is computed once for all of them.

    The last token of each prompt is run for every row, so that rows may be steered from there on.
    """

    def __init__(
        self, model: SteerableModel, tokens: Tokens, mask: Mask, copies: Int[Tensor, " copy"]
    ) -> None:
        self._decoder = Decoder(model, tokens[:, :-1], mask[:, :-1])
        self._decoder.start()
        self._decoder.select_rows(copies)
        self._last = tokens[copies, -1:]

    @override
    def start(self) -> Logits:
        return self._decoder.advance(self._last)

    @override
    def advance(self, tokens: Tokens) -> Logits:
        return self._decoder.advance(tokens)

    @override
    def select_rows(self, rows: Int[Tensor, " selected"]) -> None:
        self._decoder.select_rows(rows)


class UncachedDecoder(TokenDecoder):
    """A batch that is continued without a cache: each token runs the whole row again."""

    def __init__(self, model: SteerableModel, tokens: Tokens, mask: Mask) -> None:
        self._model, self._tokens, self._mask = model, tokens, mask

    @override
    def start(self) -> Logits:
        return forward(self._model, self._tokens, self._mask)[:, -1]

    @override
    def advance(self, tokens: Tokens) -> Logits:
        self._tokens = torch.cat([self._tokens, tokens], dim=1)
        self._mask = torch.cat([self._mask, torch.ones_like(tokens, dtype=torch.bool)], dim=1)
        return self.start()

    @override
    def select_rows(self, rows: Int[Tensor, " selected"]) -> None:
        self._tokens, self._mask = self._tokens[rows], self._mask[rows]


def _indexed(rows: Int[Tensor, " selected"], x: Tensor) -> Tensor:
    return x[rows]


def _repeated(rows: Int[Tensor, " selected"], x: Tensor) -> Tensor:
    """One row as a view of as many copies as there are `rows`."""
    return x[rows[:1]].expand(len(rows), *x.shape[1:])


def continues_tokens_together(model: SteerableModel) -> bool:
    """Whether several tokens can be run at once behind a cache: not where blocks keep a state."""
    return not (is_bridge(model) and holds_states(_bridge_cache(model)))


def _bridge_cache(model: Any) -> Any:
    from transformers import DynamicCache

    return DynamicCache(config=model.original_model.config)


def _hooked_cache(model: Any, tokens: Tokens) -> Any:
    from transformer_lens import TransformerLensKeyValueCache

    return TransformerLensKeyValueCache.init_cache(model.cfg, tokens.device, tokens.shape[0])
