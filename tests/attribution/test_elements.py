from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.activations import ContrastStats
from lens_steer.attribution import Ranking, contrast, contrast_in_resid, contrast_norm, masked
from lens_steer.sites import Kind
from tests.conftest import BACKENDS, Loader

# Float32 results of float64 sums: a few units in the last place.
ROUNDING: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}
LAYERS, ELEMENTS = (0, 2, 3, 7), 6
RANKINGS: tuple[Ranking, ...] = ("signed", "negative", "absolute", "t", "consistency", "layer_z")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_scores(seed: int, kind: Kind = Kind.NEURON) -> ls.ElementScores:
    """Layers of different sizes; few values of consistency, so that many are equal."""
    values = drawn(4, ELEMENTS, seed=seed) * torch.tensor([[0.1], [1.0], [3.0], [10.0]])
    error = 0.1 + drawn(4, ELEMENTS, seed=seed + 100).abs()
    draw = torch.Generator().manual_seed(seed)
    consistency = torch.randint(0, 4, (4, ELEMENTS), generator=draw) / 4
    return ls.ElementScores(values, kind, LAYERS, "drawn", error, consistency)


def mask_of(selected: Any, kind: Kind = Kind.HEAD) -> ls.ElementMask:
    chosen = torch.as_tensor(selected, dtype=torch.bool)
    return ls.ElementMask(chosen, kind, tuple(range(len(chosen))))


def activations(
    kind: Kind, *, n: int = 9, seed: int = 0, paired: bool = True, others: int | None = None
) -> ls.Activations:
    site = (5, 4) if kind is Kind.HEAD else (5,)
    desired = drawn(n, 3, *site, seed=seed) + 0.3
    undesired = drawn(others or n, 3, *site, seed=seed + 1)
    return ls.Activations(desired, undesired, kind, (0, 1, 2), paired=paired)


# ---- rankings ----


def by_hand(scores: ls.ElementScores, by: Ranking) -> list[np.ndarray[Any, Any]]:
    """Sort keys, the most important last; highest first."""
    v = scores.values.double().numpy()
    assert scores.error is not None
    assert scores.consistency is not None
    size = np.abs(v)
    match by:
        case "signed":
            return [v]
        case "negative":
            return [-v]
        case "absolute":
            return [size]
        case "t":
            return [size / scores.error.double().numpy()]
        case "consistency":
            return [size, scores.consistency.double().numpy()]
        case "layer_z":
            return [size / np.sqrt((v**2).mean(axis=1, keepdims=True))]


@pytest.mark.parametrize("by", RANKINGS)
@pytest.mark.parametrize("seed", range(5))
def test_the_top_are_numpys(by: Ranking, seed: int) -> None:
    scores = random_scores(seed)
    keys = by_hand(scores, by)
    for k in (1, 5, 24):
        order = np.lexsort([-key.ravel() for key in keys])[:k]
        expected = np.isin(np.arange(24), order).reshape(4, ELEMENTS)
        np.testing.assert_array_equal(scores.top(k, by).selected.numpy(), expected)
    for k in (1, 4):
        rows = [np.lexsort([-key[i] for key in keys])[:k] for i in range(4)]
        found = scores.top(k, by, per_layer=True)
        expected = np.stack([np.isin(np.arange(ELEMENTS), row) for row in rows])
        np.testing.assert_array_equal(found.selected.numpy(), expected)


def test_of_equal_elements_the_first_are_chosen() -> None:
    values = torch.tensor([[1.0, 2.0, 2.0], [2.0, 1.0, 2.0]])
    scores = ls.ElementScores(values, Kind.HEAD, (4, 5))
    assert scores.top(2).elements() == [(4, 1), (4, 2)]
    assert scores.top(3).elements() == [(4, 1), (4, 2), (5, 0)]
    assert scores.top(1, per_layer=True).elements() == [(4, 1), (5, 0)]
    assert scores.top(1, "negative").elements() == [(4, 0)]
    wide = ls.ElementScores(torch.ones(3, 1000), Kind.NEURON, (0, 1, 2))
    assert wide.top(1001).elements() == [*((0, e) for e in range(1000)), (1, 0)]


def test_a_mask_remembers_what_its_scores_were_of(llama: Any, pairs: ls.ContrastivePairs) -> None:
    scores = contrast(ls.capture(llama, pairs, "head", layers=[3, 0], progress=False))
    mask = scores.top(2)
    assert (mask.kind, mask.layers) == (Kind.HEAD, (3, 0))
    assert mask.provenance is scores.provenance is not None


