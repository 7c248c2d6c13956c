"""The regulator that linearises at the prompt at hand."""

from typing import Any

import pytest
import torch

import lens_steer as ls
from lens_steer.models import encode_prompt, forward, pad
from lens_steer.steering import OnlineLQR
from tests.conftest import BACKENDS, Loader
from tests.interventions import PROMPTS

HOW: dict[str, Any] = {"setpoint": 4.0, "control_cost": 0.3}


def laws_of_each(
    model: Any, resid: ls.Activations, prompts: tuple[str, ...] = PROMPTS
) -> list[ls.LQR]:
    """One law for each prompt, from Jacobians of that prompt alone."""
    return [
        ls.LQR.fit_feature(ls.linearize(model, [p], dense=False, progress=False), resid, **HOW)
        for p in prompts
    ]


def test_gains_are_those_of_a_law_fitted_on_each_prompt(
    model: Any, pairs: ls.ContrastivePairs
) -> None:
    resid = ls.capture(model, pairs, "resid", progress=False)
    rows = [encode_prompt(model, p) for p in PROMPTS]
    expected = torch.stack([law.gains for law in laws_of_each(model, resid)])
    for left in (True, False):
        tokens, mask = pad(model, rows, left=left)
        ready = OnlineLQR.fit(resid, **HOW).prepare(model, tokens, mask)
        assert ready.gains is not None
        scale = float(expected.abs().max())
        torch.testing.assert_close(ready.gains, expected, atol=2e-4 * scale, rtol=0)


def test_texts_are_those_of_a_law_fitted_on_each_prompt(
    model: Any, pairs: ls.ContrastivePairs
) -> None:
    resid = ls.capture(model, pairs, "resid", progress=False)
    law = OnlineLQR.fit(resid, **HOW)
    how: dict[str, Any] = {"max_new_tokens": 6, "temperature": 0.0}
    each = laws_of_each(model, resid)
    expected = [
        ls.generate(model, [p], own, **how)[0] for p, own in zip(PROMPTS, each, strict=True)
    ]
    assert ls.generate(model, PROMPTS, law, **how) == expected
    assert ls.generate(model, PROMPTS, law, use_cache=False, **how) == expected
    assert ls.generate(model, PROMPTS, **how) != expected


def test_every_position_is_steered_by_its_own_prompt(
    llama: Any, pairs: ls.ContrastivePairs
) -> None:
    resid = ls.capture(llama, pairs, "resid", progress=False)
    law = OnlineLQR.fit(resid, **HOW)
    rows = [encode_prompt(llama, p) for p in PROMPTS]
    lengths = [len(row) - 1 for row in rows]  # scope "last": two positions of every row
    for scope in ("last", "all"):
        tokens, mask = pad(llama, rows)
        with torch.no_grad(), ls.steered(llama, law, scope=scope, prompt_lengths=lengths):
            found = forward(llama, tokens, mask)
        for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            alone = torch.tensor([row])
            steering = {"scope": scope, "prompt_lengths": [length]}
            with torch.no_grad(), ls.steered(llama, law, **steering):
                expected = forward(llama, alone)
            torch.testing.assert_close(found[i][mask[i]], expected[0], atol=1e-4, rtol=1e-3)


def test_beside_other_methods_and_in_nested_blocks(llama: Any, pairs: ls.ContrastivePairs) -> None:
    resid = ls.capture(llama, pairs, "resid", progress=False)
    law = OnlineLQR.fit(resid, **HOW)
    push = ls.CAA.fit(resid.at(layer=1))
    how: dict[str, Any] = {"max_new_tokens": 5, "temperature": 0.0}
    both = ls.generate(llama, PROMPTS, law, push, **how)
    with ls.steered(llama, law):
        nested = ls.generate(llama, PROMPTS, push, **how)
    assert both == nested
    each = laws_of_each(llama, resid)
    alone = [
        ls.generate(llama, [p], own, push, **how)[0] for p, own in zip(PROMPTS, each, strict=True)
    ]
    assert both == alone


def test_one_evaluation_is_that_of_many_beside_each_other(
    llama: Any, pairs: ls.ContrastivePairs
) -> None:
    resid = ls.capture(llama, pairs, "resid", progress=False)
    law = OnlineLQR.fit(resid, **HOW)
    how: dict[str, Any] = {"max_new_tokens": 5, "seed": 0}
    alone = ls.evaluate(llama, pairs, law, **how)
    _, same = ls.evaluate_each(llama, pairs, [None, law], **how)
    assert alone.texts == same.texts
    assert abs(alone.kl - same.kl) < 1e-5
    assert alone.kl > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_and_gradients_work_in_inference_mode(
    load: Loader, backend: str, pairs: ls.ContrastivePairs
) -> None:
    """HookedTransformer's own `generate` is in it, and users are."""
    model = load("llama", backend)
    resid = ls.capture(model, pairs, "resid", progress=False)
    law, tokens = OnlineLQR.fit(resid, **HOW), model.to_tokens(PROMPTS[1])
    expected = ls.generate(model, [PROMPTS[1]], law, temperature=0, max_new_tokens=4)
    scores = ls.attribution.grad_x_activation(model, pairs, "head", progress=False).values
    with ls.steered(model, law):
        own = model.generate(tokens, max_new_tokens=4, do_sample=False, verbose=False)
    with torch.inference_mode():
        assert ls.generate(model, [PROMPTS[1]], law, temperature=0, max_new_tokens=4) == expected
        inside = ls.attribution.grad_x_activation(model, pairs, "head", progress=False).values
    assert [model.tokenizer.decode(own[0, tokens.shape[1] :])] == expected
    torch.testing.assert_close(inside, scores)


def test_it_refuses_to_work_without_prompts(llama: Any, pairs: ls.ContrastivePairs) -> None:
    resid = ls.capture(llama, pairs, "resid", progress=False)
    law = OnlineLQR.fit(resid, **HOW)
    tokens = torch.tensor([encode_prompt(llama, PROMPTS[0])])
    with pytest.raises(ValueError, match="linearise at the prompts first"):
        llama.run_with_hooks(tokens, fwd_hooks=law.hooks(llama))
    with pytest.raises(ValueError, match="without a token"):
        law.prepare(llama, tokens, torch.zeros_like(tokens, dtype=torch.bool))
    with pytest.raises(ValueError, match="above 0"):
        OnlineLQR.fit(resid, control_cost=0.0)
