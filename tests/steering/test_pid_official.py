"""S-PID as its code does it, against the recursion in float64 numpy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.linearity import FeatureDirections
from lens_steer.models import encode_prompt, forward, hooked
from lens_steer.sites import Kind, Site
from tests.conftest import LAYERS, WIDTH
from tests.interventions import PROMPTS, drawn

Array = np.ndarray
HOW: dict[str, Any] = {"kp": 0.7, "ki": 0.3, "kd": 0.2}


def official(v: Array, beta: Array, z: Array, *, every: int = 10) -> Array:
    """u_k of every layer: e_k is added to I, and I then cleared at layers 0, n, 2 n; e_-1 = 0."""
    total, last = np.zeros(v.shape[1]), np.zeros(v.shape[1])
    found = []
    for k in range(len(v)):
        error = (beta[k] - v[k] @ z[k]) * v[k]
        total = total + error
        if k % every == 0:
            total = np.zeros_like(total)
        found.append(HOW["kp"] * error + HOW["ki"] * total + HOW["kd"] * (error - last))
        last = error
    return np.stack(found)


def seen(model: Any, law: ls.PID, prompt: str) -> tuple[Array, Array]:
    """What entered each block at the last prompt token, and what the law added behind it."""
    tokens = torch.tensor([encode_prompt(model, prompt)])
    entered, before, after = dict[int, Tensor](), dict[int, Tensor](), dict[int, Tensor]()

    def into(kept: dict[int, Tensor], layer: int) -> Any:
        def look(x: Tensor) -> None:
            kept[layer] = x[0, -1].double()

        return look

    first = {Site(k): into(before, k) for k in law.layers}
    then = {Site(k, Kind.RESID_PRE): into(entered, k) for k in law.layers}
    then |= {Site(k): into(after, k) for k in law.layers}
    with torch.no_grad(), hooked(model, first), ls.steered(model, law), hooked(model, then):
        forward(model, tokens)
    z, u = (torch.stack(list(x.values())) for x in (entered, before))
    return z.numpy(), (torch.stack(list(after.values())) - u).numpy()


@pytest.mark.parametrize("every", [10, 3, 2, 1])
def test_pushes_are_the_recursions(llama: Any, every: int) -> None:
    v, beta = drawn((LAYERS, WIDTH)), 3 * drawn((LAYERS,), seed=1)
    v = v / v.norm(dim=-1, keepdim=True)
    law = ls.PID(*(v, beta, tuple(range(LAYERS))), **HOW, clear_every=every, first_from_zero=True)
    for prompt in PROMPTS[:2]:
        z, u = seen(llama, law, prompt)
        expected = official(v.double().numpy(), beta.double().numpy(), z, every=every)
        np.testing.assert_allclose(u, expected, atol=2e-5, rtol=1e-4)
        assert np.abs(u).max() > 1


def test_it_is_fitted_as_released(llama: Any, pairs: ls.ContrastivePairs, tmp_path: Path) -> None:
    resid = ls.capture(llama, pairs, "resid", progress=False)
    law = ls.PID.official(resid, **HOW, setpoint=1.5)
    features = FeatureDirections.of(resid)
    torch.testing.assert_close(law.setpoints, 1.5 * features.sizes[:-1])  # from the origin
    assert torch.equal(law.directions, features.directions[:-1])
    assert (law.clear_every, law.first_from_zero) == (10, True)
    assert "clear_every=10" in repr(law)
    ls.save(law, tmp_path / "law")
    again = ls.load(tmp_path / "law", model=llama)
    assert repr(again) == repr(law)
    how: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": 4, "seed": 0}
    texts = [ls.generate(llama, PROMPTS[:2], each, **how) for each in (law, again)]
    assert texts[0] == texts[1]


def test_every_token_begins_as_the_first(llama: Any) -> None:
    """Neither sum nor difference is carried over: a cache, or none, gives the same text."""
    law = ls.PID(
        *(drawn((LAYERS, WIDTH), size=0.3), drawn((LAYERS,)), (0, 1, 3)),
        **HOW,
        clear_every=10,
        first_from_zero=True,
    )
    how: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": 6, "seed": 0, "scope": "all"}
    cached, uncached = (
        ls.generate(llama, PROMPTS, law, use_cache=use_cache, **how) for use_cache in (True, False)
    )
    assert cached == uncached
    tokens = torch.tensor([encode_prompt(llama, PROMPTS[0])])
    with torch.no_grad(), ls.steered(llama, law.with_strength(0)):
        steered = forward(llama, tokens)
    with torch.no_grad():
        assert torch.equal(steered, forward(llama, tokens))


def test_plain_laws_are_saved_as_they_were(llama: Any, tmp_path: Path) -> None:
    law = ls.PID(drawn((LAYERS, WIDTH)), drawn((LAYERS,)), (1, 2), **HOW)
    ls.save(law, tmp_path / "law.safetensors")
    fields = ls.artifacts.describe(tmp_path / "law.safetensors")["content"]["fields"]
    assert not {"clear_every", "first_from_zero"} & set(fields)
    with pytest.raises(ValueError, match="clear_every=0"):
        ls.PID(drawn((LAYERS, WIDTH)), drawn((LAYERS,)), (1, 2), 0.3, clear_every=0)


# ---- set-points that the paper does not define ----


@pytest.mark.parametrize(
    "options", [{"setpoint": "angular"}, {"setpoint": "Angular"}, {"setpoint_type": "angular"}]
)
def test_angular_set_points_are_refused_by_name(
    llama: Any, pairs: ls.ContrastivePairs, options: dict[str, Any]
) -> None:
    resid = ls.capture(llama, pairs, "resid", progress=False)
    jacobians = ls.linearize(llama, pairs, dense=False, progress=False)
    fits: list[Any] = [
        lambda: ls.LQR.fit(jacobians, resid, **options),
        lambda: ls.LQR.fit_feature(jacobians, resid, **options),
        lambda: ls.LQRTracker.fit(jacobians, resid, **options),
        lambda: ls.steering.JointLQR.fit(jacobians, [resid], **options),
        lambda: ls.steering.OnlineLQR.fit(resid, **options),
        lambda: ls.PID.fit(resid, kp=0.1, **options),
        lambda: ls.PID.official(resid, kp=0.1, **options),
    ]
    for fit in fits:
        with pytest.raises(ValueError, match=r"angular set-points are not defined.*ls\.Angular"):
            fit()
