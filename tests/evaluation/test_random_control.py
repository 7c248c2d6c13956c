"""Random directions that are as large as a method's edits."""

from typing import Any

import pytest
import torch

from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FixedTexts, random_like
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
