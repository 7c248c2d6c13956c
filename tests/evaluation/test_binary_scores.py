import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from lens_steer.artifacts import load, save
from lens_steer.evaluation import AnswerThreshold, BinaryScores, auc, balanced_accuracy, d_prime
from lens_steer.evaluation.binary_intervals import auc_interval, balanced_interval

NAN = math.nan
ANSWERS = (" Yes", " No")

Questions = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=20).filter(
    lambda rows: len({label for _, label in rows}) == 2
)


def tensors(rows: list[tuple[int, bool]]) -> tuple[Any, Any]:
    return torch.tensor([float(x) for x, _ in rows]), torch.tensor([y for _, y in rows])


def of(log_odds: list[float], labels: list[bool], **more: Any) -> BinaryScores:
    n = len(labels)
    return BinaryScores(
        torch.tensor(log_odds).double(),
        torch.tensor(labels),
        torch.full((n,), 0.1).double(),
        ANSWERS,
        more.pop("groups", tuple(map(str, range(n)))),
        **more,
    )


@given(Questions)
def test_auc_is_the_share_of_couples_in_order(rows: list[tuple[int, bool]]) -> None:
    trues, falses = ([x for x, y in rows if y is wanted] for wanted in (True, False))
    won = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(trues, falses)]
    assert auc(*tensors(rows)) == pytest.approx(sum(won) / len(won), abs=1e-12)


def test_a_model_that_always_says_no_can_order_perfectly() -> None:
    """All log-odds of Yes are negative: chance as it answers, perfect at its own threshold."""
    found = of([-3.0, -2.5, -1.5, -1.0], [False, False, True, True])
    assert found.first_share == 0
    assert found.balanced_accuracy == found.accuracy == 0.5
    assert found.auc == 1
    assert found.d_prime == math.inf
    threshold = AnswerThreshold.fit(found.log_odds, found.labels)
    assert threshold == AnswerThreshold(-2.0, 1.0)
    moved = found.with_threshold(threshold)
    assert moved.balanced_accuracy == moved.accuracy == 1
    assert moved.first_share == 0.5


def test_d_prime_is_the_distance_of_two_normal_distributions() -> None:
    """Of distance 1.5 in widths: the AUC is that of normal_cdf(1.5 / sqrt(2))."""
    assert d_prime(float(norm.cdf(1.5 / math.sqrt(2)))) == pytest.approx(1.5)
    source = np.random.default_rng(0)
    x = torch.tensor(np.concatenate([source.normal(size=4000), source.normal(1.5, size=4000)]))
    labels = torch.arange(8000) >= 4000
    # The standard error of this AUC, .856, is .0042 at most: of d' .03.
    assert d_prime(auc(x, labels)) == pytest.approx(1.5, abs=0.1)
    assert d_prime(0.5) == 0
    assert math.isnan(d_prime(NAN))


@given(Questions)
def test_a_threshold_is_the_best_of_all_and_the_nearest_to_0(rows: list[tuple[int, bool]]) -> None:
    x, labels = tensors(rows)
    found = AnswerThreshold.fit(x, labels)
    every = [k / 2 for k in range(-8, 9)]  # between and beyond whole numbers from -3 to 3
    quality = [balanced_accuracy(x > t, labels) for t in every]
    assert found.fitted_accuracy == pytest.approx(max(quality), abs=1e-12)
    assert found.balanced_accuracy(x, labels) == pytest.approx(max(quality), abs=1e-12)


def test_of_equal_thresholds_the_one_nearest_to_0_is_taken() -> None:
    x, labels = torch.tensor([-4.0, -2.0, 0.5, 5.0]), torch.tensor([False, True, False, True])
    # Above -3: 1 and 1/2. Above 2.75: 1/2 and 1. Both .75; none is better.
    assert AnswerThreshold.fit(x, labels).value == 2.75


def test_balanced_accuracy_weighs_both_labels_alike() -> None:
    labels = torch.tensor([True] + [False] * 9)
    assert balanced_accuracy(torch.zeros(10).bool(), labels) == 0.5
    assert balanced_accuracy(labels, labels) == 1
    predicted = torch.tensor([True, True] + [False] * 8)
    assert balanced_accuracy(predicted, labels) == pytest.approx((1 + 8 / 9) / 2)


def test_answers_are_told_apart_by_their_text_in_either_order() -> None:
    half = math.log(0.5)
    found = BinaryScores.of(
        [torch.tensor([half, math.log(0.25)]), torch.tensor([half, math.log(0.125)])],
        [[True, False], [False, True]],
        [[" No", " Yes"], [" Yes", " No"]],
        ANSWERS,
    )
    assert found.log_odds.tolist() == pytest.approx([-math.log(2), math.log(4)])
    assert found.labels.tolist() == [False, False]
    assert found.mass.tolist() == pytest.approx([0.75, 0.625])


