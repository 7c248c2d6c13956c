"""Comparing a TransformerLens model with the Hugging Face model that it has to agree with.

A TransformerBridge says which model that is: it has the class and the configuration of what it
wraps. Small copies of both are compared, and so are the real weights, which the bridge shares with
Hugging Face's own modules. A HookedTransformer does not say. `load_model` has the original at hand;
for one made elsewhere the configuration is looked for where its tokenizer came from, on this
machine only, and used if architecture and sizes are the model's: then small copies are compared,
and the real weights are not.

Native bridges and HookedTransformers whose configuration is not found are not compared, nor are the
real weights once they are folded, on several devices or quantised.
"""

from copy import deepcopy
from functools import partial
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.models.agreement import (
    alternative,
    has_hooks,
    probe_tokens,
    relative_difference,
    tolerance,
    versions,
)
from lens_steer.models.cache_names import pass_cache_on
from lens_steer.models.hooked_models import agreed_at_load, small_hooked
from lens_steer.models.protocol import ModelRefused, SteerableModel, is_bridge, wrapped_model
from lens_steer.models.small_copies import (
    NothingToCompareError,
    check_configuration,
    wrap_in_bridge,
)

_WEIGHTS = "Hugging Face's model of the same weights"
_COPY = "Hugging Face's model of the same configuration, with small random weights"


def prepare(model: SteerableModel) -> None:
    """Let a bridge find its cache under the name that it reads, before it is first run."""
    if is_bridge(model) and isinstance(model, torch.nn.Module):
        pass_cache_on(model)


def check_against_hugging_face(
    model: SteerableModel, logits: Float[Tensor, "1 pos vocab"]
) -> tuple[str, ...]:
    """Compare a model with Hugging Face in the ways that what is known of it permits.

    Args:
        model: A HookedTransformer or a TransformerBridge.
        logits: The model's logits of the probe's 8 tokens, without a cache.

    Returns:
        What was compared, each as a phrase; empty where nothing could be.

    Raises:
        ValueError: If they differ.
    """
    from transformers import PreTrainedModel

    if not is_bridge(model):
        class_and_config = _configuration_of_hooked(model)
        at_load = (_WEIGHTS,) if agreed_at_load(model) else ()
        if class_and_config is None:
            return at_load
        wrap = partial(small_hooked, like=model.cfg)
        check_configuration(*class_and_config, wrap, bridge=False)
        return *at_load, _COPY
    original = wrapped_model(model)
    if not isinstance(original, PreTrainedModel):
        return ()
    weights = (_WEIGHTS,) if check_weights(model, logits) else ()
    try:
        check_configuration(type(original), original.config, wrap_in_bridge, bridge=True)
    except NothingToCompareError:
        if not weights:
            raise
        return weights
    return *weights, _COPY


def check_weights(model: Any, logits: Float[Tensor, "1 pos vocab"]) -> bool:
    """Compare a bridge's logits of the probe with those of Hugging Face's modules and its weights.

    Returns:
        Whether they could be compared: the weights have to be Hugging Face's, on one device.

    Raises:
        ValueError: If they differ.
    """
    if getattr(model, "_weights_processed", False) or has_hooks(model):
        return False
    original = wrapped_model(model)
    try:
        rebuilt = _rebuilt(original)
        if rebuilt is None:
            return False
        with torch.no_grad():
            theirs = rebuilt(input_ids=probe_tokens(model), use_cache=False).logits
    except Exception:
        return False
    error = relative_difference(logits, theirs)
    if not error <= tolerance(original, theirs):
        raise ModelRefused(
            f"TransformerBridge of {type(original).__name__} gives other logits than Hugging Face "
            f"with the same weights, by {error:.1e} of the largest, with {versions()}: "
            f"use {alternative(bridge=True, architecture=type(original).__name__)}"
        )
    return True


def _rebuilt(original: Any) -> Any | None:
    """Hugging Face's own modules around the tensors of a wrapped model, or None.

    They share the tensors, so that they take no memory.
    """
    config = deepcopy(original.config)
    config.output_attentions = False  # which TransformerLens sets, as it does eager attention:
    config._attn_implementation = None  # Hugging Face chooses as it would for a user
    if getattr(config, "quantization_config", None) is not None:
        return None
    # The bridge puts a component of its own around each module, and lists most of them twice.
    tensors = {
        name.replace("._original_component", ""): tensor
        for name, tensor in chain(
            original.named_parameters(remove_duplicate=False),
            original.named_buffers(remove_duplicate=False),
        )
    }
    places = {(tensor.device, tensor.dtype) for tensor in original.parameters()}
    if len(places) > 1:
        return None
    ((_, dtype),) = places
    make: Any = type(original)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        rebuilt = make._from_config(config, dtype=dtype).eval()
    rebuilt.tie_weights()
    for name, empty in [*rebuilt.named_parameters(), *rebuilt.named_buffers()]:
        tensor = tensors.get(name)
        if tensor is None or tensor.shape != empty.shape:
            return None
        parent, _, attribute = name.rpartition(".")
        module = rebuilt.get_submodule(parent)
        if isinstance(empty, torch.nn.Parameter):
            setattr(module, attribute, torch.nn.Parameter(tensor.detach(), requires_grad=False))
        else:
            setattr(module, attribute, tensor)
    rebuilt.tie_weights()
    return rebuilt


def _configuration_of_hooked(model: Any) -> tuple[type[Any], Any] | None:
    """Class and configuration of the Hugging Face model that a HookedTransformer was made from."""
    from transformers import AutoConfig, AutoModelForCausalLM

    classes: Any = AutoModelForCausalLM
    origin = getattr(model.tokenizer, "name_or_path", None)
    for place in filter(None, (getattr(model.cfg, "tokenizer_name", None), origin)):
        try:
            config: Any = AutoConfig.from_pretrained(place, local_files_only=True)
            model_class = classes._model_mapping[type(config)]
        except (OSError, ValueError, KeyError):  # not on this machine, or no language model
            continue
        cfg = model.cfg
        sizes = (config.hidden_size, config.num_hidden_layers, config.num_attention_heads)
        same_sizes = sizes == (cfg.d_model, cfg.n_layers, cfg.n_heads)
        if same_sizes and cfg.original_architecture in (config.architectures or ()):
            return model_class, config
    return None
