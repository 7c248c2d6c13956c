"""ITI: which heads, along which directions, how far; and the probe of the residual stream."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

import lens_steer as ls
from lens_steer.activations import Activations
from lens_steer.sites import Kind, Site
from lens_steer.steering import ResidualITI, head_accuracies

LAYERS, HEADS, WIDTH = 3, 4, 5
FLOAT32: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
Array = np.ndarray


def heads_of(n: int = 30, m: int = 30, *, paired: bool = True, seed: int = 0, **at: float) -> Any:
    """Noise, but that classes differ in the heads `l1h2=gap`."""
    draw = torch.Generator().manual_seed(seed)
    d, u = (torch.randn(k, LAYERS, HEADS, WIDTH, generator=draw) for k in (n, m))
    for name, gap in at.items():
        shift = torch.randn(WIDTH, generator=draw)
        d[:, int(name[1]), int(name[3])] += gap * shift / shift.norm()
    return Activations(d, u, Kind.HEAD, (0, 2, 5)[:LAYERS], paired=paired)


def sides(a: Activations, i: int, head: int) -> tuple[Array, Array]:
    up, down = (x[:, i, head].double().numpy() for x in (a.desired, a.undesired))
    return up, down


def logistic(up: Array, down: Array, C: float = 1.0) -> tuple[Array, float]:
    """Minimum of |w|^2 / 2 + C sum of weighted log-losses, by quasi-Newton; rows as given."""
    rows = np.concatenate([up, down])
    signs = np.concatenate([np.ones(len(up)), -np.ones(len(down))])
    n = len(rows)
    weights = np.where(signs > 0, n / (2 * len(up)), n / (2 * len(down)))

    def loss(p: Array) -> tuple[float, Array]:
        margin = signs * (rows @ p[:-1] + p[-1])
        value = p[:-1] @ p[:-1] / 2 + C * (weights * np.logaddexp(0, -margin)).sum()
        pull = -C * weights * signs / (1 + np.exp(margin))
        return value, np.append(p[:-1] + rows.T @ pull, pull.sum())

    found = minimize(loss, np.zeros(rows.shape[1] + 1), jac=True, options={"gtol": 1e-9}).x
    return found[:-1], found[-1]


# ---- which heads ----


def test_the_heads_in_which_the_classes_differ_are_chosen() -> None:
    a = heads_of(l1h2=3.0, l0h3=2.5)
    method = ls.ITI.fit(a, k=2, seed=0)
    assert method.mask.elements() == [(0, 3), (2, 2)]
    assert method.sites == (Site(0, Kind.HEAD), Site(2, Kind.HEAD))
    assert method.accuracies is not None
    assert method.accuracies.values[1, 2] > 0.8
    rest = method.accuracies.values[~method.mask.selected]
    assert 0.3 < float(rest.mean()) < 0.65
    assert ls.ITI.fit(a, k=2, direction="probe", seed=0).mask.elements() == method.mask.elements()


def test_accuracy_is_held_out_and_is_that_of_an_independent_probe() -> None:
    """Folds that hold out one pair each: every row is judged by a probe of the other pairs."""
    a = heads_of(8, 8, l0h0=1.0)
    found = head_accuracies(a, folds=8, seed=0)
    for i, head in ((0, 0), (1, 1)):
        up, down = sides(a, i, head)
        right = []
        for out in range(8):
            others = np.arange(8) != out
            both = np.concatenate([up[others], down[others]])
            centre = both.mean(0)
            size = np.sqrt(((both - centre) ** 2).mean())
            w, b = logistic((up[others] - centre) / size, (down[others] - centre) / size)
            right.append((up[out] - centre) @ w / size + b > 0)
            right.append((down[out] - centre) @ w / size + b < 0)
        assert float(found.values[i, head]) == pytest.approx(np.mean(right), abs=1e-6)


def test_accuracy_is_of_both_classes_alike() -> None:
    """Twenty times as many undesired: calling all of them so would be right 95 % of the time."""
    a = heads_of(20, 400, paired=False, l0h0=2.0)
    found = head_accuracies(a, folds=5, seed=0).values
    assert float(found[0, 0]) > 0.75
    assert float(found[1:].max()) < 0.75
    assert 0.4 < float(found[1:].mean()) < 0.6


def test_groups_are_not_parted() -> None:
    """Every pair has a fellow, but for rounding the same: a probe that saw it would know."""
    draw = torch.Generator().manual_seed(0)
    d, u = (torch.randn(12, 1, 1, 40, generator=draw) for _ in range(2))
    twins = [torch.cat([x, x + 1e-4]) for x in (d, u)]
    a = Activations(twins[0], twins[1], Kind.HEAD, (0,))
    parted, together = (
        float(head_accuracies(a, groups=g, folds=4, seed=1).values)
        for g in (None, [f"group {i % 12}" for i in range(24)])
    )
    assert parted > 0.85
    assert together < 0.75
    loose = Activations(twins[0], twins[1], Kind.HEAD, (0,), paired=False)
    names = [i % 12 for i in range(24)] + [12 + i % 12 for i in range(24)]
    assert float(head_accuracies(loose, groups=names, folds=4, seed=1).values) < 0.75


def test_the_seed_draws_the_folds() -> None:
    a = heads_of(l1h1=0.5)
    one, again, other = (head_accuracies(a, seed=seed).values for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_head_that_never_changes_is_at_chance_and_is_not_steered() -> None:
    a = heads_of(l1h2=3.0)
    a.desired[:, 0], a.undesired[:, 0] = 1.0, 1.0
    scores = head_accuracies(a, seed=0)
    assert bool((scores.values[0] == 0.5).all())
    with pytest.raises(ValueError, match="head 0 of layer 0 does not tell the classes apart"):
        ls.ITI.fit(a, k=12, seed=0)


# ---- along what, how far ----


def test_the_push_is_alpha_sigma_theta_of_the_means() -> None:
    a = heads_of(25, 40, paired=False, l1h2=3.0, l0h3=2.5)
    method = ls.ITI.fit(a, k=3, alpha=4.0, seed=0)
    expected = np.zeros((LAYERS, HEADS, WIDTH))
    for i, head in method.mask.selected.nonzero().tolist():
        up, down = sides(a, i, head)
        theta = (up.mean(0) - down.mean(0)) / np.linalg.norm(up.mean(0) - down.mean(0))
        along = np.concatenate([up @ theta, down @ theta])
        expected[i, head] = 4.0 * np.sqrt(((along - along.mean()) ** 2).mean()) * theta
    x = torch.randn(2, 3, HEADS, WIDTH, generator=torch.Generator().manual_seed(5)).double()
    for site in method.sites:
        want = expected[a.layers.index(site.layer)]
        found = method.with_strength(0.5).transform(x, site) - x
        np.testing.assert_allclose(found.numpy(), np.broadcast_to(want / 2, x.shape), **FLOAT32)
        field = method.vector_field(x, site).numpy()
        np.testing.assert_allclose(field, np.broadcast_to(want, x.shape), **FLOAT32)


def test_of_probes_theta_is_the_normal_of_a_probe_of_everything() -> None:
    a = heads_of(l1h2=1.5)
    method = ls.ITI.fit(a, k=1, alpha=2.0, direction="probe", seed=0)
    up, down = sides(a, 1, 2)
    both = np.concatenate([up, down])
    size = np.sqrt(((both - both.mean(0)) ** 2).mean())
    w, _ = logistic((up - both.mean(0)) / size, (down - both.mean(0)) / size)
    theta = w / np.linalg.norm(w)
    np.testing.assert_allclose(method.directions[1, 2].numpy(), theta, rtol=1e-4, atol=1e-4)
    assert float(method.spreads[1, 2]) == pytest.approx((both @ theta).std(), rel=1e-4)


def test_units_of_the_activations_do_not_matter_to_what_is_chosen() -> None:
    """alpha is in standard deviations, and the probes' penalty knows no units."""
    a = heads_of(l1h2=1.5, l2h0=1.0)
    big = Activations(1e3 * a.desired, 1e3 * a.undesired, a.kind, a.layers)
    for way in ("means", "probe"):
        one, other = (ls.ITI.fit(heads, k=2, direction=way, seed=0) for heads in (a, big))
        assert one.mask.elements() == other.mask.elements()
        torch.testing.assert_close(one.directions, other.directions, **FLOAT32)
        torch.testing.assert_close(1e3 * one.spreads, other.spreads, **FLOAT32)


