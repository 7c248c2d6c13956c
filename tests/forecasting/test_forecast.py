"""Forecasts against derivatives by autograd, planted reports, and what has none."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lens_steer as ls
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FixedTexts
from lens_steer.forecasting import Forecast, margins
from lens_steer.forecasting.report import joined
from lens_steer.models import encode, load_model
from lens_steer.sites import Site
from lens_steer.steering import CAA
from tests.conftest import BACKENDS, without_checks
from tests.more_report_samples import forecast as sample

LAYER = 1
TEXTS: dict[str, Any] = {"max_new_tokens": 4, "seed": 3}


def push(model: Any, size: float = 0.3) -> CAA:
    vector = torch.randn(1, model.cfg.d_model, generator=torch.Generator().manual_seed(5))
    return CAA((Site(LAYER),), (vector[0] * size,))


@pytest.fixture(scope="module")
def exact(model_dirs: dict[str, Path]) -> Any:
    """In float64, in which Transformers' own attention makes padded rows NaN."""
    if "hooked" not in BACKENDS:
        pytest.skip("float64 needs HookedTransformer, which this TransformerLens does not have")
    dtype = torch.float64
    return load_model(str(model_dirs["llama"]), device="cpu", dtype=dtype, backend="hooked")


def steered_logits(model: Any, ids: Any, start: int, strength: torch.Tensor, vector: Any) -> Any:
    """The logits with strength times a vector at every position from `start` on, by one hook."""

    def add(x: Any, hook: Any) -> Any:
        del hook
        where = (torch.arange(x.shape[1]) >= start).to(x)[None, :, None]
        return x + strength * vector.to(x) * where

    tokens = torch.tensor([list(ids)])
    hooks = [(f"blocks.{LAYER}.hook_resid_post", add)]
    return model.run_with_hooks(tokens, fwd_hooks=hooks)[0].log_softmax(dim=-1)


def slope_by_autograd(model: Any, prompt: Any, text: str, vector: Any) -> float:
    """d/ds of log p(text | prompt) at s = 0."""
    row = encode(model, prompt, text)
    strength = torch.zeros((), dtype=torch.float64, requires_grad=True)
    n = row.prompt_length
    log_probs = steered_logits(model, row.ids, n - 1, strength, vector)
    chosen = log_probs[n - 1 : -1].gather(-1, torch.tensor(row.ids[n:])[:, None])
    return float(torch.autograd.grad(chosen.sum(), strength)[0])


def test_slopes_and_curvatures_are_derivatives(exact: Any, pairs: ContrastivePairs) -> None:
    method = push(exact)
    found = ls.forecast(exact, pairs, {"push": method}, progress=False, **TEXTS)
    expected = [
        slope_by_autograd(exact, a.prompt, a.continuation, method.vectors[0])
        - slope_by_autograd(exact, b.prompt, b.continuation, method.vectors[0])
        for a, b in zip(pairs.desired, pairs.undesired, strict=True)
    ]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.slopes[0], expected, atol=0.01 * scale, rtol=0)
    texts = FixedTexts.sample(exact, pairs.spread(16), **TEXTS)
    for i, text in enumerate(texts.texts):
        fisher = _fisher(exact, text, method.vectors[0])
        assert float(found.curvatures[0, i]) == pytest.approx(fisher, rel=0.02)


def _fisher(model: Any, text: Any, vector: Any) -> float:
    """The second derivative at 0 of the KL along a text, nats per drawn token, by autograd."""
    strength = torch.zeros((), dtype=torch.float64, requires_grad=True)
    start = len(text.ids) - text.draws
    log_p = steered_logits(model, text.ids, start - 1, strength, vector)[start - 1 : -1]
    kl = (log_p.exp() * (log_p - log_p.detach())).sum(dim=-1).mean()
    (slope,) = torch.autograd.grad(kl, strength, create_graph=True)
    return float(torch.autograd.grad(slope, strength)[0])


def test_margins_are_sums_of_log_probabilities(llama: Any, pairs: ContrastivePairs) -> None:
    methods = [push(llama), push(llama, -0.2)]
    found = margins(llama, pairs, methods)
    per_token = [ls.preference(llama, pairs, *each) for each in ((), *((m,) for m in methods))]
    sides = [
        [len(encode(llama, e.prompt, e.continuation).ids) for e in s]
        for s in (pairs.desired, pairs.undesired)
    ]
    equal = [i for i, (a, b) in enumerate(zip(*sides, strict=True)) if a == b]
    assert equal
    for row, mean in zip(found, per_token, strict=True):
        for i in equal:
            desired = pairs.desired[i]
            row_of_text = encode(llama, desired.prompt, desired.continuation)
            n = sides[0][i] - row_of_text.prompt_length
            assert float(row[i]) == pytest.approx(n * float(mean[i]), abs=1e-4)
    assert torch.equal(margins(llama, pairs), found[:1])


