"""Components of variance: by hand, by projections, planted variances, and the jackknife."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from analyses.variance.components import (
    REST,
    changed_alone,
    components,
    leaving_out,
    squares,
)

NAMES = ("a", "b", "c")
BY_HAND = np.array([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 12.0]]])


def planted(
    shape: Sequence[int], variances: dict[tuple[int, ...], float], source: np.random.Generator
) -> np.ndarray:
    """Independent normal effects of these variances, by the axes that they vary along."""
    y = np.zeros(shape)
    for axes, variance in variances.items():
        size = [n if i in axes else 1 for i, n in enumerate(shape)]
        y = y + np.sqrt(variance) * source.standard_normal(size)
    return y


def by_projections(y: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """The same estimates from projections: E[y'Py] = sum of variances times trace(P Z Z')."""
    places = np.indices(y.shape).reshape(y.ndim, -1)
    terms = [axes for order in (1, 2) for axes in combinations(range(y.ndim), order)]
    levels = {
        axes: np.unique(places[list(axes)], axis=1, return_inverse=True)[1].ravel()
        for axes in terms
    }
    dummies = {axes: np.eye(level.max() + 1)[level] for axes, level in levels.items()}
    one = np.full((y.size, y.size), 1 / y.size)

    def onto(columns: np.ndarray) -> np.ndarray:
        return columns @ np.linalg.pinv(columns)

    projections = {}
    for axes in terms:
        below = [projections[(i,)] for i in axes] if len(axes) == 2 else []
        projections[axes] = onto(dummies[axes]) - one - sum(below, np.zeros_like(one))
    rest = np.eye(y.size) - one - sum(projections.values(), np.zeros_like(one))
    every = [*projections.values(), rest]
    covariances = [z @ z.T for z in dummies.values()] + [np.eye(y.size)]
    traces = np.array([[np.trace(p @ c) for c in covariances] for p in every])
    flat = y.reshape(-1)
    solved = np.linalg.solve(traces, [flat @ p @ flat for p in every])
    keys = [" x ".join(names[i] for i in axes) for axes in terms]
    return dict(zip([*keys, REST], solved.tolist(), strict=True))


def test_a_table_of_two_by_two_by_two_is_as_by_hand() -> None:
    found = squares(BY_HAND, NAMES)
    sums = {"a": 50, "b": 18, "c": 8, "a x b": 2, "a x c": 2, "b x c": 2, REST: 2}
    assert {name: each.sum for name, each in found.items()} == pytest.approx(sums)
    assert {each.freedom for each in found.values()} == {1}
    expected = {"a": 12, "b": 4, "c": 1.5, "a x b": 0, "a x c": 0, "b x c": 0, REST: 2}
    assert components(BY_HAND, NAMES) == pytest.approx(expected, abs=1e-12)


def test_two_factors_have_their_interaction_as_rest() -> None:
    y = np.array([[0.0, 2.0], [4.0, 8.0]])  # effects -2.5, 2.5; -1.5, 1.5; rest 0.5
    assert {n: s.sum for n, s in squares(y, "ab").items()} == {"a": 25, "b": 9, REST: 1}
    assert components(y, "ab") == {"a": 12, "b": 4, REST: 1}


@pytest.mark.parametrize("shape", [(3, 4, 2), (2, 3, 2, 3)])
def test_components_are_those_of_projections(shape: tuple[int, ...]) -> None:
    names = "abcd"[: len(shape)]
    y = np.random.default_rng(0).standard_normal(shape)
    assert components(y, names) == pytest.approx(by_projections(y, names), abs=1e-10)


def test_sums_of_squares_and_degrees_of_freedom_add_up() -> None:
    y = np.random.default_rng(1).standard_normal((4, 3, 2, 5, 3))
    found = squares(y, "abcde").values()
    assert sum(each.sum for each in found) == pytest.approx(((y - y.mean()) ** 2).sum())
    assert sum(each.freedom for each in found) == y.size - 1


def test_a_shift_changes_nothing_and_a_scale_its_square() -> None:
    y = np.random.default_rng(2).standard_normal((3, 4, 3))
    plain = components(y, NAMES)
    assert components(y + 100, NAMES) == pytest.approx(plain, abs=1e-9)
    scaled = {name: 9 * value for name, value in plain.items()}
    assert components(-3 * y, NAMES) == pytest.approx(scaled)
    swapped = components(y.transpose(2, 0, 1), ("c", "a", "b"))
    assert swapped["a"] == pytest.approx(plain["a"])
    assert swapped["c x b"] == pytest.approx(plain["b x c"])


def test_planted_variances_come_back_from_a_large_design() -> None:
    variances = {(0,): 4.0, (1,): 0.0, (2,): 1.0, (0, 1): 2.0, (1, 2): 0.5, (0, 1, 2): 0.3}
    y = planted((120, 100, 80), variances, np.random.default_rng(3))
    found = components(y, NAMES)
    expected = {"a": 4.0, "b": 0.0, "c": 1.0, "a x b": 2.0, "a x c": 0.0, "b x c": 0.5, REST: 0.3}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=0.35, abs=0.03)


def test_estimates_of_small_designs_are_right_on_average(untyped: None) -> None:
    variances = {(0,): 1.0, (2,): 0.5, (0, 2): 0.5, (0, 1, 2): 1.0}
    source = np.random.default_rng(4)
    every = [components(planted((6, 3, 4), variances, source), NAMES) for _ in range(1500)]
    means = {name: float(np.mean([each[name] for each in every])) for name in every[0]}
    expected = {"a": 1.0, "b": 0.0, "c": 0.5, "a x b": 0.0, "a x c": 0.5, "b x c": 0.0, REST: 1.0}
    assert means == pytest.approx(expected, abs=0.07)
    assert min(each["b"] for each in every) < 0


def test_labels_in_a_random_order_say_nothing(untyped: None) -> None:
    source = np.random.default_rng(5)
    y = planted((5, 4, 3), {(0,): 4.0, (1,): 1.0}, source)
    every = [
        components(source.permutation(y.reshape(-1)).reshape(y.shape), NAMES) for _ in range(400)
    ]
    total = y.var(ddof=1)
    for name in every[0]:
        mean = np.mean([each[name] for each in every])
        assert mean == pytest.approx(total if name == REST else 0.0, abs=0.05 * total)


def test_what_one_factor_alone_changes_is_the_mean_over_pairs_of_levels() -> None:
    assert changed_alone(BY_HAND, NAMES) == {"a": 5.0, "b": 3.0, "c": 2.0}
    three = np.array([[0.0, 0.0], [1.0, 1.0], [4.0, 4.0]])
    assert changed_alone(three, "ab") == pytest.approx({"a": 8 / 3, "b": 0.0})


def test_the_jackknife_of_a_mean_is_its_t_interval() -> None:
    y = np.random.default_rng(6).standard_normal(7)
    value, low, high = leaving_out(lambda x: np.array(x.mean()), y)
    expected = stats.t.interval(0.95, 6, y.mean(), stats.sem(y))
    assert (float(value), float(low), float(high)) == pytest.approx((y.mean(), *expected))


def test_two_levels_have_no_interval() -> None:
    value, low, high = leaving_out(lambda x: x.mean(axis=0), np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert value.tolist() == [2.0, 3.0]
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize(
    ("y", "names", "message"),
    [
        (np.zeros(3), "a", "at least two factors"),
        (np.zeros((3, 1)), "ab", "at least two levels"),
        (np.zeros((3, 2)), "abc", "each with a name"),
        (np.array([[0.0, np.nan], [1.0, 2.0]]), "ab", "1 of 4 cells are NaN"),
    ],
)
def test_what_is_no_balanced_design_is_refused(y: np.ndarray, names: str, message: str) -> None:
    for function in (components, changed_alone):
        with pytest.raises(ValueError, match=message):
            function(y, names)
