"""What steering costs where answers are scored by likelihood."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lens_steer.evaluation import (
    FixedTexts,
    answer_costs,
    answer_log_probs,
    binary_kl,
    choices_kl,
    least_choices_kl,
    reference_kl,
)
from lens_steer.models import encode, forward
from lens_steer.steering import steered
from tests.evaluation.questions import QUESTIONS
from tests.interventions import push

NATS = st.lists(st.floats(-30, 0), min_size=3, max_size=3)


def test_costs_of_settings_are_those_of_each(gpt2: Any) -> None:
    method = push(gpt2, size=0.5)
    found = answer_log_probs(gpt2, QUESTIONS, [method, (method, method)])
    costs = answer_costs(gpt2, found, tokens=6, seed=3)
    texts = FixedTexts.sample(gpt2, QUESTIONS.pairs(), max_new_tokens=6, seed=3)
    expected = [0.0, *texts.kl(gpt2, [(method,), (method, method)])]
    assert costs.kl_fixed.tolist() == pytest.approx(expected)
    assert costs.reference_kl[0].tolist() == costs.choices_kl[0].tolist() == [0.0] * 3
    assert costs.least[0].tolist() == [0.0] * 3
    assert bool((costs.reference_kl[1:] > 0).all())
    assert bool((costs.choices_kl >= costs.least - 1e-12).all())
    assert float(costs.choices_kl[2, 1]) == pytest.approx(
        choices_kl(found.rows(2)[1], found.rows(0)[1])
    )


def test_the_cost_along_the_right_answer_is_a_sum_over_its_positions(gpt2: Any) -> None:
    method = push(gpt2, size=0.5)
    found = reference_kl(gpt2, QUESTIONS, [(method,)])
    for i, question in enumerate(QUESTIONS):
        row = encode(gpt2, question.prompt, question.right)
        tokens = torch.tensor([row.ids])
        with torch.no_grad():
            clean = forward(gpt2, tokens)[0].double().log_softmax(dim=-1).numpy()
            with steered(gpt2, method, prompt_lengths=[row.prompt_length]):
                other = forward(gpt2, tokens)[0].double().log_softmax(dim=-1).numpy()
        nats = sum(
            (np.exp(other[at]) * (other[at] - clean[at])).sum()
            for at in range(row.prompt_length - 1, len(row.ids) - 1)
        )
        assert found[0, i].item() == pytest.approx(nats, rel=1e-4, abs=1e-6)


def test_a_setting_that_breaks_the_model_costs_nan(gpt2: Any) -> None:
    found = answer_log_probs(gpt2, QUESTIONS, [push(gpt2).with_strength(1e38)])
    costs = answer_costs(gpt2, found, tokens=3, seed=0)
    for cost in (costs.kl_fixed, costs.reference_kl, costs.choices_kl, costs.least):
        assert bool(cost[1].isnan().all())
        assert bool((cost[0] == 0).all())


def test_nats_between_choices_by_hand() -> None:
    half, quarter = np.log(0.5), np.log(0.25)
    p = torch.tensor([half, quarter, quarter]).double()
    q = torch.tensor([quarter, half, quarter]).double() - 7.0  # only differences count
    assert choices_kl(p, q) == pytest.approx(0.25 * np.log(2))
    right = torch.tensor([True, False, True])
    assert least_choices_kl(p, q, right) == pytest.approx(binary_kl(0.75, 0.5))


@given(NATS, NATS, st.integers(0, 2))
def test_no_change_of_the_right_choices_is_cheaper_than_the_floor(
    p: list[float], q: list[float], right: int
) -> None:
    steered_nats, clean = torch.tensor(p).double(), torch.tensor(q).double()
    correct = torch.arange(3) == right
    floor = least_choices_kl(steered_nats, clean, correct)
    assert -1e-12 <= floor <= choices_kl(steered_nats, clean) + 1e-9


def test_choices_of_another_number_are_refused(untyped: None) -> None:
    with pytest.raises(ValueError, match=r"got \[2, 3\] choices, expected as many"):
        choices_kl(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match=r"got \[1, 1\] choices"):
        choices_kl(torch.zeros(1), torch.zeros(1))
