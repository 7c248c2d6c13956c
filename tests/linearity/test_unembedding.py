"""Products of changes of the logits without the logits, against the logits, in float64."""

from typing import Any

import pytest
import torch

from lens_steer.linearity import BlockMaps
from lens_steer.linearity.unembedding import LinearUnembedding
from tests.conftest import LAYERS, WIDTH, Loader

TEXTS = ["The cat sat", "A dog was", "The sun"]


def steps(*shape: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(2)
    return torch.randn(*shape, len(TEXTS), WIDTH, generator=draw, dtype=torch.double)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma3", "neox"])
def test_products_are_those_of_centred_logits(architecture: str, fresh_model: Loader) -> None:
    model = fresh_model(architecture, dtype=torch.float64)
    maps = BlockMaps.of_rows(model, [(5, 9), (7, 3), (8, 20)])
    clean, pushes = maps.states[:, LAYERS], steps(4, 2)
    moved = clean + steps(2, 5)
    far = moved[0].clone()
    far[0, 0] = torch.nan  # a text without a feature
    head = LinearUnembedding.of(maps, far)
    assert head is not None
    expected, true = head.predicted(pushes.flatten(0, 1)), head.true(moved.flatten(0, 1))
    found = head.products(expected.unflatten(0, (4, 2)), true.unflatten(0, (2, 5)))
    first = maps.logits_jvp(LAYERS, pushes.flatten(0, 1)).unflatten(0, (4, 2))
    change = maps.logits(LAYERS, moved.flatten(0, 1)) - maps.logits(LAYERS, clean[None])
    change = change.unflatten(0, (2, 5))
    first, change = (x - x.mean(dim=-1, keepdim=True) for x in (first, change))
    oracles = (
        torch.einsum("cmtv,mrtv->cmrt", first, change),
        change.square().sum(dim=-1),
        first.square().sum(dim=-1),
    )
    # a TransformerBridge takes the norms of Llama and Gemma in float32
    tolerance = 1e-5 if architecture in ("llama", "gemma3") else 1e-10
    for value, oracle in zip(found, oracles, strict=True):
        torch.testing.assert_close(value, oracle, atol=tolerance, rtol=tolerance)


def test_a_cap_on_logits_and_half_precision_have_none(fresh_model: Loader) -> None:
    for model in (fresh_model("gemma2"), fresh_model("llama", dtype=torch.bfloat16)):
        maps = BlockMaps.of(model, TEXTS)
        far = maps.states[None, :, LAYERS] + 10 * steps(1).float()
        assert LinearUnembedding.of(maps, far) is None


def test_what_enters_the_unembedding_is_the_final_norm(model: Any) -> None:
    maps = BlockMaps.of(model, TEXTS)
    x = maps.states[:, LAYERS]
    n, logits = maps.end.normed(x), maps.end.head(x)
    through = model.unembed(n[:, None])[:, 0]
    cap = 8 if "gemma2" in str(model.cfg).lower() else None
    expected = through if cap is None else cap * torch.tanh(through / cap)
    torch.testing.assert_close(expected, logits, atol=1e-4, rtol=1e-4)
