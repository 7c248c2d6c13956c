"""Where the nats go: worlds of a few texts in which every part is known, and estimates of them."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit, rel_entr
from scipy.stats import binom

from analyses.where_nats_go.estimates import (
    Measured,
    derivatives,
    intervals,
    judged_nats,
    shares,
)
from analyses.where_nats_go.parts import (
    CAUSES,
    PLACES,
    Local,
    Prompts,
    causes,
    floor,
    places,
    tilt,
    totals,
)

Array = np.ndarray[Any, np.dtype[np.float64]]

EXACT = 1e-10
# A text is two choices: whether it shows the behaviour, and one that the judge does not see.
SHOWS = np.array([1.0, 1.0, 0.0, 0.0])
OTHER = np.array([1.0, 0.0, 1.0, 0.0])


@dataclass(frozen=True)
class World:
    """Texts of each prompt under the model, and the score of one method: q = p exp(s S) / Z."""

    model: Array  # [prompt text]
    score: Array  # [prompt text]

    def method(self, strength: float) -> Array:
        q = self.model * np.exp(strength * self.score)
        return q / q.sum(axis=1, keepdims=True)

    def local(self) -> Local:
        gain = self._moment(SHOWS, self.score)
        return Local(gain, gain**2, self._moment(self.score, self.score))

    def _moment(self, a: Array, b: Array) -> Array:
        """The covariance under the model."""
        p = self.model
        return (p * a * b).sum(axis=1) - (p * a).sum(axis=1) * (p * b).sum(axis=1)

    def prompts(
        self, strength: float, best: Local | None = None, q: Array | None = None
    ) -> Prompts:
        """Exact numbers; texts with the other choice break the grammar."""
        p, q = self.model, self.method(strength) if q is None else q
        before, after = p @ SHOWS, q @ SHOWS
        nats = rel_entr(q, p)
        yes, no = (np.log(x / y) for x, y in ((after, before), (1 - after, 1 - before)))
        bit = np.where(SHOWS, yes[:, None], no[:, None])
        return Prompts(
            unsteered=before,
            steered=after,
            judged=rel_entr(after, before) + rel_entr(1 - after, 1 - before),
            nats=nats.sum(axis=1),
            broken=((nats - q * bit) * OTHER).sum(axis=1),
            first=nats.sum(axis=1),
            draws=np.full(len(p), 2.0),
            local=self.local(),
            best=best or self.local(),
        )


def texts(shows: Any, other: Any = 0.5) -> Array:
    """Two independent choices with these probabilities, by prompt."""
    a, b = np.broadcast_arrays(np.asarray(shows, float), np.asarray(other, float))
    return np.stack([a * b, a * (1 - b), (1 - a) * b, (1 - a) * (1 - b)], axis=1)


def even(prompts: Prompts) -> Array:
    return np.ones(len(prompts.nats))


def parts(prompts: Prompts, weights: Array | None = None) -> dict[str, float]:
    w = (even(prompts) if weights is None else weights)[None]
    found = causes(prompts, w) | places(prompts, w) | totals(prompts, w)
    return {name: float(value[0]) for name, value in found.items()}


SOME = [0.1, 0.4, 0.5, 0.85]


@pytest.mark.parametrize("strength", [0.01, 0.7, 3.0, -1.2])
def test_the_model_conditioned_on_the_judge_wastes_nothing(strength: float) -> None:
    world = World(texts(SOME), np.tile(SHOWS, (4, 1)))
    found = parts(world.prompts(strength))
    assert found["nats"] == pytest.approx(found["floor"], abs=EXACT)
    assert found["efficiency"] == pytest.approx(1)
    for name in (*CAUSES, *PLACES):
        assert found[name] == pytest.approx(0, abs=EXACT), name


@pytest.mark.parametrize("strength", [0.3, 2.0])
def test_a_push_that_half_of_the_prompts_need_is_the_same_push_for_all_of_them(
    strength: float,
) -> None:
    """The other half always shows the behaviour, and the push moves the other choice there."""
    world = World(texts([0.5, 0.5, 1.0, 1.0]), np.stack([SHOWS, SHOWS, OTHER, OTHER]))
    with np.errstate(invalid="ignore"):  # what no text shows has no odds
        prompts = world.prompts(strength)
    prompts = replace(prompts, broken=np.zeros(4))
    r = expit(strength)
    half = (np.log(2) + r * np.log(r) + (1 - r) * np.log(1 - r)) / 2
    found = parts(prompts)
    assert found["excess"] == pytest.approx(half, abs=EXACT)
    wanted = {"same_push": half, "off_target": 0, "wrong_direction": 0, "nonlinearity": 0}
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=EXACT), name
    assert found["allocation"] == pytest.approx(0, abs=EXACT)
    assert found["well_formed"] == pytest.approx(half, abs=EXACT)


@pytest.mark.parametrize("strength", [0.3, 2.0])
def test_an_irrelevant_choice_is_off_target_or_the_wrong_direction(strength: float) -> None:
    """Off target if no vector avoids it, else the direction is wrong."""
    world = World(texts([0.5, 0.5]), np.tile(SHOWS + OTHER, (2, 1)))
    r = expit(strength)
    choice = np.log(2) + r * np.log(r) + (1 - r) * np.log(1 - r)
    found = parts(world.prompts(strength))
    assert (found["floor"], found["excess"]) == pytest.approx((choice, choice), abs=EXACT)
    assert found["off_target"] == pytest.approx(choice, abs=EXACT)
    for name in ("wrong_direction", "same_push", "nonlinearity", "allocation"):
        assert found[name] == pytest.approx(0, abs=EXACT), name
    optimal = World(world.model, np.tile(SHOWS, (2, 1))).local()
    found = parts(world.prompts(strength, optimal))
    assert found["wrong_direction"] == pytest.approx(choice, abs=EXACT)
    assert found["off_target"] == pytest.approx(0, abs=EXACT)


def test_texts_that_break_the_grammar_are_paid_for_among_the_broken() -> None:
    """By hand: the other choice goes from 1/2 to r, the judge's bit costs nothing."""
    world = World(texts([0.5]), OTHER[None])
    prompts, r = world.prompts(1.0), expit(1.0)
    found = places(prompts, np.ones((1, 1))) | totals(prompts, np.ones((1, 1)))
    assert found["broken"] == pytest.approx(r * np.log(2 * r), abs=EXACT)
    assert found["well_formed"] == pytest.approx((1 - r) * np.log(2 * (1 - r)), abs=EXACT)
    assert found["floor"] == pytest.approx(0, abs=EXACT)


