"""Tracking against literal runs, loops and bounds in float64 numpy, coverage over many resplits."""

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import lens_steer as ls
from lens_steer.intervals import interval
from lens_steer.linearity import FeatureDirections
from lens_steer.models import encode, forward, hooked, pad
from lens_steer.reports import Report
from lens_steer.sites import Kind, Site
from lens_steer.steering import Additive, Costs
from lens_steer.tracking import (
    Envelope,
    FeatureBound,
    LinearLoop,
    LoopReport,
    TrackingReport,
    Trajectories,
    compare_figure,
    conformal_quantile,
    position_gap,
    record,
    transition_norms,
)
from tests.conftest import BACKENDS, LAYERS, Loader
from tests.interventions import Scale
from tests.oracles_lqr import dense_gains

T, D = 5, 6
# Float32 states of order 10, in one batch and one by one.
CLOSE: dict[str, Any] = {"atol": 1e-3, "rtol": 1e-4}


def fitted(model: Any, pairs: ls.ContrastivePairs) -> tuple[Any, Any, FeatureDirections]:
    jacobians = ls.linearize(model, pairs, progress=False)
    resid = ls.capture(model, pairs, "resid", progress=False)
    return jacobians, resid, FeatureDirections.of(resid)


def literal(
    model: Any, ids: list[int], length: int, method: Any, scope: Any = "last"
) -> tuple[Tensor, Tensor]:
    """One text by itself: z_0 ... z_T at every token, and what each block's edit adds."""
    before: dict[int, Tensor] = {}
    after: dict[int, Tensor] = {}

    def keep(found: dict[int, Tensor], layer: int) -> Any:
        return lambda x: found.update({layer: x[0].clone()})

    sites = {k: Site(k) for k in range(LAYERS)}
    first = {Site(0, Kind.RESID_PRE): keep(after, -1)}
    with (
        torch.no_grad(),
        hooked(model, {site: keep(before, k) for k, site in sites.items()}),
        ls.steered(model, method, scope=scope, prompt_lengths=[length]),
        hooked(model, first | {site: keep(after, k) for k, site in sites.items()}),
    ):
        forward(model, pad(model, [ids])[0])
    states = torch.stack([after[k] for k in range(-1, LAYERS)], dim=1)
    return states, torch.stack([after[k] - before[k] for k in range(LAYERS)], dim=1)


# ---- records ----


def test_records_are_what_one_text_at_a_time_gives(model: Any, pairs: ls.ContrastivePairs) -> None:
    jacobians, resid, features = fitted(model, pairs)
    law = ls.LQR.fit(jacobians, resid, setpoint=2.0, control_cost=0.5)
    found = record(model, law, pairs, features, law.setpoints, seed=0, progress=False)
    v = features.directions
    for i, e in enumerate((*pairs.desired, *pairs.undesired)):
        ids = list(encode(model, e.prompt, e.continuation).ids)
        clean, _ = literal(model, ids, len(ids), law.with_strength(0.0))
        steered, pushes = literal(model, ids, len(ids), law)
        for signals, states in ((found.clean, clean), (found.steered, steered)):
            expected = (states[-1] * v).sum(dim=-1).double()
            torch.testing.assert_close(signals[i, 0], expected, **CLOSE)
        energy = (pushes[-1].norm(dim=-1) / clean[-1, 1:].norm(dim=-1)) ** 2
        torch.testing.assert_close(found.energy[i, 0], energy.double(), atol=1e-5, rtol=1e-3)
    assert float(found.energy.max()) > 1e-3
    assert found.classes == ("desired",) * 6 + ("undesired",) * 6
    assert found.groups == pairs.groups * 2


def test_strength_0_is_the_unsteered_run(model: Any, pairs: ls.ContrastivePairs) -> None:
    jacobians, resid, features = fitted(model, pairs)
    law = ls.LQR.fit(jacobians, resid).with_strength(0.0)
    found = record(model, law, pairs, features, law.setpoints, seed=0, progress=False)
    assert torch.equal(found.clean, found.steered)
    assert not bool(found.energy.any())


