"""Llama and GPT-2 in plain numpy float64, written from the papers' equations, one row at a time.

`edit(kind, layer, x) -> x` sees every activation and may replace it. It is called with the kinds
`head` [pos head d_head] (the heads' values before W_O), `gate` (the activation function's output),
`neuron` (what W_out multiplies; without a gate the same numbers), `mlp_out` [pos d] and `stream`
[pos d], the residual stream entering a block, or with the number of layers leaving the last.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Edit = Callable[[str, int, Array], Array]


@dataclass(frozen=True, eq=False)
class NumpyModel:
    """Logits [pos token] of one row of tokens."""

    config: dict[str, Any]
    weights: dict[str, Array]

    def __call__(self, tokens: Sequence[int], edit: Edit | None = None) -> Array:
        forward = {"llama": _llama, "gpt2": _gpt2}[self.config["model_type"]]
        return forward(self.config, self.weights, list(tokens), edit or _unchanged)

    @property
    def layers(self) -> int:
        return int(self.config.get("num_hidden_layers") or self.config["n_layer"])


def read_model(directory: Path) -> NumpyModel:
    """The weights that transformers reads there."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(directory)
    state = {name: x.detach().double().numpy() for name, x in model.state_dict().items()}
    return NumpyModel(model.config.to_dict(), state)


def recorded(model: NumpyModel, tokens: Sequence[int], kind: str) -> list[Array]:
    """What a row's activations of one kind are, layer by layer."""
    found: list[Array] = []

    def keep(seen: str, layer: int, x: Array) -> Array:
        if seen == kind:
            assert layer == len(found)
            found.append(x.copy())
        return x

    model(tokens, keep)
    return found


def _unchanged(kind: str, layer: int, x: Array) -> Array:
    return x


def _attended(q: Array, k: Array, v: Array) -> Array:
    """Causal softmax attention of [pos head d_head]."""
    scores = np.einsum("phd,qhd->hpq", q, k) / np.sqrt(q.shape[-1])
    future = np.triu(np.ones(scores.shape[1:], dtype=bool), 1)
    scores = np.where(future, -np.inf, scores)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.einsum("hpq,qhd->phd", weights, v)


# ---- Llama ----


def _rms(x: Array, gain: Array, eps: float) -> Array:
    return gain * x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)


def _rotated(x: Array, base: float) -> Array:
    """Pairs (i, i + d_head / 2) turned by pos * base^(-2i / d_head)."""
    half = x.shape[-1] // 2
    angles = np.arange(len(x))[:, None] * base ** (-np.arange(half) / half)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    left, right = x[..., :half], x[..., half:]
    return np.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


def _llama(config: dict[str, Any], w: dict[str, Array], tokens: list[int], edit: Edit) -> Array:
    heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    base = float(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
    eps, n = config["rms_norm_eps"], len(tokens)
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        x = edit("stream", layer, x)
        at = f"model.layers.{layer}."
        y = _rms(x, w[at + "input_layernorm.weight"], eps)
        q, k, v = (
            (y @ w[f"{at}self_attn.{name}_proj.weight"].T).reshape(n, number, -1)
            for name, number in (("q", heads), ("k", key_heads), ("v", key_heads))
        )
        k, v = (np.repeat(part, heads // key_heads, axis=1) for part in (_rotated(k, base), v))
        z = edit("head", layer, _attended(_rotated(q, base), k, v))
        x = x + z.reshape(n, -1) @ w[at + "self_attn.o_proj.weight"].T
        y = _rms(x, w[at + "post_attention_layernorm.weight"], eps)
        pre = y @ w[at + "mlp.gate_proj.weight"].T
        gate = edit("gate", layer, pre / (1 + np.exp(-pre)))
        neuron = edit("neuron", layer, gate * (y @ w[at + "mlp.up_proj.weight"].T))
        x = x + edit("mlp_out", layer, neuron @ w[at + "mlp.down_proj.weight"].T)
    x = edit("stream", config["num_hidden_layers"], x)
    return _rms(x, w["model.norm.weight"], eps) @ w["lm_head.weight"].T


# ---- GPT-2 ----


def _normed(x: Array, w: dict[str, Array], name: str, eps: float) -> Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    return centred / scale * w[name + ".weight"] + w[name + ".bias"]


def _linear(x: Array, w: dict[str, Array], name: str) -> Array:
    """Conv1D keeps its weight as [in out]."""
    return x @ w[name + ".weight"] + w[name + ".bias"]


def _gelu_new(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _gpt2(config: dict[str, Any], w: dict[str, Array], tokens: list[int], edit: Edit) -> Array:
    heads, eps, n = config["n_head"], config["layer_norm_epsilon"], len(tokens)
    x = w["transformer.wte.weight"][tokens] + w["transformer.wpe.weight"][:n]
    for layer in range(config["n_layer"]):
        x = edit("stream", layer, x)
        at = f"transformer.h.{layer}."
        joint = _linear(_normed(x, w, at + "ln_1", eps), w, at + "attn.c_attn")
        q, k, v = (part.reshape(n, heads, -1) for part in np.split(joint, 3, axis=-1))
        z = edit("head", layer, _attended(q, k, v))
        x = x + _linear(z.reshape(n, -1), w, at + "attn.c_proj")
        pre = _linear(_normed(x, w, at + "ln_2", eps), w, at + "mlp.c_fc")
        neuron = edit("neuron", layer, edit("gate", layer, _gelu_new(pre)))
        x = x + edit("mlp_out", layer, _linear(neuron, w, at + "mlp.c_proj"))
    x = edit("stream", config["n_layer"], x)
    return _normed(x, w, "transformer.ln_f", eps) @ w["lm_head.weight"].T
