"""Figures and numbers made of comparisons that were written down by hand, so that all is known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, isinf, isnan, log
from typing import Any

import numpy as np
import pytest
import torch

from lens_steer.benchmark import (
    REFERENCES,
    Comparison,
    ComparisonConfig,
    CostTails,
    DoseResponse,
    EnergyMap,
    FixedCosts,
    Frontier,
    Specificity,
    Trial,
    collapse_dose,
)
from lens_steer.benchmark.doses import central, half_dose, with_intact
from lens_steer.benchmark.drawing import all_methods, colours, errors, marks
from lens_steer.evaluation import Evaluation, TextCosts, binary_kl, least_nats
from lens_steer.intervals import Interval
from lens_steer.reports import Report

N, GROUPS = 40, 8
MULTIPLES = (0.5, 1.0, 2.0)
EXACT = 1e-9  # sums of float64
SINGLE = 1e-6  # behaviour is kept in float32
Energy = tuple[tuple[int, float], ...]


def shown(share: float, n: int = N) -> torch.Tensor:
    """Zeros and ones of that share, in an order that depends on the share alone."""
    yes = round(share * n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(yes))
    return (torch.arange(n) < yes).float()[order]


def trial(  # what a trial is made of
    method: str,
    share: float,
    *,
    behaviour: str = "joy",
    multiple: float = 1.0,
    fit: int = 0,
    intact: float | None = 1.0,
    nats: float | Sequence[float] = 1.0,
    surprise: float | Sequence[float] = 20.0,
    energy: Energy = (),
) -> Trial:
    groups = tuple(i % GROUPS for i in range(N))
    cost = torch.zeros(N).double() + torch.tensor(nats).double()
    taken = torch.zeros(N).double() + torch.tensor(surprise).double()
    ten = torch.full((N,), 10.0).double()
    formed = None if intact is None else shown(intact).bool()
    costs = TextCosts(cost, ten, taken, ten)
    found = Evaluation(shown(share), groups, 5.0, ("text",) * N, formed, costs, groups)
    fixed = FixedCosts(cost, ten, ten, ten, ten, energy) if energy else None
    return Trial(method, behaviour, "tiny", fit, 0, multiple, method, found, fixed)


def curve(method: str, shares: Sequence[float], **options: Any) -> list[Trial]:
    """A method at MULTIPLES, costing as many nats as its multiple."""
    intact = options.pop("intact", (1.0,) * len(shares))
    rows = zip(MULTIPLES, shares, intact, strict=True)
    options = {"energy": ((3, 1.0),), **options}
    return [trial(method, s, multiple=m, intact=i, nats=m, **options) for m, s, i in rows]


def unsteered(share: float, **options: Any) -> Trial:
    return trial("unsteered", share, multiple=0.0, nats=0.0, **options)


def comparison(*trials: Trial) -> Comparison:
    return Comparison(tuple(trials), ComparisonConfig(multiples=MULTIPLES), {})


@pytest.fixture
def many() -> Comparison:
    """Six methods, some with long names, beside every reference."""
    source = torch.Generator().manual_seed(0)
    names = ("CAA", "LQR with a feature cost and a centred set-point, layers 1-4", "PID")
    names += ("ODESteer with a degree-2 polynomial barrier", "SADI over the 8 best heads", "mean")
    trials = [unsteered(0.4), trial("prompting", 0.9), trial("best of n", 0.8, nats=0.6)]
    for i, name in enumerate(("random", "learned", *names)):
        layers = tuple((layer, 0.2) for layer in range(5)) if i % 2 else ((3, 1.0),)
        shares = (0.4 + 0.02 * i, 0.4 + 0.05 * i, 0.95 - 0.03 * i)
        for one in curve(name, shares, intact=(1.0, 0.9, 0.1 * i), energy=layers):
            costs = one.evaluation.text_costs
            assert costs is not None
            kl = costs.kl * torch.exp(torch.randn(N, generator=source).double())
            evaluation = replace(one.evaluation, text_costs=replace(costs, kl=kl))
            trials.append(replace(one, evaluation=evaluation))
    return comparison(*trials)


def texts_of(figure: Any) -> str:
    """All that is written on a figure."""
    from matplotlib.text import Text

    return "\n".join(t.get_text() for t in figure.findobj(Text))


# --- colours ---


def test_references_keep_their_muted_colours_and_methods_count_from_c0() -> None:
    found = colours([*REFERENCES, "CAA", "LQR"])
    assert (found["CAA"], found["LQR"]) == ("C0", "C1")
    assert colours(["CAA", "unsteered", "LQR"]) == {
        name: found[name] for name in ("CAA", "unsteered", "LQR")
    }
    assert len(set(found.values())) == len(found)


def test_no_two_of_nine_methods_look_alike() -> None:
    names = [*REFERENCES, *map(str, range(9))]
    looks = {(colours(names)[name], marks(names)[name]) for name in names}
    assert len(looks) == len(names)


def test_methods_of_several_behaviours_have_one_order() -> None:
    c = comparison(
        *curve("B", (0.5, 0.6, 0.7)),
        unsteered(0.4),
        unsteered(0.4, behaviour="fear"),
        *curve("A", (0.5, 0.6, 0.7), behaviour="fear"),
        *curve("B", (0.5, 0.6, 0.7), behaviour="fear"),
    )
    assert all_methods(c) == ("unsteered", "B", "A")


def test_error_bars_are_never_negative_and_nan_where_an_end_is_missing() -> None:
    found = errors([Interval(1.0, 1.5, 3.0), Interval(1.0, float("nan"), inf)])
    np.testing.assert_array_equal(found, [[0.0, np.nan], [2.0, np.nan]])


# --- frontier ---


def test_floor_is_the_binary_divergence_at_known_points() -> None:
    found = least_nats(np.array([0.0, 0.5, 0.75, 1.0]), 0.5)
    wanted = [log(2), 0.0, 0.75 * log(1.5) + 0.25 * log(0.5), log(2)]
    np.testing.assert_allclose(found, wanted, atol=EXACT)
    assert least_nats(np.array([0.0, 0.1]), 0.0).tolist() == [0.0, inf]


@pytest.mark.parametrize("reference", [0.05, 0.4, 0.9])
def test_floor_is_that_of_single_numbers(reference: float) -> None:
    shares = np.linspace(0, 1, 21)
    wanted = [binary_kl(float(y), reference) for y in shares]
    np.testing.assert_allclose(least_nats(shares, reference), wanted, atol=EXACT)


def test_frontier_shows_shares_nats_and_efficiency_of_every_strength() -> None:
    c = comparison(unsteered(0.25), *curve("CAA", (0.5, 0.75, 1.0)), trial("best of n", 0.75))
    found = Frontier.of(c, "joy")
    table = found.table().set_index(["method", "multiple"])
    assert list(table.loc["CAA", "kl_sequence"]) == list(MULTIPLES)
    assert list(table.loc["CAA", "behaviour"]) == [0.5, 0.75, 1.0]
    least = [binary_kl(y, 0.25) for y in (0.5, 0.75, 1.0)]
    np.testing.assert_allclose(table.loc["CAA", "floor"], least, atol=SINGLE)
    paid = table.loc["CAA", "efficiency"] * np.array(MULTIPLES)
    np.testing.assert_allclose(paid, least, atol=SINGLE)
    assert isnan(table.loc[("unsteered", 0.0), "efficiency"])
    assert found.unsteered.mean == 0.25
    assert found.groups == GROUPS


def test_what_costs_the_floor_has_efficiency_one() -> None:
    best = trial("conditioned", 1.0, nats=log(4))
    table = Frontier.of(comparison(unsteered(0.25), best), "joy").table().set_index("method")
    assert table.loc["conditioned", "efficiency"] == pytest.approx(1.0, abs=SINGLE)


def test_frontier_agrees_with_the_table_of_the_comparison(many: Comparison) -> None:
    ours = Frontier.of(many, "joy").table().query("multiple in (0, 1)").set_index("method")
    theirs = many.table().set_index("method")
    for name in ("behaviour", "kl_sequence", "efficiency"):
        for end in ("", "_low", "_high"):
            a, b = ours[name + end], theirs[name + end].reindex(ours.index)
            np.testing.assert_allclose(a, b, atol=EXACT)


def test_the_order_of_trials_changes_nothing(many: Comparison) -> None:
    turned = replace(many, trials=many.trials[:1] + many.trials[:0:-1])
    one, other = (Frontier.of(c, "joy").table() for c in (many, turned))
    keys = ["method", "multiple"]
    one, other = (t.sort_values(keys).reset_index(drop=True) for t in (one, other))
    assert one.equals(other)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_frontier_is_drawn_when_the_unsteered_model_never_or_always_does_it(share: float) -> None:
    c = comparison(unsteered(share), *curve("CAA", (0.5, 0.75, 1.0)))
    figure = Frontier.of(c, "joy").figure()
    figure.draw_without_rendering()
    assert "the floor is infinite" in texts_of(figure)


def test_an_efficiency_is_not_known_where_the_floor_is_infinite() -> None:
    table = Frontier.of(comparison(unsteered(0.0), trial("CAA", 0.9)), "joy").table()
    row = table.set_index("method").loc["CAA"]
    assert row["floor"] == inf
    assert isnan(row["efficiency"])


def test_resamples_without_a_floor_leave_an_interval_of_numbers() -> None:
    plain = unsteered(0.0)  # what shows the behaviour is all in one of the groups
    rare = (torch.arange(N) % GROUPS == 0).float()
    plain = replace(plain, evaluation=replace(plain.evaluation, behaviour=rare))
    table = Frontier.of(comparison(plain, trial("CAA", 0.9)), "joy").table().set_index("method")
    assert np.isfinite(
        table[["efficiency_low", "efficiency_high"]].loc["CAA"].to_numpy(float)
    ).all()


# --- doses ---


def dose(c: Comparison, method: str = "CAA") -> Any:
    [found] = [x for x in DoseResponse.of(c, "joy").doses if x.method == method]
    return found


def test_ed50_cd50_and_window_are_where_they_were_planted() -> None:
    # half-way from 0.2 to 1 is 0.6: a third of the way from 0.5 (at 1) to 0.8 (at 2)
    steered = curve("CAA", (0.3, 0.5, 0.8), intact=(1.0, 0.75, 0.25))
    found = dose(comparison(unsteered(0.2), *steered))
    assert found.ed50.mean == pytest.approx(4 / 3, abs=SINGLE)
    assert found.cd50.mean == pytest.approx(1.5, abs=SINGLE)
    assert found.window.mean == pytest.approx(9 / 8, abs=SINGLE)
    assert found.ed50.low <= found.ed50.mean <= found.ed50.high
    assert found.largest == 2.0


def test_a_dose_may_lie_between_no_steering_and_the_least_strength() -> None:
    found = dose(comparison(unsteered(0.2), *curve("CAA", (1.0, 1.0, 1.0))))
    assert found.ed50.mean == pytest.approx(0.25, abs=SINGLE)


def test_the_first_crossing_counts() -> None:
    shares = np.array([0.0, 0.6, 0.2, 0.9])
    assert half_dose(shares, np.array([0.0, 0.6, 1.0, 2.0])) == pytest.approx(0.5)
    assert collapse_dose(1 - shares, np.array([0.0, 0.6, 1.0, 2.0])) == pytest.approx(0.5)


def test_scaling_the_multiples_scales_the_doses() -> None:
    shares, multiples = np.random.default_rng(0).random((50, 6)), np.arange(6.0)
    for read in (half_dose, collapse_dose):
        np.testing.assert_allclose(read(shares, 3 * multiples), 3 * read(shares, multiples))


def test_what_is_not_reached_is_infinite_and_the_figure_says_so() -> None:
    weak = curve("weak", (0.2, 0.3, 0.3))
    broken = curve("broken", (0.2, 0.2, 0.2), intact=(1.0, 0.5, 0.0))
    strong = curve("strong", (0.6, 0.8, 1.0))
    c = comparison(unsteered(0.2), *weak, *broken, *strong)
    assert isinf(dose(c, "weak").ed50.mean)
    assert isinf(dose(c, "weak").cd50.mean)
    assert isnan(dose(c, "weak").window.mean)
    assert dose(c, "broken").window.mean == 0.0
    assert dose(c, "strong").window.mean == inf
    written = texts_of(DoseResponse.of(c, "joy").figure())
    assert "ED50 beyond 2, CD50 beyond 2, window unknown" in written
    assert "CD50 beyond 2, window over 4" in written
    assert "window below 0.5" in written


def test_an_end_that_resamples_do_not_reach_is_infinite() -> None:
    found = dose(comparison(unsteered(0.2), *curve("CAA", (0.3, 0.5, 0.625))))
    assert np.isfinite(found.ed50.low)
    assert found.ed50.high == inf


def test_methods_of_one_strength_have_no_dose(many: Comparison) -> None:
    names = [x.method for x in DoseResponse.of(many, "joy").doses]
    assert "random" in names
    assert not {"unsteered", "prompting", "best of n"} & set(names)


def test_without_a_judge_of_form_too_likely_and_too_unlikely_texts_are_not_intact() -> None:
    usual = [10.0 + i for i in range(N)]
    odd = [1.0] * 10 + [99.0] * 10 + [30.0] * 20
    plain = unsteered(0.2, intact=None, surprise=usual)
    c = comparison(plain, trial("CAA", 0.5, intact=None, surprise=odd))
    found = with_intact(c).trials[1].evaluation.well_formed
    assert found is not None
    assert found.tolist() == [False] * 20 + [True] * 20
    assert with_intact(with_intact(c)).trials[1].evaluation.well_formed is found or found.any()


def test_the_central_range_holds_95_of_100_and_no_empty_text() -> None:
    usual = torch.arange(1000).double()
    assert central(usual, usual).double().mean().item() == pytest.approx(0.95, abs=0.002)
    assert not central(torch.tensor([float("nan")]).double(), usual).any()


def test_a_judge_that_knows_form_is_believed() -> None:
    c = comparison(unsteered(0.2), *curve("CAA", (0.3, 0.5, 0.8), surprise=1e6))
    assert all(a is b for a, b in zip(with_intact(c).trials, c.trials, strict=True))


# --- where it goes ---


def test_energy_is_what_was_planted_with_zeros_elsewhere() -> None:
    c = comparison(
        unsteered(0.2),
        trial("CAA", 0.5, energy=((3, 1.0),)),
        *(trial("LQR", 0.5, fit=i, energy=((1, 0.2 * i), (2, 1 - 0.2 * i))) for i in (1, 2)),
    )
    table = EnergyMap.of(c, "joy").table()
    found = {n: list(part["energy"]) for n, part in table.groupby("method", sort=False)}
    assert list(table["layer"]) == [1, 2, 3] * 2
    assert found["CAA"] == [0.0, 0.0, 1.0]
    assert found["LQR"] == pytest.approx([0.3, 0.7, 0.0], abs=EXACT)


def test_energy_of_one_fit_has_no_interval() -> None:
    c = comparison(unsteered(0.2), *curve("CAA", (0.3, 0.5, 0.8)))
    assert np.isnan(EnergyMap.of(c, "joy").table()["energy_low"].to_numpy()).all()


def test_nothing_edited_is_refused() -> None:
    with pytest.raises(ValueError, match="no method edits"):
        EnergyMap.of(comparison(unsteered(0.2), trial("prompting", 0.9)), "joy")


# --- specificity ---


def odds(share: float) -> float:
    """Log-odds with half a text added to either side."""
    return log((share * N + 0.5) / ((1 - share) * N + 0.5))


def block(shares: Mapping[tuple[str, str], float]) -> Comparison:
    """Each method's share at multiple 1 on each behaviour; straight up to there, flat after."""
    plain = {b: unsteered(0.2, behaviour=b) for _, b in shares}
    steered = [
        t
        for (method, b), share in shares.items()
        for t in curve(method, ((share + 0.2) / 2, share, share), behaviour=b)
    ]
    return comparison(*plain.values(), *steered)


