"""MiMiC that moves only what a classifier takes for undesired, each activation by itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.activations import LayerActivations
from lens_steer.barriers import LinearBarrier, PolynomialBarrier
from lens_steer.sites import Site
from tests.interventions import NoWaiting, drawn, padded, rows_of, run, watched

D = 5
CLASSES = LayerActivations(drawn((60, D), seed=1) + 1.5, drawn((50, D)), 2, Site(2).kind)


def gated(barrier: Any = None) -> ls.MiMiC:
    return ls.MiMiC.fit(CLASSES, classifier=barrier or LinearBarrier.fit(CLASSES, C=1.0))


@pytest.mark.parametrize("strength", [1.0, 0.4, -2.0])
def test_only_what_is_classified_as_undesired_moves(strength: float) -> None:
    method = gated().with_strength(strength)
    everywhere = ls.MiMiC.fit(CLASSES).with_strength(strength)
    x = 2 * drawn((40, D), seed=3) + 0.7
    probe: Any = method.classifier
    undesired = x.double() @ probe.weight.double() + probe.bias < 0
    assert 0 < int(undesired.sum()) < len(x)
    found = method.transform(x)
    assert torch.equal(found[undesired], everywhere.transform(x)[undesired])
    assert torch.equal(found[~undesired], x[~undesired])
    field = method.vector_field(x)
    assert not bool(field[~undesired].any())
    torch.testing.assert_close(found, x + strength * field)
    assert torch.equal(method.with_strength(0).transform(x), x)
    torch.testing.assert_close(
        method.transform(x.reshape(5, 8, D)), found.reshape(5, 8, D), atol=1e-6, rtol=1e-6
    )


def test_of_classes_of_equal_size_it_is_the_published_decision() -> None:
    """The published code asks scikit-learn's classifier, whose sign is h's without a prior."""
    from sklearn.linear_model import LogisticRegression

    equal = LayerActivations(CLASSES.desired[:50], CLASSES.undesired, 2, Site(2).kind)
    method = ls.MiMiC.fit(equal, classifier=LinearBarrier.fit(equal, C=1.0))
    rows = torch.cat([equal.desired, equal.undesired]).double()
    centre = rows.mean(dim=0)
    size = (rows - centre).square().mean().sqrt()
    labels = [1] * 50 + [0] * 50
    probe = LogisticRegression(C=1.0, tol=1e-8).fit(((rows - centre) / size).numpy(), labels)
    x = 2 * drawn((200, D), seed=5) + 0.7
    said = torch.from_numpy(probe.predict(((x.double() - centre) / size).numpy())) == 1
    moved = (method.transform(x) != x).any(dim=-1)
    assert torch.equal(moved, ~said)


def test_any_barrier_decides_and_a_form_leaves_0_alone() -> None:
    barrier = PolynomialBarrier.fit(CLASSES, gamma=1.0, C=1.0)
    method, x = gated(barrier), 2 * drawn((40, D), seed=3) + 0.7
    moved = (method.transform(x) != x).any(dim=-1)
    assert torch.equal(moved, barrier.h(x) < 0)
    assert not bool(method.transform(torch.zeros(1, D)).any())


def test_each_position_decides_for_itself_in_a_model(llama: Any, pairs: Any) -> None:
    resid = ls.capture(llama, pairs, "resid", progress=False).at(layer=2)
    barrier = LinearBarrier.fit_means(resid)
    method = ls.MiMiC.fit(resid, shrinkage=0.5, classifier=barrier)
    batch = padded(llama, rows_of(llama), "left")
    site = method.sites[0]
    with torch.no_grad():
        before = watched(llama, site, lambda: run(llama, batch.tokens, batch.mask))
        with ls.steered(llama, method, scope="all", sink=True):
            after = watched(llama, site, lambda: run(llama, batch.tokens, batch.mask))
    real = batch.mask
    assert real is not None
    moved = (after != before).any(dim=-1)[real]
    assert torch.equal(moved, barrier.h(before[real]) < 0)
    assert 0 < int(moved.sum()) < len(moved)
    [edit] = method.edits(llama).values()
    with NoWaiting():
        edit(before[real])


def test_it_is_saved_and_one_without_as_before(llama: Any, pairs: Any, tmp_path: Path) -> None:
    resid = ls.capture(llama, pairs, "resid", progress=False).at(layer=2)
    method = ls.MiMiC.fit(resid, shrinkage=0.5, classifier=LinearBarrier.fit_means(resid))
    ls.save(method, tmp_path / "gated")
    again = ls.load(tmp_path / "gated", model=llama)
    x = drawn((20, len(method.source)))
    assert torch.equal(again.transform(x), method.transform(x))
    assert repr(again) == repr(method)
    assert "only where h < 0 of LinearBarrier" in repr(method)
    ls.save(replace(method, classifier=None), tmp_path / "plain.safetensors")
    fields = ls.artifacts.describe(tmp_path / "plain.safetensors")["content"]["fields"]
    assert "classifier" not in fields
    free: Any = method.without_provenance()
    assert free.provenance is None
    assert free.classifier.provenance is None


def test_a_classifier_of_another_place_or_model_is_refused(
    llama: Any, gpt2: Any, pairs: Any
) -> None:
    probe = LinearBarrier.fit_means(CLASSES)
    with pytest.raises(ValueError, match="fit both on the same activations"):
        gated(replace(probe, layer=1))
    with pytest.raises(ValueError, match="fit both on the same activations"):
        gated(LinearBarrier(torch.ones(D + 1), 0.0, layer=2))
    of_two = [
        ls.capture(model, pairs, "resid", progress=False).at(layer=2) for model in (llama, gpt2)
    ]
    barrier = LinearBarrier.fit_means(of_two[1])
    with pytest.raises(ValueError, match="map and classifier are of two models"):
        ls.MiMiC.fit(of_two[0], shrinkage=0.5, classifier=barrier)
    wrong: Any = Tensor()
    with pytest.raises(ValueError, match="classifier"):
        ls.MiMiC.fit(CLASSES, classifier=wrong)
