"""What an edit writes to the residual stream, against what the model's own output then changes."""

from typing import Any

import pytest
import torch

from lens_steer.models import forward, hooked, input_device, residual_edit
from lens_steer.sites import Kind, Site

OUTPUT = {"head": "attn_out", "neuron": "mlp_out", "attn_out": "attn_out", "resid_pre": "resid_pre"}


@pytest.mark.parametrize("kind", OUTPUT)
@pytest.mark.parametrize("layer", [0, 3])
def test_an_edit_writes_what_the_output_changes_by(model: Any, kind: str, layer: int) -> None:
    tokens = torch.tensor([[1, 20, 30, 40, 50]], device=input_device(model))
    site, out = Site(layer, Kind(kind)), Site(layer, Kind(OUTPUT[kind]))
    before: dict[str, torch.Tensor] = {}
    after: dict[str, torch.Tensor] = {}
    noise = torch.Generator().manual_seed(0)

    def push(x: torch.Tensor) -> torch.Tensor:
        before["x"] = x[0].clone()
        after["x"] = before["x"] + 0.5 * torch.randn(x.shape[1:], generator=noise)
        return after["x"][None]

    def keep(x: torch.Tensor, name: str) -> None:
        before[name] = x[0].clone()

    with torch.no_grad(), hooked(model, {out: lambda x: keep(x, "clean")}):
        forward(model, tokens)
    hooks = {site: push, out: lambda x: keep(x, "steered")}
    if site == out:  # the hook that edits is the only one at its own place
        hooks = {site: push}
    with torch.no_grad(), hooked(model, hooks):
        forward(model, tokens)
    steered = after["x"] if site == out else before["steered"]
    found = residual_edit(model, site, before["x"], after["x"])
    assert torch.allclose(found, steered - before["clean"], atol=2e-5)
    assert found.abs().max() > 0.01
