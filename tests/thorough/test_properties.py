"""What holds for every method, scope, padding, order and architecture: drawn at random."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

import lens_steer as ls
from lens_steer.benchmark import FAMILIES, FitCache
from lens_steer.data import ContrastivePairs
from lens_steer.sites import site_shape
from lens_steer.steering import Intervention
from tests.conftest import ARCHITECTURES, BACKENDS, Loader
from tests.interventions import (
    PROMPTS,
    SCOPES,
    Cached,
    baselines,
    padded,
    rows_of,
    run,
    traces,
)
from tests.thorough.scale import LONG, amount, record

# In the suite two architectures, of either way to write a position; all of them in the long run.
MODELS = [(a, b) for a in (ARCHITECTURES if LONG else ("gpt2", "gemma3")) for b in BACKENDS]
MODELS = MODELS if LONG else [MODELS[0], MODELS[-1]]
NAMES = tuple(FAMILIES) + ("ActAdd", "Ablation to", "Angular to")
# Float32 through four blocks in another order of the batch, or over a cache.
CLOSE: dict[str, Any] = {"rtol": 2e-3, "atol": 2e-3}
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@pytest.fixture(scope="module", params=MODELS, ids=lambda each: "-".join(each))
def steering(request: pytest.FixtureRequest, load: Loader, pairs: ContrastivePairs) -> Any:
    """The model, and a function that gives its method of a name, fitted when first asked for."""
    model = load(*request.param)
    made_on = FitCache(model, pairs, ("last",))

    @cache
    def method(name: str) -> Intervention:
        if name not in FAMILIES:
            return baselines(model)[name]
        family = FAMILIES[name]
        grid = family.grid(made_on)
        return family.make(made_on, grid[len(grid) // 2])

    return model, method


CASES = st.fixed_dictionaries(
    {
        "name": st.sampled_from(NAMES),
        "scope": st.sampled_from(SCOPES),
        "side": st.sampled_from(("left", "right")),
        "order": st.permutations(range(len(PROMPTS))),
        "strength": st.floats(-0.3, 0.3).filter(lambda s: abs(s) > 1e-3),
    }
)


def steered_rows(
    model: Any, method: Intervention, scope: Any, rows: list[list[int]], side: str
) -> list[Tensor]:
    """The logits at the last token of each row, of one batch."""
    batch = padded(model, rows, side)
    kept = batch.tokens.clone(), batch.mask.clone() if batch.mask is not None else None
    with torch.no_grad(), ls.steered(model, method, scope=scope):
        logits = run(model, batch.tokens, batch.mask)
    assert torch.equal(batch.tokens, kept[0])
    assert batch.mask is None or kept[1] is None or torch.equal(batch.mask, kept[1])
    return [logits[i, last] for i, last in enumerate(batch.last)]


def over_a_cache(model: Any, method: Intervention, scope: Any, row: list[int]) -> Tensor:
    """The logits at the last token, of a prompt and one token more, and the uncached ones."""
    lengths = [len(row) - 1]
    with torch.no_grad(), ls.steered(model, method, scope=scope, prompt_lengths=lengths):
        whole = run(model, torch.tensor([row]), None)[0, -1]
    with torch.no_grad(), ls.steered(model, method, scope=scope, prompt_lengths=lengths):
        call = Cached(model, 1, masked=False)
        call(torch.tensor([row[:-1]]))
        last = call(torch.tensor([row[-1:]]))[0, -1]
    return torch.stack([whole, last])


def check_logits(model: Any, method: Intervention, case: dict[str, Any]) -> None:
    rows, order, scope = rows_of(model), case["order"], case["scope"]
    if isinstance(scope, tuple):  # positions beyond a row are refused
        scope = tuple(p for p in scope if p < min(map(len, rows)))
    before = traces(model)
    plain = padded(model, rows, case["side"])
    with torch.no_grad():
        clean = run(model, plain.tokens, plain.mask)
        with ls.steered(model, method.with_strength(0), scope=scope):
            assert torch.equal(run(model, plain.tokens, plain.mask), clean)
    batch = steered_rows(model, method, scope, rows, case["side"])
    shuffled = steered_rows(model, method, scope, [rows[i] for i in order], case["side"])
    other = {"left": "right", "right": "left"}[case["side"]]
    for one, two in zip(batch, steered_rows(model, method, scope, rows, other), strict=True):
        torch.testing.assert_close(one, two, **CLOSE)
    for place, i in enumerate(order):
        torch.testing.assert_close(shuffled[place], batch[i], **CLOSE)
    (single,) = steered_rows(model, method, scope, [rows[order[0]]], "left")
    torch.testing.assert_close(single, batch[order[0]], **CLOSE)
    torch.testing.assert_close(*over_a_cache(model, method, scope, rows[order[0]]), **CLOSE)
    assert traces(model) == before
    with torch.no_grad():
        assert torch.equal(run(model, plain.tokens, plain.mask), clean)


def check_file(model: Any, method: Intervention, place: Path) -> None:
    """Saved and loaded it steers alike, to the bit, and is saved as it was."""
    ls.save(method, place / "a")
    again = ls.load(place / "a", model=model)
    ls.save(again, place / "b")
    assert (place / "a").read_bytes() == (place / "b").read_bytes()
    rows = rows_of(model)
    one, two = (steered_rows(model, m, "all", rows, "left") for m in (method, again))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def check_edits(model: Any, method: Intervention) -> None:
    """Edits keep shape and dtype, and leave what they are given as it was."""
    edits = method.edits(model)
    for dtype in DTYPES:
        for site in sorted(edits):  # as in a forward pass: feedback is read before it is pushed
            draw = torch.Generator().manual_seed(0)
            x = torch.randn(3, *site_shape(model, site.kind), generator=draw).to(dtype)
            kept = x.clone()
            found = edits[site](x)
            assert (found.dtype, found.shape) == (dtype, x.shape), site
            assert torch.equal(x, kept)


def test_every_method_keeps_the_invariants(
    steering: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model, method_of = steering
    tried: list[str] = []

    @settings(
        max_examples=amount(3, 500),
        phases=[Phase.generate],  # a case is short as it is: to shrink it takes many minutes
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(CASES)
    def check(case: dict[str, Any]) -> None:
        whole = method_of(case["name"])
        ls.save(whole, tmp_path / "before")
        method = whole.with_strength(case["strength"] * whole.strength)
        check_logits(model, method, case)
        check_edits(model, method)
        check_file(model, method, tmp_path)
        ls.save(whole, tmp_path / "after")
        assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()
        tried.append(case["name"])

    check()
    model_name = request.node.callspec.id
    record(f"properties-{model_name}", cases=len(tried), methods=sorted(set(tried)), faults=[])