def test_t_is_zero_where_value_and_error_are() -> None:
    values, error = torch.tensor([[0.0, 2.0, 0.0]]), torch.tensor([[0.0, 4.0, 1.0]])
    t = ls.ElementScores(values, Kind.HEAD, (0,), error=error).t
    assert t.tolist() == [[0.0, 0.5, 0.0]]


def test_one_pair_has_no_standard_error_to_rank_by() -> None:
    """Its error is not a number, and an order of those would be an order of nothing."""
    scores = contrast(activations(Kind.NEURON, n=1))
    with pytest.raises(ValueError, match="standard error|pairs"):
        scores.top(2, "t")


# ---- masks ----


def test_masks_combine_element_by_element() -> None:
    a, b = (drawn(3, 5, seed=s) > 0 for s in (0, 1))
    assert torch.equal((mask_of(a) & mask_of(b)).selected, a & b)
    assert torch.equal((mask_of(a) | mask_of(b)).selected, a | b)
    assert torch.equal((~mask_of(a)).selected, ~a)


def test_a_shuffled_mask_has_as_many_in_each_layer_and_is_drawn_from_its_seed() -> None:
    mask = mask_of([[True] * k + [False] * (30 - k) for k in (0, 1, 7, 30)])
    state = torch.get_rng_state()
    draws = [mask.shuffled(seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    for draw in draws:
        assert draw.by_layer.tolist() == [0, 1, 7, 30]
    assert torch.equal(draws[0].selected, draws[1].selected)
    assert not torch.equal(draws[0].selected, draws[2].selected)


def test_a_shuffled_mask_takes_every_element_as_often() -> None:
    mask = mask_of([[True] * 3 + [False] * 7])
    share = torch.stack([mask.shuffled(seed=s).selected[0] for s in range(600)]).float().mean(0)
    # Five standard deviations of a share of 0.3 in 600.
    assert float((share - 0.3).abs().max()) < 5 * (0.3 * 0.7 / 600) ** 0.5


def test_overlap_is_one_for_equal_or_contained_masks_and_falls_below_0_for_disjoint_ones() -> None:
    mask = mask_of([[True, True, False, False], [False] * 4])
    assert mask.overlap(mask) == pytest.approx(1.0)
    wider = mask | mask_of([[False] * 4, [True, False, False, False]])
    assert mask.overlap(wider) == wider.overlap(mask) == pytest.approx(1.0)
    other = mask_of([[False, False, True, True], [False] * 4])
    # Both have 2 of 8: 0.5 in common by chance, of 2 at most.
    assert mask.overlap(other) == pytest.approx((0 - 0.5) / (2 - 0.5))


def test_overlap_is_zero_by_chance() -> None:
    fixed = mask_of([[True] * 12 + [False] * 28])
    other = mask_of([[True] * 5 + [False] * 35])
    found = np.array([fixed.overlap(other.shuffled(seed=s)) for s in range(400)])
    assert abs(found.mean()) < 5 * found.std() / 20


def check_score_figures(scores: ls.ElementScores, mask: ls.ElementMask) -> None:
    """Few elements are a map, many a strip; the chosen are ringed where they are."""
    values = scores.values.numpy()
    figure: Any = scores.figure()
    [axes, *bar] = figure.axes
    if bar:
        np.testing.assert_array_equal(axes.images[0].get_array(), values)
        assert bar[0].get_ylabel() == "score"
        assert (axes.get_xlabel(), axes.get_ylabel()) == (scores.kind.value, "layer")
    else:
        drawn_values = [line.get_ydata() for line in axes.lines[: len(values)]]
        np.testing.assert_array_equal(drawn_values, values)
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("layer", "score")
    figure = scores.figure(mask)
    ringed = figure.axes[0]
    assert ringed.get_title() == "ringed: the 3 chosen"
    x, y = ringed.lines[-1].get_data()
    places = [(scores.layers.index(layer), element) for layer, element in mask.elements()]
    if bar:
        assert list(zip(y, x, strict=True)) == places
    else:
        assert list(y) == pytest.approx([float(values[place]) for place in places])


def test_masks_and_scores_are_shown_as_tables_figures_and_text() -> None:
    for kind, width in ((Kind.HEAD, 6), (Kind.NEURON, 200)):
        scores = ls.ElementScores(drawn(4, width), kind, LAYERS, error=torch.ones(4, width))
        mask = scores.top(3)
        table = scores.table()
        assert list(table) == ["layer", kind.value, "value", "error"]
        assert table["value"].is_monotonic_decreasing
        best = list(zip(table["layer"][:3], table[kind.value][:3], strict=True))
        assert sorted(best) == mask.elements()
        chosen = mask.table()
        places = zip(chosen["layer"], chosen[kind.value], strict=True)
        assert list(places) == mask.elements()
        check_score_figures(scores, mask)
        figure: Any = mask.figure()
        [axes] = figure.axes
        assert [bar.get_height() for bar in axes.patches] == mask.by_layer.tolist()
        assert axes.get_ylabel() == f"chosen of {width}"
        assert axes.get_title() == f"3 {kind.value} elements"
        assert repr(scores).startswith(f"ElementScores(score; 4 layers x {width} {kind.value}")
        assert f"3 of {4 * width} {kind.value}" in repr(mask)
    empty = ~mask_of([[True, True]])
    assert len(empty.table()) == empty.count == 0
    assert repr(empty) == "ElementMask(0 of 2 head; by layer {})"


# ---- masked activations ----


@pytest.mark.parametrize("kind", [Kind.HEAD, Kind.NEURON])
def test_masked_activations_are_zero_but_for_the_chosen(kind: Kind) -> None:
    read = activations(kind)
    mask = contrast(read).top(4)
    found = masked(read, mask)
    for ours, whole in ((found.desired, read.desired), (found.undesired, read.undesired)):
        assert torch.equal(ours[:, mask.selected], whole[:, mask.selected])
        assert not bool(ours[:, ~mask.selected].any())
    assert (found.kind, found.layers, found.paired) == (read.kind, read.layers, read.paired)


def test_a_mask_over_other_elements_masks_nothing() -> None:
    read = activations(Kind.NEURON)
    for other in (mask_of(torch.ones(3, 5), Kind.HEAD), mask_of(torch.ones(2, 5), Kind.NEURON)):
        with pytest.raises(ValueError, match="expected the same kind and layers"):
            masked(read, other)


# ---- contrast ----


def test_contrast_is_the_mean_difference_with_its_error_and_agreement() -> None:
    for kind in (Kind.HEAD, Kind.NEURON):
        read = activations(kind)
        gap = read.desired.double().numpy() - read.undesired.double().numpy()
        gap = gap.mean(axis=-1) if kind is Kind.HEAD else gap
        scores = contrast(read)
        assert scores.error is not None
        assert scores.consistency is not None
        np.testing.assert_allclose(scores.values, gap.mean(axis=0), **ROUNDING)
        error = gap.std(axis=0, ddof=1) / np.sqrt(len(gap))
        np.testing.assert_allclose(scores.error, error, **ROUNDING)
        agree = (np.sign(gap) == np.sign(gap.mean(axis=0))).mean(axis=0)
        np.testing.assert_allclose(scores.consistency, agree, **ROUNDING)


def test_contrast_of_statistics_is_that_of_the_activations() -> None:
    read = activations(Kind.NEURON)
    ours, theirs = contrast(ContrastStats.of(read)), contrast(read)
    for name in ("values", "error", "consistency"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), **ROUNDING)
    for by in RANKINGS:
        assert ours.top(4, by).elements() == theirs.top(4, by).elements()


def test_contrast_of_statistics_keeps_small_differences_of_large_activations() -> None:
    """Means of 1000 in float32 are off by as much as the difference's own standard error."""
    base = 1e3 + drawn(200, 3, 5)
    moved = base + 0.01 * drawn(3, 5, seed=1) + 0.001 * drawn(200, 3, 5, seed=2)
    read = ls.Activations(moved, base, Kind.NEURON, (0, 1, 2))
    scores = contrast(ContrastStats.of(read))
    expected = (moved.double() - base.double()).mean(dim=0).float()
    torch.testing.assert_close(scores.values, expected, **ROUNDING)


def test_a_pair_without_a_difference_agrees_with_neither_sign() -> None:
    gap = torch.tensor([[0.0, 0.0], [-1.0, 1.0], [0.0, 0.0], [-2.0, 2.0]])[:, None]
    read = ls.Activations(gap, torch.zeros_like(gap), Kind.NEURON, (0,))
    for scores in (contrast(read), contrast(ContrastStats.of(read))):
        assert scores.consistency is not None
        assert scores.consistency.tolist() == [[0.5, 0.5]]


def test_statistics_of_heads_have_no_spread_to_rank_by() -> None:
    read = activations(Kind.HEAD)
    scores = contrast(ContrastStats.of(read))
    torch.testing.assert_close(scores.values, contrast(read).values, **ROUNDING)
    for by in ("t", "consistency"):
        with pytest.raises(ValueError, match=f"ranking by {by!r} needs every pair's own value"):
            scores.top(2, by)


def test_unpaired_examples_have_welchs_error_and_no_agreement() -> None:
    read = activations(Kind.NEURON, n=9, others=5, paired=False)
    a, b = read.desired.double().numpy(), read.undesired.double().numpy()
    scores = contrast(read)
    assert scores.error is not None
    np.testing.assert_allclose(scores.values, a.mean(axis=0) - b.mean(axis=0), **ROUNDING)
    welch = np.sqrt(a.var(axis=0, ddof=1) / 9 + b.var(axis=0, ddof=1) / 5)
    np.testing.assert_allclose(scores.error, welch, **ROUNDING)
    with pytest.raises(ValueError, match="consistency"):
        scores.top(2, "consistency")


def test_the_length_of_a_heads_difference_does_not_depend_on_its_basis() -> None:
    read = activations(Kind.HEAD)
    turn = torch.linalg.qr(drawn(4, 4, seed=5)).Q
    turned = ls.Activations(read.desired @ turn, read.undesired @ turn, Kind.HEAD, read.layers)
    ours, theirs = contrast_norm(read), contrast_norm(turned)
    torch.testing.assert_close(ours.values, theirs.values, **ROUNDING)
    assert not torch.allclose(contrast(read).values, contrast(turned).values, rtol=0.1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_what_a_difference_writes_is_its_product_with_the_weights(
    load: Loader, pairs: ls.ContrastivePairs, name: str, backend: str
) -> None:
    model = load(name, backend)
    for kind in ("head", "neuron", "mlp_out"):
        read = ls.capture(model, pairs, kind, layers=[2, 1], progress=False)
        gap = (read.desired.double().mean(0) - read.undesired.double().mean(0)).numpy()
        found = contrast_in_resid(model, read).values
        for i, layer in enumerate((2, 1)):
            block = model.blocks[layer]
            wanted = np.abs(gap[i])
            if kind == "head":
                through = block.attn.W_O.detach().double().numpy()
                written = [gap[i][h] @ through[h] for h in range(len(through))]
                wanted = np.linalg.norm(written, axis=-1)
            if kind == "neuron":
                rows = block.mlp.W_out.detach().double().numpy()
                wanted = np.linalg.norm(gap[i][:, None] * rows, axis=-1)
            np.testing.assert_allclose(found[i], wanted, rtol=1e-4, atol=1e-5)
    gate = ls.capture(model, pairs, "gate", layers=[1], progress=False)
    with pytest.raises(ValueError, match="capture 'neuron'"):
        contrast_in_resid(model, gate)


# ---- what is refused ----


def test_a_k_out_of_range_is_refused(untyped: None) -> None:
    scores = random_scores(0)
    for k in (0, -1, 25, True, 2.0):
        with pytest.raises(ValueError, match="expected (1 to 24|a whole number of at least 1)"):
            scores.top(k)  # type: ignore[arg-type]
    for k in (0, 7):
        with pytest.raises(ValueError, match="expected (1 to 6|a whole number of at least 1)"):
            scores.top(k, per_layer=True)


def test_an_unknown_ranking_is_refused_by_name(untyped: None) -> None:
    with pytest.raises(ValueError, match=r"by='loud', expected one of 'signed', .*'layer_z'"):
        random_scores(0).top(1, "loud")  # type: ignore[arg-type]


def test_scores_that_rank_nothing_are_refused() -> None:
    zeros = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="all scores are 0"):
        ls.ElementScores(zeros, Kind.HEAD, (0, 1)).top(1)
    with pytest.raises(ValueError, match="not finite"):
        ls.ElementScores(zeros / 0, Kind.HEAD, (0, 1))
    for layers in ((0,), (0, 1, 2), (1, 1)):
        with pytest.raises(ValueError, match="for the layers"):
            ls.ElementScores(zeros, Kind.HEAD, layers)
        with pytest.raises(ValueError, match="for the layers"):
            ls.ElementMask(zeros.bool(), Kind.HEAD, layers)


def test_masks_over_different_elements_do_not_combine() -> None:
    a = mask_of(torch.eye(3))
    for b in (mask_of(torch.eye(3), Kind.NEURON), mask_of(torch.ones(3, 4)), mask_of(torch.eye(2))):
        for combine in (lambda b=b: a & b, lambda b=b: a | b, lambda b=b: a.overlap(b)):
            with pytest.raises(ValueError, match="do not combine"):
                combine()


def test_overlap_with_all_or_with_nothing_says_nothing() -> None:
    a, everything = mask_of(torch.eye(3)), mask_of(torch.ones(3, 3))
    for b in (everything, ~everything):
        with pytest.raises(ValueError, match="says nothing"):
            a.overlap(b)
