"""Random search: the best of n on dev, on test; the choice is made again in every resample."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from lens_steer.benchmark import RandomSearchCurve
from lens_steer.evaluation import Evaluation, TextCosts
from lens_steer.intervals import interval

GROUPS = ("a", "a", "b", "c", "c", "c", "d", "e")


def trial(
    behaviour: list[float], nats: float = 0.05, groups: tuple[str, ...] = GROUPS
) -> Evaluation:
    """Every text has ten draws at so many nats each."""
    draws = torch.full((len(behaviour),), 10.0, dtype=torch.float64)
    costs = TextCosts(draws * nats, draws, draws, draws)
    texts = ("a text",) * len(behaviour)
    shown = torch.tensor(behaviour, dtype=torch.float32)
    return Evaluation(shown, groups, 1.0, texts, text_costs=costs, text_groups=groups)


def drawn(seed: int, n: int) -> list[Evaluation]:
    """Trials of random behaviour and cost; groups of dev are other ones than those of test."""
    source = np.random.default_rng(seed)
    rows = source.integers(0, 2, size=(n, len(GROUPS))).astype(float)
    costs = source.uniform(0.02, 0.15, size=n)
    return [trial(list(map(float, r)), float(c)) for r, c in zip(rows, costs, strict=True)]


def searched(dev: list[Evaluation], test: list[Evaluation], name: str = "one") -> RandomSearchCurve:
    plain = trial([0.0, 1.0] * (len(GROUPS) // 2))
    return RandomSearchCurve.of(name, dev, test, plain, kl_limit=0.1, seed=0)


@pytest.mark.parametrize("seed", range(4))
def test_expected_is_the_mean_over_all_subsets(seed: int) -> None:
    dev, test = drawn(seed, 5), drawn(seed + 100, 5)
    found = searched(dev, test)
    for n in range(1, 6):
        values = []
        for some in combinations(range(5), n):
            ok = [i for i in some if dev[i].kl <= 0.1]
            best = max(ok, key=lambda i: (float(dev[i].behaviour.mean()), -i), default=None)
            values.append(0.5 if best is None else float(test[best].behaviour.mean()))
        assert found.expected(n).mean == pytest.approx(np.mean(values))


def test_where_dev_leaves_no_doubt_the_interval_is_of_the_best() -> None:
    dev = [trial([1.0] * 8), trial([0.0] * 8), trial([1.0] * 8, nats=0.2)]
    test = drawn(3, 3)
    found = searched(dev, test).expected(3)
    alone = interval(test[0].behaviour, GROUPS, seed=0)
    assert (found.mean, found.low, found.high) == pytest.approx((alone.mean, alone.low, alone.high))


def test_the_choice_is_made_again_in_every_resample() -> None:
    # On dev one example decides; on test the one shows the behaviour three times of four, the
    # other hardly ever. A choice taken as given would hide that.
    dev = [trial([1, 0, 1, 0, 0, 1, 1, 1]), trial([0, 1, 0, 1, 1, 1, 0, 0])]
    test = [trial([1, 1, 1, 1, 0, 1, 0, 1]), trial([0, 0, 0, 0, 0, 0, 0, 0])]
    found = searched(dev, test).expected(2)
    alone = interval(test[0].behaviour, GROUPS, seed=0)
    assert found.mean == alone.mean == 0.75
    assert found.low == 0 < alone.low


def test_statistics_of_a_resample_by_hand() -> None:
    dev, test = drawn(7, 4), drawn(8, 4)
    found = searched(dev, test)
    source = np.random.default_rng(5)
    counts = source.multinomial(5, [0.2] * 5, size=6).astype(float)
    names = list(dict.fromkeys(GROUPS))
    got = found._taken(2, counts, counts[::-1])  # pyright: ignore[reportPrivateUsage]
    for r in range(6):
        weight = np.array([counts[r][names.index(g)] for g in GROUPS])
        share = [float((t.behaviour.numpy() * weight).sum() / weight.sum()) for t in dev]
        cost = [t.kl for t in dev]  # each text of a trial costs the same
        own = np.array([counts[::-1][r][names.index(g)] for g in GROUPS])
        told = [float((t.behaviour.numpy() * own).sum() / own.sum()) for t in test]
        plain = float((np.array([0.0, 1.0] * 4) * own).sum() / own.sum())
        values = []
        for some in combinations(range(4), 2):
            ok = [i for i in some if cost[i] <= 0.1]
            best = max(ok, key=lambda i: (share[i], -i), default=None)
            values.append(plain if best is None else told[best])
        assert got[r] == pytest.approx(np.mean(values))


def test_a_difference_is_paired() -> None:
    dev, test = drawn(11, 4), drawn(12, 4)
    one, same = searched(dev, test), searched(dev, test, "other")
    nothing = one.minus(same, 3)
    assert (nothing.mean, nothing.low, nothing.high) == (0.0, 0.0, 0.0)
    lower = [trial((t.behaviour * 0.5).tolist()) for t in test]
    half = searched(dev, lower, "other")
    found = one.minus(half, 4)
    assert found.mean == pytest.approx(one.expected(4).mean - half.expected(4).mean)
    assert found.low <= found.mean <= found.high
    table = one.table(half)
    assert list(table.columns[5:]) == ["less_other", "less_other_low", "less_other_high"]
    assert table["less_other"].iloc[-1] == pytest.approx(found.mean)


def test_the_gap_is_dev_less_test_of_the_best() -> None:
    dev, test = [trial([1.0] * 8), trial([0.0] * 8)], [trial([1, 0] * 4), trial([0.0] * 8)]
    found = searched(dev, test).gap
    assert found.mean == pytest.approx(0.5)
    assert found.low < 0.5 < found.high


@pytest.mark.parametrize("shares", [(0.3, 0.45, 0.6), (0.6, 0.6, 0.6)])
def test_intervals_cover_what_choosing_is_worth(shares: tuple[float, ...]) -> None:
    """Of what the chosen are worth on average; as if nothing had been chosen, too few do."""
    groups, runs = tuple(f"g{i}" for i in range(6) for _ in range(2)), 200
    found, alone, truth = [], [], []
    for run in range(runs):
        shown = np.random.default_rng(run).random((2, 3, len(groups))) < np.array(shares)[:, None]
        dev, test = ([trial(list(row), groups=groups) for row in side] for side in shown * 1.0)
        plain = trial([0.0] * len(groups), groups=groups)
        searched = RandomSearchCurve.of("one", dev, test, plain, kl_limit=0.1, seed=run)
        found.append(searched.expected(3))
        best = int(shown[0].mean(1).argmax())
        alone.append(interval(test[best].behaviour, groups, seed=run))
        truth.append(shares[best])
    covered = [np.mean([i.low <= np.mean(truth) <= i.high for i in x]) for x in (found, alone)]
    assert covered[0] > 0.92
    if len(set(shares)) > 1:
        assert covered[1] < 0.87


def test_table_has_a_row_for_each_number_of_trials() -> None:
    found = searched(drawn(1, 5), drawn(2, 5)).table()
    assert list(found["n"]) == [1, 2, 3, 4, 5]
    assert list(found.columns) == ["method", "n", "behaviour", "low", "high"]


@pytest.mark.parametrize("methods", [1, 3, 8])
def test_curves_of_several_methods_are_drawn_together(methods: int) -> None:
    curves = [searched(drawn(i, 3), drawn(i + 50, 3), f"method {i}") for i in range(methods)]
    figure = curves[0].figure(*curves[1:], behaviour_name="praise")
    figure.draw_without_rendering()
    [axes] = figure.axes
    assert "praise" in axes.get_ylabel()
    labels = [line.get_label() for line in axes.lines]
    assert labels == [*(f"method {i}" for i in range(methods)), "unsteered"]
    lines: Any = axes.lines
    for curve, line in zip(curves, lines, strict=False):
        np.testing.assert_array_equal(line.get_xydata(), curve.table()[["n", "behaviour"]])
    assert len(axes.collections) == (methods if methods <= 6 else 0)  # bands
    assert repr(curves[0]).startswith("RandomSearchCurve\n")


def test_what_cannot_be_searched() -> None:
    dev, test = drawn(1, 3), drawn(2, 3)
    with pytest.raises(ValueError, match="3 trials on dev, 2 on test"):
        searched(dev, test[:2])
    with pytest.raises(ValueError, match="0 trials on dev"):
        searched([], [])
    other = [trial([0.0] * 8, groups=tuple("abcdefgh"))]
    with pytest.raises(ValueError, match="different examples"):
        searched(dev, [*test[:2], *other])
    by_hand = Evaluation(torch.zeros(8), GROUPS, 1.0, ("a",) * 8)
    with pytest.raises(ValueError, match="without `text_costs`"):
        searched([by_hand], test[:1])
    with pytest.raises(ValueError, match="the best of 4 of 3 trials"):
        searched(dev, test).expected(4)
    plain = trial([0.0] * 8, groups=tuple("abcdefgh"))
    elsewhere = RandomSearchCurve.of("other", dev[:1], other, plain, kl_limit=0.1, seed=0)
    with pytest.raises(ValueError, match="searched on different prompts"):
        searched(dev, test).minus(elsewhere, 1)
