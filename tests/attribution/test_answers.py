"""Answers at many scalings, prompts read once: the same as one full forward for each."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.attribution import answers_at
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import kl_divergence
from lens_steer.models import encode_prompt, forward
from lens_steer.sites import Kind, Site, site_shape

ANSWERS = ContrastivePairs.of(
    [
        ("The cat", " was sad", " was very glad."),
        ("A dog sat in the sun and", "!", "?"),
        ("One day, the dog and the cat met.", " It was bad", " It was good"),
        ("Hi there", " No", " Yes, it was"),
    ]
)


def points_of(model: Any) -> list[dict[Site, Tensor]]:
    """Nothing; a head of each layer; neurons and heads; the output of an MLP."""
    torch.manual_seed(0)
    heads, neurons = site_shape(model, Kind.HEAD)[0], site_shape(model, Kind.NEURON)[0]
    some = [{Site(layer, Kind.HEAD): 2.0 * torch.rand(heads, 1)} for layer in (0, 2)]
    both = {
        Site(1, Kind.NEURON): 3.0 * torch.rand(neurons),
        Site(3, Kind.HEAD): torch.zeros(heads, 1),
    }
    last = {Site(3, Kind.MLP_OUT): 1.0 + torch.rand(int(model.cfg.d_model))}
    return [{}, *some, both, last]


def by_hand(model: Any, point: dict[Site, Tensor]) -> tuple[list[float], list[float]]:
    """Margins and nats, one full forward for each answer, hooks on the positions by hand."""
    margins, nats = [], []
    for desired, undesired in zip(ANSWERS.desired, ANSWERS.undesired, strict=True):
        sides = []
        for example in (desired, undesired):
            prompt = encode_prompt(model, example.prompt)
            ids = [*prompt, *model.tokenizer.encode(example.continuation, add_special_tokens=False)]
            tokens = torch.tensor([ids])
            start = len(prompt) - 1

            def scale(x: Tensor, hook: Any, *, own: Tensor, start: int = start) -> Tensor:
                del hook
                return torch.cat([x[:, :start], x[:, start:] * own], dim=1)

            hooks = [(site.hook_name, partial(scale, own=own)) for site, own in point.items()]
            with torch.no_grad(), model.hooks(fwd_hooks=hooks):
                logits = forward(model, tokens)[0]
            scores = logits.double().log_softmax(dim=-1)
            answer = ids[start + 1 :]
            sides.append(
                sum(float(scores[start + i, t]) for i, t in enumerate(answer)) / len(answer)
            )
            with torch.no_grad():
                clean = forward(model, tokens)[0]
        margins.append(sides[0] - sides[1])
        nats.append(kl_divergence(logits[start : start + 1], clean[start : start + 1]).item())
    return margins, nats


def test_margins_and_nats_are_those_of_full_forwards(model: Any) -> None:
    points = points_of(model)
    hands = [by_hand(model, point) for point in points]
    margins, nats = (torch.tensor(each).double() for each in zip(*hands, strict=True))
    for token_budget in (None, 40, 200):
        found = answers_at(model, ANSWERS, points, token_budget=token_budget)
        torch.testing.assert_close(found.margin, margins, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(found.kl, nats, atol=2e-5, rtol=1e-3)
        assert found.kl[0].abs().max() < 1e-6


def test_margins_are_the_preference_under_sadi_at_scope_last(model: Any) -> None:
    torch.manual_seed(1)
    heads = site_shape(model, Kind.HEAD)[0]
    mask = ls.ElementMask(torch.rand(4, heads) > 0.5, Kind.HEAD, (0, 1, 2, 3))
    method = ls.SADI(mask, 1.5)
    found = answers_at(model, ANSWERS, [{}, method.factors(model)])
    plain, steered = (ls.preference(model, ANSWERS, *own) for own in ((), (method,)))
    torch.testing.assert_close(found.margin[0].float(), plain, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(found.margin[1].float(), steered, atol=2e-5, rtol=1e-4)


def test_answers_of_one_token_cost_one_row(llama: Any) -> None:
    pairs = ContrastivePairs.of([("The cat sat", "!", "?")])
    seen: list[int] = []

    def count(x: Tensor, hook: Any) -> None:
        del hook
        seen.append(x.shape[0] * x.shape[1])

    with llama.hooks(fwd_hooks=[("blocks.0.hook_resid_pre", count)]):
        answers_at(llama, pairs, [{}] * 9)
    prompt = len(encode_prompt(llama, "The cat sat"))
    assert seen == [prompt - 1, 10]  # nine points and the clean model


def test_what_cannot_be_compared_is_refused(llama: Any) -> None:
    with pytest.raises(ValueError, match="expected both answers"):
        answers_at(llama, ContrastivePairs.unpaired(["a b"], ["c", "d"]), [{}])
    with pytest.raises(ValueError, match="at least two tokens"):
        answers_at(llama, ContrastivePairs.of([("", " b c", " d e")]), [{}])
    mask = ls.ElementMask(torch.ones(4, 4, dtype=torch.bool), Kind.HEAD, (0, 1, 2, 3))
    with ls.steered(llama, ls.SADI(mask, 1.0)), pytest.raises(ValueError, match="being steered"):
        answers_at(llama, ANSWERS, [{}])
