import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lens_steer.activations import Activations, ContrastStats, LabelTokenWarning, Moments, capture
from lens_steer.data import ContrastivePairs
from lens_steer.models import attach
from lens_steer.sites import Kind
from tests.conftest import HAS_HOOKED, Loader
from tests.reference import chan, welford

# Float32 results of float64 sums: a few units in the last place.
ROUNDING = 1e-6
# Activations of another batch differ in their last places, and squares of them twice as much.
BATCHING = 1e-4


def of_tensors(desired: Tensor, undesired: Tensor, *, paired: bool = True) -> ContrastStats:
    layers = tuple(range(desired.shape[1]))
    return ContrastStats.of(Activations(desired, undesired, Kind.RESID, layers, paired=paired))


def draw(seed: int, n: int, *, scale: float = 1.0, offset: float = 0.0) -> Tensor:
    noise = torch.randn(n, 2, 3, generator=torch.Generator().manual_seed(seed))
    return noise * scale + offset


def check(found: Moments, expected: tuple[int, Any, Any], tolerance: float) -> None:
    count, mean, m2 = expected
    assert found.count == count
    assert found.mean.dtype == found.m2.dtype == torch.float32
    size = np.sqrt(m2 / count + mean**2).max() + 1e-30
    np.testing.assert_allclose(found.mean.numpy(), mean, atol=tolerance * size, rtol=tolerance)
    np.testing.assert_allclose(
        found.m2.numpy(), m2, atol=tolerance * count * size**2, rtol=tolerance
    )


def same(one: ContrastStats, other: ContrastStats, tolerance: float) -> None:
    for name in ("desired", "undesired", "difference"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None)
        if b is not None:
            check(a, (b.count, b.mean.double().numpy(), b.m2.double().numpy()), tolerance)
    assert (one.kind, one.layers) == (other.kind, other.layers)
    assert (one.positive is None) == (other.positive is None)
    if one.positive is not None and other.positive is not None:
        assert torch.equal(one.positive, other.positive)


def test_moments_are_those_of_the_sample() -> None:
    for offset in (0.0, 5.0):
        x = draw(0, 50, offset=offset)
        check(Moments.of(x), welford(list(x.numpy())), ROUNDING)


def test_moments_of_a_large_offset_keep_the_spread() -> None:
    x = draw(0, 200, offset=1e4)
    found = Moments.of(x[:80]).merge(Moments.of(x[80:]))
    expected = welford(list(x.numpy()))[2]
    # The means are kept in float32, 1e-3 at 1e4: their square is what the spread may be off by.
    np.testing.assert_allclose(found.m2.numpy(), expected, rtol=1e-3)


def test_variance_is_unbiased_and_unknown_for_one_example() -> None:
    x = draw(1, 7)
    torch.testing.assert_close(Moments.of(x).variance, x.var(dim=0), atol=ROUNDING, rtol=1e-5)
    assert bool(Moments.of(x[:1]).variance.isnan().all())


sizes = st.integers(1, 12)
seeds = st.integers(0, 10_000)


