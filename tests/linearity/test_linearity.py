"""Linearity reports against numpy, under changes that must not matter, and of a trained model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from torch import Tensor

import lens_steer as ls
from lens_steer.intervals import nanmean_interval
from lens_steer.linearity import (
    PREDICTORS,
    BlockMaps,
    ErrorCurves,
    LinearityReport,
    LogitReport,
    skill,
)
from lens_steer.linearity.alignment import PARTS
from lens_steer.linearity.persistence import WAYS
from lens_steer.linearity.probe import DIRECTIONS, Probe
from lens_steer.models import encode, load_model
from tests.conftest import HAS_HOOKED, LAYERS, WIDTH, Loader
from tests.numpy_models import Array, read_model
from tests.reference import LastToken, centred, cosine, present, subspace_similarity

# Float64 against float64 and its differences; features go through float32. In a TransformerBridge
# Llama's norms are float32 whatever the weights are.
EXACT = {"gpt2-bridge": 1e-6, "gpt2-hooked": 1e-6, "llama-hooked": 1e-6, "llama-bridge": 3e-4}
ROUNDING = 1e-9  # of float64
SEED = 3
RADII = (0.1, 0.4, 1.5)
PAIRS = ls.ContrastivePairs.of(
    [
        ("A cat", " was sad. It was", " was very glad. It was"),
        ("The dog", " lost it. He was", " found a ball. He was"),
        ("Hi!", " No, it was", " Yes, it was"),
    ],
    name="few",
)
OTHERS = ls.ContrastivePairs.of(
    [("A dog", " was bad. It was", " was good. It was"), ("So", " it fell, it was", " up it was")]
)
Others = Callable[..., ls.LayerJacobians]  # by architecture and backend
ReportOf = Callable[..., LinearityReport]
PLACES = len(PAIRS.desired) + len(PAIRS.undesired)
BACKENDS = [key for key in EXACT if HAS_HOOKED or not key.endswith("hooked")]


# ---- against float64 numpy ----


@dataclass(frozen=True, eq=False)
class Oracle:
    """What the report is made of, from whole passes in numpy, the desired texts first."""

    rows: list[LastToken]
    z: Array  # [text layer d]
    a: Array  # [text layer d d]
    mean: Array  # [layer d d], of the other texts
    others: Array  # [text layer d d], theirs

    @property
    def gap(self) -> Array:
        half = len(self.z) // 2
        return self.z[:half].mean(axis=0) - self.z[half:].mean(axis=0)

    def features(self) -> tuple[Array, Array]:
        """Unit vectors and sizes by layer; NaN where the classes are alike."""
        sizes = np.linalg.norm(self.gap, axis=-1)
        sizes = np.where(sizes > 1e-6 * np.linalg.norm(self.z, axis=-1).mean(axis=0), sizes, np.nan)
        return self.gap / sizes[:, None], sizes

    def contrast(self, layer: int) -> Array:
        half = len(self.z) // 2
        own = self.z[:half, layer] - self.z[half:, layer]
        length = np.linalg.norm(own, axis=-1, keepdims=True)
        unit = own / np.where(length > 0, length, np.nan)
        return np.concatenate([unit, unit])


class Measured(NamedTuple):
    report: LinearityReport
    oracle: Oracle
    random: Array  # [layer text d], drawn by the report
    tolerance: float
    model: Any


def token_rows(model: Any, pairs: ls.ContrastivePairs) -> list[tuple[int, ...]]:
    return [encode(model, e.prompt, e.continuation).ids for e in (*pairs.desired, *pairs.undesired)]


@pytest.fixture(scope="module")
def oracle_of(model_dirs: dict[str, Path], load: Loader) -> Callable[[str], Oracle]:
    @cache
    def made(architecture: str) -> Oracle:
        model, twin = load(architecture), read_model(model_dirs[architecture])
        rows = [LastToken(twin, row) for row in token_rows(model, PAIRS)]
        others = [LastToken(twin, row) for row in token_rows(model, OTHERS)[: len(OTHERS)]]
        a, theirs = (
            np.stack([[row.jacobian(layer) for layer in range(LAYERS)] for row in some])
            for some in (rows, others)
        )
        return Oracle(rows, np.stack([row.states for row in rows]), a, theirs.mean(axis=0), theirs)

    return made


@pytest.fixture(scope="module", params=BACKENDS)
def measured(
    request: pytest.FixtureRequest,
    model_dirs: dict[str, Path],
    oracle_of: Callable[[str], Oracle],
) -> Measured:
    architecture, backend = request.param.split("-")
    model = load_model(model_dirs[architecture], backend=backend, device="cpu", dtype=torch.float64)
    jacobians = ls.linearize(model, OTHERS, progress=False)
    report = ls.linearity.diagnose(model, jacobians, PAIRS, radii=RADII, seed=SEED, progress=False)
    oracle = oracle_of(architecture)
    maps = BlockMaps.of(model, (*PAIRS.desired, *PAIRS.undesired))
    features = ls.FeatureDirections.of_states(maps.states[: len(PAIRS)], maps.states[len(PAIRS) :])
    probe = Probe(maps, jacobians, features, tuple(range(PLACES)), len(PAIRS), 1, SEED)
    random = np.stack([probe.random(layer).double().numpy() for layer in range(LAYERS + 1)])
    return Measured(report, oracle, random, EXACT[request.param], model)


def directions(case: Measured, layer: int) -> Array:
    """[direction text d]"""
    feature = np.broadcast_to(case.oracle.features()[0][layer], case.random[layer].shape)
    return np.stack([feature, case.oracle.contrast(layer), case.random[layer]])


def steps_and_changes(case: Measured) -> tuple[Array, Array]:
    """Steps at a block's input, and what they change behind it: [direction radius layer text d]."""
    o = case.oracle
    steps = np.full((len(DIRECTIONS), len(RADII), LAYERS, PLACES, WIDTH), np.nan)
    changes = steps.copy()
    for layer in range(LAYERS):
        units = directions(case, layer)
        for d, r, text in np.ndindex(len(DIRECTIONS), len(RADII), PLACES):
            z = o.z[text, layer]
            step = RADII[r] * np.sqrt(z @ z) * units[d, text]
            steps[d, r, layer, text] = step
            changes[d, r, layer, text] = o.rows[text].block(layer, z + step) - o.z[text, layer + 1]
    return steps, changes