PLANTED = {("A", "joy"): 0.6, ("A", "fear"): 0.2, ("B", "joy"): 0.1, ("B", "fear"): 0.6}
MEANT = {"A": "joy", "B": "fear"}


def matrix(found: Specificity) -> np.ndarray:
    return np.array([[x.mean for x in row] for row in found.entries])


def test_a_planted_block_matrix_is_found_again() -> None:
    found = Specificity.of(block(PLANTED), MEANT)
    assert found.doses == pytest.approx((1.0, 1.0), abs=SINGLE)  # half-way from 0.2 to 1 is 0.6
    away = (odds(0.1) - odds(0.2)) / (odds(0.6) - odds(0.2))
    np.testing.assert_allclose(matrix(found), [[1.0, 0.0], [away, 1.0]], atol=1e-5)
    assert found.entries[0][0].low == pytest.approx(1.0)
    assert found.n == (N, N)


def test_each_method_is_taken_at_its_own_dose() -> None:
    steep = {**PLANTED, ("A", "joy"): 1.0, ("A", "fear"): 0.6}
    found = Specificity.of(block(steep), MEANT)
    assert found.doses == pytest.approx((0.5, 1.0), abs=SINGLE)
    half = (odds(0.4) - odds(0.2)) / (odds(0.6) - odds(0.2))
    assert matrix(found)[0, 1] == pytest.approx(half, abs=1e-5)


