"""Strengths at which a method costs, or does, what was asked."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import lens_steer as ls
from lens_steer.activations import capture
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import (
    CalibrationReport,
    FixedTexts,
    OutOfReach,
    calibrate,
    calibrate_along,
    evaluate,
)
from lens_steer.evaluation.crossing import find_crossing, shape_of
from lens_steer.sites import Site
from lens_steer.steering import CAA, Additive, Angular
from tests.interventions import Scale, push, traces

# Refined until so close to the target, relatively.
CLOSE = 2e-3
# The same method measured again, in batches of other shapes.
AGAIN = 1e-3

HOW: dict[str, Any] = {"max_new_tokens": 6, "seed": 3, "progress": False}
QUICK: dict[str, Any] = HOW | {"strengths": (0, 0.5, 1, 3)}
TEXTS: dict[str, Any] = {"max_new_tokens": 6, "seed": 3}
GRID = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)


def planted(curve: Callable[[float], float]) -> Any:
    """A measure of a known curve, and all that was asked of it."""
    asked: list[float] = []

    def measure(strengths: Sequence[float]) -> list[float]:
        asked.extend(strengths)
        return [float(curve(s)) for s in strengths]

    return measure, asked


def found_on(
    curve: Callable[[float], float],
    target: float,
    grid: Sequence[float] = GRID,
    *,
    refine: bool = True,
) -> CalibrationReport:
    return find_crossing(planted(curve)[0], "kl", target, list(map(float, grid)), refine=refine)


# Planted curves.


@pytest.mark.parametrize("target", [1e-3, 0.1, 1.0, 10.0])
def test_a_rising_curve_is_met_where_it_is(target: float) -> None:
    found = found_on(lambda s: s**2, target)
    assert found.realised == pytest.approx(target, rel=CLOSE)
    assert found.strength == pytest.approx(math.sqrt(target), rel=CLOSE)
    assert len(found.crossings) == 1
    assert found.shape == "rising"


@given(power=st.floats(0.7, 3), scale=st.floats(0.1, 10), share=st.floats(0.05, 0.98))
def test_any_power_is_met(power: float, scale: float, share: float) -> None:
    target = share * scale * 4**power
    found = found_on(lambda s: scale * s**power, target)
    assert found.realised == pytest.approx(target, rel=CLOSE)
    assert found.realised == pytest.approx(scale * found.strength**power)


def test_the_report_holds_the_whole_curve() -> None:
    measure, asked = planted(lambda s: s**2)
    found = find_crossing(measure, "kl", 0.3, GRID, refine=True)
    assert sorted(asked) == list(found.strengths)
    assert len(set(asked)) == len(asked)  # nothing is measured twice
    assert set(GRID) <= set(found.strengths)
    assert found.values == tuple(s**2 for s in found.strengths)
    assert (found.quantity, found.target) == ("kl", 0.3)
    assert found.table()["kl"].tolist() == list(found.values)
    assert found.table()["strength"].tolist() == list(found.strengths)


@pytest.mark.parametrize(
    ("curve", "target", "where"),
    [
        (lambda s: abs(s - 1), 0.5, (0.5, 1.5)),  # a V
        (lambda s: 1 - abs(s - 2) / 2, 0.75, (1.5, 2.5)),  # a roof
        (lambda s: 0.5 + 0.4 * np.sin(2 * s), 0.6, (0.126, 1.444, 3.268)),
    ],
)
def test_every_crossing_of_a_curve_that_is_not_monotone_is_reported(
    curve: Callable[[float], float], target: float, where: tuple[float, ...]
) -> None:
    found = found_on(curve, target, tuple(np.linspace(0, 4, 33)))
    assert found.crossings == pytest.approx(where, abs=0.01)
    assert found.strength == pytest.approx(found.crossings[0])
    assert found.realised == pytest.approx(target, rel=CLOSE)
    assert found.shape == "not monotone"


def test_a_v_that_starts_above_its_target_is_met_going_down() -> None:
    # a set-point law: it costs something at once, and least where it does nothing
    found = found_on(lambda s: 0.4 + (s - 1) ** 2, 0.5, tuple(np.linspace(0, 4, 17)))
    assert found.strength == pytest.approx(1 - math.sqrt(0.1), abs=0.01)
    assert len(found.crossings) == 2


@pytest.mark.parametrize(
    ("curve", "target", "said"),
    [
        (lambda s: 1 - math.exp(-3 * s), 1.5, "from 0 to 1 and is saturating: ask for a value in"),
        (lambda s: s, 5.0, "between strength 0 and 4 it goes from 0 to 4 and is rising"),
        (lambda s: abs(s - 1) + 0.2, 0.1, "from 0.2 to 3.2 and is not monotone"),
        (lambda s: 0 * s, 0.1, "from 0 to 0"),
    ],
)
def test_what_is_not_reached_is_refused_with_the_range_that_is(
    curve: Callable[[float], float], target: float, said: str
) -> None:
    with pytest.raises(ValueError, match=f"kl {target:g} is not reached: .*{said}"):
        found_on(curve, target)


def test_a_curve_that_jumps_over_the_target_is_refused() -> None:
    with pytest.raises(ValueError, match="jumps over 0.5 at strength 0.7"):
        found_on(lambda s: float(s > 0.7), 0.5)


def test_strengths_that_break_the_model_are_passed_over_and_named_where_they_matter() -> None:
    def curve(s: float) -> float:
        return s**2 if s < 3 else math.nan

    assert found_on(curve, 1.5).strength == pytest.approx(math.sqrt(1.5), rel=CLOSE)
    assert found_on(curve, 1.5).shape == "rising"
    with pytest.raises(OutOfReach, match="0 to 4 and is rising.*NaN or infinite at strength 4"):
        found_on(curve, 5.0)
    for refine in (True, False):
        with pytest.raises(OutOfReach, match="not reached"):
            found_on(lambda s: s**2 if s in GRID else math.nan, 0.5, refine=refine)
    with pytest.raises(OutOfReach, match="pass smaller strengths"):
        found_on(lambda _: math.nan, 0.5)


def test_a_target_at_a_strength_of_the_grid_is_taken_there() -> None:
    assert found_on(lambda s: s, 0.5).strength == 0.5
    assert found_on(lambda s: s, 4.0).strength == 4.0
    start = found_on(lambda s: 0.5 + s, 0.5)  # at once, without steering
    assert (start.strength, start.realised) == (0, 0.5)


def test_strengths_may_be_negative() -> None:
    found = found_on(lambda s: s**2, 0.3, [-s for s in GRID])
    assert found.strength == pytest.approx(-math.sqrt(0.3), rel=CLOSE)
    assert found.strengths[0] == 0
    assert found.shape == "rising"


def test_what_is_not_refined_is_measured_where_the_straight_line_meets_it() -> None:
    measure, asked = planted(lambda s: s**2)
    found = find_crossing(measure, "behaviour", 0.625, GRID, refine=False)
    assert found.strength == pytest.approx(0.75)  # half of the way from 0.25 to 1
    assert asked == [*GRID, found.strength]
    assert found.realised == pytest.approx(0.75**2)  # what it is, not what was asked
    assert found.strength in found.strengths


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ((0, 1, 2, 3, 4, 5), "rising"),
        ((0, 3, 4, 4.99, 5, 5), "saturating"),
        ((0, 1, 2, 3, 2.95, 5), "rising"),  # a dip of 1 % of the height
        ((0, 1, 2, 3, 2.8, 5), "not monotone"),
        ((5, 4, 3), "not monotone"),
    ],
)
def test_the_shape_of_a_curve(values: tuple[float, ...], shape: str) -> None:
    assert shape_of([float(x) for x in values]) == shape


def test_the_figure_shows_curve_target_and_crossings() -> None:
    found = found_on(lambda s: abs(s - 1), 0.5, tuple(np.linspace(0, 4, 9)))
    figure = found.figure()
    [axes] = figure.axes
    curve: Any = axes.lines[0]
    assert list(curve.get_xdata()) == list(found.strengths)
    assert list(curve.get_ydata()) == list(found.values)
    lines: list[Any] = list(axes.lines[2:-1])
    shown = [line.get_xdata()[0] for line in lines]
    assert shown == list(found.crossings)


# Real models.


def test_a_method_is_calibrated_to_a_cost(bridge: Any, pairs: ContrastivePairs) -> None:
    method, kl = push(bridge), 0.1
    found = calibrate(bridge, method, pairs, kl=kl, **QUICK)
    texts = FixedTexts.sample(bridge, pairs, **TEXTS)
    nats = texts.nats(bridge, [(found,)]).sum() / texts.draws.sum()
    assert nats.item() == pytest.approx(kl, rel=CLOSE + AGAIN)
    assert found.report.realised == pytest.approx(kl, rel=CLOSE)
    assert found.report.strength == found.strength
    assert found.vectors[0] is method.vectors[0]
    assert (method.strength, method.report) == (1, None)


def test_a_curve_that_flattens_is_followed_from_strength_to_strength(embedded: Any) -> None:
    """A regulator costs less and less than local nats foretell; once all its grid was tried."""
    model = embedded
    train, dev, _ = ContrastivePairs.load("organism:sentiment").split(0.05, 0.05, 0.9, seed=0)
    resid = capture(model, train, "resid", progress=False)
    jacobians = ls.linearize(model, train, dense=False, progress=False)
    method = ls.LQR.fit_feature(jacobians, resid)
    found = calibrate(model, method, dev, kl=0.07, max_new_tokens=8, seed=0, progress=False)
    assert found.report.realised == pytest.approx(0.07, rel=CLOSE)
    assert found.report.predicted is not None
    assert found.strength > 1.2 * found.report.predicted
    assert not found.report.scanned_because
    assert len(found.report.strengths) <= 12
    scan = calibrate(
        model,
        method,
        dev,
        kl=0.07,
        strengths=[found.strength * i / 4 for i in range(6)],
        max_new_tokens=8,
        seed=0,
        progress=False,
    )
    assert scan.strength == pytest.approx(found.strength, rel=5 * CLOSE)


def test_a_method_is_calibrated_to_a_size(llama: Any, pairs: ContrastivePairs) -> None:
    method = CAA.fit(capture(llama, pairs, "resid").at(layer=1)).with_strength(-0.5)
    found = calibrate(llama, method, pairs, relative_norm=0.2, **HOW)
    [sizes] = FixedTexts.sample(llama, pairs, **TEXTS).sizes(llama, [(found,)])
    assert sizes.relative_norm == pytest.approx(0.2, rel=CLOSE + AGAIN)
    assert found.strength < 0
    assert isinstance(found, CAA)


def test_along_texts_at_hand_a_method_is_calibrated_as_along_its_own(
    llama: Any, pairs: ContrastivePairs
) -> None:
    texts = FixedTexts.sample(llama, pairs, **TEXTS)
    grid = QUICK["strengths"]
    along = calibrate_along(llama, push(llama), texts, kl=0.1, strengths=grid, progress=False)
    assert along.report == calibrate(llama, push(llama), pairs, kl=0.1, **QUICK).report
    with pytest.raises(ValueError, match="expected exactly one of kl, relative_norm$"):
        calibrate_along(llama, push(llama), texts)


def test_a_method_is_calibrated_to_a_behaviour(llama: Any, pairs: ContrastivePairs) -> None:
    # the more it is pushed towards a word, the more texts have it
    [word] = llama.tokenizer(" the", add_special_tokens=False)["input_ids"]
    direction = llama.W_U.detach()[:, word]
    method = Additive((Site(3),), (8 * direction / direction.norm(),))

    def judge(prompts: Sequence[str], texts: Sequence[str]) -> Tensor:
        return torch.tensor([float("the" in text) for text in texts])

    more = ContrastivePairs.of([(f"The {c} dog", " a", " b") for c in "abcdefghijklmnopqrst"])
    found = calibrate(llama, method, more, behaviour=0.5, judge=judge, **QUICK)
    again = evaluate(llama, more, found, judge=judge, **TEXTS)
    assert found.report.realised == pytest.approx(again.share)
    assert again.share == pytest.approx(0.5, abs=0.2)
    assert found.report.quantity == "behaviour"


def test_strengths_given_are_the_ones_looked_at_first(llama: Any, pairs: ContrastivePairs) -> None:
    found = calibrate(llama, push(llama), pairs, relative_norm=0.1, strengths=(0, 0.01, 3), **HOW)
    assert {0.0, 0.01, 3.0} <= set(found.report.strengths)
    with pytest.raises(ValueError, match="0.1 is not reached: .* 0 and 0.01 it goes"):
        calibrate(llama, push(llama), pairs, relative_norm=0.1, strengths=(0.0, 0.01), **HOW)


def test_what_wraps_round_is_not_looked_at_beyond_its_end(llama: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    sides = torch.randn(2, 9, llama.cfg.d_model, generator=generator)
    sides[0] += 1
    pairs = ContrastivePairs.of([("the cat", "a", "b"), ("a dog", "a", "b")])
    for method, end in (
        (Angular.fit(*sides, to_angle=0.0), 1.0),
        (Angular.fit(*sides, angle=-2.0), math.pi / 2),
        (Angular.fit(*sides, to_angle=0.0).with_strength(-0.5), -1.0),
    ):
        assert abs(end) == pytest.approx(method.max_useful_strength)
        found = calibrate(llama, method, pairs, relative_norm=1e-3, **HOW).report
        assert found.strengths[-1] == pytest.approx(end) or found.strengths[0] == end
        assert max(map(abs, found.strengths)) <= method.max_useful_strength
    assert Angular.fit(*sides, angle=0.0).max_useful_strength == math.inf


def test_a_method_is_calibrated_below_the_strength_that_breaks_the_model(
    llama: Any, pairs: ContrastivePairs
) -> None:
    method = push(llama)
    how: dict[str, Any] = HOW | {"strengths": (0, 1, 3, 1e39)}
    for target in ({"kl": 0.05}, {"relative_norm": 0.05}):
        found = calibrate(llama, method, pairs, **target, **how)
        assert 0 < found.strength < 3
        assert not math.isfinite(found.report.values[-1])
    with pytest.raises(OutOfReach, match="NaN or infinite at strength 1e\\+39"):
        calibrate(llama, method, pairs, kl=1e6, **how)


def test_the_same_seed_gives_the_same_strength(llama: Any, pairs: ContrastivePairs) -> None:
    one, again = (calibrate(llama, push(llama), pairs, kl=0.1, **QUICK) for _ in range(2))
    assert one.strength == again.strength
    assert one.report == again.report


def test_any_method_is_calibrated(llama: Any, pairs: ContrastivePairs) -> None:
    found = calibrate(llama, Scale(), pairs, kl=0.05, **QUICK)
    assert isinstance(found, Scale)
    assert found.report.realised == pytest.approx(0.05, rel=CLOSE)


# The report.


def test_another_strength_drops_the_report(llama: Any, pairs: ContrastivePairs) -> None:
    found = calibrate(llama, push(llama), pairs, relative_norm=0.1, **QUICK)
    assert found.report is not None
    assert found.with_strength(found.strength).report is None
    for other in (2 * found, -found, found + found):
        assert other.report is None
    assert "report" not in repr(found)


def test_the_report_is_saved_with_its_method(
    llama: Any, pairs: ContrastivePairs, tmp_path: Path
) -> None:
    method = CAA.fit(capture(llama, pairs, "resid").at(layer=1))
    found = calibrate(llama, method, pairs, kl=0.1, **QUICK)
    ls.save(found, tmp_path / "m.safetensors")
    again = ls.load(tmp_path / "m.safetensors", model=llama)
    assert again.strength == found.strength
    assert again.report == found.report
    assert torch.equal(again.vectors[0], found.vectors[0])
    ls.save(found.report, tmp_path / "r.safetensors")
    assert ls.load(tmp_path / "r.safetensors") == found.report


# What cannot be calibrated.


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ({}, "expected exactly one of kl, relative_norm, behaviour"),
        ({"kl": 0.1, "relative_norm": 0.1}, "expected exactly one"),
        ({"kl": 0.0}, "kl=0.0, expected a finite number above 0"),
        ({"kl": -1}, "kl=-1, expected a finite number above 0"),
        ({"kl": math.inf}, "kl=inf, expected"),
        ({"kl": math.nan}, "kl=nan, expected"),
        ({"relative_norm": -0.1}, "relative_norm -0.1: expected"),
        ({"behaviour": 1.2}, "behaviour 1.2: expected a positive number, at most 1"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused(
    llama: Any, pairs: ContrastivePairs, targets: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        calibrate(llama, push(llama), pairs, **targets, **HOW)


@pytest.mark.parametrize(
    ("strengths", "said"),
    [
        ((), "expected two finite ones or more"),
        ((1.0,), "expected two finite ones or more"),
        ((0.0, math.inf), "expected two finite ones"),
        ((-1.0, 0.0, 1.0), "on both sides of 0"),
    ],
)
def test_strengths_that_make_no_curve_are_refused(
    llama: Any, pairs: ContrastivePairs, strengths: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        calibrate(llama, push(llama), pairs, kl=0.1, strengths=strengths, **HOW)


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes a text fails the test."""

    def busy(*args: Any, **options: Any) -> Any:
        raise AssertionError("work was begun")

    for place in ("fixed_texts.continuations", "evaluating.sample_with_kl"):
        monkeypatch.setattr(f"lens_steer.evaluation.{place}", busy)