def test_other_heads_are_left_as_they_are() -> None:
    a = heads_of(l1h2=3.0)
    method = ls.ITI.fit(a, k=1, alpha=3.0, seed=0)
    x = torch.randn(7, HEADS, WIDTH, generator=torch.Generator().manual_seed(2))
    found = method.transform(x)
    others = torch.arange(HEADS) != 2
    assert torch.equal(found[:, others], x[:, others])
    assert not torch.equal(found[:, 2], x[:, 2])


def test_known_scores_of_any_kind_may_choose(llama: Any, pairs: Any) -> None:
    heads = ls.capture(llama, pairs, "head", progress=False)
    scores = head_accuracies(heads, folds=3, seed=4)
    method = ls.ITI.fit(heads, k=3, folds=3, seed=4)
    same = ls.ITI.fit(heads, scores, k=3)
    assert torch.equal(method.directions, same.directions)
    by_size = ls.attribution.contrast(heads)
    probes = ls.ITI.fit(heads, by_size, k=2, direction="probe")
    assert probes.mask.elements() == by_size.top(2).elements()
    resid = ls.attribution.contrast(ls.capture(llama, pairs, progress=False))
    with pytest.raises(ValueError, match="expected the same kind and layers"):
        ls.ITI.fit(heads, resid, k=2)
    for wrong in ({}, {"scores": scores, "seed": 0}):
        with pytest.raises(ValueError, match=r"got (no )?scores and"):
            ls.ITI.fit(heads, k=2, **wrong)


