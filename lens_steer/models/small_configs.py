"""Small copies of configurations: few narrow layers of the same kinds, and a short window."""

import copy
from collections.abc import Mapping
from typing import Any

WINDOW = 8  # positions: short, so that a few tokens reach past it
VOCABULARY = 96
_HEAD, _MLP = 16, 48
_MOST_LAYERS = 6
_WINDOWS = ("sliding_window", "window_size", "attention_chunk_size")
_PER_LAYER = "per_layer_config"
# The largest value of a setting, wherever a configuration has it. Ratios are kept where they choose
# another way through the code: grouped heads, heads that are not a power of two.
_CAPS = {
    "intermediate_size": _MLP,
    "intermediate_size_mlp": _MLP,
    "ffn_dim": _MLP,
    "ffn_hidden_size": _MLP,
    "n_inner": _MLP,
    "moe_intermediate_size": _MLP,
    "shared_expert_intermediate_size": _MLP,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


def shrunken(config: Any, *, narrow: bool = True) -> Any:
    """A small configuration of the same class, whose model runs through the same code.

    It keeps the kinds of layers (one of each, at least two layers), the pattern of attention,
    rotary settings, ALiBi, soft caps, norms, parallel blocks, tied embeddings, the ratio of query
    to key heads up to 4, whether heads are a power of two, and experts. A window becomes 8
    positions.

    Args:
        config: A Hugging Face model's configuration, which stays as it is.
        narrow: Also make heads and the residual stream narrower.

    Raises:
        Exception: Whatever the configuration's own class raises at sizes that it does not accept.

    Example:
        >>> shrunken(model.original_model.config).num_hidden_layers
        2
    """
    small = copy.deepcopy(config)
    text = small.get_text_config(decoder=True)
    kept = _keep_layers(text)
    for name, most in _CAPS.items():
        _cap(text, name, most)
    if narrow:
        _narrow(text)
    for name in _WINDOWS:
        _cap(text, name, WINDOW)
    _cap(text, "vocab_size", VOCABULARY)
    _cap(text, "vocab_size_per_layer_input", VOCABULARY)
    _name_tokens(small)
    _name_tokens(text)
    if not _rotary(text):  # learned positions, or a table of biases: a row or square each
        _cap(text, "max_position_embeddings", 64)
        _cap(text, "max_seq_len", 64)
    settings = small.to_dict()
    settings.pop("quantization_config", None)
    settings["dtype"] = "float32"
    for table in (settings, settings.get("text_config")):
        _renumber(table, kept, narrow)
    return type(small).from_dict(settings)


def _name_tokens(config: Any) -> None:
    """Give special tokens a number within the small vocabulary."""
    for name in _TOKENS:
        if getattr(config, name, None) is not None:
            setattr(config, name, 2)


def _cap(config: Any, name: str, most: int) -> None:
    value = getattr(config, name, None)
    if isinstance(value, list) and all(isinstance(x, int) for x in value):
        setattr(config, name, [min(x, most) for x in value])
    elif isinstance(value, int) and not isinstance(value, bool) and value > most:
        setattr(config, name, most)


def _keep_layers(config: Any) -> list[int]:
    """Keep one layer of each kind, in order; returns their old numbers.

    Layers are of one kind if all lists that have an entry for each layer say the same of them.
    """
    count, settings = config.num_hidden_layers, config.to_dict()
    single = {int(layer): value for layer, value in (settings.get(_PER_LAYER) or {}).items()}
    lists = {
        name: value
        for name, value in settings.items()
        if isinstance(value, (list, tuple)) and len(value) == count and not _numbers_layers(value)
    }
    shared = getattr(config, "num_kv_shared_layers", None) or 0  # the last ones, Gemma 3n's
    kinds = {
        layer: repr(
            [
                layer >= count - shared,
                single.get(layer),
                *(value[layer] for value in lists.values()),
            ]
        )
        for layer in range(count)
    }
    first = {kind: layer for layer, kind in reversed(kinds.items())}
    kept = sorted(first.values())[:_MOST_LAYERS]
    spare = [layer for layer in range(count) if layer not in kept]
    kept = sorted(kept + spare[: max(0, 2 - len(kept))])
    config.num_hidden_layers = len(kept)
    if shared:
        config.num_kv_shared_layers = sum(layer >= count - shared for layer in kept)
    for name, value in lists.items():
        setattr(config, name, [value[layer] for layer in kept])
    if hasattr(config, "attention_types"):  # GPT-Neo's, of which the list by layer is made
        config.attention_types = [[config.attention_layers, 1]]
    for name in ("mlp_only_layers", "moe_layers"):
        if isinstance(getattr(config, name, None), list):
            numbers = getattr(config, name)
            setattr(config, name, [new for new, layer in enumerate(kept) if layer in numbers])
    return kept


def _renumber(settings: Any, kept: list[int], narrow: bool) -> None:
    """Move the settings that single layers have to the new numbers of these layers."""
    if not isinstance(settings, dict) or not settings.get(_PER_LAYER):
        return
    single = {int(layer): dict(value) for layer, value in settings[_PER_LAYER].items()}
    settings[_PER_LAYER] = {
        str(new): single[layer] for new, layer in enumerate(kept) if layer in single
    }
    if narrow:
        for value in settings[_PER_LAYER].values():
            value.update({name: 2 * _HEAD for name in value if name == "head_dim"})


def _numbers_layers(value: list[Any] | tuple[Any, ...]) -> bool:
    """Whether a list names layers, and does not have an entry for each layer."""
    return list(value) == list(range(len(value)))


def _narrow(config: Any) -> None:
    heads, width = config.num_attention_heads, config.hidden_size
    grouped = next((n for n in ("num_key_value_heads", "num_kv_heads") if hasattr(config, n)), None)
    keys = (getattr(config, grouped) if grouped else None) or heads
    size = getattr(config, "head_dim", None) or width // heads
    if heads // keys > 1:
        few = min(keys, 2)
        many = min(heads // keys, 4) * few
    else:
        few = many = 4 if heads & (heads - 1) == 0 else 6
    latent = hasattr(config, "kv_lora_rank")
    small = config.qk_rope_head_dim if latent else _HEAD
    square = width == heads * size or latent
    config.num_attention_heads = many
    config.hidden_size = many * (_HEAD if square else _HEAD // 2)
    if grouped is not None:
        setattr(config, grouped, few)
    if "head_dim" in config.to_dict() and config.head_dim is not None:
        config.head_dim = small
    if "qk_head_dim" in config.to_dict():
        config.qk_head_dim = config.qk_rope_head_dim + config.qk_nope_head_dim
    if getattr(config, "word_embed_proj_dim", None) == width:
        config.word_embed_proj_dim = config.hidden_size
    if getattr(config, "rotary_dim", None):
        config.rotary_dim = max(2, config.rotary_dim * small // size // 2 * 2)
    for rope in _rotary(config):
        _narrow_rotary(rope, small, size)


def _rotary(config: Any) -> list[Any]:
    """The tables of rotary settings: one, or one for each kind of layer; none without rotation."""
    rope = getattr(config, "rope_parameters", None)
    if not isinstance(rope, Mapping) or getattr(config, "alibi", False):
        return []
    nested = [value for value in rope.values() if isinstance(value, Mapping)]
    return nested or [rope]


def _narrow_rotary(rope: Any, small: int, size: int) -> None:
    pairs = int(small * (rope.get("partial_rotary_factor") or 1.0)) // 2
    for name in ("short_factor", "long_factor"):
        if name in rope:
            rope[name] = list(rope[name])[:pairs]
    if "mrope_section" in rope:
        rope["mrope_section"] = [part * small // size for part in rope["mrope_section"]]
