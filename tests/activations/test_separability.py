from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from lens_steer.activations import Activations, SeparabilityReport, capture
from lens_steer.data import ContrastivePairs
from lens_steer.sites import Kind

# Float32 sums of 0, 1/2 and 1.
AREA = 1e-6
WIDTH, DEPTH = 6, 3
COLUMNS = [
    "layer", "auc", "low", "high", "control_low", "control_high",
    "d_prime", "d_prime_low", "d_prime_high", "chance_auc", "chance_d_prime",
]  # fmt: skip


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def drawn(
    desired: int, undesired: int, *, gap: float, seed: int, embedded: bool = True
) -> Activations:
    """Two clouds `gap` apart along the first axis, more so the deeper the layer."""
    sides = []
    for n, sign, offset in ((desired, 0.5, 0), (undesired, -0.5, 1)):
        cloud = normal(n, DEPTH, WIDTH, seed=2 * seed + offset)
        cloud[..., 0] += sign * gap * torch.arange(1, DEPTH + 1)
        sides.append(cloud)
    below = [normal(len(side), WIDTH, seed=2 * seed + i + 100) for i, side in enumerate(sides)]
    return Activations(
        sides[0],
        sides[1],
        Kind.RESID,
        tuple(range(DEPTH)),
        embedded_desired=below[0] if embedded else None,
        embedded_undesired=below[1] if embedded else None,
        paired=desired == undesired,
    )


def by_layer(a: Activations) -> list[tuple[np.ndarray, np.ndarray]]:
    """Both sides, float64, the embedding first where there is one."""
    layers = [(a.desired[:, i].flatten(1), a.undesired[:, i].flatten(1)) for i in range(DEPTH)]
    if a.embedded_desired is not None and a.embedded_undesired is not None:
        layers.insert(0, (a.embedded_desired, a.embedded_undesired))
    return [(d.double().numpy(), u.double().numpy()) for d, u in layers]


def areas(train: Activations, held_out: Activations) -> list[float]:
    found = []
    for (d, u), (x, y) in zip(by_layer(train), by_layer(held_out), strict=True):
        along = d.mean(axis=0) - u.mean(axis=0)
        scores = np.concatenate([x @ along, y @ along])
        found.append(float(roc_auc_score([1] * len(x) + [0] * len(y), scores)))
    return found


@pytest.mark.parametrize("counts", [(30, 30), (24, 37)])
@pytest.mark.parametrize("gap", [0.0, 0.4])
@pytest.mark.parametrize("embedded", [True, False])
def test_the_area_is_that_of_scikit_learn(
    counts: tuple[int, int], gap: float, embedded: bool
) -> None:
    train = drawn(20, 20, gap=gap, seed=0, embedded=embedded)
    held_out = drawn(*counts, gap=gap, seed=1, embedded=embedded)
    found = SeparabilityReport.fit(train, held_out, seed=0, resamples=5)
    np.testing.assert_allclose(found.auc, areas(train, held_out), atol=AREA)
    assert found.held_out == counts
    assert found.labels == (*(["embedding"] if embedded else []), "0", "1", "2")


def test_ties_count_one_half_as_in_scikit_learn() -> None:
    train = drawn(8, 8, gap=3.0, seed=0, embedded=False)
    whole = drawn(12, 9, gap=0.5, seed=1, embedded=False)
    along = torch.zeros(DEPTH, WIDTH)
    along[:, 0] = 1
    train = Activations(along.expand(8, -1, -1), -along.expand(8, -1, -1), Kind.RESID, train.layers)
    coarse = Activations(
        whole.desired.round(), whole.undesired.round(), Kind.RESID, whole.layers, paired=False
    )
    found = SeparabilityReport.fit(train, coarse, seed=0, resamples=5)
    np.testing.assert_allclose(found.auc, areas(train, coarse), atol=AREA)


def test_classes_far_apart_have_area_one_and_the_control_does_not() -> None:
    parts = (drawn(40, 40, gap=30.0, seed=i) for i in range(2))
    found = SeparabilityReport.fit(*parts, seed=0, resamples=50)
    above = slice(1, None)  # the embedding is not planted
    for values in (found.auc, found.low, found.high):
        assert values[above].tolist() == [1.0] * DEPTH
    assert bool((found.control_low < 0.5).all())  # a direction of either sign
    assert bool((found.control_high > 0.5).all())