def test_a_tilt_by_other_amounts_is_allocation() -> None:
    """The judge's bit alone is moved, from 1/2 to .9 in one prompt and not in the other."""
    world = World(texts([0.5, 0.5]), np.tile(SHOWS, (2, 1)))
    found = parts(world.prompts(0.0, q=texts([0.9, 0.5])))
    paid = (np.log(2) + 0.9 * np.log(0.9) + 0.1 * np.log(0.1)) / 2
    least = np.log(2) + 0.7 * np.log(0.7) + 0.3 * np.log(0.3)
    assert found["allocation"] == pytest.approx(paid - least, abs=EXACT)
    assert found["excess"] == pytest.approx(paid - least, abs=EXACT)
    assert found["broken"] + found["well_formed"] == pytest.approx(0, abs=EXACT)


def drawn_world(seed: int, prompts: int = 5) -> World:
    source = np.random.default_rng(seed)
    model = source.dirichlet(np.ones(4), size=prompts)
    return World(model, source.normal(size=(prompts, 4)) + SHOWS)


@pytest.mark.parametrize("seed", range(8))
def test_both_ways_of_parting_add_up_to_the_excess(seed: int) -> None:
    world = drawn_world(seed)
    best = World(world.model, drawn_world(seed + 100).score).local()
    weights = np.random.default_rng(seed).uniform(size=5)
    found = parts(world.prompts(0.8, best), weights)
    assert found["excess"] >= 0
    assert found["allocation"] >= -EXACT
    for names in (CAUSES, PLACES):
        assert sum(found[name] for name in names) == pytest.approx(found["excess"], abs=EXACT)


