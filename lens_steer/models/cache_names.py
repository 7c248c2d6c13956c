"""The names of the key-value cache: transformers 5.24 renamed that argument."""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from torch import nn


def name_of_cache(model: Any) -> str:
    """The keyword by which a bridge's Hugging Face model takes its cache.

    It is `cache` from transformers 5.24 on; before, it is `past_key_values`, and `cache_params` of
    Mamba. Old names still work, with a warning.
    """
    wrapped = type(model.original_model)
    if _takes_new_name(wrapped):
        return "cache"
    return "cache_params" if _takes(wrapped, "cache_params") else "past_key_values"


def cache_of(options: Mapping[str, Any]) -> Any | None:
    """The cache among the named arguments of a Hugging Face model, under any of its names."""
    return next((options[name] for name in _NAMES if name in options), None)


_NAMES = ("cache", "past_key_values", "cache_params")


def _takes_new_name(module: type[nn.Module]) -> bool:
    return _takes(module, "cache")


@cache
def _takes(module: type[nn.Module], name: str) -> bool:
    return name in inspect.signature(module.forward).parameters


def pass_cache_on(model: nn.Module) -> None:
    """Let every attention bridge of a TransformerBridge find the cache under the name it reads.

    From transformers 5.24 on the blocks pass it as `cache`, while TransformerLens 3.9 and 4.3 read
    `past_key_values`: without a cache they compute each token as if it were the only one. The hooks
    are plain PyTorch hooks on the modules, so that they survive `reset_hooks`, are copied by
    `deepcopy`, and serve TransformerLens' own `generate` as well. Placing them again changes
    nothing, and nothing changes where the old name is passed.
    """
    from transformer_lens.model_bridge.generalized_components import AttentionBridge

    for module in model.modules():
        if isinstance(module, AttentionBridge):
            _hook_once(module, _add_old_name)
            wrapped = module.original_component
            if isinstance(wrapped, nn.Module):
                _hook_once(wrapped, _keep_one_name)


def _hook_once(module: Any, hook: Any) -> None:
    """Place a hook that takes keyword arguments, unless it is there.

    For a moment PyTorch does not know yet that the hook takes them: another thread then calls it
    without, which is why they have a default.
    """
    if hook not in module._forward_pre_hooks.values():
        module.register_forward_pre_hook(hook, with_kwargs=True)


def _add_old_name(
    module: nn.Module, args: tuple[Any, ...], options: dict[str, Any] | None = None
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Pass the cache under both names, to an attention bridge that reads the old one."""
    del module
    if options is None or options.get("cache") is None or "past_key_values" in options:
        return None
    return args, {**options, "past_key_values": options["cache"]}


def _keep_one_name(
    module: nn.Module, args: tuple[Any, ...], options: dict[str, Any] | None = None
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Pass the cache under one name, to Hugging Face's own attention inside a bridge."""
    if options is None or "cache" not in options or "past_key_values" not in options:
        return None
    left_out = "past_key_values" if _takes_new_name(type(module)) else "cache"
    return args, {name: value for name, value in options.items() if name != left_out}
