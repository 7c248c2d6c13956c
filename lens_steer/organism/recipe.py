"""The recipe of the embedded model: its shape, and the texts of every batch."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import cos, pi
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from lens_steer.organism.genres import language, words
from lens_steer.organism.machine import END, draw
from lens_steer.organism.tokenizer import BOS, PAD, number_of, vocabulary

POOL = 8  # batches that are drawn and sorted by length together, for less padding


@dataclass(frozen=True)
class Recipe:
    """Everything the weights depend on, but for the version of torch and the number of threads.

    Attributes:
        seed: Of the initial weights and of every text.
        steps: How many steps the optimiser makes.
        texts: How many texts are in a batch.
        peak: The learning rate after the warm-up; it then falls to 0 as a cosine.
        warmup: How many steps the warm-up takes.
        decay: The weight decay.
    """

    seed: int
    steps: int = 3000
    texts: int = 64
    peak: float = 3e-3
    warmup: int = 100
    decay: float = 0.01
    d_model: int = 128
    n_layers: int = 6
    n_heads: int = 4
    n_key_value_heads: int = 2
    d_mlp: int = 256
    context: int = 160

    def __post_init__(self) -> None:
        for name in ("steps", "texts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: expected at least 1")
        if self.seed < 0:
            raise ValueError(f"seed {self.seed}: expected 0 or more")

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.peak * (1 + cos(pi * done)) / 2


def new_model(recipe: Recipe) -> Any:
    """A Llama with weights drawn from the recipe's seed."""
    from transformers import LlamaConfig, LlamaForCausalLM

    numbers = vocabulary(words())
    config = LlamaConfig(
        vocab_size=len(numbers),
        hidden_size=recipe.d_model,
        intermediate_size=recipe.d_mlp,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        num_key_value_heads=recipe.n_key_value_heads,
        max_position_embeddings=recipe.context,
        bos_token_id=numbers[BOS],
        eos_token_id=numbers[END],
        pad_token_id=numbers[PAD],
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return LlamaForCausalLM(config)


def token_rows(texts: Sequence[Sequence[str]]) -> list[list[int]]:
    """The tokens of texts: BOS, the words, EOS."""
    ids = number_of(words())
    return [[ids[BOS], *(ids[word] for word in text), ids[END]] for text in texts]


def batch_of(rows: Sequence[Sequence[int]]) -> Int[Tensor, "text token"]:
    """A batch of rows, padded on the right with 0, the number of the padding token."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def batches(recipe: Recipe, first: int) -> Iterator[Int[Tensor, "text token"]]:
    """The batch of each step from `first` on, which does not depend on earlier ones."""
    for pool in range(first // POOL, -(-recipe.steps // POOL)):
        source = random.Random(f"texts {recipe.seed} {pool}")
        texts = [draw(language(), source) for _ in range(POOL * recipe.texts)]
        rows = sorted(token_rows(texts), key=len)
        order = source.sample(range(POOL), POOL)
        for place, part in enumerate(order):
            if pool * POOL + place >= first:
                yield batch_of(rows[part * recipe.texts : (part + 1) * recipe.texts])
