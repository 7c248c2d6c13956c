"""Beginnings that several choices share are run once, and every token is read."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lens_steer.data import Questions
from lens_steer.evaluation import answer_log_probs
from lens_steer.evaluation.shared_prefixes import most_rows, steps_of
from lens_steer.models import encode
from tests.evaluation.questions import QUESTIONS
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


def block_tokens(model: Any, call: Any) -> int:
    """How many tokens the blocks of a model are run on, of all blocks together."""
    counted: list[int] = []

    def count(x: Tensor, hook: Any) -> None:
        del hook
        counted.append(x.shape[0] * x.shape[1])

    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(model.cfg.n_layers)]
    with model.hooks(fwd_hooks=[(name, count) for name in names]):
        call()
    return sum(counted)


def test_block_tokens_are_those_of_prompts_and_distinct_beginnings(gpt2: Any) -> None:
    settings = [push(gpt2, seed=k) for k in range(8)]
    questions = Questions(
        QUESTIONS.items[:1]
    )  # prompt of n tokens; " was", " sad", " glad", " ran"
    rows = [encode(gpt2, "The cat", choice) for choice in questions[0].choices]
    prompt = rows[0].prompt_length
    beginnings = {row.ids[prompt:k] for row in rows for k in range(prompt + 1, len(row.ids))}
    answer_log_probs(gpt2, questions)  # the first look at the model is over
    ran = block_tokens(gpt2, lambda: answer_log_probs(gpt2, questions, settings))
    assert ran == gpt2.cfg.n_layers * (prompt - 1 + 9 * (1 + len(beginnings)))