def relative_error(steps: Array, changes: Array, a: Array) -> Array:
    """[direction radius layer text] of a prediction by matrices [text layer d d]."""
    left = changes - np.einsum("tlij,drltj->drlti", a, steps)
    return np.linalg.norm(left, axis=-1) / np.linalg.norm(changes, axis=-1)


def test_error_curves_are_those_of_numpy(measured: Measured) -> None:
    o, curves = measured.oracle, measured.report.curves
    assert curves.errors.shape == (len(PREDICTORS), len(DIRECTIONS), len(RADII), LAYERS, PLACES)
    true = steps_and_changes(measured)
    expected = {"own": o.a, "mean": o.mean, "identity": np.eye(WIDTH)}
    for predictor, matrices in expected.items():
        found = curves.errors[PREDICTORS.index(predictor)].numpy()
        known = relative_error(*true, np.broadcast_to(matrices, o.a.shape))
        np.testing.assert_allclose(found, known, atol=measured.tolerance, err_msg=predictor)
    found = curves.errors[PREDICTORS.index("shuffled")].numpy()
    shifted = [np.roll(o.a, -shift, axis=1) for shift in range(1, LAYERS)]
    agree = [np.allclose(found, relative_error(*true, a), 0, 1e-3, equal_nan=True) for a in shifted]
    assert sum(agree) == 1  # one and the same other layer for all of them


def test_cosines_and_gains_are_those_of_numpy(measured: Measured) -> None:
    o, found = measured.oracle, measured.report.persistence
    v, sizes = o.features()
    for text, k in np.ndindex(PLACES, LAYERS):
        random = np.where(np.isnan(v[k]), np.nan, measured.random[k, text])
        carried = {"own": o.a[text, k] @ v[k], "identity": v[k], "random": o.a[text, k] @ random}
        for way, x in carried.items():
            at = WAYS.index(way), k, text
            turned, grown = cosine(x, v[k + 1]), v[k + 1] @ x * sizes[k] / sizes[k + 1]
            np.testing.assert_allclose(found.cosine[at], turned, atol=measured.tolerance)
            np.testing.assert_allclose(found.gain[at], grown, atol=10 * measured.tolerance)


def test_transfer_and_energy_are_those_of_numpy(measured: Measured) -> None:
    o, found = measured.oracle, measured.report.persistence
    v, _ = o.features()
    for text, k in np.ndindex(PLACES, LAYERS + 1):
        phi = np.eye(WIDTH)  # Phi(k, j), j from k down
        for j in range(k, -1, -1):
            here = found.transfer[k, j, text]
            np.testing.assert_allclose(here, v[k] @ phi @ v[j], rtol=1e-3, atol=1e-4)
            phi = phi @ o.a[text, j - 1]
    above = torch.ones(LAYERS + 1, LAYERS + 1).triu(1).bool()
    assert bool(found.transfer[above].isnan().all())
    for text in range(PLACES):
        ends = (found.energy, v[-1]), (found.random_energy, measured.random[-1, text])
        for values, x in ends:
            for layer in range(LAYERS - 1, -1, -1):
                tolerance = 10 * measured.tolerance
                np.testing.assert_allclose(values[layer, text], x @ x, rtol=tolerance)
                x = o.a[text, layer].T @ x