def test_shares_of_none_and_all_are_finite() -> None:
    extreme = {**PLANTED, ("B", "joy"): 0.0, ("A", "fear"): 1.0}
    assert np.isfinite(matrix(Specificity.of(block(extreme), MEANT))).all()


def test_more_fits_of_the_same_change_nothing() -> None:
    one = block(PLANTED)
    again = [replace(t, fit=1) for t in one.trials if t.method != "unsteered"]
    two = replace(one, trials=(*one.trials, *again))
    found = matrix(Specificity.of(two, MEANT))
    # twice the texts: half a text added weighs less
    np.testing.assert_allclose(found, matrix(Specificity.of(one, MEANT)), atol=0.03)


def test_the_order_of_methods_only_turns_the_matrix() -> None:
    c = block(PLANTED)
    found, turned = (Specificity.of(c, dict(m)) for m in (MEANT.items(), [*MEANT.items()][::-1]))
    np.testing.assert_allclose(matrix(turned), matrix(found)[::-1, ::-1], atol=EXACT)


def test_numbers_that_may_be_zero_are_grey() -> None:
    figure = Specificity.of(block(PLANTED), MEANT).figure()
    cells = {t.get_text().split("\n")[0]: t.get_color() for t in figure.axes[0].texts}
    assert cells["0.00"] == "0.4"
    assert cells["1.00"] == "white"


