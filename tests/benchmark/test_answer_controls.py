"""Controls of scores by likelihood: planted biases are found, and prompts are what they say."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_expit

from lens_steer.benchmark import (
    AnswerBias,
    answer_controls,
    shortest_answer,
    with_another_question,
    with_instruction,
    without_question,
)
from lens_steer.data import Question, Questions
from lens_steer.evaluation import AnswerLikelihoods, answer_log_probs
from lens_steer.models import Message
from lens_steer.sites import Site

ANSWERS = (" yes", " no")


def asked(number: int, right: int = 0, words: str = "") -> Question:
    """A question whose answer is yes or no, in turns written first."""
    bare = words or f"is {number} odd"
    choices = ANSWERS if number % 2 else ANSWERS[::-1]
    correct = tuple(choice == ANSWERS[right] for choice in choices)
    return Question(f"Q: {bare}?\nA:", choices, correct, bare=bare)


def planted(n: int, bias: float, *, seed: int = 0) -> AnswerLikelihoods:
    """Log-odds that know the answer, and `bias` nats too much for no."""
    draw = np.random.default_rng(seed)
    right = [k % 2 for k in range(n)]
    odds = torch.tensor([draw.normal() + (1.0 if r == 0 else -1.0) - bias for r in right]).double()
    questions = Questions(tuple(asked(k, r) for k, r in enumerate(right)))
    yes = torch.nn.functional.logsigmoid(odds)
    no = torch.nn.functional.logsigmoid(-odds)
    of = [[yes[k], no[k]] if k % 2 else [no[k], yes[k]] for k in range(n)]
    nats = torch.stack([torch.stack(row) for row in of])[None]
    return AnswerLikelihoods(questions, ((),), nats, ((1, 1),) * n)


def accuracy(found: AnswerLikelihoods) -> float:
    hits = [
        q.correct[int(row.argmax())] for q, row in zip(found.questions, found.rows(0), strict=True)
    ]
    return float(np.mean(hits))


def test_a_planted_bias_is_found_and_taken_away() -> None:
    train, test = planted(400, 5.0), planted(400, 5.0, seed=1)
    bias = AnswerBias.fit(train)
    assert bias.answers == (" no", " yes")
    assert float(bias.values.max()) == 0
    # the spread that is planted asks for odds times 2: with the weight 1 the bias stays the same
    assert float(bias.values[1] - bias.values[0]) == pytest.approx(5.0, abs=0.5)
    assert accuracy(test) == pytest.approx(0.5, abs=0.02)
    assert accuracy(bias.apply(test)) > 0.8


def test_the_bias_is_that_of_the_logistic_likelihood() -> None:
    train = planted(60, 2.0)
    yes = [list(q.choices).index(" yes") for q in train.questions]
    rows = train.nats[0].numpy()
    odds = np.array([row[k] - row[1 - k] for row, k in zip(rows, yes, strict=True)])
    sign = np.array([1.0 if q.right == " yes" else -1.0 for q in train.questions])
    oracle = minimize(lambda b: -log_expit(sign * (odds + b[0])).mean(), [0.0], tol=1e-12)
    bias = AnswerBias.fit(train)
    assert float(bias.values[1] - bias.values[0]) == pytest.approx(float(oracle.x[0]), abs=1e-4)


def test_a_bias_that_has_no_end_or_no_meaning_is_refused() -> None:
    one_sided = Questions(tuple(asked(k, 0) for k in range(4)))
    found = AnswerLikelihoods(one_sided, ((),), torch.zeros(1, 4, 2).double(), ((1, 1),) * 4)
    with pytest.raises(ValueError, match="the answer ' yes' is right whenever"):
        AnswerBias.fit(found)
    both = Questions((Question("A", (" a", " b", " c"), (True, True, False)),))
    found = AnswerLikelihoods(both, ((),), torch.zeros(1, 1, 3).double(), ((1, 1, 1),))
    with pytest.raises(ValueError, match="question 0 has 2 right choices"):
        AnswerBias.fit(found)
    with pytest.raises(ValueError, match="expected one of the answers"):
        AnswerBias(ANSWERS, torch.zeros(2)).apply(found)
    for answers, values in (((" a", " a"), [0.0, 0.0]), ((" a",), [0.0, 0.0])):
        with pytest.raises(ValueError, match="one for each"):
            AnswerBias(answers, torch.tensor(values))
    with pytest.raises(ValueError, match="finite"):
        AnswerBias(ANSWERS, torch.tensor([0.0, torch.inf]))


def test_answers_that_are_right_whenever_others_are_there_have_no_bias() -> None:
    def told(choices: tuple[str, str]) -> Question:
        return Question("x", choices, (True, False))

    pairs = [(" a", " b"), (" b", " a"), (" c", " d"), (" d", " c"), (" a", " c"), (" b", " d")]
    questions = Questions(tuple(told(pair) for pair in pairs))
    found = AnswerLikelihoods(questions, ((),), torch.zeros(1, 6, 2).double(), ((1, 1),) * 6)
    with pytest.raises(ValueError, match="or one like it, is offered beside"):
        AnswerBias.fit(found)


def test_the_question_is_taken_out_of_its_prompt() -> None:
    questions = Questions((asked(1), asked(2)))
    assert [q.prompt for q in without_question(questions)] == ["Q: ?\nA:"] * 2
    assert [q.choices for q in without_question(questions)] == [ANSWERS, ANSWERS[::-1]]
    chat = (Message("system", "Answer."), Message("user", "Is it? Say yes or no."))
    told = Questions((Question(chat, ANSWERS, (True, False), bare="Is it?"),))
    [left] = without_question(told)
    assert left.prompt == (chat[0], Message("user", " Say yes or no."))
    bare = Questions((Question("x", ANSWERS, (True, False)),))
    with pytest.raises(ValueError, match="question 0 does not say which part"):
        without_question(bare)


def test_another_question_is_never_the_same_and_each_is_used_once() -> None:
    words = ["a", "b", "b", "c", "d", "b", "e"]
    questions = Questions(tuple(asked(k, words=w) for k, w in enumerate(words)))
    drawn = set()
    for seed in range(20):
        others = with_another_question(questions, seed=seed)
        assert all(o.bare != q.bare for o, q in zip(others, questions, strict=True))
        assert sorted(o.bare for o in others) == sorted(words)
        assert all(o.prompt == f"Q: {o.bare}?\nA:" for o in others)
        assert [o.correct for o in others] == [q.correct for q in questions]
        drawn.add(tuple(o.bare for o in others))
    assert len(drawn) > 5
    assert with_another_question(questions, seed=3) == with_another_question(questions, seed=3)
    same = Questions(tuple(asked(k, words=w) for k, w in enumerate("aab")))
    with pytest.raises(ValueError, match="2 of 3 questions have the same words"):
        with_another_question(same, seed=0)


def test_an_instruction_stands_before_the_prompt() -> None:
    chat = (Message("user", "Is it?"),)
    questions = Questions((asked(1), Question(chat, ANSWERS, (True, False))))
    text, told = with_instruction(questions, "Be right.\n")
    assert text.prompt == "Be right.\nQ: is 1 odd?\nA:"
    assert told.prompt == (Message("user", "Be right.\nIs it?"),)
    assert text.instruction == "Be right.\n"


def test_every_control_of_a_task_is_scored(gpt2: Any) -> None:
    train = Questions(tuple(asked(k, k // 2 % 2) for k in range(8)))
    test = Questions(tuple(asked(k, k // 2 % 2) for k in range(8, 12)))
    found = answer_controls(
        gpt2, train, test, instruction="a dog ", site=Site(1), steps=2, seed=0, progress=False
    )
    assert list(found) == [
        "unsteered",
        "shortest answer",
        "answer bias",
        "no question",
        "another question",
        "prompting",
        "learned vector",
    ]
    assert {control.nats.shape[1:] for control in found.values()} == {(4, 2)}
    plain = answer_log_probs(gpt2, test)
    shift = found["answer bias"].nats - plain.nats
    assert all(
        sorted(map(abs, row)) == sorted(map(abs, shift[0, 0].tolist())) for row in shift[0].tolist()
    )
    prompted = answer_log_probs(gpt2, with_instruction(test, "a dog "))
    assert torch.equal(found["prompting"].nats, prompted.nats)
    tokens = torch.tensor(plain.tokens).double()
    assert torch.equal(found["shortest answer"].nats[0], -tokens)
    assert len(found["learned vector"]) == 2


def test_controls_that_a_task_does_not_have_are_left_out(gpt2: Any) -> None:
    items = tuple(Question(f"The {k}", (f" cat {k}", " dog"), (True, False)) for k in range(3))
    found = answer_controls(gpt2, Questions(items[:2]), Questions(items[2:]), seed=0)
    assert list(found) == ["unsteered", "shortest answer"]
    plain = found["unsteered"]
    assert plain.tokens[0][0] > plain.tokens[0][1]
    assert shortest_answer(plain).rows(0)[0].tolist() == [-float(n) for n in plain.tokens[0]]