def test_sizes_spread_and_least_push_are_those_of_numpy(measured: Measured) -> None:
    o, found = measured.oracle, measured.report.persistence
    relative = np.linalg.norm(o.gap, axis=-1) / np.linalg.norm(o.z, axis=-1).mean(axis=0)
    np.testing.assert_allclose(found.sizes, relative, rtol=1e-4, atol=1e-6)
    apart = ((o.others - o.mean) ** 2).sum(axis=(-1, -2)).mean(axis=0)
    spread = np.sqrt(apart / ((o.mean - np.eye(WIDTH)) ** 2).sum(axis=(-1, -2)))
    assert found.spread is not None
    np.testing.assert_allclose(found.spread, spread, rtol=1e-3)
    # the least-norm solution of v' sum Phi(T, l+1) u_l = mu, written out
    v, sizes = o.features()
    pushes = []
    for text in range(PLACES):
        phi, blocks = np.eye(WIDTH), []
        for layer in range(LAYERS - 1, -1, -1):
            blocks.append(v[-1] @ phi)
            phi = phi @ o.a[text, layer]
        system = np.concatenate(blocks)[None]
        pushes.append(np.linalg.norm(np.linalg.lstsq(system, sizes[-1:], rcond=None)[0]))
    expected = np.mean(pushes) / np.linalg.norm(o.z[:, -1], axis=-1).mean()
    assert found.least_push().mean == pytest.approx(expected, rel=1e-3)


def test_logits_are_those_of_numpy(measured: Measured) -> None:
    o, report = measured.oracle, present(measured.report.logits)
    v, _ = o.features()
    for layer, text, moved in np.ndindex(LAYERS, PLACES, 2):
        unit = (v[layer], measured.random[layer, text])[moved]
        row, z = o.rows[text], o.z[text, layer]
        pushed = unit
        for k in range(layer, LAYERS):
            pushed = o.mean[k] @ pushed
        ends = (row.logit_change(LAYERS, x) for x in (pushed, unit))
        changes = row.logit_change(layer, unit), *ends
        clean = row.logits(layer, z)
        for r, radius in enumerate(RADII):
            size = radius * np.sqrt(z @ z)
            true = centred(row.logits(layer, z + size * unit) - clean)
            for chain, change in enumerate(changes):
                predicted = size * change
                slope = (predicted @ true) / (predicted @ predicted)
                left = ((true - predicted) ** 2).sum()
                at = chain, moved, r, layer, text
                tolerance = 10 * measured.tolerance
                np.testing.assert_allclose(report.slope[at], slope, tolerance, tolerance)
                fit = 1 - left / (true @ true)
                np.testing.assert_allclose(report.explained[at], fit, tolerance, tolerance)


def test_the_shuffled_chain_takes_other_layers_of_one_shift(measured: Measured) -> None:
    o, slopes = measured.oracle, present(measured.report.logits).slope[3, 1, 0]
    fits = np.ones(LAYERS - 1, dtype=bool)
    for layer, text in np.ndindex(LAYERS, PLACES):
        unit, row, z = measured.random[layer, text], o.rows[text], o.z[text, layer]
        step = RADII[0] * np.sqrt(z @ z) * unit
        true = centred(row.logits(layer, z + step) - row.logits(layer, z))
        for shift in range(1, LAYERS):
            pushed = step
            for k in range(layer, LAYERS):
                pushed = o.mean[(k + shift) % LAYERS] @ pushed
            predicted = row.logit_change(LAYERS, pushed)
            slope = (predicted @ true) / (predicted @ predicted)
            fits[shift - 1] &= bool(np.isclose(slopes[layer, text], slope, 1e-2, 1e-3))
    assert fits.sum() == 1


def test_alignment_is_that_of_numpy(measured: Measured) -> None:
    texts = PAIRS.desired + PAIRS.undesired
    found = ls.linearity.align(
        measured.model,
        {"few": texts[:5], "same": texts[1:]},
        layers=(0, 2),
        sizes=(1, 5, WIDTH),
        progress=False,
    )
    assert found.sets == ("few", "same", "random")
    assert found.similarity.shape == (3, len(PARTS), 2, 3, 2)  # five texts make two pairs
    for i, numbers in ((0, range(5)), (1, range(1, 6))):
        fits = 0
        for a, b, c, d in permutations(numbers, 4):
            expected = np.array([similarities(measured.oracle, *two) for two in ((a, b), (c, d))])
            close = np.allclose(expected[..., :-1], similarity_of(found, i), atol=1e-4)
            fits += close and np.allclose(expected[..., -1], cosine_of(found, i), atol=1e-4)
        assert fits == 4  # one set of two pairs, each either way round
    for i, numbers in ((0, range(5)), (1, range(1, 6))):
        for j, layer in enumerate((0, 2)):
            for which, minus in enumerate((0.0, 1.0)):
                a = measured.oracle.a[list(numbers), layer] - minus * np.eye(WIDTH)
                values = np.linalg.svd(a, compute_uv=False)
                low, high = values.min(axis=0), values.max(axis=0)
                spectrum = found.spectra[i, which, j].numpy()
                assert (spectrum >= low - 1e-3).all()
                assert (spectrum <= high + 1e-3).all()


def similarity_of(report: Any, i: int) -> Array:
    """[pair layer part*size]"""
    return report.similarity[i].permute(3, 1, 0, 2).flatten(2).numpy()


def cosine_of(report: Any, i: int) -> Array:
    return report.cosine[i].T.numpy()


@cache
def similarities(o: Oracle, a: int, b: int) -> Array:
    """[layer part*size, and the cosine]"""
    rows = []
    for layer in (0, 2):
        x, y = o.a[a, layer], o.a[b, layer]
        dx, dy = x - np.eye(WIDTH), y - np.eye(WIDTH)
        parts = [(x, y, True), (x, y, False), (dx, dy, True), (dx, dy, False)]
        row = [
            subspace_similarity(p, q, m, left=left) for p, q, left in parts for m in (1, 5, WIDTH)
        ]
        rows.append([*row, (dx * dy).sum() / np.sqrt((dx**2).sum() * (dy**2).sum())])
    return np.array(rows)


