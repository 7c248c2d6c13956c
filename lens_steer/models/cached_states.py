"""Caches of blocks that keep a state instead of keys and values: Mamba, and parts of hybrids.

Behind such a cache tokens are run one by one: with several at once Hugging Face's Mamba forgets the
state. Nor does the cache say how many tokens it has seen. Where no block has keys and values, the
decoder notes it on the cache, for steered blocks to know which positions a pass computes; and the
model is given the mask of the new tokens alone.
"""

from typing import Any

from torch import Tensor

_NOTE = "lens_steer_columns"


def keeps_states(layer: Any) -> bool:
    """Whether a layer of a Hugging Face cache holds states of a convolution or a recurrence."""
    return hasattr(layer, "recurrent_states")


def holds_states(cache: Any) -> bool:
    """Whether a layer of a cache holds states."""
    return any(map(keeps_states, getattr(cache, "layers", ())))


def holds_states_alone(cache: Any) -> bool:
    """Whether no layer of a cache holds keys and values."""
    layers = getattr(cache, "layers", ())
    return bool(layers) and not any(hasattr(layer, "keys") for layer in layers)


def note_columns(cache: Any, mask: Tensor) -> None:
    """Note which columns are real, of those in the cache and of those that are about to be run."""
    setattr(cache, _NOTE, mask)


def noted_columns(cache: Any) -> Tensor:
    """What `note_columns` noted last.

    Raises:
        ValueError: If the cache is not one of ours.
    """
    noted = getattr(cache, _NOTE, None)
    if noted is None:
        raise ValueError(
            "this model's cache holds states alone (Mamba and the like) and does not say how many "
            "tokens it has seen, so that steered positions are unknown: use lens_steer.generate, "
            "or run the model without a cache (use_cache=False)"
        )
    return noted