@pytest.mark.parametrize("backend", BACKENDS)
def test_further_tokens_are_the_unsteered_models(
    backend: str, load: Loader, pairs: ls.ContrastivePairs
) -> None:
    model = load("llama", backend)
    jacobians, resid, features = fitted(model, pairs)
    law = ls.LQRTracker.fit(jacobians, resid, setpoint=2.0)
    how: dict[str, Any] = {"max_new_tokens": 3, "temperature": 0.0, "seed": 0, "progress": False}
    beta = features.setpoints(2.0, centred=True)
    found = record(model, law, pairs.undesired, features, beta, **how)
    assert found.clean.shape == (6, 4, LAYERS + 1)
    for i, e in enumerate(pairs.undesired):
        ids = list(encode(model, e.prompt, e.continuation).ids)
        length = len(ids)
        for _ in range(3):
            with torch.no_grad():
                ids.append(int(forward(model, pad(model, [ids])[0])[0, -1].argmax()))
        states, pushes = literal(model, ids, length, law)
        expected = (states[length - 1 :] * features.directions).sum(dim=-1).double()
        torch.testing.assert_close(found.steered[i], expected, **CLOSE)
        assert bool((pushes[length - 1 :, 1:].norm(dim=-1) > 0).all())  # every token is steered
        assert not bool(pushes[: length - 1].any())
    figure = found.tokens_figure([1, LAYERS])
    assert [a.get_title() for a in figure.axes] == ["$z_{1}$", f"$z_{{{LAYERS}}}$"]
    for axes, layer in zip(figure.axes, (1, LAYERS), strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        for label, steered in (("text, steered", True), ("text, unsteered", False)):
            means = [found.signal(offset, steered=steered)[layer].mean for offset in range(4)]
            assert np.array(lines[label].get_xdata()).tolist() == [0, 1, 2, 3]
            np.testing.assert_allclose(np.array(lines[label].get_ydata()), means)
        assert np.array(lines["set-point"].get_ydata()).tolist() == pytest.approx([2.0, 2.0])
    assert "6 texts reach the last token" in figure.get_supxlabel()


def test_edits_of_heads_are_measured_in_the_stream(gpt2: Any, pairs: ls.ContrastivePairs) -> None:
    _, _, features = fitted(gpt2, pairs)
    method = Scale(factor=3.0, site=Site(1, Kind.HEAD))
    beta = features.setpoints(1.0, centred=True)
    found = record(gpt2, method, pairs, features, beta, seed=0, progress=False)
    e = pairs.desired[0]
    tokens = pad(gpt2, [encode(gpt2, e.prompt, e.continuation).ids])[0]
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda x: seen.update({name: x[0, -1].clone()})

    with torch.no_grad(), hooked(gpt2, {method.site: keep("z"), Site(1): keep("x")}):
        forward(gpt2, tokens)
    push = torch.einsum("he,hed->d", 2 * seen["z"], gpt2.blocks[1].attn.W_O.detach())
    expected = float((push.norm() / seen["x"].norm()) ** 2)
    assert found.energy[0, 0].tolist() == pytest.approx([0, expected, 0, 0], rel=1e-4)


def of_signals(clean: Tensor, steered: Tensor, **options: Any) -> TrackingReport:
    """Features of size 2 and 4 along the first axis, undesired mean 1 and none at z_0."""
    v = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    sizes, low = torch.tensor([0.0, 2.0, 4.0]), torch.tensor([[5.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    features = FeatureDirections(v, sizes, low + sizes[:, None] * v, low)
    n = len(clean)
    given: dict[str, Any] = {"groups": tuple(range(n)), "classes": ("text",) * n, "seed": 0}
    energy = torch.full((*clean.shape[:2], 2), 0.25).double()
    beta = features.setpoints(1.0, centred=True)
    return TrackingReport(clean, steered, energy, features, beta, **(given | options))


def test_errors_and_signals_are_in_units_of_the_classes_distance() -> None:
    clean = torch.tensor([[[9.0, 1.0, 1.0]], [[9.0, 3.0, 5.0]]]).double()
    steered = torch.tensor([[[9.0, 5.0, 5.0]], [[9.0, 3.0, 9.0]]]).double()
    found = of_signals(clean, steered)
    assert [x.mean for x in found.signal()][1:] == [1.5, 1.5]
    assert [x.mean for x in found.signal(steered=False)][1:] == [0.5, 0.5]
    # beta is 3 and 5: errors (1, 0) and (0, 1)
    assert [x.mean for x in found.error()][1:] == pytest.approx([0.5**0.5] * 2)
    mean_square = interval(torch.tensor([1.0, 0.0]), seed=0)
    assert found.error()[1].high == pytest.approx(mean_square.high**0.5)
    assert np.isnan(found.error()[0].mean)  # no feature there
    assert [x.mean for x in found.mean_energy()] == [0.25, 0.25]
    table = found.table()
    assert table["setpoint"].tolist()[1:] == [1.0, 1.0]
    assert table["energy"].isna().tolist() == [True, False, False]
    halves = replace(found, classes=("desired", "undesired"))
    assert halves.of_class("undesired").error()[2].mean == 1.0
    assert set(halves.table()["class"]) == {"desired", "undesired"}


def test_texts_that_ended_are_left_out() -> None:
    clean = torch.ones(2, 2, 3).double()
    clean[1, 1] = torch.nan
    found = of_signals(clean, clean + 1)
    assert found.table()["texts"].tolist() == [2, 2, 2, 1, 1, 1]
    assert found.error(1)[1].mean == pytest.approx(0.5)


def test_figures_show_what_the_tables_hold() -> None:
    clean = torch.rand(4, 1, 3, generator=torch.Generator().manual_seed(0)).double()
    found = of_signals(clean, clean + 1, classes=("desired",) * 2 + ("undesired",) * 2)
    above, _ = found.figure().axes
    drawn = {line.get_label(): line.get_ydata() for line in above.lines}
    for name in ("desired", "undesired"):
        expected = [x.mean for x in found.of_class(name).signal()]
        np.testing.assert_allclose(np.array(drawn[f"{name}, steered"]), expected)
    left, right = compare_figure({"one": found, "two": found.of_class("desired")}).axes
    labels = [line.get_label() for line in left.lines]
    assert labels == ["one", "two", "unsteered"]
    np.testing.assert_allclose(np.array(left.lines[0].get_ydata()), [x.mean for x in found.error()])
    np.testing.assert_allclose(np.array(right.lines[0].get_ydata()), [25.0, 25.0])


def test_one_value_says_how_further_tokens_are_written(
    llama: Any, pairs: ls.ContrastivePairs
) -> None:
    jacobians, resid, features = fitted(llama, pairs)
    law = ls.LQR.fit(jacobians, resid)
    arguments = (llama, law, pairs, features, law.setpoints)
    how: dict[str, Any] = {"temperature": 0.7, "max_new_tokens": 2, "seed": 3}
    keywords = record(*arguments, progress=False, **how)
    value = record(*arguments, progress=False, decoding=ls.Decoding(**how))
    assert keywords.offsets == 3
    assert same(keywords, value)
    assert record(*arguments, progress=False, seed=3).offsets == 1
    everywhere = record(*arguments, progress=False, scope="all", seed=3)
    gap = position_gap(llama, law, pairs, features, scope="all", seed=3)
    units = torch.where(features.present, features.sizes.double(), torch.nan)
    changes = (everywhere.steered - everywhere.clean)[:, 0] / units
    torch.testing.assert_close(changes, gap.everywhere, atol=1e-3, rtol=1e-3, equal_nan=True)
    unknown: dict[str, Any] = {"tempature": 0.7}
    with pytest.raises(TypeError, match="unexpected keyword 'tempature': did you mean 'temp"):
        record(*arguments, **unknown)


# ---- loops ----


def system(seed: int = 0, spread: float = 0.3) -> tuple[ls.LayerJacobians, Tensor]:
    """Random A near the identity, a nominal trajectory, unit features."""
    draw = torch.Generator().manual_seed(seed)
    a = torch.eye(D) + spread * torch.randn(T, D, D, generator=draw) / D**0.5
    z, v = (torch.randn(T + 1, D, generator=draw).double() for _ in range(2))
    return ls.LayerJacobians.from_tensors(a.double(), z), v / v.norm(dim=-1, keepdim=True)


def activations(seed: int = 0) -> ls.Activations:
    draw = torch.Generator().manual_seed(seed)
    sides = [torch.randn(8, T + 1, D, generator=draw) + shift for shift in (1.0, -1.0)]
    (d, u) = sides
    return ls.Activations(d[:, 1:], u[:, 1:], Kind.RESID, tuple(range(T)), d[:, 0], u[:, 0])


def laws(jacobians: ls.LayerJacobians, resid: ls.Activations) -> dict[str, Any]:
    return {
        "LQR": ls.LQR.fit(jacobians, resid, control_cost=0.5),
        "window": ls.LQR.fit_feature(jacobians, resid, layers=(1, 2)),
        "tracker": ls.LQRTracker.fit(jacobians, resid),
        "P": ls.PID.fit(resid, kp=0.3, layers=(0, 2, 3)),
    }


def pushed(law: Any, k: int, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """u_k of each law by its definition, from z_k and what leaves the block."""
    if isinstance(law, ls.LQRTracker):
        f, p, c = (x[k].double().numpy() for x in (law.factors, law.pushes, law.targets))
        return law.strength * p @ (c - f.T @ y)
    v = law.directions[k].double().numpy()
    lacking = float(law.setpoints[k]) - v @ z
    if isinstance(law, ls.PID):
        return law.strength * law.kp * lacking * v * (k in law.layers)
    return law.strength * lacking * law.gains[k].double().numpy()


@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_a_loop_is_the_law_on_an_affine_system(strength: float) -> None:
    jacobians, _ = system()
    assert jacobians.matrices is not None
    a, nominal = jacobians.matrices.numpy(), jacobians.nominal.numpy()
    start = np.random.default_rng(1).normal(size=(3, D))
    for name, made in laws(jacobians, activations()).items():
        law = made.with_strength(strength)
        found = LinearLoop.of(law, jacobians).path(torch.from_numpy(start))
        for text, begin in enumerate(start):
            z = nominal[0] + begin
            for k in range(T):
                y = nominal[k + 1] + a[k] @ (z - nominal[k])
                z = y + pushed(law, k, z, y)
                expected = z - nominal[k + 1]
                np.testing.assert_allclose(
                    found[text, k + 1].numpy(), expected, atol=2e-5, err_msg=name
                )


def test_the_state_feedback_loop_is_the_textbooks() -> None:
    jacobians, _ = system(1)
    assert jacobians.matrices is not None
    a, one = jacobians.matrices.numpy(), np.eye(D)
    costs = Costs.of(T, 0.3, 2.0, 0.7, None)
    k, _ = dense_gains(a, [0.3 * one] * T, [2.0 * one] * T, 0.7 * one)
    found = LinearLoop.state_feedback(jacobians, costs)
    np.testing.assert_allclose(found.matrices.numpy(), a - np.stack(k), atol=1e-12)
    partly = LinearLoop.state_feedback(jacobians, Costs.of(T, 0.3, 2.0, 0.7, (1, 2)))
    same = (partly.matrices == jacobians.matrices).flatten(1).all(dim=1)
    assert same.tolist() == [True, False, False, True, True]


def test_norms_are_those_of_the_products() -> None:
    jacobians, _ = system(2, 1.0)
    assert jacobians.matrices is not None
    m = jacobians.matrices.numpy()
    phi, expected = np.eye(D), [1.0]
    for each in m:
        phi = each @ phi
        expected.append(float(np.linalg.norm(phi, 2)))
    np.testing.assert_allclose(transition_norms(jacobians.matrices).numpy(), expected, rtol=1e-12)
    report = LoopReport.of([LinearLoop.open(jacobians)], first=2)
    np.testing.assert_allclose(
        report.norms["A"].numpy(), transition_norms(jacobians.matrices[2:]).numpy()
    )
    assert report.table()["layer"].tolist() == [2, 3, 4, 5]
    [axes] = report.figure().axes
    [norms, one_line] = axes.lines
    assert norms.get_label() == "A"
    assert np.array(norms.get_xdata()).tolist() == [2, 3, 4, 5]
    np.testing.assert_allclose(np.array(norms.get_ydata()), report.norms["A"].numpy())
    assert np.array(one_line.get_ydata()).tolist() == [1, 1]
    assert (axes.get_yscale(), axes.get_ylabel()) == ("log", "$|\\Phi(k, 2)|_2$")


def test_feeding_back_one_feature_does_not_contract_the_state() -> None:
    """d = 64, T = 12, A = I + .3 G: A - K forgets its start, A - w v' does not."""
    draw = torch.Generator().manual_seed(0)
    a = (torch.eye(64) + 0.3 * torch.randn(12, 64, 64, generator=draw) / 8).double()
    jacobians = ls.LayerJacobians.from_tensors(a, torch.zeros(13, 64).double())
    sides = torch.randn(2, 4, 13, 64, generator=draw).unbind()
    (d, u) = sides
    resid = ls.Activations(d[:, 1:], u[:, 1:], Kind.RESID, tuple(range(12)), d[:, 0], u[:, 0])
    weights = {"state_cost": 1.0, "control_cost": 1.0, "terminal_cost": 1.0}
    law = ls.LQR.fit(jacobians, resid, **weights)  # type: ignore[arg-type]
    report = LoopReport.of(
        [
            LinearLoop.open(jacobians),
            LinearLoop.of(law, jacobians),
            LinearLoop.state_feedback(jacobians, Costs.of(12, 1.0, 1.0, 1.0, None)),
        ]
    )
    unsteered, used, feedback = (float(norms[-1]) for norms in report.norms.values())
    assert feedback < 1e-3 < 1 < used < 1.1 * unsteered


# ---- conformal bounds ----


@given(n=st.integers(1, 40), alpha=st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.5]))
def test_the_quantile_covers_exactly_as_often_as_it_must(n: int, alpha: float) -> None:
    """Of n + 1 exchangeable scores each is the new one in turn."""
    least = int(np.ceil(round(1 / alpha - 1, 9)))
    scores = torch.from_numpy(np.random.default_rng(n).permutation(n + 1).astype(float))
    if n < least:
        with pytest.raises(ValueError, match=f"at least {least}"):
            conformal_quantile(scores[1:], alpha)
        return
    inside = 0
    for i in range(n + 1):
        others = torch.cat([scores[:i], scores[i + 1 :]])
        inside += float(scores[i]) <= conformal_quantile(others, alpha)
    assert inside >= (n + 1) * (1 - alpha) - 1e-9
    assert inside - 1 < (n + 1) * (1 - alpha)  # and no more often than it must


def test_an_envelope_has_the_shape_it_was_fitted_to() -> None:
    lengths = torch.linspace(1, 3, 40).double()[:, None].expand(40, 2)
    sizes = torch.tensor([0.5, 0.0]) + torch.tensor([0.2, 1.0]) * lengths
    found = Envelope.fit((sizes, lengths), (sizes, lengths), range(40), alpha=0.1)
    torch.testing.assert_close(found.constant, torch.tensor([0.5, 0.0]).double())
    torch.testing.assert_close(found.slope, torch.tensor([0.2, 1.0]).double())
    assert found.factor == pytest.approx(1.0)
    torch.testing.assert_close(found.radius(lengths), sizes)
    groups = [i // 4 for i in range(40)]  # the worst text of each group counts
    one = torch.where(torch.arange(40)[:, None] % 4 == 2, 3 * sizes, sizes)
    grouped = Envelope.fit((sizes, lengths), (one, lengths), groups, alpha=0.1)
    assert (grouped.factor, grouped.units) == (pytest.approx(3.0), 10)


def drawn(
    jacobians: ls.LayerJacobians, law: Any, n: int, seed: int, *, noise: float = 0.1
) -> Trajectories:
    """z' = zbar' + (A + .1 G) d + u + a constant + noise: texts that no mean Jacobian fits."""
    assert jacobians.matrices is not None
    source, shared = np.random.default_rng(seed), np.random.default_rng(99)
    off, constant = 0.1 * shared.normal(size=(T, D, D)), 0.2 * shared.normal(size=(T, D))
    a, nominal = jacobians.matrices.numpy(), jacobians.nominal.numpy()
    states, pushes = np.empty((n, T + 1, D)), np.empty((n, T, D))
    states[:, 0] = nominal[0] + source.normal(size=(n, D))
    for i in range(n):
        for k in range(T):
            d = states[i, k] - nominal[k]
            y = nominal[k + 1] + (a[k] + off[k]) @ d + constant[k]
            y = y + noise * source.standard_t(4, size=D)
            pushes[i, k] = pushed(law, k, states[i, k], y)
            states[i, k + 1] = y + pushes[i, k]
    return trajectories(states, pushes)


def trajectories(states: np.ndarray, pushes: np.ndarray) -> Trajectories:
    """Each text by itself."""
    names = tuple(map(str, range(len(states))))
    return Trajectories(torch.from_numpy(states), torch.from_numpy(pushes), names)


def bound(law: Any, jacobians: Any, features: FeatureDirections, **options: Any) -> FeatureBound:
    beta = features.setpoints(1.0, centred=True)
    given: dict[str, Any] = {"loop": LinearLoop.of(law, jacobians), "alpha": 0.1}
    return FeatureBound.fit(jacobians, features, beta, **(given | options))


def test_coverage_over_many_resplits_is_the_nominal_one_and_fails_under_a_shift() -> None:
    jacobians, _ = system(3)
    resid = activations(3)
    features, law = FeatureDirections.of(resid), ls.LQR.fit(jacobians, resid)
    texts, splits, n = drawn(jacobians, law, 400, 0), 200, 49
    shape = drawn(jacobians, law, 30, 1)
    shifted = drawn(jacobians, law, 100, 2, noise=0.5)
    found: dict[str, list[float]] = {}
    under_shift: dict[str, list[float]] = {}
    for split in range(splits):
        order = np.random.default_rng(split).permutation(400).tolist()
        made = bound(law, jacobians, features, shape=shape, calibration=texts[order[:n]])
        for kind, share in made.covers(texts[order[n:]]).items():
            found.setdefault(kind, []).append(share)
        if split < 5:
            for kind, share in made.covers(shifted).items():
                under_shift.setdefault(kind, []).append(share)
    # 45 of 50 exchangeable texts: of one split Beta(45, 5), and binomial over its other 351 texts
    spread = (0.9 * 0.1 / 51 + 0.9 * 0.1 / 351) ** 0.5
    for kind in ("a posteriori", "a priori"):
        assert abs(np.mean(found[kind]) - 0.9) < 3 * spread / splits**0.5, kind
        assert np.mean(under_shift[kind]) < 0.4, kind


def test_without_residuals_every_bound_is_the_prediction() -> None:
    """An affine system: what is left is rounding, and errors follow from the start alone."""
    jacobians, _ = system(4)
    resid = activations(4)
    features = FeatureDirections.of(resid)
    for law in laws(jacobians, resid).values():
        assert jacobians.matrices is not None
        a, nominal = jacobians.matrices.numpy(), jacobians.nominal.numpy()
        states, pushes = np.empty((20, T + 1, D)), np.empty((20, T, D))
        states[:, 0] = nominal[0] + np.random.default_rng(0).normal(size=(20, D))
        for i, k in np.ndindex(20, T):
            y = nominal[k + 1] + a[k] @ (states[i, k] - nominal[k])
            pushes[i, k] = pushed(law, k, states[i, k], y)
            states[i, k + 1] = y + pushes[i, k]
        texts = trajectories(states, pushes)
        made = bound(law, jacobians, features, shape=texts, calibration=texts)
        e = (states * features.directions.double().numpy()).sum(axis=-1)
        e = torch.from_numpy(e) - features.setpoints(1.0, centred=True)
        for band in (made.a_posteriori(texts), made.a_priori(texts.states[:, 0])):
            torch.testing.assert_close(band.centre, e[:, 1:], atol=1e-5, rtol=0)
            assert float(band.radius.max()) < 1e-4
        check = made.check(replace(texts, groups=("a",) * 19 + ("b",)), seed=0)
        for kind, holds in check.holds.items():
            inside = [float(holds[:19].all()), float(holds[19].all())]
            assert check.inside(kind).tolist() == inside
            assert check.coverage()[kind].mean == np.mean(inside)


def test_bounds_begin_where_there_is_a_feature() -> None:
    jacobians, _ = system(6)
    resid = activations(6)
    assert resid.embedded_desired is not None
    shared = replace(resid, embedded_undesired=resid.embedded_desired)
    features, law = FeatureDirections.of(shared), ls.LQR.fit(jacobians, shared)
    texts = drawn(jacobians, law, 60, 0)
    found = bound(law, jacobians, features, shape=texts, calibration=texts)
    assert found.start == 1
    check = found.check(texts, seed=0)
    assert sorted(set(check.table()["layer"])) == list(range(2, T + 1))
    expected = (texts.states * features.directions).sum(dim=-1)
    expected = (expected - features.setpoints(1.0, centred=True))[:, 2:]
    torch.testing.assert_close(check.errors, expected, atol=1e-5, rtol=1e-5)
    [axes] = check.figure().axes
    assert len(axes.lines) == len(texts.groups) + 2  # a line for each text, and for each bound
    units = check.sizes.numpy()
    first = np.array(axes.lines[0].get_ydata())
    np.testing.assert_allclose(first, check.errors[0].abs().numpy() / units)
    for line, (kind, bounds) in zip(axes.lines[-2:], check.bounds.items(), strict=True):
        assert str(line.get_label()).startswith(f"{kind}: all inside in ")
        largest = bounds.amax(dim=0).numpy() / units
        np.testing.assert_allclose(np.array(line.get_ydata()), largest)
        assert np.array(line.get_xdata()).tolist() == list(range(2, T + 1))
    whole = bound(law, jacobians, features, shape=texts, calibration=texts, start=0)
    assert sorted(set(whole.check(texts, seed=0).table()["layer"])) == list(range(1, T + 1))
    measured = bound(law, jacobians, features, shape=texts, calibration=texts, loop=None)
    assert list(measured.covers(texts)) == ["a posteriori"]
    with pytest.raises(ValueError, match="fitted without a loop"):
        measured.a_priori(texts.states[:, 1])


# ---- real models ----


def test_trajectories_are_where_reports_look(model: Any, pairs: ls.ContrastivePairs) -> None:
    jacobians, resid, features = fitted(model, pairs)
    law = ls.LQRTracker.fit(jacobians, resid, setpoint=2.0)
    beta = features.setpoints(2.0, centred=True)
    report = record(model, law, pairs, features, beta, seed=0, progress=False)
    found = Trajectories.fit(model, law, pairs)
    signals = (found.states.double() * features.directions).sum(dim=-1)
    torch.testing.assert_close(signals, report.steered[:, 0])
    # the push and the target agree with the states that are left
    factor, target = law.factors[2], law.targets[2]
    left = found.states[:, 3] - found.pushes[:, 2]
    expected = (target - left @ factor) @ law.pushes[2].T
    torch.testing.assert_close(found.pushes[:, 2], expected, atol=1e-3, rtol=1e-3)
    made = FeatureBound.fit(
        jacobians,
        features,
        beta,
        shape=found.ungrouped(),
        calibration=found.ungrouped(),
        loop=LinearLoop.of(law, jacobians),
        alpha=0.2,
    )
    assert all(share >= 0.8 for share in made.covers(found.ungrouped()).values())
    assert "(I - P F') A" in repr(made)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_the_gap_is_what_runs_by_hand_give(
    architecture: str, backend: str, load: Loader, pairs: ls.ContrastivePairs
) -> None:
    model = load(architecture, backend)
    jacobians, resid, features = fitted(model, pairs)
    law = ls.LQR.fit(jacobians, resid, setpoint=3.0, control_cost=0.3)
    found = position_gap(model, law, pairs, features, scope="all", seed=0)
    v, units = features.directions, features.sizes
    for i, e in enumerate((*pairs.desired, *pairs.undesired)):
        ids = list(encode(model, e.prompt, e.continuation).ids)
        clean, _ = literal(model, ids, len(ids), law.with_strength(0.0))
        every, pushes = literal(model, ids, len(ids), law, "all")
        alone, _ = literal(model, ids, len(ids), law)
        steered = [k for k in range(LAYERS) if bool(pushes[-1, k].any())]
        at, vectors = tuple(map(Site, steered)), tuple(pushes[-1, steered].unbind())
        replay = Additive(at, vectors)
        own, _ = literal(model, ids, len(ids), replay)
        for values, states in (
            (found.everywhere, every),
            (found.replayed, own),
            (found.alone, alone),
        ):
            expected = ((states[-1] - clean[-1]) * v).sum(dim=-1) / units
            torch.testing.assert_close(values[i, 1:], expected[1:].double(), atol=2e-4, rtol=2e-3)
    share = found.share()
    assert np.isnan(share[0].mean)
    # behind the first block that pushes, other positions have had no block to act through
    first = law.layers[0] + 1
    assert share[first].mean == pytest.approx(0.0, abs=1e-5)
    assert abs(share[LAYERS].mean) > 1e-3
    every, own = (x[:, LAYERS].numpy() for x in (found.everywhere, found.replayed))
    assert share[LAYERS].mean == pytest.approx(1 - (own @ every) / (every @ every))
    left, right = found.figure().axes
    for line, changes in zip(
        left.lines, (found.everywhere, found.replayed, found.alone), strict=True
    ):
        size = changes.double().square().mean(dim=0).sqrt()
        np.testing.assert_allclose(np.array(line.get_ydata()), size.numpy())
    percent = np.array(right.lines[0].get_ydata(), dtype=float)
    np.testing.assert_allclose(percent, [100 * one.mean for one in share])
    assert right.get_ylabel() == "share through other positions, %"


def test_where_only_the_last_token_is_steered_nothing_comes_from_others(
    llama: Any, pairs: ls.ContrastivePairs
) -> None:
    jacobians, resid, features = fitted(llama, pairs)
    law = ls.LQRTracker.fit(jacobians, resid, setpoint=2.0)
    found = position_gap(llama, law, pairs, features, scope="last", seed=0)
    for replayed in (True, False):
        for share in found.share(replayed=replayed)[1:]:
            assert share.mean == pytest.approx(0.0, abs=1e-5)


def test_on_the_embedded_model_the_tracker_is_nearest_and_no_loop_in_use_contracts(
    embedded: Any,
) -> None:
    pairs = ls.ContrastivePairs.load("organism:sentiment")
    train, rest = pairs.split(0.25, 0.75, seed=0)
    train, test = train.first(12), rest.first(12)
    jacobians, resid, features = fitted(embedded, train)
    beta = features.setpoints(1.0, centred=True)
    law, tracker = ls.LQR.fit(jacobians, resid), ls.LQRTracker.fit(jacobians, resid)
    errors = []
    for method in (law, tracker):
        found = record(embedded, method, test, features, beta, seed=0, progress=False)
        errors.append([x.mean for x in found.of_class("undesired").error()[1:]])
    assert all(second < first for first, second in zip(*errors, strict=True))
    loops = [LinearLoop.open(jacobians), LinearLoop.of(law, jacobians)]
    costs = Costs.of(jacobians.n_layers, 0.1, 1.0, 0.1, None)
    report = LoopReport.of([*loops, LinearLoop.state_feedback(jacobians, costs)], first=1)
    unsteered, used, feedback = (float(norms[-1]) for norms in report.norms.values())
    assert feedback < 1 < 0.9 * unsteered < used


# ---- saving ----


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, tensors bit by bit; NaN equals NaN."""
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0))
    if is_dataclass(one):
        return type(one) is type(other) and all(
            same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one)
        )
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(x, other[k]) for k, x in one.items())
    return bool(one == other)


def test_what_was_saved_is_loaded_as_it_was(
    llama: Any, pairs: ls.ContrastivePairs, tmp_path: Path
) -> None:
    jacobians, resid, features = fitted(llama, pairs)
    law = ls.LQR.fit(jacobians, resid)
    beta = features.setpoints(1.0, centred=True)
    texts = Trajectories.fit(llama, law, pairs)
    single, loop = texts.ungrouped(), LinearLoop.of(law, jacobians)
    made = FeatureBound.fit(
        jacobians, features, beta, shape=single, calibration=single, loop=loop, alpha=0.2
    )
    reports = [
        record(llama, law, pairs, features, beta, seed=0, max_new_tokens=2, progress=False),
        position_gap(llama, law, pairs, features, seed=0),
        LoopReport.of([LinearLoop.open(jacobians), loop]),
        made.check(texts, seed=0),
    ]
    for i, thing in enumerate([*reports, texts, loop, made]):
        ls.save(thing, tmp_path / f"{i}.safetensors")
        assert same(ls.load(tmp_path / f"{i}.safetensors"), thing)
    for report in reports:
        assert isinstance(report, Report)
        assert repr(report).startswith(type(report).__name__)


# ---- refusals ----


def test_bad_input_is_refused(llama: Any, pairs: ls.ContrastivePairs) -> None:
    jacobians, resid, features = fitted(llama, pairs)
    law = ls.LQR.fit(jacobians, resid)
    how: dict[str, Any] = {"seed": 0, "progress": False}
    beta = features.setpoints(1.0, centred=True)
    with pytest.raises(ValueError, match="finite numbers"):
        record(llama, law, pairs, features, beta * torch.nan, **how)
    with pytest.raises(ValueError, match="max_new_tokens=-1, expected"):
        record(llama, law, pairs, features, beta, max_new_tokens=-1, **how)
    with pytest.raises(ValueError, match="context holds"):
        record(llama, law, pairs, features, beta, max_new_tokens=200, **how)
    with pytest.raises(ValueError, match="being steered"), ls.steered(llama, law):
        record(llama, law, pairs, features, beta, **how)
    with pytest.raises(ValueError, match="expected pushes behind blocks"):
        record(llama, Scale(site=Site(1, Kind.RESID_PRE)), pairs, features, beta, **how)
    short = FeatureDirections(*(x[:2] for x in vars(features).values()))
    with pytest.raises(ValueError, match="the model's states"):
        record(llama, law, pairs, short, beta[:2], **how)
    found = record(llama, law, pairs, features, beta, **how)
    with pytest.raises(ValueError, match="recorded were 1"):
        found.error(1)
    with pytest.raises(ValueError, match="one token was followed"):
        found.tokens_figure([1])
    with pytest.raises(ValueError, match="no 'text' texts"):
        found.of_class("text")
    with pytest.raises(ValueError, match="does nothing to the last token"):
        position_gap(llama, law, pairs, features, scope=(0,), seed=0)
    with pytest.raises(ValueError, match="a name for each"):
        compare_figure({})


def test_loops_and_bounds_refuse_what_they_cannot_promise() -> None:
    jacobians, _ = system()
    resid = activations()
    features, law = FeatureDirections.of(resid), ls.LQR.fit(jacobians, resid)
    for other in (
        replace(law, cap=0.1),
        replace(law, one_sided=True),
        ls.PID.fit(resid, kp=0.1, ki=0.1),
        Scale(),
    ):
        with pytest.raises(ValueError, match="closes no linear loop"):
            LinearLoop.of(other, jacobians)
    texts = drawn(jacobians, law, 8, 0)
    with pytest.raises(ValueError, match="at least 9"):
        bound(law, jacobians, features, shape=texts, calibration=texts)
    two = replace(texts, groups=("a", "b") * 4)
    with pytest.raises(ValueError, match="2 calibration units"):
        bound(law, jacobians, features, shape=texts, calibration=two, alpha=0.2)
    with pytest.raises(ValueError, match="above 0 and below 1"):
        conformal_quantile(torch.ones(20), 1.5)
    with pytest.raises(ValueError, match="not finite"):
        replace(texts, states=texts.states * torch.nan)
    with pytest.raises(ValueError, match="names that differ"):
        LoopReport.of([LinearLoop.open(jacobians)] * 2)
    with pytest.raises(ValueError, match="expected the number of a block"):
        LoopReport.of([LinearLoop.open(jacobians)], first=T)
    sizes = torch.zeros(20, 1).double()
    with pytest.raises(ValueError, match="fit it on more texts"):
        Envelope.fit((sizes, sizes), (sizes + 1, sizes), range(20), alpha=0.1)