def test_what_specificity_cannot_do_is_refused() -> None:
    weak = {**PLANTED, ("A", "joy"): 0.3}
    with pytest.raises(ValueError, match=r"'A' has no ED50 on 'joy'.*larger multiples"):
        Specificity.of(block(weak), MEANT)
    missing = {pair: share for pair, share in PLANTED.items() if pair != ("A", "fear")}
    with pytest.raises(ValueError, match="'A' was not run on the prompts of 'fear'"):
        Specificity.of(block(missing), MEANT)
    with pytest.raises(ValueError, match="one method per behaviour"):
        Specificity.of(block(PLANTED), {"A": "joy", "B": "joy"})
    with pytest.raises(ValueError, match="no trials of behaviour 'hope'"):
        Specificity.of(block(PLANTED), {"A": "joy", "B": "hope"})
    c = block(PLANTED)
    again = [replace(t, fit=1) for t in c.trials if t.method == "A"]
    with pytest.raises(ValueError, match="numbers of fits and seeds differ"):
        Specificity.of(replace(c, trials=(*c.trials, *again)), MEANT)


# --- tails ---


def test_mean_median_and_quantile_of_known_nats() -> None:
    nats = [float(i) for i in range(1, N + 1)]
    c = comparison(unsteered(0.2), trial("CAA", 0.5, nats=nats))
    [tail] = CostTails.of(c, "joy").tails
    assert (tail.mean.mean, tail.median.mean, tail.high.mean) == (20.5, 20.0, 38.0)
    for found in (tail.mean, tail.median, tail.high):
        assert found.low <= found.mean <= found.high
    assert tail.median.low < tail.median.high