def test_parts_do_not_depend_on_order_copies_or_the_unit_of_strength() -> None:
    world = drawn_world(3)
    prompts = world.prompts(0.8)
    found = parts(prompts)
    turned = World(world.model[::-1], world.score[::-1]).prompts(0.8)
    twice = World(np.repeat(world.model, 2, axis=0), np.repeat(world.score, 2, axis=0)).prompts(0.8)
    other_unit = World(world.model, 4 * world.score).prompts(0.2)
    for other in (
        parts(turned),
        parts(twice),
        parts(other_unit),
        parts(prompts, 3 * even(prompts)),
    ):
        assert other == pytest.approx(found, abs=EXACT)


def test_small_strengths_have_no_nonlinearity() -> None:
    world = drawn_world(5)
    small, smaller = (parts(world.prompts(s)) for s in (1e-2, 1e-3))
    assert abs(small["nonlinearity"] / small["nats"]) < 3e-2
    assert abs(smaller["nonlinearity"] / smaller["nats"]) < 3e-3


def test_the_floor_is_the_least_that_a_minimiser_finds() -> None:
    p = np.array([0.02, 0.3, 0.5, 0.9])
    weights = np.array([1.0, 2.0, 1.0, 0.5])
    share = np.array([0.7])

    def paid(odds: Array) -> float:
        r = expit(odds)
        return float(weights @ (rel_entr(r, p) + rel_entr(1 - r, 1 - p)) / weights.sum())

    held = {"type": "eq", "fun": lambda odds: weights @ expit(odds) / weights.sum() - 0.7}
    found = minimize(paid, logit(p) + 1, constraints=held, method="SLSQP", tol=1e-12)
    assert float(floor(p, share, weights[None])[0]) == pytest.approx(found.fun, abs=1e-7)
    [by] = tilt(p, share, weights[None])
    assert found.x - logit(p) == pytest.approx(np.full(4, float(by)), abs=1e-3)


def test_many_sets_of_weights_at_once_are_one_after_the_other() -> None:
    prompts = drawn_world(7).prompts(0.8)
    weights = np.random.default_rng(0).uniform(size=(3, 5))
    together = causes(prompts, weights) | places(prompts, weights) | totals(prompts, weights)
    for i, each in enumerate(weights):
        one = {name: float(value[i]) for name, value in together.items()}
        assert one == pytest.approx(parts(prompts, each), abs=EXACT)


def test_prompts_that_are_settled_stay_as_they_are() -> None:
    p, w = np.array([0.0, 0.5, 1.0]), np.ones((1, 3))
    assert float(tilt(p, np.array([0.5]), w)[0]) == pytest.approx(0, abs=EXACT)
    assert float(floor(p, np.array([0.6]), w)[0]) == pytest.approx(
        (0.8 * np.log(1.6) + 0.2 * np.log(0.4)) / 3, abs=EXACT
    )
    with pytest.raises(ValueError, match="expected means that a tilt can reach"):
        tilt(p, np.array([0.7]), w)


def test_bad_numbers_are_refused() -> None:
    prompts = drawn_world(1).prompts(0.5)
    with pytest.raises(ValueError, match="expected shares from 0 to 1"):
        replace(prompts, steered=prompts.steered + 1)
    with pytest.raises(ValueError, match="expected both, or neither"):
        replace(prompts, local=None)
    with pytest.raises(ValueError, match="expected positive nats"):
        Local(np.ones(2), np.ones(2), np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="expected a method that has a strength"):
        causes(replace(prompts, local=None, best=None), np.ones((1, 5)))
    with pytest.raises(ValueError, match="expected two or more"):
        derivatives(np.ones((3, 1), dtype=bool), np.ones((3, 1)), np.ones((3, 1)), 0.1)


