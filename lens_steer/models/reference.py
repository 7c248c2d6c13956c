"""The Hugging Face model that a TransformerLens model has to agree with, where there is one.

A TransformerBridge says which: the class and the configuration of what it wraps. Compared are a
small copy of both, and the real weights, which the bridge and Hugging Face's own modules share.
A HookedTransformer does not say. `load_model` has the original at hand; for one made elsewhere the
configuration is looked for where its tokenizer came from, on this machine alone, and taken if
architecture and sizes are the model's: its small copy is compared, the real weights are not.

Not compared are native bridges, HookedTransformers whose configuration is not found, and the real
weights once they are folded, on several devices or quantised.
"""

from copy import deepcopy
from functools import partial
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.models.agreement import (
    TOLERANCE,
    NothingToCompareError,
    alternative,
    check_configuration,
    difference,
    has_hooks,
    probe_tokens,
    versions,
    wrap_in_bridge,
)
from lens_steer.models.cache_names import pass_cache_on
from lens_steer.models.hooked_models import small_hooked
from lens_steer.models.protocol import is_bridge
from lens_steer.models.refused import ModelRefused


def prepare(model: Any) -> None:
    """What a model needs before it is first run: its cache under the name that it reads."""
    if is_bridge(model) and isinstance(model, torch.nn.Module):
        pass_cache_on(model)


def check_against_hugging_face(model: Any, logits: Float[Tensor, "1 pos vocab"]) -> None:
    """Compare a model with Hugging Face, by what is known of it.

    Args:
        model: A HookedTransformer or a TransformerBridge.
        logits: Its own, without a cache, of the probe's 8 tokens.

    Raises:
        ValueError: If they differ.
    """
    from transformers import PreTrainedModel

    if not is_bridge(model):
        found = _configuration_of_hooked(model)
        if found is not None:
            wrap = partial(small_hooked, like=model.cfg)
            check_configuration(*found, wrap, bridge=False)
        return
    original = model.original_model
    if not isinstance(original, PreTrainedModel):
        return
    compared = check_weights(model, logits)
    try:
        check_configuration(type(original), original.config, wrap_in_bridge, bridge=True)
    except NothingToCompareError:
        if not compared:
            raise


def check_weights(model: Any, logits: Float[Tensor, "1 pos vocab"]) -> bool:
    """Compare a bridge's logits of the probe with those of Hugging Face's modules, same weights.

    Returns:
        Whether they could be compared: weights must be as Hugging Face has them, on one device.

    Raises:
        ValueError: If they differ.
    """
    if getattr(model, "_weights_processed", False) or has_hooks(model):
        return False
    original = model.original_model
    try:
        rebuilt = _rebuilt(original)
        if rebuilt is None:
            return False
        with torch.no_grad():
            theirs = rebuilt(input_ids=probe_tokens(model), use_cache=False).logits
    except Exception:  # noqa: BLE001 - a class of its own, not to be made of a configuration
        return False
    error = difference(logits, theirs)
    if not error <= TOLERANCE[theirs.dtype]:
        raise ModelRefused(
            f"TransformerBridge of {type(original).__name__} gives other logits than Hugging Face "
            f"with the same weights, by {error:.1e} of the largest, with {versions()}: use "
            + alternative(bridge=True)
        )
    return True


def _rebuilt(original: Any) -> Any | None:
    """Hugging Face's own modules around the tensors of a wrapped model, which takes no memory."""
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
        parent, _, own = name.rpartition(".")
        module = rebuilt.get_submodule(parent)
        if isinstance(empty, torch.nn.Parameter):
            setattr(module, own, torch.nn.Parameter(tensor.detach(), requires_grad=False))
        else:
            setattr(module, own, tensor)
    rebuilt.tie_weights()
    return rebuilt


def _configuration_of_hooked(model: Any) -> tuple[type[Any], Any] | None:
    """Class and configuration of the Hugging Face model that a HookedTransformer was made from."""
    from transformers import AutoConfig, AutoModelForCausalLM

    classes: Any = AutoModelForCausalLM
    places = (getattr(model.cfg, "tokenizer_name", None), _origin(model.tokenizer))
    for place in filter(None, places):
        try:
            config: Any = AutoConfig.from_pretrained(place, local_files_only=True)
            made_by = classes._model_mapping[type(config)]
        except (OSError, ValueError, KeyError):  # not on this machine, or no language model
            continue
        sizes = (config.hidden_size, config.num_hidden_layers, config.num_attention_heads)
        if sizes == (
            model.cfg.d_model,
            model.cfg.n_layers,
            model.cfg.n_heads,
        ) and model.cfg.original_architecture in (config.architectures or ()):
            return made_by, config
    return None


def _origin(tokenizer: Any) -> str | None:
    return getattr(tokenizer, "name_or_path", None) or None