def test_equal_nats_have_an_interval_without_width() -> None:
    c = comparison(unsteered(0.2), trial("best of n", 0.5, nats=0.6))
    [tail] = CostTails.of(c, "joy").tails
    assert (tail.median.low, tail.median.high) == pytest.approx((0.6, 0.6))


def test_quantile_intervals_hold_the_truth() -> None:
    """Median of exponential costs, ln 2; one text in each of 40 groups."""
    held = 0
    for seed in range(60):
        source = torch.Generator().manual_seed(seed)
        nats = torch.empty(N).exponential_(generator=source).tolist()
        one = trial("CAA", 0.5, nats=nats)
        own = replace(one.evaluation, groups=tuple(range(N)), text_groups=tuple(range(N)))
        plain = unsteered(0.2)
        flat = replace(
            plain, evaluation=replace(plain.evaluation, groups=own.groups, text_groups=own.groups)
        )
        [tail] = CostTails.of(comparison(flat, replace(one, evaluation=own)), "joy").tails
        held += tail.median.low <= log(2) <= tail.median.high
    assert held >= 52  # 57 expected of 60


def test_costs_nowhere_are_refused() -> None:
    with pytest.raises(ValueError, match="no method costs anything"):
        CostTails.of(comparison(unsteered(0.2)), "joy")


# --- all of them ---


