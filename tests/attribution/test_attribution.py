"""Attributions against finite differences and full runs; reports on planted activations."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lens_steer as ls
from lens_steer.attribution import (
    AblationReport,
    AgreementReport,
    SignReport,
    StabilityReport,
    answers_at,
    attribution_patching,
    contrast,
    grad_x_activation,
    masked,
    zero_ablation,
)
from lens_steer.data import ContrastivePairs
from lens_steer.models import encode
from lens_steer.sites import Kind, sites_of
from lens_steer.steering import GridReport

KINDS = ("head", "neuron", "mlp_out")


def planted(n: int, *, signal: float, seed: int = 0, elements: int = 50) -> ls.Activations:
    """Pairs in which the first three elements of layer 1 differ by `signal`, noise elsewhere."""
    draw = torch.Generator().manual_seed(seed)
    desired, undesired = (torch.randn(n, 2, elements, generator=draw) for _ in range(2))
    desired[:, 1, :3] += signal
    return ls.Activations(desired, undesired, Kind.NEURON, (0, 1))


def one(model: Any, kind: str, layer: int, element: int) -> ls.ElementMask:
    elements = {"head": model.cfg.n_heads, "neuron": model.cfg.d_mlp}.get(kind, model.cfg.d_model)
    selected = torch.zeros(int(model.cfg.n_layers), int(elements), dtype=torch.bool)
    selected[layer, element] = True
    return ls.ElementMask(selected, Kind.parse(kind), tuple(range(int(model.cfg.n_layers))))


def test_an_effect_is_the_preference_lost_without_the_element(
    model: Any, pairs: ContrastivePairs
) -> None:
    found = zero_ablation(model, pairs, "head", progress=False)
    plain = ls.preference(model, pairs)
    for layer, head in ((0, 0), (2, 3)):
        without = ls.preference(model, pairs, ls.SADI(one(model, "head", layer, head), -1.0))
        lost = (plain - without).double()
        assert found.values[layer, head].item() == pytest.approx(lost.mean().item(), abs=2e-5)
        assert found.error is not None
        error = lost.std().item() / len(lost) ** 0.5
        assert found.error[layer, head].item() == pytest.approx(error, abs=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_scaling_is_the_slope_of_the_margin_in_delta(
    bridge: Any, pairs: ContrastivePairs, kind: str
) -> None:
    found = grad_x_activation(bridge, pairs, kind, progress=False)
    step = 0.005
    for layer, element in ((0, 1), (3, 2)):
        mask = one(bridge, kind, layer, element)
        points = [ls.SADI(mask, sign * step).factors(bridge) for sign in (1, -1)]
        margin = answers_at(bridge, pairs, points).margin.mean(dim=1)
        slope = float(margin[0] - margin[1]) / (2 * step)
        assert found.values[layer, element].item() == pytest.approx(slope, abs=4e-3, rel=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_patching_is_the_slope_of_adding_the_mean_difference(
    bridge: Any, pairs: ContrastivePairs, kind: str
) -> None:
    activations = ls.capture(bridge, pairs, kind, progress=False)
    found = attribution_patching(bridge, pairs, activations, progress=False)
    step = 0.005
    for layer, element in ((1, 1), (3, 2)):
        part = masked(activations, one(bridge, kind, layer, element))
        push = ls.CAA.fit(part.at(layer))
        sides = [ls.preference(bridge, pairs, push.with_strength(s * step)) for s in (1, -1)]
        slope = float((sides[0] - sides[1]).double().mean()) / (2 * step)
        assert found.values[layer, element].item() == pytest.approx(slope, abs=4e-3, rel=0.03)


def test_gradients_in_small_batches_are_the_same(llama: Any, pairs: ContrastivePairs) -> None:
    one = grad_x_activation(llama, pairs, "neuron", token_budget=1, progress=False)
    other = grad_x_activation(llama, pairs, "neuron", token_budget=4096, progress=False)
    torch.testing.assert_close(one.values, other.values, atol=1e-6, rtol=1e-4)


def test_gradients_leave_the_model_as_it_was(llama: Any, pairs: ContrastivePairs) -> None:
    before = ls.preference(llama, pairs)
    grad_x_activation(llama, pairs, "neuron", progress=False)
    assert torch.equal(ls.preference(llama, pairs), before)
    assert all(parameter.grad is None for parameter in llama.parameters())


def test_gradients_do_not_depend_on_the_weights_wanting_one(
    fresh_model: Any, pairs: ContrastivePairs
) -> None:
    model = fresh_model("llama")
    wanted = grad_x_activation(model, pairs, "head", progress=False).values
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        found = grad_x_activation(model, pairs, "head", progress=False).values
    torch.testing.assert_close(found, wanted)


def test_ablation_compares_the_first_elements_with_random_ones_of_their_layers(
    llama: Any, pairs: ContrastivePairs
) -> None:
    scores = contrast(ls.capture(llama, pairs, "head", progress=False))
    found = AblationReport.fit(llama, scores, pairs, (1, 3, 6), seed=0, draws=2, progress=False)
    plain = ls.preference(llama, pairs).double()
    for i, k in enumerate((1, 3, 6)):
        mask = scores.top(k)
        gone = plain - ls.preference(llama, pairs, ls.SADI(mask, -1.0)).double()
        torch.testing.assert_close(found.lost[i], gone, atol=2e-5, rtol=1e-4)
        drawn = [mask.shuffled(seed=s) for s in (0, 1)]
        chance = [plain - ls.preference(llama, pairs, ls.SADI(m, -1.0)).double() for m in drawn]
        torch.testing.assert_close(
            found.random[i], (chance[0] + chance[1]) / 2, atol=2e-5, rtol=1e-4
        )
    table: Any = found.table()
    assert list(table["k"]) == [1, 3, 6]
    figure: Any = found.figure()
    [axes] = figure.axes
    drawn_lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert list(drawn_lines["chosen"]) == table["lost"].tolist()
    assert list(drawn_lines["random, 2 draws"]) == table["random"].tolist()
    assert (axes.get_xlabel(), axes.get_xscale()) == ("head taken out (by signed)", "log")
    assert axes.get_ylabel() == "margin lost, nats per token"


def test_the_knee_is_where_more_elements_bring_little() -> None:
    ks = (1, 2, 4, 8, 16, 32)
    lost = torch.tensor([0.1, 0.3, 0.9, 0.95, 0.98, 1.0]).double()[:, None].expand(6, 4)
    made = AblationReport(
        *(ks, lost, torch.zeros(6, 4), torch.zeros(4), (0, 1, 2, 3), Kind.HEAD, "signed"),
        draws=1,
        seed=0,
    )
    assert made.knee == 4
    assert replace(made, lost=torch.zeros(6, 4).double()).knee == 1
    rising = torch.tensor([0.0, 0.01, 0.05, 0.2, 1.0, 0.9]).double()[:, None].expand(6, 4)
    assert replace(made, lost=rising).knee == 16
    with pytest.raises(ValueError, match="was not measured"):
        made.effect(3)


def test_strong_elements_are_found_again_in_other_pairs_and_noise_is_not() -> None:
    strong = StabilityReport.fit(planted(80, signal=4.0), 3, (20, 40), draws=10, seed=0)
    assert strong.halves.min() == 1
    assert strong.whole.min() == 1
    noise = StabilityReport.fit(planted(80, signal=0.0), 3, (20, 40, 80), draws=200, seed=0)
    assert noise.halves[:2].mean().abs() < 0.05
    assert noise.halves[2].isnan().all()
    assert noise.whole[2].mean() > 0.2  # shares pairs with the whole
    table: Any = noise.table()
    figure: Any = noise.figure()
    [axes] = figure.axes
    halves, whole = axes.lines[:2]
    np.testing.assert_array_equal(halves.get_ydata(), table["halves"])  # NaN at 80 of 80 pairs
    np.testing.assert_array_equal(whole.get_ydata(), table["whole"])
    assert list(whole.get_xdata()) == [20, 40, 80]
    assert axes.get_title() == "first 3 neuron elements by signed; mean, 95 % of draws"


def test_stability_refuses_what_it_cannot_split() -> None:
    activations = planted(10, signal=1.0)
    for sizes in ((), (1, 5), (5, 11)):
        with pytest.raises(ValueError, match="expected numbers of pairs from 2 to 10"):
            StabilityReport.fit(activations, 3, sizes, seed=0)
    with pytest.raises(ValueError, match="expected paired"):
        StabilityReport.fit(replace(activations, paired=False), 3, (5,), seed=0)


def test_a_frequent_label_does_not_decide_balanced_scores() -> None:
    activations = planted(40, signal=0.0)
    labels = ["A"] * 36 + ["B"] * 4
    desired = activations.desired.clone()
    desired[:36, 0, 7] += 5.0  # the label's own element
    desired[36:, 0, 7] -= 5.0
    desired[:, 1, 9] += 3.0  # the behaviour's
    made = replace(activations, desired=desired)
    assert contrast(made).top(1).elements() == [(0, 7)]
    report = AgreementReport.by_label(made, labels, 2)
    assert list(report.scores) == ["A (36 pairs)", "B (4 pairs)", "balanced"]
    difference = (made.desired - made.undesired).double().numpy()
    means = [difference[:36].mean(axis=0), difference[36:].mean(axis=0)]
    for scores, expected in zip(report.scores.values(), [*means, sum(means) / 2], strict=True):
        np.testing.assert_allclose(scores.values.numpy(), expected, atol=1e-5)
    assert report.scores["balanced"].top(1).elements() == [(1, 9)]
    figure: Any = report.figure()
    [axes, *_] = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("A (36 pairs)", "B (4 pairs)")
    np.testing.assert_allclose(axes.lines[-1].get_xdata(), means[0].flatten(), atol=1e-5)
    np.testing.assert_allclose(axes.lines[-1].get_ydata(), means[1].flatten(), atol=1e-5)
    with pytest.raises(ValueError, match="expected one for each of 40 pairs"):
        AgreementReport.by_label(made, labels[:-1], 2)
    with pytest.raises(ValueError, match="two different ones or more"):
        AgreementReport.by_label(made, ["A"] * 40, 2)


def test_attributions_agree_with_themselves_and_not_with_their_opposite() -> None:
    scores = contrast(planted(30, signal=2.0))
    other = replace(scores, values=-scores.values)
    table: Any = AgreementReport.of({"a": scores, "b": scores, "c": other}, 3).table()
    assert table["rank_correlation"].round(6).tolist() == [1.0, -1.0, -1.0]
    assert table["overlap"][0] == 1
    assert table["overlap"][1] == pytest.approx(-3 / 97)
    with pytest.raises(ValueError, match="two attributions or more"):
        AgreementReport.of({"a": scores}, 3)
    many = AgreementReport.of({"a": scores, "b": scores, "c": other, "d": other, "e": scores}, 3)
    figure: Any = many.figure()
    axes, bar = figure.axes
    signs = np.array([1, 1, -1, -1, 1])
    np.testing.assert_allclose(axes.images[0].get_array(), np.outer(signs, signs), atol=1e-6)
    assert [label.get_text() for label in axes.get_yticklabels()] == list("abcde")
    assert bar.get_ylabel() == "rank correlation"
    few = contrast(planted(30, signal=2.0, elements=9))
    with pytest.raises(ValueError, match="different elements"):
        AgreementReport.of({"a": scores, "b": few}, 3)


def test_signs_are_counted_on_the_chosen_elements_alone() -> None:
    chosen_on = planted(200, signal=6.0)
    mask = contrast(chosen_on).top(3)
    held_out = torch.randn(50, 2, 50)
    held_out[:, 1, 0], held_out[:, 1, 1], held_out[:, 1, 2] = 1.0, 1.0, -1.0
    found = SignReport.fit(chosen_on, mask, held_out, seed=0)
    assert set(mask.elements()) == {(1, 0), (1, 1), (1, 2)}
    assert found.agreement.tolist() == pytest.approx([2 / 3] * 50)
    assert found.share.mean == pytest.approx(2 / 3)
    assert found.table().to_dict("records") == [found.share.columns("share") | {"examples": 50}]
    figure: Any = found.figure()
    [axes] = figure.axes
    assert sum(bar.get_height() for bar in axes.patches) == 50
    assert [line.get_xdata()[0] for line in axes.lines] == [0.5, found.share.mean]
    with pytest.raises(ValueError, match="capture both in the same way"):
        SignReport.fit(chosen_on, mask, held_out[:, :1], seed=0)


def test_the_grid_is_preference_at_every_point(
    llama: Any, pairs: ContrastivePairs, tmp_path: Path
) -> None:
    scores = contrast(ls.capture(llama, pairs, "neuron", progress=False))
    found = GridReport.fit(llama, scores, pairs, (2, 9), (-1.0, 3.0), seed=0, progress=False)
    for i, k in enumerate((2, 9)):
        for j, delta in enumerate((-1.0, 3.0)):
            steered = ls.preference(llama, pairs, ls.SADI(scores.top(k), delta)).double()
            torch.testing.assert_close(found.margin[i, j], steered, atol=2e-5, rtol=1e-4)
    best = found.best()
    own = (ls.preference(llama, pairs, best) > 0).double().mean()
    assert float(own) == float(found.accuracy.max())
    assert len(found.table()) == 5
    with pytest.raises(ValueError, match="the least is|above 0"):
        found.best(kl=-1.0)
    ls.save(found, tmp_path / "grid")
    assert repr(ls.load(tmp_path / "grid")) == repr(found)
    assert repr(found).startswith("GridReport\n")
    large = replace(found, kl=found.kl + 2)
    for report, words in ((found, "6 pairs"), (large, "6 pairs; the darkest is 1 nat or more")):
        figure: Any = report.figure()
        assert figure.axes[1].get_title() == words


def test_the_published_grid_has_332_points() -> None:
    from lens_steer.steering.sadi.grid import PUBLISHED

    assert sum(len(ks) * len(deltas) for ks, deltas in PUBLISHED.values()) == 332


def test_the_planted_head_is_what_ablation_finds(fresh_model: Any, pairs: ContrastivePairs) -> None:
    # only two heads write anything: all others do nothing when they are taken out
    model = fresh_model("llama")
    keep = {(1, 2), (2, 0)}
    with torch.no_grad():
        for layer, block in enumerate(model.blocks):
            for head in range(4):
                if (layer, head) not in keep:
                    block.attn.W_O[head] *= 0.0
    found = zero_ablation(model, pairs, "head", progress=False)
    assert set(found.top(2, by="absolute").elements()) == keep
    silent = [
        found.values[i, j].abs().item() for i in range(4) for j in range(4) if (i, j) not in keep
    ]
    assert max(silent) < 1e-5
    gradient = grad_x_activation(model, pairs, "head", progress=False)
    assert set(gradient.top(2, by="absolute").elements()) == keep


def test_scaling_is_what_transformer_lens_4_measures(llama: Any, pairs: ContrastivePairs) -> None:
    theirs = pytest.importorskip("transformer_lens.tools.analysis.attribution_patching")
    found = grad_x_activation(llama, pairs, "mlp_out", progress=False)
    names = [site.hook_name for site in sites_of(llama, "mlp_out", None)]
    total = torch.zeros(4, 32).double()
    for sign, side in ((1.0, pairs.desired), (-1.0, pairs.undesired)):
        for example in side:
            row = encode(llama, example.prompt, example.continuation)
            start = row.prompt_length

            def metric(
                logits: torch.Tensor, ids: tuple[int, ...] = row.ids, start: int = start
            ) -> torch.Tensor:
                answer = torch.tensor(ids[start:])
                scores = logits[0, start - 1 : -1].log_softmax(dim=-1)
                return scores.gather(-1, answer[:, None]).mean()

            seen = theirs.cache_activation_and_gradient(
                llama, torch.tensor([row.ids]), metric, names
            )
            for layer, name in enumerate(names):
                product = seen.activations[name] * seen.gradients[name]
                total[layer] += sign * product[0, start - 1 :].sum(dim=0).double().detach()
    torch.testing.assert_close(found.values, total / len(pairs.desired), atol=1e-5, rtol=1e-4)
