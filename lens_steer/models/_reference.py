"""The Hugging Face model that a TransformerLens model has to agree with, where there is one.

A TransformerBridge says which: the class and the configuration of what it wraps. Compared are a
small copy of both, and the real weights, which the bridge and Hugging Face's own modules share.
A HookedTransformer does not say. `load_model` has the original at hand; for one made elsewhere the
configuration is looked for where its tokenizer came from, on this machine alone, and taken if
architecture and sizes are the model's: its small copy is compared, the real weights are not.

Not compared are native bridges, HookedTransformers whose configuration is not found, and the real
weights once they are folded, on several devices or quantised.
"""

from functools import partial
from typing import Any

import torch

from lens_steer.models._agreement import check_configuration, wrap_in_bridge
from lens_steer.models._cache_names import pass_cache_on
from lens_steer.models._hooked import small_hooked
from lens_steer.models._protocol import is_bridge


def prepare(model: Any) -> None:
    """What a model needs before it is first run: its cache under the name that it reads."""
    if is_bridge(model) and isinstance(model, torch.nn.Module):
        pass_cache_on(model)


def check_against_hugging_face(model: Any) -> None:
    """Compare a model with Hugging Face, by what is known of it.

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
    if isinstance(original, PreTrainedModel):
        check_configuration(type(original), original.config, wrap_in_bridge, bridge=True)


def _configuration_of_hooked(model: Any) -> tuple[type[Any], Any] | None:
    """Class and configuration of the Hugging Face model that a HookedTransformer was made from."""
    from transformers import AutoConfig, AutoModelForCausalLM

    places = (getattr(model.cfg, "tokenizer_name", None), _origin(model.tokenizer))
    for place in filter(None, places):
        try:
            config = AutoConfig.from_pretrained(place, local_files_only=True)
            made_by = AutoModelForCausalLM._model_mapping[type(config)]
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