@pytest.mark.usefixtures("untyped")
def test_a_direction_of_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="direction='mean', expected one of 'means', 'probe'"):
        ls.ITI.fit(heads_of(l1h2=1.5), k=2, direction=cast(Any, "mean"), seed=0)


def test_groups_of_a_models_pairs_are_taken_and_it_steers(
    llama: Any, pairs: ls.ContrastivePairs
) -> None:
    heads = ls.capture(llama, pairs, "head", progress=False)
    method = ls.ITI.fit(heads, k=4, groups=pairs.groups, folds=3, alpha=30.0, seed=0)
    assert method.mask.count == 4
    how: dict[str, Any] = {"max_new_tokens": 6, "temperature": 0.0}
    plain = ls.generate(llama, pairs.prompts, **how)
    assert ls.generate(llama, pairs.prompts, method.with_strength(0), **how) == plain
    assert ls.generate(llama, pairs.prompts, method, **how) != plain
    uncached = ls.generate(llama, pairs.prompts, method, use_cache=False, **how)
    assert ls.generate(llama, pairs.prompts, method, **how) == uncached


# ---- what is refused ----


def test_what_cannot_be_probed_is_refused(llama: Any, pairs: Any, untyped: None) -> None:
    a = heads_of(6, 6)
    wrong: dict[str, Any] = {
        "7 folds and 6 groups": {"folds": 7},
        "1 folds": {"folds": 1},
        "got 5 groups, expected 6": {"groups": range(5)},
        "k 13: expected 1 to 12": {"k": 13},
        "k=0": {"k": 0},
        "alpha=nan": {"alpha": float("nan")},
        "2 groups of the smaller class": {"groups": list("aaabbb")},
    }
    for message, given in wrong.items():
        with pytest.raises(ValueError, match=message):
            ls.ITI.fit(a, **{"k": 1, "folds": 3, "seed": 0, **given})
    with pytest.raises(ValueError, match="6 desired and 7 undesired .*paired=False"):
        ls.ITI.fit(heads_of(6, 7), k=1, seed=0)
    with pytest.raises(ValueError, match="capture 'head'"):
        ls.ITI.fit(ls.capture(llama, pairs, progress=False), k=1, seed=0)


def test_made_by_hand_it_is_checked(untyped: None) -> None:
    chosen = torch.tensor([[True, False]])
    mask = ls.ElementMask(chosen, Kind.HEAD, (1,))
    theta, sigma = torch.zeros(1, 2, 4), torch.tensor([[0.5, 0.0]])
    theta[0, 0, 1] = 1.0
    ls.ITI(mask, theta, sigma, 1.0)
    wrong: dict[str, tuple[Any, Tensor, Tensor]] = {
        "a mask that chooses heads": (~mask & mask, theta, sigma),
        "length 1 where a head is chosen": (mask, 2 * theta, sigma),
        "expected finite spreads": (mask, theta, torch.tensor([[0.5, 0.5]])),
        "expected finite spreads, above": (mask, theta, torch.tensor([[float("nan"), 0.0]])),
        "of shapes": (mask, theta[:, :1], sigma),
    }
    for message, given in wrong.items():
        with pytest.raises(ValueError, match=message):
            ls.ITI(*given, 1.0)
    with pytest.raises(ValueError, match="a mask that chooses heads"):
        ls.ITI(ls.ElementMask(chosen, Kind.NEURON, (1,)), theta, sigma, 1.0)


# ---- the residual stream ----


def test_the_residual_variant_is_the_unit_normal_of_a_probe() -> None:
    draw = torch.Generator().manual_seed(0)
    u = torch.randn(40, 6, generator=draw)
    d = torch.randn(40, 6, generator=draw) + torch.linspace(0, 1, 6)
    rows = torch.cat([d, u]).double().numpy()
    centre = rows.mean(0)
    size = np.sqrt(((rows - centre) ** 2).mean())
    for C in (0.1, 1.0):
        w, _ = logistic((rows[:40] - centre) / size, (rows[40:] - centre) / size, C)
        found = ResidualITI.fit(d, u, layer=2, C=C, length=3.0)
        unit = w / np.linalg.norm(w)
        np.testing.assert_allclose(found.direction.numpy(), unit, rtol=1e-4, atol=1e-4)
        moved = found.with_strength(0.5).transform(u) - u
        lengths = torch.full((40,), 1.5)
        torch.testing.assert_close(moved.norm(dim=-1), lengths, **FLOAT32)
    assert torch.equal(ResidualITI.fit(d, u, layer=0, length=0.0).transform(u), u)


def test_a_probe_of_heads_or_of_one_width_is_refused(untyped: None) -> None:
    for shape in ((5, 2, 3), (5, 1)):
        d = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        with pytest.raises(ValueError, match=r"expected .*(\[n, d\]|\[desired d\])"):
            ResidualITI.fit(d + 1, d, layer=0)
    with pytest.raises(ValueError, match="length=nan"):
        ResidualITI(Site(0), torch.eye(3)[0], float("nan"))
    with pytest.raises(ValueError, match="length 2: expected 1"):
        ResidualITI(Site(0), 2 * torch.eye(3)[0])
