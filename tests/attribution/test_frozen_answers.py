"""Answers while clean activations are held, prompts read once: published SADI at every point."""

from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.attribution import answers_at, frozen_answers_at
from lens_steer.sites import Kind, Site, site_shape
from lens_steer.steering import FrozenSADI
from tests.attribution.test_answers import ANSWERS
from tests.conftest import BACKENDS, LAYERS, Loader

KINDS = ("head", "gate", "neuron", "mlp_out")


def drawn(model: Any, kind: str, seed: int) -> FrozenSADI:
    elements = site_shape(model, Kind(kind))[0]
    share = torch.rand(LAYERS, elements, generator=torch.Generator().manual_seed(seed))
    mask = ls.ElementMask(share < 0.3, Kind(kind), tuple(range(LAYERS)))
    return FrozenSADI(mask, 2.0 + seed)


def held(method: FrozenSADI) -> dict[Site, Tensor]:
    return {Site(s.layer, method.mask.kind): gain for s, gain in method.gains().items()}


@pytest.mark.parametrize(
    ("name", "backend"), [("gpt2", "bridge"), *(("llama", backend) for backend in BACKENDS)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_margins_are_the_preference_under_frozen_sadi(
    load: Loader, name: str, backend: str, kind: str
) -> None:
    model = load(name, backend)
    methods = [drawn(model, kind, seed) for seed in (0, 1)]
    points = [{}, *map(held, methods)]
    plain, *steered = (ls.preference(model, ANSWERS, *own) for own in ([], *([m] for m in methods)))
    for token_budget in (None, 40):
        found = frozen_answers_at(model, ANSWERS, points, token_budget=token_budget)
        torch.testing.assert_close(found.margin[0].float(), plain, atol=2e-5, rtol=1e-4)
        assert float(found.kl[0].abs().max()) < 1e-6
        for margin, own in zip(found.margin[1:], steered, strict=True):
            torch.testing.assert_close(margin.float(), own, atol=5e-5, rtol=1e-4)
            assert float((margin.float() - plain).abs().max()) > 1e-2


def test_holding_everything_as_it_is_changes_nothing(llama: Any) -> None:
    ones = {Site(k, Kind.GATE): torch.ones(llama.cfg.d_mlp) for k in range(LAYERS)}
    found = frozen_answers_at(llama, ANSWERS, [ones])
    torch.testing.assert_close(found.margin, answers_at(llama, ANSWERS, [{}]).margin)
    assert float(found.kl.abs().max()) < 1e-6


def test_scaling_and_holding_are_one_at_a_single_late_element(llama: Any) -> None:
    """Nothing of that kind follows it, and an answer of one token is written at that position."""
    pairs = ls.ContrastivePairs.of([("The cat sat", "!", "?"), ("A dog", "!", "?")])
    factor = torch.ones(llama.cfg.n_heads, 1)
    factor[2] = 5.0
    last = {Site(LAYERS - 1, Kind.HEAD): factor}
    early = {Site(0, Kind.HEAD): factor, Site(LAYERS - 1, Kind.HEAD): torch.ones_like(factor)}
    online, frozen = (way(llama, pairs, [last, early]) for way in (answers_at, frozen_answers_at))
    torch.testing.assert_close(frozen.margin[0], online.margin[0], atol=1e-5, rtol=1e-4)
    assert float((frozen.margin[1] - online.margin[1]).abs().max()) > 1e-3


def test_what_cannot_be_compared_is_refused(llama: Any) -> None:
    with pytest.raises(ValueError, match="expected both answers"):
        frozen_answers_at(llama, ls.ContrastivePairs.unpaired(["a b"], ["c", "d"]), [{}])
    method = drawn(llama, "head", 0)
    with ls.steered(llama, method), pytest.raises(ValueError, match="being steered"):
        frozen_answers_at(llama, ANSWERS, [{}])