@pytest.mark.usefixtures("untyped", "idle")
@pytest.mark.parametrize("wrong", [[], [("a", "b", "c")], None])
def test_what_are_not_pairs_is_refused_before_any_work(llama: Any, wrong: Any) -> None:
    for target in ({"kl": 0.1}, {"behaviour": 0.5}):
        with pytest.raises(ValueError, match=r"expected a ContrastivePairs: ls.ContrastivePairs"):
            calibrate(llama, push(llama), wrong, **target, **HOW)
    with pytest.raises(ValueError, match=r"expected a ContrastivePairs: ls.ContrastivePairs"):
        evaluate(llama, wrong, **TEXTS)


@pytest.mark.usefixtures("idle")
def test_a_method_of_another_model_is_refused_before_any_work(
    llama: Any, gpt2: Any, pairs: ContrastivePairs
) -> None:
    method = CAA.fit(capture(gpt2, pairs, "resid").at(layer=1))
    with pytest.raises(ValueError, match="model"):
        calibrate(llama, method, pairs, kl=0.1, **QUICK)
    with pytest.raises(ValueError, match="shape"):
        calibrate(llama, Additive((Site(1),), (torch.ones(7),)), pairs, kl=0.1, **HOW)


@pytest.mark.usefixtures("idle")
def test_unpaired_texts_without_a_judge_are_refused_before_any_work(llama: Any) -> None:
    pairs = ContrastivePairs.unpaired(["a b"], ["c d", "e f"])
    with pytest.raises(ValueError, match="pass judge="):
        calibrate(llama, push(llama), pairs, behaviour=0.5, **HOW)