# ---- tables ----


@pytest.fixture(scope="module")
def others(load: Loader) -> Others:
    return cache(lambda *which: ls.linearize(load(*which), OTHERS, progress=False))


def diagnosed(model: Any, jacobians: ls.LayerJacobians, pairs: Any = PAIRS, **options: Any) -> Any:
    given = {"radii": RADII, "seed": SEED, "progress": False, **options}
    return ls.linearity.diagnose(model, jacobians, pairs, **given)


@pytest.fixture(scope="module")
def report_of(load: Loader, others: Others) -> ReportOf:
    return cache(lambda *which: diagnosed(load(*which), others(*which)))


def test_means_and_skills_are_those_of_numpy(report_of: ReportOf) -> None:
    report = report_of("llama")
    curves = report.curves
    frame = curves.table().set_index(["layer", "radius", "direction", "predictor"])
    assert len(frame) == LAYERS * len(RADII) * len(DIRECTIONS) * len(PREDICTORS)
    for p, d, r, layer in np.ndindex(len(PREDICTORS), len(DIRECTIONS), len(RADII), LAYERS):
        row = frame.loc[(layer, RADII[r], DIRECTIONS[d], PREDICTORS[p])]
        errors, base = (curves.errors[i, d, r, layer].double().numpy() for i in (p, 2))
        if np.isnan(errors).all():
            assert row.isna().all()
            continue
        assert row["error"] == pytest.approx(np.nanmean(errors))
        assert row["error_low"] <= row["error"] <= row["error_high"]
        known = 1 - np.nansum(errors**2) / np.nansum(base**2)
        assert row["skill"] == pytest.approx(known, abs=1e-9)
        assert row["skill_low"] <= row["skill"] + 1e-9
        assert row["skill"] <= row["skill_high"] + 1e-9
    for r, radius in enumerate(RADII):
        own, identity = curves.errors[0, 0, r].numpy(), curves.errors[2, 0, r].numpy()
        np.testing.assert_allclose(report.error_at(radius), own.mean(axis=-1), rtol=1e-6)
        found = report.identity_error_at(radius)
        np.testing.assert_allclose(found, identity.mean(axis=-1), rtol=1e-6)
    between = (report.error_at(0.1) + report.error_at(0.4)) / 2
    np.testing.assert_allclose(report.error_at(0.25), between)


def test_the_persistence_table_is_of_means(report_of: ReportOf) -> None:
    found = report_of("gpt2").persistence
    frame = found.table()
    assert frame["layer"].tolist() == list(range(LAYERS))
    np.testing.assert_allclose(frame["energy"], found.energy.double().mean(dim=-1))
    np.testing.assert_allclose(frame["cosine_own"], found.cosine[0].double().mean(dim=-1))
    np.testing.assert_allclose(frame["gain_random"], found.gain[3].double().mean(dim=-1))


def test_the_logit_table_and_radius_are_means(report_of: ReportOf) -> None:
    report = present(report_of("llama").logits)
    frame = report.table().set_index(["chain", "direction", "layer", "radius"])
    mean = report.slope.double().mean(dim=-1)
    for layer in range(LAYERS):
        row = frame.loc[("mean", "random", layer, RADII[1])]
        assert row["slope"] == pytest.approx(float(mean[1, 1, 1, layer]))
        fit = report.explained[1, 1, 1, layer].double().mean()
        assert row["explained"] == pytest.approx(float(fit))
        own = mean[0, 0, :, layer]
        for least in (0.5, 0.9):
            x, y = [0.0, *RADII], [1.0, *own.tolist()]
            below = [i for i, value in enumerate(y) if not value >= least]
            i = below[0] if below else len(x) - 1
            expected = float(np.interp(-least, [-y[i - 1], -y[i]], [x[i - 1], x[i]]))
            expected = np.nan if own.isnan().any() else expected if below else x[-1]
            np.testing.assert_allclose(report.radius(least)[layer], expected, rtol=1e-6)


# ---- what must not matter ----


def numbers(report: LinearityReport) -> dict[str, Tensor]:
    found = {}
    for name in ("curves", "persistence", "logits"):
        for field, value in vars(getattr(report, name)).items():
            if isinstance(value, Tensor):
                found[f"{name}.{field}"] = value
    return found


