"""A model on one screen: what it is, how it was loaded, and what to mind when it is steered."""

from dataclasses import dataclass
from html import escape
from textwrap import fill
from typing import Any

import torch

from lens_steer.axes import ranges
from lens_steer.models.attachment import attach
from lens_steer.models.fingerprint import Fingerprint
from lens_steer.models.first_position import FirstPosition, first_position
from lens_steer.models.forward_pass import context_length
from lens_steer.models.protocol import SteerableModel, is_bridge, wrapped_model
from lens_steer.models.quantised import quantisation
from lens_steer.models.special_tokens import beginning, eos_ids, tokenizer_of


@dataclass(frozen=True, repr=False)
class ModelDescription:
    """What lens_steer knows of a model; print it.

    Attributes:
        fingerprint: Its architecture, sizes, dtype and revision, and whether weights were folded.
        backend: `TransformerBridge` or `HookedTransformer`.
        parameters: How many numbers its weights are; tied ones count once.
        key_value_heads: How many heads have keys and values of their own.
        weights: Where its numbers come from, such as `dequantised from Q4_1`.
        context: The largest number of tokens in a row.
        window: How far back the layers with a sliding window see, in tokens; None without any.
        window_layers: The layers that have one.
        beginning: What its texts begin with, in words.
        endings: The tokens that end a text, and the text of each.
        chat_template: Whether its tokenizer writes chats.
        first_position: Whether the first position is a sink, and at which layers.
        compared: What the model was compared with when it was first used.
    """

    fingerprint: Fingerprint
    backend: str
    parameters: int
    key_value_heads: int
    weights: str
    context: int
    window: int | None
    window_layers: tuple[int, ...]
    beginning: str
    endings: tuple[tuple[int, str], ...]
    chat_template: bool
    first_position: FirstPosition
    compared: tuple[str, ...]

    @classmethod
    @torch.no_grad()
    def of(cls, model: SteerableModel) -> "ModelDescription":
        """The description of a model; it takes one forward pass over a sentence.

        Raises:
            ValueError: If the model fails its first look; see `load_model`.

        Example:
            >>> print(ModelDescription.of(model))
        """
        seen, tokenizer, cfg = attach(model), model.tokenizer, model.cfg
        window, window_layers = _window(model)
        endings = () if tokenizer is None else eos_ids(model)
        return cls(
            fingerprint=seen.fingerprint,
            backend="TransformerBridge" if is_bridge(model) else "HookedTransformer",
            parameters=_parameters(model),
            key_value_heads=int(
                getattr(cfg, "n_key_value_heads", None) or seen.fingerprint.n_heads
            ),
            weights=_weights(model),
            context=context_length(model),
            window=window,
            window_layers=window_layers,
            beginning="no tokenizer" if tokenizer is None else str(beginning(model)),
            endings=tuple((i, tokenizer_of(model).decode([i])) for i in endings),
            chat_template=bool(getattr(tokenizer, "chat_template", None)),
            first_position=first_position(model),
            compared=seen.compared,
        )

    def rows(self) -> list[tuple[str, str]]:
        """What is printed: a name and a text for each line."""
        print_of = self.fingerprint
        heads = f"{print_of.n_heads} heads of {print_of.d_head}"
        if self.key_value_heads != print_of.n_heads:
            heads += f" ({self.key_value_heads} of keys and values)"
        windows = "no sliding windows"
        if self.window is not None:
            windows = f"a sliding window of {self.window:,} at layers {ranges(self.window_layers)}"
        endings = ", ".join(f"{text!r} [{i}]" for i, text in self.endings)
        revision = [("revision", print_of.revision)] if print_of.revision else []
        return [
            ("architecture", f"{print_of.architecture}, {self.parameters / 1e6:,.1f} M parameters"),
            *revision,
            ("loaded as", f"{self.backend}, {print_of.dtype}, {self.weights}"),
            ("processed", _PROCESSED[print_of.processed]),
            (
                "sizes",
                f"{print_of.n_layers} layers, d_model {print_of.d_model}, {heads}, "
                f"d_mlp {print_of.d_mlp}, vocabulary {print_of.d_vocab:,}",
            ),
            ("context", f"{self.context:,} tokens, {windows}"),
            ("beginning", self.beginning),
            ("end of text", endings or "no token ends a text"),
            ("chats", "by the chat template" if self.chat_template else "no chat template"),
            ("sink", str(self.first_position)),
            ("compared with", "; ".join(self.compared)),
        ]

    def __str__(self) -> str:
        lines = (f"{name:15}{text}" for name, text in self.rows())
        return "\n".join(fill(line, 100, subsequent_indent=" " * 15) for line in lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """The lines as a table, for a notebook."""
        lines = (
            f"<tr><th>{escape(name)}</th><td style='text-align:left'>{escape(text)}</td></tr>"
            for name, text in self.rows()
        )
        return f"<table>{''.join(lines)}</table>"


_PROCESSED = {
    False: "no: raw weights, activations are Hugging Face's",
    True: "yes: weights were folded or centred, activations are not Hugging Face's",
}


def _config(model: Any) -> Any:
    """The Hugging Face configuration of a bridge; the model's own where there is none."""
    if not is_bridge(model):
        return model.cfg
    config = getattr(wrapped_model(model), "config", model.cfg)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def _parameters(model: Any) -> int:
    if not is_bridge(model):
        return sum(parameter.numel() for parameter in model.parameters())
    original = wrapped_model(model)
    bias = getattr(original.get_output_embeddings(), "bias", None)
    # TransformerLens gives every unembedding a bias; where it is none of the model's it stays 0.
    added = None if bias is None or bool(bias.any()) else id(bias)
    return sum(p.numel() for p in original.parameters() if id(p) != added)


def _weights(model: Any) -> str:
    method = quantisation(model)
    if method is not None:
        return f"quantised weights ({method}): no gradients, no Jacobians"
    config = _config(model)
    settings = getattr(config, "quantization_config", None)
    source = getattr(config, "dequantised_from", None)
    if source is None and settings is None:
        return "weights as they were published"
    return f"dequantised from {source or 'quantised weights'}"


def _window(model: Any) -> tuple[int | None, tuple[int, ...]]:
    """The sliding window in tokens, and the layers that have it."""
    config, layers = _config(model), range(int(model.cfg.n_layers))
    size = getattr(config, "sliding_window", None) or getattr(config, "window_size", None)
    kinds = getattr(config, "layer_types", None) or getattr(config, "attn_types", None)
    if kinds is not None:
        windowed = tuple(i for i in layers if str(kinds[i]).startswith(("sliding", "local")))
    else:
        windowed = tuple(layers)
    return (int(size), windowed) if size and windowed else (None, ())