def test_a_cost_between_greedy_texts_is_refused(llama: Any, pairs: ContrastivePairs) -> None:
    with pytest.raises(ValueError, match="expected a positive temperature"):
        calibrate(llama, push(llama), pairs, kl=0.1, temperature=0.0, **HOW)


@pytest.mark.usefixtures("untyped")
def test_a_judge_that_cannot_be_used_is_named(llama: Any, pairs: ContrastivePairs) -> None:
    def judge(prompts: Any, texts: Any) -> Tensor:
        return torch.full((len(texts),), 3.0)

    with pytest.raises(ValueError, match="gave 3 for"):
        calibrate(llama, push(llama), pairs, behaviour=0.5, judge=judge, **HOW)


def test_a_method_switched_off_is_calibrated_from_its_unit_strength(
    llama: Any, pairs: ContrastivePairs
) -> None:
    off = replace(push(llama), strength=0)
    assert calibrate(llama, off, pairs, relative_norm=0.1, **HOW).strength > 0


@dataclass(frozen=True, eq=False, repr=False)
class Interrupted(Additive):
    """Ctrl-C at the third edit of a calibration."""

    calls: list[int] = field(default_factory=list)

    def edits(self, model: Any) -> dict[Site, Any]:
        return {site: partial(self._stop, edit) for site, edit in super().edits(model).items()}

    def _stop(self, edit: Any, x: Tensor) -> Tensor:
        self.calls.append(1)
        if len(self.calls) == 3:
            raise KeyboardInterrupt
        return edit(x)


def test_an_interrupted_calibration_leaves_no_hook(
    fresh_model: Any, pairs: ContrastivePairs
) -> None:
    model = fresh_model("llama")
    evaluate(model, pairs, push(model), max_new_tokens=6, seed=3)  # what libraries place themselves
    before, tokens = traces(model), model.to_tokens("The cat")
    logits = model(tokens)
    one = push(model)
    with pytest.raises(KeyboardInterrupt):
        calibrate(model, Interrupted(one.at, one.vectors), pairs, kl=0.1, **TEXTS, progress=False)
    assert traces(model) == before
    assert torch.equal(model(tokens), logits)