@given(a=sizes, b=sizes, seed=seeds, scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_merged_moments_are_those_of_both_samples(a: int, b: int, seed: int, scale: float) -> None:
    x = draw(seed, a + b, scale=scale, offset=scale)
    merged = Moments.of(x[:a]).merge(Moments.of(x[a:]))
    parts = [welford(list(part.numpy())) for part in (x[:a], x[a:])]
    check(merged, chan(parts[0], parts[1]), ROUNDING)
    check(merged, welford(list(x.numpy())), ROUNDING)


@given(a=sizes, b=sizes, c=sizes, seed=seeds, paired=st.booleans())
def test_merging_does_not_depend_on_order_or_grouping(
    a: int, b: int, c: int, seed: int, paired: bool
) -> None:
    n = a + b + c
    desired, undesired = draw(seed, n, offset=1.0), draw(seed + 1, n)
    whole = of_tensors(desired, undesired, paired=paired)
    cuts = [slice(0, a), slice(a, a + b), slice(a + b, n)]
    x, y, z = (of_tensors(desired[cut], undesired[cut], paired=paired) for cut in cuts)
    for merged in (x.merge(y).merge(z), x.merge(y.merge(z)), z.merge(x).merge(y)):
        same(merged, whole, ROUNDING)


def test_statistics_are_those_of_the_activations() -> None:
    desired, undesired = draw(2, 20, offset=0.5), draw(3, 20)
    found = of_tensors(desired, undesired)
    gap = (desired - undesired).double().numpy()
    check(found.desired, welford(list(desired.numpy())), ROUNDING)
    check(found.undesired, welford(list(undesired.numpy())), ROUNDING)
    assert found.difference is not None
    check(found.difference, welford(list(gap)), ROUNDING)
    assert found.positive is not None
    assert found.positive.tolist() == (gap > 0).sum(axis=0).tolist()
    torch.testing.assert_close(
        found.direction, (desired - undesired).mean(dim=0), atol=ROUNDING, rtol=1e-5
    )


def test_unpaired_statistics_have_no_difference() -> None:
    found = of_tensors(draw(2, 5), draw(3, 9), paired=False)
    assert found.difference is None
    assert found.positive is None
    assert (found.desired.count, found.undesired.count) == (5, 9)


def test_merging_changes_neither_side() -> None:
    one, other = of_tensors(draw(2, 5), draw(3, 5)), of_tensors(draw(4, 6), draw(5, 6))
    before = [t.clone() for s in (one, other) for t in (s.desired.mean, s.desired.m2)]
    one.merge(other)
    after = [t for s in (one, other) for t in (s.desired.mean, s.desired.m2)]
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))
    assert (one.desired.count, other.desired.count) == (5, 6)


def test_merge_refuses_other_kinds_layers_and_pairings() -> None:
    x = draw(2, 5)
    ours = of_tensors(x, x + 1)
    others = [
        ContrastStats.of(Activations(x, x + 1, Kind.MLP_OUT, (0, 1))),
        ContrastStats.of(Activations(x, x + 1, Kind.RESID, (0, 2))),
        of_tensors(x, x + 1, paired=False),
        of_tensors(x[..., :2], x[..., :2] + 1),
    ]
    for other in others:
        with pytest.raises(ValueError, match="cannot merge statistics of"):
            ours.merge(other)


def test_fit_is_what_capture_gives(model: Any, pairs: ContrastivePairs) -> None:
    kept = ContrastStats.of(capture(model, pairs, "head", progress=False))
    same(ContrastStats.fit(model, pairs, "head", window=4, progress=False), kept, BATCHING)


@pytest.mark.parametrize("window", [1, 2, 64])
def test_fit_does_not_depend_on_the_window(
    llama: Any, pairs: ContrastivePairs, window: int
) -> None:
    kept = ContrastStats.of(capture(llama, pairs, "resid", progress=False))
    streamed = ContrastStats.fit(llama, pairs, "resid", window=window, progress=False)
    same(streamed, kept, BATCHING)


def test_fit_is_the_oracles_mean_and_spread(llama: Any, pairs: ContrastivePairs) -> None:
    found = ContrastStats.fit(llama, pairs, "neuron", window=4, progress=False)
    kept = capture(llama, pairs, "neuron", progress=False)
    check(found.desired, welford(list(kept.desired.numpy())), BATCHING)
    check(found.undesired, welford(list(kept.undesired.numpy())), BATCHING)
    assert found.difference is not None
    gap = kept.desired.double() - kept.undesired.double()
    check(found.difference, welford(list(gap.numpy())), BATCHING)


@pytest.mark.parametrize(("left", "right"), [(5, 5), (7, 3), (1, 6)])
def test_fit_takes_unpaired_sides_of_different_size(llama: Any, left: int, right: int) -> None:
    pairs = ContrastivePairs.unpaired(
        [f"The cat was {i}." for i in range(left)], [f"A dog: {i * i}." for i in range(right)]
    )
    kept = ContrastStats.of(capture(llama, pairs, "resid", progress=False))
    for window in (1, 2, 100):
        streamed = ContrastStats.fit(llama, pairs, "resid", window=window, progress=False)
        assert (streamed.desired.count, streamed.undesired.count) == (left, right)
        same(streamed, kept, BATCHING)