def test_intervals_of_many_groups_are_those_of_theory() -> None:
    """Of an AUC: the standard error of Hanley and McNeil for two exponential distributions."""
    source, n = np.random.default_rng(3), 400
    x = np.concatenate([source.exponential(1, n), source.exponential(3, n)])
    labels = torch.arange(2 * n) >= n
    found = auc_interval(torch.tensor(x), labels, range(2 * n), seed=0)
    a = 0.75  # of exponential distributions with rates 1 and 1/3
    spread = a * (1 - a) + (n - 1) * (a / (2 - a) - a * a + 2 * a * a / (1 + a) - a * a)
    width = 2 * 1.96 * math.sqrt(spread / n**2)
    assert found.high - found.low == pytest.approx(width, rel=0.15)
    assert found.low < a < found.high
    predicted = torch.tensor(x > 1)
    balanced = balanced_interval(predicted, labels, range(2 * n), seed=0)
    shares = [predicted[labels].double().mean().item(), predicted[~labels].double().mean().item()]
    spread = sum(p * (1 - p) / n for p in shares) / 4
    assert balanced.high - balanced.low == pytest.approx(2 * 1.96 * math.sqrt(spread), rel=0.1)


def test_intervals_draw_whole_groups_again() -> None:
    """Every question written four times over is no more evidence than once."""
    source = np.random.default_rng(0)
    x, labels = torch.tensor(source.normal(size=60)), torch.arange(60) % 2 == 0
    once = auc_interval(x, labels, range(60), seed=0)
    groups = [i for i in range(60) for _ in range(4)]
    again = auc_interval(x.repeat_interleave(4), labels.repeat_interleave(4), groups, seed=0)
    assert (again.low, again.high) == pytest.approx((once.low, once.high), abs=1e-9)


def test_a_question_that_failed_makes_numbers_nan() -> None:
    found = of([NAN, 1.0, 2.0], [True, False, True])
    numbers = (found.auc, found.d_prime, found.balanced_accuracy, found.accuracy)
    assert all(map(math.isnan, (*numbers, found.first_share)))
    table = found.table()
    assert table["failed"].tolist() == [1]
    assert math.isnan(table["balanced"].item())


def test_scores_are_saved_shown_and_drawn(tmp_path: Path) -> None:
    found = of([-3.0, -2.5, -1.5, -1.0, -2.7], [False, False, True, True, True], seed=2)
    save(found, tmp_path / "scores.safetensors")
    again = load(tmp_path / "scores.safetensors")
    assert isinstance(again, BinaryScores)
    assert again.auc == found.auc == pytest.approx(5 / 6)
    row = found.table().iloc[0]
    assert (row["answers"], row["auc"], row["first_share"]) == ("Yes / No", found.auc, 0)
    assert row["auc_low"] <= row["auc"] <= row["auc_high"]
    assert row["mass"] == pytest.approx(0.1)
    [axes] = found.figure().axes
    assert "' Yes'" in axes.get_xlabel()
    assert "BinaryScores" in repr(found)


X, Y = torch.tensor([1.0, 2.0]), torch.tensor([True, False])
PAIR = [torch.tensor([-1.0, -1.0])]
BAD: list[tuple[Any, str]] = [
    (lambda: auc(X, torch.tensor([True, True])), "all 2 labels are the same"),
    (lambda: auc(torch.ones(3), Y), "3 scores and 2 labels"),
    (lambda: d_prime(1.5), "from 0 to 1"),
    (lambda: AnswerThreshold.fit(torch.tensor([1.0, NAN]), Y), "leave out what failed"),
    (lambda: of([1.0], [True], groups=("a", "b")), "2 groups"),
    (
        lambda: BinaryScores.of(PAIR, [[True, False]], [[" Yes", " Maybe"]], ANSWERS),
        "question 0 has the choices",
    ),
    (lambda: BinaryScores.of(PAIR, [[True, True]], [[" Yes", " No"]], ANSWERS), "2 are right"),
    (lambda: BinaryScores.of(PAIR, [], [[" Yes", " No"]], ANSWERS), "0 correct"),
]


@pytest.mark.parametrize(("call", "words"), BAD)
def test_what_cannot_be_scored_is_refused(call: Any, words: str, untyped: None) -> None:
    with pytest.raises(ValueError, match=words):
        call()