def test_gains_do_not_depend_on_the_unit_of_strength(llama: Any, pairs: ContrastivePairs) -> None:
    once = push(llama)
    methods = {
        "once": once,
        "longer": push(llama, 3.0),
        "half": once.with_strength(0.5),
        "back": once.with_strength(-1.0),
    }
    found = ls.forecast(llama, pairs, methods, progress=False, **TEXTS)
    gains = {name: found.gains(name, 0.1) for name in methods}
    for name, sign in {"longer": 1, "half": 1, "back": -1}.items():
        torch.testing.assert_close(gains[name], sign * gains["once"], rtol=0.02, atol=0.02)
    assert found.strength("back", 0.1) < 0 < found.strength("once", 0.1)
    assert found.strength("longer", 0.1) == pytest.approx(
        found.strength("once", 0.1) / 10, rel=0.02
    )
    share = found.wrong_way("once").mean + found.wrong_way("back").mean
    assert share == pytest.approx(1)


def planted() -> Forecast:
    """Two methods on four pairs: c is 8, so that .25 nats are a strength of 1/4."""
    return Forecast(
        names=("a", "b"),
        slopes=torch.tensor([[4.0, 8.0, 4.0, 0.0], [-4.0, -8.0, -4.0, 0.0]]).double(),
        curvatures=torch.tensor([[4.0, 10.0], [4.0, 10.0]]).double(),
        signs=torch.ones(2).double(),
        draws=torch.tensor([1.0, 2.0]).double(),
        margins=torch.tensor([-1.0, 0.0, 1.0, 2.0]).double(),
        groups=("p", "p", "q", "q"),
        left_out={"c": "no parabola"},
        seed=0,
    )


def test_the_parabola_gives_strengths_gains_and_costs() -> None:
    found = planted()
    assert found.curvature("a") == pytest.approx(8.0)  # of all three tokens alike
    assert found.strength("a", 0.25) == pytest.approx(0.25)
    assert found.gains("a", 0.25).tolist() == pytest.approx([1.0, 2.0, 1.0, 0.0])
    assert found.gain("a", 0.25).mean == pytest.approx(1.0)
    assert found.nats("a", 2.0) == pytest.approx(1.0)
    assert found.nats("b", 2.0) == float("inf")
    assert found.nats("b", -1.0) == pytest.approx(0.25)
    assert (found.nats("a", 0), found.best(0.1)) == (0.0, "a")
    assert (found.wrong_way("a").mean, found.wrong_way("b").mean) == (0.0, 0.75)


def test_the_share_is_that_of_margins_above_0_once_the_temperature_is_low() -> None:
    found = planted()
    assert found.rate("a", 1.0, 1e-6).mean == 1.0
    assert found.rate("a", 0, 1e-6).mean == pytest.approx((0 + 0.5 + 1 + 1) / 4)
    with pytest.raises(ValueError, match="nats -1"):
        found.rate("a", -1, 1.0)
    table = found.table(0.25).set_index("method")
    assert list(table.index) == ["a", "b", "c"]
    assert table.loc["c", "why"] == "no parabola"


def test_forecasts_of_other_methods_are_joined() -> None:
    found = planted()
    other = replace(found, names=("d", "e"), slopes=2 * found.slopes, left_out={"f": "x"})
    both = joined([found, other])
    assert both.names == ("a", "b", "d", "e")
    assert both.gain("d", 0.25).mean == pytest.approx(2.0)
    assert set(both.left_out) == {"c", "f"}


def test_a_forecast_is_saved_whole(tmp_path: Path) -> None:
    found = sample(6)
    ls.save(found, tmp_path / "forecast.safetensors")
    again = ls.load(tmp_path / "forecast.safetensors")
    assert again.table().equals(found.table())
    assert again.left_out == found.left_out


def test_what_has_no_forecast_is_named(llama: Any, pairs: ContrastivePairs) -> None:
    found = planted()
    with pytest.raises(ValueError, match="'c' has no forecast: no parabola"):
        found.gain("c", 0.1)
    with pytest.raises(ValueError, match="no method 'z' here"):
        found.gain("z", 0.1)
    with pytest.raises(ValueError, match="'off' has strength 0"):
        ls.forecast(llama, pairs, {"off": push(llama).with_strength(0.0)})
    with pytest.raises(ValueError, match="got no methods"):
        ls.forecast(llama, pairs, {})
    nothing = CAA((Site(LAYER),), (torch.zeros(llama.cfg.d_model),))
    with pytest.raises(ValueError, match="no method has derivatives at strength 0: nothing: "):
        ls.forecast(llama, pairs, {"nothing": nothing}, progress=False, **TEXTS)
    unpaired = ContrastivePairs.unpaired(["Anna is glad."], ["Ben is sad."])
    with pytest.raises(ValueError, match="expected pairs"):
        ls.forecast(llama, unpaired, {"push": push(llama)}, progress=False)
    with pytest.raises(ValueError, match="expected \\(2, 4\\)"), without_checks():
        replace(found, slopes=found.slopes[:, :2])


def test_a_coarse_dtype_is_refused(fresh_model: Any, pairs: ContrastivePairs) -> None:
    model = fresh_model("llama", dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="bfloat16, in which small steps are lost"):
        ls.forecast(model, pairs, {"push": push(model)})