@pytest.mark.parametrize("report", [Frontier, DoseResponse, EnergyMap, CostTails])
def test_several_models_are_drawn_again_as_wholes(report: Any) -> None:
    trials = [unsteered(0.3), *curve("CAA", (0.4, 0.6, 0.9), intact=(1.0, 0.8, 0.3))]
    again = [replace(t, model=f"tiny {i}") for i in range(3) for t in trials]
    one, several = (report.of(comparison(*t), "joy").table() for t in (trials, again))
    names = [n for n in one.select_dtypes("number") if not n.endswith(("_low", "_high"))]
    names = [n for n in names if n != "n"]
    np.testing.assert_allclose(one[names], several[names], atol=EXACT)


@pytest.mark.parametrize("report", [Frontier, DoseResponse, EnergyMap, CostTails])
def test_a_behaviour_that_is_not_there_is_refused(report: Any, many: Comparison) -> None:
    with pytest.raises(ValueError, match=r"no trials of behaviour 'hope': there are \['joy'\]"):
        report.of(many, "hope")


@pytest.mark.parametrize("report", [Frontier, DoseResponse, EnergyMap, CostTails])
def test_every_figure_says_what_was_counted_and_is_drawn_without_a_warning(
    report: Any, many: Comparison
) -> None:
    figure = report.of(many, "joy").figure()
    figure.draw_without_rendering()
    written = texts_of(figure)
    assert "95 % intervals" in written
    assert "SADI over the 8 best heads" in written
    assert len(report.of(many, "joy").table()) > 0


def test_figures_draw_the_numbers_of_their_tables(many: Comparison) -> None:
    frontier: Any = Frontier.of(many, "joy")
    table = frontier.table()
    panels: Any = frontier.figure().axes
    left, right = panels
    for axes, quantity in ((left, "behaviour"), (right, "efficiency")):
        whole = table[np.isfinite(table[quantity])]
        expected = {tuple(row) for row in whole[["kl_sequence", quantity]].values}
        dots = {
            tuple(xy)
            for line in axes.lines
            if len(line.get_xdata()) == 1
            for xy in line.get_xydata()
        }
        assert expected <= dots
    response = DoseResponse.of(many, "joy")
    curves: Any = response.curves()
    panels = response.figure().axes
    for axes, quantity in zip(panels, ("behaviour", "intact"), strict=True):
        for dose in response.doses:
            shares = curves[curves["method"] == dose.method][quantity].tolist()
            assert shares in [
                line.get_ydata().tolist() for line in axes.lines if len(line.get_xdata()) > 2
            ]
    energy: Any = EnergyMap.of(many, "joy")
    panels = energy.figure().axes
    [axes] = panels
    assert [bar.get_height() for bar in axes.patches] == energy.table()["energy"].tolist()
    tails = CostTails.of(many, "joy")
    panels = tails.figure().axes
    [axes] = panels
    middles = {bars.lines[0].get_xdata()[0] for bars in axes.containers}
    assert {tail.median.mean for tail in tails.tails} <= middles


@pytest.mark.parametrize("report", [Frontier, DoseResponse, EnergyMap, CostTails])
def test_nothing_written_lies_outside_the_figure(report: Any, many: Comparison) -> None:
    figure = report.of(many, "joy").figure()
    figure.draw_without_rendering()
    [legend] = figure.legends
    box, whole = legend.get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0 < box.x1 <= whole.x1
    assert whole.y0 <= box.y0 < box.y1 <= whole.y1
    axes = figure.axes[-1].get_tightbbox()
    assert axes is not None
    assert axes.y0 >= box.y1 - 1


@pytest.mark.parametrize("report", [Frontier, DoseResponse, EnergyMap, CostTails])
def test_the_same_trials_give_the_same_table(report: Any, many: Comparison) -> None:
    again = replace(many, trials=tuple(Trial.of_row(t.row()) for t in many.trials))
    one, other = (report.of(c, "joy").table().select_dtypes("number") for c in (many, again))
    np.testing.assert_allclose(one, other, rtol=1e-4)


@pytest.mark.parametrize("report", [Frontier, DoseResponse, EnergyMap, CostTails])
def test_a_report_is_shown_as_its_table(report: Any, many: Comparison) -> None:
    found = report.of(many, "joy")
    lines = repr(found).splitlines()
    assert isinstance(found, Report)
    assert lines[0] == report.__name__
    assert "method" in lines[1]
    assert len(lines) <= 23
