"""Slope per nat against the exact Fisher information, measured nats and planted elements."""

from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.attribution import attribution_patching, masked, slope_per_nat
from lens_steer.data import ContrastivePairs
from lens_steer.models import encode, forward, pad
from tests.attribution.test_attribution import one


def exact_curvature(model: Any, pairs: ContrastivePairs, push: ls.CAA, step: float = 0.02) -> float:
    """2 KL / s^2 per token of teacher-forced texts, mean over texts and both signs of s."""
    found = []
    for example in (*pairs.desired, *pairs.undesired):
        row = encode(model, example.prompt, example.continuation)
        tokens, mask = pad(model, [row.ids])
        start = max(row.prompt_length, 1)

        def scores() -> Tensor:
            logits = forward(model, tokens, mask)[0, start - 1 : len(row.ids) - 1]  # noqa: B023
            return logits.double().log_softmax(dim=-1)

        with torch.no_grad():
            clean = scores()
            for sign in (1, -1):
                method = push.with_strength(sign * step)
                where = list(range(start - 1, len(row.ids)))
                with ls.steered(model, method, scope=where):
                    moved = scores()
                kl = (moved.exp() * (moved - clean)).sum(dim=-1).mean()
                found.append(2 * float(kl) / step**2)
    return sum(found) / len(found)


@pytest.mark.parametrize("kind", ["head", "neuron"])
@pytest.mark.usefixtures("untyped")
def test_the_score_is_the_slope_over_the_root_of_measured_nats(
    llama: Any, pairs: ContrastivePairs, kind: str
) -> None:
    pairs = pairs.first(3)
    activations = ls.capture(llama, pairs, kind, progress=False)
    found = slope_per_nat(llama, pairs, activations, samples=40, seed=0, progress=False)
    slope = attribution_patching(llama, pairs, activations, progress=False)
    for layer, element in ((1, 1), (3, 2)):
        push = ls.CAA.fit(masked(activations, one(llama, kind, layer, element)).at(layer))
        c = exact_curvature(llama, pairs, push)
        expected = float(slope.values[layer, element]) * (2 / c) ** 0.5
        # 6 texts of 40 draws: c within about 9 percent, its root within half of that
        assert float(found.values[layer, element]) == pytest.approx(expected, rel=0.12)
    assert torch.equal(found.values.sign(), slope.values.sign())


@pytest.mark.usefixtures("untyped")
def test_the_score_does_not_depend_on_units_or_batches(gpt2: Any, pairs: ContrastivePairs) -> None:
    heads = ls.capture(gpt2, pairs, "head", progress=False)
    twice = ls.Activations(2 * heads.desired, 2 * heads.undesired, heads.kind, heads.layers)
    how: dict[str, Any] = {"samples": 2, "progress": False}
    found = slope_per_nat(gpt2, pairs, heads, seed=0, **how)
    other = slope_per_nat(gpt2, pairs, twice, seed=0, token_budget=1, **how)
    torch.testing.assert_close(other.values, found.values, atol=1e-5, rtol=1e-4)
    assert not torch.equal(slope_per_nat(gpt2, pairs, heads, seed=1, **how).values, found.values)
    assert "first nat per token" in repr(found)
    assert found.top(3).count == 3


def test_bad_input_is_refused(llama: Any, gpt2: Any, pairs: ContrastivePairs) -> None:
    heads = ls.capture(llama, pairs, "head", progress=False)
    with pytest.raises(ValueError, match="model"):
        slope_per_nat(gpt2, pairs, heads, seed=0, progress=False)
    some = ls.capture(llama, pairs, "head", layers=(1, 2), progress=False)
    with pytest.raises(ValueError, match="every layer"):
        slope_per_nat(llama, pairs, some, seed=0, progress=False)
    gates = ls.capture(llama, pairs, "gate", progress=False)
    with pytest.raises(ValueError, match="no gradient of its own"):
        slope_per_nat(llama, pairs, gates, seed=0, progress=False)
