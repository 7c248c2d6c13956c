"""Intervals and tests hold what they say: coverage and false alarms, counted by simulation."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from lens_steer.benchmark import holm, sign_flip
from lens_steer.benchmark.quantities import area, at_budget
from lens_steer.benchmark.statistics import statistic_interval, unbounded_interval
from lens_steer.intervals import (
    Interval,
    Resampling,
    group_sums,
    interval,
    interval_of_each,
    proportion_interval,
    ratio_interval,
)
from tests.oracles_evaluation import sums_of

Array = np.ndarray[Any, np.dtype[np.float64]]
Draw = Callable[[np.random.Generator], tuple[Array, Array]]

TRIALS = 400
# Nominal 95 %: an interval is honest from 92 % to 98 %, counted to three standard errors.
LOW, HIGH = 0.92, 0.98
ERROR = 3 * math.sqrt(0.92 * 0.08 / TRIALS)


def coverage(draw: Draw, truth: float, *, trials: int = TRIALS) -> float:
    """How often the interval of sum(above) / sum(below) holds the truth."""
    source, held = np.random.default_rng(0), 0
    for trial in range(trials):
        found = ratio_interval(*draw(source), seed=trial, resamples=400)
        held += found.low <= truth <= found.high
    return held / trials


def means(x: Any) -> tuple[Array, Array]:
    return x, np.ones_like(x)


# Coverage.


@pytest.mark.parametrize("groups", [8, 20, 80])
@pytest.mark.parametrize("kind", ["normal", "binary", "shares"])
def test_an_interval_over_groups_holds_the_truth_19_times_in_20(groups: int, kind: str) -> None:
    draws: dict[str, tuple[Draw, float]] = {
        "normal": (lambda r: means(r.normal(0.3, 1.0, groups)), 0.3),
        "binary": (lambda r: means((r.random(groups) < 0.5).astype(float)), 0.5),
        # three texts for each of the prompts, which differ among themselves
        "shares": (
            lambda r: (r.binomial(3, r.beta(2, 2, groups)).astype(float), np.full(groups, 3.0)),
            0.5,
        ),
    }
    found = coverage(*draws[kind])
    assert LOW - ERROR <= found <= HIGH + ERROR


def test_a_ratio_of_sums_over_groups_of_any_size_is_held() -> None:
    def draw(source: np.random.Generator) -> tuple[Array, Array]:
        tokens = source.poisson(10, 40).astype(np.float64) + 1
        return tokens * source.gamma(4, 0.05, 40), tokens

    assert LOW - ERROR <= coverage(draw, 0.2) <= HIGH + ERROR


CROSSED = [(5, 3, 40), (3, 3, 12), (5, 5, 24)]


@pytest.mark.parametrize("shape", CROSSED)
@pytest.mark.parametrize("spreads", [(0.0, 0.0, 1.0), (0.5, 0.0, 1.0), (1.0, 1.0, 1.0)])
def test_an_interval_over_fits_seeds_and_groups_holds_the_truth(
    shape: tuple[int, int, int], spreads: tuple[float, float, float]
) -> None:
    fits, seeds, groups = shape

    def draw(source: np.random.Generator) -> tuple[Array, Array]:
        one, two, three = spreads
        x = 0.3 + source.normal(size=shape)
        x += one * source.normal(size=(fits, 1, 1)) + two * source.normal(size=(1, seeds, 1))
        return means(x + three * source.normal(size=(1, 1, groups)))

    assert LOW - ERROR <= coverage(draw, 0.3) <= HIGH + ERROR


def test_noise_alone_never_makes_an_interval_too_narrow() -> None:
    # no way of clustering matters: wider than it must be
    def draw(source: np.random.Generator) -> tuple[Array, Array]:
        return means(source.normal(0.3, 1.0, size=(5, 3, 40)))

    assert coverage(draw, 0.3) >= LOW - ERROR


def test_fits_that_differ_widen_the_interval() -> None:
    source = np.random.default_rng(0)
    x = source.normal(size=(5, 1, 40))
    shifted = x + np.array([-2, -1, 0, 1, 2.0])[:, None, None]
    narrow, wide = (ratio_interval(*means(y), seed=0) for y in (x, shifted))
    assert narrow.mean == pytest.approx(wide.mean)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_the_interval_of_any_statistic_holds_the_truth() -> None:
    def gap(a: Any, b: Any) -> Any:
        return a.behaviour / a.examples - b.behaviour / b.examples  # the groups paired

    source, held = np.random.default_rng(0), 0
    for trial in range(TRIALS):
        base = source.normal(size=30)
        moved = base + source.normal(0.5, 0.5, 30)
        sums = [sums_of(moved, np.ones(30)), sums_of(base, np.ones(30))]
        found = statistic_interval(gap, sums, seed=trial, resamples=400)
        held += found.low <= 0.5 <= found.high
    assert LOW - ERROR <= held / TRIALS <= HIGH + ERROR


@pytest.mark.parametrize("fits", [(5, 5), (6, 4)])
def test_fits_of_two_methods_both_widen_the_interval_of_their_difference(
    fits: tuple[int, int],
) -> None:
    def gap(a: Any, b: Any) -> Any:
        return a.behaviour / a.examples - b.behaviour / b.examples

    source, held = np.random.default_rng(0), 0
    for trial in range(TRIALS // 2):
        groups, sums = source.normal(size=(1, 1, 30)), []
        for count in fits:
            noise = 0.5 * source.normal(size=(count, 1, 30))
            x = 0.5 * source.normal(size=(count, 1, 1)) + groups + noise
            sums.append(sums_of(x, np.ones_like(x)))
        found = statistic_interval(gap, sums, seed=trial, resamples=400)
        held += found.low <= 0 <= found.high
        assert found.mean == pytest.approx(sums[0].behaviour.mean() - sums[1].behaviour.mean())
    assert LOW - math.sqrt(2) * ERROR <= held / (TRIALS // 2) <= HIGH + math.sqrt(2) * ERROR


def test_a_curved_statistic_is_held_too() -> None:
    source, held = np.random.default_rng(0), 0
    for trial in range(TRIALS):
        sums = sums_of(source.gamma(4, 0.25, 40), np.ones(40))  # mean 1
        found = statistic_interval(
            lambda x: np.exp(x.behaviour / x.examples), [sums], seed=trial, resamples=400
        )
        held += found.low <= math.e <= found.high
    assert LOW - ERROR <= held / TRIALS <= HIGH + ERROR


# What an interval is.


def test_a_ratio_is_taken_as_any_statistic_is() -> None:
    source = np.random.default_rng(0)
    above, below = source.random((3, 2, 9)), source.random((3, 2, 9)) + 1
    found = ratio_interval(above, below, seed=4)
    other = statistic_interval(lambda x: x.behaviour / x.examples, [sums_of(above, below)], seed=4)
    for one, two in zip((found.mean, found.low, found.high), vars(other).values(), strict=True):
        assert one == pytest.approx(two, rel=1e-6)


def test_an_axis_of_one_unit_changes_nothing() -> None:
    x = np.random.default_rng(0).random(12)
    flat = ratio_interval(*means(x), seed=1)
    deep = ratio_interval(*means(x[None, None]), seed=1)
    assert flat.mean == pytest.approx(deep.mean)
    assert (deep.low, deep.high) == pytest.approx((flat.low, flat.high), abs=0.02)


def test_where_nothing_can_be_drawn_again_the_ends_are_not_numbers() -> None:
    found = interval(torch.tensor([0.3, 0.5]), ["a", "a"], seed=0)
    assert found.mean == pytest.approx(0.4)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_several_quantities_are_drawn_once_and_have_their_own_intervals(untyped: None) -> None:
    x, groups = torch.linspace(0, 1, 12) ** 2, [i // 2 for i in range(12)]
    quantities = [x, 1 - x, torch.full((12,), torch.nan)]
    found = interval_of_each(quantities, groups, seed=3)
    assert found[:2] == [interval(q, groups, seed=3) for q in quantities[:2]]
    assert math.isnan(found[2].mean)
    for wrong in ([], [x, x[:3]], [torch.zeros(0)]):
        with pytest.raises(ValueError, match="expected one each, and at least one"):
            interval_of_each(wrong, seed=0)


def test_what_does_not_vary_is_certain() -> None:
    found = ratio_interval(np.full((3, 2, 8), 0.7), np.ones((3, 2, 8)), seed=0)
    assert (found.low, found.mean, found.high) == pytest.approx((0.7, 0.7, 0.7))


def test_sums_over_a_resample_are_sums_over_what_was_drawn() -> None:
    drawn = Resampling.of((3, 4), seed=0, resamples=5)
    x = np.arange(12.0).reshape(3, 4)
    for r, total in enumerate(drawn.sums(x)):
        by_hand = sum(
            drawn.counts[0][r, i] * drawn.counts[1][r, j] * x[i, j]
            for i, j in product(range(3), range(4))
        )
        assert total == by_hand
    assert [counts.sum(axis=1).tolist() for counts in drawn.counts] == [[3] * 5, [4] * 5]


def test_examples_are_summed_by_group() -> None:
    above, below = group_sums(np.array([1.0, 2, 3]), np.ones(3), ["a", "b", "a"])
    assert above.tolist() == [4, 2]
    assert below.tolist() == [2, 1]


def test_a_statistic_that_is_not_a_number_has_no_interval() -> None:
    found = statistic_interval(
        lambda x: x.behaviour * np.nan, [sums_of(np.ones(4), np.ones(4))], seed=0
    )
    assert all(map(math.isnan, vars(found).values()))
    assert str(Interval(0.5, 0.25, 0.75)) == "0.5 [0.25, 0.75]"


# Tests of a difference.


@pytest.mark.parametrize("groups", [2, 5, 9])
def test_few_signs_are_all_counted(groups: int) -> None:
    x = np.random.default_rng(groups).normal(0.4, 1.0, groups)
    flipped = [
        abs(sum(s * v for s, v in zip(signs, x, strict=True)))
        for signs in product((1, -1), repeat=groups)
    ]
    expected = np.mean(np.array(flipped) >= abs(x.sum()) - 1e-12)
    assert sign_flip(x, seed=0) == pytest.approx(expected)
    assert sign_flip(x, seed=0) == sign_flip(-x, seed=5)


def test_all_of_one_sign_is_as_rare_as_two_patterns() -> None:
    assert sign_flip(np.arange(1.0, 7.0), seed=0) == pytest.approx(2 / 2**6)


@pytest.mark.parametrize("x", [[], [1.0], [0.0, 0.0, 0.0]])
def test_where_nothing_differs_or_nothing_can_be_told_p_is_1(x: list[float]) -> None:
    assert sign_flip(np.array(x), seed=0) == 1


def test_many_groups_are_drawn_and_the_p_is_near_that_of_a_t_test() -> None:
    from scipy.stats import ttest_1samp

    x = np.random.default_rng(0).normal(0.3, 1.0, 60)
    other: Any = ttest_1samp(x, 0)
    assert sign_flip(x, seed=0) == pytest.approx(other.pvalue, abs=0.01)
    assert sign_flip(x, seed=0) == sign_flip(x, seed=0)


def test_copies_are_told_apart_no_more_often_than_stated() -> None:
    # differences of shares between two copies of a method: 20 groups of three texts
    source, alarms = np.random.default_rng(0), 0
    for trial in range(200):
        p = source.beta(2, 2, 20)
        x = (source.binomial(3, p) - source.binomial(3, p)) / 3
        alarms += sign_flip(x, seed=trial, resamples=999) <= 0.05
    assert alarms / 200 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.04, 0.04]) == pytest.approx([0.08, 0.08])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_is_never_below_p(p: list[float]) -> None:
    found = holm(p)
    assert all(
        one <= two <= min(1, len(p) * one) + 1e-12 for one, two in zip(p, found, strict=True)
    )
    order = np.argsort(p, kind="stable")
    assert np.all(np.diff(np.array(found)[order]) >= 0)


# Reading a frontier off.


def test_the_value_at_a_budget_lies_on_straight_lines() -> None:
    nats, values = np.array([0.0, 0.1, 0.3, 0.5]), np.array([0.2, 0.4, 0.8, 0.7])
    for budget, value in ((0.05, 0.3), (0.1, 0.4), (0.2, 0.6), (0.5, 0.7), (0.0, 0.2)):
        assert at_budget(nats, values, budget) == pytest.approx(value)
    assert math.isnan(at_budget(nats, values, 0.51))


def test_the_first_crossing_of_a_cost_that_falls_again_is_taken() -> None:
    nats, values = np.array([0.0, 0.4, 0.1, 0.4]), np.array([0.0, 1.0, 5.0, 9.0])
    assert at_budget(nats, values, 0.2) == pytest.approx(0.5)


def test_budgets_are_read_off_for_many_resamples_at_once() -> None:
    source = np.random.default_rng(0)
    nats = np.concatenate([np.zeros((50, 1)), source.random((50, 4)).cumsum(axis=1)], axis=1)
    values = source.random((50, 5))
    found = at_budget(nats, values, 0.7)
    expected = [
        np.interp(0.7, n, v) if n[-1] >= 0.7 else np.nan for n, v in zip(nats, values, strict=True)
    ]
    np.testing.assert_allclose(found, expected)


def test_the_area_is_the_mean_over_budgets() -> None:
    nats, values = np.array([0.0, 0.1, 0.2]), np.array([0.2, 0.4, 0.8])
    assert area(nats, values, 0.2) == pytest.approx((0.3 + 0.6) / 2, abs=1e-3)
    assert area(nats, values, 0.1) == pytest.approx(0.3, abs=1e-3)
    assert math.isnan(area(nats, values, 0.3))
    assert area(np.array([0.0, 0.3]), np.array([0.5, 0.5]), 0.3) == pytest.approx(0.5)


# Shares that no group, or every group, shows.


@pytest.mark.parametrize("units", [8, 20])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_nothing_and_of_all_has_the_exact_end_of_as_many_coins(
    units: int, share: float
) -> None:
    found = proportion_interval(Interval(share, share, share), units)
    exact = binomtest(int(share * units), units).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_other_intervals_stay_as_they_are() -> None:
    for found in (Interval(0.5, 0.5, 0.5), Interval(0.0, 0.0, 0.1), Interval(1.0, 0.9, 1.0)):
        assert proportion_interval(found, 8) == found
    assert proportion_interval(Interval(0.0, 0.0, 0.0), 1) == Interval(0.0, 0.0, 0.0)


@pytest.mark.parametrize("groups", [8, 20, 80])
def test_a_rare_share_is_held_at_least_as_often_as_said(groups: int) -> None:
    draw, held = np.random.default_rng(1), 0
    for trial in range(300):
        values = (draw.random(groups) < 0.05).astype(float)
        around = proportion_interval(
            interval(torch.from_numpy(values), seed=trial, resamples=500), groups
        )
        held += around.low <= 0.05 <= around.high
    assert held / 300 >= 0.9


def test_equal_values_that_are_rounded_have_an_interval_of_no_width() -> None:
    found = interval(torch.full((50,), 2 / 3).double(), tuple(range(50)), seed=0)
    assert found.low == pytest.approx(2 / 3)
    assert found.high == pytest.approx(2 / 3)


def test_a_few_infinite_resamples_leave_a_lower_end_that_is_a_quantile() -> None:
    draw = np.random.default_rng(0)
    dose, reached = draw.normal(1.0, 0.2, 40), np.repeat([0.0, 1.0], [3, 37])

    def statistic(x: Any) -> Any:  # not reached in resamples with many that do not
        return np.where(np.asarray(x.examples) > 33, np.asarray(x.behaviour) / 40, np.inf)

    found = unbounded_interval(statistic, [sums_of(dose, reached)], seed=0)
    resampling = Resampling.of((40,), seed=0)
    plain = statistic(sums_of(resampling.sums(dose), resampling.sums(reached)))
    assert 0 < np.isinf(plain).mean() < 0.05
    assert np.quantile(plain, 0.005) < found.low < np.quantile(plain, 0.06)
    assert found.high == np.inf


@pytest.mark.parametrize("power", [160, 300])
def test_an_interval_of_large_numbers_is_that_of_small_ones(power: int) -> None:
    """As of e^h at massive activations: squares of these overflow."""
    values = torch.tensor([0.5, 1.0, 3.0, 7.0], dtype=torch.double)
    small, large = (interval(values * 2.0**k, seed=0) for k in (0, power * 3))
    factor = 2.0 ** (power * 3)
    assert (large.mean, large.low, large.high) == tuple(
        factor * x for x in (small.mean, small.low, small.high)
    )


def test_a_mean_that_is_infinite_says_so() -> None:
    found = interval(torch.tensor([1.0, float("inf"), 2.0]), seed=0)
    assert found.mean == float("inf")
    assert math.isnan(found.low)
    assert math.isnan(found.high)