def test_classes_the_other_way_round_have_area_zero() -> None:
    train, held_out = drawn(40, 40, gap=30.0, seed=0), drawn(40, 40, gap=-30.0, seed=1)
    found = SeparabilityReport.fit(train, held_out, seed=0, resamples=5)
    assert found.auc[1:].tolist() == [0.0] * DEPTH


@pytest.mark.parametrize("counts", [(150, 150), (120, 180)])
def test_classes_that_do_not_differ_lie_within_the_control_band(counts: tuple[int, int]) -> None:
    outside = 0
    for seed in range(5):
        train, held_out = (drawn(*counts, gap=0.0, seed=10 * seed + i) for i in range(2))
        found = SeparabilityReport.fit(train, held_out, seed=seed, resamples=50)
        # an area's standard error is 0.033 at these counts: 4.5 of them
        assert bool(((found.auc - 0.5).abs() < 0.15).all())
        assert bool((found.control_low < 0.5).all())
        assert bool((found.control_high > 0.5).all())
        outside += int(((found.auc < found.control_low) | (found.auc > found.control_high)).sum())
    assert outside <= 4  # of 20 areas; 1 is expected outside, 5 or more in 0.3 % of such tests


def test_the_interval_covers_the_area_of_the_population() -> None:
    train = drawn(400, 400, gap=0.5, seed=50, embedded=False)
    truth = torch.tensor(areas(train, drawn(3000, 3000, gap=0.5, seed=51, embedded=False)))
    covered = 0
    for seed in range(10):
        held_out = drawn(60, 50, gap=0.5, seed=60 + seed, embedded=False)
        found = SeparabilityReport.fit(train, held_out, seed=seed, resamples=200)
        covered += int(((found.low <= truth) & (truth <= found.high)).sum())
        assert bool((found.low <= found.auc).all())
        assert bool((found.auc <= found.high).all())
    assert covered >= 24  # of 30, 3 to a set; 28 or 29 are expected


def test_both_sides_of_a_pair_are_drawn_together() -> None:
    n = 30  # each desired example scores just above its own partner: certain within pairs
    base = normal(n, 1, 1, seed=0) * 10
    train = Activations(torch.ones(2, 1, 1), -torch.ones(2, 1, 1), Kind.RESID, (0,))
    sides = (base + 3.0, base)
    widths = []
    for paired in (True, False):
        held_out = Activations(*sides, Kind.RESID, (0,), paired=paired)
        found = SeparabilityReport.fit(train, held_out, seed=0, resamples=500)
        widths.append(float(found.high[0] - found.low[0]))
    assert widths[0] < 0.5 * widths[1]


def test_the_same_seed_gives_the_same_numbers_and_another_seed_other_bands() -> None:
    parts = [drawn(30, 30, gap=0.3, seed=i) for i in range(2)]
    first, again, other = (
        SeparabilityReport.fit(*parts, seed=seed, resamples=50) for seed in (3, 3, 4)
    )
    assert first.table().equals(again.table())
    assert torch.equal(first.auc, other.auc)
    assert not torch.equal(first.low, other.low)
    assert not torch.equal(first.control_low, other.control_low)
    assert (first.seed, other.seed) == (3, 4)


def test_heads_are_scored_as_one_vector_without_an_embedding() -> None:
    train, held_out = (
        Activations(
            normal(9, DEPTH, 2, 3, seed=seed), normal(8, DEPTH, 2, 3, seed=seed + 9), Kind.HEAD,
            (4, 1, 0), paired=False,
        )
        for seed in range(2)
    )  # fmt: skip
    found = SeparabilityReport.fit(train, held_out, seed=0, resamples=5)
    assert found.labels == ("4", "1", "0")
    np.testing.assert_allclose(found.auc, areas(train, held_out), atol=AREA)


