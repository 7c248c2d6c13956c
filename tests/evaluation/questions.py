"""A few questions whose choices share beginnings, and what each choice costs on its own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lens_steer.data import Question, Questions
from lens_steer.evaluation import log_probabilities
from lens_steer.models import encode
from lens_steer.steering import Intervention

# Prompts of different lengths, one beyond Gemma's window of 16; one ends in a space, which merges
# with the word behind it, so that choices of one question follow different prompt tokens.
QUESTIONS = Questions(
    (
        Question("The cat", (" was sad", " was glad", " was", " ran"), (True, False, False, True)),
        Question("One day, the dog and the cat met.", (" It was", " It was bad"), (False, True)),
        Question("A very ", ("the sun", "old dog", "dog"), (False, True, False)),
    ),
    "few",
)


def one_by_one(
    model: Any, questions: Questions, methods: Sequence[Intervention], scope: Any
) -> list[Tensor]:
    """The nats of every choice, each run with its prompt by itself and without a cache."""
    found = []
    for question in questions:
        rows = [encode(model, question.prompt, choice) for choice in question.choices]
        of_rows = [log_probabilities(model, [row], *methods, scope=scope)[0] for row in rows]
        found.append(torch.stack([of_row.double().sum() for of_row in of_rows]))
    return found
