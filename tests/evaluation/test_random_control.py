"""Random directions that are as large as a method's edits."""

from typing import Any

import pytest
import torch

from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FixedTexts, random_as_activations_vary, random_like
from lens_steer.evaluation.edits import CleanStream
from lens_steer.sites import Kind, Site
from lens_steer.steering import Additive
from tests.interventions import Scale, drawn, push


@pytest.fixture(scope="module")
def texts(llama: Any, pairs: ContrastivePairs) -> FixedTexts:
    return FixedTexts.sample(llama, pairs, max_new_tokens=6, seed=3)


def test_a_random_push_is_as_large_as_the_edits_it_stands_for(
    llama: Any, texts: FixedTexts
) -> None:
    heads = drawn((llama.cfg.n_heads, llama.cfg.d_head), seed=4)
    added = push(llama).with_strength(1.5)
    for method in (added, Scale(factor=1.3), Additive((Site(2, Kind.HEAD),), (heads,))):
        one, other = random_like(llama, method, texts, seeds=[0, 1])
        assert [site.layer for site in one.sites] == [site.layer for site in method.sites]
        assert not torch.equal(one.vectors[0], other.vectors[0])
        if method is added or isinstance(method, Scale):
            sizes, random_sizes = texts.sizes(llama, [(method,), (one,)])
            expected = sizes.norm.mean().item()
            assert random_sizes.norm.mean().item() == pytest.approx(expected, rel=1e-3)


def test_a_method_that_edits_nothing_has_no_random_counterpart(
    llama: Any, texts: FixedTexts
) -> None:
    with pytest.raises(ValueError, match="edits nothing along these texts"):
        random_like(llama, Scale(strength=0), texts, seeds=[0])


@pytest.mark.parametrize("draw", [random_like, random_as_activations_vary])
def test_a_random_push_costs_what_it_is_to_cost(llama: Any, texts: FixedTexts, draw: Any) -> None:
    heads = Additive((Site(2, Kind.HEAD),), (drawn((llama.cfg.n_heads, llama.cfg.d_head), seed=4),))
    for method in (push(llama), Scale(factor=1.3), heads):
        pushes = draw(llama, method, texts, seeds=[0, 1], kl=0.03)
        paid = texts.kl(llama, [(one,) for one in pushes])
        assert paid == pytest.approx([0.03, 0.03], rel=5e-3)
        assert not torch.equal(pushes[0].vectors[0], pushes[1].vectors[0])
        assert [site.layer for site in pushes[0].sites] == [site.layer for site in method.sites]


def test_natural_pushes_have_the_covariance_of_the_clean_stream(
    llama: Any, texts: FixedTexts
) -> None:
    stream = CleanStream.read(llama, texts.texts, [1], texts.scope).resid[:, 0].double()
    covariance = torch.cov(stream.T)
    method = push(llama)
    drawn = random_as_activations_vary(llama, method, texts, seeds=range(400))
    vectors = torch.stack([one.vectors[0] for one in drawn]).double()
    length = method.vectors[0].norm().item()
    assert vectors.norm(dim=1).tolist() == pytest.approx([length] * 400, rel=1e-5)
    # Directions lie where the stream varies: none where it does not, most where it does most.
    values, basis = torch.linalg.eigh(covariance)
    shares = ((vectors @ basis) ** 2).mean(dim=0) / length**2
    flat = values < 1e-9 * values[-1]
    assert float(shares[flat].sum()) < 1e-6
    source = torch.randn(20000, len(values), generator=torch.Generator().manual_seed(0)).double()
    normal = source * values.clamp(min=0).sqrt()
    expected = ((normal / normal.norm(dim=1, keepdim=True)) ** 2).mean(dim=0)
    assert shares.tolist() == pytest.approx(expected.tolist(), abs=0.05)