@pytest.mark.parametrize("read", ["mean", "prompt_last", 1, -2])
def test_fit_reads_the_positions_that_capture_reads(
    llama: Any, pairs: ContrastivePairs, read: Any
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelTokenWarning)
        kept = ContrastStats.of(capture(llama, pairs, "resid", read=read, progress=False))
        streamed = ContrastStats.fit(llama, pairs, "resid", read=read, window=2, progress=False)
    same(streamed, kept, BATCHING)


def test_fit_reads_the_layers_it_is_asked_for(llama: Any, pairs: ContrastivePairs) -> None:
    kept = ContrastStats.of(capture(llama, pairs, "resid", layers=[3, 1], progress=False))
    same(ContrastStats.fit(llama, pairs, "resid", layers=[3, 1], progress=False), kept, BATCHING)


@pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has no HookedTransformer")
def test_fit_is_the_same_on_both_backends(load: Loader, pairs: ContrastivePairs) -> None:
    one, other = (
        ContrastStats.fit(load("gemma2", b), pairs, "head", progress=False)
        for b in ("bridge", "hooked")
    )
    same(one, other, BATCHING)


def test_fit_of_a_bfloat16_model_is_float32_and_close(
    fresh_model: Loader, llama: Any, pairs: ContrastivePairs
) -> None:
    half = fresh_model("llama", dtype=torch.bfloat16)
    found = ContrastStats.fit(half, pairs, "resid", progress=False)
    exact = ContrastStats.fit(llama, pairs, "resid", progress=False)
    assert found.desired.mean.dtype == torch.float32
    error = (found.desired.mean - exact.desired.mean).abs().max() / exact.desired.mean.abs().max()
    assert error < 0.05  # bfloat16 keeps 8 bits


def test_fit_remembers_the_model_and_the_data(llama: Any, pairs: ContrastivePairs) -> None:
    source = ContrastStats.fit(llama, pairs, "resid", read="mean", progress=False).provenance
    assert source is not None
    assert source.fingerprint == attach(llama).fingerprint
    assert (source.data, source.read) == ("tiny", "mean")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"window": 0}, "window 0: expected at least 1"),
        ({"layers": []}, "expected a list of layers"),
        ({"layers": [4]}, "layer 4: this model has 4"),
        ({"kind": "resid_mid"}, "unknown kind"),
        ({"read": 500}, "read position 500"),
    ],
)
def test_fit_says_what_does_not_exist(
    llama: Any, pairs: ContrastivePairs, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        ContrastStats.fit(llama, pairs, **{"kind": "resid", "progress": False, **options})
    assert not any(point.fwd_hooks for point in llama.hook_dict.values())


def test_fit_leaves_the_random_state_alone(llama: Any, pairs: ContrastivePairs) -> None:
    before = torch.get_rng_state()
    ContrastStats.fit(llama, pairs, "resid", progress=False)
    assert torch.equal(before, torch.get_rng_state())


def test_statistics_of_two_models_are_not_merged(
    llama: Any, gpt2: Any, pairs: ContrastivePairs
) -> None:
    ours, theirs = (
        ContrastStats.fit(model, pairs, "resid", progress=False) for model in (llama, gpt2)
    )
    with pytest.raises(ValueError, match="cannot merge statistics of two models"):
        ours.merge(theirs)


def test_the_warning_of_label_tokens_points_at_the_call_of_the_user(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"  # in a process of its own: shape checks add calls in between
    pairs = [("This is", " good", " bad"), ("It was", " good", " bad")]
    script.write_text(
        f"import lens_steer as ls\n\nls.capture(ls.load_model('organism'), {pairs}, 'resid')\n"
    )
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert f"{script}:3: LabelTokenWarning" in run.stderr
