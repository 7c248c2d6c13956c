"""Models whose weights are quantised: they run, and edits act on them; gradients are refused."""

from lens_steer.models.modules import model_modules
from lens_steer.models.protocol import ModelRefused, SteerableModel, is_bridge, wrapped_model


def quantisation(model: SteerableModel) -> str | None:
    """How the weights that a model computes with are quantised; None where they are plain numbers.

    It is the method that its Hugging Face configuration names, such as `bitsandbytes`. Weights that
    were dequantised when they were loaded are plain numbers.

    Example:
        >>> quantisation(model) is None
        True
    """
    config = getattr(wrapped_model(model), "config", None) if is_bridge(model) else None
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return None
    if isinstance(settings, dict):
        method, plain = settings.get("quant_method"), settings.get("dequantize", False)
    else:
        method = getattr(settings, "quant_method", None)
        plain = getattr(settings, "dequantize", False)
    name = str(getattr(method, "value", method) or type(settings).__name__)
    if (
        name == "gguf"
    ):  # architectures that transformers cannot keep in blocks are plain all the same
        blocks = (type(module).__name__.startswith("Gguf") for module in model_modules(model))
        plain = not any(blocks)
    return None if plain else name


def check_differentiable(model: SteerableModel, what: str) -> None:
    """Refuse what needs gradients through the weights of a model that are quantised.

    Args:
        model: The model.
        what: What needs them, as the beginning of a sentence, such as `Jacobians`.

    Raises:
        ModelRefused: If the weights are quantised.
    """
    method = quantisation(model)
    if method is not None:
        raise ModelRefused(
            f"{what} need plain weights to differentiate through, got a model whose weights are "
            f"quantised ({method}): load it in float32 or bfloat16"
        )
