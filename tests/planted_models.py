"""Tiny models whose weights say what steers them: between " dog" and " cat" after any prompt.

The two answers have the same unembedding, but for what is planted. Where something is, two
coordinates of the residual stream are cut off from everything else: `ANSWER`, which alone tells the
answers apart at the end, and `SIGN`, by which their embeddings differ.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lens_steer.data import ContrastivePairs
from lens_steer.models import load_model
from tests.conftest import LAYERS, vocabulary, write_model

ANSWER, SIGN = 0, 1
DESIRED, UNDESIRED = " dog", " cat"
PLANTED_HEADS = ((1, 2), (2, 1))  # layer and head
_WORDS = ("Hi", "A sun", "the very", "No", "Old", "I was", "Then", "One", "It", "We")


def pairs_of_answers() -> ContrastivePairs:
    """Sixty pairs, in twenty groups of a prompt's beginning."""
    rows = [
        (f"{word}{mark} {'so ' * n}the", DESIRED, UNDESIRED, f"{word}{mark}")
        for word in _WORDS
        for mark in (",", ".")
        for n in range(3)
    ]
    return ContrastivePairs.of(rows, name="answers")


def planted_model(directory: Path, plant: Callable[[Any], None]) -> Any:
    """A small Llama whose answers have one unembedding, and then what `plant` writes."""
    from transformers import AutoModelForCausalLM

    write_model("llama", directory, seed=1)
    model: Any = AutoModelForCausalLM.from_pretrained(directory)
    with torch.no_grad():
        desired, undesired = _answers()
        model.lm_head.weight[undesired] = model.lm_head.weight[desired]
        plant(model)
    model.save_pretrained(directory)
    return load_model(directory, device="cpu")


def nothing(model: Any) -> None:
    """The answers have equal logits, whatever the stream is."""
    del model


def two_heads(model: Any) -> None:
    """Two heads read `SIGN` and write `ANSWER`; prompts have no sign, so that there both are 0."""
    _cut_off(model)
    for layer, head in PLANTED_HEADS:
        attention = model.model.layers[layer].self_attn
        width = attention.head_dim
        key_head = head // (attention.config.num_attention_heads // 2)
        attention.v_proj.weight[key_head * width : (key_head + 1) * width] = 0
        attention.v_proj.weight[key_head * width, SIGN] = 1
        attention.o_proj.weight[ANSWER, head * width] = 1


def square(model: Any) -> None:
    """The last MLP writes the square of what `SIGN` holds: silu(x) x + silu(-x) (-x) = x^2.

    The answers' embeddings differ by their sign alone, so that CAA pushes along it alone.
    """
    _cut_off(model)
    desired, undesired = _answers()
    embed = model.model.embed_tokens.weight
    embed[undesired] = embed[desired]
    embed[undesired, SIGN] *= -1
    mlp = model.model.layers[LAYERS - 1].mlp
    for neuron, side in enumerate((1.0, -1.0)):
        for weights in (mlp.gate_proj.weight, mlp.up_proj.weight):
            weights[neuron] = 0
            weights[neuron, SIGN] = side
        mlp.down_proj.weight[:, neuron] = 0
        mlp.down_proj.weight[ANSWER, neuron] = 1


def _answers() -> tuple[int, int]:
    """Their tokens, the desired one first."""
    tokens, merges = vocabulary()
    space = merges[0][0]
    return tokens[space + DESIRED.strip()], tokens[space + UNDESIRED.strip()]


def _cut_off(model: Any) -> None:
    """Nothing reads or writes the two coordinates but the answers' embeddings and unembeddings."""
    desired, undesired = _answers()
    embed, unembed = model.model.embed_tokens.weight, model.lm_head.weight
    embed[:, [ANSWER, SIGN]] = 0
    embed[desired, SIGN], embed[undesired, SIGN] = 1, -1
    unembed[:, ANSWER] = 0
    unembed[desired, ANSWER], unembed[undesired, ANSWER] = 1, -1
    model.model.norm.weight[ANSWER] = 1
    for block in model.model.layers:
        attention, mlp = block.self_attn, block.mlp
        readers = (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj)
        for reader in readers:
            reader.weight[:, [ANSWER, SIGN]] = 0
        for writer in (attention.o_proj, mlp.down_proj):
            writer.weight[[ANSWER, SIGN]] = 0