def test_counting_few_texts_has_next_to_no_bias() -> None:
    """The mean over all counts that could have come, exactly; the plain estimate is off by far."""
    r, p, n, m = 0.8, 0.4, 32, 96
    ks, ms = np.arange(n + 1), np.arange(m + 1)
    wr, wp = binom.pmf(ks, n, r), binom.pmf(ms, m, p)
    truth = rel_entr(r, p) + rel_entr(1 - r, 1 - p)
    grid_k, grid_m = (g.ravel() for g in np.meshgrid(ks, ms, indexing="ij"))
    weight = np.outer(wr, wp).ravel()
    a, b = shares(grid_k, n), shares(grid_m, m)
    plain = weight @ (rel_entr(a, b) + rel_entr(1 - a, 1 - b))
    corrected = weight @ judged_nats(grid_k, n, grid_m, m)
    assert abs(corrected - truth) < abs(plain - truth) / 3
    assert abs(corrected - truth) < 2e-3


def sampled(world: World, strength: float, n: int, seed: int) -> tuple[Measured, Measured]:
    """Texts of the method and of the model; the nats are those of a world of one draw."""
    source = np.random.default_rng(seed)
    p, q = world.model, world.method(strength)
    found = []
    for of in (q, p):
        ids = np.stack([source.choice(4, size=n, p=row) for row in of])
        ratio = np.take_along_axis(np.log(q / p), ids, axis=1)
        nats = np.broadcast_to(rel_entr(q, p).sum(axis=1)[:, None], ids.shape).copy()
        ones = np.ones(ids.shape)
        found.append(Measured(SHOWS[ids] > 0, OTHER[ids] == 0, nats, nats, ratio, ones))
    return found[0], found[1]


def test_estimates_from_texts_are_those_of_the_world() -> None:
    world = World(texts(SOME, 0.3), np.tile(SHOWS + 0.5 * OTHER, (4, 1)))
    exact = parts(world.prompts(0.9))
    steered, model = sampled(world, 0.9, 20_000, seed=0)
    _, again = sampled(world, 1e-3, 20_000, seed=1)
    local = derivatives(again.shows, again.log_ratio, again.nats, 1e-3)
    truth = world.local()
    assert local.gain == pytest.approx(truth.gain, abs=0.01)
    assert local.curvature == pytest.approx(truth.curvature, rel=2e-3)
    found = parts(steered.prompts(model.shows, local, local))
    for name in (*CAUSES, *PLACES):
        assert found[name] == pytest.approx(exact[name], abs=0.02), name


def test_the_square_of_a_gain_has_next_to_no_bias() -> None:
    """Of texts without any gain."""
    source, size = np.random.default_rng(0), (4000, 32)
    shows, score = source.uniform(size=size) < 0.5, source.normal(size=size)
    local = derivatives(shows, score, np.ones(size), 1.0)
    assert (local.gain**2).mean() == pytest.approx(1 / 4 / 31, rel=0.1)
    assert abs(local.gain_squared.mean()) < 0.1 * (local.gain**2).mean()


def test_intervals_are_of_groups() -> None:
    """Of one group there is no interval; twice the same prompts in a group change none."""
    prompts = drawn_world(9).prompts(0.8)
    groups = ["a", "b", "c", "d", "e"]

    def of(prompts: Prompts, groups: list[str]) -> dict[str, Any]:
        return intervals(lambda w: causes(prompts, w), groups, seed=0)

    one = of(prompts, groups)
    assert one.pop("wrong_direction").low == pytest.approx(0, abs=EXACT)  # it is the best vector
    assert all(x.low < x.mean < x.high for x in one.values())
    world = drawn_world(9)
    twice = World(np.tile(world.model, (2, 1)), np.tile(world.score, (2, 1))).prompts(0.8)
    again = of(twice, groups * 2)
    for name in one:
        assert (again[name].low, again[name].high) == pytest.approx((one[name].low, one[name].high))
    assert np.isnan(of(prompts, ["a"] * 5)["off_target"].low)