def assert_alike(one: LinearityReport, other: LinearityReport, rtol: float, atol: float) -> None:
    ours, theirs = numbers(one), numbers(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(
            value,
            theirs[name],
            rtol=rtol,
            atol=atol,
            equal_nan=True,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def test_a_seed_gives_the_same_bytes_and_another_other_random_directions(
    llama: Any, others: Others, report_of: ReportOf
) -> None:
    one = report_of("llama")
    again, other = (diagnosed(llama, others("llama"), seed=seed) for seed in (SEED, 1))
    for name, value in numbers(one).items():
        assert value.numpy().tobytes() == numbers(again)[name].numpy().tobytes(), name
    assert one.table().equals(again.table())
    assert torch.equal(one.curves.errors[0, :2, :, 1:], other.curves.errors[0, :2, :, 1:])
    assert not torch.equal(one.curves.errors[0, 2], other.curves.errors[0, 2])
    assert not torch.equal(one.persistence.random_energy, other.persistence.random_energy)


def test_the_order_of_pairs_is_no_matter_for_means(
    gpt2: Any, others: Others, report_of: ReportOf
) -> None:
    jacobians = others("gpt2")
    turned = replace(PAIRS, desired=PAIRS.desired[::-1], undesired=PAIRS.undesired[::-1])
    one, other = report_of("gpt2"), diagnosed(gpt2, jacobians, turned)
    near: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4, "equal_nan": True}
    for direction in ("feature", "contrast"):
        for predictor in PREDICTORS:
            found = other.curves.mean(predictor, direction)
            torch.testing.assert_close(one.curves.mean(predictor, direction), found, **near)
    for name in ("cosine", "gain", "transfer", "energy"):
        ours, theirs = (getattr(each.persistence, name).mean(dim=-1) for each in (one, other))
        rows = slice(3) if name in ("cosine", "gain") else slice(None)  # but the random one
        torch.testing.assert_close(ours[rows], theirs[rows], **near)
    ours, theirs = (present(each.logits).slope[:, 0].mean(dim=-1) for each in (one, other))
    torch.testing.assert_close(ours, theirs, **near)
    torch.testing.assert_close(one.trust_radius, other.trust_radius, **near)


def test_exchanging_the_classes_turns_the_directions_round(
    gpt2: Any, others: Others, report_of: ReportOf
) -> None:
    """Cosines, gains, transfer and energy do not know the sign of a feature."""
    jacobians = others("gpt2")
    turned = replace(PAIRS, desired=PAIRS.undesired, undesired=PAIRS.desired)
    one, other = (r.persistence for r in (report_of("gpt2"), diagnosed(gpt2, jacobians, turned)))
    order = [*range(len(PAIRS), PLACES), *range(len(PAIRS))]
    for name in ("cosine", "gain", "transfer", "energy"):
        rows = slice(3) if name in ("cosine", "gain") else slice(None)
        ours, theirs = getattr(one, name)[rows], getattr(other, name)[rows]
        torch.testing.assert_close(ours, theirs[..., order], rtol=1e-3, atol=1e-3, equal_nan=True)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_products_and_the_other_class_give_the_same_report(
    architecture: str, load: Loader, report_of: ReportOf
) -> None:
    model = load(architecture)
    one = report_of(architecture)
    free = ls.linearize(model, OTHERS, dense=False, progress=False)
    other = diagnosed(model, free)
    assert other.persistence.spread is None
    assert other.table()["spread"].isna().all()
    spread = one.persistence.spread
    other = replace(other, persistence=replace(other.persistence, spread=spread))
    assert_alike(one, other, rtol=1e-3, atol=1e-4)
    if HAS_HOOKED:
        assert_alike(one, report_of(architecture, "hooked"), rtol=2e-3, atol=1e-3)


def test_features_of_its_own_texts_are_the_default(
    gpt2: Any, others: Others, report_of: ReportOf
) -> None:
    resid = ls.capture(gpt2, PAIRS, "resid", progress=False)
    jacobians = others("gpt2")
    given = diagnosed(gpt2, jacobians, features=ls.FeatureDirections.of(resid))
    assert_alike(given, report_of("gpt2"), rtol=1e-2, atol=1e-3)


def test_unpaired_texts_of_different_counts(gpt2: Any, others: Others) -> None:
    texts = [f"{e.prompt}{e.continuation}" for e in (*PAIRS.desired, *PAIRS.undesired)]
    unpaired = ls.ContrastivePairs.unpaired(texts[:2], texts[2:])
    report = diagnosed(gpt2, others("gpt2"), unpaired)
    assert report.curves.errors.shape[-1] == PLACES
    assert bool(report.curves.errors[:, :, :, 1:].isfinite().all())
    assert len(report.table()) == LAYERS
    # text 0 of either side: one contrast, seen from both ends
    apart = diagnosed(gpt2, others("gpt2"), ls.ContrastivePairs.unpaired([texts[0]], [texts[2]]))
    own = apart.curves.errors[:3, 1]
    torch.testing.assert_close(
        own, report.curves.errors[:3, 1][..., [0, 2]], rtol=1e-3, atol=1e-4, equal_nan=True
    )


def test_reports_of_a_missing_embedding_are_whole(report_of: ReportOf) -> None:
    report = report_of("llama")
    missing = [True] + [False] * (LAYERS - 1)
    assert report.error_at(0.3).isnan().tolist() == missing
    assert report.identity_error_at(0.3).isnan().tolist() == missing
    assert report.trust_radius.isnan().tolist() == missing
    assert present(report.logits).radius().isnan().tolist() == missing
    frame = report.table()
    assert frame["error_1"].isna().tolist() == missing
    assert frame["gain_random"].isna().tolist() == missing
    assert frame["energy"].isna().tolist() == [False] * LAYERS
    assert (frame["energy_low"] <= frame["energy"]).tolist() == [True] * LAYERS
    curves = report.curves.table()
    lost = curves[curves["error"].isna()]
    assert set(lost["layer"]) == {0}
    assert set(lost["direction"]) == {"feature", "contrast"}
    assert report.persistence.table()["layer"].tolist() == list(range(LAYERS))
    assert len(present(report.logits).table()) == 8 * len(RADII) * LAYERS


# ---- radii and windows of curves made by hand ----


def by_hand(columns: Sequence[Sequence[float]], radii: Sequence[float]) -> LinearityReport:
    """A report whose own errors along the feature are these, a column for each layer."""
    values = torch.tensor(columns, dtype=torch.double).T[None, None, :, :, None]
    errors = values.expand(len(PREDICTORS), len(DIRECTIONS), -1, -1, 2)
    report = object.__new__(LinearityReport)  # with nothing but curves
    object.__setattr__(report, "curves", ErrorCurves(tuple(radii), errors, ("a", "b"), 0))
    return report


def test_the_radius_is_the_first_crossing() -> None:
    nan = float("nan")
    cases = {
        (0.0, 0.05, 0.2): 1 + 0.05 / 0.15,
        (0.02, 0.03, 0.1): 2.0,  # touches it
        (0.01, 0.02, 0.03): 2.0,  # never
        (0.3, 0.05, 0.2): 0.5 / 3,  # at once, in proportion from nothing at 0
        (0.05, 0.2, 0.01): 0.5 + 0.5 * 0.05 / 0.15,  # and back again
        (0.1, 0.1, 0.5): 1.0,
        (nan, nan, nan): nan,
    }
    report = by_hand(list(cases), (0.5, 1.0, 2.0))
    np.testing.assert_allclose(report.trust_radius, list(cases.values()), rtol=1e-6)
    np.testing.assert_allclose(
        report.curves.radius(0.02)[:3], [0.5 + 0.5 * 0.4, 0.5, 1.0], rtol=1e-6
    )


@given(
    st.lists(st.floats(0.0, 0.4), min_size=2, max_size=6),
    st.floats(0.01, 0.3),
)
def test_the_error_stays_below_up_to_the_radius(values: list[float], level: float) -> None:
    radii = np.linspace(0.2, 1.0, len(values))
    report = by_hand([values], radii.tolist())
    found = float(report.curves.radius(level)[0])
    x, y = np.concatenate([[0.0], radii]), np.concatenate([[0.0], values])
    assert 0 < found <= 1.0
    before = np.linspace(0.0, found, 200)
    assert np.interp(before, x, y).max() <= level + 1e-5
    if found < 1.0 - 1e-6:
        assert np.interp(found, x, y) == pytest.approx(level, abs=1e-5)
        after = np.interp(np.linspace(found, 1.0, 2000), x, y)
        assert after.max() >= level - 1e-6


def test_the_window_is_the_longest_run_and_of_equals_the_first() -> None:
    linear, bent, nan = (0.0, 0.0), (0.0, 1.0), (float("nan"), float("nan"))
    for columns, expected in (
        ([linear, linear, bent, linear], (0, 1)),
        ([bent, linear, bent, linear, linear], (3, 4)),
        ([linear, bent, linear, bent], (0,)),
        ([nan, linear, linear, nan, linear], (1, 2)),
        ([linear] * 3, (0, 1, 2)),
        ([bent, bent, linear], (2,)),
    ):
        assert by_hand(columns, (0.5, 1.0)).window(0.9) == expected
    # a radius between: the bent ones cross at .5 + .05
    assert by_hand([bent, linear], (0.5, 1.0)).window(0.54) == (0, 1)
    assert by_hand([bent, nan, bent], (0.5, 1.0)).window(0.9) == ()
    assert by_hand([nan], (0.5, 1.0)).window(0.1) == ()


def test_the_logit_radius_ends_where_the_slope_first_falls() -> None:
    columns = [(1.0, 0.9, 0.6), (1.0, 0.4, 0.9), (0.2, 0.9, 0.9), (float("nan"),) * 3, (2, 0.5, 0)]
    slope = torch.tensor(columns).T[None, None, :, :, None].expand(2, 2, -1, -1, 3)
    report = LogitReport((0.1, 0.5, 2.0), slope, slope, ("a", "b", "c"), 0)
    half, most = [2.0, 0.1 + 1 / 3, 0.0625, np.nan, 0.5], [0.3, 0.4 / 3, 0.00625, np.nan, 0.38]
    np.testing.assert_allclose(report.radius(), half, rtol=1e-6)
    np.testing.assert_allclose(report.radius(0.95), most, rtol=1e-6)


def test_what_texts_lack_is_left_out_of_means_and_skills() -> None:
    nan = float("nan")
    groups = ("a", "a", "b", "b", "c", "c")
    errors = torch.tensor([0.1, 0.3, nan, nan, 0.2, nan])
    base = torch.tensor([1.0, 0.5, 0.5, nan, nan, 0.5])
    assert nanmean_interval(errors, groups, 0).mean == pytest.approx(0.2)
    assert skill(errors, base, groups, 0).mean == pytest.approx(1 - 0.1 / 1.25)
    none = torch.full((6,), nan)
    for found in (
        nanmean_interval(none, groups, 0),
        skill(none, base, groups, 0),
        skill(errors, torch.zeros(6), groups, 0),
    ):
        assert np.isnan([found.mean, found.low, found.high]).all()
    draw = torch.Generator().manual_seed(0)
    errors, base = 0.1 + torch.rand(2, 6, generator=draw)
    found = skill(errors, base, groups, 0)
    assert found.low < found.mean < found.high


# ---- what is refused ----


def test_what_cannot_be_diagnosed_is_refused(
    llama: Any, gpt2: Any, others: Others, load: Loader
) -> None:
    jacobians = others("llama")
    for radii in ((), (0.0, 1.0), (-0.1,), (0.5, 0.1), (0.1, 0.1)):
        with pytest.raises(ValueError, match="expected positive numbers, rising"):
            diagnosed(llama, jacobians, radii=radii)
    with pytest.raises(ValueError, match="another model"):
        diagnosed(gpt2, jacobians)
    with pytest.raises(ValueError, match="pass read='last'"):
        diagnosed(llama, jacobians, read="prompt_last")
    with pytest.raises(ValueError, match="one token"):
        BlockMaps.of(llama, PAIRS, read="mean")
    matrices = torch.eye(WIDTH).expand(3, -1, -1)
    few = ls.LayerJacobians.from_tensors(matrices, torch.zeros(4, WIDTH))
    with pytest.raises(ValueError, match="the jacobians are"):
        diagnosed(llama, few)
    desired = torch.randn(4, 3, WIDTH, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="the features are"):
        diagnosed(llama, jacobians, features=ls.FeatureDirections.of_states(desired, -desired))


def test_whole_numbers_are_radii_too(llama: Any, others: Others) -> None:
    found = diagnosed(llama, others("llama"), PAIRS.first(1), radii=(1, 2))
    assert found.curves.radii == (1.0, 2.0)
    assert found.error_at(1)[1:].isfinite().all()


def test_an_error_outside_of_the_radii_is_refused() -> None:
    report = by_hand([(0.1, 0.2)], (0.5, 1.0))
    assert report.error_at(0.5).tolist() == pytest.approx([0.1])
    assert report.identity_error_at(0.75).tolist() == pytest.approx([0.15])
    for radius in (0.4, 1.1, 0):
        with pytest.raises(ValueError, match="measured from 0.5 to 1 of"):
            report.error_at(radius)
    with pytest.raises(ValueError, match="expected one of own, mean, identity, shuffled"):
        report.curves.error_at(0.5, "theirs")
    with pytest.raises(ValueError, match="expected one of feature, contrast, random"):
        report.curves.mean("own", "sideways")


def test_alignment_wants_four_texts_and_sizes_that_there_are(llama: Any) -> None:
    texts = ["A cat was", "A dog was", "Hi", "The sun was"]
    for sets in ({"few": texts[:3]}, {"few": texts, "fewer": texts[:2]}, {}):
        with pytest.raises(ValueError, match=r"got sets of \{.*\} texts: expected .* at least 4"):
            ls.linearity.align(llama, sets, progress=False)
    for sizes in ((), (0, 1), (1, WIDTH + 1)):
        with pytest.raises(ValueError, match=f"sizes from 1 to {WIDTH}"):
            ls.linearity.align(llama, {"few": texts}, sizes=sizes, progress=False)
    for layer in (-1, LAYERS):
        with pytest.raises(ValueError, match=rf"layer {layer}|layers=\[{layer}\]"):
            ls.linearity.align(llama, {"few": texts}, layers=[layer], progress=False)


# ---- alignment ----


def test_equal_texts_are_aligned_and_random_vectors_are_not(llama: Any) -> None:
    same = ["A cat was"] * 4
    mixed = ["A cat was", "The dog, very old", "Hi", "1 + 1 = 2", "So the sun", "x"]
    found = ls.linearity.align(llama, {"same": same, "mixed": mixed}, progress=False)
    assert found.layers == (0, 1, 2, 3)
    assert found.sizes == (1, WIDTH // 8, WIDTH // 2, WIDTH)
    assert found.similarity.shape == (3, len(PARTS), 4, 4, 2)  # the smallest set has four
    torch.testing.assert_close(found.similarity[0], torch.ones(4, 4, 4, 2))
    torch.testing.assert_close(found.cosine[0], torch.ones(4, 2))
    assert float(found.cosine[1].max()) < 0.999
    assert float(found.similarity.max()) <= 1 + 1e-5
    assert float(found.similarity.min()) >= 0.0
    assert float(found.similarity[2, :, :, 0].max()) < 0.8  # one random vector and another
    assert bool((found.spectra.diff(dim=-1) <= 1e-6).all())
    again = ls.linearity.align(llama, {"same": same, "mixed": mixed}, progress=False)
    assert torch.equal(again.similarity, found.similarity)
    frame = found.table().set_index(["texts", "part", "layer", "m"])
    assert len(frame) == 3 * len(PARTS) * 4 * 4
    cell = frame.loc[("mixed", "A - I right", 2, 4)]
    known = found.similarity[1, PARTS.index("A - I right"), 2, 1].mean()
    assert cell["similarity"] == pytest.approx(float(known))


# ---- figures ----


def lines(axes: Any) -> list[str]:
    """Labels of the lines that are explained in a legend."""
    return [str(line.get_label()) for line in axes.lines if not line.get_label().startswith("_")]


def visible(figure: Figure) -> list[Any]:
    return [axes for axes in figure.axes if axes.get_visible()]


@pytest.mark.parametrize(("architecture", "known"), [("gpt2", LAYERS), ("llama", LAYERS - 1)])
def test_error_curves_leave_out_layers_without_the_direction(
    architecture: str, known: int, report_of: ReportOf
) -> None:
    report = report_of(architecture)
    for direction, shown in (("contrast", known), ("random", LAYERS)):
        axes = visible(report.curves.figure(direction))
        assert [a.get_title() for a in axes] == [
            f"layer {i}" for i in range(LAYERS - shown, LAYERS)
        ]
        assert all(lines(a) == list(PREDICTORS) for a in axes)
        assert axes[0].get_xscale() == axes[0].get_yscale() == "log"
    assert len(visible(report.figure())) == known


def test_figures_of_persistence_and_logits(report_of: ReportOf) -> None:
    report = report_of("llama")
    left, _, right, bar = report.persistence.figure().axes
    assert lines(left) == list(WAYS)
    assert lines(right) == ["feature", "random direction"]
    assert "Phi" in bar.get_ylabel()
    panels = present(report.logits).figure().axes
    assert len(panels) == 4
    assert all(lines(a) == [f"layer {i}" for i in range(1, LAYERS)] for a in panels)


def test_many_layers_are_thinned_out_in_figures() -> None:
    columns = [(0.1 * i, 0.2 * i) for i in range(1, 21)]
    figure = by_hand(columns, (0.5, 1.0)).curves.figure()
    shown = [axes.get_title() for axes in visible(figure)]
    assert len(shown) == 8
    assert (shown[0], shown[-1]) == ("layer 0", "layer 19")


def test_figures_of_alignment(llama: Any) -> None:
    texts = ["A cat was", "The dog, very old", "Hi", "1 + 1 = 2"]
    report = ls.linearity.align(llama, {"a": texts, "b": texts[::-1]}, progress=False)
    axes = report.figure().axes
    assert len(axes) == 3 * len(PARTS)  # three of four layers
    assert all(lines(a) == ["a", "b", "random"] for a in axes)
    assert axes[0].get_title() == "A left, layer 0"
    assert axes[-1].get_title() == "A - I right, layer 3"
    axes = report.spectra_figure().axes
    assert len(axes) == 2 * LAYERS
    assert all(lines(a) == ["a", "b"] for a in axes)
    assert all(np.max(line.get_ydata()) == 1.0 for a in axes for line in a.lines)


# ---- a trained model ----


def test_the_stories_model_is_as_linear_as_was_measured_elsewhere(stories: Any) -> None:
    """About .08 at a tenth of |z|, .24 at .3 and .57 at 1, by an independent implementation."""
    starts = ("Tom saw a cat. Tom was very", "Lily had a ball. Lily was very", "Sue felt so")
    pairs = ls.ContrastivePairs.of([(start, " happy.", " sad.") for start in starts])
    others = ls.ContrastivePairs.of(
        [(start, " glad.", " sad.") for start in ("Anna ate a cake. Anna was", "Ben ran. He was")]
    )
    jacobians = ls.linearize(stories, others, progress=False)
    report = diagnosed(stories, jacobians, pairs, radii=(0.01, 0.1, 0.3, 1.0))
    for radius, low, high in ((0.1, 0.03, 0.13), (0.3, 0.1, 0.38), (1.0, 0.35, 0.9)):
        errors = report.error_at(radius)[1:]
        assert low < float(errors.min())
        assert float(errors.max()) < high
        identity = report.identity_error_at(radius)[1:]
        assert float(identity.min()) > 0.4
        assert float(identity.max()) < 0.8
    assert float(report.error_at(0.01)[1:].max()) < 0.02
    assert bool(report.error_at(0.01).isnan()[0])  # both sides end in a full stop
    frame = report.curves.table().query("predictor == 'own' and direction == 'feature'")
    assert frame.query("radius == 0.1 and layer > 0")["skill"].min() > 0.9
    assert float(report.trust_radius[1:].min()) > 0.07
    assert float(report.trust_radius[1:].max()) < 0.4
    assert report.window(0.07) == tuple(range(1, int(stories.cfg.n_layers)))


def test_the_logits_may_be_left_out(llama: Any) -> None:
    jacobians = ls.linearize(llama, OTHERS, progress=False)
    options: dict[str, Any] = {"radii": RADII, "seed": SEED, "progress": False}
    report = ls.linearity.diagnose(llama, jacobians, PAIRS, logits=False, **options)
    assert report.logits is None
    assert "logit_radius" not in report.table()
    whole = ls.linearity.diagnose(llama, jacobians, PAIRS, **options)
    torch.testing.assert_close(report.trust_radius, whole.trust_radius, equal_nan=True)
