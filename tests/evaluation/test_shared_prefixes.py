"""Beginnings that several choices share are run once, and every token is read."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lens_steer.data import Question, Questions
from lens_steer.evaluation import answer_log_probs
from lens_steer.evaluation.shared_prefixes import most_rows, steps_of
from lens_steer.models import can_widen, encode, pad, placed_hooks
from tests.conftest import BACKENDS
from tests.evaluation.questions import QUESTIONS, one_by_one
from tests.interventions import push


def test_steps_read_every_token_and_run_each_beginning_once() -> None:
    first, second, third = steps_of([0, 0, 1], [(5, 6, 7), (5, 6, 8), (5,)])
    assert (first.texts, first.rows, first.next_tokens) == ((0, 1, 2), (0, 0, 1), (5, 5, 5))
    assert (first.parents, first.new_tokens) == ((0,), (5,))
    assert (second.texts, second.rows, second.next_tokens) == ((0, 1), (0, 0), (6, 6))
    assert (second.parents, second.new_tokens) == ((0,), (6,))
    assert (third.texts, third.rows, third.next_tokens) == ((0, 1), (0, 0), (7, 8))
    assert (third.parents, third.new_tokens) == ((), ())
    assert most_rows([(5, 6, 7), (5, 6, 8), (9, 9)]) == 2


@given(st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 2), min_size=1, max_size=4))))
def test_rows_are_the_distinct_beginnings(texts: list[tuple[int, list[int]]]) -> None:
    prompts, tokens = [p for p, _ in texts], [t for _, t in texts]
    known: list[Any] = [(p,) for p in range(3)]  # what each row of a step has read
    seen: dict[int, list[int]] = {i: [] for i in range(len(texts))}
    ran: list[Any] = []
    for step in steps_of(prompts, tokens):
        for i, row, token in zip(step.texts, step.rows, step.next_tokens, strict=True):
            assert known[row] == (prompts[i], *seen[i])
            seen[i].append(token)
        known = [
            (*known[parent], token)
            for parent, token in zip(step.parents, step.new_tokens, strict=True)
        ]
        ran += known
    assert [seen[i] for i in seen] == tokens
    beginnings = {(p, *t[:k]) for p, t in texts for k in range(1, len(t))}
    assert sorted(ran) == sorted(beginnings)


def block_tokens(model: Any, call: Callable[[], Any]) -> int:
    """How many tokens the blocks of a model are run on, of all blocks together."""
    counted: list[int] = []

    def count(args: tuple[Any, ...], options: dict[str, Any]) -> None:
        stream: Tensor = args[0] if args else next(iter(options.values()))
        counted.append(stream.shape[0] * stream.shape[1])

    with placed_hooks() as hooks:
        for block in model.blocks:
            hooks.before(block.ln1, count)  # rows are widened before it
        call()
    return sum(counted)


def expected_tokens(model: Any, question: Question, settings: int, layer: int) -> int:
    """The prompt's, without the last; then each distinct beginning, for each setting in part."""
    rows = [encode(model, question.prompt, choice) for choice in question.choices]
    prompt = rows[0].prompt_length
    beginnings = {row.ids[prompt:k] for row in rows for k in range(prompt, len(row.ids))}
    above = int(model.cfg.n_layers) - layer
    return int(model.cfg.n_layers) * (prompt - 1) + len(beginnings) * (layer + settings * above)


@pytest.mark.parametrize("layer", [0, 2])
def test_block_tokens_are_those_of_prompts_and_distinct_beginnings(gpt2: Any, layer: int) -> None:
    settings = [push(gpt2, seed=k, layer=layer) for k in range(8)]
    questions = Questions(QUESTIONS.items[:1])
    # it is asked whether blocks can be shared: for the sizes of batches, and for the one batch
    asked = 2 * block_tokens(gpt2, lambda: can_widen_first(gpt2, layer))
    ran = block_tokens(gpt2, lambda: answer_log_probs(gpt2, questions, settings))
    assert ran - asked == expected_tokens(gpt2, questions[0], 9, layer)


def can_widen_first(model: Any, layer: int) -> None:
    """Run what is run to find out whether rows can be widened, which is once for each batch."""
    if layer:
        tokens, mask = pad(model, [encode(model, "The cat", " was").ids])
        assert can_widen(model, tokens, mask)


def test_hooks_of_the_user_see_the_rows_of_every_setting(gpt2: Any) -> None:
    settings = [push(gpt2, seed=k, layer=2) for k in range(2)]
    expected = answer_log_probs(gpt2, QUESTIONS, settings)
    heights: list[int] = []

    def seen(x: Tensor, hook: Any) -> None:
        del hook
        heights.append(len(x))

    with gpt2.hooks(
        fwd_hooks=[("blocks.0.hook_resid_pre", seen), ("blocks.3.hook_resid_pre", seen)]
    ):
        found = answer_log_probs(gpt2, QUESTIONS, settings)
    assert heights[::2] == heights[1::2]  # nothing is widened on the way
    torch.testing.assert_close(found.nats, expected.nats, atol=1e-4, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_methods_of_several_layers_act_from_the_first_of_them_on(load: Any, backend: str) -> None:
    model = load("llama", backend)
    tokens, mask = pad(model, [encode(model, "The cat", " was").ids])
    assert can_widen(model, tokens, mask)
    both = (push(model, layer=3), push(model, layer=1, seed=1))
    found = answer_log_probs(model, QUESTIONS, [both, push(model, layer=2)], scope="generated")
    for k, methods in enumerate(found.settings):
        alone = one_by_one(model, QUESTIONS, methods, "generated")
        for row, expected in zip(found.rows(k), alone, strict=True):
            torch.testing.assert_close(row, expected, atol=1e-4, rtol=0)