def test_the_table_has_a_row_for_each_layer() -> None:
    parts = [drawn(10, 10, gap=0.3, seed=i) for i in range(2)]
    found = SeparabilityReport.fit(*parts, seed=0, resamples=20)
    table = found.table()
    assert list(table.columns) == COLUMNS
    assert table["layer"].tolist() == ["embedding", "0", "1", "2"]
    for column in COLUMNS[1:6]:
        np.testing.assert_array_equal(table[column], getattr(found, column).numpy())
    assert found.distance is not None
    np.testing.assert_array_equal(table["d_prime"], found.distance.d_prime.numpy())
    assert set(table["chance_auc"]) == {found.distance.chance_auc}


def test_inputs_are_not_changed() -> None:
    parts = [drawn(10, 12, gap=0.3, seed=i) for i in range(2)]
    before = [part.desired.clone() for part in parts]
    SeparabilityReport.fit(*parts, seed=0, resamples=5)
    assert all(torch.equal(part.desired, kept) for part, kept in zip(parts, before, strict=True))


def test_activations_of_another_kind_or_other_layers_are_refused() -> None:
    train = drawn(5, 5, gap=0.0, seed=0, embedded=False)
    sides = train.desired, train.undesired
    for other in (
        Activations(*sides, Kind.MLP_OUT, train.layers),
        Activations(*sides, Kind.RESID, (0, 1, 3)),
    ):
        with pytest.raises(ValueError, match="capture both in the same way"):
            SeparabilityReport.fit(train, other, seed=0)


@pytest.mark.usefixtures("untyped")
def test_an_embedding_on_one_side_only_is_refused() -> None:
    with_it, without = (drawn(5, 5, gap=0.0, seed=0, embedded=e) for e in (True, False))
    for parts in ((with_it, without), (without, with_it)):
        with pytest.raises(ValueError, match="capture both in the same way"):
            SeparabilityReport.fit(*parts, seed=0)


def test_what_capture_reads_is_reported_layer_by_layer(llama: Any, pairs: ContrastivePairs) -> None:
    found = capture(llama, pairs, "resid", progress=False)
    both = zip(pairs.desired, pairs.undesired, strict=True)
    others = ContrastivePairs.of(
        [(f"{a.prompt} So", a.continuation, b.continuation) for a, b in both]
    )
    held_out = capture(llama, others, "resid", progress=False)
    report = SeparabilityReport.fit(found, held_out, seed=0, resamples=5)
    assert report.labels == ("embedding", "0", "1", "2", "3")
    assert report.auc[0] == 0.5  # both sides end in the same token
    assert report.held_out == (len(pairs), len(pairs))


def test_a_report_of_the_examples_that_it_was_fitted_on_is_refused() -> None:
    train = drawn(20, 20, gap=0.0, seed=0)
    with pytest.raises(ValueError, match="40 of 40 held-out examples are among those"):
        SeparabilityReport.fit(train, train, seed=0)


def test_examples_of_one_group_are_drawn_together() -> None:
    """Each example twice over, in groups: the interval is that of the examples themselves."""
    train, once = drawn(30, 30, gap=1.0, seed=0), drawn(12, 12, gap=1.0, seed=7)
    sides = [x.repeat_interleave(4, dim=0) for x in (once.desired, once.undesired)]
    embedded = [x.repeat_interleave(4, dim=0) for x in _embedded(once)]
    fourfold = Activations(sides[0], sides[1], Kind.RESID, once.layers, embedded[0], embedded[1])
    keys = [i // 4 for i in range(2 * len(sides[0]))]
    found = SeparabilityReport.fit(train, fourfold, seed=0, groups=keys)
    expected = SeparabilityReport.fit(train, once, seed=0, groups=range(24))
    alone = SeparabilityReport.fit(train, fourfold, seed=0)
    assert torch.equal(found.low, expected.low)
    assert torch.equal(found.high, expected.high)
    assert bool(((found.high - found.low) > 1.3 * (alone.high - alone.low))[1:].all())
    with pytest.raises(ValueError, match="got 3 groups for 48 desired and 48 undesired"):
        SeparabilityReport.fit(train, fourfold, seed=0, groups=["a", "b", "c"])


def _embedded(a: Activations) -> tuple[Tensor, Tensor]:
    assert a.embedded_desired is not None
    assert a.embedded_undesired is not None
    return a.embedded_desired, a.embedded_undesired
