"""Answers read many settings at a time are as likely as each is by itself."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from lens_steer.activations import capture
from lens_steer.attribution import contrast
from lens_steer.benchmark import FAMILIES, FitCache
from lens_steer.data import ContrastivePairs, Question, Questions
from lens_steer.evaluation import AnswerLikelihoods, answer_log_probs
from lens_steer.models import encode
from lens_steer.sites import Kind, Site
from lens_steer.steering import (
    Additive,
    CosineCondition,
    FrozenSADI,
    Gate,
    NotFinite,
    OnlineLQR,
    WithSinks,
    steered,
)
from tests.conftest import BACKENDS
from tests.evaluation.questions import QUESTIONS, one_by_one
from tests.interventions import Scale, drawn, push

NATS = 1e-4  # float32 log-probabilities, summed over a few tokens
ALL_SCOPES = ("last", "prompt", "generated", "all", (0, 3), (2,), WithSinks("all"))


def check_settings(
    model: Any, settings: Sequence[Any], scope: Any, questions: Questions = QUESTIONS
) -> AnswerLikelihoods:
    """Every setting gives what each choice gives by itself; returns what was found."""
    found = answer_log_probs(model, questions, settings, scope=scope)
    for k, methods in enumerate(found.settings):
        alone = one_by_one(model, questions, methods, scope)
        for row, expected in zip(found.rows(k), alone, strict=True):
            torch.testing.assert_close(row, expected, atol=NATS, rtol=0)
    return found


def test_every_architecture_gives_what_each_choice_gives_alone(model: Any) -> None:
    method = push(model, size=0.5)
    found = check_settings(model, [method, method.with_strength(-2.0)], "last")
    assert float((found.nats[1, 0, :4] - found.nats[0, 0, :4]).abs().max()) > 100 * NATS


@pytest.mark.parametrize("scope", ALL_SCOPES, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_scope_gives_what_each_choice_gives_alone(
    load: Any, backend: str, scope: Any
) -> None:
    model = load("gemma3", backend)
    head = Site(2, Kind.HEAD)
    settings = [
        (push(model, size=0.3), Scale(1.3)),
        Additive((head,), (drawn((model.cfg.n_heads, model.cfg.d_head)),)),
    ]
    check_settings(model, settings, scope)


@pytest.mark.parametrize("scope", ["last", "prompt"])
def test_every_family_of_methods_gives_what_each_choice_gives_alone(
    llama: Any, pairs: ContrastivePairs, scope: Any, untyped: None
) -> None:
    fits, methods = FitCache(llama, pairs, ("last",)), []
    for family in FAMILIES.values():
        grid = family.grid(fits)
        methods.append(family.make(fits, grid[len(grid) // 2]))
    check_settings(llama, methods, scope, Questions(QUESTIONS.items[:2]))


@pytest.mark.parametrize("scope", ["last", "prompt"])
def test_methods_that_read_the_prompt_first_give_what_each_choice_gives_alone(
    llama: Any, pairs: ContrastivePairs, scope: Any
) -> None:
    resid = capture(llama, pairs, "resid", progress=False)
    heads = capture(llama, pairs, "head", progress=False)
    gate = Gate(push(llama), CosineCondition(drawn((llama.cfg.d_model,))), 2, 0.0)
    methods = [
        gate,
        OnlineLQR.fit(resid, setpoint=80.0, control_cost=0.3),
        FrozenSADI(contrast(heads).top(6), delta=8.0),
    ]
    assert all(method.needs_prompt for method in methods)
    check_settings(llama, [push(llama), *methods], scope, Questions(QUESTIONS.items[:2]))


def test_batches_of_any_size_give_the_same(gpt2: Any) -> None:
    settings = [push(gpt2, seed=k) for k in range(3)]
    whole = answer_log_probs(gpt2, QUESTIONS, settings)
    for budget in (1, 100, 300):
        parts = answer_log_probs(gpt2, QUESTIONS, settings, token_budget=budget)
        torch.testing.assert_close(parts.nats, whole.nats, atol=NATS, rtol=0)


def test_a_steered_block_around_the_call_acts_too(gpt2: Any) -> None:
    method = push(gpt2)
    inside = check_settings(gpt2, [method], "last")
    with steered(gpt2, method):
        around = answer_log_probs(gpt2, QUESTIONS)
    torch.testing.assert_close(around.nats[0], inside.nats[1], atol=NATS, rtol=0)
    again = answer_log_probs(gpt2, QUESTIONS)
    torch.testing.assert_close(again.nats[0], inside.nats[0], atol=NATS, rtol=0)


def test_without_steering_nothing_changes_to_the_last_bit(gpt2: Any) -> None:
    found = answer_log_probs(gpt2, QUESTIONS, [push(gpt2).with_strength(0)])
    assert torch.equal(found.nats[0], found.nats[1])


def test_rows_have_the_choices_of_their_question_alone(gpt2: Any) -> None:
    found = answer_log_probs(gpt2, QUESTIONS)
    assert [len(row) for row in found.rows(0)] == [4, 2, 3]
    assert found.nats[0, 1, 2:].tolist() == [-torch.inf] * 2
    rows = [encode(gpt2, QUESTIONS[1].prompt, choice) for choice in QUESTIONS[1].choices]
    assert found.tokens[1] == tuple(len(row.ids) - row.prompt_length for row in rows)
    assert (found.settings, len(found)) == (((),), 1)
    with pytest.raises(ValueError, match="setting 1, expected a number from 0 to 0"):
        found.rows(1)


def test_a_setting_that_breaks_the_model_is_nan_and_the_others_are_not(gpt2: Any) -> None:
    broken = push(gpt2).with_strength(1e38)
    found = answer_log_probs(gpt2, QUESTIONS, [broken, push(gpt2)])
    assert found.failed.tolist() == [[False] * 3, [True] * 3, [False] * 3]
    with steered(gpt2, broken), pytest.raises(NotFinite):
        answer_log_probs(gpt2, QUESTIONS)


def test_what_cannot_be_read_is_refused(load: Any, gpt2: Any, untyped: None) -> None:
    with pytest.raises(ValueError, match="steers nothing that is read"):
        answer_log_probs(gpt2, QUESTIONS, scope=(90,))
    with pytest.raises(ValueError, match="got the setting 'method'"):
        answer_log_probs(gpt2, QUESTIONS, ["method"])  # type: ignore[list-item]
    empty = Questions((Question("", (" a", " b"), (True, False)),))
    with pytest.raises(ValueError, match="give it a prompt"):
        answer_log_probs(load("qwen2"), empty)
    check_settings(gpt2, [push(gpt2)], "last", empty)  # after the token that begins a text


def test_likelihoods_of_another_shape_are_refused(gpt2: Any) -> None:
    found = answer_log_probs(gpt2, QUESTIONS)
    with pytest.raises(ValueError, match=r"expected \[1, 3, 4\]"):
        replace(found, nats=found.nats[:, :2])
    with pytest.raises(ValueError, match="expected a number of tokens for every choice"):
        replace(found, tokens=((1,), (1, 1), (1, 1, 1)))


def test_scores_are_those_of_the_same_choices_given_by_hand(llama: Any) -> None:
    questions = Questions(
        (
            Question("a b", (" c", " d e", " f"), (False, True, False), group="one"),
            Question("c", (" a", " b"), (True, False)),
        ),
        name="two",
    )
    found = answer_log_probs(llama, questions, [push(llama, size=2.0)])
    for setting in (0, 1):
        scores = found.scores(setting)
        first, second = found.rows(setting)
        expected = [float(first.argmax() == 1), float(second.argmax() == 0)]
        assert scores.accuracy.tolist() == expected
        assert scores.tokens[0, :3].tolist() == list(found.tokens[0])
        assert scores.groups == ("one", "question 1")
    assert "unsteered, and 1 steered" in repr(found)
    with pytest.raises(ValueError, match="got setting 2, expected a number from 0 to 1"):
        found.scores(2)
