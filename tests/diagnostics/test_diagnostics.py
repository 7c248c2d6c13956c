"""Steerability, read x steer and off-manifold percentiles."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import percentileofscore
from sklearn.covariance import LedoitWolf
from torch import Tensor

from lens_steer.activations import capture
from lens_steer.data import ContrastivePairs
from lens_steer.diagnostics import ManifoldReport, ReadSteerReport, SteerabilityReport
from lens_steer.diagnostics.clouds import Cloud, residuals
from lens_steer.diagnostics.manifold import DESIRED_TEXTS, UNSTEERED
from lens_steer.diagnostics.read_steer import READS, STRENGTHS
from lens_steer.evaluation import SampledText, WordList, calibrate, evaluate, preference
from lens_steer.intervals import interval
from lens_steer.models import encode
from lens_steer.sites import Site
from lens_steer.steering import (
    CAA,
    Additive,
    Decoding,
    Edit,
    Intervention,
)
from tests.interventions import drawn, manual_hook, push, run, watched

# A slope in float32: rounding of two preferences over the step, and the step's own error.
SLOPE = 1e-2
# Distances in float64, by Cholesky here and by an inverse there.
DISTANCE = 1e-9
# Residual streams of order 1 to 10, in float32, in batches of other shapes.
RESIDUAL = 1e-4

UNPAIRED = ContrastivePairs.unpaired(["a cat", "the dog"], ["b", "c", "d"])


# Steerability.


def last_push(model: Any, *, seed: int = 0, size: float = 1.0) -> Additive:
    return push(model, layer=model.cfg.n_layers - 1, seed=seed, size=size)


def exact_slope(model: Any, prompt: Any, continuation: str, vector: np.ndarray) -> float:
    """Derivative of the mean log-probability along a push behind the last block, float64.

    The push moves the logits through the final norm and W_U alone, whose derivatives are known.
    """
    row = encode(model, prompt, continuation)
    tokens = torch.tensor([row.ids])
    with torch.no_grad():
        resid = watched(model, Site(model.cfg.n_layers - 1), lambda: run(model, tokens, None))
    weight, *bias = (p.detach().double().numpy() for p in model.ln_final.parameters())
    unembed, found = model.W_U.detach().double().numpy(), []
    for position in range(row.prompt_length, len(row.ids)):
        x, v = resid[0, position - 1].double().numpy(), vector
        if bias:  # LayerNorm centres
            x, v = x - x.mean(), v - v.mean()
        scale = np.sqrt((x**2).mean() + model.cfg.eps)
        moved = (v / scale - x * (x @ v) / (len(x) * scale**3)) * weight @ unembed
        logits = (x / scale * weight + (bias[0] if bias else 0)) @ unembed
        share = np.exp(logits - logits.max())
        found.append(moved[row.ids[position]] - share @ moved / share.sum())
    return float(np.mean(found))


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_slope_is_the_derivative_of_the_preference(
    architecture: str, load: Any, pairs: ContrastivePairs
) -> None:
    model = load(architecture)
    method = last_push(model, size=0.2)
    report = SteerabilityReport.fit(model, pairs, {"push": method}, seed=0)
    vector = method.vectors[0].double().numpy()
    expected = [
        exact_slope(model, d.prompt, d.continuation, vector)
        - exact_slope(model, u.prompt, u.continuation, vector)
        for d, u in zip(pairs.desired, pairs.undesired, strict=True)
    ]
    np.testing.assert_allclose(
        report.slopes[0], expected, atol=SLOPE * np.abs(expected).max(), rtol=0
    )
    assert (np.array(expected) < 0).any()  # or the signs were not tested
    assert (np.array(expected) > 0).any()
    assert report.anti_steerable("push").mean == np.mean(np.array(expected) < 0)


def test_slopes_are_in_multiples_of_the_methods_own_strength(
    llama: Any, pairs: ContrastivePairs
) -> None:
    method = last_push(llama, size=0.1)
    each = {"once": method, "twice": method.with_strength(2), "back": method.with_strength(-1)}
    report = SteerabilityReport.fit(llama, pairs, each, seed=0)
    once, twice, back = report.slopes
    torch.testing.assert_close(twice, 2 * once, rtol=SLOPE, atol=SLOPE * once.abs().max().item())
    assert torch.equal(back, -once)
    shares = [report.anti_steerable(name).mean for name in ("once", "back")]
    assert sum(shares) == pytest.approx(1)
    assert float(report.step_error.max()) < 0.05


def test_an_interval_of_slopes_draws_groups_together(llama: Any, pairs: ContrastivePairs) -> None:
    rows = [
        (d.prompt, d.continuation, u.continuation, "ab"[i % 2])
        for i, (d, u) in enumerate(zip(pairs.desired, pairs.undesired, strict=True))
    ]
    method = {"push": last_push(llama, size=0.1)}
    report = SteerabilityReport.fit(llama, ContrastivePairs.of(rows), method, seed=4)
    assert report.groups == ("a", "b") * 3
    assert report.slope("push") == interval(report.slopes[0], "ababab", seed=4)
    [row] = report.summary().to_dict("records")
    assert (row["pairs"], row["groups"]) == (6, 2)
    assert list(report.table()["group"]) == list("ababab")


@dataclass(frozen=True, eq=False, repr=False)
class Jump(Intervention):
    """Of one size at every strength but 0, whose sign it has: it has no slope."""

    @property
    def sites(self) -> tuple[Site, ...]:
        return (Site(1),)

    def edits(self, model: Any) -> dict[Site, Edit]:
        vector = drawn((model.cfg.d_model,)) * (1 if self.strength > 0 else -1)
        return {Site(1): lambda x: x + vector}


def test_a_method_without_a_slope_is_refused(llama: Any, pairs: ContrastivePairs) -> None:
    with pytest.raises(ValueError, match="'jump' change by .* when the step 0.05 is halved"):
        SteerabilityReport.fit(llama, pairs, {"jump": Jump()}, seed=0)


def test_steerability_refuses_what_has_no_meaning(llama: Any, pairs: ContrastivePairs) -> None:
    method = last_push(llama)
    with pytest.raises(ValueError, match="needs both continuations"):
        SteerabilityReport.fit(llama, UNPAIRED, {"push": method}, seed=0)
    with pytest.raises(ValueError, match="'push' has strength 0"):
        SteerabilityReport.fit(llama, pairs, {"push": method.with_strength(0)}, seed=0)
    for epsilon in (0, -0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="expected a (positive|finite) number"):
            SteerabilityReport.fit(llama, pairs, {"push": method}, epsilon=epsilon, seed=0)
    report = SteerabilityReport.fit(llama, pairs, {"push": last_push(llama, size=0.1)}, seed=0)
    with pytest.raises(ValueError, match=r"no method 'pull' .* expected one of \('push',\)"):
        report.slope("pull")
    with pytest.raises(ValueError, match="expected one for each"):
        replace(report, names=("a", "b"))


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("methods", [{}, None, [1], {"": 0}, {"a": "CAA"}, {1: 2}])
@pytest.mark.parametrize("report", [SteerabilityReport, ManifoldReport])
def test_methods_come_by_name(
    report: Any, methods: Any, llama: Any, pairs: ContrastivePairs
) -> None:
    with pytest.raises(ValueError, match=r"expected a (mapping from texts to |name)"):
        report.fit(llama, pairs, methods, seed=0)
    with pytest.raises(ValueError, match=r"mapping .*: write {'Additive': method}"):
        report.fit(llama, pairs, push(llama), seed=0)


# Off the manifold.


def test_a_percentile_is_that_of_scipy_under_the_covariance_of_scikit_learn() -> None:
    one, other, asked = (drawn((n, 2, 3), seed=n) for n in (40, 31, 12))
    found = Cloud.fit(one, other).percentiles(torch.cat([asked, other]))
    for layer in range(2):
        fitted = LedoitWolf().fit(one[:, layer].double().numpy())

        def distances(x: Tensor, at: int = layer, by: Any = fitted) -> np.ndarray:
            return np.sqrt(by.mahalanobis(x[:, at].double().numpy()))

        among = distances(other)
        expected = percentileofscore(among, distances(asked), kind="mean")
        np.testing.assert_allclose(found[:12, layer], expected)
        ranks = np.argsort(np.argsort(among))
        np.testing.assert_allclose(found[12:, layer], (ranks + 0.5) / 31 * 100, atol=DISTANCE)


def test_points_of_the_same_kind_lie_evenly_and_moved_ones_far_out() -> None:
    one, other, fresh = (drawn((2000, 1, 8), seed=seed) for seed in range(3))
    cloud = Cloud.fit(one, other)
    found = cloud.percentiles(fresh)[:, 0]
    at = torch.tensor([0.25, 0.5, 0.75]).double()
    # three standard errors of the difference of two samples' quartiles
    np.testing.assert_allclose(found.quantile(at), [25, 50, 75], atol=5)
    assert bool((cloud.percentiles(fresh + 10) == 100).all())
    assert bool((cloud.percentiles(0 * fresh) < 1).all())


def test_a_cloud_needs_points_that_vary() -> None:
    x = drawn((5, 1, 3))
    with pytest.raises(ValueError, match="got 1 and 5 positions, expected two or more"):
        Cloud.fit(x[:1], x)
    with pytest.raises(ValueError, match="of 5 positions do not vary"):
        Cloud.fit(torch.ones_like(x), x)


def test_residuals_are_read_behind_the_edits_at_the_positions_of_the_scope(
    model: Any, pairs: ContrastivePairs
) -> None:
    rows = [encode(model, e.prompt, e.continuation) for e in pairs.desired]
    texts = [SampledText(row.ids, row.prompt_length) for row in rows]
    method, layers = push(model), (0, 1, 3)
    found = residuals(model, texts, (method,), layers=layers, scope="last")
    expected = []
    for text in texts:
        where = torch.arange(len(text.ids))[None] >= text.prompt_length - 1
        hook = (method.sites[0].hook_name, manual_hook(method.vectors[0], where))
        tokens = torch.tensor([text.ids])
        with torch.no_grad(), model.hooks(fwd_hooks=[hook]):
            each = [watched(model, Site(k), lambda t=tokens: run(model, t, None)) for k in layers]
        expected.append(torch.stack([x[where] for x in each], dim=1))
    torch.testing.assert_close(found, torch.cat(expected), atol=RESIDUAL, rtol=RESIDUAL)


def test_no_steering_is_half_way_and_a_great_push_outside(
    llama: Any, pairs: ContrastivePairs
) -> None:
    each = {"small": push(llama, size=1e-3), "great": push(llama, layer=2, size=100.0)}
    report = ManifoldReport.fit(llama, pairs, each, max_new_tokens=8, seed=0)
    randoms = ("random, as small", "random, as great")
    assert report.names == (UNSTEERED, DESIRED_TEXTS, "small", "great", *randoms)
    table = report.table().set_index(["reference", "method", "layer"])["percentile"].unstack()
    natural = table.loc[[("clean", UNSTEERED), ("desired", DESIRED_TEXTS), ("clean", "small")]]
    np.testing.assert_allclose(natural, 50, atol=2)
    quartiles = report.quartiles[0, 0]
    step = 100 / report.positions[0]
    np.testing.assert_allclose(quartiles[:, 2] - quartiles[:, 0], 50, atol=step)
    for name in ("great", "random, as great"):
        before, after = table.loc[("clean", name), :1], table.loc[("clean", name), 2:]
        assert list(before) == list(table.loc[("clean", UNSTEERED), :1])  # untouched, bit by bit
        assert (after == 100).all()
    assert report.edited == ((), (), (1,), (2,), (1,), (2,))
    assert report.texts == (3, 3)


def test_the_same_seed_gives_the_same_percentiles(llama: Any, pairs: ContrastivePairs) -> None:
    def fit(seed: int) -> ManifoldReport:
        some = {"layers": (3, 1), "max_new_tokens": 5, "scope": "prompt"}
        return ManifoldReport.fit(llama, pairs, {"push": push(llama)}, seed=seed, **some)

    first, again, other = fit(0), fit(0), fit(1)
    assert first.layers == (3, 1)
    assert torch.equal(first.quartiles, again.quartiles)
    assert not torch.equal(first.quartiles, other.quartiles)


def test_the_manifold_refuses_names_of_its_own_and_too_few_texts(
    llama: Any, pairs: ContrastivePairs
) -> None:
    for name in (UNSTEERED, DESIRED_TEXTS, "random, as CAA"):
        with pytest.raises(ValueError, match="is one of the report's own"):
            ManifoldReport.fit(llama, pairs, {name: push(llama)}, seed=0)
    single = ContrastivePairs.of([("The cat", " was", " is")])
    with pytest.raises(ValueError, match="got 1 text, expected two or more"):
        ManifoldReport.fit(llama, single, {"push": push(llama)}, max_new_tokens=3, seed=0)


# Read x steer.

FEW: dict[str, Any] = {"max_new_tokens": 6, "seed": 0, "progress": False}


@pytest.fixture(scope="module")
def matrix(llama: Any, pairs: ContrastivePairs) -> ReadSteerReport:
    reads = ("last", -1, "mean", "prompt_last")
    return ReadSteerReport.fit(llama, *[pairs] * 3, kl=0.2, reads=reads, layers=(3,), **FEW)


def test_equal_reads_give_equal_rows(matrix: ReadSteerReport) -> None:
    for name in ("effect", "low", "high", "strength", "realised"):
        values = getattr(matrix, name)
        assert torch.equal(values[0], values[1])
        assert not torch.equal(values[0], values[2])


@pytest.mark.parametrize("architecture", ["gpt2", "gemma2"])
def test_paired_prompts_have_nothing_to_read_and_say_so(
    architecture: str, load: Any, pairs: ContrastivePairs
) -> None:
    model = load(architecture)
    report = ReadSteerReport.fit(model, *[pairs] * 3, kl=0.1, reads=("prompt_last",), **FEW)
    assert report.notes == (("equal means",) * 4,)
    table = report.table()
    assert len(table) == 4
    assert table["effect"].isna().tolist() == [True] * 4


def test_a_cell_is_what_calibrate_and_preference_find(
    llama: Any, pairs: ContrastivePairs, matrix: ReadSteerReport, untyped: None
) -> None:
    for i, read in enumerate(READS[:2]):
        resid = capture(llama, pairs, "resid", read=read, progress=False)
        method, place = CAA.fit(resid.at(layer=3)), (2 * i, 0)
        fair = calibrate(llama, method, pairs, kl=0.2, strengths=STRENGTHS, **FEW)
        assert float(matrix.strength[place]) == pytest.approx(fair.strength, rel=1e-3)
        assert float(matrix.realised[place]) == pytest.approx(0.2, rel=0.01)
        change = preference(llama, pairs, fair) - preference(llama, pairs)
        assert float(matrix.effect[place]) == pytest.approx(change.mean().item(), abs=1e-3)


def test_a_cost_that_is_not_reached_is_noted(llama: Any, pairs: ContrastivePairs) -> None:
    some: dict[str, Any] = {"reads": ("mean",), "layers": (1,), "strengths": (0, 1e-4)}
    report = ReadSteerReport.fit(llama, *[pairs] * 3, kl=0.2, **some, **FEW)
    [row] = report.table().to_dict("records")
    assert row["note"].startswith("kl not reached: kl 0.2 is not reached: between strength 0 and")
    assert np.isnan(row["effect"])
    [text] = report.figure().axes[0].texts
    assert text.get_text() == "kl not\nreached"


def test_with_a_judge_the_effect_is_the_change_in_behaviour(
    llama: Any, pairs: ContrastivePairs
) -> None:
    judge, some = WordList(tuple("abcdefgh")), {"reads": ("mean",), "layers": (2,)}
    report = ReadSteerReport.fit(llama, *[pairs] * 3, kl=0.5, judge=judge, **some, **FEW)
    assert "behaviour" in report.effect_name
    resid = capture(llama, pairs, "resid", read="mean", progress=False)
    method = CAA.fit(resid.at(layer=2)).with_strength(float(report.strength[0, 0]))
    options = {"judge": judge, "max_new_tokens": 6, "seed": 0}
    change = evaluate(llama, pairs, method, **options).minus(
        evaluate(llama, pairs, **options), seed=0
    )
    assert float(report.effect[0, 0]) == pytest.approx(change.mean)


def test_cosines_are_with_the_last_tokens_difference(llama: Any) -> None:
    rows = [("The cat", " was a", " was e"), ("Hi!", " Yes i", " No o"), ("A dog", " a", " u")]
    ends = ContrastivePairs.of(rows)
    some: dict[str, Any] = {"reads": ("last",), "layers": (0, 2), "strengths": (0.0, 1e-6)}
    report = ReadSteerReport.fit(llama, *[ends] * 3, kl=0.1, **some, **FEW)
    resid = capture(llama, ends, "resid", read="last", progress=False)
    sides = [
        [encode(llama, e.prompt, e.continuation).ids[-1] for e in side]
        for side in (ends.desired, ends.undesired)
    ]
    embed, unembed = llama.W_E.detach().double().numpy(), llama.W_U.detach().double().numpy().T
    for found, matrix in ((report.embedding, embed), (report.unembedding, unembed)):
        gap = np.mean([matrix[d] - matrix[u] for d, u in zip(*sides, strict=True)], axis=0)
        for column, layer in enumerate((0, 2)):
            v = resid.at(layer=layer).direction.double().numpy()
            expected = v @ gap / np.linalg.norm(v) / np.linalg.norm(gap)
            assert float(found[0, column]) == pytest.approx(expected, abs=1e-5)


def test_cosines_are_left_out_where_both_classes_end_alike(matrix: ReadSteerReport) -> None:
    assert bool(matrix.embedding.isnan().all())
    assert bool(matrix.unembedding.isnan().all())
    shown = [text.get_text() for text in matrix.figure().axes[0].texts]
    assert sum("E -  U -" in text for text in shown) == 3
    assert sum("equal\nmeans" in text for text in shown) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kl": 0}, "expected a finite number above 0"),
        ({"kl": float("nan")}, "expected a finite number above 0"),
        ({"reads": ()}, "expected one or more"),
        ({"strengths": (1,)}, "expected two finite ones from 0 up"),
        ({"strengths": (-1, 1)}, "expected two finite ones from 0 up"),
        ({"layers": ()}, "expected a list of layers"),
        ({"layers": (9,)}, "layer 9"),
    ],
)
def test_read_x_steer_refuses_what_has_no_meaning(
    change: dict[str, Any], message: str, llama: Any, pairs: ContrastivePairs
) -> None:
    with pytest.raises(ValueError, match=message):
        ReadSteerReport.fit(llama, *[pairs] * 3, **({"kl": 0.1} | FEW | change))


def test_a_preference_needs_paired_test_examples(llama: Any, pairs: ContrastivePairs) -> None:
    with pytest.raises(ValueError, match="a preference needs paired examples; pass a judge"):
        ReadSteerReport.fit(llama, pairs, pairs, UNPAIRED, kl=0.1, **FEW)


# All of them.


def reports(model: Any, pairs: ContrastivePairs, matrix: ReadSteerReport) -> list[Any]:
    each = {"one": push(model, size=0.1), "two": push(model, layer=2, size=0.1)}
    return [
        SteerabilityReport.fit(model, pairs, each, seed=0),
        ManifoldReport.fit(model, pairs, each, max_new_tokens=6, seed=0),
        matrix,
    ]


def test_figures_say_what_they_count_and_tables_hold_their_numbers(
    llama: Any, pairs: ContrastivePairs, matrix: ReadSteerReport
) -> None:
    for report in reports(llama, pairs, matrix):
        held = {name: x.clone() for name, x in vars(report).items() if isinstance(x, Tensor)}
        figure, table = report.figure(), report.table()
        figure.draw_without_rendering()
        texts = [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text"))]
        counted = ("pairs in", "positions of", "examples in")
        assert any(word in text for text in texts for word in counted)
        assert len(table) > 0
        for name, x in held.items():
            assert torch.equal(getattr(report, name).nan_to_num(), x.nan_to_num())


def test_figures_draw_the_numbers_of_their_reports(
    llama: Any, pairs: ContrastivePairs, matrix: ReadSteerReport
) -> None:
    slopes, manifold, _ = reports(llama, pairs, matrix)
    above, below = slopes.figure().axes
    for line, name, values in zip(above.lines, slopes.names, slopes.slopes, strict=False):
        assert line.get_label() == name
        np.testing.assert_allclose(np.array(line.get_xdata()), np.sort(values.numpy()))
    shares = [f"{slopes.anti_steerable(name).mean:.0%} below 0" for name in slopes.names]
    drawn_shares = [label.get_text().split("\n")[1] for label in below.get_yticklabels()]
    assert [share.split(" [")[0] for share in drawn_shares] == shares
    panels = manifold.figure().axes
    assert len(panels) == len(manifold.references)
    for reference, axes in enumerate(panels):
        lines = {line.get_label(): line for line in axes.lines}
        for row, name in enumerate(manifold.names):
            medians = manifold.quartiles[reference, row, :, 1].numpy()
            np.testing.assert_allclose(np.array(lines[name].get_ydata()), medians)
    cells, colours = matrix.figure().axes
    image: Any = cells.images[0].get_array()
    drawn_effects = np.ma.filled(image, np.nan)
    np.testing.assert_allclose(drawn_effects, matrix.effect.numpy())
    assert "nats per" in colours.get_ylabel()
    for axis, labels in (
        (cells.get_xticklabels(), matrix.layers),
        (cells.get_yticklabels(), matrix.reads),
    ):
        assert [tick.get_text() for tick in axis] == [str(label) for label in labels]


def test_one_value_says_how_texts_are_written(llama: Any, pairs: ContrastivePairs) -> None:
    how: dict[str, Any] = {"temperature": 0.8, "max_new_tokens": 5, "scope": "prompt", "seed": 2}
    methods = {"push": push(llama)}
    keywords = ManifoldReport.fit(llama, pairs, methods, layers=(1,), **how)
    value = ManifoldReport.fit(llama, pairs, methods, layers=(1,), decoding=Decoding(**how))
    assert torch.equal(keywords.quartiles, value.quartiles)
    assert keywords.seed == value.seed == 2
    some: dict[str, Any] = {"kl": 0.1, "reads": ("mean",), "layers": (1,), "progress": False}
    cell = ReadSteerReport.fit(llama, *[pairs] * 3, **some, **how)
    same = ReadSteerReport.fit(llama, *[pairs] * 3, **some, decoding=Decoding(**how))
    assert torch.equal(cell.effect, same.effect)
    assert cell.seed == 2
    unknown: dict[str, Any] = {"tempature": 1.0}
    with pytest.raises(TypeError, match=r"ManifoldReport.fit\(\) got an unexpected keyword"):
        ManifoldReport.fit(llama, pairs, methods, **unknown)
    with pytest.raises(TypeError, match=r"ReadSteerReport.fit\(\) got an unexpected keyword"):
        ReadSteerReport.fit(llama, *[pairs] * 3, kl=0.1, **unknown)


@pytest.mark.slow
def test_the_embedded_model_is_steered_along_its_manifold(embedded: Any) -> None:
    pairs = ContrastivePairs.load("organism:sentiment")
    train, _, test = pairs.split(0.4, 0.45, 0.15, seed=0)
    resid = capture(embedded, train, "resid", read="mean", progress=False)
    each = {"CAA": CAA.fit(resid.at(layer=3)).with_strength(2.9)}
    slopes = SteerabilityReport.fit(embedded, test, each, seed=0)
    assert slopes.slope("CAA").low > 0
    assert 0 < slopes.anti_steerable("CAA").mean < 0.4
    options: dict[str, Any] = {"temperature": 0.7, "max_new_tokens": 60}
    report = ManifoldReport.fit(embedded, test, each, seed=0, **options)
    medians = {name: report.quartiles[0, i, :, 1] for i, name in enumerate(report.names)}
    assert float(medians["CAA"][2]) == 50
    assert 55 < float(medians["CAA"][3]) < float(medians["random, as CAA"][3])
